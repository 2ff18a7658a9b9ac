"""The events that a watch emits, and their JSON: frozen structs, a union tagged by ``kind``.

Every event has ``kind``, ``flow_run_id``, ``timestamp``, ``level``, ``message``, ``late`` and
``root_flow_run_id``. As Prefect 1's log lines did, it unpacks into its timestamp, level and
message, and sorts by time, with `RunSeen` first. Later versions add fields with defaults only.
Which events there are is decided in `rxflow._watching`; here they are defined, encoded and decoded.
"""

import logging
from collections import Counter
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Literal, get_args

import msgspec
from msgspec.structs import replace

from rxflow._escapes import one_line
from rxflow._models.entities import FlowRun, Snapshot, TaskRun
from rxflow._models.event import Event
from rxflow._models.states import State, StateType
from rxflow._models.times import Instant, encode_time
from rxflow.errors import FlowRunFailed, InvalidEvent

__all__ = [
    "AllClosed",
    "Closed",
    "FlowRunEvent",
    "FlowRunLog",
    "Notice",
    "NoticeCode",
    "RunChanged",
    "RunOutcome",
    "RunSeen",
    "StateChange",
    "TaskRunStateChange",
    "decode_event",
    "encode_event",
    "to_dict",
]

_STATE_LEVELS: dict[str, int] = {
    StateType.FAILED: logging.ERROR,
    StateType.CRASHED: logging.ERROR,
    StateType.CANCELLED: logging.WARNING,
}


_BADNESS: dict[str, int] = {
    StateType.CRASHED: 5,
    StateType.FAILED: 4,
    StateType.CANCELLED: 3,
}
_MOST_NAMED = 5  # runs in one text


class NoticeCode(StrEnum):
    """The subject of a `Notice`."""

    DEGRADED = "degraded"
    """Polls have failed for some time; the watch keeps retrying."""
    RECOVERED = "recovered"
    """Polls succeed again; nothing was lost."""
    RATE_LIMITED = "rate-limited"
    """The server refused several requests for their rate; they are sent further apart."""
    LATE_START = "late-start"
    """The run should have started by now; the message says what it waits for."""
    REOPENED = "reopened"
    """A run that was over entered another state; the watch continues."""
    RUN_DELETED = "run-deleted"
    """The run was deleted from the server; the stream ends."""
    RUN_NOT_FOUND = "run-not-found"
    """The server has no such run, which was to be watched with others."""
    SOURCE_REWOUND = "source-rewound"
    """Log rows that were delivered are gone from the server; rows that may be new are emitted with
    ``replayed`` set."""
    UNSUPPORTED = "unsupported"
    """The server does not support a part of the watch, which goes on without it."""
    MALFORMED = "malformed"
    """A row cannot be read; the notice has its id."""
    PUSH_UNAVAILABLE = "push-unavailable"
    """The server does not announce changes over a websocket; they are polled for, and found later.
    """
    JOURNAL_FULL = "journal-full"
    """The disk is full, so that the watch goes on without its journal."""
    NOT_RELAYED = "not-relayed"
    """No relay is at work that would append the run's events to the log that is read; the stream
    waits for one."""
    LOG_LOST = "log-lost"
    """The broker lost a part of a run's log, of which all logs are read; events of the run are
    missing, or come again."""
    CHECKPOINT_STALE = "checkpoint-stale"
    """The checkpoint cannot be written, or is damaged and the one before it is used. Events that
    were acknowledged come again, after a kill or now."""
    UNACKNOWLEDGED = "unacknowledged"
    """The watch waits, since 10,000 events were handed on that are not acknowledged by ``ack``."""


class RunSeen(Event, frozen=True, kw_only=True, tag="run-seen"):
    """The run's row as it was first read: the first event of each run.

    If state changes are streamed, the row has no state: every state of the run follows as a
    `StateChange` of its own.

    Attributes:
        run: The row.
        late: Always False.
    """

    kind: ClassVar[Literal["run-seen"]] = "run-seen"
    _rank: ClassVar[int] = -1

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
        """``Watching flow run '<name>'``."""
        return f"Watching flow run {self.run.name!r}"


class RunChanged(Event, frozen=True, kw_only=True, tag="run-changed"):
    """The run's row after any of its fields changed: its times, name, tags, parameters and so on.

    If the state changed as well, the `StateChange` is emitted before it. `rxflow.fold` replaces
    the row of the snapshot by this one.

    Attributes:
        run: The whole row, with its state.
        late: Always False.
    """

    kind: ClassVar[Literal["run-changed"]] = "run-changed"

    run: FlowRun

    @property
    def timestamp(self) -> Instant:
        """When the row was last updated; never earlier than its state."""
        state = self.run.state
        return max(self.run.updated, state.timestamp) if state else self.run.updated

    @property
    def level(self) -> int:
        """``logging.DEBUG``."""
        return logging.DEBUG

    @property
    def message(self) -> str:
        """``Flow run '<name>' changed``."""
        return f"Flow run {self.run.name!r} changed"


