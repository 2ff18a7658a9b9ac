"""Predicates of states: Prefect 1's states have the values of its own classes."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rxflow import State, StateType
from rxflow._backends.backend import HttpResponse
from rxflow._backends.prefect1_replies import read_reply
from rxflow._models.state_predicates import CallableBool
from rxflow._protocol.pages import Page
from rxflow._protocol.queries import StatesQuery

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
RECORDED_VALUES: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "recorded" / "prefect1" / "state_predicates.json").read_text(
        "utf-8"
    )
)
"""The predicates of prefect 1.4.1 for a state of each class and some more, by sample name."""

SAMPLES: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "recorded" / "prefect1" / "states.json").read_text("utf-8")
)
"""The same states, as its client serialized them."""

PREFECT3 = [
    ("SCHEDULED", "Scheduled", "pending scheduled"),
    ("SCHEDULED", "Late", "pending scheduled"),
    ("SCHEDULED", "Resuming", "pending scheduled"),
    ("SCHEDULED", "AwaitingRetry", "pending scheduled retrying"),
    ("SCHEDULED", "AwaitingConcurrencySlot", "pending scheduled queued"),
    ("PENDING", "Pending", "pending"),
    ("PENDING", "Submitting", "pending submitted"),
    ("PENDING", "InfrastructurePending", "pending submitted"),
    ("RUNNING", "Running", "running"),
    ("RUNNING", "Retrying", "running retrying"),
    ("PAUSED", "Paused", "pending scheduled paused"),
    ("PAUSED", "Suspended", "pending scheduled paused"),
    ("CANCELLING", "Cancelling", "running"),
    ("COMPLETED", "Completed", "finished successful"),
    ("COMPLETED", "Cached", "finished successful cached"),
    ("COMPLETED", "Skipped", "finished successful skipped"),
    ("COMPLETED", "RolledBack", "finished successful"),
    ("FAILED", "Failed", "finished failed"),
    ("FAILED", "TimedOut", "finished failed"),
    ("CRASHED", "Crashed", "finished failed"),
    ("CANCELLED", "Cancelled", "finished"),
    # Names are free text: a name that belongs to another type changes nothing.
    ("FAILED", "Success", "finished failed"),
    ("COMPLETED", "Failed", "finished successful"),
    ("COMPLETED", "Finished", "finished successful"),
    ("PENDING", "Submitted", "pending"),
    ("RUNNING", "Cached", "running"),
    ("COMPLETED", "loaded 17 rows", "finished successful"),
    ("NEW_IN_PREFECT_4", "Completed", ""),
    ("", "", ""),
]


def state(state_type: str, name: str) -> State:
    """A state of Prefect 3."""
    return State(id="s", type=state_type, name=name, timestamp=NOON)


RUNNING = state("RUNNING", "Running")
PREDICATES = {
    name
    for name, member in vars(State).items()
    if isinstance(member, property) and isinstance(getattr(RUNNING, name), CallableBool)
} - {"is_terminal", "is_completed"}  # those that Prefect 1 did not have


def true_predicates(of: State) -> set[str]:
    """The names of the predicates that are true for a state."""
    return {predicate for predicate in PREDICATES if getattr(of, predicate)}


def test_states_have_all_predicates_of_prefect_1() -> None:
    """The recorded table has the 21 classes, and a state has a property for each predicate."""
    assert len({row["type"] for row in RECORDED_VALUES.values()}) == 21
    assert {name for row in RECORDED_VALUES.values() for name in row["true"]} <= PREDICATES
    assert len(PREDICATES) == 15


@pytest.mark.parametrize("sample", RECORDED_VALUES)
def test_a_state_of_prefect_1_has_the_predicates_of_its_class(sample: str) -> None:
    """A state read from Prefect 1 has the recorded values; is_paused is true for Paused as well."""
    row = RECORDED_VALUES[sample]
    more = {"is_paused"} if row["type"] == "Paused" else set()
    assert true_predicates(read_from_prefect1(SAMPLES[sample])) == {*row["true"], *more}


def read_from_prefect1(serialized: Any) -> State:
    """Decode a state as it is received from Prefect 1."""
    row = {"id": "s", "version": 1, "timestamp": NOON, "serialized_state": serialized}
    body = msgspec.json.encode({"data": {"rows": [row]}})
    page = read_reply(StatesQuery("r"), HttpResponse(status=200, headers={}, body=body))
    assert isinstance(page, Page)
    (made,) = page.rows
    assert isinstance(made, State)
    return made


def test_an_unknown_class_of_prefect_1_has_no_true_predicate() -> None:
    """For a class that Prefect 1 never had, every predicate is false."""
    assert true_predicates(read_from_prefect1({"type": "Hibernating"})) == set()


@pytest.mark.parametrize(("state_type", "name", "words"), PREFECT3)
def test_predicates_of_prefect_3_follow_type_and_name(
    state_type: str, name: str, words: str
) -> None:
    """The type decides, and a name that belongs to the type adds to it."""
    assert true_predicates(state(state_type, name)) == {f"is_{word}" for word in words.split()}


@pytest.mark.parametrize("state_type", StateType)
def test_terminal_types_are_finished(state_type: StateType) -> None:
    """Of the known types exactly the terminal ones are finished."""
    made = state(state_type, state_type.capitalize())
    assert made.is_finished() is made.is_terminal()


def test_a_predicate_may_be_called_or_not() -> None:
    """A predicate has the same value as a property and as a method."""
    failed = state("FAILED", "Failed")
    assert failed.is_failed
    assert failed.is_failed() is True
    assert not failed.is_running
    assert failed.is_running() is False
    assert (repr(failed.is_failed), repr(failed.is_running)) == ("True", "False")
    assert [int(failed.is_failed), int(failed.is_running)] == [1, 0]


def test_predicates_are_not_encoded() -> None:
    """Predicates are derived: the JSON of a state has its fields only."""
    assert msgspec.json.decode(msgspec.json.encode(state("RUNNING", "Retrying"))).keys() == {
        "id",
        "type",
        "name",
        "timestamp",
        "message",
        "version",
        "state_details",
    }
