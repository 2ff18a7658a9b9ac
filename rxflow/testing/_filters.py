"""The questions that are asked with a body: what may stand in it, and which rows it wants.

Filters, sorts, offsets and limits are those of 3.8.8, with its refusals: a body that it does not
take raises `msgspec.ValidationError`, a limit that it does not take raises `LimitRefused`.
"""

import uuid
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Annotated, Literal

import msgspec

from rxflow.testing._rows import Row


class LimitRefused(Exception):
    """More rows were asked for than the server gives at once, or fewer than none."""


class _Strict(msgspec.Struct, forbid_unknown_fields=True):
    """A part of a filter; the server refuses keys that it does not know."""


class _Ids(_Strict):
    any_: list[uuid.UUID] | None = None


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


class _Names(_Strict):
    any_: list[str] | None = None


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


class _FlowsBody(msgspec.Struct):
    flows: _FlowFilter | None = None
    sort: Literal["NAME_ASC"] = "NAME_ASC"
    offset: Annotated[int, msgspec.Meta(ge=0)] = 0


_limited = msgspec.json.Decoder(_Limited).decode
_logs_body = msgspec.json.Decoder(_LogsBody).decode
_task_runs_body = msgspec.json.Decoder(_TaskRunsBody).decode
_flows_body = msgspec.json.Decoder(_FlowsBody).decode


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


def _wanted(ids: _Ids | None) -> set[str] | None:
    return None if ids is None or ids.any_ is None else {str(wanted) for wanted in ids.any_}