class _StateEvent(Event, frozen=True, kw_only=True):
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


class StateChange(_StateEvent, frozen=True, kw_only=True, tag="state"):
    """The run entered a state.

    Attributes:
        id: The state's id, which identifies the event.
        state: The state.
        late: Whether an event with a later timestamp was emitted before this one.
    """

    kind: ClassVar[Literal["state"]] = "state"

    @property
    def message(self) -> str:
        """``Entered state <Name>: <the state's message>``."""
        return f"Entered {_described(self.state)}"


class FlowRunLog(Event, frozen=True, kw_only=True, tag="log"):
    """One log line of the run.

    Attributes:
        id: The row's id on the server, which identifies the event.
        task_run_id: The task run that logged it; None for the flow itself.
        name: The logger's name.
        level: The level, as in `logging`: 20 is INFO.
        message: The text, unchanged.
        timestamp: When it was logged, by the writer's clock.
        created: When the server stored it, by the server's clock.
        late: Whether an event with a later timestamp was emitted before this one.
        replayed: Whether it may have been emitted before: rows vanished from the server, and the
            remaining ones cannot be distinguished from new ones.
    """

    kind: ClassVar[Literal["log"]] = "log"

    id: str
    timestamp: Instant
    created: Instant
    level: int
    name: str
    message: str
    task_run_id: str | None = None
    replayed: bool = False


class TaskRunStateChange(_StateEvent, frozen=True, kw_only=True, tag="task-state"):
    """A task run of the run entered a state.

    States between two polls are skipped, unless all states are watched.

    Attributes:
        id: The state's id, which identifies the event.
        task_run: The task run's row, with the state that it had when it was read.
        state: The state that it entered.
        late: Whether an event with a later timestamp was emitted before this one.
    """

    kind: ClassVar[Literal["task-state"]] = "task-state"

    task_run: TaskRun

    @property
    def message(self) -> str:
        """``Task run '<name>' entered state <Name>: <the state's message>``."""
        return f"Task run {self.task_run.name!r} entered {_described(self.state)}"


class Notice(Event, frozen=True, kw_only=True, tag="notice"):
    """A message about the watch itself, for people.

    Attributes:
        code: The subject.
        message: What happened and what to do.
        level: The level, as in `logging`.
        timestamp: When it was emitted, by the watcher's clock.
        row_id: The id of the row that it is about, if it is about one.
        late: Always False.
    """

    kind: ClassVar[Literal["notice"]] = "notice"

    code: NoticeCode
    message: str
    timestamp: Instant
    level: int = logging.WARNING
    row_id: str | None = None


class Closed(Event, frozen=True, kw_only=True, tag="closed"):
    """The last event of a watch: the run is over and all its events were emitted.

    Attributes:
        state: The run's last state.
        verified: Whether the server's count of log rows equals the number delivered, all rows could
            be read, and the state was unchanged after that.
        log_count: How many log lines were delivered.
        unsettled: Ids of streamed task runs that were not terminal when the watch ended.
        view: The snapshot that `rxflow.fold` builds from the events before this one.
        malformed: How many rows could not be read, of the streamed states, log lines and task runs;
            each had a `Notice`.
        timestamp: When the watch ended, by the server's clock if its responses have a date; never
            earlier than an event before it.
        late: Always False.
    """

    kind: ClassVar[Literal["closed"]] = "closed"
    _rank: ClassVar[int] = 1

    timestamp: Instant
    state: State | None = None
    verified: bool = False
    log_count: int = 0
    unsettled: tuple[str, ...] = ()
    view: Snapshot | None = None
    malformed: int = 0

    @property
    def level(self) -> int:
        """``logging.DEBUG``."""
        return logging.DEBUG

    @property
    def message(self) -> str:
        """The state in which the run ended, the number of log lines, and whether it is verified."""
        name = self.state.name if self.state else "unknown"
        proof = "verified" if self.verified else "not verified"
        lines = "1 log line" if self.log_count == 1 else f"{self.log_count} log lines"
        rows = "1 row" if self.malformed == 1 else f"{self.malformed} rows"
        unread = f"; {rows} could not be read" if self.malformed else ""
        return f"Flow run ended in state {name}; {lines}, {proof}{unread}"

    def raise_for_state(self) -> None:
        """Raise unless the run completed.

        Raises:
            FlowRunFailed: The run ended in any other state, which the message names; the error has
                the run's id and the state as ``flow_run_id`` and ``state``.
        """
        if self.state is None or not self.state.is_completed:
            last = _described(self.state) if self.state else "no state"
            raise FlowRunFailed(
                f"Flow run {self.flow_run_id} ended in {one_line(last)}",
                flow_run_id=self.flow_run_id,
                state=self.state,
                flow_run_ids=(self.flow_run_id,),
            )


class RunOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """How the watch of one run of many ended; the fields are those of its `Closed`.

    Attributes:
        root_flow_run_id: The run whose subflow the run is, at any depth, as far as that is known;
            else the run's own id. None in the JSON of earlier versions.
        parent_flow_run_id: The run that started it, if both were watched because of
            ``subflows=True``.
        name: The run's name; None if the run was never found.
        state: The run's last state; None if it had none, or was never found.
        ended_by: `NoticeCode.RUN_DELETED` or `NoticeCode.RUN_NOT_FOUND` if that closed the run;
            None if it ended.
    """

    flow_run_id: str
    root_flow_run_id: str | None = None
    parent_flow_run_id: str | None = None
    name: str | None = None
    state: State | None = None
    verified: bool = False
    log_count: int = 0
    unsettled: tuple[str, ...] = ()
    malformed: int = 0
    ended_by: NoticeCode | None = None


class AllClosed(Event, frozen=True, kw_only=True, tag="all-closed"):
    """The last event of a watch over many runs: all of them are closed.

    Attributes:
        flow_run_id: Empty: the event is about all runs.
        timestamp: That of the last `Closed`; without runs, when the watch ended.
        runs: The outcome of each run, in the order in which they were closed.
        late: Always False.
    """

    kind: ClassVar[Literal["all-closed"]] = "all-closed"
    _rank: ClassVar[int] = 2

    timestamp: Instant
    runs: tuple[RunOutcome, ...] = ()

    @property
    def level(self) -> int:
        """``logging.DEBUG``."""
        return logging.DEBUG

    @property
    def message(self) -> str:
        """How many runs ended in which states, were deleted or never found; and the proof."""
        if not self.runs:
            return "No flow runs were watched"
        names = Counter(map(_end_of, self.runs))
        states = ", ".join(f"{number} {name}" for name, number in names.most_common())
        proof = "all verified" if self.verified else "not all verified"
        total = "1 flow run" if len(self.runs) == 1 else f"{len(self.runs)} flow runs"
        return f"{total} closed: {states}; {proof}"

    @property
    def verified(self) -> bool:
        """Whether every run is verified."""
        return all(run.verified for run in self.runs)

    @property
    def worst(self) -> RunOutcome | None:
        """The first of the runs with the worst outcome; None without runs.

        From the worst on: Crashed, Failed, Cancelled; any other state, or deleted; no state, or
        never found; Completed.
        """
        return max(self.runs, key=_badness, default=None)

    def raise_for_state(self) -> None:
        """Raise unless every run completed.

        Raises:
            FlowRunFailed: Some runs ended in another state, were deleted or never found; the
                message names up to five of them, and the error has all as ``flow_run_ids``.
        """
        failed = [run for run in self.runs if _badness(run) > 0]
        if failed:
            named = "; ".join(
                f"{run.flow_run_id} {_described_end(run)}" for run in failed[:_MOST_NAMED]
            )
            more = f"; and {len(failed) - _MOST_NAMED} more" if len(failed) > _MOST_NAMED else ""
            text = f"{len(failed)} of {len(self.runs)} flow runs did not complete: {named}{more}"
            raise FlowRunFailed(
                one_line(text), flow_run_ids=tuple(run.flow_run_id for run in failed)
            )


FlowRunEvent = (
    RunSeen
    | RunChanged
    | StateChange
    | FlowRunLog
    | TaskRunStateChange
    | Notice
    | Closed
    | AllClosed
)
"""Any event of a watch. Distinguish the kinds with ``match`` or ``isinstance``."""


_ENCODER = msgspec.json.Encoder(enc_hook=encode_time)
_DECODER: msgspec.json.Decoder[FlowRunEvent] = msgspec.json.Decoder(FlowRunEvent)

_COMMON = ("kind", "flow_run_id", "timestamp", "level", "message", "late", "root_flow_run_id")

# What every event has, and some kinds derive instead of storing it in a field.
_DERIVED: dict[type, tuple[str, ...]] = {
    kind: tuple(
        name for name in ("timestamp", "level", "message") if name not in kind.__struct_fields__
    )
    for kind in get_args(FlowRunEvent)
}


