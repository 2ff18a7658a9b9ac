"""The questions that are asked with a body: what may stand in it, and which rows it wants.

Filters, sorts, offsets and limits are those of 3.8.8, with its refusals: a body that it does not
take raises `msgspec.ValidationError`, a limit that it does not take raises `LimitRefused`.
"""

import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from rxflow._models.states import StateType
from rxflow.testing._prefect3.rows import Row


class LimitRefused(Exception):
    """More rows were asked for than the server gives at once, or fewer than none."""


class _Strict(msgspec.Struct, forbid_unknown_fields=True):
    """A part of a filter; the server refuses keys that it does not know."""


class _Ids(_Strict):
    any_: list[uuid.UUID] | None = None


class _Names(_Strict):
    any_: list[str] | None = None


class _Types(_Strict):
    any_: list[StateType] | None = None


class _Level(_Strict):
    ge_: int | None = None
    le_: int | None = None


class _Time(_Strict):
    after_: datetime | None = None
    before_: datetime | None = None


class _LogFilter(_Strict):
    flow_run_id: _Ids | None = None
    level: _Level | None = None
    timestamp: _Time | None = None


class _TaskRunFilter(_Strict):
    id: _Ids | None = None
    flow_run_id: _Ids | None = None


class _StateFilter(_Strict):
    type: _Types | None = None
    name: _Names | None = None


class _FlowRunFilter(_Strict):
    id: _Ids | None = None
    deployment_id: _Ids | None = None
    state: _StateFilter | None = None


class _FlowFilter(_Strict):
    id: _Ids | None = None
    name: _Names | None = None


class _Limited(msgspec.Struct):
    limit: int | None = None


class _LogsBody(msgspec.Struct):
    logs: _LogFilter | None = None
    sort: Literal["TIMESTAMP_ASC", "TIMESTAMP_DESC"] = "TIMESTAMP_ASC"
    offset: Annotated[int, msgspec.Meta(ge=0)] = 0


class _TaskRunsBody(msgspec.Struct):
    task_runs: _TaskRunFilter | None = None
    sort: Literal["ID_DESC"] = "ID_DESC"
    offset: Annotated[int, msgspec.Meta(ge=0)] = 0


class _FlowRunsBody(msgspec.Struct):
    flow_runs: _FlowRunFilter | None = None
    flows: _FlowFilter | None = None
    sort: Literal["ID_DESC", "START_TIME_ASC", "START_TIME_DESC", "END_TIME_DESC"] = "ID_DESC"
    offset: Annotated[int, msgspec.Meta(ge=0)] = 0


class _CreationBody(_Strict):
    name: str | None = None
    parameters: dict[str, Any] | None = None
    context: dict[str, Any] | None = None
    tags: list[str] | None = None
    labels: dict[str, Any] | None = None
    idempotency_key: str | None = None


class _FlowsBody(msgspec.Struct):
    flows: _FlowFilter | None = None
    sort: Literal["NAME_ASC"] = "NAME_ASC"
    offset: Annotated[int, msgspec.Meta(ge=0)] = 0


class _PoolsBody(msgspec.Struct):
    offset: Annotated[int, msgspec.Meta(ge=0)] = 0


_limited = msgspec.json.Decoder(_Limited).decode
_logs_body = msgspec.json.Decoder(_LogsBody).decode
_task_runs_body = msgspec.json.Decoder(_TaskRunsBody).decode
_flow_runs_body = msgspec.json.Decoder(_FlowRunsBody).decode
_creation_body = msgspec.json.Decoder(_CreationBody).decode
_flows_body = msgspec.json.Decoder(_FlowsBody).decode
_pools_body = msgspec.json.Decoder(_PoolsBody).decode


def limit_of(content: bytes, most: int) -> int:
    """How many rows a body asks for; it is looked at before all else in the body.

    Args:
        content: The body.
        most: The most rows that the server gives at once.

    Raises:
        LimitRefused: It cannot be had.
    """
    limit = _limited(content).limit
    limit = most if limit is None else limit
    if not 0 <= limit <= most:
        bound = f"less than or equal to {most}" if limit > 0 else "greater than or equal to 0"
        raise LimitRefused(f"Invalid limit: must be {bound}.")
    return limit


