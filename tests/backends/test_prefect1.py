"""Prefect 1's codec against recorded answers of a real server, and against whatever else may come.

The recordings are exchanges of the 1.4.1 client with Prefect Server, whose queries ask for fewer
columns than ours: what they lack is put beside what was recorded.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import graphql
import pytest
from conversations import play, send_to_fake
from hypothesis import given
from hypothesis import strategies as st

from rxflow._backends.backend import HttpCall, HttpReply
from rxflow._backends.prefect1 import Prefect1
from rxflow._backends.prefect1_queries import QUERIES, call_of
from rxflow._backends.prefect1_replies import is_graphql_reply, read_reply, read_row_count
from rxflow._backends.prefect1_rows import level_of
from rxflow._models.entities import (
    Agent,
    BackendName,
    Flow,
    FlowRegistration,
    FlowRun,
    Server,
    StoredResult,
    TaskRun,
)
from rxflow._models.states import State, StateType
from rxflow._protocol.failures import Failure, FailureKind
from rxflow._protocol.pages import MalformedRow, Page
from rxflow._protocol.queries import (
    AgentsQuery,
    DeploymentQuery,
    FlowQuery,
    FlowsQuery,
    LogsQuery,
    Query,
    ResultQuery,
    ResultsQuery,
    RunQuery,
    ServerQuery,
    StatesQuery,
    TaskRunQuery,
    TaskRunsQuery,
    TaskRunStatesQuery,
    WorkersQuery,
    WorkPoolQuery,
    WorkPoolsQuery,
)
from rxflow.events import FlowRunLog
from rxflow.testing import FakePrefect1

RECORDED = Path(__file__).parents[1] / "recorded" / "prefect1"
CODEC = Prefect1()
SCHEMA = graphql.build_schema(FakePrefect1.schema())
STATES = json.loads((RECORDED / "states.json").read_text("utf-8"))
PREDICATES = json.loads((RECORDED / "state_predicates.json").read_text("utf-8"))
ERRORS = sorted(path.stem for path in (RECORDED / "errors").glob("*.json"))

RUN = "4edbba39-67c2-4746-b176-eb7641704653"
TASK_RUN = "906fafc8-2c08-47c1-abdc-27cd0ae2d0fc"
FLOW = "b9fab646-837d-49ba-8082-b5c7e9836793"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

LOGS = LogsQuery(flow_run_ids=(RUN,))
TASKS = TaskRunsQuery(flow_run_id=RUN)

# Of each kind of query that is sent, one.
SENT: tuple[Query, ...] = (
    RunQuery(RUN),
    StatesQuery(RUN),
    LOGS,
    TASKS,
    TaskRunQuery(TASK_RUN),
    TaskRunStatesQuery(TASK_RUN),
    ResultQuery(TASK_RUN),
    ResultsQuery((TASK_RUN, RUN)),
    FlowsQuery("demo"),
    FlowQuery(FLOW),
    AgentsQuery(),
)
KINDS = [type(query).__name__ for query in SENT]


def recorded(name: str, kind: str = "wire") -> Any:
    """Load a recorded exchange."""
    return json.loads((RECORDED / kind / f"{name}.json").read_text("utf-8"))


def rows_of(name: str) -> list[dict[str, Any]]:
    """Take the rows of the one table that a recorded answer is about."""
    (rows,) = recorded(name)["response"]["data"].values()
    found: list[dict[str, Any]] = rows
    return found


def reply(body: Any, status: int = 200, **headers: str) -> HttpReply:
    """Make a JSON reply, or one of these very bytes."""
    return HttpReply(
        status=status,
        headers={"content-type": "application/json"}
        | {name.replace("_", "-"): value for name, value in headers.items()},
        body=body if isinstance(body, bytes) else json.dumps(body).encode(),
    )


def answer(*rows: Any) -> HttpReply:
    """Make a good answer of some rows."""
    return reply({"data": {"rows": rows}})


def page(query: Query, given: HttpReply) -> Page[Any]:
    """Decode what has to be a page."""
    decoded = read_reply(query, given)
    assert isinstance(decoded, Page), decoded
    return decoded


def failure(query: Query, given: HttpReply) -> Failure:
    """Decode what has to be a failure."""
    decoded = read_reply(query, given)
    assert isinstance(decoded, Failure), decoded
    return decoded


# -- rows, with all columns that are asked for ---------------------------------------------------

WRITTEN = {"created": "2026-11-22T14:34:05.5+00:00", "updated": "2026-11-22T14:34:20+00:00"}
WROTE: Any = {name: datetime.fromisoformat(text) for name, text in WRITTEN.items()}


def a_state(sample: Any, **columns: Any) -> dict[str, Any]:
    """Make a row of a flow run's states, of what the state says."""
    return {
        "id": "0b3e1a52-8c26-4f4c-8d51-27a4f5d5a1c0",
        "version": 3,
        "timestamp": "2026-11-22T14:34:20.083+00:00",
        "state": sample["type"],
        "message": sample["message"],
        "serialized_state": sample,
        **columns,
    }


def a_run(**columns: Any) -> dict[str, Any]:
    """Make the row of the recorded flow run, with the last of its states."""
    (row,) = rows_of("flow_run_Success")
    last = row["states"][-1]
    state = a_state(last["serialized_state"], timestamp=last["timestamp"], version=4)
    times = {
        "scheduled_start_time": "2026-11-22T14:34:05.12951+00:00",
        "start_time": "2026-11-22T14:34:13+00:00",
        "end_time": None,
    }
    more = {"states": [state], "created": WRITTEN["created"], **times}
    return {**row, **more, **columns}


def a_log(number: int = 0, **columns: Any) -> dict[str, Any]:
    """Make the row of a recorded log line."""
    return {
        **rows_of("flow_run_logs_initial")[0]["logs"][number],
        "id": f"00000000-0000-4000-8000-{number:012}",
        "flow_run_id": RUN,
        "task_run_id": None,
        "created": "2026-11-22T14:34:21.25+00:00",
        "name": "prefect.noisy",
        **columns,
    }


