"""`rxflow audit`: what a recording and the server have in common, and what only one of them has."""

import json
from pathlib import Path

import pytest
from click.testing import Result
from command_scenes import NOON, StillClock, invoke_on
from hypothesis import given
from hypothesis import strategies as st
from sample_events import entered, line, second

import rxflow
from rxflow.cli._audit import Row, compared
from rxflow.testing import FakePrefect3

UNKNOWN = "00000000-0000-4000-8000-000000000004"


class Scene:
    """A run that is over, whose watch was recorded."""

    def __init__(self, path: Path) -> None:
        """Record it."""
        self.clock = StillClock()
        self.server = FakePrefect3(clock=self.clock)
        self.run = self.server.add_run(name="amber-fox", state="RUNNING")
        self.lines = [self.server.log(self.run, f"line {number}") for number in range(3)]
        self.server.set_state(self.run, "COMPLETED")
        self.clock.move(3600)
        self.path = path
        list(rxflow.watch_flow_run(self.run, client=self.server.client()).record(path))

    def audit(self, *options: str, run: str | None = None) -> Result:
        """Run the command."""
        return invoke_on(self.server, "audit", run or self.run, str(self.path), *options)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """A recorded run."""
    return Scene(tmp_path / "night.jsonl.gz")


def test_equal_rows_are_counted(scene: Scene) -> None:
    """The status is 0."""
    done = scene.audit()
    assert (done.stdout, done.stderr) == ("log lines  3 agree\nstates     2 agree\n", "")
    assert done.exit_code == 0


def test_what_came_after_the_end_is_listed(scene: Scene) -> None:
    """A line and a state that are later than `Closed`."""
    scene.clock.move(60)
    # Stored then, though its writer says that it is of before.
    scene.server.log(scene.run, "too\nlate", level=30, timestamp=NOON)
    scene.server.set_state(scene.run, "FAILED")
    done = scene.audit()
    assert done.exit_code == 1
    counts, states, *rows = done.stdout.splitlines()
    assert counts == "log lines  3 agree, 1 came after the end"
    assert states == "states     2 agree, 1 came after the end"
    assert [row.split()[0] for row in rows] == ["after", "after"]
    assert "WARNING" in rows[0]
    assert "too" in rows[0]


def test_what_the_recording_lacks_and_what_vanished_is_listed(scene: Scene) -> None:
    """A line that was stored before the end, and one that was deleted since."""
    early = NOON
    scene.server.log(scene.run, "missed", timestamp=early, created=early)
    scene.server.delete_logs([scene.lines[1]])
    done = scene.audit("-o", "jsonl")
    assert done.exit_code == 1
    *rows, last = map(json.loads, done.stdout.splitlines())
    found = {row["difference"]: row["event"]["message"] for row in rows}
    assert found == {"missing": "missed", "vanished": "line 1"}
    assert last == {"agree": {"states": 2, "lines": 2}, "differ": 2, "verified": True}


def test_lines_may_be_left_out(scene: Scene) -> None:
    """By level and time, on both sides; states are compared always."""
    scene.server.log(scene.run, "debug", level=10)
    assert scene.audit().exit_code == 1
    done = scene.audit("--level", "info")
    assert (done.exit_code, done.stdout.splitlines()[0]) == (0, "log lines  3 agree")
    done = scene.audit("--since", "2026-11-22T14:00:00Z", "--level", "info")
    assert (done.exit_code, done.stdout) == (0, "log lines  0 agree\nstates     2 agree\n")


def test_a_journal_is_compared_as_well(tmp_path: Path, scene: Scene) -> None:
    """It has the same events."""
    scene.path = tmp_path / "nightly.journal"
    client = scene.server.client()
    list(rxflow.watch_flow_run(scene.run, journal=scene.path, client=client))
    assert scene.audit().exit_code == 0


def test_a_recording_of_a_watch_that_was_broken_off_is_compared(scene: Scene) -> None:
    """Without an end nothing came after it: what it lacks is missing."""
    scene.path = scene.path.with_name("timed.jsonl")
    run = scene.run = scene.server.add_run(state="RUNNING")
    watch = rxflow.watch_flow_run(run, max_duration=0, client=scene.server.client())
    with pytest.raises(rxflow.WatchTimedOut):
        list(watch.record(scene.path))
    scene.server.set_state(run, "COMPLETED")
    done = scene.audit()
    assert done.exit_code == 1
    assert "states     1 agree, 1 missing from the recording" in done.stdout


def test_a_recording_of_another_run_is_refused(scene: Scene) -> None:
    """The error says which run the file is about."""
    other = scene.server.add_run(state="COMPLETED")
    done = scene.audit(run=other)
    assert done.exit_code == 2
    assert f"has nothing of flow run {other}; it is about {scene.run}" in done.stderr
    done = scene.audit(run=UNKNOWN)
    assert done.exit_code == 2


def test_a_run_that_was_deleted_is_not_found(scene: Scene) -> None:
    """The status is that of a run that the server does not have, and the file is named."""
    scene.server.delete_run(scene.run)
    done = scene.audit()
    assert done.exit_code == 7
    assert done.stderr.endswith(f"; to show what was recorded: rxflow replay {scene.path}\n")


ROWS = st.lists(
    st.builds(line, st.integers(0, 50)) | st.builds(entered, st.just("A"), st.integers(0, 50)),
    unique_by=lambda row: row.id,
)


@given(rows=ROWS, data=st.data())
def test_each_row_is_counted_once(rows: list[Row], data: st.DataObject) -> None:
    """Whatever each side has of some rows, each row agrees or is one difference, of its kind."""
    side = st.lists(st.sampled_from(rows), unique_by=lambda row: row.id) if rows else st.just([])
    recorded, stored = data.draw(side), data.draw(side)
    closed = second(25)
    audit = compared(recorded, stored, closed)
    kinds = {found.row.id: found.kind for found in audit.differences}
    both = {row.id for row in recorded} & {row.id for row in stored}
    assert len(kinds) == len(audit.differences)
    assert audit.states + audit.lines == len(both)
    assert kinds == {
        **{row.id: "vanished" for row in recorded if row.id not in both},
        **{
            row.id: "after" if row.timestamp > closed else "missing"
            for row in stored
            if row.id not in both
        },
    }
