"""A whole watch on Prefect 1: states stored out of order, and heartbeats."""

from datetime import timedelta
from functools import partial

from rxflow import (
    Closed,
    FlowRunEvent,
    RunChanged,
    StateChange,
    TaskRunStateChange,
    watch_flow_run,
)
from rxflow.testing import FakePrefect1, VirtualTime

SECOND = timedelta(seconds=1)


class Scene:
    """A run on a Prefect 1 server in virtual time."""

    def __init__(self) -> None:
        self.time = VirtualTime()
        self.server = FakePrefect1(clock=self.time)
        self.run = self.server.add_run(state="Running")

    def store_late(self, state: str, *, version: int) -> None:
        """Store a state late, by a writer that read the version before others were stored."""
        row = dict(self.server.runs[self.run])
        state_id = self.server.set_state(self.run, state, timestamp=self.time() - 2 * SECOND)
        self.server.states[state_id]["version"] = version
        self.server.runs[self.run] = {**row, "updated": self.server.runs[self.run]["updated"]}

    def watch(self) -> list[FlowRunEvent]:
        """Watch the run to its end."""
        stream = watch_flow_run(self.run, max_duration=None, client=self.server.client())
        return list(self.time.collect(stream))


def test_overtaken_state_is_emitted() -> None:
    """A state stored after a later one does not change the row, and is emitted before the end."""
    scene = Scene()
    scene.server.at(5, lambda: scene.server.set_state(scene.run, "Cancelling"))
    scene.server.at(6, lambda: scene.server.set_state(scene.run, "Success"))
    scene.server.at(9, lambda: scene.store_late("Cancelled", version=2))
    events = scene.watch()
    names = [event.state.name for event in events if isinstance(event, StateChange)]
    assert names == ["Running", "Cancelling", "Success", "Cancelled"]
    last = events[-1]
    assert isinstance(last, Closed)
    assert last.state is not None
    assert last.view is not None
    assert (last.state.name, last.view.run.state) == ("Success", last.state)
    assert last.verified


def test_row_decides_between_states_of_one_version() -> None:
    """Two writers may give their states one version number; the row has the state stored last."""
    scene = Scene()
    server = scene.server

    def store_both() -> None:
        now = scene.time()
        server.set_state(scene.run, "Success", timestamp=now)
        state_id = server.set_state(scene.run, "Cancelled", timestamp=now - SECOND)
        server.states[state_id]["version"] = server.runs[scene.run]["version"] = 2

    server.at(5, store_both)
    last = scene.watch()[-1]
    assert isinstance(last, Closed)
    assert last.state is not None
    assert last.state.name == "Cancelled"


def test_heartbeats_do_not_shorten_the_interval() -> None:
    """A heartbeat changes the row and is emitted, but does not count as activity."""
    counts: list[int] = []
    for every in (None, 30):
        scene = Scene()
        for second in range(30, 600, every or 600):
            scene.server.at(second, partial(scene.server.change_run, scene.run))
        scene.server.at(600, partial(scene.server.set_state, scene.run, "Success"))
        events = scene.watch()
        beats = sum(isinstance(event, RunChanged) for event in events)
        assert beats >= (19 if every else 1)
        counts.append(len(scene.server.requests))
    quiet, beating = counts
    assert beating < 1.1 * quiet


def test_all_states_of_task_runs_are_emitted() -> None:
    """Each state of each task run is emitted once, in order, those between two polls included."""
    scene = Scene()
    server = scene.server
    tasks = [server.add_task_run(scene.run, map_index=number, state=None) for number in range(30)]
    lives = ["Pending", "Running", "Retrying", "Running", "Success"]
    for task in tasks:
        for number, name in enumerate(lives):
            server.at(5 + number / 10, partial(server.set_task_state, task, name))
    server.at(6, lambda: server.set_state(scene.run, "Success"))
    stream = watch_flow_run(scene.run, stream_tasks=True, task_states="all", client=server.client())
    found: dict[str, list[str]] = {}
    for event in scene.time.collect(stream):
        if isinstance(event, TaskRunStateChange):
            found.setdefault(event.task_run.id, []).append(event.state.name)
    assert found == dict.fromkeys(tasks, lives)