def a_task_run(number: int = 0, **columns: Any) -> dict[str, Any]:
    """Make the row of a recorded task run."""
    row = rows_of("task_run_all")[number]
    return {
        **row,
        **WRITTEN,
        "task": {**row["task"], "name": row["task"]["slug"].removesuffix("-1")},
        "version": 3,
        "state": row["serialized_state"]["type"],
        "state_timestamp": "2026-11-22T14:34:16.9+00:00",
        "start_time": "2026-11-22T14:34:15+00:00",
        "end_time": None,
        **columns,
    }


def a_flow(**columns: Any) -> dict[str, Any]:
    """Make the row of the recorded flow."""
    return {**rows_of("flow")[0], **WRITTEN, "version": 2, **columns}


def an_agent(**columns: Any) -> dict[str, Any]:
    """Take the row of the recorded agent, which has all that is asked for."""
    return {**rows_of("agent")[0], **columns}


ROWS: Mapping[type, dict[str, Any]] = {
    RunQuery: a_run(),
    StatesQuery: a_state(STATES["Running"]),
    LogsQuery: a_log(),
    TaskRunsQuery: a_task_run(),
    TaskRunQuery: a_task_run(),
    TaskRunStatesQuery: a_task_run(),
    ResultsQuery: {"id": TASK_RUN, "serialized_state": STATES["Mapped"]},
    ResultQuery: {"id": TASK_RUN, "serialized_state": STATES["Success_LocalResult"]},
    FlowsQuery: a_flow(),
    FlowQuery: a_flow(),
    AgentsQuery: an_agent(),
}
"""By kind of query a row of its answer."""


# -- what is asked -------------------------------------------------------------------------------


def encode(query: Any) -> HttpCall:
    """Build the call of a query."""
    return call_of(query)


def asked(query: Query) -> Any:
    """Encode a query, and read the body."""
    call = encode(query)
    return json.loads(call.body or b"")


def depth(node: graphql.Node, selected: int = -1) -> int:
    """How deep the fields of a document are; those of its root have depth 0."""
    if isinstance(node, graphql.DocumentNode):
        return max(depth(part) for part in node.definitions)
    selections = getattr(node, "selection_set", None)
    return (
        max((depth(part, selected + 1) for part in selections.selections), default=selected)
        if (selections)
        else selected
    )


@pytest.mark.parametrize("text", QUERIES, ids=lambda text: text.split("(")[0].split()[1])
def test_a_query_is_valid_and_not_too_deep(text: str) -> None:
    """Each text fits the schema of a Prefect Server, whose gateway takes a depth of 7."""
    document = graphql.parse(text)
    assert not graphql.validate(SCHEMA, document)
    assert 0 <= depth(document) <= 7


def test_depth_counts_as_the_gateway_does() -> None:
    """What the gateway refused as too deep counts as deeper than 7 here."""
    refused = json.loads(recorded("depth_limit", "errors")["request"])["query"]
    assert depth(graphql.parse(refused)) == 8


@pytest.mark.parametrize("query", SENT, ids=KINDS)
def test_a_question_is_a_post_with_variables(query: Query) -> None:
    """All goes to the URL itself: one of the texts, an object of variables, the two headers."""
    call = encode(query)
    assert (call.method, call.path, call.params) == ("POST", "", ())
    assert dict(call.headers) == {
        "Content-Type": "application/json",
        "X-PREFECT-CORE-VERSION": recorded("flow")["headers"]["X-PREFECT-CORE-VERSION"],
    }
    body = asked(query)
    assert body.keys() == {"query", "variables"}
    assert body["query"] in QUERIES
    assert isinstance(body["variables"], dict)
    assert encode(query) == call


@pytest.mark.parametrize("query", SENT, ids=KINDS)
def test_a_server_takes_each_question(query: Query) -> None:
    """The variables fit the text: a server that knows nothing has an answer without rows."""
    decoded = read_reply(query, over_fake(FakePrefect1(), query))
    if isinstance(query, RunQuery):
        assert isinstance(decoded, Failure)
        assert decoded.kind is FailureKind.RUN_NOT_FOUND
    else:
        assert isinstance(decoded, Page)
        assert decoded.rows == ()


def over_fake(server: FakePrefect1, query: Query) -> HttpReply:
    """Have a server answer a question."""
    return send_to_fake(server.handle, "http://fake.invalid", encode(query))


def test_no_clock_of_ours_is_in_a_question() -> None:
    """A time is asked for only if the query names it, and then in the server's words."""
    bare = asked(LOGS)["variables"]
    assert bare["where"] == {"flow_run_id": {"_in": [RUN]}}
    query = LogsQuery(flow_run_ids=(RUN,), after=NOON, before=NOON + MINUTE)
    assert asked(query)["variables"]["where"]["timestamp"] == {
        "_gte": "2026-11-22T12:00:00Z",
        "_lte": "2026-11-22T12:01:00Z",
    }


@pytest.mark.parametrize(("descending", "way"), [(False, "asc"), (True, "desc")])
def test_log_lines_have_an_order_without_ties(descending: bool, way: str) -> None:
    """By timestamp, and among equal ones by what else tells two rows apart, in one direction."""
    query = LogsQuery(flow_run_ids=(RUN, FLOW), descending=descending, offset=7, limit=3)
    assert asked(query)["variables"] == {
        "where": {"flow_run_id": {"_in": [RUN, FLOW]}},
        "order": [{"timestamp": way}, {"created": way}, {"id": way}],
        "offset": 7,
        "limit": 3,
    }


@given(least=st.integers(1, 60))
def test_a_level_is_asked_for_as_it_is_read(least: int) -> None:
    """A line is among the rows just if the level that it is read as is high enough."""
    server = FakePrefect1()
    run = server.add_run()
    for level in (*("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"), "TRACE", "info", "", None):
        row = server.log(run, str(level))
        server.logs[row]["level"] = level
    found = page(LOGS, over_fake(server, LogsQuery(flow_run_ids=(run,), level=least))).rows
    wanted = {row["message"] for row in server.logs.values() if level_of(row["level"]) >= least}
    assert {row.message for row in found} == wanted
    assert all(row.level >= least for row in found)


def test_task_runs_are_asked_for_by_their_ids() -> None:
    """Ids are asked for within their flow run, so that another's are not among the rows."""
    query = TaskRunsQuery(flow_run_id=RUN, task_run_ids=(TASK_RUN,), offset=2, limit=3)
    assert asked(query)["variables"] == {
        "where": {"flow_run_id": {"_eq": RUN}, "id": {"_in": [TASK_RUN]}},
        "offset": 2,
        "limit": 3,
    }


