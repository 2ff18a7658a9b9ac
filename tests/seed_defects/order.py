"""Order and identity: what 1.4.1 shuffled, and what it could not tell apart."""

from datetime import timedelta

from rxflow import FlowRunLog, StateChange
from rxflow.testing import Faults
from tests.seed_defects.scenes import New, OnPrefect1, is_verified, lines, states


def order_of_ties(new: New) -> None:
    """Rows of one timestamp stay in the order of their storing, whatever level and words."""
    scene = new(faults=Faults(ties=True))
    stamp = scene.server.now()
    for level, text in ((30, "b"), (10, "c"), (20, "a")):
        scene.line(text, level=level, timestamp=stamp)
    assert [line.message for line in sorted(scene.view().get_logs())] == ["b", "c", "a"]
    scene.at(5, scene.end)
    assert lines(scene.watch()) == ["b", "c", "a"]


def unknown_levels_in_a_tie(new: New) -> None:
    """Lines of one timestamp are told, whether anybody has heard of their levels or not."""
    scene = new()
    stamp = scene.server.now()
    for level, text in ((20, "b"), (5, "a")):
        scene.line(text, level=level, timestamp=stamp)
    scene.at(5, scene.end)
    assert lines(scene.watch()) == ["b", "a"]


def no_message_in_a_tie(new: New) -> None:
    """A line without a message is told as an empty one, among others of its timestamp too."""
    scene = new()
    assert isinstance(scene, OnPrefect1)  # on Prefect 3 each line has one
    stamp = scene.server.now()
    scene.line("b", timestamp=stamp)
    scene.line(None, timestamp=stamp)
    scene.at(5, scene.end)
    told = scene.watch()
    assert lines(told) == ["b", ""]
    assert is_verified(told)


def unknown_levels(new: New) -> None:
    """A level is a number, whether anybody has heard of it or not."""
    scene = new()
    scene.line(level=5)
    scene.line(level=30)
    unknown, warning = (line.level for line in scene.view().get_logs())
    assert (type(unknown), type(warning), warning) == (int, int, 30)
    assert 0 < unknown < warning


def order_of_polls(new: New) -> None:
    """A tick is told in order of time, and what comes after something later says that it is late.

    The line of 13.3 s is uploaded with its batch, 4 s after the state of 13.7 s.
    """
    scene = new(state="SCHEDULED")
    begun = scene.server.now()

    def upload() -> None:
        for second in (13.3, 13.8, 15.0):
            scene.line(f"{second}", timestamp=begun + timedelta(seconds=second))

    scene.at(13.7, lambda: scene.enter("RUNNING"))
    scene.at(17.7, upload)
    scene.at(30, scene.end)
    heard = [
        (second, event)
        for second, event in scene.hear()
        if isinstance(event, StateChange | FlowRunLog)
    ]
    told = [event for _, event in heard]
    assert [line.message for line in told if line.late] == ["13.3"]
    newest = begun
    for event in told:
        assert event.late == (event.timestamp < newest)
        newest = max(newest, event.timestamp)
    for second in {second for second, _ in heard}:
        tick = [event for heard_at, event in heard if heard_at == second]
        assert tick == sorted(tick)


def state_of_an_earlier_time(new: New) -> None:
    """A state is known by its id: one with an earlier timestamp is told, once, and flagged."""
    scene = new(state=None)
    begun = scene.server.now()
    ids = [scene.enter("SCHEDULED")]
    scene.at(20, lambda: ids.append(scene.enter("RUNNING")))
    earlier = begun + timedelta(seconds=10)
    scene.at(40, lambda: ids.append(scene.enter("PENDING", timestamp=earlier)))
    scene.at(60, lambda: ids.append(scene.enter("COMPLETED")))
    told = [event for event in scene.watch() if isinstance(event, StateChange)]
    assert [event.id for event in told] == ids
    assert [event.late for event in told] == [False, False, True, False]


def identity_of_lines(new: New) -> None:
    """A line has its id, its task run and its logger's name."""
    scene = new()
    task_run = scene.add_task_run("RUNNING")
    row = scene.line("x", task_run_id=task_run, name="mine")
    (line,) = scene.view().get_logs()
    assert (line.id, line.task_run_id, line.name) == (row, task_run, "mine")
    scene.at(5, scene.end)
    assert [event for event in scene.watch() if isinstance(event, FlowRunLog)] == [line]


def states_of_one_time(new: New) -> None:
    """States of one timestamp have an order of their own, the same each time."""
    scene = new(state=None)
    stamp = scene.server.now()
    ids = [scene.enter(state, timestamp=stamp) for state in ("PENDING", "RUNNING", "COMPLETED")]
    # Prefect 1 counts the states of a run; Prefect 3 does not.
    expected = ids if isinstance(scene, OnPrefect1) else sorted(ids)
    for _ in range(2):
        assert [state.id for state in scene.view().states] == expected
        told = [event.id for event in scene.watch() if isinstance(event, StateChange)]
        assert told == expected
        scene.reverse_states()
    assert set(states(scene.watch())) == {
        scene.name(state) for state in ("PENDING", "RUNNING", "COMPLETED")
    }
