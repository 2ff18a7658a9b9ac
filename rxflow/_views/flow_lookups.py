"""Read flows by their ids, group or name, and the deployment of a run, as polls."""

from collections.abc import Iterable, Mapping

import msgspec

from rxflow._models.entities import BackendName, Deployment, Flow
from rxflow._protocol.pages import Page, Poll, read_server
from rxflow._protocol.queries import DeploymentQuery, FlowQuery, FlowsQuery
from rxflow._views.message_lists import listed
from rxflow.errors import FlowNotFound


class FlowRead(msgspec.Struct, frozen=True, kw_only=True):
    """A flow as it was read, by itself or for one of its runs.

    Attributes:
        deployment: The deployment of the run, if it has one.
        version: The flow's version in the run.
    """

    flow: Flow
    deployment: Deployment | None = None
    version: str | None = None


def read_flow(
    flow_id: str, deployment_id: str | None = None, version: str | None = None
) -> Poll[FlowRead]:
    """Read a flow, and the deployment of one of its runs.

    Raises:
        FlowNotFound: The server has no such flow.
    """
    page: Page[Flow] = yield FlowQuery(flow_id)
    if not page.rows:
        raise FlowNotFound(f"The server has no flow {flow_id}")
    deployments: tuple[Deployment, ...] = ()
    if deployment_id is not None:
        deployed: Page[Deployment] = yield DeploymentQuery(deployment_id)
        deployments = deployed.rows
    deployment = deployments[0] if deployments else None  # a run outlives its deployment
    return FlowRead(flow=page.rows[0], deployment=deployment, version=version)


def read_flow_of_group(flow_group_id: str) -> Poll[FlowRead]:
    """Read the newest version of a flow, by the id of its flow group.

    Raises:
        FlowNotFound: The server has no such group, or no groups at all.
    """
    if (yield from read_server()).backend is BackendName.PREFECT_3:
        raise FlowNotFound(
            f"There is no flow group {flow_group_id}: Prefect 3 has no flow groups, a flow has one "
            "id for all its versions; pass that to `from_flow_id`"
        )
    page: Page[Flow] = yield FlowsQuery(flow_group_id=flow_group_id)
    if not page.rows:
        raise FlowNotFound(f"The server has no flow group {flow_group_id}")
    return FlowRead(flow=latest_flow(page.rows))


def read_flow_of_any_id(flow_or_group_id: str) -> Poll[FlowRead]:
    """Read the flow with an id or, if there is none, the newest version in the group with it.

    Raises:
        FlowNotFound: The server has neither.
    """
    page: Page[Flow] = yield FlowQuery(flow_or_group_id)
    if page.rows:
        return FlowRead(flow=page.rows[0])
    if (yield from read_server()).backend is BackendName.PREFECT_3:
        raise FlowNotFound(f"The server has no flow {flow_or_group_id}")
    page = yield FlowsQuery(flow_group_id=flow_or_group_id)
    if not page.rows:
        raise FlowNotFound(f"The server has neither a flow nor a flow group {flow_or_group_id}")
    return FlowRead(flow=latest_flow(page.rows))


def read_flow_of_name(
    name: str, project_name: str | None = "", *, last_updated: bool
) -> Poll[FlowRead]:
    """Read the flow with a name.

    Args:
        name: The name.
        project_name: The project to search; "" is all projects, None is flows without one.
        last_updated: Whether to return the latest of several; otherwise several are an error.

    Raises:
        FlowNotFound: There is no such flow, or there are several.
    """
    if project_name and (yield from read_server()).backend is BackendName.PREFECT_3:
        raise FlowNotFound(
            f"There is no project {project_name!r}: Prefect 3 has no projects; "
            "leave project_name out"
        )
    page: Page[Flow] = yield FlowsQuery(name, project_name)
    named = f"named {name!r}" + (f" in project {project_name!r}" if project_name else "")
    if not page.rows:
        raise FlowNotFound(f"The server has no flow {named}")
    if len(page.rows) > 1 and not last_updated:
        flows = listed([_described(row) for row in page.rows])
        raise FlowNotFound(
            f"The server has several flows {named}: {flows}; pass last_updated=True for the one "
            "that was updated last"
        )
    return FlowRead(flow=latest_flow(page.rows))


def read_flow_names(flow_ids: Iterable[str], rows: int) -> Poll[Mapping[str, str]]:
    """Read the names of flows, by their ids; those of flows that were deleted are left out.

    Args:
        flow_ids: The flows.
        rows: The most rows the server returns at once.
    """
    ids = tuple(dict.fromkeys(flow_ids))
    names: dict[str, str] = {}
    for start in range(0, len(ids), rows):
        page: Page[Flow] = yield FlowsQuery(flow_ids=ids[start : start + rows])
        names |= {flow.id: flow.name for flow in page.rows}
    return names


def latest_flow(flows: Iterable[Flow]) -> Flow:
    """Return the flow that was updated last.

    Prefect 1 stores each version as a new row, so there the creation of a row counts: a later write
    to an older version does not make that the latest.
    """
    return max(flows, key=lambda flow: flow.created if flow.registered else flow.updated)


def _described(flow: Flow) -> str:
    project = flow.registered.project_name if flow.registered else None
    return f"{flow.id} in project {project!r}" if project else flow.id
