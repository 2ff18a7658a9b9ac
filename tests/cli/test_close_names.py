"""What a command suggests where no run matches its filters: a name that is close."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from command_scenes import invoke_on

from rxflow.testing import FakePrefect1, FakePrefect3


@pytest.fixture
def server() -> FakePrefect3:
    """A server with the runs of two flows."""
    server = FakePrefect3()
    deployment = server.add_deployment(name="prod", flow="nightly-report")
    server.add_run(
        name="amber-fox",
        flow="nightly-report",
        tags=["finance"],
        work_pool_name="kubernetes",
        deployment_id=deployment,
        state="COMPLETED",
    )
    server.add_run(name="blue-jay", flow="etl", tags=["ingest", "\x1bnasty"], state="COMPLETED")
    return server


CLOSE = {
    "flow": (["--flow", "nightly-reprot"], "'nightly-report'"),
    "part of a flow": (["--flow", "Nightly"], "'nightly-report'"),
    "flow of a deployment": (["--deployment", "nigthly-report/prod"], "'nightly-report'"),
    "tag": (["--tag", "finanse"], "'finance'"),
    "second tag": (["--tag", "ingest", "--tag", "nasti"], r"'\x1bnasty'"),
    "tag of a flow": (["--flow", "etl", "--tag", "ingst"], "'ingest'"),
    "work pool": (["--work-pool", "kubernets"], "'kubernetes'"),
    "run": (["--name", "amber-fix"], "'amber-fox'"),
}


@pytest.mark.parametrize(("filters", "name"), CLOSE.values(), ids=CLOSE)
def test_a_name_that_is_close_is_named(filters: list[str], name: str, server: FakePrefect3) -> None:
    """Of flows, tags, work pools and runs."""
    done = invoke_on(server, "watch", *filters)
    assert (done.exit_code, done.stdout) == (7, "")
    assert done.stderr == f"rxflow: no flow run matches the filters; did you mean {name}?\n"


NOT_CLOSE = {
    "another flow": ["--flow", "zz"],
    "a tag of another flow": ["--flow", "etl", "--tag", "finance"],
    "names that there are": ["--flow", "etl", "--name", "amber-fox"],
    "a state": ["--state", "running"],
    "another deployment": ["--deployment", "nightly-report/prd"],
}


@pytest.mark.parametrize("filters", NOT_CLOSE.values(), ids=NOT_CLOSE)
def test_nothing_is_suggested_where_no_name_is_close(
    filters: list[str], server: FakePrefect3
) -> None:
    """Nor where each name is one, though no run has all."""
    done = invoke_on(server, "watch", *filters)
    assert (done.exit_code, done.stderr) == (7, "rxflow: no flow run matches the filters\n")


COMMANDS = {
    "watch": (["watch"], 7),
    "logs": (["logs"], 0),
    "logs -f": (["logs", "-f"], 7),
    "wait": (["wait"], 7),
    "runs": (["runs"], 0),
    "latest": (["wait", "@latest"], 7),
    "record": (["record", "-o", "run.jsonl"], 7),
}


@pytest.mark.parametrize(("words", "status"), COMMANDS.values(), ids=COMMANDS)
def test_each_command_suggests_a_name(
    words: Sequence[str],
    status: int,
    server: FakePrefect3,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On standard error, whatever its status is."""
    monkeypatch.chdir(tmp_path)
    done = invoke_on(server, *words, "--tag", "finanse")
    assert (done.exit_code, done.stdout) == (status, "")
    assert done.stderr.splitlines()[0].endswith("; did you mean 'finance'?")


def test_the_question_is_one_request(server: FakePrefect3) -> None:
    """Which is not sent where a run matches, nor for a command that is quiet."""

    def requests(*words: str) -> int:
        before = len(server.requests)
        invoke_on(server, "wait", *words)
        return len(server.requests) - before

    assert requests("--tag", "finanse") == requests("--tag", "finanse", "-q") + 1
    assert requests("--flow", "nightly") == requests("--flow", "nightly", "-q") + 1
    assert requests("--tag", "finance") == requests("--tag", "finance", "-q")


def test_flows_and_labels_of_prefect_1_are_named() -> None:
    """Which are its tags."""
    server = FakePrefect1()
    flow = server.add_flow(name="nightly-report")
    server.add_run(flow_id=flow, labels=["finance"], state="Success")
    assert "'nightly-report'" in invoke_on(server, "wait", "--flow", "nightly-reprot").stderr
    assert "'finance'" in invoke_on(server, "wait", "--tag", "finanse").stderr
