"""The fake Prefect 1 server: against recorded answers of a real one, and against SQL.

What was recorded is asked of it again, in process and over HTTP; which rows a question wants is
compared with what SQLite finds by the same conditions; and where the test environment has it, the
client of Prefect 1.4.1 is run against it.
"""

import asyncio
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import graphql
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rxflow.testing import FakePrefect1, Faults, VirtualTime
from rxflow.testing._prefect1.rows import serialized

Ask = Callable[..., Any]

TESTS = Path(__file__).parents[1]
RECORDED = TESTS / "recorded" / "prefect1"
WIRE = sorted(path.stem for path in (RECORDED / "wire").glob("*.json"))
ERRORS = sorted(path.stem for path in (RECORDED / "errors").glob("*.json"))
STATES = json.loads((RECORDED / "states.json").read_text("utf-8"))

URL = "http://fake.invalid"
SOON = datetime(2026, 11, 22, 14, 34, tzinfo=UTC)

# The answers that were recorded while the run was still going on; the others came after its end.
BEFORE_THE_END = {"flow_run_Scheduled": 1, "flow_run_Submitted": 2, "flow_run_Running": 3}

TROUBLES: dict[str, Any] = {
    "hasura_down": "hasura_down",
    "prefect_server_hasura_down": "hasura_down",
    "prefect_graphql_down": "graphql_down",
}


def recording(name: str, kind: str = "wire") -> Any:
    """Load a recorded exchange."""
    return json.loads((RECORDED / kind / f"{name}.json").read_text("utf-8"))


def rows_of(name: str) -> list[dict[str, Any]]:
    """The rows of the one table that a recorded answer is about."""
    (rows,) = recording(name)["response"]["data"].values()
    found: list[dict[str, Any]] = rows if isinstance(rows, list) else [rows]
    return found


def moment(text: str) -> datetime:
    """Read a time."""
    return datetime.fromisoformat(text)


def fields_of(state: dict[str, Any]) -> dict[str, Any]:
    """What of a state the server cannot know by itself."""
    return {key: state[key] for key in ("_result", "context", "n_map_states") if key in state}


def restored(name: str) -> FakePrefect1:
    """A server that holds what the real one held when an exchange was recorded."""
    server = FakePrefect1(clock=VirtualTime(SOON))
    (tenant,), (flow,), (agent,) = rows_of("tenants"), rows_of("flow"), rows_of("agent")
    server.tenants = {tenant["id"]: tenant}
    columns = {
        key: value for key, value in flow.items() if key not in {"name", "project", "flow_group"}
    }
    server.add_flow(flow["name"], project=flow["project"]["name"], **columns)
    project = rows_of("get_flow_run_info")[0]["flow"]["project"]
    server.projects = {project["id"]: project}
    server.flows[flow["id"]]["project_id"] = project["id"]
    agent_id = server.add_agent(
        agent["name"], labels=agent["labels"], last_queried=moment(agent["last_queried"])
    )
    server.agents[agent_id]["id"] = agent["id"]
    restore_run(server, name)
    if name not in BEFORE_THE_END:
        restore_task_runs(server)
    if name != "flow_run_logs_incremental_empty":  # the writer had not sent them yet
        for row in rows_of("flow_run_logs_initial")[0]["logs"]:
            run_id = next(iter(server.runs))
            server.log(
                run_id, row["message"], level=row["level"], timestamp=moment(row["timestamp"])
            )
    return server


def restore_run(server: FakePrefect1, name: str) -> None:
    """Let the recorded run come as far as it was."""
    (run,) = rows_of(name if name in BEFORE_THE_END else "flow_run_Success")
    created = json.loads(recording("create_flow_run")["body"]["variables"])["input"]
    states = run["states"]
    due = moment(states[0]["serialized_state"]["start_time"])
    run_id = server.add_run(
        state=None,
        scheduled_start_time=due,
        idempotency_key=created["idempotency_key"],
        **{
            key: run[key] for key in ("id", "name", "flow_id", "labels", "parameters", "run_config")
        },
    )
    for each in states:
        state = each["serialized_state"]
        when = moment(each["timestamp"])
        start = {"start_time": state["start_time"]} if "start_time" in state else {}
        more = fields_of(state) | start
        server.set_state(run_id, state["type"], state["message"], timestamp=when, **more)
    server.runs[run_id]["updated"] = moment(run["updated"])


