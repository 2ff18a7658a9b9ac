"""Time: how often 1.4.1 asked, how much it had sent again, and how it counted seconds."""

import threading
from datetime import timedelta
from itertools import pairwise

import pytest
from reactivex import Observable
from reactivex import operators as ops

import rxflow
from rxflow import FlowRunEvent
from rxflow.testing import Faults
from tests.seed_defects.scenes import New, is_verified, lines, states

_SEED_REQUESTS = 303  # in 300 idle seconds
_SEED_BYTES = 2_700_000  # in a minute, of a run with 200 states


def idle_interval(new: New) -> None:
    """While nothing happens the polls come less and less often, and often again when it does."""
    scene = new()
    scene.watch(seconds=300)
    assert len(scene.asked) < _SEED_REQUESTS / 2
    polls = [asked.seconds for asked in scene.questions("flow_run")]
    pauses = [later - earlier for earlier, later in pairwise(polls)]
    busy, idle = pauses[:2], pauses[-20:]
    assert min(idle) > 3 * max(busy)
    assert max(idle) < 2 * min(idle)  # grown to its longest, and no further

    scene.line("awake")
    scene.asked.clear()
    scene.watch(seconds=3)
    assert len(scene.questions("flow_run")) > 1


def what_is_sent_again(new: New) -> None:
    """The states are sent when one of them is new, and not at each poll, as the run's row is."""
    scene = new()
    for number in range(200):
        scene.enter("RUNNING", message=f"state {number:03}" + 100 * ".")
    for second in range(60):
        scene.line_at(second, f"{second}")
    scene.at(60, scene.end)
    told = scene.watch()
    assert len(states(told)) == 202
    sent = [asked.seconds for asked in scene.asked if "state 100" in asked.answer]
    assert len(sent) <= 3
    assert sent[0] < 60 <= sent[1], "with the run's first row, its end, and at the last look"
    minute = [len(asked.answer) for asked in scene.asked if sent[0] < asked.seconds < sent[1]]
    assert len(minute) > 60
    assert sum(minute) < _SEED_BYTES / 10


def sleeps_for_nothing(new: New) -> None:
    """The stream ends with the last answer, and no question about the run is put twice in a row."""
    scene = new()
    scene.line("x")
    scene.at(20, scene.end)
    ended: list[float] = []
    noted: Observable[FlowRunEvent] = scene.stream().pipe(
        ops.do_action(on_completed=lambda: ended.append(scene.time.seconds))
    )
    scene.time.collect(noted)
    assert ended == [scene.asked[-1].seconds]
    assert not any(a[1:3] == b[1:3] for a, b in pairwise(scene.asked) if a.noun == "flow_run")

    scene.asked.clear()
    told = scene.hear()
    assert told[0][0] == told[-1][0], "a run that is over is told without a pause"


def end_at_the_deadline(new: New) -> None:
    """A run that is over by the poll in which its time is up is told to its last line."""
    scene = new()

    def end() -> None:
        scene.line("said at the end")
        scene.end()

    scene.at(59.999, end)
    scene.at(62, lambda: scene.line("uploaded after it"))
    told = scene.watch(max_duration=timedelta(seconds=60))
    assert states(told) == [scene.name("RUNNING"), scene.name("COMPLETED")]
    assert lines(told) == ["said at the end", "uploaded after it"]
    assert is_verified(told)


def words_of_the_time_out(new: New) -> None:
    """The error says for how long the run was watched, and which state it is in."""
    for given, said in ((90, "0:01:30"), (timedelta(minutes=4), "0:04:00")):
        scene = new()
        with pytest.raises(RuntimeError, match=rf"{said} .* state {scene.name('RUNNING')}"):
            scene.watch(max_duration=given)


def time_that_requests_take(new: New) -> None:
    """The time that requests take is counted: 30 s are over within the poll that passes them."""
    scene = new(faults=Faults(latency=4))
    begun = scene.time.seconds
    with pytest.raises(rxflow.WatchTimedOut):
        scene.watch(max_duration=30)
    assert 30 <= scene.time.seconds - begun < 30 + 4 * 4


def connections(new: New) -> None:
    """All questions of a watch go over one connection."""
    scene = new()
    talks: set[threading.Thread] = set()  # the fake has a thread for each connection
    scene.server.intercept = lambda _: talks.add(threading.current_thread())
    scene.at(30, scene.end)
    with scene.server.serve() as url, scene.client_at(url) as client:
        told = scene.time.collect(rxflow.watch_flow_run(scene.run, client=client))
    assert is_verified(told)
    assert len(scene.server.requests) > 10
    assert len(talks) == 1
