"""Rows of Prefect 1's tables, and their conversion to the entities that all backends share.

A state of Prefect 1 has a class and no type. Its class becomes the state's name here, and each
class has one of the types that Prefect 3 has, so that a script treats both servers alike.
"""

import logging
from collections.abc import Mapping
from pathlib import PureWindowsPath
from typing import Any, cast

import msgspec
from msgspec.structs import replace

from rxflow._backends.row_decoder import RowDecoder
from rxflow._models.entities import (
    Agent,
    Flow,
    FlowRegistration,
    FlowRun,
    StoredResult,
    TaskRun,
    TaskRunState,
)
from rxflow._models.states import TERMINAL_TYPES, State, StateType
from rxflow._models.times import Instant
from rxflow.events import FlowRunLog

_TYPES: Mapping[str, StateType] = {
    **dict.fromkeys(("Scheduled", "Resume", "Retrying", "Queued"), StateType.SCHEDULED),
    **dict.fromkeys(("Pending", "Submitted", "ClientFailed"), StateType.PENDING),
    "Paused": StateType.PAUSED,
    "Running": StateType.RUNNING,
    "Cancelling": StateType.CANCELLING,
    "Cancelled": StateType.CANCELLED,
    **dict.fromkeys(("Success", "Cached", "Mapped", "Skipped"), StateType.COMPLETED),
    **dict.fromkeys(("Finished", "Looped"), StateType.COMPLETED),
    **dict.fromkeys(("Failed", "TimedOut", "TriggerFailed"), StateType.FAILED),
    "ValidationFailed": StateType.FAILED,
}

TERMINAL_STATES = sorted(name for name, kind in _TYPES.items() if kind in TERMINAL_TYPES)
"""The names of the states that are terminal."""

LEVELS: Mapping[str, int] = {
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARNING": logging.WARNING,
    "ERROR": logging.ERROR,
    "CRITICAL": logging.CRITICAL,
}
"""The levels by the names under which Prefect Server stores them."""


class _Row(msgspec.Struct, frozen=True, kw_only=True):
    id: str


class _Result(msgspec.Struct, frozen=True, kw_only=True):
    """Where a result is stored; Prefect 1 does not record which serializer wrote it."""

    type: str | None = None
    location: str | None = None
    dir: str | None = None
    bucket: str | None = None
    container: str | None = None

    def stored_at(self, location: str) -> StoredResult:
        match self.type:
            case "PrefectResult":  # its location is the result itself
                return StoredResult(location=location, form="value")
            case "LocalResult":
                return StoredResult(location=_below(self.dir, location))
            case kind:
                container = self.bucket or self.container
                storage = f"Prefect 1's {kind}" + (f" {container!r}" if container else "")
                return StoredResult(location=location, storage=storage)


