"""Checks of request rates and time limits; the table in `tests/test_seed_defects.py` runs them."""

import threading
from datetime import timedelta
from itertools import pairwise

import pytest
from reactivex import Observable
from reactivex import operators as ops

import rxflow
from rxflow import FlowRunEvent
from rxflow.testing import Faults
from tests.seed_defects.scenes import NewScene, is_verified, messages, state_names

# Budgets, from what 1.4.1 needed: half of its 303 requests in 300 idle seconds, and a tenth of its
# 2.7 MB a minute for a run with 200 states.
_IDLE_REQUEST_BUDGET = 303 / 2
_BYTES_PER_MINUTE_BUDGET = 2_700_000 / 10
_STATE_READ_BUDGET = 3  # with the run's first row, at its end, and in the last read


def idle_interval(new: NewScene) -> None:
    """While nothing happens the poll interval grows to its maximum, and a new row resets it."""
    scene = new()
    scene.watch(seconds=300)
    assert len(scene.exchanges) < _IDLE_REQUEST_BUDGET
    polls = [exchange.seconds for exchange in scene.exchanges_about("flow_run")]
    pauses = [later - earlier for earlier, later in pairwise(polls)]
    busy, idle = pauses[:2], pauses[-20:]
    assert min(idle) > 3 * max(busy)
    assert max(idle) < 2 * min(idle)  # at its maximum

    scene.log("awake")
    scene.exchanges.clear()
    scene.watch(seconds=3)
    assert len(scene.exchanges_about("flow_run")) > 1


def repeated_states(new: NewScene) -> None:
    """All states are read again if one is new, and not at each poll, as the run's row is."""
    scene = new()
    for number in range(200):
        scene.set_state("RUNNING", message=f"state {number:03}" + 100 * ".")
    for second in range(60):
        scene.log_at(second, f"{second}")
    scene.at(60, scene.complete)
    events = scene.watch()
    assert len(state_names(events)) == 202
    sent = [exchange.seconds for exchange in scene.exchanges if "state 100" in exchange.response]
    assert len(sent) <= _STATE_READ_BUDGET
    assert sent[0] < 60 <= sent[1]
    minute = [
        len(exchange.response)
        for exchange in scene.exchanges
        if sent[0] < exchange.seconds < sent[1]
    ]
    assert len(minute) > 60
    assert sum(minute) < _BYTES_PER_MINUTE_BUDGET


def no_needless_pause(new: NewScene) -> None:
    """The stream completes with the last reply, and no query of the run is sent twice in a row."""
    scene = new()
    scene.log("x")
    scene.at(20, scene.complete)
    ended: list[float] = []
    observed: Observable[FlowRunEvent] = scene.stream().pipe(
        ops.do_action(on_completed=lambda: ended.append(scene.time.seconds))
    )
    scene.time.collect(observed)
    assert ended == [scene.exchanges[-1].seconds]
    assert not any(
        earlier.resource == "flow_run" and earlier.request == later.request
        for earlier, later in pairwise(scene.exchanges)
    )

    scene.exchanges.clear()
    events = scene.watch_timed()
    assert events[0][0] == events[-1][0], "a finished run is emitted without a pause"


def end_at_the_time_limit(new: NewScene) -> None:
    """A run that has ended by the last poll before the time limit is emitted to its last line."""
    scene = new()

    def end() -> None:
        scene.log("at the end")
        scene.complete()

    scene.at(58.999, end)  # the last poll is sent a second before the limit
    scene.at(62, lambda: scene.log("after the end"))
    events = scene.watch(max_duration=timedelta(seconds=60))
    assert state_names(events) == [scene.state_name("RUNNING"), scene.state_name("COMPLETED")]
    assert messages(events) == ["at the end", "after the end"]
    assert is_verified(events)


def text_of_the_time_limit(new: NewScene) -> None:
    """The error says how long the run was watched, and which state it is in."""
    for limit, text in ((90, "1 min 30 s"), (timedelta(minutes=4), "4 min 00 s")):
        scene = new()
        with pytest.raises(RuntimeError, match=rf"{text} .* state {scene.state_name('RUNNING')}"):
            scene.watch(max_duration=limit)


def time_of_requests(new: NewScene) -> None:
    """The time that requests take counts: 30 s are over within the poll that passes them."""
    scene = new(faults=Faults(latency=4))
    begun = scene.time.seconds
    with pytest.raises(rxflow.WatchTimedOut):
        scene.watch(max_duration=30)
    assert 30 <= scene.time.seconds - begun < 30 + 4 * 4


def one_connection(new: NewScene) -> None:
    """All requests of a watch use one connection."""
    scene = new()
    threads: set[threading.Thread] = set()  # the fake server has a thread for each connection
    scene.server.intercept = lambda _: threads.add(threading.current_thread())
    scene.at(30, scene.complete)
    with scene.server.serve() as url, scene.client_at(url) as client:
        events = scene.time.collect(rxflow.watch_flow_run(scene.run, client=client))
    assert is_verified(events)
    assert len(scene.server.requests) > 10
    assert len(threads) == 1
