"""Text in the cells of a terminal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxflow._pictures.cells import Span, cell_width, fitted, plain_text, shown

WIDTHS = {"": 0, "abc": 3, "漢字": 4, "e\u0301": 1, "a\u200db": 2, "\uff21\uff22": 4, "█▒·…├": 5}


@pytest.mark.parametrize(("text", "cells"), WIDTHS.items(), ids=ascii)
def test_a_text_takes_cells(text: str, cells: int) -> None:
    """A wide character takes two cells, a combining one none."""
    assert cell_width(text) == cells


FITTED = [
    ("abc", 5, "abc  "),
    ("abc", 3, "abc"),
    ("abcd", 3, "ab…"),
    ("漢字漢", 4, "漢… "),
    ("漢", 1, "…"),
    ("漢字", 2, "… "),
]


@pytest.mark.parametrize(("text", "cells", "result"), FITTED)
def test_a_text_is_filled_up_or_cut(text: str, cells: int, result: str) -> None:
    """A cut is marked, and half of a wide character is a space."""
    assert fitted(text, cells) == result


@given(st.text(), st.integers(1, 20))
def test_a_fitted_text_has_its_width(text: str, cells: int) -> None:
    """Whatever the text, it takes as many cells as it was given."""
    assert cell_width(fitted(shown(text), cells)) == cells


@given(st.text())
def test_a_shown_text_is_one_line_without_control_characters(text: str) -> None:
    """A server's text neither ends a line nor moves the cursor."""
    assert not any(char < " " or char in "\x7f\x9b\u2028\u202e" for char in shown(text))


def test_plain_text_has_no_blanks_at_the_ends_of_lines() -> None:
    """Lines are joined without styles."""
    assert plain_text([(Span("a", "strong"), Span("b")), (Span("c  "),)]) == "ab\nc"
