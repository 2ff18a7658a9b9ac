"""`FlowView`: a flow, by itself or with the deployment of one of its runs.

A blocking method and its async twin differ in how they read; what both share is a poll.
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any, Self
from uuid import UUID

import msgspec

from rxflow._models.arguments import canonical_id, stored_id, text_of
from rxflow._models.entities import Deployment, FlowRegistration
from rxflow._protocol.pages import Poll
from rxflow._views.flow_lookups import (
    FlowRead,
    read_flow,
    read_flow_of_any_id,
    read_flow_of_group,
    read_flow_of_name,
)
from rxflow._views.temporary_client import agiven_or_temporary, given_or_temporary
from rxflow.client import Client
from rxflow.errors import FlowNotFound

_NOT_REGISTERED = FlowRegistration()


class _FlowFields(msgspec.Struct, frozen=True, kw_only=True):
    """What a view shows; values that callers could change are copied on the way in and out."""

    flow_id: str
    name: str
    labels: tuple[str, ...]
    settings: dict[str, Any]
    run_config: Any
    serialized_flow: Any
    archived: bool
    project_name: str | None
    core_version: str | None
    storage: Any
    deployment: str | None
    version: str | None


class FlowView:
    """A flow as it was at one moment; a view never changes.

    An attribute that the server does not have is None, or empty. Two views are equal if they show
    the same.

    Example:
        >>> import rxflow
        >>> from rxflow.testing import FakePrefect3
        >>> server = FakePrefect3()
        >>> run_id = server.add_run()
        >>> view = rxflow.FlowRunView.from_flow_run_id(run_id, client=server.client())
        >>> view.get_flow_metadata().name
        'fake-flow'
    """

    __slots__ = ("_fields",)

    def __init__(  # noqa: PLR0917 - as in Prefect 1
        self,
        flow_id: str | UUID,
        settings: Mapping[str, Any] | None = None,
        run_config: Any = None,
        serialized_flow: Any = None,
        archived: bool = False,
        project_name: str | None = None,
        core_version: str | None = None,
        storage: Any = None,
        name: str = "",
        flow_group_labels: tuple[str, ...] | list[str] = (),
        *,
        deployment: Deployment | None = None,
        version: str | None = None,
    ) -> None:
        """Make a view by hand; `from_flow_id` reads one from the server.

        Args:
            flow_id: The flow's id.
            settings: The flow's settings; on Prefect 3 empty.
            run_config: The run configuration; on Prefect 3 the work pool, queue and job variables
                of the deployment.
            serialized_flow: The flow's graph; on Prefect 3 None.
            archived: Whether it was archived.
            project_name: Its project; on Prefect 3 None.
            core_version: The version of Prefect that registered it; on Prefect 3 None.
            storage: Where its code is; on Prefect 3 the entry point, path and pull steps of the
                deployment.
            name: Its name.
            flow_group_labels: Its labels; on Prefect 3 its tags.
            deployment: The deployment of the run that the flow was read for.
            version: The flow's version in that run; on Prefect 1 the count of its registrations.
        """
        # Copies, so that a later change to what was passed does not change the view.
        self._fields = _FlowFields(
            flow_id=stored_id(flow_id),
            name=name,
            labels=tuple(flow_group_labels),
            settings=deepcopy(dict(settings or {})),
            run_config=deepcopy(run_config),
            serialized_flow=deepcopy(serialized_flow),
            archived=archived,
            project_name=project_name,
            core_version=core_version,
            storage=deepcopy(storage),
            deployment=None if deployment is None else deployment.name,
            version=version,
        )

    @classmethod
    def from_id(cls, flow_id: str | UUID, *, client: Client | None = None) -> Self:
        """Read the flow with an id or, if there is none, the newest version in the flow group.

        Args:
            flow_id: The id of the flow or, on Prefect 1, of the group, a UUID.
            client: The client of the server to read from; None finds the server from the
                environment and the active profile.

        Raises:
            TypeError: The id is neither text nor a UUID.
            FlowNotFound: The id is not a UUID, or the server has neither.
            RxflowError: As for `FlowRunView.from_flow_run_id`.
        """
        canonical = _flow_id("flow_id", flow_id)
        return cls._read(lambda _: read_flow_of_any_id(canonical), client)

    @classmethod
    async def afrom_id(cls, flow_id: str | UUID, *, client: Client | None = None) -> Self:
        """Async twin of `from_id`, on the running event loop."""
        canonical = _flow_id("flow_id", flow_id)
        return await cls._aread(lambda _: read_flow_of_any_id(canonical), client)

    @classmethod
    def from_flow_id(cls, flow_id: str | UUID, *, client: Client | None = None) -> Self:
        """Read a flow from the server by its id.

        Args:
            flow_id: The flow's id, a UUID.
            client: The client of the server to read from; None finds the server from the
                environment and the active profile.

        Raises:
            TypeError: The id is neither text nor a UUID.
            FlowNotFound: The id is not a UUID, or the server has no such flow.
            RxflowError: As for `FlowRunView.from_flow_run_id`.
        """
        return cls.of_run(_flow_id("flow_id", flow_id), client=client)

    @classmethod
    async def afrom_flow_id(cls, flow_id: str | UUID, *, client: Client | None = None) -> Self:
        """Async twin of `from_flow_id`, on the running event loop."""
        return await cls.aof_run(_flow_id("flow_id", flow_id), client=client)

    @classmethod
    def from_flow_group_id(cls, flow_group_id: str | UUID, *, client: Client | None = None) -> Self:
        """Read the newest version of a flow from a Prefect 1 server, by its flow group.

        Args:
            flow_group_id: The id of the group that holds all versions of the flow, a UUID.
            client: The client of the server to read from; None finds the server from the
                environment and the active profile.

        Raises:
            TypeError: The id is neither text nor a UUID.
            FlowNotFound: The id is not a UUID, or the server has no such group; Prefect 3 has no
                groups.
            RxflowError: As for `FlowRunView.from_flow_run_id`.
        """
        canonical = _flow_id("flow_group_id", flow_group_id)
        return cls._read(lambda _: read_flow_of_group(canonical), client)

    @classmethod
    async def afrom_flow_group_id(
        cls, flow_group_id: str | UUID, *, client: Client | None = None
    ) -> Self:
        """Async twin of `from_flow_group_id`, on the running event loop."""
        canonical = _flow_id("flow_group_id", flow_group_id)
        return await cls._aread(lambda _: read_flow_of_group(canonical), client)

    @classmethod
    def from_flow_name(
        cls,
        flow_name: str,
        project_name: str | None = "",
        last_updated: bool = False,
        *,
        client: Client | None = None,
    ) -> Self:
        """Read the flow with a name from the server; archived versions are left out.

        Args:
            flow_name: The flow's name.
            project_name: The project to search; "" is all projects, None is flows without one.
                Prefect 3 has no projects.
            last_updated: Whether to return the one that was updated last if there are several; on
                Prefect 1 the version that was registered last.
            client: The client of the server to read from; None finds the server from the
                environment and the active profile.

        Raises:
            TypeError: A name is not text.
            FlowNotFound: The server has no such flow, or several.
            RxflowError: As for `FlowRunView.from_flow_run_id`.
        """
        poll = _poll_by_name(flow_name, project_name, last_updated=last_updated)
        return cls._read(poll, client)

    @classmethod
    async def afrom_flow_name(
        cls,
        flow_name: str,
        project_name: str | None = "",
        last_updated: bool = False,
        *,
        client: Client | None = None,
    ) -> Self:
        """Async twin of `from_flow_name`, on the running event loop."""
        poll = _poll_by_name(flow_name, project_name, last_updated=last_updated)
        return await cls._aread(poll, client)

    @classmethod
    def of_run(
        cls,
        flow_id: str | UUID,
        deployment_id: str | UUID | None = None,
        version: str | None = None,
        *,
        client: Client | None = None,
    ) -> Self:
        """Read the flow of a run from the server, and the deployment of that run.

        Args:
            flow_id: The flow's id.
            deployment_id: The id of the run's deployment, if it has one.
            version: The flow's version in the run.
            client: The client of the server to read from; None finds the server from the
                environment and the active profile.

        Raises:
            TypeError: An id is neither text nor a UUID.
            FlowNotFound: An id is not a UUID, or the server has no such flow.
            RxflowError: As for `FlowRunView.from_flow_run_id`.
        """
        poll = _poll_of_run(flow_id, deployment_id, version)
        return cls._read(poll, client)

    @classmethod
    async def aof_run(
        cls,
        flow_id: str | UUID,
        deployment_id: str | UUID | None = None,
        version: str | None = None,
        *,
        client: Client | None = None,
    ) -> Self:
        """Async twin of `of_run`, on the running event loop."""
        poll = _poll_of_run(flow_id, deployment_id, version)
        return await cls._aread(poll, client)

    @classmethod
    def _read(cls, poll: Callable[[int], Poll[FlowRead]], client: Client | None) -> Self:
        with given_or_temporary(client) as used:
            return cls._of(used.read(poll))

    @classmethod
    async def _aread(cls, poll: Callable[[int], Poll[FlowRead]], client: Client | None) -> Self:
        async with agiven_or_temporary(client) as used:
            return cls._of(await used.aread(poll))

    @classmethod
    def _of(cls, read: FlowRead) -> Self:
        flow, deployment = read.flow, read.deployment
        registration = flow.registered or _NOT_REGISTERED
        registered = None if registration.version is None else str(registration.version)
        return cls(
            flow_id=flow.id,
            settings=registration.settings,
            run_config=registration.run_config or _run_config(deployment),
            serialized_flow=registration.serialized_flow,
            archived=registration.archived,
            project_name=registration.project_name,
            core_version=registration.core_version,
            storage=registration.storage or _storage(deployment),
            name=flow.name,
            flow_group_labels=flow.tags,
            deployment=deployment,
            version=read.version or (deployment.version if deployment else registered),
        )

    @property
    def flow_id(self) -> str:
        """The flow's id."""
        return self._fields.flow_id

    @property
    def id(self) -> str:
        """The flow's id, by Prefect 3's name for it."""
        return self.flow_id

    @property
    def name(self) -> str:
        """The flow's name."""
        return self._fields.name

    @property
    def labels(self) -> tuple[str, ...]:
        """The flow's labels; on Prefect 3 its tags."""
        return self._fields.labels

    @property
    def tags(self) -> tuple[str, ...]:
        """The flow's tags; on Prefect 1 the labels of its flow group."""
        return self.labels

    @property
    def flow_group_labels(self) -> tuple[str, ...]:
        """The flow's labels, by Prefect 1's name for them."""
        return self.labels

    @property
    def settings(self) -> dict[str, Any]:
        """The flow's settings, a copy; on Prefect 3 empty."""
        return deepcopy(self._fields.settings)

    @property
    def run_config(self) -> Any:
        """The run configuration.

        On Prefect 3 the work pool, queue and job variables of the deployment.
        """
        return deepcopy(self._fields.run_config)

    @property
    def serialized_flow(self) -> Any:
        """The flow's graph; on Prefect 3 None."""
        return deepcopy(self._fields.serialized_flow)

    @property
    def archived(self) -> bool:
        """Whether it was archived; on Prefect 3 False."""
        return self._fields.archived

    @property
    def project_name(self) -> str | None:
        """The flow's project; on Prefect 3 None."""
        return self._fields.project_name

    @property
    def core_version(self) -> str | None:
        """The version of Prefect that registered it; on Prefect 3 None."""
        return self._fields.core_version

    @property
    def storage(self) -> Any:
        """Where its code is; on Prefect 3 the deployment's entry point, path and pull steps."""
        return deepcopy(self._fields.storage)

    @property
    def deployment(self) -> str | None:
        """The name of the deployment of the run that the flow was read for, if it has one."""
        return self._fields.deployment

    @property
    def version(self) -> str | None:
        """The flow's version in the run that it was read for; on Prefect 1 a number."""
        return self._fields.version

    def __eq__(self, other: object) -> bool:
        """Return whether the other view shows the same."""
        return self._fields == other._fields if isinstance(other, FlowView) else NotImplemented

    def __hash__(self) -> int:
        """Hash the flow's id."""
        return hash(self.flow_id)

    def __repr__(self) -> str:
        """Show the flow's id, name and deployment."""
        return f"<FlowView {self.flow_id} name={self.name!r} deployment={self.deployment!r}>"


