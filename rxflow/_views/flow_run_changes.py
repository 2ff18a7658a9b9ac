"""Create and cancel flow runs: all that rxflow changes on a server, for the command line.

A change is a poll, so that a query that fails is sent again; the key of a creation keeps that from
creating a second run.
"""

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from rxflow._models.entities import BackendName, ChangeReply, Deployment, Flow
from rxflow._protocol.pages import Page, Poll, read_server
from rxflow._protocol.queries import (
    DeploymentQuery,
    FlowQuery,
    FlowsQuery,
    NamedDeploymentQuery,
    RunCancellation,
    RunCreation,
)
from rxflow._views.flow_lookups import latest_flow
from rxflow._watching.run_filters import run_filter_of
from rxflow.client import Client
from rxflow.errors import DeploymentNotFound


def create_flow_run(
    deployment: str,
    *,
    parameters: Mapping[str, Any] | None = None,
    name: str = "",
    tags: Iterable[str] = (),
    client: Client,
) -> ChangeReply:
    """Create a run of a deployment, due now.

    Args:
        deployment: Its id, or its name after that of its flow, such as ``"report/nightly"``. On
            Prefect 1, which has no deployments, the id or the name of a flow, with or without the
            name of its project before it.
        parameters: Arguments of the flow, in place of those that the deployment has.
        name: The run's name; "" for one that the server makes up.
        tags: Tags beside those of the deployment; on Prefect 1 labels in place of the flow's.
        client: The client of the server.

    Raises:
        DeploymentNotFound: There is no such deployment, or flow.
        RxflowError: As for a read.
    """
    key = f"rxflow-{uuid.uuid4()}"

    def poll(_: int) -> Poll[ChangeReply]:
        source_id = yield from _read_source(deployment)
        page: Page[ChangeReply] = yield RunCreation(
            source_id=source_id,
            idempotency_key=key,
            parameters=dict(parameters or {}),
            name=name,
            tags=tuple(tags),
        )
        if not page.rows:
            raise _no_deployment(deployment)
        return page.rows[0]

    return client.read(poll)


def cancel_flow_run(flow_run_id: str, *, client: Client) -> ChangeReply:
    """Cancel a run: one that has started is cancelled by its worker, which may take a while.

    Args:
        flow_run_id: The run.
        client: The client of the server.

    Returns:
        Whether the server cancels it; it refuses that of a run that is over.

    Raises:
        RunNotFound: The server has no such run.
        RxflowError: As for a read.
    """

    def poll(_: int) -> Poll[ChangeReply]:
        page: Page[ChangeReply] = yield RunCancellation(flow_run_id)
        return page.rows[0]

    return client.read(poll)


def _read_source(written: str) -> Poll[str]:
    """Read the id of what a run is made of.

    Raises:
        DeploymentNotFound: The server does not have it.
    """
    if (yield from read_server()).backend is BackendName.PREFECT_1:
        return (yield from _read_flow(written))
    where = run_filter_of(deployment=written)
    page: Page[Deployment] = yield (
        DeploymentQuery(where.deployment_ids[0])
        if where.deployment_ids
        else NamedDeploymentQuery(*where.deployment_names[0])
    )
    if not page.rows:
        raise _no_deployment(written)
    return page.rows[0].id


def _read_flow(written: str) -> Poll[str]:
    """Read the id of the newest version of a flow of Prefect 1."""
    where = run_filter_of(flow=written)
    if where.flow_ids:
        page: Page[Flow] = yield FlowQuery(where.flow_ids[0])
    else:
        project, _, name = written.rpartition("/")
        page = yield FlowsQuery(name, project)
    if not page.rows:
        raise DeploymentNotFound(
            f"The server has no flow {written!r}; Prefect 1 has no deployments, its flows are run"
        )
    return latest_flow(page.rows).id


def _no_deployment(written: str) -> DeploymentNotFound:
    return DeploymentNotFound(
        f"The server has no deployment {written!r}; `prefect deployment ls` lists those that it has"
    )
