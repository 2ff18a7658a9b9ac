"""The interface of a server under test, fake or real, and the ways to watch it that tests share.

Only what every Prefect server has is named here, in rxflow's terms: states by their types, levels
by their numbers. A server under test reads its stored rows from its tables, not from its API, so
that no response is compared with another response.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol, TypeAlias, TypeVar

import msgspec
from reactivex import Observable
from stream_faces import collect_async
from virtual_world import Recording, identity

from rxflow import Client, FlowRunEvent, FlowRunLog, StateChange, StateType

T = TypeVar("T")

RowIdentity: TypeAlias = tuple[str, str]
"""Identifies a stored row by its event: the kind and the id."""


class LogLine(msgspec.Struct, frozen=True):
    """A log line to store.

    Attributes:
        message: The text.
        timestamp: When it was written; None is now.
        level: The level, as in `logging`.
    """

    message: str
    timestamp: datetime | None = None
    level: int = logging.INFO

    @classmethod
    def of(cls, line: "LogLine | str") -> "LogLine":
        """Make a line of a text, which is written now at level INFO."""
        return cls(line) if isinstance(line, str) else line


class ServerUnderTest(Protocol):
    """A server that tests write to as workers and flows do, and that rxflow watches."""

    @property
    def client(self) -> Client:
        """A client that is configured for this kind of server."""
        ...

    @property
    def drain(self) -> float | None:
        """Seconds of drain that a test has time for; None for the default."""
        ...

    def now(self) -> datetime:
        """The time that lines are stamped with."""
        ...

    def add_run(self, name: str = "amber-fox", state: StateType = StateType.PENDING) -> str:
        """Create a run in a state, and return its id."""
        ...

    def set_state(self, run_id: str, state: StateType) -> None:
        """Set the state of a run, from whatever state."""
        ...

    def log(self, run_id: str, *lines: LogLine | str) -> None:
        """Store log lines at once; a text is a line that is written now."""
        ...

    def add_task_run(self, run_id: str, task: str, index: int = -1) -> str:
        """Create a running task run, the only one of its task or one of several."""
        ...

    def set_task_state(self, run_id: str, task_run_id: str, state: StateType) -> None:
        """Set the state of a task run."""
        ...

    def delete_run(self, run_id: str) -> None:
        """Delete a run."""
        ...

    def skip_an_hour(self) -> None:
        """Skip an hour if time is virtual, so that runs ended long ago; else do nothing."""
        ...

    def stored_rows(self, run_id: str) -> list[RowIdentity]:
        """List a run's stored states and log lines, sorted."""
        ...

    def serve(self) -> AbstractContextManager[str]:
        """Serve HTTP at the URL that is yielded."""
        ...

    def record(self, stream: Observable[T], react: Callable[[T], None]) -> Recording[T]:
        """Subscribe in the way that takes the least time on this server."""
        ...

    def wait_for_end(self, recording: Recording[T]) -> list[T]:
        """Let time pass until a stream ends; return its items, or raise its error."""
        ...


def do_nothing(event: object) -> None:
    """React to no event."""
    del event


def watch_to_end(
    server: ServerUnderTest, stream: Observable[T], react: Callable[[T], None] = do_nothing
) -> list[T]:
    """Subscribe, and return all items of the stream."""
    return server.wait_for_end(server.record(stream, react))


def recorded_items(recording: Recording[T]) -> list[T]:
    """Return the items of a stream that ended, or raise its error."""
    if recording.error is not None:
        raise recording.error
    return recording.values


def emitted_rows(events: Iterable[FlowRunEvent]) -> list[RowIdentity]:
    """The rows of the state changes and log lines, sorted, with repetitions."""
    wanted = StateChange | FlowRunLog
    return sorted(identity(event) for event in events if isinstance(event, wanted))


# -- faces ----------------------------------------------------------------------------------------


def iterate(stream: Any) -> list[Any]:
    """Collect the items of a `for` loop."""
    return list(stream)


def subscribe(stream: Observable[T]) -> list[T]:
    """Collect the items that threads of rxflow deliver to a subscriber."""
    recording: Recording[T] = Recording()
    recording.subscribe_to(stream)
    recording.wait()
    return recorded_items(recording)


FACES: dict[str, Callable[[Any], list[Any]]] = {
    "for": iterate,
    "async for": collect_async,
    "subscribe": subscribe,
}


# -- reactions to events --------------------------------------------------------------------------


class Reactions:
    """Writes to a run in reaction to its events, so that no test depends on time.

    An action happens after the event that triggers it was emitted and before the watch goes on,
    however fast the watch or the machine is. Watches that share reactions wait for each other.
    """

    def __init__(
        self, *reactions: tuple[Callable[[FlowRunEvent], bool], Callable[[], object]]
    ) -> None:
        """Take the reactions in the order in which they happen.

        Args:
            reactions: Pairs of a predicate, for the event that triggers the action, and the action.
        """
        self._waiting = deque(reactions)
        self._lock = threading.RLock()

    def __call__(self, event: FlowRunEvent) -> None:
        """Run the next action if the event triggers it."""
        with self._lock:
            if self._waiting and self._waiting[0][0](event):
                self._waiting.popleft()[1]()


def on_state(state: StateType) -> Callable[[FlowRunEvent], bool]:
    """Match the event that the run entered a state."""
    return lambda event: isinstance(event, StateChange) and event.state.type == state


def on_line(message: str) -> Callable[[FlowRunEvent], bool]:
    """Match the event of a log line."""
    return lambda event: isinstance(event, FlowRunLog) and event.message == message
