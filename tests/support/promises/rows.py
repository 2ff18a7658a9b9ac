"""Promises about rows: each is emitted exactly once, whenever and however the run is watched."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from msgspec.structs import replace
from servers_under_test import (
    FACES,
    Reactions,
    ServerUnderTest,
    emitted_rows,
    on_line,
    on_state,
    subscribe,
    watch_to_end,
)
from stream_faces import collect_async
from virtual_world import TEST_TIMEOUT, Recording

import rxflow
from promises.shared import (
    LEVEL_OF,
    assert_complete,
    closed_event,
    messages,
    notice_codes,
    state_types,
    watch_all,
)
from rxflow import (
    Closed,
    FlowRunEvent,
    NoticeCode,
    StateType,
    watch_flow_run,
)


def test_early_midway_and_late_watches_emit_the_same_rows(prefect: ServerUnderTest) -> None:
    """A watch that begins before, during or after the run emits each state and each line once."""
    run = prefect.add_run()
    stream = watch_all(prefect, run)
    others: list[Recording[FlowRunEvent]] = []

    def join() -> None:
        others.append(prefect.record(stream, reactions))
        prefect.log(run, "three")

    reactions = Reactions(
        (on_state(StateType.PENDING), lambda: prefect.set_state(run, StateType.RUNNING)),
        (on_state(StateType.RUNNING), lambda: prefect.log(run, "one", "two")),
        (on_line("two"), join),
        (on_line("three"), lambda: prefect.set_state(run, StateType.COMPLETED)),
        (on_state(StateType.COMPLETED), lambda: prefect.log(run, "after the end")),
    )
    early = watch_to_end(prefect, stream, reactions)
    midway = prefect.wait_for_end(others[0])
    for events in (early, midway, watch_to_end(prefect, stream)):
        assert_complete(events, prefect, run)
        assert messages(events) == ["one", "two", "three", "after the end"]
        assert state_types(events) == ["PENDING", "RUNNING", "COMPLETED"]


def test_the_faces_of_a_finished_run_are_equal(prefect: ServerUnderTest, finished_run: str) -> None:
    """A `for` loop, an `async for` loop and a subscriber get equal events in the same order."""
    stream = watch_all(prefect, finished_run, stream_tasks=True)
    emitted = [*(face(stream) for face in FACES.values()), watch_to_end(prefect, stream)]
    # On a server with real time each watch ends at another time.
    ended = closed_event(emitted[0]).timestamp
    first, *others = [
        [*events[:-1], replace(closed_event(events), timestamp=ended)] for events in emitted
    ]
    assert len(first) > len(LEVEL_OF)
    assert others == [first] * len(FACES)


def test_run_and_await_return_the_last_event(prefect: ServerUnderTest, finished_run: str) -> None:
    """`run` and `await` return `Closed` alone."""
    stream = watch_all(prefect, finished_run)

    async def last() -> FlowRunEvent:
        return await stream

    for event in (stream.run(), asyncio.run(last())):
        assert isinstance(event, Closed)
        assert event.log_count == len(LEVEL_OF)
        assert event.verified


def test_the_faces_of_a_live_run_get_the_same_rows(prefect: ServerUnderTest) -> None:
    """Two loops and a subscriber that watch a live run over HTTP each get every row."""
    run = prefect.add_run()
    reactions = Reactions(
        (on_state(StateType.PENDING), lambda: prefect.set_state(run, StateType.RUNNING)),
        (on_state(StateType.RUNNING), lambda: prefect.log(run, "one", "two")),
        (on_line("two"), lambda: prefect.set_state(run, StateType.COMPLETED)),
    )
    iterated: list[FlowRunEvent] = []
    with prefect.serve() as api_url, rxflow.Client(api_url=api_url) as client:
        stream = watch_flow_run(run, drain=0, max_duration=TEST_TIMEOUT, client=client)
        with ThreadPoolExecutor(2) as pool:
            others = [pool.submit(collect_async, stream), pool.submit(subscribe, stream)]
            for event in stream:
                iterated.append(event)
                reactions(event)
            emitted = [iterated, *(other.result(TEST_TIMEOUT) for other in others)]
    for events in emitted:
        assert_complete(events, prefect, run)
        assert messages(events) == ["one", "two"]


def test_watches_of_two_runs_are_separate(prefect: ServerUnderTest, finished_run: str) -> None:
    """Simultaneous watches of one client emit the rows of their own run only."""
    another = prefect.add_run(state=StateType.RUNNING)
    recording = prefect.record(
        watch_all(prefect, another),
        Reactions(
            (on_state(StateType.RUNNING), lambda: prefect.log(another, "another")),
            (on_line("another"), lambda: prefect.set_state(another, StateType.COMPLETED)),
        ),
    )
    assert_complete(watch_to_end(prefect, watch_all(prefect, finished_run)), prefect, finished_run)
    assert_complete(prefect.wait_for_end(recording), prefect, another)


def test_a_repeated_state_is_emitted_twice(prefect: ServerUnderTest) -> None:
    """A run that enters the same state twice has two states, and both are emitted."""
    run = prefect.add_run(state=StateType.RUNNING)
    reactions = Reactions(
        (on_state(StateType.RUNNING), lambda: prefect.set_state(run, StateType.RUNNING)),
        (on_state(StateType.RUNNING), lambda: prefect.set_state(run, StateType.COMPLETED)),
    )
    events = watch_to_end(prefect, watch_all(prefect, run), reactions)
    assert_complete(events, prefect, run)
    assert state_types(events) == ["RUNNING", "RUNNING", "COMPLETED"]


def test_states_between_two_polls_are_emitted(prefect: ServerUnderTest) -> None:
    """All states are emitted in order, however short they lasted."""
    run = prefect.add_run()

    def live() -> None:
        for state in (StateType.RUNNING, StateType.PAUSED, StateType.RUNNING, StateType.CANCELLING):
            prefect.set_state(run, state)
        prefect.set_state(run, StateType.CANCELLED)

    reactions = Reactions((on_state(StateType.PENDING), live))
    events = watch_to_end(prefect, watch_all(prefect, run), reactions)
    assert_complete(events, prefect, run)
    expected = ["PENDING", "RUNNING", "PAUSED", "RUNNING", "CANCELLING", "CANCELLED"]
    assert state_types(events) == expected


def test_a_reopened_run_is_watched_to_its_second_end(prefect: ServerUnderTest) -> None:
    """A failed run that runs again is emitted to its second end, with a notice."""
    run = prefect.add_run(state=StateType.RUNNING)
    reactions = Reactions(
        (on_state(StateType.RUNNING), lambda: prefect.set_state(run, StateType.FAILED)),
        (on_state(StateType.FAILED), lambda: prefect.set_state(run, StateType.RUNNING)),
        (on_state(StateType.RUNNING), lambda: prefect.log(run, "again")),
        (on_line("again"), lambda: prefect.set_state(run, StateType.COMPLETED)),
    )
    events = watch_to_end(prefect, watch_all(prefect, run), reactions)
    assert emitted_rows(events) == prefect.stored_rows(run)
    assert notice_codes(events) == [NoticeCode.REOPENED]
    assert state_types(events) == ["RUNNING", "FAILED", "RUNNING", "COMPLETED"]
    assert closed_event(events).verified
    closed_event(events).raise_for_state()