def log_rows(
    content: bytes, rows: Iterable[Row], shuffle: Callable[[list[Row]], object] | None
) -> list[Row]:
    """The log rows that a body wants, from its offset on.

    Args:
        content: The body.
        rows: The table.
        shuffle: How rows of one timestamp get another order; None: they stay as stored.
    """
    asked = _logs_body(content)
    where = asked.logs or _LogFilter()
    runs = _wanted(where.flow_run_id)
    level, time = where.level or _Level(), where.timestamp or _Time()
    found = [
        row
        for row in rows
        if (runs is None or row["flow_run_id"] in runs)
        and (level.ge_ is None or (row["level"] or 0) >= level.ge_)
        and (level.le_ is None or (row["level"] or 0) <= level.le_)
        and (time.after_ is None or row["timestamp"] >= time.after_)
        and (time.before_ is None or row["timestamp"] <= time.before_)
    ]
    if shuffle is not None:
        shuffle(found)
    found.sort(key=lambda row: row["timestamp"])
    if asked.sort == "TIMESTAMP_DESC":
        found.reverse()
    return found[asked.offset :]


def task_run_rows(content: bytes, rows: Iterable[Row]) -> list[Row]:
    """The task runs that a body wants, from its offset on."""
    asked = _task_runs_body(content)
    where = asked.task_runs or _TaskRunFilter()
    ids, runs = _wanted(where.id), _wanted(where.flow_run_id)
    found = [
        row
        for row in rows
        if (ids is None or row["id"] in ids) and (runs is None or row["flow_run_id"] in runs)
    ]
    found.sort(key=lambda row: row["id"], reverse=True)
    return found[asked.offset :]


def flow_run_rows(content: bytes, rows: Iterable[Row], flows: Mapping[str, Row]) -> list[Row]:
    """The flow runs that a body wants, from its offset on.

    Args:
        content: The body.
        rows: The table.
        flows: The table of flows, by their ids.
    """
    asked = _flow_runs_body(content)
    where, of = asked.flow_runs or _FlowRunFilter(), asked.flows or _FlowFilter()
    state = where.state or _StateFilter()
    wanted = {
        "id": _wanted(where.id),
        "deployment_id": _wanted(where.deployment_id),
        "state_type": _any(state.type),
        "state_name": _any(state.name),
        "flow_id": _wanted(of.id),
    }
    names = _any(of.name)
    found = [
        row
        for row in rows
        if all(values is None or row[column] in values for column, values in wanted.items())
        and (names is None or flows[row["flow_id"]]["name"] in names)
    ]
    found.sort(key=_RUN_SORTS[asked.sort], reverse=asked.sort.endswith("_DESC"))
    return found[asked.offset :]


_RUN_SORTS: dict[str, Callable[[Row], Any]] = {
    "ID_DESC": lambda row: row["id"],
    "START_TIME_ASC": lambda row: row["start_time"] or row["expected_start_time"],
    "START_TIME_DESC": lambda row: row["start_time"] or row["expected_start_time"],
    # As SQLite has it: no time is before any time.
    "END_TIME_DESC": lambda row: (row["end_time"] is not None, row["end_time"]),
}


def creation_of(content: bytes) -> Row:
    """What a body that creates a run of a deployment says of the run's row."""
    asked = msgspec.structs.asdict(_creation_body(content))
    return {column: value for column, value in asked.items() if value is not None}


def _any(filter: _Names | _Types | None) -> Collection[str] | None:  # noqa: A002 - it is one
    return None if filter is None else filter.any_


def flow_rows(content: bytes, rows: Iterable[Row]) -> list[Row]:
    """The flows that a body wants, from its offset on."""
    asked = _flows_body(content)
    where = asked.flows or _FlowFilter()
    ids, names = _wanted(where.id), where.name.any_ if where.name else None
    found = [
        row
        for row in rows
        if (ids is None or row["id"] in ids) and (names is None or row["name"] in names)
    ]
    found.sort(key=lambda row: row["name"])
    return found[asked.offset :]


def pool_rows(content: bytes, rows: Iterable[Row]) -> list[Row]:
    """The work pools from a body's offset on."""
    return sorted(rows, key=lambda row: row["name"])[_pools_body(content).offset :]


def _wanted(ids: _Ids | None) -> set[str] | None:
    return None if ids is None or ids.any_ is None else {str(wanted) for wanted in ids.any_}
