"""Checks of order and identity of events; the table in `tests/test_seed_defects.py` runs them."""

from datetime import timedelta

from rxflow import FlowRunLog, StateChange
from rxflow.testing import Faults
from tests.seed_defects.scenes import NewScene, OnPrefect1, is_verified, messages, state_names


def order_of_equal_times(new: NewScene) -> None:
    """Rows of one timestamp stay in the order of their storing, whatever their level and text."""
    scene = new(faults=Faults(ties=True))
    stamp = scene.server.now()
    for level, text in ((30, "b"), (10, "c"), (20, "a")):
        scene.log(text, level=level, timestamp=stamp)
    assert [line.message for line in sorted(scene.view().get_logs())] == ["b", "c", "a"]
    scene.at(5, scene.complete)
    assert messages(scene.watch()) == ["b", "c", "a"]


def unknown_levels_of_equal_times(new: NewScene) -> None:
    """Lines of one timestamp are emitted even if a level is unknown."""
    scene = new()
    stamp = scene.server.now()
    for level, text in ((20, "b"), (5, "a")):
        scene.log(text, level=level, timestamp=stamp)
    scene.at(5, scene.complete)
    assert messages(scene.watch()) == ["b", "a"]


def null_message_of_equal_times(new: NewScene) -> None:
    """A line without a message is emitted with an empty one, among others of its timestamp too."""
    scene = new()
    assert isinstance(scene, OnPrefect1)  # on Prefect 3 each line has a message
    stamp = scene.server.now()
    scene.log("b", timestamp=stamp)
    scene.log(None, timestamp=stamp)
    scene.at(5, scene.complete)
    events = scene.watch()
    assert messages(events) == ["b", ""]
    assert is_verified(events)


def unknown_level(new: NewScene) -> None:
    """A level is a number, known or not."""
    scene = new()
    scene.log(level=5)
    scene.log(level=30)
    unknown, warning = (line.level for line in scene.view().get_logs())
    assert (type(unknown), type(warning), warning) == (int, int, 30)
    assert 0 < unknown < warning


def order_within_a_tick(new: NewScene) -> None:
    """Each tick is emitted in order of time, and an event after a later one is flagged late.

    The line of 13.3 s is uploaded with its batch, 4 s after the state of 13.7 s.
    """
    scene = new(state="SCHEDULED")
    begun = scene.server.now()

    def upload() -> None:
        for second in (13.3, 13.8, 15.0):
            scene.log(f"{second}", timestamp=begun + timedelta(seconds=second))

    scene.at(13.7, lambda: scene.set_state("RUNNING"))
    scene.at(17.7, upload)
    scene.at(30, scene.complete)
    timed = [
        (second, event)
        for second, event in scene.watch_timed()
        if isinstance(event, StateChange | FlowRunLog)
    ]
    events = [event for _, event in timed]
    assert [line.message for line in events if line.late] == ["13.3"]
    newest = begun
    for event in events:
        assert event.late == (event.timestamp < newest)
        newest = max(newest, event.timestamp)
    for second in {second for second, _ in timed}:
        tick = [event for emitted_at, event in timed if emitted_at == second]
        assert tick == sorted(tick)


def state_with_an_earlier_time(new: NewScene) -> None:
    """A state with an earlier timestamp is emitted once, flagged late, since its id is new."""
    scene = new(state=None)
    begun = scene.server.now()
    ids = [scene.set_state("SCHEDULED")]
    scene.at(20, lambda: ids.append(scene.set_state("RUNNING")))
    earlier = begun + timedelta(seconds=10)
    scene.at(40, lambda: ids.append(scene.set_state("PENDING", timestamp=earlier)))
    scene.at(60, lambda: ids.append(scene.set_state("COMPLETED")))
    events = [event for event in scene.watch() if isinstance(event, StateChange)]
    assert [event.id for event in events] == ids
    assert [event.late for event in events] == [False, False, True, False]


def identity_of_lines(new: NewScene) -> None:
    """A line has its id, its task run and its logger's name."""
    scene = new()
    task_run = scene.add_task_run("RUNNING")
    row = scene.log("x", task_run_id=task_run, name="mine")
    (line,) = scene.view().get_logs()
    assert (line.id, line.task_run_id, line.name) == (row, task_run, "mine")
    scene.at(5, scene.complete)
    assert [event for event in scene.watch() if isinstance(event, FlowRunLog)] == [line]


def states_of_equal_times(new: NewScene) -> None:
    """States of one timestamp have an order of their own, the same each time."""
    scene = new(state=None)
    stamp = scene.server.now()
    ids = [scene.set_state(state, timestamp=stamp) for state in ("PENDING", "RUNNING", "COMPLETED")]
    # Prefect 1 numbers the states of a run; Prefect 3 does not, so ids decide there.
    expected = ids if isinstance(scene, OnPrefect1) else sorted(ids)
    for _ in range(2):
        assert [state.id for state in scene.view().states] == expected
        emitted = [event.id for event in scene.watch() if isinstance(event, StateChange)]
        assert emitted == expected
        scene.reverse_states()
    assert set(state_names(scene.watch())) == {
        scene.state_name(state) for state in ("PENDING", "RUNNING", "COMPLETED")
    }
