"""The log lines that a server has already: those of several runs in order, or the last of them.

A command that does not follow shows these. One that follows begins at the last few of them, if so
many are wanted and no more.
"""

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from rxflow import FlowRun, FlowRunLog, RunNotFound, UnsupportedFilter, list_flow_runs
from rxflow._logs.full_read import read_all_logs
from rxflow._protocol.pages import Page, Poll
from rxflow._protocol.queries import LogsQuery, RunQuery
from rxflow.cli._log_selection import LogSelection
from rxflow.cli._output import report

if TYPE_CHECKING:
    from rxflow import Client

__all__ = ["LastLines", "found_runs", "last_lines", "read_lines", "subflows_of"]

_RUNS_AT_ONCE = 200  # of which a server reads log rows by one query


class LastLines(NamedTuple):
    """Which log lines are the last few of those that a server has, and all later ones.

    Attributes:
        start: The time of the first of them.
        ids: Their ids.
    """

    start: datetime
    ids: frozenset[str]

    def has(self, line: FlowRunLog) -> bool:
        """Whether a line is one of them, or later."""
        return line.timestamp > self.start or line.id in self.ids


def found_runs(
    ids: Sequence[str] | None, filters: Mapping[str, Any], client: "Client"
) -> list[FlowRun]:
    """Read the rows of runs.

    Args:
        ids: Their ids, or None for those that match filters.
        filters: The filters, as arguments of `rxflow.list_flow_runs`.
        client: The client of the server.

    Raises:
        RunNotFound: The server has no run of an id.
        RxflowError: The server cannot be read from.
    """
    if ids is None:
        views = list_flow_runs(**filters, client=client)
        return [view.snapshot.run for view in views]
    return [client.read(partial(_read_run, run)) for run in ids]


def subflows_of(ids: Iterable[str], client: "Client") -> list[FlowRun]:
    """Read the rows of the subflows of runs, at any depth; on Prefect 1 there are none.

    Raises:
        RxflowError: The server cannot be read from.
    """
    found: dict[str, FlowRun] = {}
    parents = [*ids]
    while parents:
        some, parents = parents[:_RUNS_AT_ONCE], parents[_RUNS_AT_ONCE:]
        try:
            views = list_flow_runs(parent=some, client=client)
        except UnsupportedFilter:  # Prefect 1 does not know them
            break
        rows = {view.flow_run_id: view.snapshot.run for view in views}
        parents += rows.keys() - found.keys()
        found |= rows
    return [*found.values()]


def read_lines(
    runs: Sequence[FlowRun], selection: LogSelection, client: "Client"
) -> Iterator[FlowRunLog]:
    """Yield the log lines of runs that a selection accepts, in order of their times.

    Args:
        runs: The runs.
        selection: Which lines; of all of them if it has a tail, the last.
        client: The client of the server.

    Raises:
        RxflowError: The server cannot be read from.
    """
    tables = [_read_table(run.id, selection.since, client) for run in runs]
    merged = heapq.merge(*tables, key=attrgetter("timestamp"))
    lines = filter(selection.accepts, merged)
    if selection.tail is None:
        yield from lines
    else:
        yield from [*lines][-selection.tail :] if selection.tail else ()


def last_lines(ids: Sequence[str], selection: LogSelection, client: "Client") -> LastLines | None:
    """Find the last lines of runs that a selection accepts, as many as its tail.

    Returns:
        None if the runs have no more lines than that.

    Raises:
        RxflowError: The server cannot be read from.
    """
    found: list[FlowRunLog] = []
    is_cut = False
    for first in range(0, len(ids), _RUNS_AT_ONCE):
        some = tuple(ids[first : first + _RUNS_AT_ONCE])
        lines = client.read(partial(_read_last, some, selection))
        found += lines
        is_cut = is_cut or len(lines) > (selection.tail or 0)
    found.sort(key=attrgetter("timestamp"), reverse=True)
    wanted = found[: selection.tail]
    if len(found) == len(wanted):
        return None
    # Without a line that is wanted, only those after the newest are.
    start = wanted[-1].timestamp if wanted else found[0].timestamp
    return LastLines(start, frozenset(line.id for line in wanted))


def _read_run(run_id: str, _: int) -> Poll[FlowRun]:
    page: Page[FlowRun] = yield RunQuery(run_id)
    if not page.rows:
        raise RunNotFound(f"The server has no flow run {run_id}")
    return page.rows[0]


def _read_table(run_id: str, since: datetime | None, client: "Client") -> list[FlowRunLog]:
    read = client.read(lambda limit: read_all_logs(run_id, since, limit))
    if read.malformed:
        number, first = len(read.malformed), read.malformed[0]
        report(f"log rows of flow run {run_id} that cannot be read: {number}; {first.reason}")
    if not read.proven:
        report(f"log rows of flow run {run_id} may be missing: the server's count never agreed")
    return read.rows


def _read_last(ids: tuple[str, ...], selection: LogSelection, limit: int) -> Poll[list[FlowRunLog]]:
    """Read the newest lines that a selection accepts, one more than its tail if there are."""
    wanted = (selection.tail or 0) + 1
    found: dict[str, FlowRunLog] = {}
    query = LogsQuery(
        flow_run_ids=ids,
        after=selection.since,
        before=selection.until,
        level=selection.level,
        descending=True,
        limit=limit,
    )
    while len(found) < wanted:
        page: Page[FlowRunLog] = yield query
        found |= {line.id: line for line in page.rows if selection.accepts(line)}
        if page.count < limit:
            break
        # New lines may have moved others to the next page, where they are found once more.
        query = replace(query, offset=query.offset + page.count)
    return [*found.values()]
