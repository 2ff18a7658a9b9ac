"""Run ``rxflow`` in a pseudo-terminal, and read its screen as people see it.

The program is a child of pexpect; the screen is that of pyte, fed with all that was written. A test
waits until the screen shows something, and for nothing else.
"""

import os
import re
import signal
import sys
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import pexpect
import pyte
from virtual_world import TEST_TIMEOUT

_TIMES = (
    (re.compile(r"\b\d\d:\d\d:\d\d\.\d{3}\b"), "TIME        "),
    (re.compile(r"\b\d+\.\d s\b|\b\d+ (?:ms|s)\b"), "N s"),
    (re.compile(r"\b\d{4}-\d\d-\d\d\b"), "DAY"),
)


class Terminal:
    """A terminal in which the command runs until the ``with`` block ends.

    Attributes:
        written: All that the command wrote.
    """

    def __init__(
        self,
        *arguments: str,
        columns: int = 80,
        lines: int = 24,
        environment: Mapping[str, str] | None = None,
        emulated: bool = True,
    ) -> None:
        """Start the command.

        Args:
            arguments: The command line, after ``rxflow``.
            columns: The width.
            lines: The height.
            environment: Further variables; an empty one is removed.
            emulated: Whether there is a screen. The emulator takes 10 s for a megabyte.
        """
        variables = {**os.environ, "TERM": "xterm-256color", "CI": "", **(environment or {})}
        self.screen: Any = pyte.HistoryScreen(columns, lines, history=100_000)
        self._stream = pyte.ByteStream(self.screen)
        self._is_emulated = emulated
        self.written = b""
        self.child: Any = pexpect.spawn(
            sys.executable,
            ["-m", "rxflow", *arguments],
            env={name: value for name, value in variables.items() if value},
            dimensions=(lines, columns),
            timeout=TEST_TIMEOUT,
            preexec_fn=_restore_signals,
        )
        self.child.delaybeforesend = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.child.close(force=True)

    # -- what the command does ------------------------------------------------------------------

    def wait(self, shows: str | Callable[[list[str]], bool]) -> list[str]:
        """Read until the screen shows something; return its lines.

        Args:
            shows: A text on one line, or what is true of the lines.
        """
        is_shown = shows if callable(shows) else lambda lines: any(shows in row for row in lines)
        while not is_shown(lines := self.lines()):
            try:
                self._read()
            except (pexpect.EOF, pexpect.TIMEOUT) as error:
                raise AssertionError("\n".join(["never shown:", *lines])) from error
        return lines

    def wait_for_end(self) -> int:
        """Read until the command ends; return its status, or minus the signal that ended it."""
        try:
            while True:
                self._read()
        except pexpect.EOF:
            self.child.wait()
        status: int | None = self.child.exitstatus
        return -self.child.signalstatus if status is None else status

    def resize(self, columns: int, lines: int) -> None:
        """Change the size."""
        self.screen.resize(lines, columns)
        self.child.setwinsize(lines, columns)

    def interrupt(self) -> None:
        """Type Ctrl-C."""
        self.child.sendintr()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the command."""
        self.child.kill(number)

    def _read(self) -> None:
        written = self.child.read_nonblocking(65_536, timeout=TEST_TIMEOUT)
        self.written += written
        if self._is_emulated:
            self._stream.feed(written)

    # -- what the terminal shows ----------------------------------------------------------------

    def lines(self) -> list[str]:
        """Return the lines of the screen, down to the last that is not empty."""
        return _without_end(self.screen.display)

    def all_lines(self) -> list[str]:
        """Return what scrolled out of the screen, and its lines."""
        columns = range(self.screen.columns)
        scrolled = ["".join(line[x].data for x in columns) for line in self.screen.history.top]
        return _without_end([*scrolled, *self.screen.display])

    @property
    def is_as_before(self) -> bool:
        """Whether the cursor, the modes and the colours are those of a new terminal."""
        fresh = pyte.Screen(1, 1)
        screen = self.screen
        return (
            screen.mode == fresh.mode
            and screen.cursor.attrs == fresh.cursor.attrs
            and not screen.cursor.hidden
        )


def _restore_signals() -> None:
    """Let signals end the command even where the tests were started to ignore them, by nohup."""
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


def without_times(lines: list[str]) -> list[str]:
    """Replace times and durations, which differ between two runs of a test."""
    for pattern, name in _TIMES:
        lines = [pattern.sub(name, line).rstrip() for line in lines]
    return lines


def _without_end(lines: list[str]) -> list[str]:
    shown = [line.rstrip() for line in lines]
    while shown and not shown[-1]:
        shown.pop()
    return shown
