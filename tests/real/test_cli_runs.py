"""The commands that find, list, wait for and create runs, and the doctor, on a real server."""

from __future__ import annotations

import threading
import uuid
from typing import TYPE_CHECKING

import pytest
from command_line import run_program

import rxflow
from rxflow._views.flow_run_changes import cancel_flow_run, create_flow_run
from rxflow._views.flow_run_search import read_prefixed

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from rxflow.cli._prefect_server import PrefectServer
    from tests.real.conftest import ApiWriter

SCHEMA = {"type": "object", "properties": {"days": {"type": "integer"}}}


@pytest.fixture(scope="module")
def deployment(writer: ApiWriter) -> str:
    """The name of a deployment that checks its parameters; no worker runs it."""
    row = {
        "name": "prod",
        "flow_id": writer.post("/flows/", {"name": "cli-report"})["id"],
        "parameter_openapi_schema": SCHEMA,
        "enforce_parameter_schema": True,
        "parameters": {"days": 1},
    }
    writer.post("/deployments/", row)
    return "cli-report/prod"


def rxflow_on(server: PrefectServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with this server configured."""
    return run_program(*arguments, **dict(server.environment))


def test_runs_are_found_listed_and_waited_for(server: PrefectServer, writer: ApiWriter) -> None:
    """By a name, the beginning of an id, a page's URL, as the latest, and by filters."""
    tag = str(uuid.uuid4())
    failed = writer.new_run(flow="cli-etl", name=f"first {tag}", tags=[tag])
    assert writer.set_state(failed, "RUNNING") == "ACCEPT"
    assert writer.set_state(failed, "FAILED") == "ACCEPT"
    latest = writer.new_run(flow="cli-etl", tags=[tag], state={"type": "COMPLETED"})
    listed = rxflow_on(server, "runs", "--tag", tag)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert [line.split()[:2] for line in listed.stdout.splitlines()] == [
        [latest, "Completed"],
        [failed, "Failed"],
    ]
    page = f"{server.url.removesuffix('/api')}/runs/flow-run/{failed.upper()}"
    for word in (f"first {tag}", failed[:13], page):
        done = rxflow_on(server, "wait", word)
        assert (done.returncode, done.stdout.split()[:2]) == (1, [failed, "Failed"]), done.stderr
    done = rxflow_on(server, "wait", "@latest:cli-etl")
    assert (done.returncode, done.stdout.split()[0]) == (0, latest)
    done = rxflow_on(server, "wait", "--tag", tag)
    assert (done.returncode, len(done.stdout.splitlines())) == (1, 2)


def test_each_run_is_found_by_its_id_among_many(writer: ApiWriter, client: rxflow.Client) -> None:
    """The server's order of ids is that of their digits."""

    def found(prefix: str) -> list[str]:
        page = client.read(lambda rows: read_prefixed(prefix, rows))
        return [run.id for run in page.rows]

    ids = [writer.new_run(flow="cli-many") for _ in range(40)]
    assert [found(run_id[:13]) for run_id in ids[::9]] == [[run_id] for run_id in ids[::9]]


def test_a_run_is_created_once_and_cancelled(
    server: PrefectServer, writer: ApiWriter, client: rxflow.Client, deployment: str
) -> None:
    """With its arguments; one that has not started is cancelled at once, and only once."""
    created = rxflow_on(
        server, "run", deployment, "-p", "days=3", "--name", "by hand", "--tag", "a", "--detach"
    )
    assert (created.returncode, created.stderr) == (0, "")
    run_id = created.stdout.strip()
    run = writer.get(f"/flow_runs/{run_id}")
    assert (run["name"], run["parameters"], run["tags"]) == ("by hand", {"days": 3}, ["a"])
    assert run["idempotency_key"].startswith("rxflow-")
    assert cancel_flow_run(run_id, client=client).refusal is None
    assert writer.get(f"/flow_runs/{run_id}")["state_type"] == "CANCELLED"
    assert cancel_flow_run(run_id, client=client).refusal == (
        "Run is already in terminal state CANCELLED."
    )
    running = writer.new_run(state={"type": "RUNNING"})
    assert cancel_flow_run(running, client=client).refusal is None
    assert writer.get(f"/flow_runs/{running}")["state_type"] == "CANCELLING"
    with pytest.raises(rxflow.RunNotFound):
        cancel_flow_run(str(uuid.uuid4()), client=client)


def test_a_run_that_the_server_refuses_is_a_sentence(
    server: PrefectServer, client: rxflow.Client, deployment: str
) -> None:
    """With the server's reason; and so is a deployment that does not exist."""
    refused = rxflow_on(server, "run", deployment, "-p", "days=many")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "Validation failed for field 'days'" in refused.stderr
    with pytest.raises(rxflow.DeploymentNotFound):
        create_flow_run("cli-report/dev", client=client)


@pytest.fixture
def changing(writer: ApiWriter) -> Iterator[None]:
    """A run that enters a state and logs a line again and again."""
    run_id = writer.new_run(state={"type": "RUNNING"})
    ended = threading.Event()

    def change() -> None:
        number = 0
        while not ended.wait(0.2):
            number += 1
            writer.set_state(run_id, "RUNNING", f"Step {number}", force=True)
            writer.post_logs(run_id, ["a line"])

    thread = threading.Thread(target=change)
    thread.start()
    yield
    ended.set()
    thread.join()


@pytest.mark.usefixtures("changing")
def test_the_doctor_hears_what_is_announced(server: PrefectServer) -> None:
    """A server announces states, and by default no log lines, over a websocket that is open."""
    done = rxflow_on(server, "doctor")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    lines = {line[9:20].strip(): line for line in done.stdout.splitlines() if line[0] != " "}
    assert lines["version"] == "ok       version    Prefect 3.8.8"
    assert lines["page size"] == "ok       page size  up to 200 rows"
    assert lines["websocket"] == "ok       websocket  states are announced"
    assert lines["log push"].startswith("note     log push   it is open and silent")


def test_the_doctor_says_what_a_locked_server_needs(locked_server: PrefectServer) -> None:
    """A key; with it the page size of that server."""
    good = rxflow_on(locked_server, "doctor")
    assert good.returncode == 0, good.stdout
    assert "the API accepts the auth string from PREFECT_API_AUTH_STRING" in good.stdout
    assert "note     page size  up to 50 rows" in good.stdout
    environment = {**locked_server.environment, "PREFECT_API_AUTH_STRING": "admin:wrong"}
    bad = run_program("doctor", **environment)
    assert bad.returncode == 4
    assert "problem  auth" in bad.stdout
    assert "wrong" not in bad.stdout
