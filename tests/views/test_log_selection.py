"""The log lines that a view returns: all of a flow run or task run, or those of a time range."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from loguru import logger
from server_scenes import Scene, Scene1, Scene3
from twin_calls import Call
from virtual_world import BEGINNING, World

from rxflow import FlowRunView
from rxflow._logs.full_read import FullRead
from rxflow._views.log_selection import LogSelection
from rxflow.testing import FakePrefect3

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    """Collect the warnings that rxflow logs."""
    logged: list[str] = []
    logger.enable("rxflow")
    sink = logger.add(logged.append, level="WARNING", format="{message}")
    yield logged
    logger.remove(sink)
    logger.disable("rxflow")


@pytest.mark.parametrize(
    ("between", "expected"),
    [
        ((None, None), "12345"),
        ((2, None), "345"),
        ((None, 2), "12"),
        ((2, 4), "34"),
        ((4, 2), ""),
    ],
)
def test_the_start_is_excluded_and_the_end_included(
    between: tuple[int | None, ...],
    expected: str,
    call: Call,
    world: World,
    finished_run: str,
) -> None:
    """Lines after the start and up to the end are returned, in order."""
    times = (None if at is None else BEGINNING + timedelta(seconds=at) for at in between)
    view = call(FlowRunView, "from_flow_run_id", finished_run, client=world.client)
    assert [line.message for line in call(view, "get_logs", *times)] == [*expected]


def test_a_naive_time_is_refused(call: Call, world: World, finished_run: str) -> None:
    """A time without an offset from UTC is a ValueError before any request."""
    view = call(FlowRunView, "from_flow_run_id", finished_run, client=world.client)
    before = len(world.server.requests)
    with pytest.raises(ValueError, match="time zone"):
        call(view, "get_logs", datetime(2026, 1, 1))  # noqa: DTZ001 - a naive time
    assert len(world.server.requests) == before


def test_more_lines_than_a_page_are_all_returned(call: Call) -> None:
    """Of more lines than the server returns at once all are read, in order."""
    server = FakePrefect3(page_limit=7)
    run_id = server.add_run()
    for number in range(50):
        server.log(run_id, str(number))
    view = call(FlowRunView, "from_flow_run_id", run_id, client=server.client())
    assert [line.message for line in call(view, "get_logs")] == [
        str(number) for number in range(50)
    ]


def test_all_lines_of_one_time_are_returned(scene: Scene, call: Call) -> None:
    """Of more lines of one time than a page holds all are returned, within (start, end]."""
    stored = [scene.log(str(number), NOON + timedelta(seconds=number // 5)) for number in range(25)]
    view = scene.view()
    assert sorted(line.id for line in call(view, "get_logs")) == sorted(stored)
    bounds = (NOON, NOON + timedelta(seconds=2))
    assert {line.message for line in call(view, "get_logs", *bounds)} == {*map(str, range(5, 15))}


def test_a_task_run_has_its_own_lines_on_prefect_3(scene3: Scene3, call: Call) -> None:
    """Lines of the flow and of other task runs are left out, with the same bounds."""
    task, other = scene3.add_task_run("load"), scene3.add_task_run("other")
    for number in range(12):
        scene3.log(str(number), NOON + timedelta(seconds=number), (task, other, None)[number % 3])
    view = scene3.task_run_view(task)
    assert [line.message for line in call(view, "get_logs")] == ["0", "3", "6", "9"]
    bounds = (NOON, NOON + timedelta(seconds=6))
    assert [line.message for line in call(view, "get_logs", *bounds)] == ["3", "6"]
    with pytest.raises(ValueError, match="no time zone"):
        call(view, "get_logs", NOON.replace(tzinfo=None))


def test_a_task_run_has_its_own_lines_on_prefect_1(scene1: Scene1, call: Call) -> None:
    """Lines of the flow and of other task runs are left out, page after page."""
    task, other = scene1.add_task_run("load"), scene1.add_task_run("other")
    for number in range(12):
        scene1.log(str(number), NOON + timedelta(seconds=number), (task, other, None)[number % 3])
    view = scene1.task_run_view(task)
    assert [line.message for line in call(view, "get_logs")] == ["0", "3", "6", "9"]
    bounds = (NOON, NOON + timedelta(seconds=6))
    assert [line.message for line in call(view, "get_logs", *bounds)] == ["3", "6"]


def test_lines_that_cannot_be_read_are_logged(
    scene3: Scene3, call: Call, warnings: list[str]
) -> None:
    """What is left out since it cannot be read is counted in a warning, with the first reason."""
    for number in range(9):
        scene3.log(str(number), NOON + timedelta(seconds=number))
    view = scene3.view()
    assert len(call(view, "get_logs")) == 9
    assert warnings == []
    for row in scene3.server.logs[3:5]:
        row["message"] = None
    assert [line.message for line in call(view, "get_logs")] == [*"0125678"]
    (warning,) = warnings
    assert warning.startswith(f"2 log rows of flow run {scene3.run} cannot be read")
    assert "$.message" in warning


def test_a_count_that_never_agreed_is_logged(warnings: list[str]) -> None:
    """Of rows that are not proven to be all, those at hand are returned, with a warning."""
    selection = LogSelection("9e6caafc-4ea1-4493-b0a9-122efba9eaaa", None, None)
    assert selection.select(FullRead(rows=[], malformed=[], proven=False)) == []
    (warning,) = warnings
    assert "9e6caafc-4ea1-4493-b0a9-122efba9eaaa" in warning
    assert "may be missing" in warning