def restore_task_runs(server: FakePrefect1) -> None:
    """Add the recorded run's task runs, each of which was pending and running before."""
    (run_id,) = server.runs
    for row in rows_of("task_run_all"):
        task, state = row["task"], row["serialized_state"]
        task_run = server.add_task_run(
            run_id, slug=task["slug"], map_index=row["map_index"], id=row["id"]
        )
        made = server.tasks.pop(server.task_runs[task_run]["task_id"])
        server.tasks[task["id"]] = made | {"id": task["id"]}
        server.task_runs[task_run]["task_id"] = task["id"]
        if state["type"] != "Mapped":
            server.set_task_state(task_run, "Running")
        server.set_task_state(task_run, state["type"], state["message"], **fields_of(state))


@pytest.fixture(params=["transport", "async transport", "http"])
def send(request: pytest.FixtureRequest) -> Callable[[FakePrefect1, bytes], httpx.Response]:
    """Send a body to a server, in one of the ways in which it is reached."""

    def transport(server: FakePrefect1, body: bytes) -> httpx.Response:
        with httpx.Client(transport=server.transport()) as http:
            return http.post(URL, content=body)

    async def asend(server: FakePrefect1, body: bytes) -> httpx.Response:
        async with httpx.AsyncClient(transport=server.transport()) as http:
            return await http.post(URL, content=body)

    def http(server: FakePrefect1, body: bytes) -> httpx.Response:
        with server.serve() as url, httpx.Client(trust_env=False) as client:
            return client.post(url, content=body)

    ways = {"transport": transport, "async transport": lambda *all: asyncio.run(asend(*all))}
    way: Callable[[FakePrefect1, bytes], httpx.Response] = ways.get(request.param, http)
    return way


def ask(server: FakePrefect1, query: str, **variables: Any) -> Any:
    """Ask a server, and return the data that it answers with."""
    body = {"query": query, "variables": variables}
    with httpx.Client(transport=server.transport()) as http:
        answer = http.post(URL, json=body).json()
    assert "errors" not in answer, answer
    return answer["data"]


# -- what was recorded --------------------------------------------------------------------------


@pytest.mark.parametrize("name", WIRE)
def test_recorded_requests_are_answered_as_recorded(
    name: str, send: Callable[[FakePrefect1, bytes], httpx.Response]
) -> None:
    """A server with the rows of that day gives each recorded request the recorded answer."""
    recorded = recording(name)
    answer = send(restored(name), json.dumps(recorded["body"]).encode())
    assert answer.status_code == recorded["status"]
    assert answer.json() == recorded["response"]


@pytest.mark.parametrize("name", ERRORS)
def test_recorded_errors_are_answered_as_recorded(
    name: str, send: Callable[[FakePrefect1, bytes], httpx.Response]
) -> None:
    """A question that is refused, or a part that is down, is told in the recorded words."""
    recorded = recording(name, "errors")
    server = restored("flow")
    server.outage = TROUBLES.get(name)
    answer = send(server, recorded["request"].encode())
    said = answer.text if isinstance(recorded["response"], str) else answer.json()
    assert (answer.status_code, said) == (recorded["status"], recorded["response"])


@pytest.mark.parametrize("name", STATES)
def test_states_are_serialized_as_recorded(name: str) -> None:
    """A state of each type says what the client's own says, key for key."""
    recorded = STATES[name]
    assert serialized(recorded["type"], recorded["message"]).keys() == recorded.keys()
    usual = {"type", "message", "_result"}
    fields = {key: recorded[key] for key in recorded.keys() - usual}
    made = serialized(recorded["type"], recorded["message"], **fields)
    if recorded.get("_result", {}).get("type") in {None, "NoResultType"}:
        assert made == recorded


def test_queries_of_the_client_fit_the_schema() -> None:
    """The shipped schema takes each recorded query, except for the one with a wrong value."""
    schema = graphql.build_schema(FakePrefect1.schema())
    assert not graphql.validate_schema(schema)
    for name in WIRE:
        query = graphql.parse(recording(name)["body"]["query"])
        assert not graphql.validate(schema, query), name


# -- which rows ---------------------------------------------------------------------------------

