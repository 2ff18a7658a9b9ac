"""`LastLine`: a run that its own process ended is not closed before its last line has come."""

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from simulated_world import START, SimulatedWatch, World

from rxflow._watching.lifecycle import LAST_LINE_WAIT
from rxflow._watching.watch_spec import EventSource, WatchSpec
from rxflow.events import FlowRunLog

ENDED = 10.0
TEXT = "Finished in state Completed()"
ALL = frozenset(EventSource)


def world_with_run(
    state: str = "COMPLETED", *, transition_id: str | None = "t"
) -> tuple[World, str]:
    """Make a world with a run that ends after `ENDED` seconds."""
    world = World()
    run_id = world.server.add_run(state="RUNNING")
    end = partial(world.server.set_state, run_id, state, transition_id=transition_id)
    world.at(ENDED, end)
    return world, run_id


def log_at(world: World, seconds: float, run_id: str, text: str = TEXT, **row: Any) -> None:
    """Store a line of the run's own logger, which was written half a second after the run's end."""
    written = START + timedelta(seconds=ENDED + 0.5)
    row = {"name": "prefect.flow_runs", "timestamp": written, **row}
    world.at(seconds, partial(world.server.log, run_id, text, **row))


def watch(world: World, run_id: str, **options: Any) -> SimulatedWatch:
    """Watch the run to its end, and return the watch."""
    spec = {"flow_run_id": run_id, "sources": ALL, **options}
    return SimulatedWatch(world, WatchSpec(**spec)).run()


def closed_after(watched: SimulatedWatch) -> float:
    """Return how many seconds after the run's end its watch was closed."""
    assert watched.closed.verified
    return watched.emitted[-1][0] - ENDED


def test_lines_that_a_slow_server_stores_late_are_awaited() -> None:
    """They come long after the quiet time that is enough for other runs."""
    world, run_id = world_with_run()
    for number in range(100):
        log_at(world, ENDED + 20, run_id, f"line {number}")
    log_at(world, ENDED + 22, run_id)
    watched = watch(world, run_id)
    assert len(watched.of(FlowRunLog)) == 101
    assert closed_after(watched) == pytest.approx(22 + 5, abs=1)


def test_a_late_watcher_awaits_them_too() -> None:
    """A run that ended less than 30 seconds ago is not closed by a first look."""
    world, run_id = world_with_run()
    log_at(world, ENDED + 20, run_id)
    world.wait(ENDED + 10)
    assert len(watch(world, run_id).of(FlowRunLog)) == 1


def test_a_run_with_its_last_line_is_closed_soon() -> None:
    """The line shows that its writer is done."""
    world, run_id = world_with_run()
    log_at(world, ENDED + 1, run_id)
    assert closed_after(watch(world, run_id)) == pytest.approx(1 + 5, abs=1)


def test_a_last_line_is_found_in_a_long_history() -> None:
    """It is the last of many lines, on a page that is read after the run's row."""
    world, run_id = world_with_run()
    world.wait(ENDED + 4)
    for number in range(1_000):
        time = START + timedelta(seconds=ENDED * number / 1_000)
        world.server.log(run_id, f"line {number}", timestamp=time)
    log_at(world, ENDED + 4, run_id)
    watched = watch(world, run_id)
    assert len(watched.of(FlowRunLog)) == 1_001
    assert closed_after(watched) < LAST_LINE_WAIT / 2


def test_a_line_that_only_the_close_check_finds_is_the_last() -> None:
    """A failed run logs it as an error."""
    world, run_id = world_with_run("FAILED")
    log_at(world, ENDED + LAST_LINE_WAIT + 0.3, run_id, "Finished in state Failed()", level=40)
    watched = watch(world, run_id, level=40)
    assert len(watched.of(FlowRunLog)) == 1
    assert closed_after(watched) < LAST_LINE_WAIT + 10


@pytest.mark.parametrize(
    ("state", "transition_id", "options"),
    [
        ("COMPLETED", None, {}),
        ("CRASHED", "t", {}),
        ("CANCELLED", "t", {}),
        ("COMPLETED", "t", {"drain": 5.0}),
        ("COMPLETED", "t", {"level": 30}),
        ("COMPLETED", "t", {"since": START + timedelta(seconds=ENDED + 60)}),
        ("COMPLETED", "t", {"sources": ALL - {EventSource.LOGS}}),
    ],
    ids=["from outside", "crashed", "cancelled", "drain", "level", "since", "no log lines"],
)
def test_a_line_that_will_not_be_read_is_not_awaited(
    state: str, transition_id: str | None, options: dict[str, Any]
) -> None:
    """Only the process of a run logs it, and filters may leave it out."""
    world, run_id = world_with_run(state, transition_id=transition_id)
    watched = watch(world, run_id, **options)
    assert closed_after(watched) == pytest.approx(5, abs=1)


@pytest.mark.parametrize(
    "other",
    [
        {"name": "my.logger"},
        {"text": "Finished in no time"},
        {"timestamp": START - timedelta(seconds=60)},
    ],
    ids=["another logger", "another text", "of an earlier attempt"],
)
def test_another_line_is_not_the_last(other: dict[str, Any]) -> None:
    """A run is closed without its last line when nothing has come for long enough."""
    world, run_id = world_with_run()
    log_at(world, ENDED + 1, run_id, **other)
    assert closed_after(watch(world, run_id)) == pytest.approx(1 + LAST_LINE_WAIT, abs=1)


def test_a_run_that_is_run_again_logs_a_last_line_again() -> None:
    """The line of its first end says nothing about its second."""
    world, run_id = world_with_run()
    log_at(world, ENDED + 1, run_id)
    world.at(ENDED + 3, partial(world.server.set_state, run_id, "RUNNING"))
    again = partial(world.server.set_state, run_id, "COMPLETED", transition_id="u")
    world.at(ENDED + 200, again)
    log_at(world, ENDED + 220, run_id, timestamp=START + timedelta(seconds=ENDED + 200))
    assert len(watch(world, run_id).of(FlowRunLog)) == 2
