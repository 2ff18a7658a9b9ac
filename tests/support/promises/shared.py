"""Fixtures of the promises, the run that many of them watch, and parts of its events."""

from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import reduce
from typing import Any

import pytest
from servers_under_test import FACES, LogLine, ServerUnderTest, emitted_rows
from twin_calls import TWINS, Call
from virtual_world import identities

import rxflow
from rxflow import (
    Closed,
    FlowRunEvent,
    FlowRunLog,
    Notice,
    NoticeCode,
    RunSeen,
    StateChange,
    StateType,
    watch_flow_run,
)

SECOND = timedelta(seconds=1)

LEVEL_OF = {"one": 10, "two": 20, "three": 30, "four": 20, "five": 40}
"""The log lines of the finished run, and their levels."""

TASK_RUNS = [("load", 0), ("load", 1), ("load", 2), ("sum", -1)]
"""The task runs of the finished run: task and map index."""

MORE_THAN_TWO_PAGES = 450
"""A number of log lines, for pages of 200."""


@pytest.fixture(params=FACES)
def face(request: pytest.FixtureRequest) -> Callable[[Any], list[Any]]:
    """Collect the items of a stream, by each face."""
    return FACES[request.param]


@pytest.fixture(params=TWINS)
def call(request: pytest.FixtureRequest) -> Call:
    """Call a method, or its async twin."""
    return TWINS[request.param]


@pytest.fixture
def finished_run(prefect: ServerUnderTest) -> str:
    """A run that completed, with three states, five lines of four levels, and task runs."""
    run = prefect.add_run()
    prefect.set_state(run, StateType.RUNNING)
    begun = prefect.now() - 10 * SECOND
    lines = [LogLine(text, begun + n * SECOND, LEVEL_OF[text]) for n, text in enumerate(LEVEL_OF)]
    prefect.log(run, *lines)
    for task, index in TASK_RUNS:
        prefect.set_task_state(run, prefect.add_task_run(run, task, index), StateType.COMPLETED)
    prefect.set_state(run, StateType.COMPLETED)
    prefect.skip_an_hour()
    return run


def watch_all(prefect: ServerUnderTest, run: str, **options: Any) -> rxflow.FlowRunStream:
    """Describe a watch of a run, with as much drain as there is time for."""
    given = {"drain": prefect.drain, "client": prefect.client}
    return watch_flow_run(run, **(given | options))


def messages(events: Iterable[FlowRunEvent]) -> list[str]:
    """The texts of the log lines."""
    return [event.message for event in events if isinstance(event, FlowRunLog)]


def state_types(events: Iterable[FlowRunEvent]) -> list[str]:
    """The types of the states that the run entered."""
    return [event.state.type for event in events if isinstance(event, StateChange)]


def late_messages(events: Iterable[FlowRunEvent]) -> list[str]:
    """The texts of the events that are flagged late."""
    return [event.message for event in events if event.late]


def notice_codes(events: Iterable[FlowRunEvent]) -> list[NoticeCode]:
    """The codes of the notices."""
    return [event.code for event in events if isinstance(event, Notice)]


def closed_event(events: Iterable[FlowRunEvent]) -> Closed:
    """The last event, which is `Closed`."""
    *_, last = events
    assert isinstance(last, Closed)
    return last


def fold_all(events: Iterable[FlowRunEvent]) -> rxflow.Snapshot:
    """The snapshot that the events fold to."""
    nothing: rxflow.Snapshot | None = None
    snapshot = reduce(rxflow.fold, events, nothing)
    assert snapshot is not None
    return snapshot


def assert_complete(events: list[FlowRunEvent], prefect: ServerUnderTest, run: str) -> None:
    """Check that each row was emitted once, between the first event and a verified last one."""
    assert emitted_rows(events) == prefect.stored_rows(run)
    kinds = [kind for kind, _ in identities(events) if kind not in {"state", "log", "run-changed"}]
    assert kinds == ["run-seen", "closed"]
    assert (type(events[0]), type(events[-1])) == (RunSeen, Closed)
    assert closed_event(events).verified
    assert closed_event(events).log_count == len(messages(events))