def encode_event(event: FlowRunEvent) -> bytes:
    """Encode an event as one line of JSON.

    The JSON has ``kind``, every field of the event, and ``timestamp``, ``level``, ``message`` and
    ``root_flow_run_id`` for every kind. Its schema is ``docs/events.schema.json``.

    Args:
        event: The event, of any kind.

    Returns:
        The JSON in UTF-8, without a newline. Times are in RFC 3339, with microseconds unless they
        are 0.

    Raises:
        TypeError: The argument is not an event, or its parameters have a value that JSON does not
            support.
        UnicodeEncodeError: A text has half a surrogate pair; texts that a server sent do not.

    Example:
        >>> from datetime import UTC, datetime
        >>> notice = Notice(
        ...     flow_run_id="9e6caafc-4ea1-4493-b0a9-122efba9eaaa",
        ...     code=NoticeCode.RECOVERED,
        ...     message="The server replies again",
        ...     timestamp=datetime(2026, 11, 22, tzinfo=UTC),
        ... )
        >>> decode_event(encode_event(notice)) == notice
        True
    """
    derived = _derived_of(event)
    if event.root is msgspec.UNSET:
        derived = (*derived, "root_flow_run_id")
    fields = _ENCODER.encode(event)
    if not derived:
        return fields
    properties = _ENCODER.encode({name: getattr(event, name) for name in derived})
    return fields[:-1] + b"," + properties[1:]


def to_dict(event: FlowRunEvent) -> dict[str, Any]:
    """Return an event as a dictionary, such as a row of a data frame.

    The dictionary has the keys of the event's JSON: ``kind``, ``flow_run_id``, ``timestamp``,
    ``level``, ``message``, ``late`` and ``root_flow_run_id``, in this order for every kind, and
    then the other fields of the kind. For values as they are in the JSON, with times as text,
    decode the JSON of `encode_event` instead.

    Args:
        event: The event, of any kind.

    Returns:
        A new dictionary of builtin values. Times are aware `datetime.datetime`, codes and types
        are text, and a run, a state or a snapshot is a dictionary of its fields.

    Raises:
        TypeError: The argument is not an event, or its parameters have a value that JSON does not
            support.

    Example:
        >>> line = '{"kind":"closed","flow_run_id":"r","timestamp":"2026-11-22T00:00:00Z"}'
        >>> row = to_dict(decode_event(line))
        >>> row["kind"], row["timestamp"].year, row["level"], row["log_count"]
        ('closed', 2026, 10, 0)
    """
    _derived_of(event)
    fields: dict[str, Any] = msgspec.to_builtins(
        event, builtin_types=(datetime,), enc_hook=encode_time
    )
    return {name: getattr(event, name) for name in _COMMON} | fields


def decode_event(data: bytes | str) -> FlowRunEvent:
    """Decode an event that `encode_event` encoded, in this version or another.

    Unknown fields are ignored, and missing fields have their defaults. What an event derives from
    its fields is derived again and not decoded.

    Args:
        data: The JSON of one event, with or without white space around it.

    Returns:
        The event; it equals the one that was encoded.

    Raises:
        InvalidEvent: The text is not the JSON of an event, or of a kind or code that is not known
            here.

    Example:
        >>> line = '{"kind":"closed","flow_run_id":"r","timestamp":"2026-11-22T00:00:00Z"}'
        >>> decode_event(line).message
        'Flow run ended in state unknown; 0 log lines, not verified'
    """
    try:
        event = _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidEvent(
            f"Cannot decode an event: {error}. Leave out a line that was cut off; for a kind or a "
            "code that is not known here, use the version of rxflow that wrote it"
        ) from error
    is_root = event.root == event.flow_run_id
    return replace(event, root=msgspec.UNSET) if is_root else event


def _derived_of(event: FlowRunEvent) -> tuple[str, ...]:
    derived = _DERIVED.get(type(event))
    if derived is None:
        raise TypeError(
            f"{type(event).__name__} is not an event; pass one of the kinds of FlowRunEvent"
        )
    return derived


_ENDS: dict[NoticeCode | None, str] = {
    NoticeCode.RUN_DELETED: "deleted",
    NoticeCode.RUN_NOT_FOUND: "not found",
}


def _end_of(run: RunOutcome) -> str:
    return _ENDS.get(run.ended_by) or (run.state.name if run.state else "no state")


def _described_end(run: RunOutcome) -> str:
    if run.ended_by is None:
        return f"in {_described(run.state) if run.state else 'no state'}"
    last = f", last in {_described(run.state)}" if run.state else ""
    return f"was {_ENDS[run.ended_by]}{last}"


def _badness(run: RunOutcome) -> int:
    if run.state is None:
        return 1
    is_well = run.state.is_completed and run.ended_by is None
    return 0 if is_well else _BADNESS.get(run.state.type, 2)


def _described(state: State) -> str:
    message = f": {state.message}" if state.message else ""
    return f"state {state.name}{message}"