NUMBERS = st.integers(-2, 2)
TEXTS = st.sampled_from(["", "a", "ab", "B"])
COMPARISONS = {
    "_eq": "=",
    "_neq": "<>",
    "_gt": ">",
    "_gte": ">=",
    "_lt": "<",
    "_lte": "<=",
    "_like": "like",
}
DIRECTIONS = {
    "asc": "asc nulls last",
    "asc_nulls_first": "asc nulls first",
    "asc_nulls_last": "asc nulls last",
    "desc": "desc nulls first",
    "desc_nulls_first": "desc nulls first",
    "desc_nulls_last": "desc nulls last",
}


@st.composite
def comparisons(draw: st.DrawFn, values: st.SearchStrategy[Any]) -> dict[str, Any]:
    """Draw what is said of one column."""
    choices: dict[str, st.SearchStrategy[Any]] = {
        **dict.fromkeys(["_eq", "_neq", "_gt", "_gte", "_lt", "_lte"], values),
        **dict.fromkeys(["_in", "_nin"], st.lists(values, max_size=3)),
        "_is_null": st.booleans(),
    }
    if values is TEXTS:
        choices["_like"] = st.sampled_from(["%", "_", "a%", "%B", "a_"])
    names = draw(st.lists(st.sampled_from(sorted(choices)), unique=True, max_size=2))
    return {name: draw(choices[name]) for name in names}


def tasks_where() -> st.SearchStrategy[dict[str, Any]]:
    """Draw what is said of a task."""
    return st.fixed_dictionaries({}, optional={"slug": comparisons(TEXTS)})


LEAVES = st.fixed_dictionaries(
    {},
    optional={
        "map_index": comparisons(NUMBERS),
        "version": comparisons(NUMBERS),
        "name": comparisons(TEXTS),
        "task": tasks_where(),
        "logs": st.fixed_dictionaries({}, optional={"level": comparisons(TEXTS)}),
    },
)
WHERES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"_and": st.lists(inner, max_size=3)}),
        st.fixed_dictionaries({"_or": st.lists(inner, max_size=3)}),
        st.fixed_dictionaries({"_not": inner}),
        st.fixed_dictionaries({"_not": inner, "_or": st.lists(inner, max_size=2)}),
    ),
    max_leaves=6,
)
KEYS = st.one_of(
    st.tuples(
        st.sampled_from(["map_index", "version", "name"]), st.sampled_from(sorted(DIRECTIONS))
    ).map(lambda key: dict([key])),
    st.sampled_from(sorted(DIRECTIONS)).map(lambda direction: {"task": {"slug": direction}}),
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "map_index": st.none() | NUMBERS,
            "version": st.none() | NUMBERS,
            "name": st.none() | TEXTS,
            "slug": TEXTS,
            "levels": st.lists(st.none() | TEXTS, max_size=2),
        }
    ),
    min_size=3,
    max_size=8,
)


def condition(where: dict[str, Any], table: str = "task_run") -> str:
    """Put a `where` into SQL."""
    return " and ".join([f"({part(key, where[key], table)})" for key in where] or ["true"])


def part(key: str, operand: Any, table: str) -> str:
    """Put one key of it into SQL."""
    match key:
        case "_and":
            return " and ".join([f"({condition(each, table)})" for each in operand] or ["true"])
        case "_or":
            return " or ".join([f"({condition(each, table)})" for each in operand] or ["false"])
        case "_not":
            return f"not ({condition(operand, table)})"
        case "task":
            inner = condition(operand, "task")
            return f"exists (select 1 from task where task.id = task_run.task and {inner})"  # noqa: S608 - of this file
        case "logs":
            inner = condition(operand, "log")
            return f"exists (select 1 from log where log.task_run = task_run.number and {inner})"  # noqa: S608
    parts = [compared(f"{table}.{key}", name, value) for name, value in operand.items()]
    return " and ".join(parts or ["true"])


def compared(column: str, name: str, operand: Any) -> str:
    """Put one comparison into SQL."""
    if name == "_is_null":
        return f"{column} is {'' if operand else 'not '}null"
    if name in {"_in", "_nin"}:
        values = ", ".join(map(literal, operand))
        return f"{column} {'not ' if name == '_nin' else ''}in ({values})"
    return f"{column} {COMPARISONS[name]} {literal(operand)}"


def literal(value: Any) -> str:
    """Put a value into SQL."""
    return "null" if value is None else f"'{value}'" if isinstance(value, str) else str(value)


