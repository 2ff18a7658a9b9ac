"""Copies: values that users hold survive pickle, copy and deepcopy, and reveal no secret there."""

import copy
import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
import pytest
from event_strategies import events
from hypothesis import given
from sample_events import NOON, RUN, row, seen, state

import rxflow
from rxflow import FlowRunEvent, Quiet, Rate, RxflowError, Snapshot, errors
from rxflow._models.entities import Deployment, Flow, FlowRegistration

T = TypeVar("T")


def pickled(value: T) -> T:
    """Send a value through pickle, as a process pool does."""
    back: T = pickle.loads(pickle.dumps(value))  # noqa: S301 - our own bytes
    return back


WAYS: dict[str, Callable[[Any], Any]] = {
    "pickle": pickled,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}

each_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


@each_way
@given(event=events())
def test_a_copied_event_equals_its_original(way: Callable[[Any], Any], event: FlowRunEvent) -> None:
    """Kind, fields and hash are those of the original."""
    back = way(event)
    assert type(back) is type(event)
    assert back == event
    assert hash(back) == hash(event)


VALUES = {
    "State": state("Running"),
    "FlowRun": row("Running"),
    "Snapshot": Snapshot(run=row("Running"), states=(state("Running"),)),
    "Quiet": Quiet(flow_run_id=RUN, since=NOON, run=row("Running"), timestamp=NOON),
    "Rate": Rate(since=NOON, seconds=5, count=3),
    "Flow": Flow(id="f", name="f", created=NOON, updated=NOON, labels={"a": 1}),
    "FlowRegistration": FlowRegistration(settings={"a": [1]}, storage={"type": "Local"}),
    "Deployment": Deployment(id="d", name="d", flow_id="f", pull_steps=[{"a": 1}]),
}


@each_way
@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_a_copied_value_equals_its_original(way: Callable[[Any], Any], value: object) -> None:
    """Entities and what operators emit can be copied and hashed, whatever mappings they hold."""
    back = way(value)
    assert type(back) is type(value)
    assert back == value
    assert hash(back) == hash(value)


def test_a_copied_state_keeps_its_type_and_predicates() -> None:
    """The type of a state is the same constant, and a predicate can still be called."""
    back = pickled(state("Failed"))
    assert back.type is rxflow.StateType.FAILED
    assert pickled(back.is_failed)() is True


ERRORS = [getattr(errors, name) for name in errors.__all__]


@each_way
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_a_copied_error_has_type_and_text(
    way: Callable[[Any], Any], error: type[RxflowError]
) -> None:
    """An error crosses a process boundary whatever builtin errors it derives from."""
    made = error("what happened; what to do")
    made.add_note("a note")
    back = way(made)
    assert type(back) is error
    assert str(back) == "what happened; what to do"
    assert back.args == made.args
    assert back.__notes__ == ["a note"]


def test_a_set_holds_equal_values_once() -> None:
    """Rows that were read twice are one in a set, and a changed row is another."""
    once = row("Running")
    again = msgspec.json.decode(msgspec.json.encode(once), type=rxflow.FlowRun)
    later = msgspec.structs.replace(once, updated=datetime(2026, 11, 23, tzinfo=UTC))
    assert {once, again, later} == {once, later}
    assert len({seen(), seen(), Snapshot(run=once), Snapshot(run=again)}) == 2
