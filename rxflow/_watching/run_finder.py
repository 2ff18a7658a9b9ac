"""Finds runs to watch while a watch goes on: runs that match a filter, and subflows of its runs.

A finder *looks* again and again, more often while it finds something. A look is one query for each
filter, and more only where a page is full. The query leaves out the runs that were found before, so
that its reply has no rows most of the time; and so a run is found whatever its times and its id
are, by the first look that is sent after the server has it. What a found run is watched for does
not belong here (`runs_session`).

Measured with Prefect 3.8.8 on SQLite, 2,400 runs: a reply without rows took 12 ms with 200 runs
left out, 16 ms with 1,000 and 34 ms with 2,000; a page of 200 rows took 126 ms.
"""

import math
from abc import ABC, abstractmethod
from collections import ChainMap
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime
from heapq import nlargest
from random import Random
from types import MappingProxyType

import msgspec

from rxflow._models.entities import FlowRun, Server, TaskRun
from rxflow._models.times import Now
from rxflow._protocol.failures import Failure, FailureKind
from rxflow._protocol.intervals import PollInterval
from rxflow._protocol.pages import Page, Poll
from rxflow._protocol.queries import Query, RunFilter, RunsQuery, TaskRunsQuery
from rxflow._watching.log_reader import RowLimit
from rxflow._watching.outage_tracker import OutageTracker
from rxflow._watching.run_reader import read_supported_server
from rxflow._watching.run_watch import RunWatch
from rxflow.errors import RxflowError

MOST_LEFT_OUT = 1000
"""The most runs that a query leaves out; of more, those that are expected to start last."""

MOST_PARENTS = 200
"""The most runs whose subflows are queried at once."""

WHOLE_LOOK_INTERVAL = 60.0
"""Seconds from one look at runs of any time to the next, where more runs are known."""

_WHOLE_LOOK_SHARE = 0.05  # of the time may be spent on such looks
_UNREADABLE_TO_BELIEVE = 3  # replies in a row: one may be mixed up by a proxy

PROMPT = 0.5
"""Seconds within which subflows are looked for where there may be some, for many runs at once."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What one query of a look found.

    Attributes:
        rows: The runs that were not known.
        parents: Of the subflows among the rows of the page the run that started them, as far as it
            was read now.
        page: All that was sent.
        is_last: Whether no further page follows.
        server: The server's kind and version.
    """

    rows: tuple[FlowRun, ...]
    parents: Mapping[str, str] = {}
    page: Page[FlowRun]
    is_last: bool
    server: Server


class KnownRuns:
    """Runs that match one filter and were found, and which of them a query leaves out.

    Attributes:
        starts: When each of them is expected to start.
    """

    def __init__(self, starts: Mapping[str, datetime] = MappingProxyType({})) -> None:
        """Start with some runs, or without."""
        self.starts = {**starts}
        self._left_out: tuple[tuple[str, ...], datetime | None] | None = None

    def add(self, row: FlowRun) -> None:
        """Add a run, or change when it is expected to start."""
        start = row.expected_start_time or row.created
        if self.starts.get(row.id) != start:
            self.starts[row.id] = start
            self._left_out = None

    @property
    def left_out(self) -> tuple[tuple[str, ...], datetime | None]:
        """The runs to leave out, and since when all known runs are among them; None for ever."""
        if self._left_out is None:
            if len(self.starts) <= MOST_LEFT_OUT:
                self._left_out = tuple(self.starts), None
            else:
                newest = nlargest(MOST_LEFT_OUT, self.starts.items(), key=lambda item: item[1])
                self._left_out = tuple(run_id for run_id, _ in newest), newest[-1][1]
        return self._left_out


class _Scope(msgspec.Struct, frozen=True):
    """One filter of a look, and what its queries leave out, the same on each of its pages."""

    where: RunFilter
    left_out: tuple[str, ...]
    since: datetime | None

    @staticmethod
    def of(where: RunFilter, known: KnownRuns) -> "_Scope":
        return _Scope(where, *known.left_out)


