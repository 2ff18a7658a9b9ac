"""Entities: derived properties, and which rows can be decoded."""

from datetime import datetime
from typing import Any

import msgspec
import pytest

from rxflow import FlowRun, Snapshot, State, TaskRun
from rxflow._models.entities import Deployment, Flow, FlowRegistration, Worker, WorkPool
from rxflow._models.times import Instant

AWARE = "2026-11-22T12:00:00Z"
NAIVE = "2026-11-22T12:00:00"

STATE = {"id": "s", "type": "RUNNING", "name": "Running", "timestamp": AWARE}
ROW = {"id": "x", "name": "x", "created": AWARE, "updated": AWARE}
ROWS: dict[type[msgspec.Struct], dict[str, Any]] = {
    State: STATE,
    FlowRun: ROW,
    TaskRun: {**ROW, "task_key": "load-1a2b3c", "dynamic_key": "0"},
    Snapshot: {"run": ROW},
    Flow: ROW,
    Deployment: {"id": "x", "name": "x", "flow_id": "f"},
    WorkPool: {"name": "gpu"},
    Worker: {"name": "w"},
}
ENTITIES = list(ROWS)


def decode(entity: type[msgspec.Struct], row: dict[str, Any]) -> Any:
    """Decode a row as it is received from a server."""
    return msgspec.json.decode(msgspec.json.encode(row), type=entity)


def fields(*types: Any) -> list[tuple[type[msgspec.Struct], str]]:
    """All fields of the entities that have one of these types."""
    return [
        (entity, field.name)
        for entity in ENTITIES
        for field in msgspec.structs.fields(entity)
        if field.type in types
    ]


TIMES = fields(Instant, Instant | None)
REQUIRED = [
    (entity, field.name)
    for entity in ENTITIES
    for field in msgspec.structs.fields(entity)
    if field.required
]


def name_of(value: object) -> str:
    """The id of a test case."""
    return value.__name__ if isinstance(value, type) else str(value)


# -- derived properties -------------------------------------------------------------------------


@pytest.mark.parametrize("entity", [FlowRun, TaskRun], ids=name_of)
@pytest.mark.parametrize(
    ("state", "terminal"),
    [(None, False), (STATE, False), (STATE | {"type": "CRASHED"}, True)],
    ids=["no state", "Running", "Crashed"],
)
def test_a_run_is_terminal_if_its_state_is(
    entity: type[FlowRun | TaskRun], state: dict[str, Any] | None, terminal: bool
) -> None:
    """A run without a state is not terminal, even if the id of its state is known."""
    run = decode(entity, ROWS[entity] | {"state": state, "state_id": "s"})
    assert run.is_terminal is terminal


IDENTITIES: list[tuple[type[msgspec.Struct], dict[str, Any], str]] = [
    (FlowRun, ROW, "id"),
    (FlowRun, ROW, "state_id"),
    (TaskRun, ROWS[TaskRun], "id"),
    (TaskRun, ROWS[TaskRun], "state_id"),
    (Flow, ROW, "id"),
    (FlowRegistration, {}, "project_name"),
    (FlowRegistration, {}, "core_version"),
    (Deployment, ROWS[Deployment], "id"),
    (Deployment, ROWS[Deployment], "version"),
]


@pytest.mark.parametrize(("entity", "row", "field"), IDENTITIES, ids=name_of)
def test_equal_rows_have_equal_hashes(
    entity: type[msgspec.Struct], row: dict[str, Any], field: str
) -> None:
    """A set has equal rows once, and is fast for rows that differ in their identity."""
    rows = [decode(entity, row | {field: str(number)}) for number in range(100)]
    again = [decode(entity, row | {field: str(number)}) for number in range(100)]
    assert {*rows, *again} == {*rows}
    assert len({hash(each) for each in rows}) == 100


def test_task_runs_of_a_snapshot_are_counted() -> None:
    """Task runs are counted by the types of their states; without a state they count as begun."""
    types = ["RUNNING", "COMPLETED", "COMPLETED", "CRASHED", "NEW_IN_PREFECT_4", None]
    states = [type_ and STATE | {"type": type_} for type_ in types]
    rows = [ROWS[TaskRun] | {"state": state} for state in states]
    snapshot = decode(Snapshot, {"run": ROW, "task_runs": rows})
    assert snapshot.task_run_counts == {
        "RUNNING": 1,
        "COMPLETED": 2,
        "CRASHED": 1,
        "NEW_IN_PREFECT_4": 1,
    }
    assert snapshot.task_run_counts["PENDING"] == 0
    assert snapshot.progress == 0.5


