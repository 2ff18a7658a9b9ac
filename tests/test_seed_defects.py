"""What Prefect 1.4.1's views did wrong, by number, and what ours do instead.

The numbers and the behaviour quoted were found by experiments with Prefect 1.4.1 itself.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

import rxflow
from rxflow import FlowRunView, State
from rxflow.testing import FakePrefect3

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
KEY = "load-0489fc40"


class Scene:
    """A server with a run that is running, and a view of the run."""

    def __init__(self) -> None:
        self.server = FakePrefect3(page_limit=10)
        self.run = self.server.add_run(state="RUNNING")

    def view(self) -> FlowRunView:
        """Ask for the run."""
        return FlowRunView.from_flow_run_id(self.run, client=self.server.client())

    def lines(self, count: int, **how: Any) -> list[str]:
        """Store some lines, and give the ids."""
        return [self.server.log(self.run, str(number), **how) for number in range(count)]


def truncated_logs(scene: Scene) -> None:
    """All 250 rows come where a server gives 10 at once."""
    told = scene.lines(250)
    assert [line.id for line in scene.view().get_logs()] == told


def tied_logs(scene: Scene) -> None:
    """All 25 rows of one timestamp come, over the edges of pages."""
    told = scene.lines(25, timestamp=NOON)
    assert {line.id for line in scene.view().get_logs()} == set(told)


def order_of_ties(scene: Scene) -> None:
    """Rows of one timestamp stay in the order of their storing, whatever level and words."""
    for level, message in ((30, "b"), (10, "c"), (20, "a")):
        scene.server.log(scene.run, message, level=level, timestamp=NOON)
    lines = scene.view().get_logs()
    assert [line.message for line in sorted(lines)] == ["b", "c", "a"]


def unknown_levels(scene: Scene) -> None:
    """A level that no name belongs to is a number all the same."""
    scene.server.log(scene.run, "x", level=5)
    assert [line.level for line in scene.view().get_logs()] == [5]


def deleted_run(scene: Scene) -> None:
    """The log of a run that was deleted is what is left of it, and no IndexError."""
    told = scene.lines(3)
    view = scene.view()
    scene.server.delete_run(scene.run)
    assert [line.id for line in view.get_logs()] == told
    scene.server.delete_logs(told)
    assert view.get_logs() == []
    with pytest.raises(rxflow.RunNotFound):
        view.get_latest()


def bad_answer_to_ids(scene: Scene) -> None:
    """What cannot be read as task runs is an error that says so, and no TypeError."""
    view = scene.view()
    scene.server.intercept = lambda request: (
        httpx.Response(422, json={"exception_message": "no", "exception_detail": []})
        if "task_runs" in request.url.path
        else None
    )
    with pytest.raises(rxflow.BadResponse):
        view.get_task_run_ids()


def empty_ids(scene: Scene) -> None:
    """No ids now is no promise for later: the next question finds what has come since."""
    view = scene.view()
    assert view.get_task_run_ids() == []
    task = scene.server.add_task_run(scene.run)
    assert view.get_task_run_ids() == [task]


def anothers_task_run(scene: Scene) -> None:
    """A task run of another flow run is refused, and then not among this one's."""
    other = scene.server.add_task_run(scene.server.add_run(), state="COMPLETED")
    view = scene.view()
    with pytest.raises(ValueError, match="belongs to flow run"):
        view.get_task_run(task_run_id=other)
    assert view.get_all_task_runs() == []


def unknown_state(scene: Scene) -> None:
    """A state of an unknown type is kept as text, and is neither finished nor running."""
    scene.server.set_state(scene.run, "DREAMING", "Dreaming")
    state = scene.view().state
    assert state is not None
    assert (state.type, state.name) == ("DREAMING", "Dreaming")
    assert not any((state.is_finished(), state.is_running(), state.is_failed()))


def many_task_runs(scene: Scene) -> None:
    """There is no limit of 1,000 task runs, and none is left out."""
    scene.server = FakePrefect3()
    scene.run = scene.server.add_run(state="RUNNING")
    tasks = [scene.server.add_task_run(scene.run) for _ in range(1001)]
    assert [view.task_run_id for view in scene.view().get_all_task_runs()] == tasks