def order(keys: list[dict[str, Any]]) -> str:
    """Put an `order_by` into SQL; rows that are equal in all of it stay as they were stored."""
    parts: list[str] = []
    for key in keys:
        ((column, direction),) = key.items()
        if column == "task":
            column, direction = "(select slug from task where id = task)", direction["slug"]
        parts.append(f"{column} {DIRECTIONS[direction]}")
    return ", ".join([*parts, "number"])


def compare_with_sql(
    rows: list[dict[str, Any]],
    *,
    where: dict[str, Any],
    keys: list[dict[str, Any]],
    offset: int | None = None,
    limit: int | None = None,
) -> None:
    """Ask the fake and SQLite the same question about the same rows."""
    server = FakePrefect1(clock=VirtualTime())
    run_id = server.add_run()
    ids: list[str] = []
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("pragma case_sensitive_like = on")
        database.executescript(
            "create table task_run (number, map_index, version, name, task);"
            "create table task (id, slug); create table log (task_run, level);"
        )
        for number, row in enumerate(rows):
            columns = {name: row[name] for name in ("map_index", "version", "name")}
            ids.append(server.add_task_run(run_id, slug=row["slug"], state=None, **columns))
            database.execute(
                "insert into task_run values (?, ?, ?, ?, ?)", (number, *columns.values(), number)
            )
            database.execute("insert into task values (?, ?)", (number, row["slug"]))
            for level in row["levels"]:
                line = server.log(run_id, task_run_id=ids[-1])
                server.logs[line]["level"] = level
                database.execute("insert into log values (?, ?)", (number, level))
        sql = (
            f"select number from task_run where {condition(where)} "  # noqa: S608 - of this file
            f"order by {order(keys)} limit {-1 if limit is None else limit} offset {offset or 0}"
        )
        expected = [ids[number] for (number,) in database.execute(sql)]
    query = """query($where: task_run_bool_exp, $order: [task_run_order_by!], $n: Int, $from: Int) {
        task_run(where: $where, order_by: $order, limit: $n, offset: $from) { id }
    }"""
    found = ask(server, query, where=where, order=keys, n=limit, **{"from": offset})["task_run"]
    assert [row["id"] for row in found] == expected


@settings(max_examples=300)
@given(rows=ROWS, where=WHERES)
def test_rows_are_those_that_sql_finds(rows: list[dict[str, Any]], where: dict[str, Any]) -> None:
    """What must be true of a row is what it is in SQL, for nulls and related rows too."""
    compare_with_sql(rows, where=where, keys=[])


@given(
    rows=ROWS,
    keys=st.lists(KEYS, min_size=1, max_size=3),
    offset=st.none() | st.integers(0, 3),
    limit=st.none() | st.integers(0, 6),
)
def test_rows_are_sorted_and_cut_as_by_sql(
    rows: list[dict[str, Any]], keys: list[dict[str, Any]], offset: int | None, limit: int | None
) -> None:
    """Several keys, their directions, nulls, an offset and a limit mean what they do in SQL."""
    compare_with_sql(rows, where={}, keys=keys, offset=offset, limit=limit)


TABLE = [None, 1, 2, 3]


def table() -> FakePrefect1:
    """A server with task runs whose `map_index` is a null and some numbers."""
    server = FakePrefect1()
    run_id = server.add_run()
    for map_index in TABLE:
        task_run_id = server.add_task_run(run_id, state=None)
        server.task_runs[task_run_id]["map_index"] = map_index
    return server


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("{}", TABLE),
        ("{_and: []}", TABLE),
        ("{_or: []}", []),
        ("{_not: {}}", []),
        ("{map_index: {}}", TABLE),
        ("{map_index: {_eq: null}}", TABLE),
        ("{map_index: null}", TABLE),
        ("{map_index: {_eq: 2}}", [2]),
        ("{map_index: {_neq: 2}}", [1, 3]),
        ("{_not: {map_index: {_eq: 2}}}", [1, 3]),
        ("{_not: {_or: [{map_index: {_eq: 2}}, {map_index: {_eq: 1}}]}}", [3]),
        ("{_not: {_and: [{map_index: {_gt: 0}}, {map_index: {_gt: 1}}]}}", [1]),
        ("{map_index: {_gt: 1, _lt: 3}}", [2]),
        ("{map_index: {_in: [1, 3]}}", [1, 3]),
        ("{map_index: {_in: []}}", []),
        ("{map_index: {_nin: []}}", TABLE),
        ("{map_index: {_is_null: true}}", [None]),
        ("{_or: [{map_index: {_lte: 1}}, {map_index: {_gte: 3}}]}", [1, 3]),
        ("{_or: {map_index: {_eq: 1}}}", [1]),
        ('{flow_run: {name: {_eq: "other"}}}', []),
        ('{flow_run: {name: {_ilike: "FAKE%"}}}', TABLE),
        ('{flow_run: {start_time: {_gt: "2020-01-01"}}}', []),
        ('{_not: {flow_run: {start_time: {_gt: "2020-01-01"}}}}', TABLE),
        ("{flow_run: {labels: {_eq: []}}}", TABLE),
        ("{logs: {}}", []),
    ],
)
def test_where_in_a_query(where: str, expected: list[int | None]) -> None:
    """What a `where` that is written in a query finds, in a column with a null in it."""
    found = ask(table(), f"{{ task_run(where: {where}) {{ map_index }} }}")["task_run"]
    assert [row["map_index"] for row in found] == expected


