"""The result of the parent of mapped task runs on Prefect 1: the list of its children's results."""

import pytest
from server_scenes import Scene1, stored_value
from twin_calls import Call

# Budget: the most requests that reading 150 results may send.
RESULTS_BUDGET = 5


def test_a_parent_has_the_results_of_its_children(scene1: Scene1, call: Call) -> None:
    """Results are in the order of the map indexes, over more children than a page holds."""
    view = scene1.task_run_view(scene1.add_mapped_parent("load", 7))
    for index in (6, 2, 0, 5, 1, 4, 3):
        scene1.add_mapped_child("load", index, str(index * 10))
    scene1.add_mapped_child("other", 0, "1")
    assert call(view, "get_result") == [0, 10, 20, 30, 40, 50, 60]
    id_lists = [sent["ids"] for _, sent in scene1.server.requests if "ids" in (sent or {})]
    assert max(map(len, id_lists)) == scene1.server.row_limit


def test_the_results_of_children_are_read_together(scene1: Scene1, call: Call) -> None:
    """The results of all children on a page are one request."""
    scene1.server.row_limit = None
    view = scene1.task_run_view(scene1.add_mapped_parent("load", 150))
    for index in range(150):
        scene1.add_mapped_child("load", index, str(index))
    before = len(scene1.server.requests)
    assert call(view, "get_result") == [*range(150)]
    assert len(scene1.server.requests) - before <= RESULTS_BUDGET


def test_a_parent_without_children_has_an_empty_list(scene1: Scene1, call: Call) -> None:
    """The result of a task that was mapped over nothing is an empty list."""
    assert call(scene1.task_run_view(scene1.add_mapped_parent("load", 0)), "get_result") == []


@pytest.mark.parametrize(
    ("expected", "existing", "missing"),
    [
        (5, (0, 1), "2, 3, 4"),
        (2, (0,), "1"),
        (1, (), "0"),
        (None, (0, 2), "1"),
        (2, (1, 3), "0, 2"),
    ],
)
def test_a_missing_child_is_a_value_error(
    scene1: Scene1, call: Call, expected: int | None, existing: tuple[int, ...], missing: str
) -> None:
    """The error names the map indexes of the children that the parent has and that do not exist."""
    view = scene1.task_run_view(scene1.add_mapped_parent("load", expected))
    for index in existing:
        scene1.add_mapped_child("load", index, "1")
    with pytest.raises(ValueError, match=rf"map index {missing} do not"):
        call(view, "get_result")


def test_children_are_read_if_their_number_is_unknown(scene1: Scene1, call: Call) -> None:
    """The parent of an old client does not name the number of its children."""
    view = scene1.task_run_view(scene1.add_mapped_parent("load", None))
    for index in range(3):
        scene1.add_mapped_child("load", index, str(index))
    assert call(view, "get_result") == [0, 1, 2]


@pytest.mark.parametrize("state", ["Running", None])
def test_an_unfinished_child_is_a_value_error(
    scene1: Scene1, call: Call, state: str | None
) -> None:
    """The error names the child and its state."""
    view = scene1.task_run_view(scene1.add_mapped_parent("load", 2))
    scene1.add_mapped_child("load", 0, "1")
    child = scene1.server.add_task_run(scene1.run, slug="load-1", map_index=1, state=state)
    with pytest.raises(ValueError, match=rf"index 1 \({child}\) is not finished but in"):
        call(view, "get_result")


def test_a_child_whose_result_was_not_kept_is_a_type_error(scene1: Scene1, call: Call) -> None:
    """The error names the child, and there is no list without its result."""
    view = scene1.task_run_view(scene1.add_mapped_parent("load", 2))
    scene1.add_mapped_child("load", 0, "1")
    child = scene1.add_task_run("load", "FAILED", map_index=1)
    with pytest.raises(TypeError, match=f"task run {child} was not kept"):
        call(view, "get_result")


def test_a_list_of_results_is_not_carried_over(scene1: Scene1, call: Call) -> None:
    """A view reads its list once; a later view reads it again, since a child may have run again.

    The state of the parent does not change when a child runs again.
    """
    parent = scene1.add_mapped_parent("load", 1)
    child = scene1.add_mapped_child("load", 0, "1")
    run = scene1.view()
    view = call(run, "get_task_run", "load-1")
    assert call(view, "get_result") == [1]
    scene1.set_task_state(child, "RUNNING")
    scene1.set_task_state(child, "COMPLETED", _result=stored_value("2"))
    assert call(view, "get_result") == [1]
    for later in (call(view, "get_latest"), call(run, "get_task_run", task_run_id=parent)):
        assert later == view
        assert call(later, "get_result") == [2]