def test_task_runs_are_asked_for_by_their_task() -> None:
    """One task's runs, or those that are no children, are found by the server."""
    query = TaskRunsQuery(flow_run_id=RUN, task_key="load-1", map_index=-1)
    assert asked(query)["variables"]["where"] == {
        "flow_run_id": {"_eq": RUN},
        "task": {"slug": {"_eq": "load-1"}},
        "map_index": {"_eq": -1},
    }


def test_no_more_is_asked_for_than_is_wanted() -> None:
    """Of a flow group only the newest version, and of states as many as an answer may hold."""
    assert asked(FlowsQuery(flow_group_id=FLOW))["variables"]["limit"] == 1
    assert asked(FlowsQuery("demo"))["variables"]["limit"] == 200
    assert asked(StatesQuery(RUN, limit=7))["variables"]["limit"] == 7


def test_flows_are_asked_for_by_name_project_and_group() -> None:
    """By its name a flow is looked for among those that are in use; by its group among all."""
    where = {
        query: asked(query)["variables"]["where"]
        for query in (
            FlowsQuery("demo"),
            FlowsQuery("demo", project_name="p"),
            FlowsQuery(project_name=None),
            FlowsQuery(flow_group_id=FLOW),
        )
    }
    assert list(where.values()) == [
        {"name": {"_eq": "demo"}, "archived": {"_eq": False}},
        {"name": {"_eq": "demo"}, "archived": {"_eq": False}, "project": {"name": {"_eq": "p"}}},
        {"project_id": {"_is_null": True}},
        {"flow_group_id": {"_eq": FLOW}},
    ]


@pytest.mark.parametrize(
    "query",
    [DeploymentQuery("x"), WorkPoolQuery("x"), WorkPoolsQuery(), WorkersQuery("x")],
    ids=lambda query: type(query).__name__,
)
def test_what_prefect_1_does_not_have_is_not_asked_for(query: Query) -> None:
    """Pools, workers and deployments came later: there are none."""
    assert play(CODEC.converse(query)) == ([], Page(()))


def test_a_prefect_1_need_not_be_asked_what_it_is() -> None:
    """It does not tell its version, and that it is a Prefect 1 is known."""
    known = Page((Server(backend=BackendName.PREFECT_1),))
    assert play(CODEC.converse(ServerQuery())) == ([], known)


def test_a_csrf_token_is_never_fetched() -> None:
    """A query takes one call, whatever the server replies, and a task has only its slug."""
    for status in (200, 401, 403):
        refused = reply({"detail": "Missing CSRF token."}, status)
        calls, _ = play(CODEC.converse(RunQuery(RUN)), [refused])
        assert len(calls) == 1
    assert CODEC.task_names("load-1") == ()


# -- good answers --------------------------------------------------------------------------------


def test_a_flow_run_says_what_it_says() -> None:
    """The recorded run, and in it the newest of its states, field by field."""
    (run,) = page(RunQuery(RUN), answer(a_run())).rows
    assert run == FlowRun(
        id=RUN,
        name="wire-demo",
        flow_id=FLOW,
        created=WROTE["created"],
        updated=datetime.fromisoformat(rows_of("flow_run_Success")[0]["updated"]),
        state_id=run.state.id,
        state=State(
            id=a_run()["states"][0]["id"],
            type="COMPLETED",
            name="Success",
            timestamp=datetime.fromisoformat(a_run()["states"][0]["timestamp"]),
            message="All reference tasks succeeded.",
            version=4,
        ),
        parameters={"n": 5},
        run_config=a_run()["run_config"],
        tags=tuple(a_run()["labels"]),
        expected_start_time=datetime(2026, 11, 22, 14, 34, 5, 129510, tzinfo=UTC),
        start_time=datetime(2026, 11, 22, 14, 34, 13, tzinfo=UTC),
    )
    assert run.tags == ("rx", "vm")


def test_a_scheduled_run_says_when_it_is_due() -> None:
    """What the state says of its time is the run's next time to start."""
    row = a_run(states=[a_state(STATES["Scheduled"])])
    (run,) = page(RunQuery(RUN), answer(row)).rows
    assert run.next_scheduled_start_time == datetime(2022, 11, 4, 12, 0, 0, 123456, tzinfo=UTC)


def test_states_say_what_they_say() -> None:
    """Each recorded state of the run is told with its time, its name and its words."""
    recorded_states = rows_of("flow_run_Success")[0]["states"]
    rows = [
        a_state(each["serialized_state"], id=str(n), version=n, timestamp=each["timestamp"])
        for n, each in enumerate(recorded_states)
    ]
    states = page(StatesQuery(RUN), answer(*rows)).rows
    assert [state.name for state in states] == ["Scheduled", "Submitted", "Running", "Success"]
    for state, each in zip(states, recorded_states, strict=True):
        assert state.timestamp == datetime.fromisoformat(each["timestamp"])
        assert state.message == each["serialized_state"]["message"]
    assert [(state.id, state.version) for state in states] == [(str(n), n) for n in range(4)]


@pytest.mark.parametrize("sample", STATES)
def test_a_state_of_each_class_has_a_known_type(sample: str) -> None:
    """Its name is its class, its type is one that Prefect 3 has too, and final if it was."""
    (state,) = page(StatesQuery(RUN), answer(a_state(STATES[sample]))).rows
    assert state.name == PREDICATES[sample]["type"]
    assert state.type in set(StateType)
    assert state.is_terminal is ("is_finished" in PREDICATES[sample]["true"])
    assert state.message == STATES[sample]["message"]


@pytest.mark.parametrize("column", ["serialized_state", "state"])
def test_an_unknown_class_is_kept_and_not_terminal(column: str) -> None:
    """A state of a class that is not known here is kept by its name, and no run is over in it."""
    odd = {"type": "Hibernating", "message": "zzz"}
    row = a_state(odd, **({"serialized_state": None} if column == "state" else {}))
    (state,) = page(StatesQuery(RUN), answer(row)).rows
    assert (state.type, state.name, state.message) == ("Hibernating", "Hibernating", "zzz")
    assert not state.is_terminal
    (run,) = page(RunQuery(RUN), answer(a_run(states=[row]))).rows
    assert not run.is_terminal


