"""A table of task runs that answers queries as a server does, and counts what it sends."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec.structs import replace

from rxflow import State, TaskRun
from rxflow._models.entities import TaskRunState
from rxflow._models.states import StateType
from rxflow._models.times import Now
from rxflow._protocol.pages import MalformedRow, Page, Poll
from rxflow._protocol.queries import TaskRunsQuery, TaskRunStatesQuery
from rxflow._watching.task_run_ledger import TaskRunLedger, TaskRunsRead
from rxflow._watching.task_run_reader import read_all_task_runs, read_task_runs

RUN_ID = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def second(seconds: float) -> datetime:
    """Return the server's time at a second."""
    return NOON + timedelta(seconds=seconds)


def at(seconds: float) -> Now:
    """Return the watcher's time at a second; its monotonic clock started at another moment."""
    return Now(seconds - 1e3, second(seconds))


def task_run(
    task_id: str,
    state_type: str | None = None,
    entered: float = 0,
    *,
    run: str = RUN_ID,
    created: float = 0,
) -> TaskRun:
    """Make a task run's row in a state since a second; None is a row before its first state."""
    state_id = f"{task_id}-{state_type}-{entered}"
    state = None
    if state_type is not None:
        state = State(
            id=state_id, type=state_type, name=state_type.title(), timestamp=second(entered)
        )
    return TaskRun(
        id=task_id,
        name=task_id,
        flow_run_id=run,
        task_key="load-1a2b3c",
        dynamic_key=task_id,
        created=second(created),
        updated=second(entered),
        state=state,
        state_id=state_id,
    )


class TaskRunTable:
    """Rows by their ids, and the states that they had.

    Attributes:
        rows: The rows.
        states: By task run id, the states that it was in.
        batched: Whether a reply has the states of several task runs, as Prefect 1's has.
        malformed: Rows that cannot be read; they have the order of their ids, before all others.
        queries: The queries for task runs that were answered.
        state_queries: Those for states.
        rows_sent: How many rows the replies had.
        before_reply: Called before each reply.
    """

    def __init__(self, *rows: TaskRun) -> None:
        self.rows: dict[str, TaskRun] = {}
        self.states: defaultdict[str, dict[str, State]] = defaultdict(dict)
        self.batched = False
        self.malformed: dict[str, MalformedRow] = {}
        self.queries: list[TaskRunsQuery] = []
        self.state_queries: list[TaskRunStatesQuery] = []
        self.rows_sent = 0
        self.before_reply: Callable[[], object] = list
        self.put(*rows)

    def put(self, *rows: TaskRun) -> None:
        """Insert or update rows."""
        for row in rows:
            self.rows[row.id] = row
            if row.state is not None:
                self.states[row.id][row.state.id] = row.state

    def states_reply(self, query: TaskRunStatesQuery) -> Page[TaskRunState]:
        """Answer a query for states, by the time of each."""
        self.state_queries.append(query)
        ids = sorted(query.task_run_ids) if self.batched else query.task_run_ids[:1]
        rows = [
            TaskRunState(each, state)
            for each in ids
            for state in sorted(self.states[each].values(), key=lambda state: state.order)
        ]
        if not self.batched:
            rest = query.task_run_ids[1:]
            return Page(tuple(rows), next_query=replace(query, task_run_ids=rest) if rest else None)
        page = rows[query.offset : query.offset + query.limit]
        following = replace(query, offset=query.offset + query.limit)
        return Page(tuple(page), next_query=following if len(page) == query.limit else None)

    def reply(self, query: object) -> Page[Any]:
        """Answer a query, in the order of the server: the newest rows first."""
        self.before_reply()
        if isinstance(query, TaskRunStatesQuery):
            return self.states_reply(query)
        assert isinstance(query, TaskRunsQuery)
        self.queries.append(query)
        rows: list[TaskRun | MalformedRow] = [*self.malformed.values()]
        if query.unfinished:
            rows = []
        rows += sorted(
            (row for row in self.rows.values() if row.flow_run_id in query.flow_run_ids),
            key=lambda row: (row.created, row.id),
            reverse=True,
        )
        if query.task_run_ids:
            rows = [row for row in rows if row.id in query.task_run_ids]
        if query.unfinished:
            rows = [row for row in rows if isinstance(row, TaskRun) and _is_unfinished(row)]
        page = rows[query.offset : query.offset + query.limit]
        self.rows_sent += len(page)
        return Page(
            tuple(row for row in page if isinstance(row, TaskRun)),
            None,
            tuple(row for row in page if isinstance(row, MalformedRow)),
        )

    def read(
        self, *ledgers: TaskRunLedger, limit: int = 200, now: float = 0
    ) -> dict[str, TaskRunsRead]:
        """Carry out a poll, and return what it found."""
        return self._carry_out(read_task_runs(ledgers, limit, at(now)))

    def read_all(self, *ledgers: TaskRunLedger, limit: int = 200) -> dict[str, TaskRunsRead]:
        """Carry out a full read, and return what it found."""
        return self._carry_out(read_all_task_runs(ledgers, limit))

    def _carry_out(self, poll: Poll[Mapping[str, TaskRunsRead]]) -> dict[str, TaskRunsRead]:
        try:
            query = next(poll)
            while True:
                query = poll.send(self.reply(query))
        except StopIteration as end:
            return dict(end.value)

    def read_and_commit(
        self, *ledgers: TaskRunLedger, limit: int = 200, now: float = 0
    ) -> list[tuple[str, str]]:
        """Carry out a poll and commit it; return the task runs that changed, with their states."""
        found = self.read(*ledgers, limit=limit, now=now)
        for ledger in ledgers:
            ledger.commit(found[ledger.flow_run_id], at(now))
        return changes(found.values())


def changes(reads: Iterable[TaskRunsRead]) -> list[tuple[str, str]]:
    """Return the task runs that changed, each with the type of its state."""
    return [(row.id, state.type) for read in reads for row, state in read.changed]


def _is_unfinished(row: TaskRun) -> bool:
    known = row.state is not None and row.state.type in set(StateType)
    return known and not row.is_terminal
