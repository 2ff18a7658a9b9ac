"""``rxflow runs``: which runs are listed, and in which form."""

import json
import os
import pty
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner
from command_line import environment, run_program

from rxflow._pictures.cells import cell_width
from rxflow.cli._commands.group import commands
from rxflow.cli._run_table import RUN_TITLES, aligned, narrowed
from rxflow.testing import FakePrefect1, FakePrefect3

HOUR = timedelta(hours=1)
NASTY = "\x1b[2J\nx"


class Scene:
    """A served server with a few runs."""

    def __init__(self) -> None:
        self.server = FakePrefect3()
        now = datetime.now(UTC)  # noqa: TID251 - the server's clock is real

        def add(name: str, due: timedelta, **row: Any) -> str:
            return self.server.add_run(name=name, expected_start_time=now + due, **row)

        self.first = add(
            "amber-fox", -2 * HOUR, flow="etl", tags=["prod"], start_time=now - 2 * HOUR
        )
        self.server.set_state(self.first, "FAILED", timestamp=now - HOUR)
        self.parent = add("blue-jay", -HOUR, flow="报告", state="RUNNING", start_time=now - HOUR)
        self.child = add(NASTY, timedelta(), flow="load", parent=self.parent, state=None)
        self.later = add("later", HOUR, flow="etl")


@pytest.fixture(scope="module")
def scene() -> Scene:
    """The scene, which no test changes."""
    return Scene()


def listed(scene: Scene, *arguments: str) -> list[str]:
    """List runs in this process, and return the lines."""
    with scene.server.serve() as url:
        done = CliRunner().invoke(commands, ["runs", *arguments, "--api-url", url])
    assert done.exit_code == 0, done.output
    return done.stdout.splitlines()


def test_the_newest_runs_are_listed_first(scene: Scene) -> None:
    """A line has the id, state, start, duration, flow and name; columns are aligned by cells."""
    with scene.server.serve() as url:
        done = run_program("runs", "--api-url", url)
    assert (done.returncode, done.stderr) == (0, "")
    child, parent, first = done.stdout.splitlines()
    assert child.split() == [scene.child, "-", *child.split()[2:4], "-", "load", "\\x1b[2J\\nx"]
    assert parent.split()[:2] == [scene.parent, "Running"]
    assert parent.split()[4:] == ["1", "h", "00", "min", "报告", "blue-jay"]
    assert first.split()[4:] == ["1", "h", "00", "min", "etl", "amber-fox"]
    names = ["\\x1b", "blue-jay", "amber-fox"]
    cells = [line.index(name) for line, name in zip((child, parent, first), names, strict=True)]
    assert cells == [cells[0], cells[0] - 2, cells[0]]  # two characters of two cells each


CASES = {
    "all": ([], ["child", "parent", "first"]),
    "upcoming": (["--upcoming"], ["later", "child", "parent", "first"]),
    "no children": (["--no-children"], ["parent", "first"]),
    "limit": (["-n", "1"], ["child"]),
    "state": (["--state", "failed"], ["first"]),
    "flow": (["--flow", "etl"], ["first"]),
    "two flows": (["--flow", "etl", "--flow", "load"], ["child", "first"]),
    "tag": (["--tag", "prod"], ["first"]),
    "parent": (["--parent", "blue-jay"], ["child"]),
    "since": (["--since", "90m"], ["child", "parent"]),
    "none": (["--name", "x"], []),
}


@pytest.mark.parametrize(("arguments", "names"), CASES.values(), ids=CASES)
def test_filters_select_runs(scene: Scene, arguments: list[str], names: list[str]) -> None:
    """With -q ids alone are written."""
    assert listed(scene, "-q", *arguments) == [getattr(scene, name) for name in names]


def test_rows_are_written_as_json(scene: Scene) -> None:
    """One run in a line, with the fields of a `FlowRun`."""
    rows = [json.loads(line) for line in listed(scene, "-o", "jsonl", "--flow", "etl")]
    assert [(row["id"], row["state"]["type"], row["tags"]) for row in rows] == [
        (scene.first, "FAILED", ["prod"])
    ]


