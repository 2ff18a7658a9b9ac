"""Rule: all work is done on the scheduler that was given, in its time and on its thread."""

import asyncio
import sys
import threading
from random import Random

import httpx
import pytest
from engines import events_of_engine, spec_of
from reactivex import operators as ops
from rx_subjects import (
    FACES,
    TIME_DEPENDENT,
    add_live_run,
    add_past_run,
    each_emitting_subject,
    each_subject,
    record_on_loop,
    sessions_of,
    subject,
    threads_of,
    without_close_times,
)
from virtual_world import TEST_TIMEOUT, World

from rxflow._watching.run_session import RunSession

_sleeping_threads: list[str] = []


def _record_sleep(event: str, _: object) -> None:
    if event == "time.sleep":
        _sleeping_threads.append(threading.current_thread().name)


@pytest.fixture(scope="session")
def _sleep_hook() -> None:
    """Record every call of `time.sleep`. An audit hook cannot be removed."""
    sys.addaudithook(_record_sleep)


@pytest.mark.usefixtures("_sleep_hook")
@each_subject
def test_virtual_time_needs_no_real_time(name: str, started: list[str], world: World) -> None:
    """In virtual time nothing sleeps, no thread starts, and items have the clock's time."""
    _sleeping_threads.clear()
    recording = world.watch(subject(name, world, add_live_run(world)), at=5)
    assert (started, _sleeping_threads) == ([], [])
    assert recording.ended is not None
    assert all(5 <= at <= recording.ended for at, _ in recording.events)
    # The run fails at 30 and is over at 50; its last line is emitted during the drain.
    assert recording.ended > (30 if name == "until_terminal" else 55)


def test_polls_are_sent_at_the_intervals_of_the_session(world: World) -> None:
    """Without jitter the polls are sent at exactly the seconds that the intervals add up to."""

    class NoJitter(Random):
        def uniform(self, a: float, b: float) -> float:
            """Return the middle."""
            return (a + b) / 2

    run_id = world.server.add_run(state="RUNNING")
    polls: list[float] = []

    def record_poll(request: httpx.Request) -> None:
        if request.url.path.endswith(run_id):
            polls.append(round(world.seconds, 3))

    world.server.intercept = record_poll
    session = RunSession(spec_of(run_id, max_duration=None), NoJitter(0))
    world.watch(events_of_engine(session, world.client), until=40)
    expected, pause = [0.0], 0.5
    while expected[-1] + pause < 40:
        expected.append(round(expected[-1] + pause, 3))
        pause = min(5.0, pause * 1.5)
    assert polls == pytest.approx(expected, abs=0.01)


@each_subject
def test_without_a_scheduler_worker_threads_make_all_calls(name: str, world: World) -> None:
    """Without a scheduler rxflow's worker threads make every call, the end included."""
    names: set[str] = set()

    def record_thread(*_: object) -> None:
        names.add(threading.current_thread().name)

    over = threading.Event()

    def end(*_: object) -> None:
        record_thread()
        over.set()

    subject(name, world, add_past_run(world)).subscribe(record_thread, end, end)
    assert over.wait(TEST_TIMEOUT)
    assert names == {"rxflow-worker"}


@each_subject
def test_on_an_event_loop_its_thread_makes_all_calls(
    name: str, started: list[str], world: World
) -> None:
    """On an asyncio scheduler the loop's thread makes every call; none starts if it is cold."""
    recording = asyncio.run(record_on_loop(subject(name, world, add_past_run(world))))
    assert recording.completed, recording.error
    assert recording.threads == {threading.get_ident()}
    assert set(started) <= threads_of(name)


@each_subject
@pytest.mark.parametrize("face", ["for", "async for", "await"])
def test_iteration_runs_in_the_callers_thread(
    name: str, face: str, started: list[str], world: World
) -> None:
    """A loop, blocking or async, and an await run in the caller's thread; none starts if cold."""
    threads: set[int] = set()
    stream = subject(name, world, add_past_run(world)).pipe(
        ops.do_action(lambda _: threads.add(threading.get_ident())),
        ops.default_if_empty(None),
    )
    assert FACES[face](stream, world)
    assert threads <= {threading.get_ident()}
    assert set(started) <= threads_of(name)


@each_emitting_subject
def test_all_faces_emit_the_same(name: str, world: World) -> None:
    """For a run that is over every face returns the same items in the same order."""
    stream = subject(name, world, add_past_run(world))
    found = {face: without_close_times(use(stream, world)) for face, use in FACES.items()}
    last = found.pop("await")
    expected = found["virtual"]
    if name in TIME_DEPENDENT:
        lengths = {face: len(values) for face, values in found.items()}
        assert lengths == dict.fromkeys(found, len(expected))
    else:
        assert {face for face, values in found.items() if values != expected} == set()
        assert last == expected[-1:]
    assert world.close_counts() == [1] * sessions_of(name, len(FACES))