@pytest.mark.parametrize(
    "said",
    [
        *(None, 5, "Running", [], {}),
        {"type": 5, "message": {"a": 1}, "start_time": "noon"},
        {"type": None, "message": None, "start_time": "2026-11-22T12:00:00"},
        {"_result": None, "start_time": 17},
    ],
)
def test_what_a_state_says_may_be_anything(said: Any) -> None:
    """The server takes any JSON for it: what cannot be read of it stands in the columns or not."""
    row = a_state(STATES["Running"], serialized_state=said)
    (state,) = page(StatesQuery(RUN), answer(row)).rows
    assert (state.type, state.name, state.message) == ("RUNNING", "Running", "Running flow.")
    (run,) = page(RunQuery(RUN), answer(a_run(states=[row]))).rows
    assert run.next_scheduled_start_time is None
    (task_run,) = page(TASKS, answer(a_task_run(serialized_state=said))).rows
    assert task_run.state.name == "Success"


def test_a_log_line_says_what_it_says() -> None:
    """Each recorded line, with what was stored beside it."""
    lines = rows_of("flow_run_logs_initial")[0]["logs"]
    decoded = page(LOGS, answer(*(a_log(number) for number in range(len(lines)))))
    assert decoded.count == len(lines) == 25
    for number, line in enumerate(lines):
        assert decoded.rows[number] == FlowRunLog(
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
    """A level that is not known is INFO's, so that lines can be compared and none is overlooked."""
    (line,) = page(LOGS, answer(a_log(level=level))).rows
    assert line.level == number


@pytest.mark.parametrize(
    ("written", "microseconds"),
    [("", 0), (".5", 500000), (".12951", 129510), (".000001", 1), (".123456", 123456)],
)
def test_a_time_is_written_without_trailing_zeros(written: str, microseconds: int) -> None:
    """PostgreSQL leaves zeros out at the end of a fraction."""
    (line,) = page(LOGS, answer(a_log(timestamp=f"2026-11-22T12:00:00{written}+00:00"))).rows
    assert line.timestamp == NOON.replace(microsecond=microseconds)


@pytest.mark.parametrize("number", range(len(rows_of("task_run_all"))))
def test_a_task_run_says_what_it_says(number: int) -> None:
    """Each recorded task run: its task, its place among the mapped ones, its state."""
    row = a_task_run(number)
    (task_run,) = page(TASKS, answer(row)).rows
    said = row["serialized_state"]
    assert task_run == TaskRun(
        id=row["id"],
        name=row["task"]["slug"] + (f"[{row['map_index']}]" if row["map_index"] >= 0 else ""),
        flow_run_id=RUN,
        task_key=row["task"]["slug"],
        task_id=row["task"]["id"],
        dynamic_key=str(row["map_index"]),
        map_index=row["map_index"],
        **WROTE,
        state_id=f"{row['id']}:3",
        state=task_run.state,
        start_time=datetime(2026, 11, 22, 14, 34, 15, tzinfo=UTC),
    )
    assert task_run.state.name == said["type"]
    assert (task_run.state.message, task_run.state.version) == (said["message"], 3)
    assert page(TaskRunQuery(row["id"]), answer(row)).rows == (task_run,)
    assert page(TaskRunStatesQuery(row["id"]), answer(row)).rows == (task_run.state,)


def test_a_state_of_a_task_run_is_told_apart_by_its_number() -> None:
    """Two states of one task run differ, though neither has a row, even if both are Running."""
    first, second, again = (
        page(TASKS, answer(a_task_run(version=version))).rows[0].state for version in (1, 2, 2)
    )
    assert first.id != second.id == again.id


def test_a_flow_says_what_it_says() -> None:
    """The recorded flow, and what was registered of it."""
    row = a_flow()
    (flow,) = page(FlowQuery(FLOW), answer(row)).rows
    assert flow == Flow(
        id=FLOW,
        name="demo",
        **WROTE,
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
    assert page(FlowsQuery("demo"), answer(row, row)).rows == (flow, flow)


def test_an_agent_says_what_it_says() -> None:
    """The recorded agent, whose labels may be null."""
    (agent,) = page(AgentsQuery(), answer(an_agent())).rows
    assert agent == Agent(
        id="3fe3f4ad-6f3c-4e97-8517-446da1a4550e",
        name="rx-agent",
        labels=("rx", "vm"),
        last_queried=datetime(2026, 11, 22, 14, 48, 49, 728044, tzinfo=UTC),
    )
    assert page(AgentsQuery(), answer(an_agent(labels=None))).rows[0].labels == ()


def stored(**fields: Any) -> StoredResult:
    """Make what is known of the result of the recorded task run."""
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
def test_where_a_result_is_stands_in_the_state(sample: str) -> None:
    """A file, a value, what keeps it, or how many children have one: as each kind of it says."""
    row = {"id": TASK_RUN, "serialized_state": STATES[sample]}
    assert page(ResultQuery(TASK_RUN), answer(row)).rows == (RESULTS[sample],)
    assert page(ResultsQuery((TASK_RUN,)), answer(row)).rows == (RESULTS[sample],)


@pytest.mark.parametrize("state", [None, {}, {"_result": None}, {"_result": {"type": "Result"}}])
def test_a_state_without_a_result_has_none(state: Any) -> None:
    """Where nothing was kept, the location is None."""
    row = {"id": TASK_RUN, "serialized_state": state}
    assert page(ResultQuery(TASK_RUN), answer(row)).rows == (stored(),)


@pytest.mark.parametrize("state", ["text", [1], {"_result": 5}, {"_result": {"location": 17}}])
def test_a_result_of_another_kind_cannot_be_read(state: Any) -> None:
    """What is no record of a result is garbled, and nothing is guessed."""
    row = {"id": TASK_RUN, "serialized_state": state}
    assert failure(ResultQuery(TASK_RUN), answer(row)).kind is FailureKind.UNREADABLE


@pytest.mark.parametrize("query", SENT, ids=KINDS)
def test_the_server_tells_its_time(query: Query) -> None:
    """A page knows the server's own time, from the Date header that each recording has."""
    date = recorded("flow")["resp_headers"]["Date"]
    given = HttpReply(status=200, headers={"date": date}, body=answer(ROWS[type(query)]).body)
    assert page(query, given).server_time == datetime(2026, 11, 22, 14, 34, 30, tzinfo=UTC)


# -- nulls and missing columns -------------------------------------------------------------------

NEEDED: Mapping[type, set[str]] = {
    RunQuery: {"id", "created", "updated"},
    StatesQuery: {"id", "timestamp"},
    LogsQuery: {"id", "flow_run_id", "timestamp", "created"},
    TaskRunsQuery: {"id", "created", "updated"},
    FlowsQuery: {"id", "created", "updated"},
    AgentsQuery: {"id"},
}
"""What no row is read without; the rows' own tables do not have it null either."""


@pytest.mark.parametrize(
    ("kind", "column"),
    [(kind, column) for kind in NEEDED for column in ROWS[kind] if column not in NEEDED[kind]],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_a_column_may_be_null(kind: type, column: str) -> None:
    """Any column but a row's id and times may be null, and the row is read without it."""
    query = next(query for query in SENT if type(query) is kind)
    if (kind, column) == (RunQuery, "states"):  # a list is never null, but it may be empty
        assert page(query, answer({**ROWS[kind], column: []})).rows[0].state is None
    else:
        decoded = page(query, answer({**ROWS[kind], column: None}))
        assert len(decoded.rows) == 1, decoded.malformed


def test_a_state_is_known_for_a_prefect_1s_by_its_number() -> None:
    """A state without a number has number 0: only Prefect 3's have none."""
    (state,) = page(StatesQuery(RUN), answer(a_state(STATES["Looped"], version=None))).rows
    assert state.version == 0
    assert state.is_looped


@pytest.mark.parametrize("kind", NEEDED)
def test_all_that_may_be_null_may_be_null_at_once(kind: type) -> None:
    """A row of nothing but its id and its times is a row."""
    query = next(query for query in SENT if type(query) is kind)
    bare = {name: ROWS[kind][name] for name in NEEDED[kind]}
    nulls = dict.fromkeys(ROWS[kind].keys() - NEEDED[kind] - {"states"})
    for row in (bare, bare | nulls):
        assert len(page(query, answer(row)).rows) == 1


def test_a_run_without_a_state_has_none() -> None:
    """A flow run or a task run that is in no state yet is a good row."""
    (run,) = page(RunQuery(RUN), answer(a_run(states=[]))).rows
    assert run.state is None
    assert run.state_id is None
    stateless = a_task_run(state=None, serialized_state=None, state_timestamp=None, version=0)
    (task_run,) = page(TASKS, answer(stateless)).rows
    assert (task_run.state, task_run.state_id) == (None, None)
    assert page(TaskRunStatesQuery(TASK_RUN), answer(stateless)).rows == ()


@pytest.mark.parametrize(
    ("task", "key"),
    [
        (None, ""),
        ({"id": FLOW, "slug": None, "name": "load"}, "load"),
        ({"id": FLOW, "slug": None, "name": None}, ""),
        ({"id": FLOW, "slug": "load-1", "name": "load"}, "load-1"),
    ],
)
def test_a_task_goes_by_its_slug_or_its_name(task: Any, key: str) -> None:
    """A task without a slug goes by its name; a task run without a name by its task's."""
    (task_run,) = page(TASKS, answer(a_task_run(task=task, name=None))).rows
    assert (task_run.task_key, task_run.name) == (key, key)
    (named,) = page(TASKS, answer(a_task_run(task=task, name="first"))).rows
    assert (named.task_key, named.name) == (key, "first")


@pytest.mark.parametrize("query", SENT[1:], ids=KINDS[1:])
def test_no_rows_are_an_answer(query: Query) -> None:
    """Of what is asked for there may be none."""
    for body in (b'{"data":{"rows":[]}}', b'{"data": {"rows": [ ]}, "errors": []}'):
        assert page(query, reply(body)).rows == ()


@pytest.mark.parametrize("body", [b'{"data":{"rows":[]}}', b'{ "data": { "rows": [ ] } }'])
def test_a_run_that_is_not_there_is_missing(body: bytes) -> None:
    """An answer without a row, however it is written, says that there is no such run."""
    found = failure(RunQuery(RUN), reply(body))
    assert found.kind is FailureKind.RUN_NOT_FOUND
    assert RUN in found.text


# -- rows that cannot be read --------------------------------------------------------------------


def test_a_malformed_row_is_named_and_the_others_are_kept() -> None:
    """Of a page with a row that cannot be read, that row is named, and the others are kept."""
    first, bad, last = a_log(1), a_log(2, message=["loud"]), a_log(3)
    decoded = page(LOGS, answer(first, bad, last))
    assert [row.id for row in decoded.rows] == [first["id"], last["id"]]
    (named,) = decoded.malformed
    assert (named.id, named.flow_run_id) == (bad["id"], RUN)
    assert named.timestamp == datetime.fromisoformat(bad["timestamp"])
    assert "$.message" in named.reason
    assert decoded.count == 3


@pytest.mark.parametrize(
    ("kind", "column"),
    [
        (kind, column)
        for kind in NEEDED
        if kind in {StatesQuery, LogsQuery, TaskRunsQuery, AgentsQuery}
        for column in sorted(NEEDED[kind])
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
@pytest.mark.parametrize("value", [None, 5, "noon", "missing"])
def test_a_row_without_what_is_needed_is_malformed(kind: type, column: str, value: Any) -> None:
    """A row of a list that lacks its id or a time is named, and its neighbours are kept."""
    query = next(query for query in SENT if type(query) is kind)
    row = {**ROWS[kind], column: value}
    if value == "missing":
        del row[column]
    if column in {"id", "flow_run_id"} and value == "noon":
        return  # a text is an id
    decoded = page(query, answer(ROWS[kind], row, ROWS[kind]))
    assert len(decoded.rows) == 2
    (named,) = decoded.malformed
    assert f"`{column}`" in named.reason or f"$.{column}" in named.reason


def test_a_naive_time_is_malformed() -> None:
    """A time without an offset says nothing, and its row is named with the field's path."""
    (named,) = page(LOGS, answer(a_log(timestamp="2026-11-22T14:27:33"))).malformed
    assert "$.timestamp" in named.reason


@pytest.mark.parametrize("row", [None, 5, "a", [], {}, {"id": 5}, {"id": None}])
def test_a_row_without_an_id_gets_one(row: Any) -> None:
    """A row whose id cannot be read is named by a digest: the same each time, another's another."""
    good = a_log()
    decoded = page(LOGS, answer(row, good, row, ["another"]))
    names = [named.id for named in decoded.malformed]
    assert names[0] == names[1] != names[2]
    assert len(names[0]) == 32
    assert decoded.rows == page(LOGS, answer(good)).rows


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (rb"\ud800", "\ufffd"),
        (rb"\uD83D\uDE00", "\U0001f600"),
        (rb"\udc00\ud83d\ude00\ud83d", "\ufffd\U0001f600\ufffd"),
        (rb"\\ud800 \ud800", "\\ud800 \ufffd"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"caf\xe9", "caf\ufffd"),
        (rb"\u0000 \u001b[31m", "\x00 \x1b[31m"),
    ],
)
def test_text_that_is_not_unicode_is_mended(written: bytes, read: str) -> None:
    """Half surrogates and bytes that are not UTF-8 become U+FFFD; all else of the page stays."""
    body = answer(a_log(1, message="@"), a_log(2, message="fine")).body
    decoded = page(LOGS, reply(body.replace(b"@", written)))
    assert [row.message for row in decoded.rows] == [read, "fine"]


# -- answers that cannot be read -----------------------------------------------------------------


@pytest.mark.parametrize("query", SENT, ids=KINDS)
@pytest.mark.parametrize("kind", ["application/json", "text/html"])
def test_no_piece_of_an_answer_is_an_answer(query: Query, kind: str) -> None:
    """An answer that was cut short, at whichever byte, is never taken for a page."""
    body = answer(ROWS[type(query)]).body
    trouble = FailureKind.UNREADABLE if kind == "application/json" else FailureKind.NOT_AN_API
    for end in range(len(body)):
        cut = reply(body[:end], content_type=kind)
        assert failure(query, cut).kind is trouble


@pytest.mark.parametrize("query", SENT, ids=KINDS)
@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"data":' * 100_000,
        b'{"data":{"rows":' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
        b'{"data":{"rows":[{"id":"1","serialized_state":' + b"[" * 50_000 + b"]" * 50_000 + b"}]}}",
        b'{"errors":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b"\xff" + b"[" * 100_000,
    ],
    ids=["arrays", "objects", "rows", "within a row", "errors", "not unicode"],
)
def test_deep_nesting_is_garbled(query: Query, body: bytes) -> None:
    """An answer that is nested too deep cannot be read, and nothing breaks over it."""
    assert failure(query, reply(body)).kind is FailureKind.UNREADABLE


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"1e999", b"9" * 5000])
def test_what_is_no_number_is_not_taken_for_one(number: bytes) -> None:
    """Numbers that JSON does not know, or nobody can hold, make a run's row unreadable."""
    body = answer(a_run(parameters={"n": "@"})).body
    garbled = failure(RunQuery(RUN), reply(body.replace(b'"@"', number)))
    assert garbled.kind is FailureKind.UNREADABLE


