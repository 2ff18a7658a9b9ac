"""Which runs a command is about: the words and filters of its command line, and what they find.

`selection_options` and `filter_options` hand a command one `Selection`. With a client it becomes
either the ids of runs, or filters by which the library finds them.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import wraps
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import click

from rxflow import RunNotFound
from rxflow._escapes import one_line
from rxflow.cli._option_names import as_options
from rxflow.cli._output import report
from rxflow.cli._run_words import (
    FROM_INPUT,
    LatestRun,
    NamedRun,
    RunId,
    is_short_prefix,
    read_run_word,
)
from rxflow.cli._times import read_time

if TYPE_CHECKING:
    import rxflow
    from rxflow._protocol.queries import RunFilter

__all__ = [
    "CHILDREN_OPTION",
    "RUNS_ARGUMENT",
    "NoRunNamed",
    "SelectedRuns",
    "Selection",
    "filter_of",
    "filter_options",
    "find_run",
    "select_runs",
    "selected_filters",
    "selection_options",
]

_MOST_LISTED = 8  # runs that a word may mean

_NONE_GIVEN = (
    "No run is given. Pass ids, names, URLs or @latest, '-' for ids on standard input, or a filter "
    "such as --tag or --deployment."
)


class Selection(NamedTuple):
    """The runs that a command is about, as they were written.

    Attributes:
        words: What was written for each run.
        filters: The filters, by the names of the arguments of `rxflow.list_flow_runs`.
        since: The value of ``--since``: of log lines if runs are named, else of the runs' starts.
        children: Whether subflows are meant, too; False for ``--no-children``.
    """

    words: tuple[str, ...]
    filters: Mapping[str, tuple[str, ...]]
    since: datetime | None
    children: bool


class SelectedRuns(NamedTuple):
    """The runs that were found.

    Attributes:
        ids: Their ids, each once, in the order of the words; None if filters are to find them.
        filters: Those filters, as keyword arguments of `rxflow.watch_flow_runs` and the like.
        since: The time of the first log lines to show; None for all.
    """

    ids: tuple[str, ...] | None
    filters: Mapping[str, Any]
    since: datetime | None

    @property
    def arguments(self) -> dict[str, Any]:
        """The runs as arguments of `rxflow.watch_flow_runs` and `rxflow.wait_for_flow_runs`."""
        return {"flow_run_ids": self.ids} if self.ids is not None else {**self.filters}


class NoRunNamed(click.ClickException):
    """Standard input names no run, so a command has nothing to do, which is no error."""

    exit_code = 0

    def __init__(self) -> None:
        """Make the exception, with its sentence."""
        super().__init__("no run was named on standard input")

    def show(self, file: IO[Any] | None = None) -> None:
        """Write the sentence."""
        del file
        report(self.message)


# -- options --------------------------------------------------------------------------------------

_FILTERS = (
    ("--tag", "tags", "Only runs with this tag; repeat it for runs with all of several."),
    ("--deployment", "deployment", "Only runs of this deployment, FLOW/NAME or an id."),
    ("--flow", "flow", "Only runs of the flow with this name or id."),
    ("--name", "name", "Only runs of this name."),
    ("--state", "states", "Only runs in this state, such as running, failed or Late."),
    ("--work-pool", "work_pool", "Only runs in the work pool of this name."),
    ("--parent", "parent", "Only the subflows that this run has started itself."),
)
"""The filters that take several values: option, argument of the library, help."""

RUNS_ARGUMENT = click.argument("runs", nargs=-1, metavar="[RUN]...")
"""The runs of a command that has `filter_options`, too."""

CHILDREN_OPTION = click.option("--no-children", is_flag=True, help="Leave out subflows.")
"""The same of its subflows."""

_SINCE = "Only runs that started since then: a duration before now, such as 10m, or a time."
_SINCE_OR_LINES = (
    "Only log lines since then: a duration before now, such as 10m, or a time. Without a RUN: only "
    "runs that started since then."
)


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the filters of runs to a command.

    Args:
        command: Takes the selection as its keyword argument ``selection``.
    """
    return _with_filters(command, _SINCE)


