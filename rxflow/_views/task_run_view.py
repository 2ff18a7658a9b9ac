"""`TaskRunView`: one task run, its states, its log lines and its result."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any, Self

from msgspec.structs import replace

from rxflow._models.arguments import canonical_id
from rxflow._models.entities import TaskRun
from rxflow._models.states import State
from rxflow._protocol.pages import Poll
from rxflow._views import result_files
from rxflow._views.log_lookups import LogSelection
from rxflow._views.result_lookups import ResultRead, read_result
from rxflow._views.task_run_lookups import UNMAPPED, TaskRunRead, mapped_runs
from rxflow._views.task_run_selector import select_task_run
from rxflow._views.temporary_client import agiven_or_temporary, given_or_temporary
from rxflow.client import Client
from rxflow.errors import ResultUnavailable
from rxflow.events import FlowRunLog

_EPOCH = datetime.fromtimestamp(0, UTC)
_NOT_READ = object()  # None is a result too


class TaskRunView:
    """A task run as it was at one moment; it never changes, `get_latest` gives a new one.

    Two views are equal when they are of the same task run in the same state.

    Example:
        >>> import rxflow
        >>> from rxflow.testing import FakePrefect3
        >>> server = FakePrefect3()
        >>> run_id = server.add_run(state="RUNNING")
        >>> _ = server.add_task_run(run_id, task_key="load-0489fc40", state="COMPLETED")
        >>> client = server.client()
        >>> view = rxflow.TaskRunView.from_task_slug("load", run_id, client=client)
        >>> (view.task_slug, view.map_index, view.state.is_successful())
        ('load-0489fc40', -1, True)
    """

    __slots__ = ("_client", "_read", "_result")

    _result: Any

    def __init__(  # noqa: PLR0917 - as in Prefect 1
        self,
        task_run_id: str,
        task_id: str | None,
        task_slug: str,
        name: str,
        state: State | None,
        map_index: int,
        flow_run_id: str | None,
        *,
        client: Client | None = None,
    ) -> None:
        """Make a view by hand; `from_task_run_id` asks the server for one.

        Args:
            task_run_id: The task run's id, a UUID.
            task_id: The id of its task; on Prefect 3 there is none.
            task_slug: What its task goes by; on Prefect 3 the task key.
            name: Its name.
            state: Its state; None if it has none yet.
            map_index: Which of the runs of its task it is; -1 for the only one, and on Prefect 1
                for the parent of mapped ones.
            flow_run_id: The flow run that it belongs to.
            client: The server to ask; found from the environment and the active profile if None.

        Raises:
            InvalidRunId: ``task_run_id`` is not a UUID.
        """
        since = state.timestamp if state is not None else _EPOCH
        row = TaskRun(
            id=canonical_id(task_run_id, "task run"),
            name=name,
            flow_run_id=flow_run_id,
            task_key=task_slug,
            task_id=task_id,
            dynamic_key="",
            created=since,
            updated=since,
            state_id=state.id if state is not None else None,
            state=state,
        )
        self._show(TaskRunRead(row=row, map_index=map_index), client)

    @classmethod
    def of(cls, read: TaskRunRead, *, client: Client | None = None) -> Self:
        """Make a view of what was read.

        Args:
            read: The task run.
            client: The server to ask for more.
        """
        view = cls.__new__(cls)
        view._show(read, client)  # noqa: SLF001 - one of our own
        return view

    @classmethod
    def from_task_run_id(
        cls, task_run_id: str | None = None, *, client: Client | None = None
    ) -> Self:
        """Ask the server for a task run.

        Args:
            task_run_id: The task run's id, a UUID.
            client: The server to ask; found from the environment and the active profile if None.

        Raises:
            TypeError: The id is no text.
            InvalidRunId: It is not a UUID.
            TaskRunNotFound: The server has no such task run.
            RxflowError: As for `FlowRunView.from_flow_run_id`.
        """
        pick = select_task_run(None, task_run_id=task_run_id)
        with given_or_temporary(client) as used:
            return cls.of(used.read(pick(used)), client=client)

    @classmethod
    async def afrom_task_run_id(
        cls, task_run_id: str | None = None, *, client: Client | None = None
    ) -> Self:
        """Ask as `from_task_run_id` does, on the running event loop."""
        pick = select_task_run(None, task_run_id=task_run_id)
        async with agiven_or_temporary(client) as used:
            return cls.of(await used.aread(pick(used)), client=client)

    @classmethod
    def from_task_slug(
        cls,
        task_slug: str,
        flow_run_id: str,
        map_index: int = UNMAPPED,
        *,
        client: Client | None = None,
    ) -> Self:
        """Ask the server for the task run of a task.

        Args:
            task_slug: What the task goes by; on Prefect 3 the task key, with its hash or without.
            flow_run_id: The flow run that it belongs to, a UUID.
            map_index: Which of the runs of the task, on Prefect 3 by creation; -1 for the only
                one, and on Prefect 1 for the parent of mapped ones.
            client: The server to ask; found from the environment and the active profile if None.

        Raises:
            InvalidRunId: ``flow_run_id`` is not a UUID.
            TaskRunNotFound: None fits, or more than one; the message lists what there is.
            RxflowError: As for `FlowRunView.from_flow_run_id`.
        """
        pick = select_task_run(canonical_id(flow_run_id), task_slug, map_index=map_index)
        with given_or_temporary(client) as used:
            return cls.of(used.read(pick(used)), client=client)

    @classmethod
    async def afrom_task_slug(
        cls,
        task_slug: str,
        flow_run_id: str,
        map_index: int = UNMAPPED,
        *,
        client: Client | None = None,
    ) -> Self:
        """Ask as `from_task_slug` does, on the running event loop."""
        pick = select_task_run(canonical_id(flow_run_id), task_slug, map_index=map_index)
        async with agiven_or_temporary(client) as used:
            return cls.of(await used.aread(pick(used)), client=client)

    def get_latest(self) -> Self:
        """Ask the server for the task run as it is now; this view is left as it is.

        Raises:
            RxflowError: As for `from_task_run_id`.
        """
        latest = self.from_task_run_id(self.task_run_id, client=self._client)
        return self.hand_on(latest)

    async def aget_latest(self) -> Self:
        """Ask as `get_latest` does, on the running event loop."""
        latest = await self.afrom_task_run_id(self.task_run_id, client=self._client)
        return self.hand_on(latest)

    def get_logs(
        self, start_time: datetime | None = None, end_time: datetime | None = None
    ) -> list[FlowRunLog]:
        """Ask the server for the log lines of the task run, and make sure that all came.

        The lines of the whole flow run are read for it, since those are what the server's count
        can prove.

        Args:
            start_time: Only lines after this time, aware; None is from the first.
            end_time: Only lines up to this time, aware; None is to the last that is there.

        Returns:
            The lines by (timestamp, created, id).

        Raises:
            ValueError: A time has no offset from UTC, or the task run is in no flow run.
            RxflowError: As for `from_task_run_id`.
        """
        lines = self._lines(start_time, end_time)
        with given_or_temporary(self._client) as client:
            return lines.within(client.read(lines.poll))

    async def aget_logs(
        self, start_time: datetime | None = None, end_time: datetime | None = None
    ) -> list[FlowRunLog]:
        """Ask as `get_logs` does, on the running event loop."""
        lines = self._lines(start_time, end_time)
        async with agiven_or_temporary(self._client) as client:
            return lines.within(await client.aread(lines.poll))

    def get_result(self) -> Any:
        """Read what the task returned, from where it was put.

        Only JSON and text are read, in files of this machine, or where Prefect 1 keeps the value
        itself; nothing is ever unpickled. The parent of mapped task runs, as Prefect 1 has it, has
        the list of their results.

        Returns:
            The result; it is read once.

        Raises:
            ResultUnavailable: The task run is not finished, or one of those that were mapped is
                not, or the result is not on this machine; also a ValueError.
            ResultNotKept: The result was not kept; a TypeError too.
            ResultUnreadable: It is kept in another form or place, which the message names; also a
                TypeError.
            RxflowError: As for `from_task_run_id`.

        Example:
            >>> import rxflow
            >>> from rxflow.testing import FakePrefect3
            >>> server = FakePrefect3()
            >>> run_id = server.add_run(state="RUNNING")
            >>> task_run_id = server.add_task_run(run_id, state="RUNNING")
            >>> view = rxflow.TaskRunView.from_task_run_id(task_run_id, client=server.client())
            >>> try:
            ...     view.get_result()
            ... except ValueError as error:
            ...     print(type(error).__name__)
            ResultUnavailable
        """
        self._check_finished()
        if self._result is _NOT_READ:
            with given_or_temporary(self._client) as client:
                read = client.read(self._read_result)
            self._result = result_files.load(read)
        return self._result

    async def aget_result(self) -> Any:
        """Read as `get_result` does, without holding up the running event loop."""
        self._check_finished()
        if self._result is _NOT_READ:
            async with agiven_or_temporary(self._client) as client:
                read = await client.aread(self._read_result)
            self._result = await asyncio.to_thread(result_files.load, read)
        return self._result

    def iter_mapped(self) -> Iterator[Self]:
        """Go through the runs that this one's task was mapped to, by their map index.

        On Prefect 1 that is asked of their parent; on Prefect 3, which has none, of any of them.

        Raises:
            TypeError: The task was not mapped, or this is not the parent of those.
            RxflowError: As for `from_task_run_id`.
        """
        with given_or_temporary(self._client) as client:
            reads = client.read(lambda limit: mapped_runs(self.task_run, limit))
        return iter(self._mapped(reads))

    async def aiter_mapped(self) -> AsyncIterator[Self]:
        """Go through them as `iter_mapped` does, on the running event loop."""
        async with agiven_or_temporary(self._client) as client:
            reads = await client.aread(lambda limit: mapped_runs(self.task_run, limit))
        for view in self._mapped(reads):
            yield view

    def hand_on(self, latest: Self) -> Self:
        """Give a later view what was read of the same state: its history, and the result."""
        if latest.task_run.state_id == self.task_run.state_id:
            # Of mapped task runs one may have run again, and their parent's state be the same.
            if not (self.state and self.state.is_mapped):
                latest._result = self._result
            latest._read = replace(latest._read, states=latest._read.states or self._read.states)
        return latest

    # -- what it shows --------------------------------------------------------------------------

    @property
    def task_run(self) -> TaskRun:
        """The task run's row."""
        return self._read.row

    @property
    def task_run_id(self) -> str:
        """The task run's id."""
        return self._read.row.id

    @property
    def task_id(self) -> str | None:
        """The id of its task; on Prefect 3 None."""
        return self._read.row.task_id

    @property
    def task_slug(self) -> str:
        """What its task goes by; on Prefect 3 the task key."""
        return self._read.row.task_key

    @property
    def name(self) -> str:
        """The task run's name."""
        return self._read.row.name

    @property
    def map_index(self) -> int:
        """Which of the runs of its task it is; -1 for the only one, or the parent of the others."""
        return self._read.map_index

    @property
    def flow_run_id(self) -> str | None:
        """The flow run that it belongs to; None for a task that was called outside of flows."""
        return self._read.row.flow_run_id

    @property
    def state(self) -> State | None:
        """The task run's state; None if it has none yet."""
        return self._read.row.state

    @property
    def states(self) -> tuple[State, ...]:
        """The states it was in, by time; only the last where many task runs were asked for.

        Prefect 1 tells no more than the last one either.
        """
        if self._read.states is not None:
            return self._read.states
        return () if self.state is None else (self.state,)

    @property
    def has_history(self) -> bool:
        """Whether `states` are all that the server tells of the states it was in."""
        return self._read.states is not None

    @property
    def start_time(self) -> datetime | None:
        """When it first ran."""
        return self._read.row.start_time

    @property
    def end_time(self) -> datetime | None:
        """When it was finished."""
        return self._read.row.end_time

    def __eq__(self, other: object) -> bool:
        """Whether the other view is of the same task run in the same state."""
        if not isinstance(other, TaskRunView):
            return NotImplemented
        return self.task_run_id == other.task_run_id and self.state == other.state

    def __hash__(self) -> int:
        """By the task run and its state."""
        return hash((self.task_run_id, self.state))

    def __repr__(self) -> str:
        """Name the task run and its state."""
        state = repr(self.state.name) if self.state else None
        return f"<TaskRunView {self.task_run_id} name={self.name!r} state={state}>"

    def _show(self, read: TaskRunRead, client: Client | None) -> None:
        self._read = read
        self._client = client
        self._result = _NOT_READ

    def _lines(self, start: datetime | None, end: datetime | None) -> LogSelection:
        if self.flow_run_id is None:
            raise ValueError(f"Task run {self.task_run_id} is in no flow run, whose logs are read")
        return LogSelection(self.flow_run_id, start, end, self.task_run_id)

    def _check_finished(self) -> None:
        if self.state is None or not self.state.is_finished:
            state = self.state.name if self.state else "no state"
            raise ResultUnavailable(
                f"Task run {self.task_run_id} is not finished but in {state}, so it has no result "
                "yet; `get_latest` shows whether it is now"
            )

    def _read_result(self, limit: int) -> Poll[ResultRead]:
        return read_result(self.task_run, limit)

    def _mapped(self, reads: tuple[TaskRunRead, ...] | None) -> list[Self]:
        if reads is None:
            raise TypeError(
                f"Task run {self.task_run_id} is the only one of {self.task_slug!r}, or not the "
                "parent of the others"
            )
        return [self.of(read, client=self._client) for read in reads]
