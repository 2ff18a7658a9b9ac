"""The journals of a command: what earlier commands have shown, and what this one is to show.

An event is appended, and then shown. A signal that comes between the two waits until the event is
shown, so that it is neither left out nor shown again by the next command. Only a process that is
killed outright can leave an event in a journal that no command has shown.
"""

import signal
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from types import FrameType
from typing import Any

from rxflow import AllClosed, Closed, FlowRunEvent, Notice
from rxflow._runtime.journal_use import ObservedDirectory

__all__ = ["CommandJournal", "HeldSignals"]


class CommandJournal:
    """Observes the journals of the runs that a command follows.

    Attributes:
        signals: Wait while an event is appended and shown.
        has_news: Whether an event that a run has brought about was not in its journal.
        closed: The last end of the run that is followed; None if there is none, or several runs.
    """

    def __init__(
        self, path: str, run: str | None, receivers: Iterable[Callable[[FlowRunEvent], object]]
    ) -> None:
        """Name a directory; it is neither opened nor created.

        Args:
            path: Its path.
            run: The id of the run, if one is followed.
            receivers: Are called with each event that a journal has of before.
        """
        self.signals = HeldSignals()
        self.has_news = False
        self.closed: Closed | None = None
        self._path = path
        self._run = run
        self._receivers = tuple(receivers)

    @property
    def reading(self) -> dict[str, Any]:
        """What is read of each run, as arguments of a watch.

        A journal has all events, whatever a command shows of them, so that each can go on from it.
        """
        return {"stream_tasks": True, "journal": ObservedDirectory(self._path, self)}

    def recall(self, events: Sequence[FlowRunEvent]) -> None:
        """Receive what a journal has of a run."""
        for event in events:
            for receive in self._receivers:
                receive(event)
            self._record_end(event)

    def begin_append(self) -> None:
        """Let signals wait until the event is shown that is appended now."""
        self.signals.hold()

    def shown(self, events: Generator[FlowRunEvent]) -> Generator[FlowRunEvent]:
        """Yield events, each of which is shown before the next one is requested."""
        with closing(events):
            for event in events:
                self.has_news = self.has_news or not isinstance(event, Notice | AllClosed)
                self._record_end(event)
                yield event
                self.signals.release()

    def _record_end(self, event: FlowRunEvent) -> None:
        if isinstance(event, Closed) and event.flow_run_id == self._run:
            self.closed = event


class HeldSignals:
    """Lets SIGINT or SIGTERM wait while it is held; another one is handled at once.

    Within a ``with`` block in the main thread, which handles the signals.
    """

    def __init__(self) -> None:
        """Start without holding."""
        self._is_holding = False
        self._waiting: int | None = None
        self._handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}

    def hold(self) -> None:
        """Let the next signal wait."""
        self._is_holding = True

    def release(self) -> None:
        """Handle the signal that has waited, if there is one, and later ones at once."""
        self._is_holding = False
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._handlers[waiting](waiting, None)

    def __enter__(self) -> None:
        """Handle the signals in place of the handlers that there are."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(number)
            if callable(handler):
                self._handlers[number] = handler
                signal.signal(number, self._receive)

    def __exit__(self, *_: object) -> None:
        """Let the handlers that there were handle them."""
        for number, handler in self._handlers.items():
            if signal.getsignal(number) == self._receive:  # else the handler has changed it
                signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._is_holding and self._waiting is None:
            self._waiting = number
        else:
            self._handlers[number](number, frame)