@pytest.mark.parametrize("number", [2**63, -(2**70), 10**30])
def test_a_huge_number_is_a_number(number: int) -> None:
    """An integer beyond 64 bits stays what it is."""
    (run,) = page(RunQuery(RUN), answer(a_run(parameters={"n": number}))).rows
    assert run.parameters == {"n": number}
    (task_run,) = page(TASKS, answer(a_task_run(map_index=number))).rows
    assert task_run.map_index == number


def test_what_is_missing_is_named() -> None:
    """An answer about a run that lacks a field names the run and the JSON path."""
    row = a_run()
    del row["states"][0]["timestamp"]
    text = failure(RunQuery(RUN), answer(row)).text
    assert RUN in text
    assert "`timestamp` - at `$[0].states[0]`" in text


@pytest.mark.parametrize("query", SENT, ids=KINDS)
@pytest.mark.parametrize("rows", [None, 5, "rows", {}, {"rows": []}])
def test_rows_are_a_list(query: Query, rows: Any) -> None:
    """Anything else in their place, or nothing, cannot be read."""
    answers: list[Any] = [{"rows": rows}, {"log": []}, {}]
    for data in answers:
        assert failure(query, reply({"data": data})).kind is FailureKind.UNREADABLE


@pytest.mark.parametrize("body", [{}, {"data": None}, {"rows": []}, {"errors": [], "data": None}])
def test_what_is_no_answer_of_graphql_is_not_an_api(body: Any) -> None:
    """JSON with neither data nor errors came from something else."""
    assert failure(LOGS, reply(body)).kind is FailureKind.NOT_AN_API