def _with_filters(command: Callable[..., Any], since_help: str) -> Callable[..., Any]:
    @wraps(command)
    def with_selection(
        *arguments: Any,
        runs: tuple[str, ...] = (),
        since: datetime | None,
        no_children: bool = False,
        **options: Any,
    ) -> Any:
        values = {name: options.pop(name) for _, name, _ in _FILTERS}
        _check_states(values["states"])
        selection = Selection(
            words=runs,
            filters={name: given for name, given in values.items() if given},
            since=since,
            children=not no_children,
        )
        return command(*arguments, selection=selection, **options)

    decorated: Callable[..., Any] = click.option(
        "--since", type=read_time, metavar="TIME", help=since_help
    )(with_selection)
    for option, name, text in reversed(_FILTERS):
        decorated = click.option(option, name, multiple=True, help=text)(decorated)
    return decorated


def _check_states(states: Iterable[str]) -> None:
    """Reject a list in one value, as other tools take it; no state has a comma in its name."""
    for each in states:
        if "," in each:
            several = " ".join(
                f"--state {state.strip()}" for state in each.split(",") if state.strip()
            )
            raise click.UsageError(f"--state takes one state; repeat it for several: {several}")


def selection_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add runs, the filters of runs and ``--no-children`` to a command.

    Args:
        command: Takes the selection as its keyword argument ``selection``.
    """
    return RUNS_ARGUMENT(_with_filters(CHILDREN_OPTION(command), _SINCE_OR_LINES))


# -- what they find -------------------------------------------------------------------------------


def select_runs(selection: Selection, client: "rxflow.Client") -> SelectedRuns:
    """Find the runs of a selection.

    Without runs and filters they are picked from a list, on a terminal.

    Args:
        selection: The selection.
        client: The client of the server.

    Raises:
        click.UsageError: Nothing is selected, runs and filters are, a filter is malformed, or a
            word means several runs.
        NoRunNamed: Standard input is to name the runs, and is empty.
        RunNotFound: A word means no run.
        RxflowError: The server cannot be read from.
    """
    filters = selected_filters(selection, client)
    words = _expanded(selection.words)
    if any(word != "@latest" for word in words) and filters:
        raise click.UsageError("Runs and filters are both given; pass the one or the other.")
    if words:
        found = dict.fromkeys(_find(word, client, filters) for word in words)
        return SelectedRuns(tuple(found), {}, selection.since)
    if selection.words:
        raise NoRunNamed
    if filters:
        return SelectedRuns(None, filters, None)
    return SelectedRuns(_pick(client, _NONE_GIVEN), {}, None)


def find_run(word: str | None, client: "rxflow.Client") -> str:
    """Find one run.

    Args:
        word: What was written for it; None to have it picked from a list, on a terminal.
        client: The client of the server.

    Returns:
        Its id.

    Raises:
        click.UsageError: No run is given, or the word means several.
        RunNotFound: The word means no run.
        RxflowError: The server cannot be read from.
    """
    if word is not None:
        return _find(word, client, {})
    (picked, *_) = _pick(client, "No run is given. Pass an id, a name, a URL or @latest.")
    return picked


def selected_filters(selection: Selection, client: "rxflow.Client") -> dict[str, Any]:
    """Return the filters of a selection as keyword arguments of `rxflow.list_flow_runs`.

    ``--since`` is among them unless runs are named.

    Args:
        selection: The selection.
        client: The client of the server, which finds the parent whose subflows are meant.

    Raises:
        click.UsageError: A filter is malformed.
        RunNotFound: There is no such parent.
        RxflowError: The server cannot be read from.
    """
    filters: dict[str, Any] = {**selection.filters}
    if "parent" in filters:
        filters["parent"] = tuple(_find(word, client, {}) for word in filters["parent"])
    if selection.since is not None and not selection.words:
        filters["started_after"] = selection.since
    filter_of(filters)
    return filters


def filter_of(filters: Mapping[str, Any]) -> "RunFilter":
    """Return filters as one.

    Args:
        filters: The filters, as arguments of the library.

    Raises:
        click.UsageError: A filter is malformed.
    """
    from rxflow._watching.run_filters import run_filter_of  # noqa: PLC0415 - needs msgspec

    arguments: dict[str, Any] = {name: filters.get(name) for _, name, _ in _FILTERS}
    try:
        return run_filter_of(**arguments, started_after=filters.get("started_after"))
    except ValueError as error:
        raise click.UsageError(as_options(one_line(str(error)))) from error


def _expanded(words: Iterable[str]) -> tuple[str, ...]:
    """Replace ``-`` by the first word of each line of standard input."""
    expanded: list[str] = []
    for word in words:
        expanded += _words_of_input() if word == FROM_INPUT else [word]
    return tuple(expanded)


def _words_of_input() -> Iterator[str]:
    if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison] # where it is closed
        raise click.UsageError("Standard input is closed, so '-' cannot be read from it.")
    try:
        for line in sys.stdin.buffer:  # bytes, since they may be no text
            yield from line.decode(errors="replace").split()[:1]
    except OSError as error:
        raise click.UsageError(f"Standard input cannot be read: {error.strerror}.") from error


def _find(word: str, client: "rxflow.Client", filters: Mapping[str, Any]) -> str:
    match read_run_word(word, client.api_url):
        case RunId(run_id):
            return run_id
        case LatestRun(own):
            return _find_latest(client, {**filters, **own})
        case NamedRun(text, prefix):
            return _find_named(client, text, prefix)


def _find_latest(client: "rxflow.Client", filters: Mapping[str, Any]) -> str:
    from msgspec.structs import replace  # noqa: PLC0415

    from rxflow._views.flow_run_search import read_due  # noqa: PLC0415 - needs reactivex
    from rxflow.cli._close_names import close_filter_question  # noqa: PLC0415 - the same

    where = replace(filter_of(filters), top_level=not filters.get("parent"))
    page = client.read(lambda rows: read_due(where, rows, 1))
    if not page.rows:
        given = (f" of {kind} {_listed(values)}" for kind, values in filters.items())
        question = close_filter_question(where, client)
        raise RunNotFound(
            f"The server has no run{''.join(given)} that has started or is due{question}"
        )
    return page.rows[0].id


def _find_named(client: "rxflow.Client", text: str, prefix: str | None) -> str:
    import rxflow  # noqa: PLC0415
    from rxflow._views.flow_run_search import read_prefixed  # noqa: PLC0415 - needs reactivex
    from rxflow.cli._close_names import close_names_question  # noqa: PLC0415 - the same

    views = rxflow.list_flow_runs(name=text, limit=_MOST_LISTED, client=client)
    runs = [view.snapshot.run for view in views]
    meaning = "is the name of"
    if not runs and prefix is not None:
        runs = [*client.read(lambda rows: read_prefixed(prefix, rows)).rows]
        meaning = "begins the id of"
    match runs:
        case []:
            also = ", and none whose id begins with it" if prefix is not None else ""
            if is_short_prefix(text):
                also = "; of an id at least the first four digits are needed"
            question = close_names_question(text, client)
            raise RunNotFound(f"The server has no flow run named {_shown(text)}{also}{question}")
        case [run]:
            return run.id
        case _:
            raise click.UsageError(_ambiguous(f"{_shown(text)} {meaning}", runs))


def _ambiguous(meaning: str, runs: "list[rxflow.FlowRun]") -> str:
    from rxflow._runtime.clocks import real_now  # noqa: PLC0415 - needs reactivex
    from rxflow.cli._run_table import aligned, run_columns  # noqa: PLC0415 - needs msgspec

    many = f"{_MOST_LISTED} runs or more" if len(runs) >= _MOST_LISTED else f"{len(runs)} runs"
    rows = (run_columns(run, {}, real_now().utc) for run in runs[:_MOST_LISTED])
    table = aligned((run_id, state, start, name) for run_id, state, start, _, _, name in rows)
    return "\n".join([f"{meaning} {many}; pass the id of one:", *(f"  {line}" for line in table)])


def _pick(client: "rxflow.Client", otherwise: str) -> tuple[str, ...]:
    from rxflow.cli._run_picker import can_pick, pick_runs  # noqa: PLC0415

    if not can_pick():
        raise click.UsageError(otherwise)
    return pick_runs(client)


def _listed(values: str | Iterable[str]) -> str:
    return ", ".join(map(_shown, [values] if isinstance(values, str) else values))


def _shown(text: str) -> str:
    return f"'{one_line(text)}'"