class RunFinder(ABC):
    """Looks for runs.

    Attributes:
        server: The server's kind and version, once it is known.
        has_looked: Whether a whole look has succeeded.
        failed_at: When a query failed, in monotonic seconds; None if the last one succeeded.
        outages: How long queries have failed while other polls succeeded.
    """

    def __init__(
        self, limit: RowLimit, random: Random, is_known: Callable[[str], bool], *, subflows: bool
    ) -> None:
        """Start with nothing found.

        Args:
            limit: The most rows to query at once.
            random: The source of jitter.
            is_known: Whether a run is or was watched already.
            subflows: Whether subflows are watched, so that the runs that started them matter.
        """
        self._due = self._retry_at = -math.inf
        self.server: Server | None = None
        self.has_looked = False
        self.failed_at: float | None = None
        self.outages = OutageTracker(random)
        self._is_failing = False  # while other polls succeed
        self._parents: dict[str, str] = {}  # of the subflows that were found
        self._unreadable = 0  # replies in a row that should have named parents
        self._limit = limit
        self._is_known = is_known
        self._subflows = subflows
        self._interval = PollInterval(random)
        self._scopes: list[_Scope] = []  # of the look under way, those that are not read yet
        self._offset = 0
        self._began = -math.inf
        self._is_whole = True
        self._whole_look_due = -math.inf
        self._is_active = False
        self._pages = 0

    @property
    def due(self) -> float:
        """When the next query is due, in monotonic seconds; infinite for never."""
        return max(self._due, self._retry_at)

    def hurry(self, now: Now, seconds: float = 0.0) -> None:
        """Look within some seconds."""
        self._due = min(self._due, now.mono + seconds)

    def tick(self, now: Now) -> Poll[Found]:
        """Send the next query of a look, and begin one if none is under way."""
        if not self._scopes:
            self._is_whole = now.mono >= self._whole_look_due or self._must_be_whole()
            self._began, self._offset, self._pages, self._is_active = now.mono, 0, 0, False
            self._scopes = [*self._begin()]
        scope = self._scopes[0]
        server = self.server or (yield from read_supported_server())
        limit = self._limit.rows
        page: Page[FlowRun] = yield RunsQuery(
            where=scope.where,
            without=scope.left_out,
            after=None if self._is_whole else scope.since,
            offset=self._offset,
            limit=limit,
        )
        rows = tuple(row for row in page.rows if not self._is_known(row.id))
        parents: Mapping[str, str] = {}
        if self._subflows and self._unreadable < _UNREADABLE_TO_BELIEVE:
            new = [row for row in page.rows if row.id not in self._parents]
            parents = yield from _read_parents(new, scope.where.parent_ids)
        is_last = page.count < limit
        return Found(rows=rows, parents=parents, page=page, is_last=is_last, server=server)

    def receive(self, found: Found, now: Now) -> None:
        """Record what a query found, and decide when the next one is due."""
        self.server = found.server
        self._parents.update(found.parents)
        self._unreadable = 0
        self.failed_at, self._is_failing = None, False
        self.outages.record_success(now)
        self._is_active |= bool(found.rows)
        self._offset += found.page.count
        self._pages += 1
        self._due = now.mono
        if found.is_last:
            del self._scopes[0]
            self._offset = 0
            if not self._scopes:
                self._end(now)

    def adapt_to(self, query: Query | None, failure: Failure) -> bool:
        """Adapt later queries to a limit of the server that a failure reveals.

        Runs are watched without their parents if the task runs that stand for them cannot be read.

        Returns:
            Whether later queries differ, so that a poll can be sent again at once.
        """
        if isinstance(query, TaskRunsQuery) and failure.kind is FailureKind.UNREADABLE:
            self._unreadable += 1
            return self._unreadable >= _UNREADABLE_TO_BELIEVE
        return self._limit.adapt_to(failure)

    def receive_failure(self, failure: Failure, now: Now, *, least: float) -> RxflowError | None:
        """Receive that a query failed while other polls succeed, and send it again later.

        Args:
            failure: The failure.
            now: The time.
            least: The shortest delay, in seconds.

        Returns:
            The error to end the watch with if the server has refused looks for too long.
        """
        if not self._is_failing:  # the server replied well before, if only to others
            self._is_failing = True
            self.outages.record_success(now)
        self.outages.record_sent(now)
        delay = self.outages.record_failure(failure, now)
        if isinstance(delay, RxflowError):
            return delay
        self._retry_at = now.mono + max(delay, least)
        return None

    def _end(self, now: Now) -> None:
        if self._is_whole:
            lasted = now.mono - self._began
            pause = max(WHOLE_LOOK_INTERVAL, lasted / _WHOLE_LOOK_SHARE)
            self._whole_look_due = now.mono + pause
        self.has_looked = True
        self._due = now.mono + self._interval.next_delay(active=self._is_active)

    # -- decided by what is looked for ----------------------------------------------------------

    @abstractmethod
    def _must_be_whole(self) -> bool:
        """Whether a look at runs of any time is needed now."""

    @abstractmethod
    def _begin(self) -> Iterator[_Scope]:
        """Return the filters of a look."""