HTML = b"<!DOCTYPE html><html><body>Sign in to continue</body></html>"


@pytest.mark.parametrize("query", SENT, ids=KINDS)
@pytest.mark.parametrize(
    ("status", "trouble"),
    [
        *((status, FailureKind.NOT_AN_API) for status in (200, 400, 404, 413)),
        (502, FailureKind.SERVER),
        (403, FailureKind.AUTH),
    ],
)
def test_a_web_page_is_no_answer(query: Query, status: int, trouble: FailureKind) -> None:
    """HTML from whatever stands in between is never a page, and is not quoted."""
    found = failure(query, reply(HTML, status, content_type="text/html; charset=utf-8"))
    assert found.kind is trouble
    assert "Sign in" not in found.text


def test_a_redirect_says_where_to() -> None:
    """A redirect that was not followed is no API, and the message says where it leads, no more."""
    found = failure(
        RunQuery(RUN),
        reply(b"", 302, content_type="text/html", location="https://sso.example/in?state=canary"),
    )
    assert found.kind is FailureKind.NOT_AN_API
    assert "https://sso.example/in" in found.text
    assert "canary" not in found.text


# -- errors --------------------------------------------------------------------------------------

TROUBLES = {
    "apollo_bad_arg": (FailureKind.REJECTED, "_foo"),
    "apollo_syntax_error": (FailureKind.REJECTED, "Syntax Error"),
    "apollo_unknown_field": (FailureKind.REJECTED, "nope"),
    "depth_limit": (FailureKind.REJECTED, "depth"),
    "empty_body": (FailureKind.SERVER, "HTTP 500"),
    "hasura_bad_timestamp": (FailureKind.REJECTED, "yesterdayish"),
    "hasura_bad_uuid": (FailureKind.REJECTED, "uuid"),
    "hasura_down": (FailureKind.SERVER, "ECONNREFUSED"),
    "hasura_neg_limit": (FailureKind.REJECTED, "non-negative"),
    "partial_error": (FailureKind.REJECTED, "uuid"),
    "prefect_graphql_down": (FailureKind.SERVER, "ECONNREFUSED"),
    "prefect_server_hasura_down": (FailureKind.SERVER, "internal API error"),
    "prefect_server_value_error": (FailureKind.SERVER, "State update failed"),
}
NO_ERRORS = {"flow_run_by_pk_missing", "not_found_empty", "variables_string_null"}
"""Among the recorded errors, answers that are none."""


