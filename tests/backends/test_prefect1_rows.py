"""Rows of Prefect 1, converted to entities; the rows are recorded ones of a Prefect Server."""

from datetime import UTC, datetime
from typing import Any

import pytest
from prefect1_recordings import (
    FLOW,
    LOGS,
    NEEDED_COLUMNS,
    NOON,
    PREDICATES,
    READ_TIMES,
    ROWS,
    RUN,
    STATES,
    TASK_RUN,
    TASK_RUNS,
    agent_row,
    flow_row,
    flow_run_row,
    log_row,
    query_of,
    read_failure,
    read_page,
    recorded_rows,
    rows_reply,
    state_row,
    task_run_row,
)

from rxflow._models.entities import (
    Agent,
    Flow,
    FlowRegistration,
    FlowRun,
    StoredResult,
    TaskRun,
    TaskRunState,
)
from rxflow._models.states import State, StateType
from rxflow._protocol.failures import FailureKind
from rxflow._protocol.queries import (
    AgentsQuery,
    FlowQuery,
    FlowsQuery,
    ResultQuery,
    ResultsQuery,
    RunQuery,
    RunsQuery,
    StatesQuery,
    TaskRunQuery,
    TaskRunStatesQuery,
)
from rxflow.events import FlowRunLog

# -- flow runs and their states -------------------------------------------------------------------


def test_a_flow_run_is_read_field_by_field() -> None:
    """The recorded run has its own fields, and its newest state."""
    (run,) = read_page(RunQuery(RUN), rows_reply(flow_run_row())).rows
    assert run == FlowRun(
        id=RUN,
        name="wire-demo",
        flow_id=FLOW,
        created=READ_TIMES["created"],
        updated=datetime.fromisoformat(recorded_rows("flow_run_Success")[0]["updated"]),
        state_id=run.state.id,
        state=State(
            id=flow_run_row()["states"][0]["id"],
            type="COMPLETED",
            name="Success",
            timestamp=datetime.fromisoformat(flow_run_row()["states"][0]["timestamp"]),
            message="All reference tasks succeeded.",
            version=4,
        ),
        parameters={"n": 5},
        run_config=flow_run_row()["run_config"],
        tags=tuple(flow_run_row()["labels"]),
        expected_start_time=datetime(2026, 11, 22, 14, 34, 5, 129510, tzinfo=UTC),
        start_time=datetime(2026, 11, 22, 14, 34, 13, tzinfo=UTC),
    )
    assert run.tags == ("rx", "vm")


def test_a_scheduled_run_has_its_next_start_time() -> None:
    """The start time of the serialized state is the run's next start time."""
    row = flow_run_row(states=[state_row(STATES["Scheduled"])])
    (run,) = read_page(RunQuery(RUN), rows_reply(row)).rows
    assert run.next_scheduled_start_time == datetime(2022, 11, 4, 12, 0, 0, 123456, tzinfo=UTC)


def test_states_are_read_field_by_field() -> None:
    """Each recorded state of the run has its time, name, message, id and version."""
    recordings = recorded_rows("flow_run_Success")[0]["states"]
    rows = [
        state_row(each["serialized_state"], id=str(n), version=n, timestamp=each["timestamp"])
        for n, each in enumerate(recordings)
    ]
    states = read_page(StatesQuery(RUN), rows_reply(*rows)).rows
    assert [state.name for state in states] == ["Scheduled", "Submitted", "Running", "Success"]
    for state, each in zip(states, recordings, strict=True):
        assert state.timestamp == datetime.fromisoformat(each["timestamp"])
        assert state.message == each["serialized_state"]["message"]
    assert [(state.id, state.version) for state in states] == [(str(n), n) for n in range(4)]


@pytest.mark.parametrize("sample", STATES)
def test_a_state_of_each_class_has_a_known_type(sample: str) -> None:
    """Its name is its class; its type is one of Prefect 3, and terminal if the class is."""
    (state,) = read_page(StatesQuery(RUN), rows_reply(state_row(STATES[sample]))).rows
    assert state.name == PREDICATES[sample]["type"]
    assert state.type in set(StateType)
    assert state.is_terminal() is ("is_finished" in PREDICATES[sample]["true"])
    assert state.message == STATES[sample]["message"]