def test_progress_is_unknown_without_task_runs() -> None:
    """A snapshot without task runs has no progress, and counts none."""
    snapshot = decode(Snapshot, {"run": ROW})
    assert snapshot.progress is None
    assert not snapshot.task_run_counts


def test_the_state_of_a_snapshot_is_that_of_its_row() -> None:
    """A snapshot has the state of its run, or none."""
    assert decode(Snapshot, {"run": ROW | {"state": STATE}}).state == decode(State, STATE)
    assert decode(Snapshot, {"run": ROW}).state is None


@pytest.mark.parametrize(
    ("status", "online"), [("ONLINE", True), ("OFFLINE", False), ("SLEEPY", False), (None, False)]
)
def test_a_worker_is_online_if_its_status_is(status: str | None, online: bool) -> None:
    """A worker with a status that is not known here is not online."""
    assert Worker(name="w", status=status).is_online is online


# -- decoding -----------------------------------------------------------------------------------


def test_all_times_are_tested() -> None:
    """No entity has a field of plain `datetime`, which would accept a naive one."""
    assert fields(datetime, datetime | None) == []
    assert len(TIMES) >= 10


@pytest.mark.parametrize(("entity", "field"), TIMES, ids=name_of)
def test_a_naive_time_is_rejected(entity: type[msgspec.Struct], field: str) -> None:
    """A row with a time without a zone is malformed, and the error names the field."""
    with pytest.raises(msgspec.ValidationError, match=rf"timezone.* - at `\$\.{field}`"):
        decode(entity, ROWS[entity] | {field: NAIVE})


@pytest.mark.parametrize("zone", ["Z", "+00:00", "+05:30", "-08:00"])
def test_an_aware_time_of_any_zone_is_accepted(zone: str) -> None:
    """Times with any offset are decoded to the instant that they name."""
    read = decode(State, STATE | {"timestamp": f"{NAIVE}{zone}"})
    assert read.timestamp == datetime.fromisoformat(f"{NAIVE}{zone.replace('Z', '+00:00')}")


@pytest.mark.parametrize(("entity", "field"), REQUIRED, ids=name_of)
def test_a_row_without_a_required_field_is_rejected(
    entity: type[msgspec.Struct], field: str
) -> None:
    """The error names the missing field."""
    row = {name: value for name, value in ROWS[entity].items() if name != field}
    with pytest.raises(msgspec.ValidationError, match=f"missing required field `{field}`"):
        decode(entity, row)


@pytest.mark.parametrize("entity", ENTITIES, ids=name_of)
def test_unknown_fields_are_ignored(entity: type[msgspec.Struct]) -> None:
    """Fields that are not known here, such as estimates, do not change the decoded row."""
    row = ROWS[entity]
    assert decode(entity, row | {"estimated_run_time": 1.5}) == decode(entity, row)


@pytest.mark.parametrize("entity", ENTITIES, ids=name_of)
def test_entities_are_frozen(entity: type[msgspec.Struct]) -> None:
    """No field of an entity can be set."""
    made = decode(entity, ROWS[entity])
    for field in made.__struct_fields__:
        with pytest.raises(AttributeError, match="immutable"):
            setattr(made, field, None)


DEFAULTS = {
    FlowRun: {"run_count": 0, "total_run_time": 0, "auto_scheduled": False, "tags": ()},
    TaskRun: {"run_count": 0, "state": None, "tags": ()},
    Deployment: {"paused": False, "status": None, "concurrency_limit": None},
    WorkPool: {"is_paused": False, "status": None, "concurrency_limit": None},
}


@pytest.mark.parametrize(("entity", "defaults"), DEFAULTS.items(), ids=map(name_of, DEFAULTS))
def test_missing_optional_fields_have_their_defaults(
    entity: type[msgspec.Struct], defaults: dict[str, Any]
) -> None:
    """A row without counts, tags and flags has none of them."""
    read = decode(entity, ROWS[entity])
    assert {name: getattr(read, name) for name in defaults} == defaults


def test_two_runs_share_no_default() -> None:
    """Rows without parameters have empty ones, each its own."""
    first, second = decode(FlowRun, ROW), decode(FlowRun, ROW)
    assert first.parameters == second.parameters == {}
    assert first.parameters is not second.parameters
