"""Views: `FlowRunView`, the API that Prefect 1 had, thin over a snapshot and a client."""

from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from typing import Any, Self

import msgspec

from rxflow._cursor import read_all
from rxflow._fold import fold
from rxflow._model import FlowRun, Snapshot, State, TaskRun, canonical_id
from rxflow._polling import Page, Poll, RunQuery, StatesQuery
from rxflow._tasks import TaskRunReader
from rxflow.client import Client
from rxflow.events import FlowRunEvent, FlowRunLog, RunChanged, RunSeen, StateChange

__all__ = ["FlowRunView"]


class FlowRunView:
    """A flow run as it was at one moment; it never changes, `get_latest` gives a new one.

    Two views are equal when they show the same.
    """

    __slots__ = ("_client", "_run_config", "_snapshot")

    def __init__(  # noqa: PLR0917 - as in Prefect 1
        self,
        flow_run_id: str,
        name: str,
        flow_id: str | None,
        labels: Iterable[str],
        parameters: Mapping[str, Any],
        context: Mapping[str, Any],
        state: State | None,
        states: Iterable[State],
        updated_at: datetime,
        run_config: Any,
        task_runs: Iterable[TaskRun] | None = None,
        *,
        client: Client | None = None,
    ) -> None:
        """Make a view by hand; `from_flow_run_id` asks the server for one.

        Args:
            flow_run_id: The run's id, a UUID.
            name: The run's name.
            flow_id: The id of the flow that it is a run of.
            labels: On Prefect 3 the run's tags.
            parameters: What the flow was called with.
            context: What was put into the run's context.
            state: The run's state; None if it has none yet.
            states: All states it was in.
            updated_at: When the server last wrote the run's row, an aware datetime.
            run_config: On Prefect 3 None.
            task_runs: Task runs that are known already.
            client: The server to ask; found from the environment and the active profile if None.

        Raises:
            InvalidRunId: ``flow_run_id`` is not a UUID.
        """
        run = FlowRun(
            id=canonical_id(flow_run_id),
            name=name,
            flow_id=flow_id,
            created=updated_at,
            updated=updated_at,
            state_id=state.id if state is not None else None,
            state=state,
            parameters=parameters,
            context=context,
            tags=tuple(labels),
        )
        in_order = tuple(sorted(states, key=lambda state: state.timestamp))
        snapshot = Snapshot(run=run, states=in_order, task_runs=tuple(task_runs or ()))
        self._show(snapshot, run_config, client)

    @classmethod
    def from_snapshot(cls, snapshot: Snapshot, *, client: Client | None = None) -> Self:
        """Make a view of what `rxflow.fold` built.

        Args:
            snapshot: What is known of the run.
            client: The server to ask for more.
        """
        view = cls.__new__(cls)
        view._show(snapshot, None, client)  # noqa: SLF001 - one of our own
        return view

    @classmethod
    def from_flow_run_id(
        cls, flow_run_id: str, load_static_tasks: bool = False, *, client: Client | None = None
    ) -> Self:
        """Ask the server for a run.

        Args:
            flow_run_id: The run's id, a UUID.
            load_static_tasks: Whether to read the run's task runs at once.
            client: The server to ask; found from the environment and the active profile if None.

        Raises:
            InvalidRunId: The id is not a UUID.
            RunNotFound: The server has no such run.
            ServerError: The server answers, but not well, for 30 s.
            Unreachable: The server does not answer for 30 s.
        """
        poll = _reading(canonical_id(flow_run_id), tasks=load_static_tasks)
        with _lent(client) as used:
            return cls.from_snapshot(used.read(poll), client=client)

    @classmethod
    async def afrom_flow_run_id(
        cls, flow_run_id: str, load_static_tasks: bool = False, *, client: Client | None = None
    ) -> Self:
        """Ask as `from_flow_run_id` does, on the running event loop."""
        poll = _reading(canonical_id(flow_run_id), tasks=load_static_tasks)
        async with _alent(client) as used:
            return cls.from_snapshot(await used.aread(poll), client=client)

    def get_latest(self, load_static_tasks: bool = False) -> Self:
        """Ask the server for the run as it is now; this view is left as it is.

        Args:
            load_static_tasks: Whether to read the run's task runs at once.

        Raises:
            RxflowError: As for `from_flow_run_id`.
        """
        return self.from_flow_run_id(self.flow_run_id, load_static_tasks, client=self._client)

    async def aget_latest(self, load_static_tasks: bool = False) -> Self:
        """Ask as `get_latest` does, on the running event loop."""
        return await self.afrom_flow_run_id(
            self.flow_run_id, load_static_tasks, client=self._client
        )

    def get_logs(
        self, start_time: datetime | None = None, end_time: datetime | None = None
    ) -> list[FlowRunLog]:
        """Ask the server for the run's log lines, and make sure by its own count that all came.

        Args:
            start_time: Only lines after this time, aware; None is from the first.
            end_time: Only lines up to this time, aware; None is to the last that is there.

        Returns:
            The lines by (timestamp, created, id).

        Raises:
            ValueError: A time has no offset from UTC.
            RxflowError: As for `from_flow_run_id`.
        """
        lines = _Lines(self.flow_run_id, start_time, end_time)
        with _lent(self._client) as client:
            return lines.within(client.read(lines.poll))

    async def aget_logs(
        self, start_time: datetime | None = None, end_time: datetime | None = None
    ) -> list[FlowRunLog]:
        """Ask as `get_logs` does, on the running event loop."""
        lines = _Lines(self.flow_run_id, start_time, end_time)
        async with _alent(self._client) as client:
            return lines.within(await client.aread(lines.poll))

    # -- what it shows --------------------------------------------------------------------------

    @property
    def snapshot(self) -> Snapshot:
        """What the view shows, as plain data."""
        return self._snapshot

    @property
    def flow_run_id(self) -> str:
        """The run's id."""
        return self._snapshot.run.id

    @property
    def name(self) -> str:
        """The run's name."""
        return self._snapshot.run.name

    @property
    def flow_id(self) -> str | None:
        """The id of the flow that it is a run of."""
        return self._snapshot.run.flow_id

    @property
    def labels(self) -> tuple[str, ...]:
        """On Prefect 3 the run's tags; its labels with values are in ``snapshot.run.labels``."""
        return self._snapshot.run.tags

    @property
    def parameters(self) -> Mapping[str, Any]:
        """What the flow was called with."""
        return self._snapshot.run.parameters

    @property
    def context(self) -> Mapping[str, Any]:
        """What was put into the run's context."""
        return self._snapshot.run.context

    @property
    def state(self) -> State | None:
        """The run's state; None if it has none yet."""
        return self._snapshot.state

    @property
    def states(self) -> tuple[State, ...]:
        """The states it was in, by time."""
        return self._snapshot.states

    @property
    def updated_at(self) -> datetime:
        """When the server last wrote the run's row."""
        return self._snapshot.run.updated

    @property
    def run_config(self) -> Any:
        """On Prefect 3 None."""
        return self._run_config

    @property
    def task_runs(self) -> tuple[TaskRun, ...]:
        """The task runs that are known, by creation."""
        return self._snapshot.task_runs

    def __eq__(self, other: object) -> bool:
        """Whether the other view shows the same."""
        return isinstance(other, FlowRunView) and self._snapshot == other._snapshot

    __hash__ = None  # type: ignore[assignment]  # what it shows holds mappings

    def __repr__(self) -> str:
        """Name the run and its state."""
        state = repr(self.state.name) if self.state else None
        return f"<FlowRunView {self.flow_run_id} name={self.name!r} state={state}>"

    def _show(self, snapshot: Snapshot, run_config: Any, client: Client | None) -> None:
        self._snapshot = snapshot
        self._run_config = run_config
        self._client = client


