"""Waiting for the end of a run, blocking and on an event loop."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from stream_faces import wait_on_loop
from virtual_world import HOUR, MISSING_RUN, TEST_TIMEOUT, World

from rxflow import (
    FlowRunView,
    RunNotFound,
    WatchTimedOut,
    wait_for_flow_run,
)
from rxflow.testing import FakePrefect3

Wait = Callable[..., FlowRunView]


@pytest.fixture(params=[wait_for_flow_run, wait_on_loop], ids=["wait", "await"])
def wait(request: pytest.FixtureRequest) -> Wait:
    """Return the blocking or the async function that waits for a run."""
    wait: Wait = request.param
    return wait


@pytest.mark.parametrize("ends", ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"])
def test_waiting_returns_the_final_view(
    ends: str, world: World, started: list[str], wait: Wait
) -> None:
    """Waiting returns the final view of a run in any terminal state."""
    run_id = world.add_finished_run(ends=ends)
    world.run(until=HOUR)
    view = wait(run_id, client=world.client)
    assert view.state is not None
    assert view.state.type == ends
    assert len(view.states) == 4
    assert view == FlowRunView.from_flow_run_id(run_id, client=world.client)
    assert started == []
    assert world.channels[0].close_count == 1


def test_waiting_lasts_until_the_run_is_over(wait: Wait) -> None:
    """Waiting returns after the run has ended and a second read has confirmed it."""
    server = FakePrefect3()
    run_id = server.add_run(state="RUNNING")

    def intercept(_: httpx.Request) -> None:
        if len(server.requests) == 5:
            server.set_state(run_id, "COMPLETED")

    server.intercept = intercept
    view = wait(run_id, timeout=TEST_TIMEOUT, client=server.client())
    assert [state.type for state in view.states] == ["RUNNING", "COMPLETED"]
    run, states = f"/flow_runs/{run_id}", "/flow_run_states/"
    assert [path for _, path in server.requests[4:]] == [run, states, run]  # the second read


@pytest.mark.parametrize("timeout", [0, 0.0, timedelta(0), 0.01])
def test_waiting_ends_after_the_timeout(
    timeout: float | timedelta, world: World, wait: Wait
) -> None:
    """A run that is not over within the timeout was read and raises `WatchTimedOut`."""
    run_id = world.server.add_run(state="RUNNING")
    with pytest.raises(WatchTimedOut, match="still in state Running") as caught:
        wait(run_id, timeout, client=world.client)
    assert isinstance(caught.value, RuntimeError)
    assert [channel.close_count for channel in world.channels] == [1]


def test_a_timeout_of_zero_suffices_for_a_run_that_is_over(world: World, wait: Wait) -> None:
    """A timeout of 0 suffices for a run that is over."""
    run_id = world.add_finished_run()
    world.run(until=HOUR)
    assert wait(run_id, 0, client=world.client).state is not None


def test_waiting_for_an_unknown_run_is_an_error(world: World, wait: Wait) -> None:
    """Waiting for an unknown run raises `RunNotFound`."""
    with pytest.raises(RunNotFound):
        wait(MISSING_RUN, client=world.client)


@pytest.mark.long
def test_waiting_for_a_deleted_run_is_an_error(wait: Wait) -> None:
    """Waiting for a run that is deleted raises `RunNotFound`."""
    server = FakePrefect3()
    run_id = server.add_run(state="RUNNING")

    def intercept(_: httpx.Request) -> None:
        if len(server.requests) == 4:
            server.delete_run(run_id)

    server.intercept = intercept
    with pytest.raises(RunNotFound, match="deleted before it was over"):
        wait(run_id, client=server.client())


@pytest.mark.parametrize("timeout", [-1, float("nan"), timedelta(seconds=-1), True])
def test_an_invalid_timeout_is_an_error(timeout: Any, world: World, wait: Wait) -> None:
    """A negative or infinite timeout raises an error that names the argument."""
    with pytest.raises(ValueError, match="timeout"):
        wait(MISSING_RUN, timeout, client=world.client)