@pytest.mark.parametrize("column", ["serialized_state", "state"])
def test_an_unknown_class_is_kept_and_not_terminal(column: str) -> None:
    """A state of an unknown class has its class for name and type, and is not terminal."""
    odd = {"type": "Hibernating", "message": "zzz"}
    row = state_row(odd, **({"serialized_state": None} if column == "state" else {}))
    (state,) = read_page(StatesQuery(RUN), rows_reply(row)).rows
    assert (state.type, state.name, state.message) == ("Hibernating", "Hibernating", "zzz")
    assert not state.is_terminal
    (run,) = read_page(RunQuery(RUN), rows_reply(flow_run_row(states=[row]))).rows
    assert not run.is_terminal


@pytest.mark.parametrize(
    "serialized",
    [
        *(None, 5, "Running", [], {}),
        {"type": 5, "message": {"a": 1}, "start_time": "noon"},
        {"type": None, "message": None, "start_time": "2026-11-22T12:00:00"},
        {"_result": None, "start_time": 17},
    ],
)
def test_a_serialized_state_may_be_any_json(serialized: Any) -> None:
    """The server accepts any JSON as a serialized state; what it lacks is read from the columns."""
    row = state_row(STATES["Running"], serialized_state=serialized)
    (state,) = read_page(StatesQuery(RUN), rows_reply(row)).rows
    assert (state.type, state.name, state.message) == ("RUNNING", "Running", "Running flow.")
    (run,) = read_page(RunQuery(RUN), rows_reply(flow_run_row(states=[row]))).rows
    assert run.next_scheduled_start_time is None
    (task_run,) = read_page(TASK_RUNS, rows_reply(task_run_row(serialized_state=serialized))).rows
    assert task_run.state.name == "Success"


def test_a_state_without_a_version_has_version_0() -> None:
    """A state with a version is known to be of Prefect 1, since those of Prefect 3 have none."""
    (state,) = read_page(
        StatesQuery(RUN), rows_reply(state_row(STATES["Looped"], version=None))
    ).rows
    assert state.version == 0
    assert state.is_looped


def test_a_run_may_have_no_state() -> None:
    """A flow run or a task run that is in no state yet is a good row."""
    (run,) = read_page(RunQuery(RUN), rows_reply(flow_run_row(states=[]))).rows
    assert run.state is None
    assert run.state_id is None
    stateless = task_run_row(state=None, serialized_state=None, state_timestamp=None, version=0)
    (task_run,) = read_page(TASK_RUNS, rows_reply(stateless)).rows
    assert (task_run.state, task_run.state_id) == (None, None)


# -- log rows -------------------------------------------------------------------------------------


def test_a_log_row_is_read_field_by_field() -> None:
    """Each recorded line is read together with the columns that were added to it."""
    lines = recorded_rows("flow_run_logs_initial")[0]["logs"]
    page = read_page(LOGS, rows_reply(*(log_row(number) for number in range(len(lines)))))
    assert page.count == len(lines) == 25
    for number, line in enumerate(lines):
        assert page.rows[number] == FlowRunLog(
            id=f"00000000-0000-4000-8000-{number:012}",
            flow_run_id=RUN,
            timestamp=datetime.fromisoformat(line["timestamp"]),
            created=datetime(2026, 11, 22, 14, 34, 21, 250000, tzinfo=UTC),
            level={"INFO": 20, "WARNING": 30}[line["level"]],
            name="prefect.noisy",
            message=line["message"],
        )


@pytest.mark.parametrize(
    ("level", "number"),
    [
        *(("DEBUG", 10), ("INFO", 20), ("WARNING", 30), ("ERROR", 40), ("CRITICAL", 50)),
        *((None, 20), ("", 20), ("TRACE", 20), ("info", 20)),
    ],
)
def test_a_level_is_a_number(level: str | None, number: int) -> None:
    """An unknown level is INFO, so that levels can be compared and no row is hidden."""
    (line,) = read_page(LOGS, rows_reply(log_row(level=level))).rows
    assert line.level == number