def test_all_recorded_errors_are_looked_at() -> None:
    """Each of the recordings is either an error or known not to be one."""
    assert sorted(TROUBLES.keys() | NO_ERRORS) == ERRORS


def recorded_error(name: str) -> HttpReply:
    """Make the reply that was recorded."""
    said = recorded(name, "errors")
    body, kind = said["response"], "application/json; charset=utf-8"
    if isinstance(body, str):
        body, kind = body.encode(), "text/html; charset=utf-8"
    return reply(body, said["status"], content_type=kind)


@pytest.mark.parametrize("name", TROUBLES)
@pytest.mark.parametrize("query", SENT, ids=KINDS)
def test_recorded_errors(query: Query, name: str) -> None:
    """What was recorded leads to the trouble that says who can put it right, in its own words."""
    trouble, said = TROUBLES[name]
    found = failure(query, recorded_error(name))
    assert found.kind is trouble
    assert said in found.text
    assert found.text.isprintable()


@pytest.mark.parametrize("name", sorted(NO_ERRORS))
def test_recorded_answers_without_our_rows_are_garbled(name: str) -> None:
    """Answers to other queries are no errors, but have no rows for us."""
    assert failure(LOGS, recorded_error(name)).kind is FailureKind.UNREADABLE


def refusal(code: Any, message: Any = "words", status: int = 200) -> HttpReply:
    """Make an error as GraphQL tells it."""
    error = {"message": message, "extensions": {"code": code}}
    return reply({"errors": [error], "data": None}, status)


@pytest.mark.parametrize(
    ("code", "trouble"),
    [
        ("INTERNAL_SERVER_ERROR", FailureKind.SERVER),
        ("API_ERROR", FailureKind.SERVER),
        ("VERSION_LOCKING_ERROR", FailureKind.SERVER),
        ("postgres-error", FailureKind.SERVER),
        (None, FailureKind.SERVER),
        (5, FailureKind.SERVER),
        ("data-exception", FailureKind.REJECTED),
        ("validation-failed", FailureKind.REJECTED),
        ("GRAPHQL_PARSE_FAILED", FailureKind.REJECTED),
        ("GRAPHQL_VALIDATION_FAILED", FailureKind.REJECTED),
        ("UNAUTHENTICATED", FailureKind.AUTH),
        ("FORBIDDEN", FailureKind.AUTH),
    ],
)
def test_the_code_of_an_error_says_what_to_do(code: Any, trouble: FailureKind) -> None:
    """Served with status 200: what passes by itself, what never will, and who has no access."""
    assert failure(LOGS, refusal(code)).kind is trouble


def test_what_the_servers_words_are_for() -> None:
    """A time-out is worth another try; a header that cannot be read is told by its text alone."""
    timed_out = failure(LOGS, refusal("API_ERROR", "Operation timed out"))
    assert "API_ERROR" in timed_out.text
    assert "Operation timed out" in timed_out.text
    header = reply({"errors": [{"message": "Malformed Authorization header"}], "data": None})
    assert failure(LOGS, header).kind is FailureKind.AUTH
    assert "RXFLOW_API_KEY" in failure(LOGS, header).text


def test_a_request_that_is_refused_outright_is_our_fault() -> None:
    """Status 400 is about the question, whatever its code, unless it is about access."""
    assert failure(LOGS, refusal("INTERNAL_SERVER_ERROR", status=400)).kind is FailureKind.REJECTED
    assert failure(LOGS, refusal("UNAUTHENTICATED", status=400)).kind is FailureKind.AUTH


@pytest.mark.parametrize("first", [0, 1])
def test_of_several_errors_the_gravest_counts(first: int) -> None:
    """A question that is not taken is not asked again because something else was out of order."""
    errors = [
        {"message": "down", "extensions": {"code": "INTERNAL_SERVER_ERROR"}},
        {"message": "bad", "extensions": {"code": "data-exception"}},
    ]
    both = {"errors": errors if first == 0 else errors[::-1], "data": {"rows": []}}
    assert failure(LOGS, reply(both)).kind is FailureKind.REJECTED


def test_rows_beside_errors_are_not_taken() -> None:
    """An answer with errors and rows may lack some of them."""
    both = {"errors": [{"message": "oops"}], "data": {"rows": [a_log()]}}
    assert failure(LOGS, reply(both)).kind is FailureKind.SERVER


@pytest.mark.parametrize("errors", ["words", {"message": "words"}, [5], ["words"], [None], 5, [[]]])
def test_errors_of_another_kind_cannot_be_read(errors: Any) -> None:
    """Something is wrong, but what is not said in GraphQL's way."""
    assert failure(LOGS, reply({"errors": errors, "data": None})).kind is FailureKind.UNREADABLE


