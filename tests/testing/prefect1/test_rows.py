"""Serialized states of the fake, compared with those of the 1.4.1 client."""

import pytest
from prefect1_recordings import STATES

from rxflow.testing._prefect1.rows import serialized


@pytest.mark.parametrize("name", STATES)
def test_states_are_serialized_as_recorded(name: str) -> None:
    """A state of each type has the keys of the recorded one, and with its fields equals it."""
    recorded = STATES[name]
    assert serialized(recorded["type"], recorded["message"]).keys() == recorded.keys()
    fields = {key: recorded[key] for key in recorded.keys() - {"type", "message", "_result"}}
    state = serialized(recorded["type"], recorded["message"], **fields)
    if recorded.get("_result", {}).get("type") in {None, "NoResultType"}:
        assert state == recorded
