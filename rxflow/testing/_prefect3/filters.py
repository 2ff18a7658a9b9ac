"""Request bodies of the filter routes: their schema, and which rows they select.

Filters, sorts, offsets and limits are those of 3.8.8, and so is what it rejects: an invalid body
raises `msgspec.ValidationError`, an invalid limit raises `InvalidLimit`. Does not belong here: the
paths, which are in `routes.py`.
"""

import uuid
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from rxflow._models.states import StateType
from rxflow._models.times import Instant
from rxflow.testing._rows import Row, Shuffle


class InvalidLimit(Exception):
    """A limit is negative, or above the most rows that the server returns at once."""


class _Strict(msgspec.Struct, forbid_unknown_fields=True):
    """A part of a filter; the server rejects unknown keys."""


class _Ids(_Strict):
    any_: list[uuid.UUID] | None = None


class _RunIds(_Ids):
    not_any_: list[uuid.UUID] | None = None

    def selects(self, row: Row) -> bool:
        """Whether the filter selects a run."""
        run = uuid.UUID(row["id"])
        return (self.any_ is None or run in self.any_) and run not in (self.not_any_ or ())


class _Parents(_Ids):
    is_null_: bool | None = None

    def selects(self, parent: str | None) -> bool:
        """Whether the filter selects a run with this parent, a task run, or without one."""
        is_wanted = self.any_ is None or (parent is not None and uuid.UUID(parent) in self.any_)
        return is_wanted and self.is_null_ in (None, parent is None)


class _Names(_Strict):
    any_: list[str] | None = None


class _StateNames(_Strict):
    any_: list[str] | None = None
    not_any_: list[str] | None = None

    def selects(self, name: str | None) -> bool:
        """Whether the filter selects the name of a state; a run without a state has none."""
        if name is None:
            return self.any_ is None and self.not_any_ is None
        is_wanted = self.any_ is None or name in self.any_
        return is_wanted and name not in (self.not_any_ or ())


class _Types(_Strict):
    any_: list[StateType] | None = None


class _Tags(_Strict):
    all_: list[str] | None = None
    any_: list[str] | None = None

    def selects(self, tags: Iterable[str]) -> bool:
        """Whether the filter selects a run with these tags."""
        own = set(tags)
        return own.issuperset(self.all_ or ()) and (
            self.any_ is None or not own.isdisjoint(self.any_)
        )


_Operator = Literal["and_", "or_"]


class _Level(_Strict):
    ge_: int | None = None
    le_: int | None = None

    def selects(self, level: int) -> bool:
        """Whether the filter selects a row of this level."""
        return (self.ge_ is None or level >= self.ge_) and (self.le_ is None or level <= self.le_)


class _Time(_Strict):
    after_: Instant | None = None
    before_: Instant | None = None

    def selects(self, time: datetime | None) -> bool:
        """Whether the filter selects a row of this time."""
        if time is None:
            return self.after_ is self.before_ is None
        after, before = self.after_ or time, self.before_ or time
        return after <= time <= before


class _LogFilter(_Strict):
    flow_run_id: _Ids | None = None
    level: _Level | None = None
    timestamp: _Time | None = None


class _StateFilter(_Strict):
    operator: _Operator = "and_"
    type: _Types | None = None
    name: _StateNames | None = None

    def selects(self, row: Row) -> bool:
        """Whether the filter selects a run."""
        names = (self.name.selects(row.get("state_name")),) if self.name else ()
        types = _matches(row, {"state_type": _any(self.type)})
        return _hold(self.operator, (*types, *names))


class _TaskRunFilter(_Strict):
    id: _Ids | None = None
    flow_run_id: _Ids | None = None
    state: _StateFilter | None = None


class _FlowRunFilter(_Strict):
    operator: _Operator = "and_"
    id: _RunIds | None = None
    deployment_id: _Ids | None = None
    name: _Names | None = None
    tags: _Tags | None = None
    state: _StateFilter | None = None
    start_time: _Time | None = None
    expected_start_time: _Time | None = None
    parent_flow_run_id: _Ids | None = None
    parent_task_run_id: _Parents | None = None

    def selects(self, row: Row, parent: Row) -> bool:
        """Whether the filter selects a run.

        Args:
            row: The run.
            parent: The task run that stands for it in its parent; empty if it has none.
        """
        due = row["expected_start_time"]
        values = {
            "deployment_id": _id_set(self.deployment_id),
            "name": _any(self.name),
        }
        parents = {"flow_run_id": _id_set(self.parent_flow_run_id)}
        stand_in = self.parent_task_run_id
        return _hold(
            self.operator,
            (
                *((self.id.selects(row),) if self.id else ()),
                *_matches(row, values),
                *_matches(parent, parents),
                *((stand_in.selects(row["parent_task_run_id"]),) if stand_in else ()),
                *((self.tags.selects(row["tags"]),) if self.tags else ()),
                *((self.state.selects(row),) if self.state else ()),
                *((self.start_time.selects(row["start_time"] or due),) if self.start_time else ()),
                *((self.expected_start_time.selects(due),) if self.expected_start_time else ()),
            ),
        )


