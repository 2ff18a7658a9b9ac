"""Creating and cancelling runs on servers of both kinds."""

import httpx
import pytest

from rxflow import RunNotFound
from rxflow._models.entities import ChangeReply
from rxflow._views.flow_run_changes import cancel_flow_run, create_flow_run
from rxflow.errors import DeploymentNotFound
from rxflow.testing import FakePrefect1, FakePrefect3, VirtualTime

UNKNOWN = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"


@pytest.fixture
def server() -> FakePrefect3:
    """A server with a deployment."""
    server = FakePrefect3(clock=VirtualTime())
    server.add_deployment(name="nightly", flow="etl", parameters={"day": 1, "full": False})
    return server


def test_a_run_of_a_deployment_is_created(server: FakePrefect3) -> None:
    """By the deployment's name or its id, with what was passed in place of its own."""
    (deployment_id,) = server.deployments
    for written in ("etl/nightly", deployment_id.upper()):
        reply = create_flow_run(
            written, parameters={"day": 2}, name="by hand", tags=["a"], client=server.client()
        )
        run = server.runs[str(reply.flow_run_id)]
        assert run["deployment_id"] == deployment_id
        assert run["parameters"] == {"day": 2, "full": False}
        assert (run["name"], run["tags"], run["state_type"]) == ("by hand", ["a"], "SCHEDULED")
    assert len(server.runs) == 2


def test_what_is_not_passed_is_left_to_the_deployment(server: FakePrefect3) -> None:
    """Two calls create two runs."""
    replies = [create_flow_run("etl/nightly", client=server.client()) for _ in range(2)]
    assert {*server.runs} == {reply.flow_run_id for reply in replies}
    assert [run["parameters"] for run in server.runs.values()] == [{"day": 1, "full": False}] * 2


def test_a_reply_that_was_lost_creates_no_second_run(server: FakePrefect3) -> None:
    """The creation that is sent again finds the run by its key."""
    handled: list[str] = []
    (deployment_id,) = server.deployments
    path = f"/deployments/{deployment_id}/create_flow_run"

    def intercept(request: httpx.Request) -> httpx.Response | None:
        if not request.url.path.endswith(path) or handled:
            return None
        handled.append(server.create_run(deployment_id, idempotency_key=key_in(request)))
        raise httpx.ReadError("lost", request=request)

    server.intercept = intercept
    reply = create_flow_run("etl/nightly", client=server.client())
    assert handled == [reply.flow_run_id] == [*server.runs]


def key_in(request: httpx.Request) -> str:
    """Read the key of a creation."""
    key: str = httpx.Response(200, content=request.content).json()["idempotency_key"]
    return key


@pytest.mark.parametrize("written", ["etl/weekly", UNKNOWN])
def test_a_deployment_that_does_not_exist_is_an_error(server: FakePrefect3, written: str) -> None:
    """It names the deployment, and no run is created."""
    with pytest.raises(DeploymentNotFound, match=f"no deployment '{written}'"):
        create_flow_run(written, client=server.client())
    assert server.runs == {}


def test_a_deployment_that_was_just_deleted_is_an_error(server: FakePrefect3) -> None:
    """Between the two requests."""

    def intercept(request: httpx.Request) -> httpx.Response | None:
        if request.url.path.endswith("/create_flow_run"):
            server.deployments.clear()
        return None

    server.intercept = intercept
    with pytest.raises(DeploymentNotFound, match="no deployment 'etl/nightly'"):
        create_flow_run("etl/nightly", client=server.client())


def test_a_name_without_a_flow_is_no_deployment(server: FakePrefect3) -> None:
    """The error shows what to pass."""
    with pytest.raises(ValueError, match="pass one such as 'report/nightly'"):
        create_flow_run("nightly", client=server.client())


def test_a_refusal_is_returned(server: FakePrefect3) -> None:
    """With the server's text."""
    server.intercept = lambda request: (
        httpx.Response(409, json={"detail": "'a' is not of type 'integer'"})
        if request.url.path.endswith("/create_flow_run")
        else None
    )
    reply = create_flow_run("etl/nightly", parameters={"day": "a"}, client=server.client())
    assert reply == ChangeReply(refusal="'a' is not of type 'integer'")


CANCELLED = {
    "SCHEDULED": ("CANCELLED", None),
    "PENDING": ("CANCELLING", None),
    "RUNNING": ("CANCELLING", None),
    "CANCELLING": ("CANCELLING", None),
    "COMPLETED": ("COMPLETED", "Run is already in terminal state COMPLETED."),
}


@pytest.mark.parametrize("before", CANCELLED)
def test_a_run_is_cancelled_unless_it_is_over(server: FakePrefect3, before: str) -> None:
    """One that has not started is cancelled at once."""
    run_id = server.add_run(state=before)
    after, refusal = CANCELLED[before]
    assert cancel_flow_run(run_id, client=server.client()) == ChangeReply(refusal=refusal)
    assert server.runs[run_id]["state_type"] == after


def test_a_run_that_does_not_exist_cannot_be_cancelled(server: FakePrefect3) -> None:
    """The error is that of every read of the run."""
    with pytest.raises(RunNotFound, match=UNKNOWN):
        cancel_flow_run(UNKNOWN, client=server.client())


# -- Prefect 1 ------------------------------------------------------------------------------------


def test_a_run_of_a_flow_of_prefect_1_is_created_and_cancelled() -> None:
    """By the id of the flow, its name, or its name in a project."""
    server = FakePrefect1(clock=VirtualTime())
    flow_id = server.add_flow(name="etl", project="prod")
    client = server.client()
    for written in (flow_id, "etl", "prod/etl"):
        reply = create_flow_run(written, parameters={"day": 2}, name="by hand", client=client)
        run_id = str(reply.flow_run_id)
        run = server.runs[run_id]
        assert (run["flow_id"], run["parameters"], run["name"]) == (flow_id, {"day": 2}, "by hand")
        assert cancel_flow_run(run_id, client=client) == ChangeReply()
        assert server.runs[run_id]["state"] == "Cancelled"
    assert len(server.runs) == 3


@pytest.mark.parametrize("written", ["report", "dev/etl", UNKNOWN])
def test_a_flow_that_prefect_1_does_not_have_is_an_error(written: str) -> None:
    """It says that flows are run there."""
    server = FakePrefect1(clock=VirtualTime())
    server.add_flow(name="etl", project="prod")
    with pytest.raises(DeploymentNotFound, match="Prefect 1 has no deployments"):
        create_flow_run(written, client=server.client())