@pytest.mark.parametrize(
    ("direction", "expected"),
    [
        ("asc", [1, 2, 3, None]),
        ("asc_nulls_last", [1, 2, 3, None]),
        ("asc_nulls_first", [None, 1, 2, 3]),
        ("desc", [None, 3, 2, 1]),
        ("desc_nulls_first", [None, 3, 2, 1]),
        ("desc_nulls_last", [3, 2, 1, None]),
    ],
)
def test_nulls_in_an_order(direction: str, expected: list[int | None]) -> None:
    """Nulls are greater than all else, unless it is said where they stand."""
    found = ask(table(), f"{{ task_run(order_by: {{map_index: {direction}}}) {{ map_index }} }}")
    assert [row["map_index"] for row in found["task_run"]] == expected


@given(count=st.integers(0, 12), page=st.integers(1, 5), row_limit=st.none() | st.integers(1, 4))
def test_pages_make_the_whole(count: int, page: int, row_limit: int | None) -> None:
    """Reading on by the rows that came gives each row once, whatever limit the server has."""
    server = FakePrefect1(clock=VirtualTime(), row_limit=row_limit)
    run_id = server.add_run()
    lines = [server.log(run_id) for _ in range(count)]
    query = """query($limit: Int!, $offset: Int!) {
        flow_run { logs(order_by: {created: asc}, limit: $limit, offset: $offset) { id } }
    }"""
    told: list[str] = []
    while True:
        ((run),) = ask(server, query, limit=page, offset=len(told))["flow_run"]
        assert len(run["logs"]) <= min(page, row_limit or page)
        if not run["logs"]:
            break
        told += [row["id"] for row in run["logs"]]
    assert told == lines


def test_a_row_limit_cuts_each_list_without_a_word() -> None:
    """Lists of rows and lists in rows have at most so many rows, and no error tells of it."""
    server = FakePrefect1(row_limit=2)
    runs = [server.add_run(state="Running") for _ in range(3)]
    for run_id in runs:
        for _ in range(3):
            server.log(run_id)
            server.set_state(run_id, "Running")
    found = ask(server, "{ flow_run(limit: 5) { id logs { id } states { id } } log { id } }")
    assert [run["id"] for run in found["flow_run"]] == runs[:2]
    assert len(found["log"]) == 2
    assert {len(run[name]) for run in found["flow_run"] for name in ("logs", "states")} == {2}


def test_ties_come_in_another_order() -> None:
    """Rows with the same key are not told in one order, those with different keys are."""
    server = FakePrefect1(faults=Faults(ties=True))
    run_id = server.add_run()
    for second in range(2):
        for _ in range(10):
            server.log(run_id, str(second), timestamp=SOON + timedelta(seconds=second))
    query = "{ log(order_by: {timestamp: desc}) { id message } }"
    answers = [ask(server, query)["log"] for _ in range(20)]
    assert len({tuple(row["id"] for row in rows) for rows in answers}) > 1
    assert {"".join(row["message"] for row in rows) for rows in answers} == {"1" * 10 + "0" * 10}


# -- what happens -------------------------------------------------------------------------------