def _flow_id(name: str, value: object) -> str:
    return canonical_id(name, value, error=FlowNotFound, type_error=True)


def _poll_of_run(
    flow_id: object, deployment_id: object, version: str | None
) -> Callable[[int], Poll[FlowRead]]:
    flow = _flow_id("flow_id", flow_id)
    deployment = None if deployment_id is None else _flow_id("deployment_id", deployment_id)
    return lambda _: read_flow(flow, deployment, version)


def _poll_by_name(
    flow_name: str, project_name: str | None, *, last_updated: bool
) -> Callable[[int], Poll[FlowRead]]:
    text_of("flow_name", flow_name, "report")
    if project_name is not None:
        text_of("project_name", project_name, "nightly")
    return lambda _: read_flow_of_name(flow_name, project_name, last_updated=last_updated)


def _run_config(deployment: Deployment | None) -> dict[str, Any] | None:
    if deployment is None:
        return None
    return {
        "work_pool_name": deployment.work_pool_name,
        "work_queue_name": deployment.work_queue_name,
        "job_variables": deployment.job_variables,
    }


def _storage(deployment: Deployment | None) -> dict[str, Any] | None:
    if deployment is None:
        return None
    return {
        "entrypoint": deployment.entrypoint,
        "path": deployment.path,
        "pull_steps": deployment.pull_steps,
    }