@contextmanager
def _lent(client: Client | None) -> Generator[Client]:
    """The client that was given, or one of our own, closed again."""
    if client is not None:
        yield client
        return
    with Client() as own:
        yield own


@asynccontextmanager
async def _alent(client: Client | None) -> AsyncGenerator[Client]:
    if client is not None:
        yield client
        return
    async with Client() as own:
        yield own


class _Lines:
    """The log lines of a time."""

    def __init__(self, flow_run_id: str, start: datetime | None, end: datetime | None) -> None:
        for time in (start, end):
            if time is not None and time.tzinfo is None:
                raise ValueError(f"{time!r} has no time zone; pass an aware datetime")
        self._flow_run_id = flow_run_id
        self._start = start
        self._end = end

    def poll(self, limit: int) -> Poll[Sequence[FlowRunLog]]:
        return read_all(self._flow_run_id, self._start, limit)

    def within(self, rows: Iterable[FlowRunLog]) -> list[FlowRunLog]:
        start, end = self._start, self._end
        return [
            row
            for row in rows
            if (start is None or row.timestamp > start) and (end is None or row.timestamp <= end)
        ]


def _reading(flow_run_id: str, *, tasks: bool) -> Callable[[int], Poll[Snapshot]]:
    return lambda limit: _read_snapshot(flow_run_id, limit, tasks=tasks)


def _read_snapshot(flow_run_id: str, limit: int, *, tasks: bool) -> Poll[Snapshot]:
    page: Page[FlowRun] = yield RunQuery(flow_run_id)
    run = page.rows[0]
    history: Page[State] = yield StatesQuery(flow_run_id)
    events: list[FlowRunEvent] = [
        RunSeen(flow_run_id=run.id, run=run),
        *(StateChange(flow_run_id=run.id, id=state.id, state=state) for state in history.rows),
        RunChanged(flow_run_id=run.id, run=run),
    ]
    snapshot = Snapshot(run=run)
    for event in events:
        snapshot = fold(snapshot, event) or snapshot
    if not tasks:
        return snapshot
    read = yield from TaskRunReader(flow_run_id).poll(limit)
    in_order = sorted(read.rows, key=lambda row: (row.created, row.id))
    return msgspec.structs.replace(snapshot, task_runs=tuple(in_order))