def test_a_late_line_is_found_by_when_it_was_stored() -> None:
    """A line that was written before one that is told is stored after it."""
    time = VirtualTime()
    server = FakePrefect1(clock=time)
    run_id = server.add_run()
    early = time()
    time.wait(5)
    server.log(run_id, "told")
    told = time()
    server.at(5, lambda: server.log(run_id, "late", timestamp=early))
    time.wait(9)
    query = """query($since: timestamptz) {
        log(where: {created: {_gt: $since}}) { message timestamp created }
    }"""
    (late,) = ask(server, query, since=told.isoformat())["log"]
    assert late == {
        "message": "late",
        "timestamp": "2026-01-01T00:00:00+00:00",
        "created": "2026-01-01T00:00:10+00:00",
    }
    by_timestamp = query.replace("created: {_gt", "timestamp: {_gt")
    assert ask(server, by_timestamp, since=told.isoformat())["log"] == []


def test_a_commit_that_took_its_time_is_dated_before_what_was_told() -> None:
    """A row may come to light with a `created` that lies behind rows which were told before."""
    time = VirtualTime()
    server = FakePrefect1(clock=time)
    run_id = server.add_run()
    begun = time()
    time.wait(3)
    server.log(run_id, "first")
    time.wait(1)
    server.log(run_id, "slow commit", created=begun)
    rows = ask(server, "{ log(order_by: {created: asc}) { message } }")["log"]
    assert [row["message"] for row in rows] == ["slow commit", "first"]


def test_a_run_goes_through_its_states() -> None:
    """Each state is a row, and the run's own row has the last one with its times and version."""
    time = VirtualTime()
    server = FakePrefect1(clock=time)
    run_id = server.add_run(name="nightly")
    for state in ("Submitted", "Running", "Success"):
        time.wait(1)
        server.set_state(run_id, state, f"{state}!")
    query = """{ flow_run { state version start_time end_time scheduled_start_time
        states(order_by: {version: asc}) { state version message timestamp start_time } } }"""
    (run,) = ask(server, query)["flow_run"]
    assert [state["state"] for state in run["states"]] == [
        "Scheduled",
        "Submitted",
        "Running",
        "Success",
    ]
    assert [state["version"] for state in run["states"]] == [1, 2, 3, 4]
    assert run["states"][0]["start_time"] == run["scheduled_start_time"]
    assert run["start_time"] == run["states"][2]["timestamp"] == "2026-01-01T00:00:02+00:00"
    assert run["end_time"] == run["states"][3]["timestamp"] == "2026-01-01T00:00:03+00:00"
    assert (run["state"], run["version"]) == ("Success", 4)


def test_a_deleted_run_leaves_nothing() -> None:
    """Neither the run nor its rows are found, and those of another run are."""
    server = FakePrefect1()
    runs = [server.add_run() for _ in range(2)]
    for run_id in runs:
        server.log(run_id)
        server.add_task_run(run_id)
    server.delete_run(runs[0])
    found = ask(server, "{ flow_run { id } flow_run_state { id } task_run { id } log { id } }")
    assert {name: len(rows) for name, rows in found.items()} == dict.fromkeys(found, 1)


def test_what_a_client_writes_is_there() -> None:
    """A run that is created by the API, its states and its lines are read back."""
    server = FakePrefect1()
    flow_id = server.add_flow("etl")
    made = ask(
        server,
        "mutation($i: create_flow_run_input!) { create_flow_run(input: $i) { id } }",
        i={"flow_id": flow_id, "parameters": {"n": 1}},
    )
    run_id = made["create_flow_run"]["id"]
    state = {"flow_run_id": run_id, "state": json.dumps(serialized("Running", "go"))}
    ask(
        server,
        "mutation($i: set_flow_run_states_input!) { set_flow_run_states(input: $i) {states{id}} }",
        i={"states": [state]},
    )
    line = {"flow_run_id": run_id, "message": "hi", "level": "ERROR"}
    ask(
        server,
        "mutation($i: write_run_logs_input!) { write_run_logs(input: $i) { success } }",
        i={"logs": [line]},
    )
    query = "{ flow_run { state parameters flow { name } logs { message level } } }"
    assert ask(server, query)["flow_run"] == [
        {
            "state": "Running",
            "parameters": {"n": 1},
            "flow": {"name": "etl"},
            "logs": [{"message": "hi", "level": "ERROR"}],
        }
    ]


