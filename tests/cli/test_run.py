"""``rxflow run`` as a program: a run is created and followed to its end."""

import json

import click
import httpx
import pytest
from command_line import run_program

from rxflow import StateType
from rxflow.cli._parameters import read_parameter
from rxflow.testing import FakePrefect1, FakePrefect3

UNKNOWN = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"


def server_with_deployment(end: StateType = StateType.COMPLETED) -> FakePrefect3:
    """Make a server whose worker executes the runs of a deployment."""
    server = FakePrefect3()

    def execute(run_id: str) -> None:
        server.script(run_id, [(0.0, StateType.RUNNING), (0.1, "120 orders"), (0.2, end)])

    server.add_deployment(name="prod", flow="report", on_run=execute, parameters={"days": 1})
    return server


def test_a_run_is_created_and_followed() -> None:
    """With its arguments, its name and its tags; the status is that of the run."""
    server = server_with_deployment(StateType.FAILED)
    arguments = ["-p", "days=3", "-p", "region=north", "--name", "by hand", "--tag", "a"]
    with server.serve() as url:
        done = run_program("run", "report/prod", *arguments, "--api-url", url)
    (run,) = server.runs.values()
    assert run["parameters"] == {"days": 3, "region": "north"}
    assert (run["name"], run["tags"]) == ("by hand", ["a"])
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith(f"rxflow: created flow run {run['id']} of report/prod\n")
    assert "120 orders" in done.stdout


def test_output_is_that_of_a_watch() -> None:
    """Such as events as JSON, and nothing else on standard output."""
    server = server_with_deployment()
    with server.serve() as url:
        done = run_program("run", "report/prod", "-o", "jsonl", "-q", "--api-url", url)
    kinds = [json.loads(line)["kind"] for line in done.stdout.splitlines()]
    assert kinds[0] == "run-seen"
    assert "log" in kinds
    assert (done.returncode, done.stderr) == (0, "")


def test_a_run_need_not_be_followed() -> None:
    """Then its id is all that is written."""
    server = server_with_deployment()
    with server.serve() as url:
        done = run_program("run", "report/prod", "--detach", "--api-url", url)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, [*server.runs], "")


WRONG = {
    "no such name": (["report/dev"], 7, "no deployment 'report/dev'"),
    "no such id": ([UNKNOWN], 7, f"no deployment '{UNKNOWN}'"),
    "no flow": (["prod"], 2, "pass one such as 'report/prod'"),
    "empty": ([""], 2, "DEPLOYMENT '' is empty"),
    "no value": (["report/prod", "-p", "days"], 2, "'days' is not KEY=VALUE"),
    "no deployment": ([], 2, "Missing argument 'DEPLOYMENT'"),
}


@pytest.mark.parametrize(("arguments", "status", "sentence"), WRONG.values(), ids=WRONG)
def test_a_run_that_cannot_be_created_has_a_status(
    arguments: list[str], status: int, sentence: str
) -> None:
    """And a sentence; no run is created."""
    server = server_with_deployment()
    with server.serve() as url:
        done = run_program("run", *arguments, "--api-url", url)
    assert (done.returncode, done.stdout) == (status, "")
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert server.runs == {}


def test_a_refusal_is_quoted() -> None:
    """Such as that of an argument of another type; control characters are written out."""
    server = server_with_deployment()
    server.intercept = lambda request: (
        httpx.Response(409, json={"detail": "\x1b[2J'a' is not of type 'integer'"})
        if request.url.path.endswith("/create_flow_run")
        else None
    )
    with server.serve() as url:
        done = run_program("run", "report/prod", "-p", "days=a", "--api-url", url)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("rxflow: the server refuses a run of report/prod: ")
    assert done.stderr.endswith("[2J'a' is not of type 'integer'\n")
    assert "\x1b" not in done.stderr


def test_a_flow_of_prefect_1_is_run() -> None:
    """Which has no deployments."""
    server = FakePrefect1()
    flow_id = server.add_flow(name="report", project="prod")
    with server.serve() as url:
        done = run_program("run", "prod/report", "-p", "days=3", "-d", "--api-url", url)
    (run,) = server.runs.values()
    assert (run["flow_id"], run["parameters"]) == (flow_id, {"days": 3})
    assert (done.returncode, done.stdout.strip()) == (0, run["id"])


VALUES = {
    "a=1": ("a", 1),
    "a=1.5": ("a", 1.5),
    "a=true": ("a", True),
    "a=null": ("a", None),
    'a="1"': ("a", "1"),
    "a=[1, 2]": ("a", [1, 2]),
    "a=north": ("a", "north"),
    "a=NaN": ("a", "NaN"),
    "a=": ("a", ""),
    "a=b=c": ("a", "b=c"),
    " a =x": ("a", "x"),
}


@pytest.mark.parametrize(("text", "read"), VALUES.items(), ids=VALUES)
def test_a_value_is_json_or_text(text: str, read: object) -> None:
    """The first equals sign divides it from its name."""
    assert read_parameter(text) == read


@pytest.mark.parametrize("text", ["a", "=1", " =1", ""])
def test_a_value_needs_a_name(text: str) -> None:
    """The error shows how it is written."""
    with pytest.raises(click.BadParameter, match="KEY=VALUE, such as days=3"):
        read_parameter(text)