class _NamedFilter(_Strict):
    """A filter of flows, of deployments or of work pools."""

    operator: _Operator = "and_"
    id: _Ids | None = None
    name: _Names | None = None

    def selects(self, row: Row) -> bool:
        """Whether the filter selects a row; an empty one stands for none."""
        values = {"id": _id_set(self.id), "name": _any(self.name)}
        return bool(row) and _hold(self.operator, _matches(row, values))


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
    flows: _NamedFilter | None = None
    deployments: _NamedFilter | None = None
    work_pools: _NamedFilter | None = None
    sort: Literal[
        "ID_DESC",
        "START_TIME_ASC",
        "START_TIME_DESC",
        "EXPECTED_START_TIME_ASC",
        "EXPECTED_START_TIME_DESC",
        "END_TIME_DESC",
    ] = "ID_DESC"
    offset: Annotated[int, msgspec.Meta(ge=0)] = 0


class _CreationBody(_Strict):
    name: str | None = None
    parameters: dict[str, Any] | None = None
    context: dict[str, Any] | None = None
    tags: list[str] | None = None
    labels: dict[str, Any] | None = None
    idempotency_key: str | None = None


class _ProposedState(msgspec.Struct):
    type: StateType
    name: str | None = None
    message: str | None = None


class _ProposalBody(msgspec.Struct):
    state: _ProposedState


class _FlowsBody(msgspec.Struct):
    flows: _NamedFilter | None = None
    sort: Literal["NAME_ASC"] = "NAME_ASC"
    offset: Annotated[int, msgspec.Meta(ge=0)] = 0


class _PoolsBody(msgspec.Struct):
    offset: Annotated[int, msgspec.Meta(ge=0)] = 0


_limited = msgspec.json.Decoder(_Limited).decode
_logs_body = msgspec.json.Decoder(_LogsBody).decode
_task_runs_body = msgspec.json.Decoder(_TaskRunsBody).decode
_flow_runs_body = msgspec.json.Decoder(_FlowRunsBody).decode
_creation_body = msgspec.json.Decoder(_CreationBody).decode
_proposal_body = msgspec.json.Decoder(_ProposalBody).decode
_flows_body = msgspec.json.Decoder(_FlowsBody).decode
_pools_body = msgspec.json.Decoder(_PoolsBody).decode

_FLOW_RUN_SORTS: dict[str, Callable[[Row], Any]] = {
    "ID_DESC": lambda row: row["id"],
    "START_TIME_ASC": lambda row: _null_first(row["start_time"] or row["expected_start_time"]),
    "START_TIME_DESC": lambda row: _null_first(row["start_time"] or row["expected_start_time"]),
    "EXPECTED_START_TIME_ASC": lambda row: _null_first(row["expected_start_time"]),
    "EXPECTED_START_TIME_DESC": lambda row: _null_first(row["expected_start_time"]),
    "END_TIME_DESC": lambda row: _null_first(row["end_time"]),
}


def read_limit(content: bytes, page_limit: int) -> int:
    """Read the limit of a body; the server checks it before the rest of the body.

    Args:
        content: The body.
        page_limit: The most rows that the server returns at once.

    Raises:
        InvalidLimit: The limit is negative or above `page_limit`.
    """
    limit = _limited(content).limit
    limit = page_limit if limit is None else limit
    if not 0 <= limit <= page_limit:
        bound = f"less than or equal to {page_limit}" if limit > 0 else "greater than or equal to 0"
        raise InvalidLimit(f"Invalid limit: must be {bound}.")
    return limit


