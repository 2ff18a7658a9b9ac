"""Which rows the fake Prefect 1 server selects, compared with SQLite and with Hasura's rules."""

import sqlite3
from contextlib import closing
from typing import Any

import pytest
from graphql_calls import run_query
from hypothesis import given, settings
from hypothesis import strategies as st

from rxflow.testing import FakePrefect1, VirtualTime

# -- the same conditions in GraphQL and in SQL --------------------------------------------------

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
    """Draw comparisons of one column."""
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
    """Draw a condition on a task."""
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
    """Translate a `where` into SQL."""
    return " and ".join([f"({term(key, where[key], table)})" for key in where] or ["true"])


def term(key: str, operand: Any, table: str) -> str:
    """Translate one key of a `where` into SQL."""
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
    parts = [comparison(f"{table}.{key}", name, value) for name, value in operand.items()]
    return " and ".join(parts or ["true"])


def comparison(column: str, name: str, operand: Any) -> str:
    """Translate one comparison into SQL."""
    if name == "_is_null":
        return f"{column} is {'' if operand else 'not '}null"
    if name in {"_in", "_nin"}:
        values = ", ".join(map(literal, operand))
        return f"{column} {'not ' if name == '_nin' else ''}in ({values})"
    return f"{column} {COMPARISONS[name]} {literal(operand)}"


def literal(value: Any) -> str:
    """Translate a value into SQL."""
    return "null" if value is None else f"'{value}'" if isinstance(value, str) else str(value)


def order(keys: list[dict[str, Any]]) -> str:
    """Translate an `order_by` into SQL; rows with equal keys stay as they were stored."""
    parts: list[str] = []
    for key in keys:
        ((column, direction),) = key.items()
        if column == "task":
            column, direction = "(select slug from task where id = task)", direction["slug"]
        parts.append(f"{column} {DIRECTIONS[direction]}")
    return ", ".join([*parts, "number"])


def selected_by_both(
    rows: list[dict[str, Any]],
    *,
    where: dict[str, Any],
    keys: list[dict[str, Any]],
    offset: int | None = None,
    limit: int | None = None,
) -> tuple[list[str], list[str]]:
    """Return the ids that the same query selects on the fake and on SQLite, over the same rows."""
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
    found = run_query(server, query, where=where, order=keys, n=limit, **{"from": offset})[
        "task_run"
    ]
    return [row["id"] for row in found], expected


# -- against SQL --------------------------------------------------------------------------------


@settings(max_examples=100)
@given(rows=ROWS, where=WHERES)
def test_the_selected_rows_are_those_of_sql(
    rows: list[dict[str, Any]], where: dict[str, Any]
) -> None:
    """A condition has the same meaning as in SQL, also for nulls and related rows."""
    found, expected = selected_by_both(rows, where=where, keys=[])
    assert found == expected


@given(
    rows=ROWS,
    keys=st.lists(KEYS, min_size=1, max_size=3),
    offset=st.none() | st.integers(0, 3),
    limit=st.none() | st.integers(0, 6),
)
def test_rows_are_sorted_and_paged_as_in_sql(
    rows: list[dict[str, Any]], keys: list[dict[str, Any]], offset: int | None, limit: int | None
) -> None:
    """Sort keys, directions, nulls, offset and limit have the same meaning as in SQL."""
    found, expected = selected_by_both(rows, where={}, keys=keys, offset=offset, limit=limit)
    assert found == expected


# -- against Hasura's rules ---------------------------------------------------------------------

MAP_INDEXES = [None, 1, 2, 3]


