"""A position is a text that a program keeps."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxflow.relay._position import LogPosition

NUMBERS = st.integers(0, 10**20 - 1)
IDS = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)
PLACES = st.just((0, "")) | st.tuples(st.integers(1, 10**20 - 1), IDS)
ENDS = st.just(("", True)) | st.tuples(st.just("") | IDS, st.just(False))


@given(NUMBERS, PLACES, ENDS)
def test_a_position_is_parsed_from_its_text(
    number: int, place: tuple[int, str], end: tuple[str, bool]
) -> None:
    """What is kept and passed again is the same position."""
    original = LogPosition(number, *place, *end)
    assert LogPosition.parse("after", str(original)) == original
    assert LogPosition.parse("after", f"{original}\n") == original


def test_none_is_the_beginning() -> None:
    """It is after no event of any log."""
    assert LogPosition.parse("after", None) == LogPosition()


@pytest.mark.parametrize(
    "wrong",
    [
        *("", "12", "12.5", "12.5.", "12.0.abc", "-1.5.abc", "12.5.a b", "12.5.abc.open"),
        *("12.5.abc~", "5a0c7f26d1e49b38.5.12", "12.5.abc~def.closed", "\u0661.5.abc"),
    ],
)
def test_another_text_is_refused(wrong: str) -> None:
    """The error names the argument, and what to pass."""
    with pytest.raises(ValueError, match=r"after=.* is not a position; pass the position of a"):
        LogPosition.parse("after", wrong)


@pytest.mark.parametrize("wrong", [3, b"12.5.abc", (12, 5, "abc")])
def test_another_type_is_refused(wrong: Any) -> None:
    """The error names the argument."""
    with pytest.raises(TypeError, match="after"):
        LogPosition.parse("after", wrong)