def test_a_seed_repeats_ids() -> None:
    """With a `random` of one seed the same writes make rows of the same ids."""

    def ids(seed: int) -> list[str]:
        server = FakePrefect1(clock=VirtualTime(), random=Random(seed))
        run = server.add_run()
        return [run, server.set_state(run, "Running"), server.log(run), server.add_task_run(run)]

    assert ids(1) == ids(1)
    assert not set(ids(1)) & set(ids(2))


def test_log_rows_are_deleted_and_restored() -> None:
    """By their ids, and by when they landed."""
    time = VirtualTime()
    server = FakePrefect1(clock=time)
    run = server.add_run()
    first, second = server.log(run), server.log(run)
    backup = time()
    time.wait(1)
    third = server.log(run)
    server.delete_logs([second, "no such row"])
    assert list(server.logs) == [first, third]
    server.restore_logs(backup)
    assert list(server.logs) == [first]


# -- what goes wrong ----------------------------------------------------------------------------


def test_a_key_is_asked_for() -> None:
    """With a key the server is Prefect Cloud, and a request without it is told in status 200."""
    server = FakePrefect1(api_key="secret")
    query = {"query": "{ auth_info { tenant_id } }"}
    (tenant,) = server.tenants
    with httpx.Client(transport=server.transport()) as http:
        bare = http.post(URL, json=query)
        wrong = http.post(URL, json=query, headers={"authorization": "Basic secret"})
        right = http.post(URL, json=query, headers={"authorization": "Bearer secret"})
    assert {answer.status_code for answer in (bare, wrong, right)} == {200}
    assert bare.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    assert "Malformed Authorization header" in str(wrong.json()["errors"])
    assert right.json() == {"data": {"auth_info": {"tenant_id": tenant}}}


def test_prefect_server_does_not_know_what_cloud_knows() -> None:
    """Without a key, a query for `auth_info` is one for an unknown field."""
    request = httpx.Request("POST", URL, json={"query": "{ auth_info { tenant_id } }"})
    assert FakePrefect1().handle(request).status_code == 400


def test_a_query_takes_too_long() -> None:
    """Prefect Cloud's time-out comes with status 200, a code of its own, and no data."""
    server = FakePrefect1()
    server.outage = "timed_out"
    answer = server.handle(httpx.Request("POST", URL, json={"query": "{ log { id } }"}))
    (error,) = answer.json()["errors"]
    assert answer.status_code == 200
    assert answer.json()["data"] is None
    assert error["message"] == "Operation timed out"
    assert error["extensions"] == {"code": "API_ERROR"}
    assert error["path"] == ["log"]


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("{ flow_run { logs(limit: -1) { id } } }", "flow_run.selectionSet.logs.args.limit"),
        ("{ log(offset: -1) { id } }", "log.args.offset"),
    ],
)
def test_an_error_inside_a_field_is_the_fields(query: str, path: str) -> None:
    """Whatever is wrong below a field of the root is told as that field's, and there is no data."""
    server = FakePrefect1()
    server.add_run()
    server.add_run()
    said = server.handle(httpx.Request("POST", URL, json={"query": query})).json()
    (error,) = said["errors"]
    assert said["data"] is None
    assert error["path"] == [path.partition(".")[0]]
    assert error["locations"] == [{"line": 1, "column": 3}]
    assert error["extensions"]["path"] == f"$.selectionSet.{path}"


def test_variables_that_do_not_fit_are_refused() -> None:
    """A variable of a wrong type is told with status 400 and without data."""
    query = "query($n: Int) { log(limit: $n) { id } }"
    body = {"query": query, "variables": {"n": "many"}}
    answer = FakePrefect1().handle(httpx.Request("POST", URL, json=body))
    assert answer.status_code == 400
    assert "data" not in answer.json()


@pytest.mark.parametrize(
    ("query", "refused"),
    [
        ("{ flow { tasks { flow { tasks { flow { tasks { flow { id } } } } } } } }", False),
        ("{ flow { tasks { ...deep } } } fragment deep on task { flow { tasks { id } } }", False),
        (
            """{ flow { tasks { flow { ...deep } } } }
            fragment deep on flow { tasks { flow { tasks { flow { tasks { id } } } } } }""",
            True,
        ),
    ],
)
def test_depth_is_bounded(query: str, refused: bool) -> None:
    """A field may be seven fields below the root, those of fragments included, and no deeper."""
    answer = FakePrefect1().handle(httpx.Request("POST", URL, json={"query": query}))
    assert (answer.status_code == 400) is refused