@pytest.mark.parametrize(
    ("decimals", "microseconds"),
    [("", 0), (".5", 500000), (".12951", 129510), (".000001", 1), (".123456", 123456)],
)
def test_a_time_may_have_any_number_of_decimals(decimals: str, microseconds: int) -> None:
    """PostgreSQL omits zeros at the end of a fraction."""
    (line,) = read_page(
        LOGS, rows_reply(log_row(timestamp=f"2026-11-22T12:00:00{decimals}+00:00"))
    ).rows
    assert line.timestamp == NOON.replace(microsecond=microseconds)


# -- task runs, flows, agents ---------------------------------------------------------------------


@pytest.mark.parametrize("number", range(len(recorded_rows("task_run_all"))))
def test_a_task_run_is_read_field_by_field(number: int) -> None:
    """Each recorded task run has its task, its map index and its state."""
    row = task_run_row(number)
    (task_run,) = read_page(TASK_RUNS, rows_reply(row)).rows
    serialized = row["serialized_state"]
    assert task_run == TaskRun(
        id=row["id"],
        name=row["task"]["slug"] + (f"[{row['map_index']}]" if row["map_index"] >= 0 else ""),
        flow_run_id=RUN,
        task_key=row["task"]["slug"],
        task_id=row["task"]["id"],
        dynamic_key=str(row["map_index"]),
        map_index=row["map_index"],
        **READ_TIMES,
        state_id=f"{row['id']}:3",
        state=task_run.state,
        start_time=datetime(2026, 11, 22, 14, 34, 15, tzinfo=UTC),
    )
    assert task_run.state.name == serialized["type"]
    assert (task_run.state.message, task_run.state.version) == (serialized["message"], 3)
    assert read_page(TaskRunQuery(row["id"]), rows_reply(row)).rows == (task_run,)


def test_state_of_a_task_run_is_that_of_its_row() -> None:
    """A row of the table of states has the id that the state has in the row of its task run."""
    row = task_run_row()
    current = read_page(TASK_RUNS, rows_reply(row)).rows[0].state
    stored = state_row(
        row["serialized_state"],
        task_run_id=row["id"],
        version=row["version"],
        timestamp=row["state_timestamp"],
    )
    (found,) = read_page(TaskRunStatesQuery((row["id"],)), rows_reply(stored)).rows
    assert found == TaskRunState(row["id"], current)


def test_states_of_a_task_run_differ_by_version() -> None:
    """Two states of one task run have different ids, though neither has a row of its own."""
    first, second, again = (
        read_page(TASK_RUNS, rows_reply(task_run_row(version=version))).rows[0].state
        for version in (1, 2, 2)
    )
    assert first.id != second.id == again.id


@pytest.mark.parametrize(
    ("task", "key"),
    [
        (None, ""),
        ({"id": FLOW, "slug": None, "name": "load"}, "load"),
        ({"id": FLOW, "slug": None, "name": None}, ""),
        ({"id": FLOW, "slug": "load-1", "name": "load"}, "load-1"),
    ],
)
def test_a_task_is_named_by_its_slug_or_its_name(task: Any, key: str) -> None:
    """A task without a slug has its name as key; a task run without a name has its task's key."""
    (task_run,) = read_page(TASK_RUNS, rows_reply(task_run_row(task=task, name=None))).rows
    assert (task_run.task_key, task_run.name) == (key, key)
    (named,) = read_page(TASK_RUNS, rows_reply(task_run_row(task=task, name="first"))).rows
    assert (named.task_key, named.name) == (key, "first")


def test_a_flow_is_read_field_by_field() -> None:
    """The recorded flow has its own fields, and those of its registration."""
    row = flow_row()
    (flow,) = read_page(FlowQuery(FLOW), rows_reply(row)).rows
    assert flow == Flow(
        id=FLOW,
        name="demo",
        **READ_TIMES,
        tags=tuple(row["flow_group"]["labels"] or ()),
        registered=FlowRegistration(
            version=2,
            project_name=row["project"]["name"],
            core_version=row["core_version"],
            settings=row["settings"],
            serialized_flow=row["serialized_flow"],
            storage=row["storage"],
            run_config=row["run_config"],
            archived=False,
        ),
    )
    assert read_page(FlowsQuery("demo"), rows_reply(row, row)).rows == (flow, flow)


