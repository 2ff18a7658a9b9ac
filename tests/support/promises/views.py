"""Promises about views, and about clients that have only a URL."""

from itertools import pairwise
from uuid import uuid4

import pytest
from msgspec.structs import asdict
from servers_under_test import (
    LogLine,
    Reactions,
    ServerUnderTest,
    do_nothing,
    on_line,
    on_state,
    watch_to_end,
)
from twin_calls import Call

import rxflow
from promises.shared import (
    LEVEL_OF,
    MORE_THAN_TWO_PAGES,
    SECOND,
    TASK_RUNS,
    assert_complete,
    closed_event,
    fold_all,
    messages,
    watch_all,
)
from rxflow import FlowRunView, StateType


def test_the_last_view_equals_a_read_of_the_run(prefect: ServerUnderTest) -> None:
    """Each view differs from the one before, and the last equals what is read, field by field."""
    run = prefect.add_run(name="nightly")
    reactions = Reactions(
        (on_state(StateType.PENDING), lambda: prefect.set_state(run, StateType.RUNNING)),
        (on_state(StateType.RUNNING), lambda: prefect.log(run, "one")),
        (on_line("one"), lambda: prefect.set_state(run, StateType.COMPLETED)),
    )
    stream = watch_all(prefect, run)
    recording = prefect.record(stream.views(), do_nothing)
    events = watch_to_end(prefect, stream, reactions)
    views = prefect.wait_for_end(recording)
    read = FlowRunView.from_flow_run_id(run, client=prefect.client)
    assert asdict(views[-1].snapshot.run) == asdict(read.snapshot.run)
    assert views[-1].states == read.states
    assert views[-1] == read
    assert read.name == "nightly"
    assert all(before != after for before, after in pairwise(views))
    assert [len(view.states) for view in views] == sorted(len(view.states) for view in views)
    assert asdict(fold_all(events).run) == asdict(read.snapshot.run)
    assert closed_event(events).view == fold_all(events) == read.snapshot


def test_a_view_reads_the_lines_of_the_watch(
    prefect: ServerUnderTest, finished_run: str, call: Call
) -> None:
    """`get_logs` returns the lines that the watch emits, or those of a time range."""
    emitted = watch_to_end(prefect, watch_all(prefect, finished_run).logs)
    view = call(FlowRunView, "from_flow_run_id", finished_run, client=prefect.client)
    assert call(view, "get_logs") == emitted
    start, end = emitted[1].timestamp, emitted[3].timestamp
    assert call(view, "get_logs", start, end) == emitted[2:4]
    assert call(view, "get_logs", start_time=end) == emitted[4:]
    assert call(view, "get_logs", end_time=start) == emitted[:2]


def test_a_view_reads_more_lines_than_two_pages(prefect: ServerUnderTest, call: Call) -> None:
    """More lines than two pages are all returned, by time."""
    run = prefect.add_run()
    begun = prefect.now()
    lines = [LogLine(f"line {n:03}", begun + n * SECOND / 100) for n in range(MORE_THAN_TWO_PAGES)]
    prefect.log(run, *reversed(lines))
    view = call(FlowRunView, "from_flow_run_id", run, client=prefect.client)
    assert [line.message for line in call(view, "get_logs")] == [line.message for line in lines]


def test_the_latest_view_is_a_new_one(prefect: ServerUnderTest, call: Call) -> None:
    """`get_latest` returns a view of the change, and the earlier view does not change."""
    run = prefect.add_run(state=StateType.RUNNING)
    view = call(FlowRunView, "from_flow_run_id", run, client=prefect.client)
    prefect.set_state(run, StateType.COMPLETED)
    latest = call(view, "get_latest")
    assert [state.type for state in view.states] == ["RUNNING"]
    assert [state.type for state in latest.states] == ["RUNNING", "COMPLETED"]
    assert latest.state == latest.states[-1]
    assert latest == call(FlowRunView, "from_flow_run_id", run, client=prefect.client)


def test_a_view_reads_the_task_runs(
    prefect: ServerUnderTest, finished_run: str, call: Call
) -> None:
    """All task runs are read by creation, and each by its id, or by its task and map index."""
    view = call(FlowRunView, "from_flow_run_id", finished_run, client=prefect.client)
    found = call(view, "get_all_task_runs")
    assert [(each.task_slug, each.map_index) for each in found] == TASK_RUNS
    assert call(view, "get_task_run_ids") == [each.task_run_id for each in found]
    for each in found:
        assert each.state.is_successful()
        assert call(view, "get_task_run", task_run_id=each.task_run_id) == each
        assert call(view, "get_task_run", each.task_slug, map_index=each.map_index) == each
    with pytest.raises(rxflow.TaskRunNotFound):
        call(view, "get_task_run", "no such task")
    with pytest.raises(rxflow.TaskRunNotFound):
        call(view, "get_task_run", task_run_id=str(uuid4()))
    emitted = watch_to_end(prefect, watch_all(prefect, finished_run, stream_tasks=True))
    assert fold_all(emitted).task_runs == tuple(each.task_run for each in found)
    # On Prefect 1 these are without the children of mapped task runs.
    static = call(FlowRunView, "from_flow_run_id", finished_run, True, client=prefect.client)
    assert found[-1].task_run in static.task_runs
    assert call(static, "get_latest", True) == static


def test_a_client_detects_the_server(prefect: ServerUnderTest, finished_run: str) -> None:
    """A client with only a URL watches and reads as a configured one."""
    with prefect.serve() as api_url, rxflow.Client(api_url=api_url) as client:
        assert_complete(
            list(watch_all(prefect, finished_run, client=client)), prefect, finished_run
        )
        read = FlowRunView.from_flow_run_id(finished_run, client=client)
        assert read == FlowRunView.from_flow_run_id(finished_run, client=prefect.client)
        assert messages(read.get_logs()) == list(LEVEL_OF)
        with pytest.raises(rxflow.RunNotFound):
            list(watch_all(prefect, str(uuid4()), client=client))
