"""Rule: an observer's own error is passed to its `on_error` once, or reported."""

import sys
import threading
from typing import Any

import pytest
from reactivex import operators as ops
from runtime_threads import join_runtime_threads
from rx_subjects import (
    GrammarRecording,
    ObserverError,
    add_past_run,
    each_emitting_subject,
    sessions_of,
    subject,
)
from virtual_world import HOUR, TEST_TIMEOUT, Recording, World

from rxflow import watch_flow_run


@each_emitting_subject
@pytest.mark.parametrize("threaded", [False, True], ids=["virtual", "threaded"])
def test_an_error_in_on_next_goes_to_on_error(name: str, threaded: bool, world: World) -> None:
    """What `on_next` raises is passed to `on_error` once, and the polling ends."""
    recording = GrammarRecording(raises_in="N")
    stream = subject(name, world, add_past_run(world))
    recording.subscribe_to(stream, None if threaded else world.scheduler)
    if not threaded:
        world.run(until=2 * HOUR)
    recording.wait()
    assert recording.calls == "NE"
    assert isinstance(recording.error, ObserverError)
    assert world.close_counts() == [1]


@each_emitting_subject
@pytest.mark.parametrize("call", ["N", "C"])
def test_an_error_without_on_error_is_reported(
    name: str, call: str, world: World, reported: list[BaseException | None]
) -> None:
    """An error without a handler is reported once; other watches on the thread continue."""
    failing = GrammarRecording(raises_in=call)
    stream = subject(name, world, add_past_run(world))
    other: Recording[Any] = Recording()
    other.subscribe_to(stream)
    over = threading.Event()
    stream.pipe(ops.finally_action(over.set)).subscribe(failing.on_next, None, failing.on_completed)
    other.wait()
    assert over.wait(TEST_TIMEOUT)
    assert world.close_counts() == [1] * sessions_of(name, 2)
    join_runtime_threads()
    assert other.completed
    assert [type(error) for error in reported] == [ObserverError]


def leave(_: object) -> None:
    """Try to end the process."""
    sys.exit("the disk is full")


def assert_stands_for_exit(error: BaseException | None) -> None:
    """Check that an error says what became of a `sys.exit`."""
    assert isinstance(error, RuntimeError)
    assert "ends the subscription and not the process" in str(error)
    assert isinstance(error.__cause__, SystemExit)
    assert error.__cause__.code == "the disk is full"


@each_emitting_subject
def test_a_sys_exit_in_on_next_goes_to_on_error(name: str, world: World) -> None:
    """`sys.exit()` on a thread of rxflow is an error like any other, and all is disposed of."""
    over = threading.Event()
    errors: list[Exception] = []
    stream = subject(name, world, add_past_run(world)).pipe(ops.finally_action(over.set))
    stream.subscribe(leave, errors.append)
    assert over.wait(TEST_TIMEOUT)
    assert world.close_counts() == [1]
    (error,) = errors
    assert_stands_for_exit(error)


@each_emitting_subject
def test_a_sys_exit_without_on_error_is_reported(
    name: str, world: World, reported: list[BaseException | None]
) -> None:
    """Without a handler, `threading.excepthook` reports it, which ignores a plain SystemExit."""
    subject(name, world, add_past_run(world)).subscribe(leave)
    join_runtime_threads()
    assert world.close_counts() == [1]
    (error,) = reported
    assert_stands_for_exit(error)


def test_a_sys_exit_in_virtual_time_is_raised(world: World) -> None:
    """Where the caller's own thread runs the watch, SystemExit is raised there, and disposes."""
    stream = watch_flow_run(add_past_run(world), client=world.client)
    stream.subscribe(leave, scheduler=world.scheduler)
    with pytest.raises(SystemExit, match="the disk is full"):
        world.run(until=2 * HOUR)
    assert world.close_counts() == [1]