def select_logs(content: bytes, rows: Iterable[Row], shuffle: Shuffle | None) -> list[Row]:
    """Select the log rows that match a body, from its offset on.

    Args:
        content: The body.
        rows: The table.
        shuffle: Shuffles rows of one timestamp; None: they stay as they were stored.
    """
    body = _logs_body(content)
    where = body.logs or _LogFilter()
    runs = _id_set(where.flow_run_id)
    level, time = where.level or _Level(), where.timestamp or _Time()
    # One condition after the other: most bodies have few of them, and tables many rows.
    found = [row for row in rows if runs is None or row["flow_run_id"] in runs]
    if level.ge_ is not None or level.le_ is not None:
        found = [row for row in found if level.selects(row["level"] or 0)]
    if (after := time.after_) is not None:
        found = [row for row in found if row["timestamp"] >= after]
    if (before := time.before_) is not None:
        found = [row for row in found if row["timestamp"] <= before]
    if shuffle is not None:
        shuffle(found)
    found.sort(key=lambda row: row["timestamp"])
    if body.sort == "TIMESTAMP_DESC":
        found.reverse()
    return found[body.offset :]


def select_task_runs(content: bytes, rows: Iterable[Row]) -> list[Row]:
    """Select the task runs that match a body, from its offset on."""
    body = _task_runs_body(content)
    where = body.task_runs or _TaskRunFilter()
    values = {"id": _id_set(where.id), "flow_run_id": _id_set(where.flow_run_id)}
    found = [
        row
        for row in rows
        if all(_matches(row, values)) and (where.state is None or where.state.selects(row))
    ]
    found.sort(key=lambda row: row["id"], reverse=True)
    return found[body.offset :]


def select_flow_runs(
    content: bytes,
    rows: Iterable[Row],
    *,
    flows: Mapping[str, Row],
    deployments: Mapping[str, Row],
    task_runs: Mapping[str, Row],
) -> list[Row]:
    """Select the flow runs that match a body, from its offset on.

    Args:
        content: The body.
        rows: The table.
        flows: The table of flows, by their ids.
        deployments: The table of deployments, by their ids.
        task_runs: The table of task runs, by their ids.
    """
    body = _flow_runs_body(content)
    where = body.flow_runs or _FlowRunFilter()
    found = [
        row
        for row in rows
        if where.selects(row, task_runs.get(row["parent_task_run_id"], {}))
        and (body.flows is None or body.flows.selects(flows.get(row["flow_id"], {})))
        and (
            body.deployments is None
            or body.deployments.selects(deployments.get(row["deployment_id"], {}))
        )
        and (body.work_pools is None or body.work_pools.selects(_pool_of(row)))
    ]
    found.sort(key=_FLOW_RUN_SORTS[body.sort], reverse=body.sort.endswith("_DESC"))
    return found[body.offset :]


def select_flows(content: bytes, rows: Iterable[Row]) -> list[Row]:
    """Select the flows that match a body, from its offset on."""
    body = _flows_body(content)
    found = [row for row in rows if body.flows is None or body.flows.selects(row)]
    found.sort(key=lambda row: row["name"])
    return found[body.offset :]


def select_pools(content: bytes, rows: Iterable[Row]) -> list[Row]:
    """Select the work pools from a body's offset on."""
    return sorted(rows, key=lambda row: row["name"])[_pools_body(content).offset :]


def read_creation(content: bytes) -> Row:
    """Read the columns that a body sets in the flow run which it creates of a deployment."""
    columns = msgspec.structs.asdict(_creation_body(content))
    return {column: value for column, value in columns.items() if value is not None}


def read_proposal(content: bytes) -> tuple[StateType, str | None, str | None]:
    """Read the type, the name and the message of a state that a body proposes."""
    state = _proposal_body(content).state
    return state.type, state.name, state.message


def _hold(operator: _Operator, truths: Iterable[bool]) -> bool:
    """Whether the parts of a filter that are given hold together; none at all do."""
    given = [*truths]
    return all(given) if operator == "and_" else any(given) or not given


def _matches(row: Row, values: Mapping[str, Container[Any] | None]) -> Iterator[bool]:
    """Compare the columns for which there are values."""
    return (row.get(column) in any_ for column, any_ in values.items() if any_ is not None)


def _pool_of(run: Row) -> Row:
    name = run["work_pool_name"]
    return {} if name is None else {"id": run["work_pool_id"], "name": name}


def _null_first(time: datetime | None) -> tuple[bool, datetime | None]:
    """Make a sort key: in SQLite a null sorts before any time."""
    return time is not None, time


def _any(names: _Names | _Types | None) -> Container[str] | None:
    return None if names is None else names.any_


def _id_set(ids: _Ids | None) -> set[str] | None:
    return None if ids is None or ids.any_ is None else {str(each) for each in ids.any_}