class _SerializedState(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a state as the client serialized it."""

    type: str | None = None
    message: str | None = None
    start_time: Instant | None = None


def _read_serialized_state(raw: Any) -> _SerializedState:
    """Read the fields that can be read: the server accepts any JSON as a serialized state."""
    if not isinstance(raw, dict):
        return _SerializedState()
    fields = cast("dict[str, Any]", raw)
    return _SerializedState(
        type=_convert_or_none(fields.get("type"), str),
        message=_convert_or_none(fields.get("message"), str),
        start_time=_convert_or_none(fields.get("start_time"), Instant),
    )


def _convert_or_none(value: Any, kind: Any) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return None


class _StateRow(_Row, frozen=True, kw_only=True):
    """A row of ``flow_run_state``."""

    version: int | None = None
    timestamp: Instant
    state: str | None = None
    message: str | None = None
    serialized_state: Any = None

    def to_state(self) -> State:
        serialized = _read_serialized_state(self.serialized_state)
        return _state(
            serialized.type or self.state or "",
            id=self.id,
            timestamp=self.timestamp,
            message=serialized.message or self.message,
            version=self.version or 0,
        )


class _TaskRunStateRow(_StateRow, frozen=True, kw_only=True):
    """A row of ``task_run_state``; its version identifies it in the row of its task run, too."""

    task_run_id: str

    def to_task_run_state(self) -> TaskRunState:
        state_id = _task_run_state_id(self.task_run_id, self.version)
        return TaskRunState(self.task_run_id, replace(self.to_state(), id=state_id))


class _FlowRunRow(_Row, frozen=True, kw_only=True):
    """A row of ``flow_run``, with its newest states, one of which is the current one."""

    name: str | None = None
    flow_id: str | None = None
    created: Instant
    updated: Instant
    labels: tuple[str, ...] | None = None
    parameters: dict[str, Any] | None = None
    context: dict[str, Any] | None = None
    run_config: dict[str, Any] | None = None
    scheduled_start_time: Instant | None = None
    start_time: Instant | None = None
    end_time: Instant | None = None
    version: int | None = None
    state: str | None = None
    state_timestamp: Instant | None = None
    states: tuple[_StateRow, ...] = ()

    def to_flow_run(self) -> FlowRun:
        current = self._current_state()
        serialized = _read_serialized_state(current.serialized_state if current else None)
        return FlowRun(
            id=self.id,
            name=self.name or "",
            flow_id=self.flow_id,
            created=self.created,
            updated=self.updated,
            state_id=current.id if current else None,
            state=current.to_state() if current else None,
            parameters=self.parameters or {},
            context=self.context or {},
            run_config=self.run_config,
            tags=self.labels or (),
            expected_start_time=self.scheduled_start_time,
            next_scheduled_start_time=serialized.start_time,
            start_time=self.start_time,
            end_time=self.end_time,
        )

    def _current_state(self) -> _StateRow | None:
        """Find the state that the run's own columns show; of several, the one stored last."""
        own = (self.version, self.state, self.state_timestamp)
        for row in self.states:
            if (row.version, row.state, row.timestamp) == own:
                return row
        return self.states[0] if self.states else None


class _LogRow(_Row, frozen=True, kw_only=True):
    """A row of ``log``."""

    flow_run_id: str
    timestamp: Instant
    created: Instant
    level: str | None = None
    name: str | None = None
    message: str | None = None
    task_run_id: str | None = None

    def to_event(self) -> FlowRunLog:
        return FlowRunLog(
            id=self.id,
            flow_run_id=self.flow_run_id,
            task_run_id=self.task_run_id,
            timestamp=self.timestamp,
            created=self.created,
            level=level_of(self.level),
            name=self.name or "",
            message=self.message or "",
        )


class _TaskRow(_Row, frozen=True, kw_only=True):
    slug: str | None = None
    name: str | None = None


class _TaskRunRow(_Row, frozen=True, kw_only=True):
    """A row of ``task_run``, with its current state, which has a version and no id of its own."""

    name: str | None = None
    flow_run_id: str | None = None
    task: _TaskRow | None = None
    map_index: int | None = None
    version: int | None = None
    state: str | None = None
    state_timestamp: Instant | None = None
    serialized_state: Any = None
    created: Instant
    updated: Instant
    start_time: Instant | None = None
    end_time: Instant | None = None

    def to_task_run(self) -> TaskRun:
        state = self.to_state()
        index = -1 if self.map_index is None else self.map_index
        slug = (self.task and (self.task.slug or self.task.name)) or ""
        return TaskRun(
            id=self.id,
            name=self.name or (slug if index < 0 else f"{slug}[{index}]"),
            flow_run_id=self.flow_run_id,
            task_key=slug,
            task_id=self.task.id if self.task else None,
            dynamic_key=str(index),
            map_index=index,
            created=self.created,
            updated=self.updated,
            state_id=state.id if state else None,
            state=state,
            start_time=self.start_time,
            end_time=self.end_time,
        )

    def to_state(self) -> State | None:
        serialized = _read_serialized_state(self.serialized_state)
        name = serialized.type or self.state
        if name is None:
            return None
        return _state(
            name,
            id=_task_run_state_id(self.id, self.version),
            timestamp=self.state_timestamp or self.updated,
            message=serialized.message,
            version=self.version or 0,
        )


class _ResultState(msgspec.Struct, frozen=True, kw_only=True):
    type: str | None = None
    result: _Result | None = msgspec.field(name="_result", default=None)
    n_map_states: int | None = None


class _ResultRow(_Row, frozen=True, kw_only=True):
    """A row of ``task_run``, read for its result."""

    serialized_state: _ResultState | None = None

    def to_stored_result(self) -> StoredResult:
        state = self.serialized_state or _ResultState()
        result = state.result
        if state.type == "Mapped":
            return StoredResult(task_run_id=self.id, children=state.n_map_states or 0)
        if result is None or result.location is None:
            return StoredResult(task_run_id=self.id)
        return replace(result.stored_at(result.location), task_run_id=self.id)


class _ProjectRow(msgspec.Struct, frozen=True, kw_only=True):
    name: str | None = None


class _FlowGroupRow(msgspec.Struct, frozen=True, kw_only=True):
    labels: tuple[str, ...] | None = None


class _FlowRow(_Row, frozen=True, kw_only=True):
    """A row of ``flow``."""

    name: str | None = None
    created: Instant
    updated: Instant
    version: int | None = None
    archived: bool | None = None
    core_version: str | None = None
    settings: dict[str, Any] | None = None
    run_config: Any = None
    storage: Any = None
    serialized_flow: Any = None
    project: _ProjectRow | None = None
    flow_group: _FlowGroupRow | None = None

    def to_flow(self) -> Flow:
        labels = self.flow_group.labels if self.flow_group else None
        return Flow(
            id=self.id,
            name=self.name or "",
            created=self.created,
            updated=self.updated,
            tags=labels or (),
            registered=FlowRegistration(
                version=self.version,
                project_name=self.project.name if self.project else None,
                core_version=self.core_version,
                settings=self.settings or {},
                serialized_flow=self.serialized_flow,
                storage=self.storage,
                run_config=self.run_config,
                archived=bool(self.archived),
            ),
        )


class _AgentRow(_Row, frozen=True, kw_only=True):
    """A row of ``agent``."""

    name: str | None = None
    labels: tuple[str, ...] | None = None
    last_queried: Instant | None = None

    def to_agent(self) -> Agent:
        return Agent(
            id=self.id,
            name=self.name or "",
            labels=self.labels or (),
            last_queried=self.last_queried,
        )


def state_names_of(state_type: str) -> list[str]:
    """List the names of the states that have a type here; none if Prefect 1 has no such state."""
    return [name for name, known in _TYPES.items() if known == state_type]


def level_of(name: str | None) -> int:
    """Return the number of a level; an unknown level is INFO, so that its rows are not hidden."""
    return LEVELS.get(name or "", logging.INFO)


def _task_run_state_id(task_run_id: str, version: int | None) -> str:
    return f"{task_run_id}:{version or 0}"


def _state(name: str, **fields: Any) -> State:
    return State(type=_TYPES.get(name, name), name=name, **fields)


def _below(folder: str | None, location: str) -> str:
    """Join the location of a local result to its folder, unless it is absolute."""
    if folder is None or location.startswith("/") or PureWindowsPath(location).is_absolute():
        return location
    return f"{folder.rstrip('/')}/{location}"


FLOW_RUN = RowDecoder(_FlowRunRow, _FlowRunRow.to_flow_run)
STATE = RowDecoder(_StateRow, _StateRow.to_state)
LOG = RowDecoder(_LogRow, _LogRow.to_event)
TASK_RUN = RowDecoder(_TaskRunRow, _TaskRunRow.to_task_run)
TASK_RUN_STATE = RowDecoder(_TaskRunStateRow, _TaskRunStateRow.to_task_run_state)
RESULT = RowDecoder(_ResultRow, _ResultRow.to_stored_result)
FLOW = RowDecoder(_FlowRow, _FlowRow.to_flow)
AGENT = RowDecoder(_AgentRow, _AgentRow.to_agent)
