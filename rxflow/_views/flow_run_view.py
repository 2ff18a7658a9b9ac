"""`FlowRunView`: one flow run, its task runs, its log lines and its flow."""

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from datetime import datetime
from typing import Any, Self

from msgspec.structs import replace

from rxflow._models.arguments import canonical_id
from rxflow._models.entities import FlowRun, Snapshot, TaskRun
from rxflow._models.states import State
from rxflow._protocol.pages import Poll
from rxflow._views.flow_view import FlowView
from rxflow._views.html import table_of
from rxflow._views.log_lookups import LogSelection
from rxflow._views.run_lookups import read_snapshot
from rxflow._views.task_run_cache import TaskRunCache
from rxflow._views.task_run_lookups import TaskRunRead, indexed, read_task_run_ids, read_task_runs
from rxflow._views.task_run_selector import TaskRunSelector, select_task_run
from rxflow._views.task_run_view import TaskRunView
from rxflow._views.temporary_client import agiven_or_temporary, given_or_temporary
from rxflow.client import Client
from rxflow.errors import FlowNotFound
from rxflow.events import FlowRunLog


class FlowRunView:
    """A flow run as it was at one moment; it never changes, `get_latest` gives a new one.

    Two views are equal when they show the same. Task runs are asked for when they are wanted, and
    always as they are now: one that is finished, and still in the state that it was found in, is
    the same `TaskRunView` each time, with the states and the result that it has read, and
    `get_latest` hands it on.

    Example:
        >>> import rxflow
        >>> from rxflow.testing import FakePrefect3
        >>> server = FakePrefect3()
        >>> run_id = server.add_run(name="nightly", state="RUNNING")
        >>> _ = server.add_task_run(run_id, task_key="load-0489fc40", state="COMPLETED")
        >>> view = rxflow.FlowRunView.from_flow_run_id(run_id, client=server.client())
        >>> view.get_task_run("load").state.is_successful()
        True
    """

    __slots__ = ("_client", "_flow", "_kept", "_snapshot")

    _flow: FlowView | None

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
        task_runs: Iterable[TaskRun | TaskRunView] | None = None,
        *,
        client: Client | None = None,
    ) -> None:
        """Make a view by hand; `from_flow_run_id` asks the server for one.

        Args:
            flow_run_id: The run's id, a UUID.
            name: The run's name.
            flow_id: The id of the flow that it is a run of.
            labels: The run's labels; on Prefect 3 its tags.
            parameters: What the flow was called with.
            context: What was put into the run's context.
            state: The run's state; None if it has none yet.
            states: All states it was in.
            updated_at: When the server last wrote the run's row, an aware datetime.
            run_config: How Prefect 1 was to run it; on Prefect 3 None.
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
            run_config=run_config,
            tags=tuple(labels),
        )
        in_order = tuple(sorted(states, key=lambda state: state.order))
        known = tuple(_view_of(task_run, client) for task_run in task_runs or ())
        rows = tuple(view.task_run for view in known)
        self._show(Snapshot(run=run, states=in_order, task_runs=rows), client)
        for view in known:
            self._kept.keep(view)

    @classmethod
    def from_snapshot(cls, snapshot: Snapshot, *, client: Client | None = None) -> Self:
        """Make a view of what `rxflow.fold` built.

        Args:
            snapshot: What is known of the run.
            client: The server to ask for more.
        """
        view = cls.__new__(cls)
        view._show(snapshot, client)  # noqa: SLF001 - one of our own
        return view

    @classmethod
    def from_flow_run_id(
        cls, flow_run_id: str, load_static_tasks: bool = False, *, client: Client | None = None
    ) -> Self:
        """Ask the server for a run.

        Args:
            flow_run_id: The run's id, a UUID.
            load_static_tasks: Whether to read the run's task runs at once; on Prefect 1 all but the
                children of mapped ones.
            client: The server to ask; found from the environment and the active profile if None.

        Raises:
            InvalidRunId: The id is not a UUID.
            RunNotFound: The server has no such run.
            ServerError: The server answers, but not well, for 30 s.
            Unreachable: The server does not answer for 30 s.
        """
        poll = _reading(canonical_id(flow_run_id), load_static_tasks)
        with given_or_temporary(client) as used:
            return cls.from_snapshot(used.read(poll), client=client)

    @classmethod
    async def afrom_flow_run_id(
        cls, flow_run_id: str, load_static_tasks: bool = False, *, client: Client | None = None
    ) -> Self:
        """Ask as `from_flow_run_id` does, on the running event loop."""
        poll = _reading(canonical_id(flow_run_id), load_static_tasks)
        async with agiven_or_temporary(client) as used:
            return cls.from_snapshot(await used.aread(poll), client=client)

    def get_latest(self, load_static_tasks: bool = False) -> Self:
        """Ask the server for the run as it is now; this view is left as it is.

        Args:
            load_static_tasks: Whether to read the run's task runs at once, as `from_flow_run_id`
                does; if not, those that this view has and that are finished are read.

        Raises:
            RxflowError: As for `from_flow_run_id`.
        """
        poll = _reading(self.flow_run_id, load_static_tasks, self._finished())
        with given_or_temporary(self._client) as client:
            return self._followed_by(client.read(poll))

    async def aget_latest(self, load_static_tasks: bool = False) -> Self:
        """Ask as `get_latest` does, on the running event loop."""
        poll = _reading(self.flow_run_id, load_static_tasks, self._finished())
        async with agiven_or_temporary(self._client) as client:
            return self._followed_by(await client.aread(poll))

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
        lines = LogSelection(self.flow_run_id, start_time, end_time)
        with given_or_temporary(self._client) as client:
            return lines.within(client.read(lines.poll))

    async def aget_logs(
        self, start_time: datetime | None = None, end_time: datetime | None = None
    ) -> list[FlowRunLog]:
        """Ask as `get_logs` does, on the running event loop."""
        lines = LogSelection(self.flow_run_id, start_time, end_time)
        async with agiven_or_temporary(self._client) as client:
            return lines.within(await client.aread(lines.poll))

    def get_task_run(
        self,
        task_slug: str | None = None,
        task_run_id: str | None = None,
        map_index: int | None = None,
    ) -> TaskRunView:
        """Ask the server for one of the run's task runs as it is now.

        Args:
            task_slug: What its task goes by; on Prefect 3 the task key, with its hash or without.
            task_run_id: Its id, a UUID, which goes before the slug; a slug must fit it then.
            map_index: Which of the runs of its task, on Prefect 3 by creation; -1 and None are the
                only one, and on Prefect 1 the parent of mapped ones.

        Raises:
            ValueError: Neither slug nor id were given.
            TypeError: The id is no text.
            InvalidRunId: The id is not a UUID.
            TaskRunNotFound: None fits, more than one does, or it belongs to another flow run; the
                message lists what there is.
            RxflowError: As for `from_flow_run_id`.
        """
        pick = self._picked(task_slug, task_run_id, map_index)
        with given_or_temporary(self._client) as client:
            return self._kept.view_of(client.read(pick(client)))

    async def aget_task_run(
        self,
        task_slug: str | None = None,
        task_run_id: str | None = None,
        map_index: int | None = None,
    ) -> TaskRunView:
        """Ask as `get_task_run` does, on the running event loop."""
        pick = self._picked(task_slug, task_run_id, map_index)
        async with agiven_or_temporary(self._client) as client:
            return self._kept.view_of(await client.aread(pick(client)))

    def get_all_task_runs(self) -> list[TaskRunView]:
        """Ask the server for all task runs of the run as they are now, however many.

        Returns:
            The task runs, by creation.

        Raises:
            BadResponse: One of them cannot be read.
            RxflowError: As for `from_flow_run_id`.
        """
        with given_or_temporary(self._client) as client:
            rows = client.read(lambda limit: read_task_runs(self.flow_run_id, limit))
        return [self._kept.view_of(read) for read in indexed(rows)]

    async def aget_all_task_runs(self) -> list[TaskRunView]:
        """Ask as `get_all_task_runs` does, on the running event loop."""
        async with agiven_or_temporary(self._client) as client:
            rows = await client.aread(lambda limit: read_task_runs(self.flow_run_id, limit))
        return [self._kept.view_of(read) for read in indexed(rows)]

    def get_task_run_ids(self) -> list[str]:
        """Ask the server for the ids of all task runs of the run, by creation.

        Raises:
            RxflowError: As for `from_flow_run_id`.
        """
        with given_or_temporary(self._client) as client:
            return client.read(lambda limit: read_task_run_ids(self.flow_run_id, limit))

    async def aget_task_run_ids(self) -> list[str]:
        """Ask as `get_task_run_ids` does, on the running event loop."""
        async with agiven_or_temporary(self._client) as client:
            return await client.aread(lambda limit: read_task_run_ids(self.flow_run_id, limit))

    def get_flow_metadata(self, no_cache: bool = False) -> FlowView:
        """Ask the server for the flow that it is a run of, and for the run's deployment.

        Args:
            no_cache: Whether to ask again; the flow is asked for once otherwise.

        Raises:
            FlowNotFound: The run has no flow, or the server knows it no more.
            RxflowError: As for `from_flow_run_id`.
        """
        if self._flow is None or no_cache:
            self._flow = FlowView.of_run(*self._flow_ids(), client=self._client)
        return self._flow

    async def aget_flow_metadata(self, no_cache: bool = False) -> FlowView:
        """Ask as `get_flow_metadata` does, on the running event loop."""
        if self._flow is None or no_cache:
            self._flow = await FlowView.aof_run(*self._flow_ids(), client=self._client)
        return self._flow

    # -- what it shows --------------------------------------------------------------------------

    @property
    def snapshot(self) -> Snapshot:
        """What the view shows, as plain data."""
        return _copied(self._snapshot)

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
        """The run's labels.

        On Prefect 3 its tags; its labels with values are in ``snapshot.run.labels``.
        """
        return self._snapshot.run.tags

    @property
    def parameters(self) -> Mapping[str, Any]:
        """What the flow was called with; a copy."""
        return deepcopy(self._snapshot.run.parameters)

    @property
    def context(self) -> Mapping[str, Any]:
        """What was put into the run's context; a copy."""
        return deepcopy(self._snapshot.run.context)

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
        """How Prefect 1 was to run it, a copy; on Prefect 3 None."""
        return deepcopy(self._snapshot.run.run_config)

    @property
    def task_runs(self) -> tuple[TaskRun, ...]:
        """The task runs that are known, by creation."""
        return self._snapshot.task_runs

    def __eq__(self, other: object) -> bool:
        """Whether the other view shows the same."""
        return (
            self._snapshot == other._snapshot if isinstance(other, FlowRunView) else NotImplemented
        )

    __hash__ = None  # type: ignore[assignment]  # what it shows holds mappings

    def __repr__(self) -> str:
        """Name the run and its state."""
        state = repr(self.state.name) if self.state else None
        return f"<FlowRunView {self.flow_run_id} name={self.name!r} state={state}>"

    def _repr_html_(self) -> str:
        """Show the run as a table, for notebooks."""
        return table_of(self._snapshot)

    def _show(self, snapshot: Snapshot, client: Client | None) -> None:
        self._snapshot = _copied(snapshot)
        self._client = client
        self._kept = TaskRunCache(client)
        self._flow = None

    def _finished(self) -> list[str]:
        return [row.id for row in self._snapshot.task_runs if row.is_terminal]

    def _followed_by(self, snapshot: Snapshot) -> Self:
        latest = self.from_snapshot(snapshot, client=self._client)
        latest._kept = self._kept.handed_on()  # noqa: SLF001 - one of our own
        return latest

    def _picked(
        self, task_slug: str | None, task_run_id: str | None, map_index: int | None
    ) -> TaskRunSelector:
        return select_task_run(
            self.flow_run_id, task_slug, task_run_id, map_index, self._kept.known
        )

    def _flow_ids(self) -> tuple[str, str | None, str | None]:
        run = self._snapshot.run
        if run.flow_id is None:
            raise FlowNotFound(f"Flow run {run.id} names no flow")
        return run.flow_id, run.deployment_id, run.flow_version


def _reading(
    flow_run_id: str, tasks: bool, known: Iterable[str] = ()
) -> Callable[[int], Poll[Snapshot]]:
    return lambda limit: read_snapshot(flow_run_id, limit, tasks=tasks, known=known)


def _view_of(task_run: TaskRun | TaskRunView, client: Client | None) -> TaskRunView:
    if isinstance(task_run, TaskRunView):
        return task_run
    return TaskRunView.of(TaskRunRead(row=task_run), client=client)


def _copied(snapshot: Snapshot) -> Snapshot:
    """A snapshot that shares nothing that can be changed."""
    run = snapshot.run
    own = replace(
        run,
        parameters=deepcopy(run.parameters),
        context=deepcopy(run.context),
        run_config=deepcopy(run.run_config),
        labels=deepcopy(run.labels),
    )
    return replace(snapshot, run=own)
