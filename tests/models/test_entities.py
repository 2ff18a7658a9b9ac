"""The nouns: which states are ends, and which rows can be read."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from rxflow import FlowRun, Snapshot, State, StateType, TaskRun
from rxflow._models.entities import Deployment, Flow, Worker, WorkPool
from rxflow._models.states import TERMINAL_TYPES
from rxflow._models.times import Instant

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
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
NOUNS = list(ROWS)


def decode(noun: type[msgspec.Struct], row: dict[str, Any]) -> Any:
    """Read a row as it comes from a server."""
    return msgspec.json.decode(msgspec.json.encode(row), type=noun)


def fields(*types: Any) -> list[tuple[type[msgspec.Struct], str]]:
    """All fields of the nouns that have one of these types."""
    return [
        (noun, field.name)
        for noun in NOUNS
        for field in msgspec.structs.fields(noun)
        if field.type in types
    ]


TIMES = fields(Instant, Instant | None)
REQUIRED = [
    (noun, field.name) for noun in NOUNS for field in msgspec.structs.fields(noun) if field.required
]


def name_of(value: object) -> str:
    """The id of a case."""
    return value.__name__ if isinstance(value, type) else str(value)


# -- states -------------------------------------------------------------------------------------

ENDS = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


@pytest.mark.parametrize("state_type", [*StateType, "NEW_IN_PREFECT_4", "completed", ""])
def test_which_states_are_ends(state_type: str) -> None:
    """Four types are terminal; no other is, and none that is not known here."""
    state = State(id="s", type=state_type, name="x", timestamp=NOON)
    assert state.is_terminal is (state_type in ENDS)
    assert state.is_completed is (state_type == "COMPLETED")


def test_the_terminal_types() -> None:
    """`TERMINAL` names the four ends, as text too."""
    assert TERMINAL_TYPES == ENDS


def test_an_unknown_state_type_is_kept_as_text() -> None:
    """A state of a type that is not known here can be read, and keeps its type."""
    assert decode(State, STATE | {"type": "NEW_IN_PREFECT_4"}).type == "NEW_IN_PREFECT_4"


def test_a_type_is_the_same_as_text_and_as_a_constant() -> None:
    """A state that was read equals one that was made with `StateType`."""
    made = State(id="s", type=StateType.RUNNING, name="Running", timestamp=NOON)
    assert decode(State, STATE) == made


@pytest.mark.parametrize("noun", [FlowRun, TaskRun], ids=name_of)
@pytest.mark.parametrize(
    ("state", "over"),
    [(None, False), (STATE, False), (STATE | {"type": "CRASHED"}, True)],
    ids=["no state", "Running", "Crashed"],
)
def test_a_run_is_over_when_its_state_is_an_end(
    noun: type[FlowRun | TaskRun], state: dict[str, Any] | None, over: bool
) -> None:
    """A run without a state is not over, even where the id of its state is known."""
    run = decode(noun, ROWS[noun] | {"state": state, "state_id": "s"})
    assert run.is_terminal is over


def test_the_state_of_a_snapshot_is_that_of_its_row() -> None:
    """A snapshot has the state of its run, or none."""
    assert decode(Snapshot, {"run": ROW | {"state": STATE}}).state == decode(State, STATE)
    assert decode(Snapshot, {"run": ROW}).state is None


@pytest.mark.parametrize(
    ("status", "online"), [("ONLINE", True), ("OFFLINE", False), ("SLEEPY", False), (None, False)]
)
def test_when_a_worker_is_online(status: str | None, online: bool) -> None:
    """A worker is online when the server says just that."""
    assert Worker(name="w", status=status).is_online is online


# -- rows ---------------------------------------------------------------------------------------


def test_all_times_are_tested() -> None:
    """No noun has a field of plain `datetime`, which would let a naive one pass."""
    assert fields(datetime, datetime | None) == []
    assert len(TIMES) >= 10


@pytest.mark.parametrize(("noun", "field"), TIMES, ids=name_of)
def test_a_naive_time_is_refused(noun: type[msgspec.Struct], field: str) -> None:
    """A row with a time that does not say its zone is malformed, and the error names the field."""
    with pytest.raises(msgspec.ValidationError, match=rf"timezone.* - at `\$\.{field}`"):
        decode(noun, ROWS[noun] | {field: NAIVE})


@pytest.mark.parametrize("zone", ["Z", "+00:00", "+05:30", "-08:00"])
def test_an_aware_time_of_any_zone_is_taken(zone: str) -> None:
    """Times are taken with whatever offset they come, as the instants that they are."""
    read = decode(State, STATE | {"timestamp": f"{NAIVE}{zone}"})
    assert read.timestamp == datetime.fromisoformat(f"{NAIVE}{zone.replace('Z', '+00:00')}")


@pytest.mark.parametrize(("noun", "field"), REQUIRED, ids=name_of)
def test_a_row_without_what_we_need_is_refused(noun: type[msgspec.Struct], field: str) -> None:
    """The error of a row that lacks a field names it."""
    row = {name: value for name, value in ROWS[noun].items() if name != field}
    with pytest.raises(msgspec.ValidationError, match=f"missing required field `{field}`"):
        decode(noun, row)


@pytest.mark.parametrize("noun", NOUNS, ids=name_of)
def test_what_a_server_says_beside_that_is_passed_over(noun: type[msgspec.Struct]) -> None:
    """Unknown fields, such as estimates that change with each answer, make no difference."""
    row = ROWS[noun]
    assert decode(noun, row | {"estimated_run_time": 1.5}) == decode(noun, row)


@pytest.mark.parametrize("noun", NOUNS, ids=name_of)
def test_nouns_are_frozen(noun: type[msgspec.Struct]) -> None:
    """No field of a noun can be set."""
    made = decode(noun, ROWS[noun])
    for field in made.__struct_fields__:
        with pytest.raises(AttributeError, match="immutable"):
            setattr(made, field, None)


UNSAID = {
    FlowRun: {"run_count": 0, "total_run_time": 0, "auto_scheduled": False, "tags": ()},
    TaskRun: {"run_count": 0, "state": None, "tags": ()},
    Deployment: {"paused": False, "status": None, "concurrency_limit": None},
    WorkPool: {"is_paused": False, "status": None, "concurrency_limit": None},
}


@pytest.mark.parametrize(("noun", "defaults"), UNSAID.items(), ids=map(name_of, UNSAID))
def test_what_a_row_does_not_say(noun: type[msgspec.Struct], defaults: dict[str, Any]) -> None:
    """What a server leaves out counts as nothing: no runs, no tags, not paused."""
    read = decode(noun, ROWS[noun])
    assert {name: getattr(read, name) for name in defaults} == defaults


def test_two_runs_share_no_default() -> None:
    """Rows without parameters have empty ones, each its own."""
    first, second = decode(FlowRun, ROW), decode(FlowRun, ROW)
    assert first.parameters == second.parameters == {}
    assert first.parameters is not second.parameters
