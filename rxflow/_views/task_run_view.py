"""`TaskRunView`: one task run, its states, its log lines, its mapped runs and its result.

A blocking method and its async twin differ by two lines; what both share is a poll or a private
method.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from os import PathLike
from typing import Any, Self
from uuid import UUID

from msgspec.structs import replace

from rxflow._models.arguments import canonical_id, stored_id, whole_number
from rxflow._models.entities import TaskRun
from rxflow._models.states import State
from rxflow._protocol.pages import Poll
from rxflow._views.durations import duration
from rxflow._views.log_selection import LogSelection
from rxflow._views.map_indexes import UNMAPPED, TaskRunRead
from rxflow._views.result_access import MAX_RESULT_BYTES, result_access
from rxflow._views.result_files import load_result
from rxflow._views.result_lookups import ResultRead, read_result
from rxflow._views.task_run_lookups import read_mapped_runs
from rxflow._views.task_run_selector import select_task_run
from rxflow._views.temporary_client import (
    agiven_or_temporary,
    check_client,
    given_or_temporary,
)
from rxflow.client import Client
from rxflow.errors import ResultUnavailable
from rxflow.events import FlowRunLog

_EPOCH = datetime.fromtimestamp(0, UTC)
_NOT_READ = object()  # a marker, since None is a result too


class TaskRunView:
    """A task run as it was at one moment; a view never changes, `get_latest` returns a new one.

    Two views are equal if they show the same task run in the same state, and a copy of a view is
    the view itself. A pickled view holds the task run's row and its states, so no key is written:
    where it is loaded, it reads from the server that the environment and the active profile name
    there.

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
        task_run_id: str | UUID,
        task_id: str | UUID | None,
        task_slug: str,
        name: str,
        state: State | None,
        map_index: int,
        flow_run_id: str | UUID | None,
        *,
        client: Client | None = None,
    ) -> None:
        """Make a view by hand; `from_task_run_id` reads one from the server.

        Args:
            task_run_id: The task run's id, a UUID.
            task_id: The id of its task; on Prefect 3 None.
            task_slug: The slug of its task; on Prefect 3 the task key.
            name: Its name.
            state: Its state; None if it has none yet.
            map_index: Which of the runs of its task it is; -1 for the only one, and on Prefect 1
                for the parent of mapped ones.
            flow_run_id: The flow run that it belongs to.
            client: The client of the server to read from; None finds the server from the
                environment and the active profile.

        Raises:
            InvalidRunId: ``task_run_id`` is not a UUID.
            TypeError: ``map_index`` is no whole number, or ``client`` not a `Client`.
        """
        since = state.timestamp if state is not None else _EPOCH
        row = TaskRun(
            id=canonical_id("task_run_id", task_run_id),
            name=name,
            flow_run_id=None if flow_run_id is None else stored_id(flow_run_id),
            task_key=task_slug,
            task_id=None if task_id is None else stored_id(task_id),
            dynamic_key="",
            created=since,
            updated=since,
            state_id=state.id if state is not None else None,
            state=state,
        )
        index = whole_number("map_index", map_index)
        self._initialize(TaskRunRead(row=row, map_index=index), client)

    @classmethod
    def of(cls, read: TaskRunRead, *, client: Client | None = None) -> Self:
        """Make a view of a task run that was read.

        Args:
            read: The task run.
            client: The client of the server to read more from; None finds the server from the
                environment and the active profile.
        """
        view = cls.__new__(cls)
        view._initialize(read, client)  # noqa: SLF001 - the same class
        return view

    @classmethod
    def from_task_run_id(
        cls, task_run_id: str | UUID | None = None, *, client: Client | None = None
    ) -> Self:
        """Read a task run from the server by its id.

        Args:
            task_run_id: The task run's id, a UUID.
            client: The client of the server to read from; None finds the server from the
                environment and the active profile.

        Raises:
            TypeError: The id is neither text nor a UUID.
            InvalidRunId: The id is not a UUID.
            TaskRunNotFound: The server has no such task run.
            RxflowError: As for `FlowRunView.from_flow_run_id`.
        """
        selector = select_task_run(None, task_run_id=task_run_id)
        with given_or_temporary(client) as used:
            return cls.of(used.read(selector(used)), client=client)

    @classmethod
    async def afrom_task_run_id(
        cls, task_run_id: str | UUID | None = None, *, client: Client | None = None
    ) -> Self:
        """Async twin of `from_task_run_id`, on the running event loop."""
        selector = select_task_run(None, task_run_id=task_run_id)
        async with agiven_or_temporary(client) as used:
            return cls.of(await used.aread(selector(used)), client=client)

    @classmethod
    def from_task_slug(
        cls,
        task_slug: str,
        flow_run_id: str | UUID,
        map_index: int = UNMAPPED,
        *,
        client: Client | None = None,
    ) -> Self:
        """Read a task run of a flow run from the server, by the slug of its task.

        Args:
            task_slug: The slug of the task; on Prefect 3 the task key, with or without its hash.
            flow_run_id: The flow run that it belongs to, a UUID.
            map_index: Which of the runs of the task, on Prefect 3 by creation; -1 for the only
                one, and on Prefect 1 for the parent of mapped ones.
            client: The client of the server to read from; None finds the server from the
                environment and the active profile.

        Raises:
            InvalidRunId: ``flow_run_id`` is not a UUID.
            TaskRunNotFound: No task run matches, or several do; the message lists the candidates.
            RxflowError: As for `FlowRunView.from_flow_run_id`.
        """
        selector = select_task_run(
            canonical_id("flow_run_id", flow_run_id), task_slug, map_index=map_index
        )
        with given_or_temporary(client) as used:
            return cls.of(used.read(selector(used)), client=client)

    @classmethod
    async def afrom_task_slug(
        cls,
        task_slug: str,
        flow_run_id: str | UUID,
        map_index: int = UNMAPPED,
        *,
        client: Client | None = None,
    ) -> Self:
        """Async twin of `from_task_slug`, on the running event loop."""
        selector = select_task_run(
            canonical_id("flow_run_id", flow_run_id), task_slug, map_index=map_index
        )
        async with agiven_or_temporary(client) as used:
            return cls.of(await used.aread(selector(used)), client=client)

    def get_latest(self) -> Self:
        """Read the task run as it is now and return a new view; this one does not change.

        Raises:
            RxflowError: As for `from_task_run_id`.
        """
        latest = self.from_task_run_id(self.task_run_id, client=self._client)
        return self.carry_over(latest)

    async def aget_latest(self) -> Self:
        """Async twin of `get_latest`, on the running event loop."""
        latest = await self.afrom_task_run_id(self.task_run_id, client=self._client)
        return self.carry_over(latest)

    def get_logs(
        self, start_time: datetime | None = None, end_time: datetime | None = None
    ) -> list[FlowRunLog]:
        """Read the log lines of the task run, and verify that none is missing.

        The log of the whole flow run is read, since the server's count proves only that.

        Lines that cannot be read are left out. A warning in rxflow's log counts them, and another
        one says so if no count agreed; ``loguru.logger.enable("rxflow")`` turns the log on.

        Args:
            start_time: Only lines after this time, aware; None from the first line on.
            end_time: Only lines up to this time, aware; None up to the last line.

        Returns:
            The lines by (timestamp, created, id).

        Raises:
            TypeError: A time is not a datetime.
            ValueError: A time has no time zone, or the task run belongs to no flow run.
            RxflowError: As for `from_task_run_id`.
        """
        selection = self._log_selection(start_time, end_time)
        with given_or_temporary(self._client) as client:
            return selection.select(client.read(selection.poll))

    async def aget_logs(
        self, start_time: datetime | None = None, end_time: datetime | None = None
    ) -> list[FlowRunLog]:
        """Async twin of `get_logs`, on the running event loop."""
        selection = self._log_selection(start_time, end_time)
        async with agiven_or_temporary(self._client) as client:
            return selection.select(await client.aread(selection.poll))

    def get_result(
        self,
        *,
        directories: Iterable[str | PathLike[str]] | None = None,
        max_bytes: int = MAX_RESULT_BYTES,
    ) -> Any:
        """Read the value that the task returned, from where it was stored.

        Only JSON and text are read, from files on this machine or, on Prefect 1, from the server
        if it stores the value itself; nothing is ever unpickled. The result of the parent of mapped
        task runs, which only Prefect 1 has, is the list of its children's results.

        The server names the file, so only regular files in the given directories are read, also
        where the path has links.

        Args:
            directories: The directories below which files may be read. None for Prefect's own:
                ``PREFECT_LOCAL_STORAGE_PATH`` or ``~/.prefect/storage``, and Prefect 1's
                ``~/.prefect/results``.
            max_bytes: Bytes of the longest file that is read, 32 MiB unless set.

        Returns:
            The result; a view reads it once.

        Raises:
            ResultUnavailable: The task run or one of its mapped children is not finished, or the
                file may not be read, and the message says what to pass; also a ValueError.
            ResultFileNotFound: The file is not on this machine; also a FileNotFoundError.
            ResultNotKept: The result was not kept; also a TypeError.
            ResultUnreadable: It is stored in another form or place, which the message names; also a
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
        access = result_access(directories, max_bytes)
        self._check_finished()
        if self._result is _NOT_READ:
            with given_or_temporary(self._client) as client:
                read = client.read(self._read_result)
            self._result = load_result(read, access)
        return self._result

    async def aget_result(
        self,
        *,
        directories: Iterable[str | PathLike[str]] | None = None,
        max_bytes: int = MAX_RESULT_BYTES,
    ) -> Any:
        """Async twin of `get_result`; files are read in a thread, not on the event loop."""
        access = result_access(directories, max_bytes)
        self._check_finished()
        if self._result is _NOT_READ:
            async with agiven_or_temporary(self._client) as client:
                read = await client.aread(self._read_result)
            self._result = await asyncio.to_thread(load_result, read, access)
        return self._result

    def iter_mapped(self) -> Iterator[Self]:
        """Iterate over the mapped runs of this task run's task, by map index.

        On Prefect 1 the parent of mapped runs has them. Prefect 3 has no parents, so there every
        run of the task gives all of its runs.

        Raises:
            TypeError: The task was not mapped, or this is not the parent of its mapped runs.
            RxflowError: As for `from_task_run_id`.
        """
        with given_or_temporary(self._client) as client:
            reads = client.read(lambda limit: read_mapped_runs(self.task_run, limit))
        return iter(self._mapped(reads))

    async def aiter_mapped(self) -> AsyncIterator[Self]:
        """Async twin of `iter_mapped`, on the running event loop."""
        async with agiven_or_temporary(self._client) as client:
            reads = await client.aread(lambda limit: read_mapped_runs(self.task_run, limit))
        for view in self._mapped(reads):
            yield view

    def carry_over(self, latest: Self) -> Self:
        """Copy the states and the result that were read to a later view of the same state."""
        if latest.task_run.state_id == self.task_run.state_id:
            # A mapped child may have run again without a new state of its parent.
            if not (self.state and self.state.is_mapped):
                latest._result = self._result
            latest._read = replace(latest._read, states=latest._read.states or self._read.states)
        return latest

    @property
    def task_run(self) -> TaskRun:
        """The task run's row."""
        return self._read.row

    @property
    def task_run_id(self) -> str:
        """The task run's id."""
        return self._read.row.id

    @property
    def id(self) -> str:
        """The task run's id, by Prefect 3's name for it."""
        return self._read.row.id

    @property
    def task_id(self) -> str | None:
        """The id of its task; on Prefect 3 None."""
        return self._read.row.task_id

    @property
    def task_slug(self) -> str:
        """The slug of its task; on Prefect 3 the task key."""
        return self._read.row.task_key

    @property
    def name(self) -> str:
        """The task run's name.

        One that was given none on Prefect 1 has its slug for a name, ``load-1``, with the map index
        of a child of a mapped one: ``load-1[2]``.
        """
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
        """The states that it was in, by time.

        Only the last one if the task run was read together with others.
        """
        if self._read.states is not None:
            return self._read.states
        return () if self.state is None else (self.state,)

    @property
    def has_history(self) -> bool:
        """Whether `states` holds all states that the server returns for the task run."""
        return self._read.states is not None

    @property
    def tags(self) -> tuple[str, ...]:
        """The task run's tags, in the server's order."""
        return self._read.row.tags

    @property
    def start_time(self) -> datetime | None:
        """When it first ran, aware; None if it has not, or for a view made by hand."""
        return self._read.row.start_time

    @property
    def end_time(self) -> datetime | None:
        """When it finished, aware; None if it has not."""
        return self._read.row.end_time

    @property
    def duration(self) -> timedelta | None:
        """The time from `start_time` to `end_time`, retries included.

        None unless both are known; ``duration.total_seconds()`` is in seconds.
        """
        return duration(self.start_time, self.end_time)

    def __eq__(self, other: object) -> bool:
        """Return whether the other view shows the same task run in the same state."""
        if not isinstance(other, TaskRunView):
            return NotImplemented
        return self.task_run_id == other.task_run_id and self.state == other.state

    def __hash__(self) -> int:
        """Hash the task run's id and state."""
        return hash((self.task_run_id, self.state))

    def __copy__(self) -> Self:
        """Return the view itself, which never changes."""
        return self

    def __deepcopy__(self, _: object) -> Self:
        """Return the view itself, which never changes."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what the view shows; a client may hold a key, and holds connections."""
        return type(self).of, (self._read,)

    def __repr__(self) -> str:
        """Show the task run's id, name and state."""
        state = repr(self.state.name) if self.state else None
        return f"<TaskRunView {self.task_run_id} name={self.name!r} state={state}>"

    def _repr_html_(self) -> str:
        """Render the task run as a table, for notebooks."""
        from rxflow._views.html_tables import task_run_table  # noqa: PLC0415 - for notebooks

        return task_run_table(self.task_run, self.states)

    def _initialize(self, read: TaskRunRead, client: Client | None) -> None:
        check_client(client)
        self._read = read
        self._client = client
        self._result = _NOT_READ

    def _log_selection(self, start: datetime | None, end: datetime | None) -> LogSelection:
        if self.flow_run_id is None:
            raise ValueError(
                f"Task run {self.task_run_id} belongs to no flow run, so it has no log to read"
            )
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
                f"Task run {self.task_run_id} is the only run of {self.task_slug!r}, or not the "
                "parent of its mapped runs"
            )
        return [self.of(read, client=self._client) for read in reads]
