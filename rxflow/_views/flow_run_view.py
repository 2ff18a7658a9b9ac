"""`FlowRunView`: one flow run, its task runs, its log and its flow.

A blocking method and its async twin differ by two lines; what both share is a poll or a private
method.
"""

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from datetime import datetime, timedelta
from typing import Any, Self
from uuid import UUID

from msgspec.structs import replace

from rxflow._models.arguments import canonical_id, check_type, stored_id, utc_time
from rxflow._models.entities import FlowRun, Snapshot, TaskRun
from rxflow._models.states import State
from rxflow._pictures.run_tree import RunTree
from rxflow._pictures.timeline import Timeline
from rxflow._protocol.pages import Poll
from rxflow._views.durations import duration
from rxflow._views.flow_run_lookups import read_snapshot
from rxflow._views.flow_view import FlowView
from rxflow._views.log_selection import LogSelection
from rxflow._views.map_indexes import TaskRunRead, indexed
from rxflow._views.run_tree_lookups import read_run_tree
from rxflow._views.task_run_cache import TaskRunCache
from rxflow._views.task_run_lookups import read_task_run_ids, read_task_runs
from rxflow._views.task_run_selector import TaskRunSelector, select_task_run
from rxflow._views.task_run_view import TaskRunView
from rxflow._views.temporary_client import (
    agiven_or_temporary,
    check_client,
    given_or_temporary,
)
from rxflow.client import Client
from rxflow.errors import FlowNotFound
from rxflow.events import FlowRunLog


