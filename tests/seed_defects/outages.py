"""Checks of warnings, outages and errors; the table in `tests/test_seed_defects.py` runs them."""

import httpx
import pytest

import rxflow
from rxflow import Notice, NoticeCode, RunSeen
from tests.seed_defects.scenes import (
    DefectScene,
    NewScene,
    OnPrefect1,
    is_verified,
    messages,
    notice_codes,
    state_names,
)

_UNKNOWN_ID = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"


def late_start_notices(new: NewScene) -> None:
    """A late start is reported for a run that is late, and not for one that waits as intended."""
    scene = new()
    for state in scene.waiting_runs():
        assert notice_codes(scene.watch(seconds=300)) == [], state

    taker = "agent" if isinstance(scene, OnPrefect1) else "work pool"
    assert taker in _late_start_message(_due(new))

    scene = _due(new)
    if isinstance(scene, OnPrefect1):
        scene.set_state("Queued")
        assert taker not in _late_start_message(scene)  # an agent has taken it; it waits for a slot


def _late_start_message(scene: DefectScene) -> str:
    """Watch a run that nothing starts, and return the message of its notice."""
    scene.at(50, scene.complete)
    events = [event for event in scene.watch() if isinstance(event, Notice)]
    assert [notice.code for notice in events] == [NoticeCode.LATE_START]
    return events[0].message


def failed_agent_query(new: NewScene) -> None:
    """The watch continues whether or not the server can return its agents."""
    for response in (httpx.Response(500), new().rejection()):
        scene = _due(new)
        _respond_about_agents(scene, response)
        scene.log_at(40, "while it waits")
        scene.at(100, scene.complete)
        timed = scene.watch_timed()
        events = [event for _, event in timed]
        assert scene.exchanges_about("agent"), "agents were not queried"
        (second,) = (second for second, event in timed if event.message == "while it waits")
        assert second < 100, "emitted only when the run was over"
        assert state_names(events) == [scene.state_name("SCHEDULED"), scene.state_name("COMPLETED")]
        assert "degraded" not in notice_codes(events), "the server responds"
        assert is_verified(events)


def _respond_about_agents(scene: DefectScene, response: httpx.Response) -> None:
    scene.server.intercept = lambda request: (
        response if scene.resource_of(request) == "agent" else None
    )


def agent_with_null_labels(new: NewScene) -> None:
    """An agent whose labels are null has no labels, and takes no run that has some."""
    for labels, matches in (["vm"], False), ([], True):
        scene = _due(new)
        assert isinstance(scene, OnPrefect1)
        scene.server.change_run(scene.run, labels=labels)
        scene.server.agents[scene.server.add_agent("null")]["labels"] = None
        assert ("'null'" in _late_start_message(scene)) is matches
        message = rxflow.check_for_compatible_agents(labels, client=scene.client)
        assert ("'null'" in message) is matches


def _due(new: NewScene) -> DefectScene:
    """Make a scene with a run that is due and that nothing starts."""
    scene = new(state=None)
    pool = {} if isinstance(scene, OnPrefect1) else {"work_pool_name": "gpu"}
    scene.server.change_run(scene.run, **{scene.start_column: scene.server.now()}, **pool)
    scene.set_state("SCHEDULED")
    return scene


def unknown_state_type(new: NewScene) -> None:
    """A state of an unknown type is emitted and shown by its name, and is not terminal."""
    scene = new()
    scene.at(20, scene.set_unknown_state)
    scene.log_at(40, "while it dreams")
    scene.at(60, scene.complete)
    events = scene.watch()
    name = scene.unknown_state
    assert state_names(events) == [scene.state_name("RUNNING"), name, scene.state_name("COMPLETED")]
    assert messages(events) == ["while it dreams"]

    scene.set_unknown_state()
    state = scene.view().state
    assert state is not None
    assert state.name == name
    assert not any((state.is_finished(), state.is_running(), state.is_failed()))


def outage_of_a_minute(new: NewScene) -> None:
    """A server that is down for a minute is waited for, and no emitted row is lost."""
    scene = new()
    for second in range(100):
        scene.log_at(second, f"{second}")
    scene.at(20, scene.start_outage)
    scene.at(80, scene.end_outage)
    scene.at(100, scene.complete)
    events = scene.watch()
    assert messages(events) == [str(second) for second in range(100)]
    assert notice_codes(events) == ["degraded", "recovered"]
    assert is_verified(events)


def cold_stream(new: NewScene) -> None:
    """A call only describes a watch; each loop and each subscription is a watch of its own.

    `wait_for_flow_run` is the call that blocks.
    """
    scene = new()
    scene.complete()
    stream = scene.stream(drain=0)
    assert scene.exchanges == []
    first, second = list(stream), list(stream)
    assert is_verified(first)
    assert is_verified(second)
    assert (
        state_names(first)
        == state_names(second)
        == [scene.state_name("RUNNING"), scene.state_name("COMPLETED")]
    )
    state = rxflow.wait_for_flow_run(scene.run, client=scene.client).state
    assert state is not None
    assert state.is_finished


def invalid_and_unknown_ids(new: NewScene) -> None:
    """A malformed id is an error of the call; an unknown run is the stream's first error."""
    scene = new()
    for malformed in ("nightly", "", None, 7):
        with pytest.raises(ValueError, match="is not a flow run id"):
            rxflow.watch_flow_run(malformed, client=scene.client)  # type: ignore[arg-type]
    assert scene.exchanges == []

    stream = rxflow.watch_flow_run(_UNKNOWN_ID, client=scene.client)
    with pytest.raises(rxflow.RunNotFound):
        next(iter(stream))
    with pytest.raises(ValueError, match=_UNKNOWN_ID):
        rxflow.wait_for_flow_run(_UNKNOWN_ID, client=scene.client)
    assert isinstance(next(iter(scene.stream())), RunSeen)
