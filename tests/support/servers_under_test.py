"""Servers under test: what a promise has to do with any server, be it a fake or a real one.

Only what every Prefect has is named here, in the words of rxflow: states by their types, levels by
their numbers. What a server stored is read behind its API's back, so that no answer judges another.
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

Row: TypeAlias = tuple[str, str]
"""A row of a server's, as the event that tells it: its kind and its id."""


class Line(msgspec.Struct, frozen=True):
    """A log line to store.

    Attributes:
        message: The text.
        timestamp: When it was written; None: now.
        level: As in `logging`.
    """

    message: str
    timestamp: datetime | None = None
    level: int = logging.INFO


class ServerUnderTest(Protocol):
    """A server that the tests write to as workers and flows do, and that rxflow watches."""

    @property
    def client(self) -> Client:
        """A client that was told what the server is."""
        ...

    @property
    def drain(self) -> float | None:
        """Seconds of drain that a test has the time for; None: as many as by default."""
        ...

    def now(self) -> datetime:
        """Tell the time by which lines are stamped."""
        ...

    def add_run(self, name: str = "amber-fox", state: StateType = StateType.PENDING) -> str:
        """Create a run in a state, and give its id."""
        ...

    def enter(self, run_id: str, state: StateType) -> None:
        """Put a run in a state, whatever state it is in."""
        ...

    def log(self, run_id: str, *lines: Line | str) -> None:
        """Store log lines, all at once; a text is a line that is written now."""
        ...

    def add_task_run(self, run_id: str, task: str, index: int = -1) -> str:
        """Create a task run that is running, the only one of its task or one of several."""
        ...

    def enter_task(self, run_id: str, task_run_id: str, state: StateType) -> None:
        """Put a task run in a state."""
        ...

    def delete_run(self, run_id: str) -> None:
        """Delete a run."""
        ...

    def let_time_pass(self) -> None:
        """Let an hour pass, if time here passes at once, so that ended runs are long over."""
        ...

    def stored(self, run_id: str) -> list[Row]:
        """List the rows of a run's states and log lines, sorted."""
        ...

    def serve(self) -> AbstractContextManager[str]:
        """Have it reached over HTTP, by the URL that is given."""
        ...

    def begin(self, stream: Observable[T], react: Callable[[T], None]) -> Recording[T]:
        """Subscribe in the way that costs the least time here."""
        ...

    def finish(self, told: Recording[T]) -> list[T]:
        """Let time pass until a subscription ends; raise what it ended with."""
        ...


def ignore(event: object) -> None:
    """Do nothing about an event."""
    del event


def watched(
    server: ServerUnderTest, stream: Observable[T], react: Callable[[T], None] = ignore
) -> list[T]:
    """Watch to the end."""
    return server.finish(server.begin(stream, react))


def outcome(told: Recording[T]) -> list[T]:
    """What was told, or the error that it ended with."""
    if told.error is not None:
        raise told.error
    return told.values


# -- faces --------------------------------------------------------------------------------------


def looped(stream: Any) -> list[Any]:
    """What a `for` loop gets."""
    return list(stream)


def subscribed(stream: Observable[T]) -> list[T]:
    """What a subscriber is told by threads of rxflow's own."""
    told: Recording[T] = Recording()
    told.subscribe_to(stream)
    told.wait()
    return outcome(told)


FACES: dict[str, Callable[[Any], list[Any]]] = {
    "for": looped,
    "async for": collect_async,
    "subscribe": subscribed,
}


# -- what happens in answer to what is told -------------------------------------------------------


class Acts:
    """What happens to a run while it is watched: each act when the watch has told what it is for.

    So an act comes after what led to it was seen, and before the watch that saw it goes on, however
    quick the watch or the machine is. Watches that share their acts wait for each other's.
    """

    def __init__(self, *acts: tuple[Callable[[FlowRunEvent], bool], Callable[[], object]]) -> None:
        """Take up acts, in their order.

        Args:
            acts: For each of them, the event that it waits for, and what it does.
        """
        self._acts = deque(acts)
        self._lock = threading.RLock()

    def __call__(self, event: FlowRunEvent) -> None:
        """Do the next act, if this is the event that it waits for."""
        with self._lock:
            if self._acts and self._acts[0][0](event):
                self._acts.popleft()[1]()


def entered(state: StateType) -> Callable[[FlowRunEvent], bool]:
    """Whether it is told that the run entered a state."""
    return lambda event: isinstance(event, StateChange) and event.state.type == state


def said(message: str) -> Callable[[FlowRunEvent], bool]:
    """Whether a line is told."""
    return lambda event: isinstance(event, FlowRunLog) and event.message == message


# -- what was told --------------------------------------------------------------------------------


def rows(events: Iterable[FlowRunEvent]) -> list[Row]:
    """The rows that were told, sorted, repeats included."""
    wanted = StateChange | FlowRunLog
    return sorted(identity(event) for event in events if isinstance(event, wanted))