@pytest.mark.parametrize(
    ("status", "trouble"),
    [
        *((status, FailureKind.BUSY) for status in (408, 425, 429, 503)),
        *((status, FailureKind.SERVER) for status in (409, 410, 500, 501, 502, 504, 507, 599)),
        *((status, FailureKind.AUTH) for status in (401, 403)),
        *((status, FailureKind.REJECTED) for status in (406, 413, 415, 422)),
        *((status, FailureKind.NOT_AN_API) for status in (201, 204, 301, 304, 307, 404, 405)),
    ],
)
def test_each_status_means_something(status: int, trouble: FailureKind) -> None:
    """Each HTTP status leads to one kind of trouble, whatever the body says beside it."""
    for body in ({"message": "words"}, {"data": {"rows": [a_log()]}}):
        assert failure(LOGS, reply(body, status)).kind is trouble


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after(status: int) -> None:
    """A server that is busy says when to come again, in seconds or by its own clock."""
    assert failure(LOGS, reply({}, status, retry_after="7")).retry_after == 7
    then = format_datetime(NOON + timedelta(seconds=20), usegmt=True)
    date = format_datetime(NOON, usegmt=True)
    assert failure(LOGS, reply({}, status, retry_after=then, date=date)).retry_after == 20
    assert failure(LOGS, reply({}, status)).retry_after is None


@pytest.mark.parametrize(
    "code", ["API_ERROR", "data-exception", "UNAUTHENTICATED", "\x1b[31m" * 99]
)
def test_an_error_is_quoted_in_plain_words_and_briefly(code: str) -> None:
    """Of what a server says, 256 printable characters at the most go into a message."""
    found = failure(LOGS, refusal(code, "\x1b[31m\u202e\n" + "blah " * 10_000))
    assert "blah" in found.text
    assert len(found.text) < 2 * 256 + 200
    assert found.text.isprintable()


@pytest.mark.parametrize("message", [[{"input": "canary"}], {"a": "canary"}, 5, None])
def test_a_structured_error_is_not_quoted(message: Any) -> None:
    """An error's message is a text, or is not shown."""
    found = failure(LOGS, refusal("API_ERROR", message))
    assert found.kind is FailureKind.SERVER
    assert "canary" not in found.text


# -- laws ----------------------------------------------------------------------------------------

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | st.integers() | FLOATS | st.text(max_size=5)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
WORDS = ["data", "errors", "rows", "message", "extensions", "code", "id", "UNAUTHENTICATED"]
NESTED = st.recursive(
    JSON | st.sampled_from(WORDS),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=3)
    ),
    max_leaves=8,
)


@st.composite
def pieced(draw: st.DrawFn) -> bytes:
    """Draw a good body with a piece of it replaced, or doubled, or cut out."""
    body = answer(ROWS[draw(st.sampled_from(sorted(ROWS, key=str)))]).body
    start, end = sorted(draw(st.tuples(*[st.integers(0, len(body))] * 2)))
    return body[:start] + draw(st.binary(max_size=8) | st.just(body[start:end] * 2)) + body[end:]


BODIES = st.binary() | pieced() | NESTED.map(lambda value: json.dumps(value).encode())
REPLIES = st.builds(
    HttpReply,
    status=st.integers(100, 599) | st.sampled_from([200, 200, 400, 401, 404, 429]),
    headers=st.dictionaries(
        st.sampled_from(["content-type", "date", "retry-after", "location"]),
        st.text() | st.sampled_from(["application/json", "text/html", "7"]),
    ),
    body=BODIES,
)


@given(query=st.sampled_from((*SENT, ServerQuery())), given_reply=REPLIES)
def test_nothing_that_comes_raises(query: Query, given_reply: HttpReply) -> None:
    """Whatever comes is a page or a failure with a printable text, never an exception."""
    decoded = read_reply(query, given_reply)
    if isinstance(decoded, Failure):
        assert decoded.text.isprintable()
        assert decoded.retry_after is None or 0 <= decoded.retry_after <= 300
    else:
        assert isinstance(decoded, Page)
        assert given_reply.status in {200, 400}
        assert decoded.rows or not isinstance(query, RunQuery)
    assert isinstance(is_graphql_reply(given_reply), bool)
    assert isinstance(read_row_count(query, given_reply), int | Failure)


def paths(value: Any, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Name each field of a row, and of the objects in it."""
    for key, inner in value.items() if isinstance(value, dict) else ():
        yield (*prefix, key)
        yield from paths(inner, (*prefix, key))


@st.composite
def changed(draw: st.DrawFn, row: Any) -> Any:
    """Draw a row like this one, but for some fields that are dropped or hold something else."""
    copy = json.loads(json.dumps(row))
    for path in draw(st.lists(st.sampled_from(sorted(paths(row))), min_size=1, max_size=3)):
        holder = copy
        for key in path[:-1]:
            holder = holder.get(key) if isinstance(holder, dict) else None
        if isinstance(holder, dict) and path[-1] in holder:
            if draw(st.booleans()):
                del holder[path[-1]]
            else:
                holder[path[-1]] = draw(JSON)
    return copy


@given(data=st.data(), query=st.sampled_from([StatesQuery(RUN), LOGS, TASKS, AgentsQuery()]))
def test_no_row_is_lost(data: st.DataObject, query: Query) -> None:
    """A row that was changed in any way is read or named, and its neighbours are untouched."""
    row = ROWS[type(query)]
    rows = [{**row, "id": str(number)} for number in range(3)]
    good = page(query, answer(*rows)).rows
    odd = data.draw(changed(rows[0]))
    at = data.draw(st.integers(0, len(rows)))
    decoded = page(query, answer(*rows[:at], odd, *rows[at:]))
    assert decoded.count == len(rows) + 1
    if decoded.malformed:
        (named,) = decoded.malformed
        assert isinstance(named, MalformedRow)
        assert named.id == odd["id"] if isinstance(odd.get("id"), str) else len(named.id) == 32
        assert decoded.rows == good
    else:
        assert type(decoded.rows[at]) is type(good[0])
        assert (*decoded.rows[:at], *decoded.rows[at + 1 :]) == good


@given(
    data=st.data(),
    query=st.sampled_from([RunQuery(RUN), TaskRunQuery(TASK_RUN), FlowQuery(FLOW)]),
)
def test_a_changed_row_is_read_or_garbled(data: st.DataObject, query: Query) -> None:
    """The row that was asked for, changed in any way, is read, or the answer cannot be read."""
    decoded = read_reply(query, answer(data.draw(changed(ROWS[type(query)]))))
    if isinstance(decoded, Page):
        assert len(decoded.rows) == 1
    else:
        assert decoded.kind is FailureKind.UNREADABLE
