"""A position is a text that a program keeps."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxflow.relay._position import LogPosition

NUMBERS = st.integers(0, 2**64)


@given(st.text("0123456789abcdef", min_size=1, max_size=64), NUMBERS, NUMBERS, st.booleans())
def test_a_position_is_parsed_from_its_text(
    log_id: str, position: int, number: int, is_closed: bool
) -> None:
    """What is kept and passed again is the same position."""
    original = LogPosition(log_id, position, number, is_closed)
    assert LogPosition.parse("after", str(original)) == original


def test_none_is_the_beginning() -> None:
    """It is after no event of any log."""
    assert LogPosition.parse("after", None) == LogPosition()


@pytest.mark.parametrize("wrong", ["", "12", "abc.1", "abc.-1.2", "abc.1.2.open", "xyz.1.2"])
def test_another_text_is_refused(wrong: str) -> None:
    """The error names the argument, and what to pass."""
    with pytest.raises(ValueError, match=r"after=.* is not a position; pass the position of a"):
        LogPosition.parse("after", wrong)


@pytest.mark.parametrize("wrong", [3, b"abc.1.2", ("abc", 1, 2)])
def test_another_type_is_refused(wrong: Any) -> None:
    """The error names the argument."""
    with pytest.raises(TypeError, match="after"):
        LogPosition.parse("after", wrong)