class MatchFinder(RunFinder):
    """Looks for the runs that match a filter.

    Attributes:
        is_settled: Whether a look that was sent when no run was watched has found nothing.
    """

    def __init__(
        self,
        where: RunFilter,
        limit: RowLimit,
        random: Random,
        runs: Mapping[str, RunWatch],
        is_known: Callable[[str], bool],
        *,
        again: bool,
        subflows: bool,
    ) -> None:
        """Start with nothing found.

        Args:
            where: The filter.
            limit: The most rows to query at once.
            random: The source of jitter.
            runs: The runs that are watched now.
            is_known: Whether a run is or was watched already.
            again: Whether to look more than once.
            subflows: Whether subflows are watched.
        """
        super().__init__(limit, random, is_known, subflows=subflows)
        self._where = where
        self._known = KnownRuns()
        self._runs = runs
        self._again = again
        self._began_without_runs = False
        self.is_settled = False

    def receive(self, found: Found, now: Now) -> None:
        """Record what a query found, and decide when the next one is due."""
        for row in found.page.rows:
            self._known.add(row)
        super().receive(found, now)

    def _must_be_whole(self) -> bool:
        return not self._runs

    def _begin(self) -> Iterator[_Scope]:
        self._began_without_runs = not self._runs
        yield _Scope.of(self._where, self._known)

    def _end(self, now: Now) -> None:
        is_first = not self.has_looked
        super()._end(now)
        if self._again:
            self.is_settled = self._began_without_runs and not self._is_active
        elif self._pages == 1 or not is_first:
            self.is_settled, self._due = True, math.inf
        else:  # a run that left while pages were read may have moved another to a page before
            self.hurry(now)


class SubflowFinder(RunFinder):
    """Looks for the subflows of the runs that are watched, one level at a time."""

    def __init__(
        self,
        limit: RowLimit,
        random: Random,
        runs: Mapping[str, RunWatch],
        is_known: Callable[[str], bool],
    ) -> None:
        """Start with nothing found.

        Args:
            limit: The most rows to query at once.
            random: The source of jitter.
            runs: The runs that are watched now.
            is_known: Whether a run is or was watched already.
        """
        super().__init__(limit, random, is_known, subflows=True)
        self._due = math.inf
        self._runs = runs
        self._children: dict[str | None, KnownRuns] = {}  # None: of runs that are not known
        # Of each run that was over when a look at it began the state that it was in.
        self._looking: dict[str, str | None] = {}
        self._looked: dict[str, str | None] = {}

    @property
    def due(self) -> float:
        """When the next query is due, in monotonic seconds; infinite without runs."""
        is_any_read = any(run.row is not None for run in self._runs.values())
        return super().due if is_any_read else math.inf

    def awaits(self, run: RunWatch) -> bool:
        """Whether a run is over, and no look that was sent after that has succeeded yet."""
        return run.is_terminal and self._looked.get(run.spec.flow_run_id) != _state_of(run)

    def forget(self, flow_run_id: str) -> None:
        """Look no more for the subflows of a run, which is closed."""
        self._looked.pop(flow_run_id, None)
        for child in self._children.pop(flow_run_id, KnownRuns()).starts:
            self._parents.pop(child, None)

    def receive(self, found: Found, now: Now) -> None:
        """Record what a query found, and decide when the next one is due."""
        super().receive(found, now)
        for row in found.page.rows:
            self._children.setdefault(self._parents.get(row.id), KnownRuns()).add(row)

    def _must_be_whole(self) -> bool:
        return any(map(self.awaits, self._runs.values()))

    def _begin(self) -> Iterator[_Scope]:
        read = [run_id for run_id, run in self._runs.items() if run.row is not None]
        self._looking = {
            run_id: _state_of(self._runs[run_id])
            for run_id in read
            if self._runs[run_id].is_terminal
        }
        for start in range(0, len(read), MOST_PARENTS):
            parents = tuple(read[start : start + MOST_PARENTS])
            children = (self._children.get(parent) for parent in (*parents, None))
            starts = ChainMap(*(each.starts for each in children if each is not None))
            yield _Scope.of(RunFilter(parent_ids=parents), KnownRuns(starts))

    def _end(self, now: Now) -> None:
        super()._end(now)
        self._looked |= {run: state for run, state in self._looking.items() if run in self._runs}
        if self._must_be_whole():
            self.hurry(now, PROMPT)


def _state_of(run: RunWatch) -> str | None:
    return run.row.state_id if run.row is not None else None


def _read_parents(
    rows: Collection[FlowRun], parent_ids: tuple[str, ...]
) -> Poll[Mapping[str, str]]:
    """Read which runs started some runs: a subflow names only the task run that stands for it.

    A run of which that task run cannot be read is watched as one without a parent.

    Args:
        rows: The runs.
        parent_ids: The runs that may have started them; empty if that is not known.
    """
    by_task_run = {row.parent_task_run_id: row.id for row in rows if row.parent_task_run_id}
    if not by_task_run:
        return {}
    page: Page[TaskRun] = yield TaskRunsQuery(
        flow_run_ids=parent_ids, task_run_ids=tuple(by_task_run), limit=len(by_task_run)
    )
    return {
        by_task_run[each.id]: each.flow_run_id
        for each in page.rows
        if each.id in by_task_run and each.flow_run_id is not None
    }
