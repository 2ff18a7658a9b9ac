"""Reads the task runs of some runs together: those that are not over, and whatever else changed.

A server has no query for "changed since". So a poll of many task runs reads those that are not in a
terminal state, by their state and, where they are known, by their ids; then it compares the number
of rows with the number known, and reads the newest rows until none is unknown. That finds each new
task run, also one that began and ended between two polls. A task run that was over and went on is
found while it goes on. If it ended again before the next poll, or a row was deleted while another
was stored, the next full read finds it: there is one when the flow run enters another state, before
it is closed, and at a slow pace in between. Few task runs are always read in full.

Where all states of the task runs are wanted, those of each task run that changed are read, too: by
one query for each on Prefect 3, so that a poll reads some of them and the next polls the others.

A poll changes nothing; `TaskRunLedger.commit` records what one found.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from msgspec.structs import replace

from rxflow._models.entities import TaskRun, TaskRunState
from rxflow._models.states import State
from rxflow._models.times import Now
from rxflow._protocol.pages import MalformedRow, Page, Poll
from rxflow._protocol.queries import TaskRunsQuery, TaskRunStatesQuery
from rxflow._watching.task_run_ledger import TaskRunHistory, TaskRunLedger, TaskRunsRead

# A query costs a Prefect 3.8.8 about 8 ms, and each row in its reply 0.5 ms.
_FEW = 20  # task runs that are cheaper to read than to compare

# Seconds between full reads, in all and for each task run: 2 % of the server's time.
_FULL_READ_INTERVAL = 30.0
_FULL_READ_INTERVAL_PER_ROW = 0.025

_HISTORY_REQUESTS = 20  # in one poll, so that other rows do not wait for them: about 0.15 s


def read_task_run_rows(
    query: TaskRunsQuery,
) -> Poll[tuple[tuple[TaskRun, ...], tuple[MalformedRow, ...]]]:
    """Read all task runs that match a query, page by page.

    Returns:
        The rows that can be read, and those that cannot.
    """
    rows = _Rows()
    yield from _read_pages(query, rows)
    return tuple(rows.read.values()), tuple(rows.malformed.values())


def read_task_runs(
    ledgers: Sequence[TaskRunLedger], limit: int, now: Now
) -> Poll[Mapping[str, TaskRunsRead]]:
    """Read what is new of the task runs of some runs.

    Args:
        ledgers: What is known of them.
        limit: The most rows to query at once.
        now: The time.

    Returns:
        What was found, by flow run id.
    """
    full = _due_for_full_read(ledgers, now)
    rest = [ledger for ledger in ledgers if ledger not in full]
    found: dict[str, TaskRunsRead] = {}
    if full:
        found.update((yield from _read_in_full(full, limit)))
    if rest:
        found.update((yield from _read_changes(rest, limit)))
    return (yield from _with_histories(ledgers, found, limit))


def read_all_task_runs(
    ledgers: Sequence[TaskRunLedger], limit: int
) -> Poll[Mapping[str, TaskRunsRead]]:
    """Read all task runs of some runs; the arguments are those of `read_task_runs`."""
    found = yield from _read_in_full(ledgers, limit)
    return (yield from _with_histories(ledgers, found, limit))


def _read_in_full(ledgers: Sequence[TaskRunLedger], limit: int) -> Poll[Mapping[str, TaskRunsRead]]:
    rows = _Rows(ledgers)
    yield from _read_pages(TaskRunsQuery(flow_run_ids=rows.runs, limit=limit), rows)
    return rows.by_run(is_full=True)


def _due_for_full_read(ledgers: Sequence[TaskRunLedger], now: Now) -> Sequence[TaskRunLedger]:
    count = sum(ledger.count for ledger in ledgers)
    due = [ledger for ledger in ledgers if ledger.full_read_due]
    oldest = min((ledger.fully_read for ledger in ledgers), default=now.mono)
    interval = _FULL_READ_INTERVAL + count * _FULL_READ_INTERVAL_PER_ROW
    return ledgers if count <= _FEW or now.mono - oldest >= interval else due


def _read_changes(ledgers: Sequence[TaskRunLedger], limit: int) -> Poll[Mapping[str, TaskRunsRead]]:
    rows = _Rows(ledgers)
    runs = rows.runs
    yield from _read_pages(TaskRunsQuery(flow_run_ids=runs, unfinished=True, limit=limit), rows)
    others = [each for ledger in ledgers for each in ledger.unsettled if each not in rows]
    for first in range(0, len(others), limit):
        ids = tuple(others[first : first + limit])
        rows.add((yield TaskRunsQuery(flow_run_ids=runs, task_run_ids=ids, limit=limit)))
    missing = frozenset(each for each in others if each not in rows)
    offset = 0
    while True:
        count = rows.count() - len(missing)
        expected = min(1, count)
        # From one row below the known end: no row is there if some were deleted, two if some are
        # unknown.
        probe: Page[TaskRun] = yield TaskRunsQuery(
            flow_run_ids=runs, offset=max(0, count - 1), limit=min(2, limit)
        )
        if probe.count < expected:
            return (yield from _read_in_full(ledgers, limit))
        if probe.count == expected:
            break
        page: Page[TaskRun] = yield TaskRunsQuery(flow_run_ids=runs, offset=offset, limit=limit)
        rows.add(page)
        offset += page.count
        if page.count < limit:  # that was the last page
            break
    return rows.by_run(missing)


def _with_histories(
    ledgers: Sequence[TaskRunLedger], found: Mapping[str, TaskRunsRead], limit: int
) -> Poll[Mapping[str, TaskRunsRead]]:
    """Read the states of the task runs whose states are awaited, the oldest change first."""
    awaited = [
        (row.id in read.lagging, row.state.timestamp if row.state else row.updated, row.id)
        for read in found.values()
        for row in read.awaited
    ]
    if not awaited:
        return found
    ids = [task_run_id for _, _, task_run_id in sorted(awaited)]
    histories = yield from _read_histories(ids, limit)
    return {
        ledger.flow_run_id: ledger.with_histories(found[ledger.flow_run_id], histories)
        for ledger in ledgers
    }


def _read_histories(task_run_ids: Sequence[str], limit: int) -> Poll[Mapping[str, TaskRunHistory]]:
    """Read the states of some task runs, or of the first of them if they take many requests.

    Where a server sends those of several task runs in pages, the last page is read, too: a poll
    that left some of them out would leave out the same ones each time.
    """
    states: defaultdict[str, list[State]] = defaultdict(list)
    malformed: defaultdict[str, list[MalformedRow]] = defaultdict(list)
    query: TaskRunStatesQuery | None = None
    rest = tuple(task_run_ids)
    read: list[str] = []
    requests = 0
    while requests < _HISTORY_REQUESTS or (query is not None and query.offset):
        if query is None:
            if not rest:
                break
            query, rest = TaskRunStatesQuery(rest[:limit], limit=limit), rest[limit:]
        requests += 1
        page: Page[TaskRunState] = yield query
        for row in page.rows:
            states[row.task_run_id].append(row.state)
        for bad in page.malformed:
            malformed[query.task_run_ids[0]].append(bad)
        following = page.next_query
        left = following.task_run_ids if isinstance(following, TaskRunStatesQuery) else ()
        read += (each for each in query.task_run_ids if each not in left)
        query = following if isinstance(following, TaskRunStatesQuery) else None
    return {each: TaskRunHistory(tuple(states[each]), tuple(malformed[each])) for each in read}


def _read_pages(query: TaskRunsQuery, rows: "_Rows") -> Poll[None]:
    offset = 0
    while True:
        page: Page[TaskRun] = yield replace(query, offset=offset)
        rows.add(page)
        offset += page.count
        if page.count < query.limit:
            return


class _Rows:
    """The rows that a poll has read so far, each as it was read last.

    Attributes:
        runs: The ids of the flow runs whose task runs are read.
    """

    def __init__(self, ledgers: Sequence[TaskRunLedger] = ()) -> None:
        self._ledgers = {ledger.flow_run_id: ledger for ledger in ledgers}
        self.runs = tuple(self._ledgers)
        self.read: dict[str, TaskRun] = {}
        self.malformed: dict[str, MalformedRow] = {}

    def __contains__(self, task_run_id: str) -> bool:
        return task_run_id in self.read or task_run_id in self.malformed

    def add(self, page: Page[TaskRun]) -> None:
        self.read.update((row.id, row) for row in page.rows)
        self.malformed.update((row.id, row) for row in page.malformed)

    def count(self) -> int:
        """Count the rows that are known or were read."""
        known = sum(ledger.count for ledger in self._ledgers.values())
        rows: list[TaskRun | MalformedRow] = [*self.read.values(), *self.malformed.values()]
        return known + sum(not self._ledger_of(row).knows(row.id) for row in rows)

    def by_run(
        self, missing: Collection[str] = (), *, is_full: bool = False
    ) -> Mapping[str, TaskRunsRead]:
        """Return what is new of each run."""
        rows: defaultdict[str, list[TaskRun]] = defaultdict(list)
        malformed: defaultdict[str, list[MalformedRow]] = defaultdict(list)
        for row in self.read.values():
            rows[self._ledger_of(row).flow_run_id].append(row)
        for bad in self.malformed.values():
            malformed[self._ledger_of(bad).flow_run_id].append(bad)
        return {
            run: ledger.read_of(
                rows[run],
                malformed[run],
                missing=[each for each in missing if ledger.knows(each)],
                is_full=is_full,
            )
            for run, ledger in self._ledgers.items()
        }

    def _ledger_of(self, row: TaskRun | MalformedRow) -> TaskRunLedger:
        """Return the ledger of a row's run; of some it cannot be read whose they are."""
        own = self._ledgers.get(row.flow_run_id or "")
        if own is not None and isinstance(row, TaskRun):
            return own
        knowing = (each for each in self._ledgers.values() if each.knows(row.id))
        return next(knowing, own or next(iter(self._ledgers.values())))
