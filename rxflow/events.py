"""What a watch tells: frozen structs, a union tagged by ``kind``.

Each event has ``flow_run_id``, ``timestamp``, ``level``, ``message`` and ``late``, whatever its
kind. It unpacks into the time, the level and the message, and goes before another by its time, as
Prefect 1's log lines did. Structs only grow, and by fields with defaults. No event is made here,
except from the JSON that it was written as; the session makes them.
"""

import logging
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol, get_args

import msgspec

from rxflow._models.entities import FlowRun, Snapshot, TaskRun
from rxflow._models.states import State, StateType
from rxflow._models.times import Instant
from rxflow.errors import FlowRunFailed, InvalidEvent

__all__ = [
    "Closed",
    "FlowRunEvent",
    "FlowRunLog",
    "Notice",
    "NoticeCode",
    "RunChanged",
    "RunSeen",
    "StateChange",
    "TaskRunStateChange",
    "decode_event",
    "encode_event",
]

_STATE_LEVELS: dict[str, int] = {
    StateType.FAILED: logging.ERROR,
    StateType.CRASHED: logging.ERROR,
    StateType.CANCELLED: logging.WARNING,
}


class NoticeCode(StrEnum):
    """What a `Notice` is about."""

    DEGRADED = "degraded"
    """No good answer from the server for some time; the watch goes on asking."""
    RECOVERED = "recovered"
    """The server answers again; nothing was lost."""
    LATE_START = "late-start"
    """The run should have started by now; the message says what it waits for."""
    REOPENED = "reopened"
    """A run that was over was put into another state; the watch goes on."""
    RUN_DELETED = "run-deleted"
    """The run was deleted from the server; the stream ends."""
    SOURCE_REWOUND = "source-rewound"
    """Log lines that were told are gone from the server; what may be new is told, and flagged."""
    MALFORMED = "malformed"
    """A row that cannot be read; the notice keeps its id."""


class _Told(Protocol):
    """What each kind has, be it as a field or worked out."""

    @property
    def timestamp(self) -> datetime: ...

    @property
    def level(self) -> int: ...

    @property
    def message(self) -> str: ...


class _Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    flow_run_id: str
    late: bool = False

    def __iter__(self: _Told) -> Iterator[Any]:
        """Unpack: ``timestamp, level, message = event``."""
        return iter((self.timestamp, self.level, self.message))

    # By the time alone: events of one time stay in the order in which they were told, whatever
    # they say. So neither of two may go before the other, and yet they are not equal.

    def __lt__(self: _Told, other: object) -> bool:
        if not isinstance(other, FlowRunEvent):
            return NotImplemented
        return self.timestamp < other.timestamp

    def __le__(self: _Told, other: object) -> bool:
        if not isinstance(other, FlowRunEvent):
            return NotImplemented
        return self.timestamp <= other.timestamp

    def __gt__(self: _Told, other: object) -> bool:
        if not isinstance(other, FlowRunEvent):
            return NotImplemented
        return self.timestamp > other.timestamp

    def __ge__(self: _Told, other: object) -> bool:
        if not isinstance(other, FlowRunEvent):
            return NotImplemented
        return self.timestamp >= other.timestamp


class RunSeen(_Event, frozen=True, kw_only=True, tag="run-seen"):
    """The run's row as first read: each run's first event.

    Where state changes are streamed, the row comes without its state, since each state follows as
    a `StateChange` of its own, from the first.

    Attributes:
        run: The row.
        late: Always False.
    """

    run: FlowRun

    @property
    def timestamp(self) -> Instant:
        """When the run was created, by the server's clock."""
        return self.run.created

    @property
    def level(self) -> int:
        """``logging.DEBUG``."""
        return logging.DEBUG

    @property
    def message(self) -> str:
        """A sentence."""
        return f"Watching flow run {self.run.name!r}"


class RunChanged(_Event, frozen=True, kw_only=True, tag="run-changed"):
    """The run's row after a change: its times, name, tags, parameters, state id and so on.

    It follows the `StateChange` that belongs to it. Folding it makes the view equal the row.

    Attributes:
        run: The row as it is now, with its state.
        late: Always False.
    """

    run: FlowRun

    @property
    def timestamp(self) -> Instant:
        """When the row was last written, and no earlier than its state."""
        state = self.run.state
        return max(self.run.updated, state.timestamp) if state else self.run.updated

    @property
    def level(self) -> int:
        """``logging.DEBUG``."""
        return logging.DEBUG

    @property
    def message(self) -> str:
        """A sentence."""
        return f"Flow run {self.run.name!r} changed"


class _OfAState(_Event, frozen=True, kw_only=True):
    id: str
    state: State

    @property
    def timestamp(self) -> Instant:
        """When the state was set."""
        return self.state.timestamp

    @property
    def level(self) -> int:
        """ERROR for Failed and Crashed, WARNING for Cancelled, else INFO."""
        return _STATE_LEVELS.get(self.state.type, logging.INFO)


class StateChange(_OfAState, frozen=True, kw_only=True, tag="state"):
    """The run entered a state.

    Attributes:
        id: The state's id, which identifies the event.
        state: The state.
        late: Whether an event with a later time was told before this one.
    """

    @property
    def message(self) -> str:
        """``Entered state <Name>: what was said``."""
        return f"Entered {_called(self.state)}"


class FlowRunLog(_Event, frozen=True, kw_only=True, tag="log"):
    """One log line of the run.

    Attributes:
        id: The row's id on the server, which identifies the event.
        task_run_id: The task run that wrote it; None for the flow itself.
        name: The logger's name.
        level: As in `logging`: 20 is INFO.
        message: The text, as it was written.
        timestamp: When it was written, by the writer's clock.
        created: When the server stored it, by the server's clock.
        late: Whether an event with a later time was told before this one.
        replayed: Whether it may have been told before: rows vanished from the server, and what is
            left of them cannot be told apart.
    """

    id: str
    timestamp: Instant
    created: Instant
    level: int
    name: str
    message: str
    task_run_id: str | None = None
    replayed: bool = False


