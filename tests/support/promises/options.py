"""Promises about the options of a watch: which sources, levels and times it emits."""

from collections.abc import Callable

import pytest
from msgspec.structs import asdict
from servers_under_test import Reactions, ServerUnderTest, emitted_rows, watch_to_end
from virtual_world import identities

from promises.shared import LEVEL_OF, closed_event, fold_all, messages, state_types, watch_all
from rxflow import (
    FlowRunEvent,
    FlowRunView,
    StateType,
    TaskRunStateChange,
)


@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        ({}, {"state", "log"}),
        ({"stream_logs": False}, {"state"}),
        ({"stream_states": False}, {"log"}),
        ({"stream_states": False, "stream_logs": False}, set()),
        ({"stream_tasks": True}, {"state", "log", "task-state"}),
        ({"stream_states": False, "stream_logs": False, "stream_tasks": True}, {"task-state"}),
    ],
    ids=["by-default", "states-only", "logs-only", "neither", "tasks-too", "tasks-only"],
)
def test_a_source_can_be_left_out(
    prefect: ServerUnderTest, finished_run: str, options: dict[str, bool], kinds: set[str]
) -> None:
    """Each source can be left out; the first event and the verified last one remain."""
    events = watch_to_end(prefect, watch_all(prefect, finished_run, **options))
    emitted = {kind for kind, _ in identities(events)}
    # A changed row belongs to the states, and is emitted only if they do not explain the change.
    assert emitted - ({"run-changed"} if "state" in kinds else set()) == kinds | {
        "run-seen",
        "closed",
    }
    assert closed_event(events).verified
    assert closed_event(events).log_count == len(messages(events))
    wanted = [row for row in prefect.stored_rows(finished_run) if row[0] in kinds]
    assert emitted_rows(events) == wanted
    state = closed_event(events).state
    assert state is not None
    assert state.is_completed


def test_the_parts_add_up_to_the_stream(prefect: ServerUnderTest, finished_run: str) -> None:
    """States, logs, tasks and notices together emit what the stream emits."""
    stream = watch_all(prefect, finished_run, stream_tasks=True)
    parts = (stream.states, stream.logs, stream.tasks, stream.notices)
    emitted = [event for part in parts for event in watch_to_end(prefect, part)]
    assert sorted(identities(emitted)) == sorted(identities(watch_to_end(prefect, stream)))


def test_lines_below_the_level_are_left_out(prefect: ServerUnderTest, finished_run: str) -> None:
    """Only lines of the level and above are emitted and counted, and all states."""
    for level in (10, 11, 20, 30, 40, 50):
        events = watch_to_end(prefect, watch_all(prefect, finished_run, level=level))
        assert messages(events) == [text for text, of in LEVEL_OF.items() if of >= level]
        assert len(state_types(events)) == 3
        assert closed_event(events).verified


def test_lines_before_the_time_are_left_out(prefect: ServerUnderTest, finished_run: str) -> None:
    """Only lines of the time and later are emitted, and all states."""
    lines = watch_to_end(prefect, watch_all(prefect, finished_run).logs)
    for number, line in enumerate(lines):
        events = watch_to_end(prefect, watch_all(prefect, finished_run, since=line.timestamp))
        assert messages(events) == list(LEVEL_OF)[number:]
        assert len(state_types(events)) == 3
        assert closed_event(events).verified
    errors = watch_to_end(
        prefect, watch_all(prefect, finished_run, since=lines[3].timestamp, level=30)
    )
    assert messages(errors) == ["five"]


def test_task_run_states_are_emitted_and_folded(prefect: ServerUnderTest) -> None:
    """Each state that a task run is read in is emitted, and the last snapshot has its row."""
    run = prefect.add_run(state=StateType.RUNNING)
    first = prefect.add_task_run(run, "load", 0)
    second: list[str] = []

    def on_task_state(task_runs: list[str], state: StateType) -> Callable[[FlowRunEvent], bool]:
        def matches(event: FlowRunEvent) -> bool:
            return (
                isinstance(event, TaskRunStateChange)
                and event.task_run.id == task_runs[0]
                and event.state.type == state
            )

        return matches

    reactions = Reactions(
        (
            on_task_state([first], StateType.RUNNING),
            lambda: second.append(prefect.add_task_run(run, "sum")),
        ),
        (
            on_task_state(second, StateType.RUNNING),
            lambda: prefect.set_task_state(run, first, StateType.FAILED),
        ),
        (
            on_task_state([first], StateType.FAILED),
            lambda: prefect.set_task_state(run, second[0], StateType.COMPLETED),
        ),
        (
            on_task_state(second, StateType.COMPLETED),
            lambda: prefect.set_state(run, StateType.COMPLETED),
        ),
    )
    stream = watch_all(prefect, run, stream_tasks=True)
    events = watch_to_end(prefect, stream, reactions)
    emitted = [(e.task_run.id, e.state.type) for e in events if isinstance(e, TaskRunStateChange)]
    assert emitted == [
        (first, "RUNNING"),
        (second[0], "RUNNING"),
        (first, "FAILED"),
        (second[0], "COMPLETED"),
    ]
    assert emitted_rows(events) == prefect.stored_rows(run)
    assert closed_event(events).unsettled == ()
    view = FlowRunView.from_flow_run_id(run, client=prefect.client)
    task_runs = tuple(each.task_run for each in view.get_all_task_runs())
    for snapshot in (fold_all(events), fold_all(watch_to_end(prefect, stream))):
        assert asdict(snapshot.run) == asdict(view.snapshot.run)
        assert snapshot.task_runs == task_runs