class FlowRunView:
    """A flow run as it was at one moment; a view never changes, `get_latest` returns a new one.

    Two views are equal if they show the same, and a copy of a view is the view itself. A pickled
    view holds the snapshot alone, so no key is written: where it is loaded, it reads from the
    server that the environment and the active profile name there.

    Task runs are read from the server at each call, as they are now. A finished task run whose
    state has not changed is the same `TaskRunView` each time, with the states and the result that
    it has read; `get_latest` carries it over to the new view.

    Example:
        >>> import rxflow
        >>> from rxflow.testing import FakePrefect3
        >>> server = FakePrefect3()
        >>> run_id = server.add_run(name="nightly", state="RUNNING")
        >>> _ = server.add_task_run(run_id, task_key="load-0489fc40", state="COMPLETED")
        >>> _ = server.log(run_id, "17 rows loaded")
        >>> view = rxflow.FlowRunView.from_flow_run_id(run_id, client=server.client())
        >>> view.get_task_run("load").state.is_successful()
        True
        >>> [line.message for line in view.get_logs()]
        ['17 rows loaded']
        >>> _ = server.set_state(run_id, "COMPLETED")
        >>> (view.state.name, view.get_latest().state.name)
        ('Running', 'Completed')
    """

    __slots__ = ("_client", "_flow", "_snapshot", "_task_run_cache")

    _flow: FlowView | None

    def __init__(  # noqa: PLR0917 - as in Prefect 1
        self,
        flow_run_id: str | UUID,
        name: str,
        flow_id: str | UUID | None,
        labels: Iterable[str],
        parameters: Mapping[str, Any],
        context: Mapping[str, Any],
        state: State | None,
        states: Iterable[State],
        updated_at: datetime,
        run_config: Any,
        task_runs: Iterable[TaskRun | TaskRunView] | None = None,
        *,
        client: Client | None = None,
    ) -> None:
        """Make a view by hand; `from_flow_run_id` reads one from the server.

        Args:
            flow_run_id: The run's id, a UUID.
            name: The run's name.
            flow_id: The id of its flow.
            labels: The run's labels; on Prefect 3 its tags.
            parameters: The parameters that the flow was called with.
            context: The run's context.
            state: The run's state; None if it has none yet.
            states: All states that it was in.
            updated_at: When the server last wrote the run's row, an aware datetime.
            run_config: The run configuration of Prefect 1; on Prefect 3 None.
            task_runs: Task runs that are known already.
            client: The client of the server to read from; None finds the server from the
                environment and the active profile.

        Raises:
            InvalidRunId: ``flow_run_id`` is not a UUID.
            TypeError: A state, ``updated_at`` or ``client`` is of another class, or ``labels`` is
                text.
            ValueError: ``updated_at`` has no time zone.
        """
        updated = utc_time("updated_at", updated_at)
        if isinstance(labels, str):
            raise TypeError(f"labels={labels!r} is text; pass a list of labels: [{labels!r}]")
        check_type("state", state, State | None, "an rxflow.State, or None")
        states = tuple(states)
        for each in states:
            check_type("states", each, State, "a list of rxflow.State")
        run = FlowRun(
            id=canonical_id("flow_run_id", flow_run_id),
            name=name,
            flow_id=None if flow_id is None else stored_id(flow_id),
            created=updated,
            updated=updated,
            state_id=state.id if state is not None else None,
            state=state,
            parameters=parameters,
            context=context,
            run_config=run_config,
            tags=tuple(labels),
        )
        sorted_states = tuple(sorted(states, key=lambda state: state.order))
        known = tuple(_view_of(task_run, client) for task_run in task_runs or ())
        rows = tuple(view.task_run for view in known)
        self._initialize(Snapshot(run=run, states=sorted_states, task_runs=rows), client)
        for view in known:
            self._task_run_cache.add(view)

    @classmethod
    def from_snapshot(cls, snapshot: Snapshot, *, client: Client | None = None) -> Self:
        """Make a view of a snapshot, such as `rxflow.fold` builds.

        Args:
            snapshot: The snapshot to show.
            client: The client of the server to read more from; None finds the server from the
                environment and the active profile.

        Raises:
            TypeError: An argument is of another class.
        """
        check_type("snapshot", snapshot, Snapshot, "a Snapshot, such as rxflow.fold returns")
        view = cls.__new__(cls)
        view._initialize(snapshot, client)  # noqa: SLF001 - the same class
        return view

    @classmethod
    def from_flow_run_id(
        cls,
        flow_run_id: str | UUID,
        load_static_tasks: bool = False,
        *,
        client: Client | None = None,
    ) -> Self:
        """Read a run from the server.

        Args:
            flow_run_id: The run's id, a UUID.
            load_static_tasks: Whether to read the run's task runs too; on Prefect 1 all except the
                children of mapped ones.
            client: The client of the server to read from; None finds the server from the
                environment and the active profile.

        Raises:
            InvalidRunId: The id is not a UUID.
            RunNotFound: The server has no such run.
            ServerError: The server's responses were errors for 30 s, or one that no retry mends.
            Unreachable: The server did not respond for 30 s.
        """
        poll = _snapshot_poll(canonical_id("flow_run_id", flow_run_id), load_static_tasks)
        with given_or_temporary(client) as used:
            return cls.from_snapshot(used.read(poll), client=client)

    @classmethod
    async def afrom_flow_run_id(
        cls,
        flow_run_id: str | UUID,
        load_static_tasks: bool = False,
        *,
        client: Client | None = None,
    ) -> Self:
        """Async twin of `from_flow_run_id`, on the running event loop."""
        poll = _snapshot_poll(canonical_id("flow_run_id", flow_run_id), load_static_tasks)
        async with agiven_or_temporary(client) as used:
            return cls.from_snapshot(await used.aread(poll), client=client)

    def get_latest(self, load_static_tasks: bool = False) -> Self:
        """Read the run as it is now and return a new view; this one does not change.

        Args:
            load_static_tasks: Whether to read the run's task runs, as `from_flow_run_id` does;
                otherwise only the finished ones that this view has are read.

        Raises:
            RxflowError: As for `from_flow_run_id`.
        """
        poll = _snapshot_poll(self.flow_run_id, load_static_tasks, self._finished_task_runs())
        with given_or_temporary(self._client) as client:
            return self._latest(client.read(poll))

    async def aget_latest(self, load_static_tasks: bool = False) -> Self:
        """Async twin of `get_latest`, on the running event loop."""
        poll = _snapshot_poll(self.flow_run_id, load_static_tasks, self._finished_task_runs())
        async with agiven_or_temporary(self._client) as client:
            return self._latest(await client.aread(poll))

    def get_logs(
        self, start_time: datetime | None = None, end_time: datetime | None = None
    ) -> list[FlowRunLog]:
        """Read the run's log lines, and verify by the server's count that none is missing.

        Lines that cannot be read are left out. A warning in rxflow's log counts them, and another
        one says so if no count agreed; ``loguru.logger.enable("rxflow")`` turns the log on.

        Args:
            start_time: Only lines after this time, aware; None from the first line on.
            end_time: Only lines up to this time, aware; None up to the last line.

        Returns:
            The lines by (timestamp, created, id).

        Raises:
            TypeError: A time is not a datetime.
            ValueError: A time has no time zone.
            RxflowError: As for `from_flow_run_id`.
        """
        selection = LogSelection(self.flow_run_id, start_time, end_time)
        with given_or_temporary(self._client) as client:
            return selection.select(client.read(selection.poll))

    async def aget_logs(
        self, start_time: datetime | None = None, end_time: datetime | None = None
    ) -> list[FlowRunLog]:
        """Async twin of `get_logs`, on the running event loop."""
        selection = LogSelection(self.flow_run_id, start_time, end_time)
        async with agiven_or_temporary(self._client) as client:
            return selection.select(await client.aread(selection.poll))

    def get_task_run(
        self,
        task_slug: str | None = None,
        task_run_id: str | UUID | None = None,
        map_index: int | None = None,
    ) -> TaskRunView:
        """Read one of the run's task runs as it is now, selected by id or by slug.

        Args:
            task_slug: The slug of its task; on Prefect 3 the task key, with or without its hash.
            task_run_id: Its id, a UUID; if a slug is given as well, it must match.
            map_index: Which of the runs of its task, on Prefect 3 by creation; -1 and None are the
                only one, and on Prefect 1 the parent of mapped ones.

        Raises:
            ValueError: Neither a slug nor an id is given.
            TypeError: The id is neither text nor a UUID, or ``map_index`` is no whole number.
            InvalidRunId: The id is not a UUID.
            TaskRunNotFound: No task run matches, several do, or it belongs to another flow run; the
                message lists the candidates.
            RxflowError: As for `from_flow_run_id`.
        """
        selector = self._selector(task_slug, task_run_id, map_index)
        with given_or_temporary(self._client) as client:
            return self._task_run_cache.view_of(client.read(selector(client)))

    async def aget_task_run(
        self,
        task_slug: str | None = None,
        task_run_id: str | UUID | None = None,
        map_index: int | None = None,
    ) -> TaskRunView:
        """Async twin of `get_task_run`, on the running event loop."""
        selector = self._selector(task_slug, task_run_id, map_index)
        async with agiven_or_temporary(self._client) as client:
            return self._task_run_cache.view_of(await client.aread(selector(client)))

    def get_all_task_runs(self) -> list[TaskRunView]:
        """Read all task runs of the run as they are now, however many.

        Returns:
            The task runs, by creation.

        Raises:
            BadResponse: A task run's row cannot be read.
            RxflowError: As for `from_flow_run_id`.
        """
        with given_or_temporary(self._client) as client:
            rows = client.read(lambda limit: read_task_runs(self.flow_run_id, limit))
        return [self._task_run_cache.view_of(read) for read in indexed(rows)]

    async def aget_all_task_runs(self) -> list[TaskRunView]:
        """Async twin of `get_all_task_runs`, on the running event loop."""
        async with agiven_or_temporary(self._client) as client:
            rows = await client.aread(lambda limit: read_task_runs(self.flow_run_id, limit))
        return [self._task_run_cache.view_of(read) for read in indexed(rows)]

    def get_task_run_ids(self) -> list[str]:
        """Read the ids of all task runs of the run.

        Returns:
            The ids, by creation of the task runs.

        Raises:
            RxflowError: As for `from_flow_run_id`.
        """
        with given_or_temporary(self._client) as client:
            return client.read(lambda limit: read_task_run_ids(self.flow_run_id, limit))

    async def aget_task_run_ids(self) -> list[str]:
        """Async twin of `get_task_run_ids`, on the running event loop."""
        async with agiven_or_temporary(self._client) as client:
            return await client.aread(lambda limit: read_task_run_ids(self.flow_run_id, limit))

    def timeline(self, *, subflows: bool = True) -> Timeline:
        """Read when the run, its task runs and its subflows waited, ran and failed, as bars.

        A notebook shows the timeline as a picture, and ``print`` as text. Of a run that goes on it
        shows what there is now. The states of task runs are read where a task run was retried, a
        request for each on Prefect 3.

        Args:
            subflows: Whether to show subflows, to any depth, with their task runs; Prefect 1 does
                not know which runs are subflows.

        Raises:
            TypeError: ``subflows`` is no bool.
            RxflowError: As for `from_flow_run_id`.

        Example:
            >>> import rxflow
            >>> from rxflow.testing import FakePrefect3, VirtualTime
            >>> time = VirtualTime()
            >>> server = FakePrefect3(clock=time)
            >>> run_id = server.add_run(name="nightly", flow="report", state="RUNNING")
            >>> task_run_id = server.add_task_run(run_id, name="load-0", state="RUNNING")
            >>> time.wait(30)
            >>> _ = server.set_task_state(run_id, task_run_id, "COMPLETED")
            >>> view = rxflow.FlowRunView.from_flow_run_id(run_id, client=server.client())
            >>> view.timeline().svg.startswith("<svg")
            True
        """
        poll = _timeline_poll(self.flow_run_id, subflows)
        with given_or_temporary(self._client) as client:
            return Timeline(client.read(poll))

    async def atimeline(self, *, subflows: bool = True) -> Timeline:
        """Async twin of `timeline`, on the running event loop."""
        poll = _timeline_poll(self.flow_run_id, subflows)
        async with agiven_or_temporary(self._client) as client:
            return Timeline(await client.aread(poll))

    def get_flow_metadata(self, no_cache: bool = False) -> FlowView:
        """Read the run's flow, and the run's deployment.

        Args:
            no_cache: Whether to read it again; otherwise a view reads its flow once.

        Raises:
            FlowNotFound: The run has no flow, or the server no longer has it.
            RxflowError: As for `from_flow_run_id`.
        """
        if self._flow is None or no_cache:
            self._flow = FlowView.of_run(*self._flow_ids(), client=self._client)
        return self._flow

    async def aget_flow_metadata(self, no_cache: bool = False) -> FlowView:
        """Async twin of `get_flow_metadata`, on the running event loop."""
        if self._flow is None or no_cache:
            self._flow = await FlowView.aof_run(*self._flow_ids(), client=self._client)
        return self._flow

    @property
    def snapshot(self) -> Snapshot:
        """The snapshot that the view shows; a copy."""
        return _independent_copy(self._snapshot)

    @property
    def flow_run_id(self) -> str:
        """The run's id."""
        return self._snapshot.run.id

    @property
    def id(self) -> str:
        """The run's id, by Prefect 3's name for it."""
        return self._snapshot.run.id

    @property
    def name(self) -> str:
        """The run's name."""
        return self._snapshot.run.name

    @property
    def flow_id(self) -> str | None:
        """The id of the run's flow."""
        return self._snapshot.run.flow_id

    @property
    def labels(self) -> tuple[str, ...]:
        """The run's labels.

        On Prefect 3 its tags; the labels with values are in ``snapshot.run.labels``.
        """
        return self._snapshot.run.tags

    @property
    def tags(self) -> tuple[str, ...]:
        """The run's tags, in the server's order; on Prefect 1 its labels."""
        return self._snapshot.run.tags

    @property
    def start_time(self) -> datetime | None:
        """When the run first ran, aware; None if it has not, or for a view made by hand."""
        return self._snapshot.run.start_time

    @property
    def end_time(self) -> datetime | None:
        """When the run entered a terminal state, aware; None if it has not."""
        return self._snapshot.run.end_time

    @property
    def duration(self) -> timedelta | None:
        """The time from `start_time` to `end_time`, pauses and retries included.

        None unless both are known; ``duration.total_seconds()`` is in seconds.
        """
        return duration(self.start_time, self.end_time)

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The parameters that the flow was called with; a copy."""
        return deepcopy(self._snapshot.run.parameters)

    @property
    def context(self) -> Mapping[str, Any]:
        """The run's context; a copy."""
        return deepcopy(self._snapshot.run.context)

    @property
    def state(self) -> State | None:
        """The run's state; None if it has none yet."""
        return self._snapshot.state

    @property
    def states(self) -> tuple[State, ...]:
        """The states that the run was in, by time."""
        return self._snapshot.states

    @property
    def updated_at(self) -> datetime:
        """When the server last wrote the run's row."""
        return self._snapshot.run.updated

    @property
    def run_config(self) -> Any:
        """The run configuration of Prefect 1, a copy; on Prefect 3 None."""
        return deepcopy(self._snapshot.run.run_config)

    @property
    def task_runs(self) -> tuple[TaskRun, ...]:
        """The task runs that are known, by creation."""
        return self._snapshot.task_runs

    @property
    def task_run_counts(self) -> Mapping[str, int]:
        """How many of `task_runs` are in a state of each type, such as ``{"COMPLETED": 3}``.

        A type without any is left out, and counts 0 if it is looked up. The keys are `StateType`,
        which equals its text.
        """
        return self._snapshot.task_run_counts

    @property
    def progress(self) -> float | None:
        """The share of `task_runs` that are in a terminal state, from 0 to 1; None without any.

        It follows a watch with ``stream_tasks=True``. A server has only the task runs that have
        begun, or were submitted, so the share falls when others are.
        """
        return self._snapshot.progress

    def __eq__(self, other: object) -> bool:
        """Return whether the other view shows the same."""
        return (
            self._snapshot == other._snapshot if isinstance(other, FlowRunView) else NotImplemented
        )

    def __hash__(self) -> int:
        """Hash what the view shows, but for the values of its mappings."""
        return hash(self._snapshot)

    def __copy__(self) -> Self:
        """Return the view itself, which never changes."""
        return self

    def __deepcopy__(self, _: object) -> Self:
        """Return the view itself, which never changes."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what the view shows; a client may hold a key, and holds connections."""
        return type(self).from_snapshot, (self._snapshot,)

    def __repr__(self) -> str:
        """Show the run's id, name and state."""
        state = repr(self.state.name) if self.state else None
        return f"<FlowRunView {self.flow_run_id} name={self.name!r} state={state}>"

    def _repr_html_(self) -> str:
        """Render the run as a table, for notebooks."""
        from rxflow._views.html_tables import run_table  # noqa: PLC0415 - for notebooks

        return run_table(self._snapshot)

    def _initialize(self, snapshot: Snapshot, client: Client | None) -> None:
        check_client(client)
        self._snapshot = _independent_copy(snapshot)
        self._client = client
        self._task_run_cache = TaskRunCache(client)
        self._flow = None

    def _finished_task_runs(self) -> list[str]:
        return [row.id for row in self._snapshot.task_runs if row.is_terminal]

    def _latest(self, snapshot: Snapshot) -> Self:
        latest = self.from_snapshot(snapshot, client=self._client)
        latest._task_run_cache = self._task_run_cache.copy()  # noqa: SLF001 - the same class
        return latest

    def _selector(
        self, task_slug: str | None, task_run_id: str | UUID | None, map_index: int | None
    ) -> TaskRunSelector:
        known = self._task_run_cache.known_states
        return select_task_run(self.flow_run_id, task_slug, task_run_id, map_index, known)

    def _flow_ids(self) -> tuple[str, str | None, str | None]:
        run = self._snapshot.run
        if run.flow_id is None:
            raise FlowNotFound(f"Flow run {run.id} has no flow id, so there is no flow to read")
        return run.flow_id, run.deployment_id, run.flow_version


def _snapshot_poll(
    flow_run_id: str, with_task_runs: bool, known: Iterable[str] = ()
) -> Callable[[int], Poll[Snapshot]]:
    return lambda limit: read_snapshot(
        flow_run_id, limit, with_task_runs=with_task_runs, known=known
    )


def _timeline_poll(flow_run_id: str, subflows: bool) -> Callable[[int], Poll[RunTree]]:
    check_type("subflows", subflows, bool, "True or False")
    return lambda limit: read_run_tree(flow_run_id, limit, subflows=subflows)


def _view_of(task_run: TaskRun | TaskRunView, client: Client | None) -> TaskRunView:
    if isinstance(task_run, TaskRunView):
        return task_run
    return TaskRunView.of(TaskRunRead(row=task_run), client=client)


def _independent_copy(snapshot: Snapshot) -> Snapshot:
    """Copy a snapshot so that it shares no mutable value with the original."""
    run = snapshot.run
    copied = replace(
        run,
        parameters=deepcopy(run.parameters),
        context=deepcopy(run.context),
        run_config=deepcopy(run.run_config),
        labels=deepcopy(run.labels),
    )
    return replace(snapshot, run=copied)
