"""What a state says of its run: Prefect 1's predicates, as its own classes answered them."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rxflow import State, StateType
from rxflow._backends.backend import HttpReply
from rxflow._backends.prefect1 import Prefect1
from rxflow._models.state_predicates import STATE_PREDICATES, CallableBool
from rxflow._protocol.pages import Page
from rxflow._protocol.queries import StatesQuery

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
TABULATED: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "recorded" / "prefect1" / "state_predicates.json").read_text(
        "utf-8"
    )
)
"""What prefect 1.4.1 answered for one state of each class and some more, by the sample's name."""

SAMPLES: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "recorded" / "prefect1" / "states.json").read_text("utf-8")
)
"""Those states, as its client serialized them."""

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
    # Names are free, and a name does not change what the type says.
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
    """A state."""
    return State(id="s", type=state_type, name=name, timestamp=NOON)


def answers(of: State) -> set[str]:
    """The predicates that hold for a state."""
    return {predicate for predicate in STATE_PREDICATES if getattr(of, predicate)}


def test_the_table_has_all_classes_of_prefect_1() -> None:
    """The recorded table has the 21 classes, and each predicate of it is one of ours."""
    assert len({row["type"] for row in TABULATED.values()}) == 21
    assert {word for row in TABULATED.values() for word in row["true"]} <= set(STATE_PREDICATES)
    assert all(hasattr(State, predicate) for predicate in STATE_PREDICATES)


@pytest.mark.parametrize("sample", TABULATED)
def test_a_state_of_prefect_1_answers_as_its_class_did(sample: str) -> None:
    """A state read from Prefect 1 answers as the table says; of Paused we know it besides."""
    row = TABULATED[sample]
    besides = {"is_paused"} if row["type"] == "Paused" else set()
    assert answers(read_from_prefect1(SAMPLES[sample])) == {*row["true"], *besides}


def read_from_prefect1(serialized: Any) -> State:
    """Make a state as one that a Prefect 1 told of."""
    row = {"id": "s", "version": 1, "timestamp": NOON, "serialized_state": serialized}
    body = msgspec.json.encode({"data": {"rows": [row]}})
    page = Prefect1().decode(StatesQuery("r"), HttpReply(status=200, headers={}, body=body))
    assert isinstance(page, Page)
    (made,) = page.rows
    assert isinstance(made, State)
    return made


def test_a_class_that_is_not_known_answers_nothing() -> None:
    """Of a state that Prefect 1 never had, nothing is said."""
    assert answers(read_from_prefect1({"type": "Hibernating"})) == set()


@pytest.mark.parametrize(("state_type", "name", "words"), PREFECT3)
def test_a_state_of_prefect_3_answers_by_type_and_name(
    state_type: str, name: str, words: str
) -> None:
    """A state of Prefect 3 answers what its type means, and more where its name says more."""
    assert answers(state(state_type, name)) == {f"is_{word}" for word in words.split()}


@pytest.mark.parametrize("state_type", StateType)
def test_finished_is_terminal(state_type: StateType) -> None:
    """Of the known types exactly those are finished that are terminal."""
    made = state(state_type, state_type.capitalize())
    assert made.is_finished() is made.is_terminal


def test_a_verdict_may_be_called_or_not() -> None:
    """A predicate is the same as a method and as a property, so neither is a trap."""
    failed = state("FAILED", "Failed")
    assert failed.is_failed
    assert failed.is_failed() is True
    assert not failed.is_running
    assert failed.is_running() is False
    assert (repr(failed.is_failed), repr(failed.is_running)) == ("True", "False")
    assert [int(failed.is_failed), int(failed.is_running)] == [1, 0]


def test_a_verdict_is_no_part_of_a_state() -> None:
    """What a state says of its run is worked out, and neither compared nor written."""
    assert msgspec.json.decode(msgspec.json.encode(state("RUNNING", "Retrying"))).keys() == {
        "id",
        "type",
        "name",
        "timestamp",
        "message",
        "version",
    }
    assert isinstance(state("RUNNING", "Running").is_running, CallableBool)
