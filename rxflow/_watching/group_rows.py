"""Reads the rows of a group's runs: all of them now and then, else of runs in another state.

A Prefect 3 server takes some 0.1 s for 200 rows, and a tenth of that to find that no run is in
another state than the one that is known. So between two reads of all rows the runs of each state
are read that are no longer in it, or the rows of runs whose states the server has announced. What
such a read cannot show, another field of a row, the same state entered again, or a deleted run, the
next whole read shows. Which events follow is decided in `run_watch`.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime

import msgspec

from rxflow._models.entities import BackendName, FlowRun, Server
from rxflow._models.times import Now
from rxflow._protocol.failures import Failure, FailureKind
from rxflow._protocol.pages import MalformedRow, Page, Poll
from rxflow._protocol.queries import Query, RunFilter, RunsQuery
from rxflow._watching.log_reader import RowLimit

_WHOLE_READ_INTERVAL = 10.0  # seconds
_MANY = 20  # runs: the rows of fewer cost a server as little
_MOST_STATES = 3  # each is a request of its own


class RowsRead(msgspec.Struct, frozen=True, kw_only=True):
    """What one poll found; it counts only once it is committed.

    Attributes:
        rows: The rows that were read, by the runs' ids.
        malformed: The rows that cannot be read, likewise.
        missing: Runs that have no row; empty unless all rows were read.
        server_time: The server's time, if it is known.
        is_whole: Whether all rows were read.
    """

    rows: Mapping[str, FlowRun] = {}
    malformed: Mapping[str, MalformedRow] = {}
    missing: tuple[str, ...] = ()
    server_time: datetime | None = None
    is_whole: bool = True


class GroupRows:
    """Reads the rows of the runs of one group."""

    def __init__(self, server: Server, limit: RowLimit) -> None:
        """Start with nothing read.

        Args:
            server: The server's kind and version.
            limit: The most rows to query at once.
        """
        self._limit = limit
        self._finds_changes = server.backend is BackendName.PREFECT_3
        self._next_whole_read = -math.inf

    def poll(
        self,
        known: Mapping[str, FlowRun | None],
        now: Now,
        announced: Collection[str] = (),
    ) -> Poll[RowsRead]:
        """Read all rows, or those of runs that are in another state than before.

        Args:
            known: The rows as they were read last, by the runs' ids.
            now: The time.
            announced: Runs that are said to have entered a state, maybe the same one again. The
                others are then left to the next poll.
        """
        is_whole = not self._may_be_partial(known, now)
        filters = [*self._filters(known, () if is_whole else announced, by_state=not is_whole)]
        rows: dict[str, FlowRun] = {}
        malformed: dict[str, MalformedRow] = {}
        server_time: datetime | None = None
        for where in filters:
            page: Page[FlowRun] = yield RunsQuery(where=where, limit=self._limit.rows)
            server_time = page.server_time or server_time
            rows.update((row.id, row) for row in page.rows)
            malformed.update((row.id, row) for row in page.malformed)
        missing = known.keys() - rows.keys() - malformed.keys() if is_whole else ()
        return RowsRead(
            rows=rows,
            malformed=malformed,
            missing=tuple(missing),
            server_time=server_time,
            is_whole=is_whole,
        )

    def commit(self, read: RowsRead, now: Now) -> None:
        """Record that a poll succeeded."""
        if read.is_whole:
            self._next_whole_read = now.mono + _WHOLE_READ_INTERVAL

    def read_all_next(self) -> None:
        """Let the next poll read all rows, since there is reason to think that one is missing."""
        self._next_whole_read = -math.inf

    def adapt_to(self, query: Query | None, failure: Failure) -> bool:
        """Read all rows each time from now on if a server does not find those that changed.

        Returns:
            Whether later queries differ, so that a poll can be sent again at once.
        """
        is_rejected = failure.kind is FailureKind.REJECTED
        if is_rejected and isinstance(query, RunsQuery) and query.where.not_in_states:
            self._finds_changes = False
            return True
        return False

    def _may_be_partial(self, known: Mapping[str, FlowRun | None], now: Now) -> bool:
        """Whether not all rows need be read."""
        names = {_state_name(row) for row in known.values()}
        return (
            self._finds_changes
            and now.mono < self._next_whole_read
            and len(known) >= _MANY
            and None not in names
            and len(names) <= _MOST_STATES
        )

    def _filters(
        self, known: Mapping[str, FlowRun | None], announced: Collection[str], *, by_state: bool
    ) -> Iterator[RunFilter]:
        ids_of: defaultdict[str | None, list[str]] = defaultdict(list)
        if wanted := [run_id for run_id in known if run_id in announced]:
            ids_of[None] = wanted
        else:
            for run_id, row in known.items():
                ids_of[_state_name(row) if by_state else None].append(run_id)
        for name, ids in ids_of.items():
            for start in range(0, len(ids), self._limit.rows):
                yield RunFilter(
                    flow_run_ids=tuple(ids[start : start + self._limit.rows]),
                    not_in_states=(name,) if name else (),
                )


def _state_name(row: FlowRun | None) -> str | None:
    return row.state.name if row is not None and row.state is not None else None
