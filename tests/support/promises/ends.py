"""Promises about the end of a watch: terminal states, errors, time limits and deletion."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from servers_under_test import Reactions, ServerUnderTest, on_line, on_state, watch_to_end
from twin_calls import Call
from virtual_world import TEST_TIMEOUT

import rxflow
from promises.shared import (
    assert_complete,
    closed_event,
    messages,
    notice_codes,
    state_types,
    watch_all,
)
from rxflow import (
    FlowRunView,
    NoticeCode,
    StateChange,
    StateType,
    wait_for_flow_run,
    watch_flow_run,
)


@pytest.mark.parametrize(
    ("end", "level"),
    [
        (StateType.COMPLETED, logging.INFO),
        (StateType.FAILED, logging.ERROR),
        (StateType.CANCELLED, logging.WARNING),
    ],
)
def test_the_last_event_has_the_terminal_state(
    prefect: ServerUnderTest, end: StateType, level: int
) -> None:
    """`raise_for_state` raises unless the run completed, and the level of the state agrees."""
    run = prefect.add_run(state=StateType.RUNNING)
    reactions = Reactions((on_state(StateType.RUNNING), lambda: prefect.set_state(run, end)))
    events = watch_to_end(prefect, watch_all(prefect, run), reactions)
    assert_complete(events, prefect, run)
    assert [event.level for event in events if isinstance(event, StateChange)][-1] == level
    if end is StateType.COMPLETED:
        closed_event(events).raise_for_state()
    else:
        with pytest.raises(rxflow.FlowRunFailed, match=run):
            closed_event(events).raise_for_state()


def test_an_unknown_run_is_not_found(
    prefect: ServerUnderTest, face: Callable[[Any], list[Any]]
) -> None:
    """The only item of each face is a RunNotFound, which is a ValueError."""
    stream = watch_all(prefect, str(uuid4()))
    with pytest.raises(rxflow.RunNotFound) as found:
        face(stream)
    assert isinstance(found.value, ValueError)


def test_views_and_waits_do_not_find_an_unknown_run(prefect: ServerUnderTest, call: Call) -> None:
    """Reading an unknown run, and waiting for it, raise the same error."""
    unknown_id = str(uuid4())
    with pytest.raises(rxflow.RunNotFound):
        call(FlowRunView, "from_flow_run_id", unknown_id, client=prefect.client)
    with pytest.raises(rxflow.RunNotFound):
        call(rxflow, "wait_for_flow_run", unknown_id, client=prefect.client)


@pytest.mark.parametrize("text", ["nightly", "", "9e6caafc"])
def test_a_malformed_id_is_refused_at_the_call(prefect: ServerUnderTest, text: str) -> None:
    """A malformed id is a ValueError before any request."""
    for function in (watch_flow_run, FlowRunView.from_flow_run_id, wait_for_flow_run):
        with pytest.raises(rxflow.InvalidRunId) as refused:
            function(text, client=prefect.client)
        assert isinstance(refused.value, ValueError)


def test_an_id_may_have_any_form_of_a_uuid(prefect: ServerUnderTest, finished_run: str) -> None:
    """Upper case, braces or no dashes name the same run."""
    for text in (finished_run.upper(), f"{{{finished_run}}}", finished_run.replace("-", "")):
        assert_complete(watch_to_end(prefect, watch_all(prefect, text)), prefect, finished_run)


def test_a_deleted_run_ends_its_watch(prefect: ServerUnderTest) -> None:
    """A notice says so, and the stream completes without an error and unverified."""
    run = prefect.add_run(state=StateType.RUNNING)
    prefect.log(run, "one")
    reactions = Reactions((on_line("one"), lambda: prefect.delete_run(run)))
    events = watch_to_end(prefect, watch_all(prefect, run), reactions)
    assert messages(events) == ["one"]
    assert state_types(events) == ["RUNNING"]
    assert notice_codes(events) == [NoticeCode.RUN_DELETED]
    assert not closed_event(events).verified


def test_a_watch_ends_after_max_duration(
    prefect: ServerUnderTest, face: Callable[[Any], list[Any]]
) -> None:
    """An unfinished run ends each face with a WatchTimedOut, a RuntimeError and a TimeoutError."""
    run = prefect.add_run(state=StateType.RUNNING)
    with pytest.raises(rxflow.WatchTimedOut) as timed_out:
        face(watch_all(prefect, run, max_duration=0.1))
    assert isinstance(timed_out.value, RuntimeError)
    assert isinstance(timed_out.value, TimeoutError)


def test_a_finished_run_never_times_out(prefect: ServerUnderTest, finished_run: str) -> None:
    """A finished run is emitted to its end, however short `max_duration` is."""
    assert_complete(
        watch_to_end(prefect, watch_all(prefect, finished_run, max_duration=0)),
        prefect,
        finished_run,
    )


def test_wait_for_flow_run_returns_the_terminal_view(prefect: ServerUnderTest, call: Call) -> None:
    """`wait_for_flow_run` and its twin return the run as it is in its terminal state."""
    run = prefect.add_run(state=StateType.RUNNING)
    with pytest.raises(rxflow.WatchTimedOut):
        call(rxflow, "wait_for_flow_run", run, 0.05, client=prefect.client)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(
            call, rxflow, "wait_for_flow_run", run, TEST_TIMEOUT, client=prefect.client
        )
        prefect.set_state(run, StateType.FAILED)
        view = waiting.result(TEST_TIMEOUT)
    assert view == FlowRunView.from_flow_run_id(run, client=prefect.client)
    assert view.state.is_failed()
