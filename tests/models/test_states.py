"""States: which types are terminal, and types that are not known here."""

from datetime import UTC, datetime

import msgspec
import pytest

from rxflow import State, StateType
from rxflow._models.states import TERMINAL_TYPES

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
RUNNING = State(id="s", type=StateType.RUNNING, name="Running", timestamp=NOON)
TERMINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


def read(state_type: str) -> State:
    """Decode a state of a type."""
    row = {"id": "s", "type": state_type, "name": "Running", "timestamp": "2026-11-22T12:00:00Z"}
    return msgspec.json.decode(msgspec.json.encode(row), type=State)


@pytest.mark.parametrize("state_type", [*StateType, "NEW_IN_PREFECT_4", "completed", ""])
def test_four_types_are_terminal(state_type: str) -> None:
    """No other type is terminal, and none that is not known here."""
    state = State(id="s", type=state_type, name="x", timestamp=NOON)
    assert bool(state.is_terminal) is state.is_terminal() is (state_type in TERMINAL)
    assert bool(state.is_completed) is state.is_completed() is (state_type == "COMPLETED")


def test_terminal_types_compare_equal_to_text() -> None:
    """`TERMINAL_TYPES` has the four terminal types, which equal their text."""
    assert TERMINAL_TYPES == TERMINAL


@pytest.mark.parametrize("state_type", StateType)
def test_a_known_state_type_is_a_constant(state_type: StateType) -> None:
    """However a state is made, decoded or replaced, its type is the member of `StateType`."""
    made = State(id="s", type=str(state_type.value), name="x", timestamp=NOON)
    replaced = msgspec.structs.replace(RUNNING, type=str(state_type.value))
    for state in (made, replaced, read(state_type)):
        assert state.type is state_type


@pytest.mark.parametrize("state_type", ["NEW_IN_PREFECT_4", "completed", ""])
def test_an_unknown_state_type_is_kept_as_text(state_type: str) -> None:
    """A state of a type that is not known here can be decoded and keeps its type."""
    assert read(state_type).type == state_type
    assert type(read(state_type).type) is str


def test_the_type_is_encoded_as_text() -> None:
    """The JSON of a state has the text of its type."""
    assert msgspec.json.decode(msgspec.json.encode(RUNNING))["type"] == "RUNNING"


def test_a_decoded_state_equals_one_that_was_made_with_a_constant() -> None:
    """The text of a type and the constant of `StateType` are equal."""
    assert read("RUNNING") == RUNNING
