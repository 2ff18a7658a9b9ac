"""The tree of a run: what its nodes have of the rows that were read."""

from datetime import timedelta

from msgspec.structs import replace
from sample_events import NOON, OTHER, second, state, task_entered
from sample_events import row as run_row

from rxflow._pictures.run_tree import Place, RunNode, RunRows, RunTree, tree_root

STATES = (state("Completed", 9), state("Running", 3), state("Pending", 1))
"""The states of a run, as a server may send them."""

TASK_RUN = replace(
    task_entered("Running", 3).task_run,
    run_count=3,
    expected_start_time=second(1),
    start_time=second(2),
    end_time=second(8),
)


def root_of(*subflows: RunRows) -> RunNode:
    """Return the tree of a run with a task run, and with subflows."""
    run = replace(
        run_row("Completed", 9),
        expected_start_time=second(1),
        start_time=second(3),
        end_time=second(9),
        run_count=2,
    )
    rows = RunRows(run=run, flow_name="report", states=STATES, task_runs=(TASK_RUN,))
    return tree_root([rows, *subflows], {})


def test_a_flow_run_has_what_its_row_says() -> None:
    """With its states by time."""
    root = root_of()
    assert (root.kind, root.name, root.flow_name) == ("flow run", "amber-fox", "report")
    assert root.state == state("Completed", 9)
    assert [each.name for each in root.states] == ["Pending", "Running", "Completed"]
    assert (root.created, root.due, root.start, root.end) == (NOON, *map(second, (1, 3, 9)))
    assert root.attempts == 2


def test_a_task_run_has_what_its_row_says() -> None:
    """Also how often it ran, where its states were not read."""
    (task,) = root_of().children
    assert (task.kind, task.id, task.name, task.flow_name) == (
        *("task run", TASK_RUN.id, "load-0"),
        None,
    )
    assert (task.created, task.due, task.start, task.end) == (NOON, *map(second, (1, 2, 8)))
    assert (task.state, task.states, task.attempts) == (TASK_RUN.state, (), 3)


def test_a_subflow_stands_where_its_task_run_would() -> None:
    """One whose task run was not read is below the root; what began first comes first."""
    subflow = replace(run_row(run=OTHER), parent_task_run_id=TASK_RUN.id, start_time=second(5))
    (child,) = root_of(RunRows(run=subflow)).children
    assert (child.kind, child.id) == ("flow run", OTHER)
    late = replace(subflow, parent_task_run_id="unread")
    assert [each.id for each in root_of(RunRows(run=late)).children] == [TASK_RUN.id, OTHER]
    early = replace(late, start_time=None, expected_start_time=None, created=second(-1))
    assert [each.id for each in root_of(RunRows(run=early)).children] == [OTHER, TASK_RUN.id]


def test_a_run_lasts_from_its_start_to_its_end_or_until_now() -> None:
    """It has lasted for nothing where the clocks of server and writer differ."""
    node = RunNode(kind="task run", id="a", name="a", created=NOON)
    assert node.lasted(second(5)) is None
    begun = replace(node, start=second(2))
    assert begun.lasted(second(5)) == timedelta(seconds=3)
    assert begun.lasted(second(1)) == timedelta()
    ended = replace(begun, end=second(4))
    assert ended.lasted(second(5)) == timedelta(seconds=2)
    assert replace(ended, end=second(1)).lasted(second(5)) == timedelta()


def test_a_walk_goes_down_before_it_goes_on() -> None:
    """Each place says of itself and of those above whether it is the last one there."""
    leaf = RunNode(kind="task run", id="leaf", name="leaf", created=NOON)
    first = replace(leaf, id="first", children=(leaf, replace(leaf, id="other")))
    root = replace(leaf, id="root", children=(first, replace(leaf, id="last")))
    places = [*RunTree(run=run_row(), root=root, now=NOON).walk()]
    assert [(each.node.id, each.lasts) for each in places] == [
        ("root", ()),
        ("first", (False,)),
        ("leaf", (False, False)),
        ("other", (False, True)),
        ("last", (True,)),
    ]
    assert Place(node=leaf, lasts=(False, True)).depth == 2
