"""Rows at the bottom of a terminal: what the terminal shows, emulated by pyte."""

import os
from collections.abc import Iterator

import pyte
import pytest

from rxflow.cli._bottom_rows import BottomRows

WIDTH, HEIGHT = 20, 6


class Emulator:
    """A terminal of pyte, with what scrolled out of it, and the rows that are drawn on it."""

    def __init__(self, encoding: str = "utf-8") -> None:
        self.screen = pyte.HistoryScreen(WIDTH, HEIGHT, history=1000)
        self._stream = pyte.ByteStream(self.screen)
        self._read_end, self.write_end = os.pipe()
        self.bottom = BottomRows(self.write_end, encoding)

    def read(self) -> bytes:
        """Read what was written, and show it."""
        os.set_blocking(self._read_end, False)
        try:
            written = os.read(self._read_end, 1_000_000)
        except BlockingIOError:
            return b""
        # A terminal adds the carriage return to a line feed.
        self._stream.feed(written.replace(b"\n", b"\r\n"))
        return written

    def draw(self, rows: list[str], *above: str) -> list[str]:
        """Draw a frame; return all lines of the terminal that are not empty."""
        self.bottom.draw(rows, above)
        self.read()
        return self.lines()

    def lines(self) -> list[str]:
        """Return the lines that scrolled out, and those that are shown, down to the last text."""
        scrolled = ["".join(line[x].data for x in range(WIDTH)) for line in self.screen.history.top]
        lines = [line.rstrip() for line in (*scrolled, *self.screen.display)]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    @property
    def cursor(self) -> tuple[int, int]:
        """The column and the row of the cursor."""
        return self.screen.cursor.x, self.screen.cursor.y

    def close(self) -> None:
        """Close the pipe."""
        os.close(self._read_end)
        os.close(self.write_end)


@pytest.fixture
def terminal() -> Iterator[Emulator]:
    """A terminal of 20 cells and 6 rows."""
    emulator = Emulator()
    yield emulator
    emulator.close()


def test_rows_are_drawn_below_lines(terminal: Emulator) -> None:
    """The lines stay; the rows are replaced, and the cursor stands at the first of them."""
    assert terminal.draw(["----", "running"], "one", "two") == ["one", "two", "----", "running"]
    assert terminal.cursor == (0, 2)
    assert terminal.draw(["----", "over"], "three") == ["one", "two", "three", "----", "over"]
    assert terminal.draw(["-"]) == ["one", "two", "three", "-"]
    assert terminal.cursor == (0, 3)


def test_lines_scroll_out_above_the_rows(terminal: Emulator) -> None:
    """None is lost, and no row is among them."""
    lines = [f"line {number}" for number in range(20)]
    for number, line in enumerate(lines):
        shown = terminal.draw([f"row {number}", "last"], line)
        assert shown == [*lines[: number + 1], f"row {number}", "last"]


def test_a_line_wider_than_the_terminal_displaces_nothing(terminal: Emulator) -> None:
    """As one whose characters are drawn wider than they were computed."""
    terminal.draw(["row", "last"], "x" * 50)
    assert terminal.draw(["row", "last"], "next") == [
        *("x" * 20, "x" * 20, "x" * 10),
        *("next", "row", "last"),
    ]


def test_a_row_wider_than_the_terminal_stays_one(terminal: Emulator) -> None:
    """What does not fit is cut off, and the rows stay in their place."""
    terminal.draw(["漢" * 30, "last"], "line")
    assert terminal.cursor == (0, 1)
    assert terminal.draw(["row", "last"]) == ["line", "row", "last"]
    # A line of the log is broken as ever.
    assert terminal.draw(["row"], "y" * 25)[1:] == ["y" * 20, "y" * 5, "row"]


def test_a_frame_without_changes_is_not_written(terminal: Emulator) -> None:
    """Nor is anything else."""
    terminal.draw(["row"], "line")
    terminal.bottom.draw(["row"])
    assert terminal.read() == b""


def test_a_frame_is_written_at_once(terminal: Emulator) -> None:
    """It changes nothing that a later one has to restore."""
    terminal.draw(["row"], "line")
    modes = set(terminal.screen.mode)
    terminal.bottom.draw(["new row"], ["line"])
    assert terminal.read().endswith(b"\x1b[?7h\r\x1b[?25h")
    assert terminal.screen.mode == modes
    assert not terminal.screen.cursor.hidden


@pytest.mark.parametrize("width", [10, 15, 35])
def test_the_rows_survive_a_resize(terminal: Emulator, width: int) -> None:
    """The next frame takes the place of the one before."""
    terminal.draw(["-" * 19, "state of the run"], "one", "two")
    terminal.screen.resize(columns=width)
    terminal.bottom.draw(["-" * (width - 1), "narrow"], ["three"])
    terminal.read()
    shown = [line.rstrip() for line in terminal.screen.display]
    assert shown == ["one", "two", "three", "-" * (width - 1), "narrow", ""]


def test_the_rows_survive_what_others_write(terminal: Emulator) -> None:
    """It stays above them, as a line."""
    terminal.draw(["row", "last"], "line")
    os.write(terminal.write_end, b"a warning\n")
    assert terminal.draw(["row", "last"], "next")[:2] == ["line", "a warning"]
    assert terminal.lines()[2:] == ["next", "row", "last"]


def test_what_was_typed_is_erased(terminal: Emulator) -> None:
    """Such as the characters that a terminal shows for Ctrl-C."""
    terminal.draw(["row", "last"], "line")
    os.write(terminal.write_end, b"^C")
    terminal.bottom.erase()
    terminal.read()
    assert terminal.lines() == ["line"]


def test_erasing_leaves_the_lines(terminal: Emulator) -> None:
    """And the cursor below them, for whatever is written next."""
    terminal.draw(["row", "last"], "line")
    terminal.bottom.erase(["the end"])
    terminal.read()
    assert terminal.lines() == ["line", "the end"]
    assert terminal.cursor == (0, 2)
    assert terminal.draw(["row"])[-1] == "row"


def test_erasing_undoes_a_frame_that_was_broken_off(terminal: Emulator) -> None:
    """Colours, the width and the cursor are as before."""
    usual = set(terminal.screen.mode)
    os.write(terminal.write_end, b"\x1b[?25l\r\x1b[?7l\x1b[31mro")
    terminal.bottom.erase()
    terminal.read()
    assert terminal.lines() == []
    assert terminal.screen.mode == usual
    assert terminal.screen.cursor.attrs.fg == "default"


def test_a_character_that_the_encoding_lacks_is_escaped() -> None:
    """A terminal of another encoding than UTF-8 shows all else."""
    terminal = Emulator("latin-1")
    terminal.bottom.draw(["row"], ["schön 漢"])
    assert "schön \\u6f22".encode("latin-1") in terminal.read()
    terminal.close()
