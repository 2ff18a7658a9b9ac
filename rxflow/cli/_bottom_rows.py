"""Rows at the bottom of a terminal that are drawn anew, below lines that scroll.

Between two frames the cursor stands at the beginning of the first row. So whatever else is written,
and however a terminal breaks lines anew when its width changes, the next frame begins there and
erases what follows. Nothing of the terminal's state is changed beyond a frame, which is one write:
if the process is killed, the terminal is as it was, and its shell writes over the rows.
"""

import os
from collections.abc import Iterable, Sequence

__all__ = ["BottomRows"]

_ERASE_LINE, _ERASE_BELOW = "\x1b[K", "\x1b[J"
# A row that is wider than it was computed, since a terminal draws a character wider, is cut off
# and does not go on in the next one.
_NO_WRAP, _WRAP = "\x1b[?7l", "\x1b[?7h"
_HIDE_CURSOR, _SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
_RESET_COLOUR = "\x1b[0m"


class BottomRows:
    """Draws rows at the bottom of a terminal."""

    def __init__(self, fd: int, encoding: str) -> None:
        """Draw nothing yet.

        Args:
            fd: The terminal's file descriptor; no other writer buffers output for it.
            encoding: The terminal's encoding; characters that it lacks are written as escapes.
        """
        self._fd = fd
        self._encoding = encoding
        self._rows: Sequence[str] = ()

    def draw(self, rows: Sequence[str], above: Iterable[str] = ()) -> None:
        """Write lines above the rows, which scroll, and draw the rows.

        Args:
            rows: The rows, each narrower than the terminal; fewer than the terminal's height.
            above: The lines, without their line feeds; a terminal breaks those that are wider.

        Raises:
            OSError: The terminal cannot be written, as after it was closed.
        """
        lines = "".join(f"{line}\n" for line in above)
        if not lines and rows == self._rows:
            return
        self._rows = rows
        drawn = f"{_ERASE_LINE}\n".join(rows) + _ERASE_LINE if rows else ""
        up = f"\x1b[{len(rows) - 1}A" if len(rows) > 1 else ""
        erased = _ERASE_BELOW if lines else ""
        self._write(
            f"{_HIDE_CURSOR}\r{erased}{lines}{_NO_WRAP}{drawn}{_ERASE_BELOW}{_WRAP}{up}\r"
            f"{_SHOW_CURSOR}"
        )

    def erase(self, above: Iterable[str] = ()) -> None:
        """Erase the rows, after lines that stay; and undo what a frame that was broken off left.

        Raises:
            OSError: The terminal cannot be written.
        """
        lines = "".join(f"{line}\n" for line in above)
        self._rows = ()
        self._write(f"\r{_RESET_COLOUR}{_WRAP}{_SHOW_CURSOR}{_ERASE_BELOW}{lines}")

    def _write(self, text: str) -> None:
        frame = memoryview(text.encode(self._encoding, "backslashreplace"))
        while frame:
            frame = frame[os.write(self._fd, frame) :]