class TaskRunStateChange(_OfAState, frozen=True, kw_only=True, tag="task-state"):
    """A task run of the run was found in a new state; states in between may have been missed.

    Attributes:
        id: The state's id, which identifies the event.
        task_run: The task run's row.
        state: The state.
        late: Whether an event with a later time was told before this one.
    """

    task_run: TaskRun

    @property
    def message(self) -> str:
        """``Task run '<name>' entered state <Name>: what was said``."""
        return f"Task run {self.task_run.name!r} entered {_called(self.state)}"


class Notice(_Event, frozen=True, kw_only=True, tag="notice"):
    """Something about the watch itself that a person should know.

    Attributes:
        code: What it is about.
        message: What happened and what to do, in a sentence.
        level: As in `logging`.
        timestamp: When it was noticed, by the watcher's clock.
        row_id: The id of the row it is about, where it is about one.
        late: Always False.
    """

    code: NoticeCode
    message: str
    timestamp: Instant
    level: int = logging.WARNING
    row_id: str | None = None


class Closed(_Event, frozen=True, kw_only=True, tag="closed"):
    """The last event of a watch: the run is over and everything was told.

    Attributes:
        state: The run's state at the end.
        verified: Whether the number of log rows on the server was seen to equal the number told,
            and the state to be unchanged after that.
        log_count: How many log lines were told.
        unsettled: Ids of streamed task runs that were not terminal when the watch ended.
        view: What `rxflow.fold` makes of the events before this one.
        timestamp: When the watch ended, by the server's clock where it tells its time.
        late: Always False.
    """

    timestamp: Instant
    state: State | None = None
    verified: bool = False
    log_count: int = 0
    unsettled: tuple[str, ...] = ()
    view: Snapshot | None = None

    @property
    def level(self) -> int:
        """``logging.DEBUG``."""
        return logging.DEBUG

    @property
    def message(self) -> str:
        """A sentence."""
        name = self.state.name if self.state else "unknown"
        proof = "verified" if self.verified else "not verified"
        lines = "1 log line" if self.log_count == 1 else f"{self.log_count} log lines"
        return f"Flow run ended in state {name}; {lines}, {proof}"

    def raise_for_state(self) -> None:
        """Raise unless the run completed.

        Raises:
            FlowRunFailed: The run ended in another state; the message names it.
        """
        if self.state is None or not self.state.is_completed:
            ended = _called(self.state) if self.state else "no state"
            raise FlowRunFailed(f"Flow run {self.flow_run_id} ended in {ended}")


FlowRunEvent = (
    RunSeen | RunChanged | StateChange | FlowRunLog | TaskRunStateChange | Notice | Closed
)
"""Any event of a watch. Tell them apart with ``match`` or by ``isinstance``."""


_ENCODER = msgspec.json.Encoder()
_DECODER: msgspec.json.Decoder[FlowRunEvent] = msgspec.json.Decoder(FlowRunEvent)

# What every event has and some kinds work out instead of keeping it in a field.
_DERIVED: dict[type, tuple[str, ...]] = {
    kind: tuple(
        name for name in ("timestamp", "level", "message") if name not in kind.__struct_fields__
    )
    for kind in get_args(FlowRunEvent)
}


def encode_event(event: FlowRunEvent) -> bytes:
    """Write an event as JSON, in one line.

    The JSON has ``kind``, each field of the event, and ``timestamp``, ``level`` and ``message``
    whatever the kind. ``docs/events.schema.json`` describes it.

    Args:
        event: Any event.

    Returns:
        The JSON in UTF-8, without a newline. Times are in RFC 3339, with microseconds if they
        have any.

    Raises:
        TypeError: This is no event, or it holds something in its parameters that JSON lacks.
        UnicodeEncodeError: A text holds half a surrogate pair; none that a server sent does.

    Example:
        >>> from datetime import UTC, datetime
        >>> notice = Notice(
        ...     flow_run_id="9e6caafc-4ea1-4493-b0a9-122efba9eaaa",
        ...     code=NoticeCode.RECOVERED,
        ...     message="The server answers again",
        ...     timestamp=datetime(2026, 11, 22, tzinfo=UTC),
        ... )
        >>> decode_event(encode_event(notice)) == notice
        True
    """
    derived = _DERIVED.get(type(event))
    if derived is None:
        raise TypeError(f"{type(event).__name__} is not an event; only events have a JSON here")
    written = _ENCODER.encode(event)
    if not derived:
        return written
    more = _ENCODER.encode({name: getattr(event, name) for name in derived})
    return written[:-1] + b"," + more[1:]


def decode_event(data: bytes | str) -> FlowRunEvent:
    """Read an event that `encode_event` wrote, in this version or another.

    Fields that are not known here are passed over, and those that are missing have their defaults.
    What an event works out from its fields is not read but worked out again.

    Args:
        data: The JSON of one event; white space around it does not matter.

    Returns:
        The event; it equals the one that was written.

    Raises:
        InvalidEvent: This is not the JSON of an event, or of one that is not known here.
    """
    try:
        return _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidEvent(
            f"This cannot be read as an event: {error}. Leave out a line that was cut off; for a "
            "kind or a code that is not known here, use the version of rxflow that wrote it"
        ) from error


def _called(state: State) -> str:
    said = f": {state.message}" if state.message else ""
    return f"state {state.name}{said}"