def server_with_map_indexes() -> FakePrefect1:
    """Make a server with a task run for each of `MAP_INDEXES`."""
    server = FakePrefect1()
    run_id = server.add_run()
    for map_index in MAP_INDEXES:
        task_run_id = server.add_task_run(run_id, state=None)
        server.task_runs[task_run_id]["map_index"] = map_index
    return server


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("{}", MAP_INDEXES),
        ("{_and: []}", MAP_INDEXES),
        ("{_or: []}", []),
        ("{_not: {}}", []),
        ("{map_index: {}}", MAP_INDEXES),
        ("{map_index: {_eq: null}}", MAP_INDEXES),
        ("{map_index: null}", MAP_INDEXES),
        ("{map_index: {_eq: 2}}", [2]),
        ("{map_index: {_neq: 2}}", [1, 3]),
        ("{_not: {map_index: {_eq: 2}}}", [1, 3]),
        ("{_not: {_or: [{map_index: {_eq: 2}}, {map_index: {_eq: 1}}]}}", [3]),
        ("{_not: {_and: [{map_index: {_gt: 0}}, {map_index: {_gt: 1}}]}}", [1]),
        ("{map_index: {_gt: 1, _lt: 3}}", [2]),
        ("{map_index: {_in: [1, 3]}}", [1, 3]),
        ("{map_index: {_in: []}}", []),
        ("{map_index: {_nin: []}}", MAP_INDEXES),
        ("{map_index: {_is_null: true}}", [None]),
        ("{_or: [{map_index: {_lte: 1}}, {map_index: {_gte: 3}}]}", [1, 3]),
        ("{_or: {map_index: {_eq: 1}}}", [1]),
        ('{flow_run: {name: {_eq: "other"}}}', []),
        ('{flow_run: {name: {_ilike: "FAKE%"}}}', MAP_INDEXES),
        ('{flow_run: {start_time: {_gt: "2020-01-01"}}}', []),
        ('{_not: {flow_run: {start_time: {_gt: "2020-01-01"}}}}', MAP_INDEXES),
        ("{flow_run: {labels: {_eq: []}}}", MAP_INDEXES),
        ("{logs: {}}", []),
    ],
)
def test_where_selects_rows(where: str, expected: list[int | None]) -> None:
    """A `where` in a query selects rows by a column with a null in it."""
    query = f"{{ task_run(where: {where}) {{ map_index }} }}"
    found = run_query(server_with_map_indexes(), query)["task_run"]
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
def test_nulls_are_the_greatest_values_unless_the_direction_says_otherwise(
    direction: str, expected: list[int | None]
) -> None:
    """Nulls are greater than any value, unless the direction says where they go."""
    query = f"{{ task_run(order_by: {{map_index: {direction}}}) {{ map_index }} }}"
    found = run_query(server_with_map_indexes(), query)["task_run"]
    assert [row["map_index"] for row in found] == expected


@given(count=st.integers(0, 12), page=st.integers(1, 5), row_limit=st.none() | st.integers(1, 4))
def test_pages_together_are_the_table(count: int, page: int, row_limit: int | None) -> None:
    """An offset of the rows received so far reads each row once, under any row limit."""
    server = FakePrefect1(clock=VirtualTime(), row_limit=row_limit)
    run_id = server.add_run()
    lines = [server.log(run_id) for _ in range(count)]
    query = """query($limit: Int!, $offset: Int!) {
        flow_run { logs(order_by: {created: asc}, limit: $limit, offset: $offset) { id } }
    }"""
    received: list[str] = []
    while True:
        ((run),) = run_query(server, query, limit=page, offset=len(received))["flow_run"]
        assert len(run["logs"]) <= min(page, row_limit or page)
        if not run["logs"]:
            break
        received += [row["id"] for row in run["logs"]]
    assert received == lines


@pytest.mark.parametrize(
    ("value", "part", "contained"),
    [
        (["a", "b"], ["b"], True),
        (["a", "b"], ["b", "a", "b"], True),
        (["a"], ["a", "b"], False),
        (["a"], [], True),
        ([], ["a"], False),
        (["a", "b"], "b", True),
        (["a"], "b", False),
        ([["a"]], ["a"], False),
        ([["a", "b"]], [["b"]], True),
        ({"x": 1, "y": {"z": [1, 2]}}, {"y": {"z": [2]}}, True),
        ({"x": 1}, {"x": 2}, False),
        ({"x": 1}, {"y": 1}, False),
        ({"x": 1}, ["x"], False),
        (1, 1, True),
    ],
)
def test_json_contains_other_json_as_in_postgresql(value: Any, part: Any, contained: bool) -> None:
    """Arrays are sets, objects contain theirs deeply, and an array contains a bare value."""
    server = FakePrefect1()
    server.add_run(name="run", parameters=value)
    query = "query($where: flow_run_bool_exp) { flow_run(where: $where) { name } }"
    found = run_query(server, query, where={"parameters": {"_contains": part}})["flow_run"]
    assert found == ([{"name": "run"}] if contained else [])
