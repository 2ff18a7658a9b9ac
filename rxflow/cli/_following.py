"""Follow runs as the options of a command say: from the choice of runs to the exit status.

What is shown of an event is decided in the modules for displays and lines, and when in
`_live_order`.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from reactivex import operators as ops

from rxflow import (
    AllClosed,
    Closed,
    FlowRunEvent,
    Notice,
    NoticeCode,
    watch_flow_run,
    watch_flow_runs,
)
from rxflow._protocol.queries import RunFilter, RunsQuery
from rxflow._watching.run_filters import run_filter_of
from rxflow.cli._close_names import close_filter_question
from rxflow.cli._command_journal import CommandJournal
from rxflow.cli._display import PlainDisplay
from rxflow.cli._end_summary import EndSummaries, report_command
from rxflow.cli._exit_status import ExitStatus, status_of_state
from rxflow.cli._follow import follow
from rxflow.cli._given_options import given_options
from rxflow.cli._interruption import RunsGoingOn, cancelled_by_interrupt, explained_end
from rxflow.cli._live import live_display, refreshed
from rxflow.cli._live_order import ordered
from rxflow.cli._log_history import LastLines, found_runs, last_lines, subflows_of
from rxflow.cli._log_selection import LogSelection
from rxflow.cli._names import Names
from rxflow.cli._output import report
from rxflow.cli._selection import SelectedRuns
from rxflow.cli._show_options import FollowOptions, ShowOptions
from rxflow.cli._shown_lines import ShownLines, line_format
from rxflow.cli._single_reads import SingleReads

if TYPE_CHECKING:
    from reactivex import Observable

    from rxflow import Client
    from rxflow.stream import Stream

__all__ = ["Scope", "follow_runs", "log_selection"]

_FIRST_TIME = datetime.min.replace(tzinfo=UTC)


class Scope(NamedTuple):
    """What of runs is shown.

    Attributes:
        only_logs: Whether log lines alone are.
        tasks: Whether the states of task runs are.
        children: Whether subflows are.
    """

    only_logs: bool = False
    tasks: bool = False
    children: bool = True


def follow_runs(
    runs: SelectedRuns,
    client: "Client",
    show: ShowOptions,
    following: FollowOptions,
    scope: Scope,
    *,
    failing: "Observable[FlowRunEvent] | None" = None,
) -> ExitStatus:
    """Follow runs until they are over, and return the status to exit with.

    Args:
        runs: The runs.
        client: The client of the server.
        show: Which lines are shown, and how.
        following: How the runs are followed.
        scope: What of the runs is shown.
        failing: Emits the error of the process in which the runs are executed, if the command has
            started that itself, and the server; the error ends the watch, and the command both.

    Raises:
        RxflowError: As for `rxflow.watch_flow_runs`.
        SystemExit: The watch was broken off, by a signal or the time limit; a sentence says so.
    """
    selection = log_selection(show, runs.since)
    with (
        _ending(runs, scope, are_own=failing is not None) as going_on,
        closing(SingleReads(client, following.timeout)) as reads,
    ):
        last = _last_lines(runs, selection, client, children=scope.children)
        line = line_format(
            show,
            Names(reads),
            only_logs=scope.only_logs,
            tasks=scope.tasks,
            many=not _is_one(runs),
        )
        lines = ShownLines(line, selection, last)
        summaries = None
        if not _is_lines_alone(show, scope):
            summaries = _summaries(
                show,
                selection,
                is_whole=following.journal is not None,
                more=report_command if failing is None else None,
            )
        live = None if summaries is None else live_display(lines, summaries, client)
        display = live or _plain_display(lines, summaries, show, scope)
        history = _History(None)
        if following.hold:
            history = _history(runs, reads, children=scope.children)
        journal = _journal(runs, following, (going_on.receive, display.recall))
        since = selection.since if last is None else last.start
        reading = _reading(show, scope, since) if journal is None else journal.reading
        events: Stream[FlowRunEvent] = _watch(runs, following, scope, client=client, **reading)
        if failing is not None:
            # The check of the process does not end with the events.
            events = events.merge(failing).pipe(ops.take_while(_is_not_last, inclusive=True))
        events = events.pipe(ops.do_action(going_on.receive))
        if live is not None:
            events = events.pipe(ops.do_action(live.receive))
        if following.hold:
            events = events.pipe(ordered(history.start, history.runs))
        interruption = cancelled_by_interrupt(
            going_on, client, display.say, enabled=following.cancel_on_interrupt
        )
        each = iter(events) if live is None else refreshed(events, live)
        with interruption, _shown(each, journal) as shown:
            wanted = _until_full(shown, lines) if scope.only_logs else shown
            status = follow(
                wanted,
                display,
                tabulated=not show.quiet,
                suggest=lambda: close_filter_question(run_filter_of(**runs.filters), client),
            )
        if journal is not None:
            status = _resumed_status(status, journal, show)
    if lines.is_full and scope.only_logs:
        return ExitStatus.COMPLETED
    return ExitStatus.COMPLETED if following.exit_zero else status


def _ending(
    runs: SelectedRuns, scope: Scope, *, are_own: bool
) -> AbstractContextManager[RunsGoingOn]:
    """Say at the end which runs go on, unless they end with the command."""
    ids = runs.ids or ()
    if are_own:
        return nullcontext(RunsGoingOn(ids))
    command = "logs -f" if scope.only_logs else "watch"
    return explained_end(ids, command=command, options=given_options())


def log_selection(show: ShowOptions, since: datetime | None) -> LogSelection:
    """Return which log lines are shown, by the options of a command."""
    return LogSelection(
        level=show.level,
        since=since,
        until=show.until,
        include=show.include,
        exclude=show.exclude,
        head=show.head,
        tail=show.tail,
    )


def _is_lines_alone(show: ShowOptions, scope: Scope) -> bool:
    """Whether nothing but lines is wanted."""
    return show.output != "text" or show.quiet or scope.only_logs


def _summaries(
    show: ShowOptions,
    selection: LogSelection,
    *,
    is_whole: bool,
    more: Callable[[str], str] | None,
) -> EndSummaries:
    """Return the summaries of runs that are read whole, or as far as level and time limit it."""
    if is_whole:
        all_shown = selection.takes_all and not show.level and selection.since is None
        return EndSummaries(zone=show.zone, all_shown=all_shown, more=more)
    return EndSummaries(show.level_text, show.zone, all_shown=selection.takes_all, more=more)


def _plain_display(
    lines: ShownLines, summaries: EndSummaries | None, show: ShowOptions, scope: Scope
) -> PlainDisplay:
    return PlainDisplay(
        lines,
        summaries,
        notice=None if show.quiet or _has_notices(show, scope) else report,
        ending=None if show.quiet or scope.only_logs or _has_ends(show) else report,
        unchanged=show.output != "text",
    )


def _journal(
    runs: SelectedRuns,
    following: FollowOptions,
    receivers: Iterable[Callable[[FlowRunEvent], object]],
) -> CommandJournal | None:
    if following.journal is None:
        return None
    run = runs.ids[0] if runs.ids is not None and _is_one(runs) else None
    return CommandJournal(following.journal, run, receivers)


@contextmanager
def _shown(
    events: Generator[FlowRunEvent], journal: CommandJournal | None
) -> Generator[Iterator[FlowRunEvent]]:
    """Close the events at the end, and let signals wait that must not come between two steps."""
    if journal is not None:
        events = journal.shown(events)
    with closing(events), nullcontext() if journal is None else journal.signals:
        yield filter(_is_news, events)


def _resumed_status(status: ExitStatus, journal: CommandJournal, show: ShowOptions) -> ExitStatus:
    """Return the status of runs whose last events may have been shown by earlier commands."""
    if not journal.has_news and not show.quiet:
        report("nothing is new")
    return status if journal.closed is None else status_of_state(journal.closed.state)


def _is_one(runs: SelectedRuns) -> bool:
    return runs.ids is not None and len(runs.ids) == 1


def _reading(show: ShowOptions, scope: Scope, since: datetime | None) -> dict[str, Any]:
    """Return what is read of each run, as arguments of a watch."""
    return {"level": show.level, "since": since, "stream_tasks": not scope.only_logs}


def _watch(
    runs: SelectedRuns,
    following: FollowOptions,
    scope: Scope,
    **reading: Any,
) -> "Stream[FlowRunEvent]":
    arguments: dict[str, Any] = reading | {
        "subflows": scope.children,
        # Less what was needed to find the runs.
        "max_duration": None if following.timeout is None else following.timeout.rest,
        "push": "auto" if following.push else False,
        "on_full": following.on_full,
    }
    if runs.ids is not None and len(runs.ids) == 1:
        return watch_flow_run(runs.ids[0], **arguments)
    return watch_flow_runs(**runs.arguments, **arguments)


def _is_news(event: FlowRunEvent) -> bool:
    """Whether an event is shown: subflows are where the server knows them; Prefect 1 does not."""
    return not (isinstance(event, Notice) and event.code is NoticeCode.UNSUPPORTED)


def _is_not_last(event: FlowRunEvent) -> bool:
    """Whether more events may follow: of one run the last is its own `Closed`."""
    if isinstance(event, Closed):
        return event.flow_run_id != event.root_flow_run_id
    return not isinstance(event, AllClosed)


def _last_lines(
    runs: SelectedRuns, selection: LogSelection, client: "Client", *, children: bool
) -> LastLines | None:
    if selection.tail is None:
        return None
    ids = list(runs.ids or ())
    if runs.ids is None:
        ids = [run.id for run in found_runs(None, runs.filters, client)]
    if children:
        ids += [run.id for run in subflows_of(ids, client) if run.id not in ids]
    return last_lines(ids, selection, client)


class _History(NamedTuple):
    """What is known before the watch of histories that are read one after another.

    Attributes:
        start: From which time on several runs may have events; None if one alone has any.
        runs: The ids of runs that have some.
    """

    start: datetime | None
    runs: tuple[str, ...] = ()


def _history(runs: SelectedRuns, reads: SingleReads, *, children: bool) -> _History:
    if runs.ids is None or len(runs.ids) != 1:
        return _History(_FIRST_TIME, runs.ids or ())
    if not children:
        return _History(None)
    rows = reads.rows(RunsQuery(where=RunFilter(parent_ids=runs.ids)))
    if rows is None:  # a run whose subflows cannot be read may have some
        return _History(_FIRST_TIME)
    start = min((row.created for row in rows), default=None)
    return _History(start, tuple(row.id for row in rows))


def _until_full(events: Iterable[FlowRunEvent], lines: ShownLines) -> Iterator[FlowRunEvent]:
    for event in events:
        yield event
        if lines.is_full:
            return


def _has_notices(show: ShowOptions, scope: Scope) -> bool:
    """Whether notices are among the events that have lines."""
    return show.output in {"text", "jsonl"} and not scope.only_logs


def _has_ends(show: ShowOptions) -> bool:
    """Whether how a run has ended is in a summary, or among the events that have lines."""
    return show.output in {"text", "jsonl"}
