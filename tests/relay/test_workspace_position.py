"""A position among all logs is a text that a program keeps."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxflow.relay._workspace_position import WorkspacePosition

NUMBERS = st.integers(0, 2**64)
MARKS = st.text("0123456789abcdef", max_size=20)


@given(NUMBERS, MARKS, st.text("09afAF_-", min_size=1, max_size=64), st.integers(1, 10**9 - 1))
def test_a_position_is_parsed_from_its_text(
    number: int, mark: str, page_id: str, count: int
) -> None:
    """What is kept and passed again is the same position, at a page's end and within a page."""
    for original in (
        WorkspacePosition(number, mark),
        WorkspacePosition(number, mark, page_id, count),
    ):
        assert WorkspacePosition.parse("after", str(original)) == original


def test_none_is_the_beginning() -> None:
    """It is after no event of any log."""
    assert WorkspacePosition.parse("after", None) == WorkspacePosition()
    assert WorkspacePosition().is_start


@pytest.mark.parametrize("wrong", ["", "all", "all.1", "abc.1.2", "all.-1.2", "all.1.2.id", "12"])
def test_another_text_is_refused(wrong: str) -> None:
    """The error names the argument, and what to pass; that of one run's log is refused as well."""
    with pytest.raises(ValueError, match=r"after=.* is not a position; pass the position of a"):
        WorkspacePosition.parse("after", wrong)


@pytest.mark.parametrize("wrong", [3, b"all.1.2", ("all", 1, 2)])
def test_another_type_is_refused(wrong: Any) -> None:
    """The error names the argument."""
    with pytest.raises(TypeError, match="after"):
        WorkspacePosition.parse("after", wrong)
