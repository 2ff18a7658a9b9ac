"""Follow runs as the options of a command say: from the choice of runs to the exit status.

What is shown of an event is decided in the modules for displays and lines, and when in
`_live_order`.
"""

from collections.abc import Iterable, Iterator
from contextlib import closing, nullcontext
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
from rxflow.cli._display import PlainDisplay
from rxflow.cli._end_summary import EndSummaries
from rxflow.cli._exit_status import ExitStatus
from rxflow.cli._follow import follow
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
            started that itself; the error ends the watch, and the command the runs.

    Raises:
        RxflowError: As for `rxflow.watch_flow_runs`.
        SystemExit: The watch was broken off, by a signal or the time limit; a sentence says so.
    """
    selection = log_selection(show, runs.since)
    # Of runs that end with the command there is nothing to come back to.
    ids = runs.ids or ()
    ending = explained_end(ids) if failing is None else nullcontext(RunsGoingOn(ids))
    with ending as going_on, closing(SingleReads(client, following.timeout)) as reads:
        last = _last_lines(runs, selection, client, children=scope.children)
        line = line_format(
            show,
            Names(reads),
            only_logs=scope.only_logs,
            tasks=scope.tasks,
            many=not _is_one(runs),
        )
        lines = ShownLines(line, selection, last)
        summaries = None if _is_lines_alone(show, scope) else _summaries(show, selection)
        live = None if summaries is None else live_display(lines, summaries, client)
        display = live or _plain_display(lines, summaries, show, scope)
        history = _History(None)
        if following.hold:
            history = _history(runs, reads, children=scope.children)
        events: Stream[FlowRunEvent] = _watch(
            runs,
            following,
            scope,
            level=show.level,
            since=selection.since if last is None else last.start,
            client=client,
        )
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
        shown = iter(events) if live is None else refreshed(events, live)
        with closing(shown) as each, interruption:
            wanted = _until_full(each, lines) if scope.only_logs else each
            status = follow(wanted, display, tabulated=not show.quiet)
    if lines.is_full and scope.only_logs:
        return ExitStatus.COMPLETED
    return ExitStatus.COMPLETED if following.exit_zero else status


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


def _summaries(show: ShowOptions, selection: LogSelection) -> EndSummaries:
    return EndSummaries(show.level_text, show.zone, all_shown=selection.takes_all)


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


def _is_one(runs: SelectedRuns) -> bool:
    return runs.ids is not None and len(runs.ids) == 1


def _watch(
    runs: SelectedRuns,
    following: FollowOptions,
    scope: Scope,
    **selection: Any,
) -> "Stream[FlowRunEvent]":
    arguments: dict[str, Any] = selection | {
        "stream_tasks": not scope.only_logs,
        "subflows": scope.children,
        # Less what was needed to find the runs.
        "max_duration": None if following.timeout is None else following.timeout.rest,
        "push": "auto" if following.push else False,
    }
    stream: Stream[FlowRunEvent]
    if runs.ids is not None and len(runs.ids) == 1:
        stream = watch_flow_run(runs.ids[0], **arguments)
    else:
        stream = watch_flow_runs(**runs.arguments, **arguments)
    # Subflows are shown where the server knows them; that Prefect 1 does not is no news.
    return stream.pipe(ops.filter(_is_news))


def _is_news(event: FlowRunEvent) -> bool:
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
