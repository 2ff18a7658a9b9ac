"""What a watch tells: frozen structs, a union tagged by ``kind``.

Each event has ``flow_run_id``, ``timestamp``, ``level``, ``message`` and ``late``, whatever its
kind. Structs only grow, and by fields with defaults. No event is made here; the session makes them.
"""

import logging
from enum import StrEnum

import msgspec

from rxflow._model import FlowRun, Instant, Snapshot, State, StateType, TaskRun
from rxflow.errors import FlowRunFailed

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


class _Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    flow_run_id: str
    late: bool = False


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


def _called(state: State) -> str:
    said = f": {state.message}" if state.message else ""
    return f"state {state.name}{said}"
