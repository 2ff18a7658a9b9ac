"""What views ask about a run, its flow and its log lines: polls."""

from collections.abc import Iterable

import msgspec

from rxflow._models.entities import BackendName, Deployment, Flow
from rxflow._protocol.pages import Page, Poll, read_server
from rxflow._protocol.queries import DeploymentQuery, FlowQuery, FlowsQuery
from rxflow._views.task_run_lookups import listed
from rxflow.errors import FlowNotFound


class FlowRead(msgspec.Struct, frozen=True, kw_only=True):
    """A flow as it was read.

    Attributes:
        deployment: The deployment of the run that was asked about, if it has one.
        version: The flow's version in that run.
    """

    flow: Flow
    deployment: Deployment | None = None
    version: str | None = None


def read_flow(
    flow_id: str, deployment_id: str | None = None, version: str | None = None
) -> Poll[FlowRead]:
    """Read a flow, and the deployment of one of its runs.

    Raises:
        FlowNotFound: The server knows no such flow.
    """
    page: Page[Flow] = yield FlowQuery(flow_id)
    if not page.rows:
        raise FlowNotFound(f"The server knows no flow {flow_id}")
    deployments: tuple[Deployment, ...] = ()
    if deployment_id is not None:
        deployed: Page[Deployment] = yield DeploymentQuery(deployment_id)
        deployments = deployed.rows
    deployment = deployments[0] if deployments else None
    return FlowRead(flow=page.rows[0], deployment=deployment, version=version)


def read_flow_of_group(flow_group_id: str) -> Poll[FlowRead]:
    """Read the newest version of a flow.

    Raises:
        FlowNotFound: The server knows no such group, or no groups at all.
    """
    if (yield from read_server()).backend is BackendName.PREFECT_3:
        raise FlowNotFound(
            f"There is no flow group {flow_group_id}, since Prefect 3 has no flow groups; a flow "
            "has one id for all its versions there, which `from_flow_id` takes"
        )
    page: Page[Flow] = yield FlowsQuery(flow_group_id=flow_group_id)
    if not page.rows:
        raise FlowNotFound(f"The server knows no flow group {flow_group_id}")
    return FlowRead(flow=_last(page.rows))


def read_flow_of_any_id(flow_or_group_id: str) -> Poll[FlowRead]:
    """Read the flow of an id, or else the newest version of the flow whose group has it.

    Raises:
        FlowNotFound: The server knows neither.
    """
    page: Page[Flow] = yield FlowQuery(flow_or_group_id)
    if page.rows:
        return FlowRead(flow=page.rows[0])
    if (yield from read_server()).backend is BackendName.PREFECT_3:
        raise FlowNotFound(f"The server knows no flow {flow_or_group_id}")
    page = yield FlowsQuery(flow_group_id=flow_or_group_id)
    if not page.rows:
        raise FlowNotFound(f"The server knows neither a flow nor a flow group {flow_or_group_id}")
    return FlowRead(flow=_last(page.rows))


def read_flow_of_name(
    name: str, project_name: str | None = "", *, last_updated: bool
) -> Poll[FlowRead]:
    """Read the flow of a name.

    Args:
        name: The name.
        project_name: The project to look in; "" is all, None is no project.
        last_updated: Whether to take the last one where there are several.

    Raises:
        FlowNotFound: There is none, or more than one and not the last updated is wanted.
    """
    if project_name and (yield from read_server()).backend is BackendName.PREFECT_3:
        raise FlowNotFound(
            f"There is no project {project_name!r}, since Prefect 3 has no projects; "
            "leave project_name out"
        )
    page: Page[Flow] = yield FlowsQuery(name, project_name)
    named = f"named {name!r}" + (f" in project {project_name!r}" if project_name else "")
    if not page.rows:
        raise FlowNotFound(f"The server knows no flow {named}")
    if len(page.rows) > 1 and not last_updated:
        raise FlowNotFound(
            f"The server knows several flows {named}: {listed([_shown(row) for row in page.rows])};"
            " pass last_updated=True for the one that was updated last"
        )
    return FlowRead(flow=_last(page.rows))


def _last(flows: Iterable[Flow]) -> Flow:
    """The flow that was updated last; Prefect 1 stores each version as another flow for it."""
    return max(flows, key=lambda flow: flow.created if flow.registered else flow.updated)


def _shown(flow: Flow) -> str:
    project = flow.registered.project_name if flow.registered else None
    return f"{flow.id} in project {project!r}" if project else flow.id