def test_an_agent_is_read_field_by_field() -> None:
    """The recorded agent has its fields; its labels may be null."""
    (agent,) = read_page(AgentsQuery(), rows_reply(agent_row())).rows
    assert agent == Agent(
        id="3fe3f4ad-6f3c-4e97-8517-446da1a4550e",
        name="rx-agent",
        labels=("rx", "vm"),
        last_queried=datetime(2026, 11, 22, 14, 48, 49, 728044, tzinfo=UTC),
    )
    assert read_page(AgentsQuery(), rows_reply(agent_row(labels=None))).rows[0].labels == ()


# -- results --------------------------------------------------------------------------------------


def stored(**fields: Any) -> StoredResult:
    """Build what is known of the result of the recorded task run."""
    return StoredResult(task_run_id=TASK_RUN, **fields)


LOCAL = stored(location="/srv/example/a.pkl")
RESULTS = {
    "Success_LocalResult": LOCAL,
    "Cached": LOCAL,
    "Success_PrefectResult": stored(location="42", form="value"),
    "Success_S3Result": stored(location="a.pkl", storage="Prefect 1's S3Result 'b'"),
    "Success_NoResult": stored(),
    "Running": stored(),
    "Mapped": stored(children=3),
}


@pytest.mark.parametrize("sample", RESULTS)
def test_a_result_is_read_from_the_state(sample: str) -> None:
    """A state has a file, a value, a container in another storage, or a number of children."""
    row = {"id": TASK_RUN, "serialized_state": STATES[sample]}
    assert read_page(ResultQuery(TASK_RUN), rows_reply(row)).rows == (RESULTS[sample],)
    assert read_page(ResultsQuery((TASK_RUN,)), rows_reply(row)).rows == (RESULTS[sample],)


@pytest.mark.parametrize("state", [None, {}, {"_result": None}, {"_result": {"type": "Result"}}])
def test_a_state_may_have_no_result(state: Any) -> None:
    """Where no result was stored, the location is None."""
    row = {"id": TASK_RUN, "serialized_state": state}
    assert read_page(ResultQuery(TASK_RUN), rows_reply(row)).rows == (stored(),)


@pytest.mark.parametrize("state", ["text", [1], {"_result": 5}, {"_result": {"location": 17}}])
def test_a_result_of_another_shape_is_unreadable(state: Any) -> None:
    """JSON that is no record of a result is a failure, and no part of it is used."""
    row = {"id": TASK_RUN, "serialized_state": state}
    assert read_failure(ResultQuery(TASK_RUN), rows_reply(row)).kind is FailureKind.UNREADABLE


# -- nulls and missing columns --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "column"),
    [
        (kind, column)
        for kind in NEEDED_COLUMNS
        for column in ROWS[kind]
        if column not in NEEDED_COLUMNS[kind]
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_a_column_may_be_null(kind: type, column: str) -> None:
    """Any column but those of `NEEDED_COLUMNS` may be null, and the row is read without it."""
    query = query_of(kind)
    if kind in {RunQuery, RunsQuery} and column == "states":
        # A list is never null, but it may be empty.
        assert read_page(query, rows_reply({**ROWS[kind], column: []})).rows[0].state is None
    else:
        page = read_page(query, rows_reply({**ROWS[kind], column: None}))
        assert len(page.rows) == 1, page.malformed


@pytest.mark.parametrize("kind", NEEDED_COLUMNS)
def test_all_other_columns_may_be_null_at_once(kind: type) -> None:
    """A row of only `NEEDED_COLUMNS` is read, with the others null or missing."""
    query = query_of(kind)
    bare = {name: ROWS[kind][name] for name in NEEDED_COLUMNS[kind]}
    nulls = dict.fromkeys(ROWS[kind].keys() - NEEDED_COLUMNS[kind] - {"states"})
    for row in (bare, bare | nulls):
        assert len(read_page(query, rows_reply(row)).rows) == 1
