"""Wrapping: lines are broken between words, at a width in cells, and nothing is lost."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from rxflow.cli._wrapping import cells, wrap, wrap_in_column


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", [""]),
        ("the orders", ["the orders"]),
        ("the orders of the north", ["the orders", "of the", "north"]),
        ("  indented", ["  indented"]),
        ("/srv/reports/2026/11/22", ["/srv/repor", "ts/2026/11", "/22"]),
        ("at /srv/reports/2026", ["at /srv/re", "ports/2026"]),
        ("123456789 /srv/reports", ["123456789", "/srv/repor", "ts"]),
        ("a\tb", ["a       b"]),
        ("a          b", ["a", "b"]),
        ("漢字漢字漢字", ["漢字漢字漢", "字"]),
        ("a漢字漢字漢字", ["a漢字漢字", "漢字"]),
        ("e\u0301" * 11, ["e\u0301" * 10, "e\u0301"]),
        ("\x1b[31mthe orders\x1b[0m of", ["\x1b[31mthe orders\x1b[0m", "of"]),
    ],
    ids=[
        *("empty", "fits", "words", "indent", "long", "rest", "end", "tab", "spaces", "wide"),
        *("odd", "combining", "colour"),
    ],
)
def test_a_line_is_broken_at_ten_cells(text: str, lines: list[str]) -> None:
    """Between words if they fit into a line, else within them."""
    assert wrap(text, 10) == lines


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"])), st.integers(2, 30))
def test_no_line_is_wider_and_no_word_is_lost(text: str, width: int) -> None:
    """Whatever the text, each line fits and all that is not a space is there, in order."""
    lines = wrap(text, width)
    assert [line for line in lines if cells(line) > width and line.strip(" ")] == []
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=60))
def test_a_short_line_is_unchanged(text: str) -> None:
    """A line of Latin letters that fits is returned as it is."""
    assert wrap(text, 60) == [text]


def test_a_megabyte_without_a_space_is_broken_in_one_pass() -> None:
    """A line that some program logged by mistake."""
    lines = wrap("漢" * 500_000, 80)
    assert {cells(line) for line in lines} == {80}
    assert len(lines) == 12_500


@pytest.mark.parametrize("text", ["plain", "漢字", "e\u0301", "\u200bx", "\uff46\uff55", "🦊"])
def test_the_width_is_that_of_rich(text: str) -> None:
    """The lines above the live view, and the view itself, count alike."""
    assert cells(text) == cell_len(text)


def test_a_colour_takes_no_cell() -> None:
    """The sequences of colours are not counted."""
    assert cells("\x1b[1;31mred\x1b[0m") == 3
    assert re.sub("\x1b\\[[0-9;]*m", "", "".join(wrap("\x1b[31mab cd\x1b[0m", 2))) == "abcd"


HEAD = "TIME INFO     | "


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (f"{HEAD}short", [f"{HEAD}short"]),
        (
            f"{HEAD}the orders of the north and of the south",
            [f"{HEAD}the orders of the north", "              | and of the south"],
        ),
        (
            f"{HEAD}no orders\n              | in the north, in the south, in the west",
            [
                f"{HEAD}no orders",
                "              | in the north, in the",
                "              | south, in the west",
            ],
        ),
        (
            f"{HEAD}a | b | c d e f g h i j k l m n",
            [f"{HEAD}a | b | c d e f g h i j", f"{' ' * 14}| k l m n"],
        ),
        (
            "Flow run 'amber-capybara', created 2026-11-22",
            ["Flow run 'amber-capybara', created", "2026-11-22"],
        ),
        (f"{'x' * 30} | {'y' * 20}", ["x" * 30 + " |", "y" * 20]),
        (
            f"\x1b[32m{HEAD}\x1b[0mthe orders of the north and",
            [f"\x1b[32m{HEAD}\x1b[0mthe orders of the north", "              | and"],
        ),
    ],
    ids=["fits", "words", "lines", "bars", "no bar", "long head", "colour"],
)
def test_a_line_is_wrapped_in_its_column(text: str, lines: list[str]) -> None:
    """To the right of the bar behind its time and level, if that leaves room."""
    assert list(wrap_in_column(text, 40)) == lines