def restarted_task_run(scene: Scene) -> None:
    """A task run that failed and runs again is not Failed any more, whoever is asked."""
    task = scene.server.add_task_run(scene.run, state="FAILED", task_key=KEY)
    view = FlowRunView.from_flow_run_id(scene.run, True, client=scene.server.client())
    assert view.get_task_run("load").state.is_failed()  # type: ignore[union-attr]
    scene.server.set_task_state(scene.run, task, "RUNNING")
    for now in (view, view.get_latest(), view.get_latest().get_latest()):
        assert now.get_task_run("load").state.is_running()  # type: ignore[union-attr]
        assert now.get_task_run(task_run_id=task).state.is_running()  # type: ignore[union-attr]
        assert [found.state.name for found in now.get_all_task_runs() if found.state] == ["Running"]
    assert view.get_latest().task_runs == ()


def logs_of_a_running_run(scene: Scene) -> None:
    """Without an end, the lines go up to the last, not to when the run's row was written."""
    told = scene.lines(20, timestamp=NOON + timedelta(days=36500))
    assert [line.id for line in scene.view().get_logs()] == told


def mapped_children(scene: Scene) -> None:
    """The runs of a mapped task are read with pages of rows, not one by one, and none stops it."""
    tasks = [scene.server.add_task_run(scene.run, task_key=KEY) for _ in range(25)]
    view = scene.view().get_task_run("load", map_index=7)
    before = len(scene.server.requests)
    assert [child.task_run_id for child in view.iter_mapped()] == tasks
    assert len(scene.server.requests) - before == 3


def identity_of_lines(scene: Scene) -> None:
    """A line has its id, its task run and its logger's name."""
    task = scene.server.add_task_run(scene.run)
    told = scene.server.log(scene.run, "x", task_run_id=task, name="mine")
    (line,) = scene.view().get_logs()
    assert (line.id, line.task_run_id, line.name) == (told, task, "mine")


def states_of_one_time(scene: Scene) -> None:
    """States of one timestamp have an order of their own, the same each time."""
    ids = [scene.server.set_state(scene.run, "RUNNING", timestamp=NOON) for _ in range(3)]
    scene.server.states[scene.run].reverse()
    states = [state for state in scene.view().states if state.timestamp == NOON]
    assert [state.id for state in states] == sorted(ids)


def changed_from_outside(scene: Scene) -> None:
    """What a view gives can be changed, and the view stays as it is."""
    scene.server.change_run(scene.run, parameters={"rows": [1]}, tags=["a"])
    view = scene.view()
    view.parameters["rows"].append(2)
    assert view.parameters == {"rows": [1]}
    assert isinstance(view.labels, tuple)
    assert isinstance(view.states, tuple)
    assert isinstance(view.task_runs, tuple)


def times_of_the_run(scene: Scene) -> None:
    """The row's times are to be had."""
    scene.server.change_run(scene.run, next_scheduled_start_time=NOON)
    row = scene.view().snapshot.run
    assert row.next_scheduled_start_time == NOON
    assert row.start_time is not None
    assert row.expected_start_time is not None


# By number: what 1.4.1 did, and the check of what is done here.
DEFECTS: dict[str, tuple[str, Callable[[Scene], None]]] = {
    "D06": ("100 of 250 lines, in silence", truncated_logs),
    "D06c": ("the rest of a timestamp skipped at the edge of a page", tied_logs),
    "D08": ("lines of one time sorted by level and words", order_of_ties),
    "D08d": ("a level turned into text", unknown_levels),
    "D16": ("IndexError for the log of a deleted run", deleted_run),
    "D17": ("a warning, then a TypeError", bad_answer_to_ids),
    "D18": ("an empty list of ids, never kept", empty_ids),
    "D19": ("another run's task run taken in", anothers_task_run),
    "D20": ("ValidationError for an unknown state", unknown_state),
    "D22": ("more than 1000 task runs refused", many_task_runs),
    "D23": ("Failed stays Failed after a restart", restarted_task_run),
    "D24": ("0 of 20 lines of a run that is running", logs_of_a_running_run),
    "D26": ("a request a child, and an end at the first gap", mapped_children),
    "D27": ("lines without id, task run and name", identity_of_lines),
    "D28": ("states of one time in the server's order", states_of_one_time),
    "D29": ("lists that anyone can change", changed_from_outside),
    "D30": ("times of the run not asked for", times_of_the_run),
}


@pytest.mark.parametrize("number", DEFECTS)
def test_a_defect_of_the_views_is_repaired(number: str) -> None:
    """Each known defect that concerns views is none here."""
    _, check = DEFECTS[number]
    check(Scene())


def test_a_state_by_hand_needs_no_server() -> None:
    """D20 again: a state of any type can be made and asked."""
    assert not State(id="s", type="X", name="X", timestamp=NOON).is_finished