def test_requests_are_kept_with_their_variables() -> None:
    """What came is on record, the variables read from the text that the client sends."""
    server = FakePrefect1()
    with httpx.Client(transport=server.transport()) as http:
        http.post(URL, json={"query": "{ tenant { id } }", "variables": "null"})
        http.post(URL, json={"query": "{ agent { id } }", "variables": '{"n": 1}'})
        http.get(f"{URL}/health")
    assert server.requests == [
        ("{ tenant { id } }", None),
        ("{ agent { id } }", {"n": 1}),
        ("/health", None),
    ]


def test_interceptors_and_gates_come_between() -> None:
    """A response of a test's own goes out in the server's place, and a request can be held up."""
    server = FakePrefect1()
    request = httpx.Request("POST", URL, json={"query": "{ tenant { id } }"})
    server.intercept = lambda _: httpx.Response(429)
    assert server.handle(request).status_code == 429
    server.intercept = None

    async def cancel() -> int:
        async with httpx.AsyncClient(transport=server.transport()) as http:
            with server.hold() as hold:
                task = asyncio.create_task(http.post(URL, json={}))
                await hold.auntil_reached()
                task.cancel()
                await hold.auntil_left()
                return hold.left

    assert asyncio.run(cancel()) == 1


def test_stale_answers_lack_the_newest_lines() -> None:
    """A replica that lags behind does not have the lines that landed since."""
    time = VirtualTime()
    server = FakePrefect1(clock=time, random=Random(1))
    run_id = server.add_run()
    server.log(run_id, "old")
    time.wait(60)
    server.log(run_id, "new")
    server.faults = Faults(stale=1.0, staleness=30.0)
    assert [row["message"] for row in ask(server, "{ log { message } }")["log"]] == ["old"]


def test_without_graphql_core_one_is_told_what_to_install() -> None:
    """Everything else of `rxflow.testing` works without it, and the error names the extra."""
    program = (
        "import sys; sys.modules['graphql'] = None\n"
        "from rxflow.testing import FakePrefect1, FakePrefect3\n"
        "FakePrefect3()\n"
        "try: FakePrefect1()\n"
        "except ImportError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert "rxflow-prefect[fake-prefect1]" in done.stdout


# -- the client of Prefect 1.4.1 ----------------------------------------------------------------


@pytest.fixture
def served() -> Iterator[tuple[FakePrefect1, str]]:
    """A server and its URL."""
    server = FakePrefect1()
    with server.serve() as url:
        yield server, url


@pytest.mark.timeout(120)
def test_the_client_of_prefect_1_is_content(
    prefect1: Callable[..., Any], served: tuple[FakePrefect1, str]
) -> None:
    """Unmodified, it watches a run to its end, reads task runs and agents, and writes."""
    server, url = served
    flow_id = server.add_flow("etl")
    run_id = server.add_run(name="nightly", flow_id=flow_id, labels=["vm"])
    server.set_state(run_id, "Submitted", "Submitted for execution")
    server.add_agent("an-agent", labels=["vm"])
    parent = server.add_task_run(run_id, slug="load-1")
    server.set_task_state(parent, "Mapped", "Ready to proceed with mapping.", n_map_states=1)
    server.add_task_run(run_id, slug="load-1", map_index=0, state="Success")
    server.at(1, lambda: server.set_state(run_id, "Running", "Running flow."))
    server.at(1, lambda: server.log(run_id, "hello"))
    server.at(3, lambda: server.set_state(run_id, "Success", "All done."))
    told = prefect1("client.py", url, run_id, flow_id)
    assert told["name"] == "nightly"
    assert told["flow"] == "etl"
    messages = [message for _, message in told["watched"]]
    assert "hello" in messages
    assert messages[-1] == "Entered state <Success>: All done."
    assert told["task_runs"] == [["load-1", -1, "Mapped"], ["load-1", 0, "Success"]]
    assert "an-agent" in told["agents"] or "1 agent" in told["agents"]
    assert told["missing"].startswith("No flow runs found")
    assert told["malformed"] == "ClientError"
    created = server.runs[told["created"]]
    assert (created["name"], created["state"]) == ("by-client", "Running")
    assert [row["message"] for row in server.logs.values()] == ["hello", "by client"]
