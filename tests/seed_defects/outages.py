"""Warnings and errors: what 1.4.1 said for nothing, and what it did not survive."""

import httpx
import pytest

import rxflow
from rxflow import Notice, NoticeCode, RunSeen
from tests.seed_defects.scenes import New, OnPrefect1, Scene, is_verified, lines, notices, states

UNKNOWN = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"


def said_of_waiting_runs(new: New) -> None:
    """A run that has not started is called late when it is, and not while it waits rightly."""
    scene = new()
    for why in scene.wait_rightly():
        assert notices(scene.watch(seconds=300)) == [], why

    taker = "agent" if isinstance(scene, OnPrefect1) else "work pool"
    assert taker in _called_late(_due(new))

    scene = _due(new)
    if isinstance(scene, OnPrefect1):
        scene.enter("Queued")
        assert taker not in _called_late(scene)  # one has taken it, and it waits for a slot


def _called_late(scene: Scene) -> str:
    """What is said of a run that nothing starts."""
    scene.at(50, scene.end)
    told = [event for event in scene.watch() if isinstance(event, Notice)]
    assert [notice.code for notice in told] == [NoticeCode.LATE_START]
    return told[0].message


def no_answer_about_agents(new: New) -> None:
    """Whether or not the server can say who would start a run, the watch goes on."""
    for answer in (httpx.Response(500), new().refusal()):
        scene = _due(new)
        _answer_about_agents(scene, answer)
        scene.line_at(40, "while it waits")
        scene.at(100, scene.end)
        heard = scene.hear()
        told = [event for _, event in heard]
        assert scene.questions("agent"), "nobody asked"
        (second,) = (second for second, event in heard if event.message == "while it waits")
        assert second < 100, "told only when the run was over"
        assert states(told) == [scene.name("SCHEDULED"), scene.name("COMPLETED")]
        assert "degraded" not in notices(told), "the server answers"
        assert is_verified(told)


def _answer_about_agents(scene: Scene, answer: httpx.Response) -> None:
    scene.server.intercept = lambda request: answer if scene.noun(request) == "agent" else None


def agent_without_labels(new: New) -> None:
    """An agent whose labels are null is one without labels, and takes no run that has some."""
    for labels, fits in (["vm"], False), ([], True):
        scene = _due(new)
        assert isinstance(scene, OnPrefect1)
        scene.server.change_run(scene.run, labels=labels)
        scene.server.agents[scene.server.add_agent("null")]["labels"] = None
        assert ("'null'" in _called_late(scene)) is fits
        said = rxflow.check_for_compatible_agents(labels, client=scene.client)
        assert ("'null'" in said) is fits


def _due(new: New) -> Scene:
    """A run that nothing starts."""
    scene = new(state=None)
    pool = {} if isinstance(scene, OnPrefect1) else {"work_pool_name": "gpu"}
    scene.server.change_run(scene.run, **{scene.due: scene.server.now()}, **pool)
    scene.enter("SCHEDULED")
    return scene


def unknown_state(new: New) -> None:
    """A state of an unknown type is told and shown by its name, and is no end."""
    scene = new()
    scene.at(20, lambda: scene.enter("DREAMING"))
    scene.line_at(40, "while it dreams")
    scene.at(60, scene.end)
    told = scene.watch()
    name = scene.name("DREAMING")
    assert states(told) == [scene.name("RUNNING"), name, scene.name("COMPLETED")]
    assert lines(told) == ["while it dreams"]

    scene.enter("DREAMING")
    state = scene.view().state
    assert state is not None
    assert state.name == name
    assert not any((state.is_finished(), state.is_running(), state.is_failed()))


def error_in_the_middle(new: New) -> None:
    """A server that is down for a minute is waited for, and what was told is not lost."""
    scene = new()
    for second in range(100):
        scene.line_at(second, f"{second}")
    scene.at(20, scene.break_down)
    scene.at(80, scene.heal)
    scene.at(100, scene.end)
    told = scene.watch()
    assert lines(told) == [str(second) for second in range(100)]
    assert notices(told) == ["degraded", "recovered"]
    assert is_verified(told)


def call_that_does_nothing(new: New) -> None:
    """A call only describes a watch; each loop and each subscription is one of its own.

    Whoever wants to be kept waiting calls `wait_for_flow_run`.
    """
    scene = new()
    scene.end()
    stream = scene.stream(drain=0)
    assert scene.asked == []
    first, second = list(stream), list(stream)
    assert is_verified(first)
    assert is_verified(second)
    assert states(first) == states(second) == [scene.name("RUNNING"), scene.name("COMPLETED")]
    state = rxflow.wait_for_flow_run(scene.run, client=scene.client).state
    assert state is not None
    assert state.is_finished


def unknown_id(new: New) -> None:
    """What is no id is an error of the call; a run that is not there is the stream's first."""
    scene = new()
    for malformed in ("nightly", "", None, 7):
        with pytest.raises(ValueError, match="is not a flow run id"):
            rxflow.watch_flow_run(malformed, client=scene.client)  # type: ignore[arg-type]
    assert scene.asked == []

    stream = rxflow.watch_flow_run(UNKNOWN, client=scene.client)
    with pytest.raises(rxflow.RunNotFound):
        next(iter(stream))
    with pytest.raises(ValueError, match=UNKNOWN):
        rxflow.wait_for_flow_run(UNKNOWN, client=scene.client)
    assert isinstance(next(iter(scene.stream())), RunSeen)