def test_titles_are_for_terminals(scene: Scene) -> None:
    """Into a pipe each line is a run, so that it can be waited for; colours are for people, too."""
    controller, terminal = pty.openpty()
    with scene.server.serve() as url:
        command = [sys.executable, "-m", "rxflow", "runs", "--no-children", "--api-url", url]
        env = environment(TERM="xterm", COLUMNS="160")
        done = subprocess.run(command, stdout=terminal, env=env, check=False)
    os.close(terminal)
    text = os.read(controller, 10_000).decode()
    os.close(controller)
    assert done.returncode == 0
    assert text.splitlines()[0].split() == ["ID", "STATE", "STARTED", "DURATION", "FLOW", "NAME"]
    assert "\x1b[31mFailed\x1b[0m" in text


def on_terminal(scene: Scene, columns: int, *arguments: str) -> list[str]:
    """List runs on a terminal of a width, and return the lines without colours."""
    controller, terminal = pty.openpty()
    with scene.server.serve() as url:
        command = [sys.executable, "-m", "rxflow", "runs", *arguments, "--api-url", url]
        env = environment(TERM="xterm", COLUMNS=str(columns), NO_COLOR="1")
        done = subprocess.run(command, stdout=terminal, env=env, check=False)
    os.close(terminal)
    text = os.read(controller, 10_000).decode()
    os.close(controller)
    assert done.returncode == 0
    return text.splitlines()


def test_a_run_is_one_line_of_a_narrow_terminal(scene: Scene) -> None:
    """By the beginnings of ids, by which other commands find the runs."""
    for columns in (60, 70, 80):
        titles, *rows = on_terminal(scene, columns, "--no-children")
        assert [titles.split()[0], len(rows)] == ["ID", 2]
        assert max(map(cell_width, (titles, *rows))) <= columns
        for row, run in zip(rows, (scene.parent, scene.first), strict=True):
            assert row.split()[0] == run[:8]
            found = listed(scene, "-q", "--name", row.split()[-1])
            assert found == [run] or "…" in row
    wide = on_terminal(scene, 160, "--no-children")
    assert [row.split()[0] for row in wide[1:]] == [scene.parent, scene.first]


def test_short_ids_differ() -> None:
    """They have as many digits as that takes, and names are cut no further than they must be."""
    ids = [f"9e6caafc-4e{digit}1-4493-b0a9-122efba9eaaa" for digit in "ab"]
    table = [RUN_TITLES, *((each, "Failed", "-", "-", "etl" * 5, "fox" * 9) for each in ids)]
    short = [row[0] for row in narrowed(table, 80)]
    assert short == ["ID", "9e6caafc-4ea", "9e6caafc-4eb"]
    assert narrowed(table, 200) == table
    for width in range(59, 90):
        lines = [*aligned(narrowed(table, width))]
        assert max(map(cell_width, lines)) == min(width, 85)


def test_a_list_is_piped_into_a_wait(scene: Scene) -> None:
    """The first word of each line is the run."""
    with scene.server.serve() as url:
        lines = "\n".join(listed(scene, "--state", "failed"))
        done = run_program("wait", "-", "--api-url", url, given=lines)
    assert (done.returncode, done.stdout.split()[0]) == (1, scene.first)


def test_runs_of_prefect_1_are_listed() -> None:
    """With the names of their flows; a filter that it does not have is a sentence."""
    server = FakePrefect1()
    run_id = server.add_run(name="amber-fox", flow_id=server.add_flow(name="etl"), state="Running")
    with server.serve() as url:
        done = run_program("runs", "--api-url", url)
        refused = run_program("runs", "--work-pool", "k8s", "--api-url", url)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split()[:2] == [run_id, "Running"]
    assert done.stdout.split()[-2:] == ["etl", "amber-fox"]
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "Prefect 1 has no work pools" in refused.stderr
