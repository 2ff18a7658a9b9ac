"""Replies of Prefect 1: pages and failures, from recorded replies and from any other bytes."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from http_replies import HTML, JSON_VALUES, changed_row, damaged, json_reply, replies_with
from hypothesis import given
from hypothesis import strategies as st
from prefect1_recordings import (
    FLOW,
    KINDS,
    LOGS,
    NEEDED_COLUMNS,
    QUERIES,
    ROWS,
    RUN,
    TASK_RUN,
    TASK_RUNS,
    flow_run_row,
    log_row,
    query_of,
    read_failure,
    read_page,
    recording,
    rows_reply,
    task_run_row,
)

from rxflow._backends.backend import HttpResponse
from rxflow._backends.prefect1_queries import Prefect1Query
from rxflow._backends.prefect1_replies import is_graphql_reply, read_reply, read_row_count
from rxflow._protocol.failures import Failure, FailureKind
from rxflow._protocol.pages import MalformedRow, Page
from rxflow._protocol.queries import (
    AgentsQuery,
    FlowQuery,
    LogsQuery,
    Query,
    RunQuery,
    ServerQuery,
    StatesQuery,
    TaskRunQuery,
    TaskRunsQuery,
)

# -- pages ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", QUERIES, ids=KINDS)
def test_a_page_has_the_servers_time(query: Prefect1Query) -> None:
    """The time of a page is that of the Date header, which each recording has."""
    date = recording("flow")["resp_headers"]["Date"]
    reply = HttpResponse(
        status=200, headers={"date": date}, body=rows_reply(ROWS[type(query)]).body
    )
    assert read_page(query, reply).server_time == datetime(2026, 11, 22, 14, 34, 30, tzinfo=UTC)


@pytest.mark.parametrize("query", QUERIES[1:], ids=KINDS[1:])
def test_a_page_may_have_no_rows(query: Prefect1Query) -> None:
    """A reply without rows is a page, with or without an empty list of errors."""
    for body in (b'{"data":{"rows":[]}}', b'{"data": {"rows": [ ]}, "errors": []}'):
        assert read_page(query, json_reply(body)).rows == ()


@pytest.mark.parametrize("body", [b'{"data":{"rows":[]}}', b'{ "data": { "rows": [ ] } }'])
def test_a_run_without_a_row_is_not_found(body: bytes) -> None:
    """A reply without a row, however it is formatted, means that there is no such run."""
    failure = read_failure(RunQuery(RUN), json_reply(body))
    assert failure.kind is FailureKind.RUN_NOT_FOUND
    assert RUN in failure.text


# -- malformed rows -------------------------------------------------------------------------------


def test_a_malformed_row_is_listed_and_the_others_are_kept() -> None:
    """Of a page with a malformed row, that row is listed with what is known of it."""
    first, bad, last = log_row(1), log_row(2, message=["loud"]), log_row(3)
    page = read_page(LOGS, rows_reply(first, bad, last))
    assert [row.id for row in page.rows] == [first["id"], last["id"]]
    (malformed,) = page.malformed
    assert (malformed.id, malformed.flow_run_id) == (bad["id"], RUN)
    assert malformed.timestamp == datetime.fromisoformat(bad["timestamp"])
    assert "$.message" in malformed.reason
    assert page.count == 3


@pytest.mark.parametrize(
    ("kind", "column"),
    [
        (kind, column)
        for kind in NEEDED_COLUMNS
        if kind in {StatesQuery, LogsQuery, TaskRunsQuery, AgentsQuery}
        for column in sorted(NEEDED_COLUMNS[kind])
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
@pytest.mark.parametrize("value", [None, 5, "noon", "missing"])
def test_a_row_without_a_needed_column_is_malformed(kind: type, column: str, value: Any) -> None:
    """A row of a list that lacks one of `NEEDED_COLUMNS` is listed, and its neighbours are kept."""
    query = query_of(kind)
    row = {**ROWS[kind], column: value}
    if value == "missing":
        del row[column]
    if column in {"id", "flow_run_id"} and value == "noon":
        return  # any text is an id
    page = read_page(query, rows_reply(ROWS[kind], row, ROWS[kind]))
    assert len(page.rows) == 2
    (malformed,) = page.malformed
    assert f"`{column}`" in malformed.reason or f"$.{column}" in malformed.reason


def test_a_naive_time_is_malformed() -> None:
    """A row with a time without an offset is listed, with the path of the field."""
    (malformed,) = read_page(LOGS, rows_reply(log_row(timestamp="2026-11-22T14:27:33"))).malformed
    assert "$.timestamp" in malformed.reason


@pytest.mark.parametrize("row", [None, 5, "a", [], {}, {"id": 5}, {"id": None}])
def test_a_row_without_an_id_is_listed_by_a_digest(row: Any) -> None:
    """The digest is the same each time, and differs from that of another row."""
    good = log_row()
    page = read_page(LOGS, rows_reply(row, good, row, ["another"]))
    ids = [row.id for row in page.malformed]
    assert ids[0] == ids[1] != ids[2]
    assert len(ids[0]) == 32
    assert page.rows == read_page(LOGS, rows_reply(good)).rows


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
def test_text_that_is_not_unicode_is_repaired(written: bytes, read: str) -> None:
    """Half surrogates and bytes that are not UTF-8 become U+FFFD; the rest of the page is kept."""
    body = rows_reply(log_row(1, message="@"), log_row(2, message="fine")).body
    page = read_page(LOGS, json_reply(body.replace(b"@", written)))
    assert [row.message for row in page.rows] == [read, "fine"]


# -- unreadable replies ---------------------------------------------------------------------------


@pytest.mark.parametrize("query", QUERIES, ids=KINDS)
@pytest.mark.parametrize("content_type", ["application/json", "text/html"])
def test_a_reply_that_was_cut_short_is_a_failure(query: Prefect1Query, content_type: str) -> None:
    """A reply that is cut short at any byte is never a page."""
    body = rows_reply(ROWS[type(query)]).body
    kind = FailureKind.UNREADABLE if content_type == "application/json" else FailureKind.NOT_AN_API
    for end in range(len(body)):
        cut = json_reply(body[:end], content_type=content_type)
        assert read_failure(query, cut).kind is kind


@pytest.mark.parametrize("query", QUERIES, ids=KINDS)
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
def test_deep_nesting_is_unreadable(query: Prefect1Query, body: bytes) -> None:
    """A reply that is nested too deep is a failure, and raises nothing."""
    assert read_failure(query, json_reply(body)).kind is FailureKind.UNREADABLE


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"1e999", b"9" * 5000])
def test_a_number_that_json_does_not_have_is_unreadable(number: bytes) -> None:
    """NaN, infinity, and numbers beyond every float make the row of a run unreadable."""
    body = rows_reply(flow_run_row(parameters={"n": "@"})).body
    failure = read_failure(RunQuery(RUN), json_reply(body.replace(b'"@"', number)))
    assert failure.kind is FailureKind.UNREADABLE


@pytest.mark.parametrize("number", [2**63, -(2**70), 10**30])
def test_a_huge_number_is_a_number(number: int) -> None:
    """An integer beyond 64 bits is read as it is."""
    (run,) = read_page(RunQuery(RUN), rows_reply(flow_run_row(parameters={"n": number}))).rows
    assert run.parameters == {"n": number}
    (task_run,) = read_page(TASK_RUNS, rows_reply(task_run_row(map_index=number))).rows
    assert task_run.map_index == number


def test_a_missing_field_is_named() -> None:
    """The failure for a reply about a run names the run, and the JSON path of the missing field."""
    row = flow_run_row()
    del row["states"][0]["timestamp"]
    text = read_failure(RunQuery(RUN), rows_reply(row)).text
    assert RUN in text
    assert "`timestamp` - at `$[0].states[0]`" in text


@pytest.mark.parametrize("query", QUERIES, ids=KINDS)
@pytest.mark.parametrize("rows", [None, 5, "rows", {}, {"rows": []}])
def test_rows_that_are_no_list_are_unreadable(query: Prefect1Query, rows: Any) -> None:
    """Any other JSON in their place, or none, is a failure."""
    bodies: list[Any] = [{"rows": rows}, {"log": []}, {}]
    for data in bodies:
        assert read_failure(query, json_reply({"data": data})).kind is FailureKind.UNREADABLE


@pytest.mark.parametrize("body", [{}, {"data": None}, {"rows": []}, {"errors": [], "data": None}])
def test_json_without_data_and_errors_is_not_an_api(body: Any) -> None:
    """Such a reply was sent by something other than a GraphQL API."""
    assert read_failure(LOGS, json_reply(body)).kind is FailureKind.NOT_AN_API


@pytest.mark.parametrize("query", QUERIES, ids=KINDS)
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, FailureKind.NOT_AN_API) for status in (200, 400, 404, 413)),
        (502, FailureKind.SERVER),
        (403, FailureKind.AUTH),
    ],
)
def test_a_web_page_is_a_failure(query: Prefect1Query, status: int, kind: FailureKind) -> None:
    """HTML of a proxy is never a page of rows, and is not quoted."""
    failure = read_failure(query, json_reply(HTML, status, content_type="text/html; charset=utf-8"))
    assert failure.kind is kind
    assert "Sign in" not in failure.text


# -- laws -----------------------------------------------------------------------------------------


WORDS = ["data", "errors", "rows", "message", "extensions", "code", "id", "UNAUTHENTICATED"]
NESTED = st.recursive(
    JSON_VALUES | st.sampled_from(WORDS),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=3)
    ),
    max_leaves=8,
)
BODIES = (
    st.binary()
    | st.sampled_from(sorted(ROWS, key=str)).flatmap(
        lambda kind: damaged(rows_reply(ROWS[kind]).body)
    )
    | NESTED.map(lambda value: json.dumps(value).encode())
)
REPLIES = replies_with(BODIES, [200, 200, 400, 401, 404, 429], "application/json", "text/html", "7")


@given(query=st.sampled_from((*QUERIES, ServerQuery())), reply=REPLIES)
def test_no_reply_raises(query: Query, reply: HttpResponse) -> None:
    """Any reply is a page or a failure with a printable text, never an exception."""
    result = read_reply(query, reply)
    if isinstance(result, Failure):
        assert result.text.isprintable()
        assert result.retry_after is None or 0 <= result.retry_after <= 300
    else:
        assert reply.status in {200, 400}
        assert result.rows or not isinstance(query, RunQuery)
    assert isinstance(is_graphql_reply(reply), bool)


@given(query=st.sampled_from(QUERIES), reply=REPLIES)
def test_the_rows_of_a_page_are_counted_as_they_are_read(
    query: Prefect1Query, reply: HttpResponse
) -> None:
    """The row count of a reply that is a page of a list is the count of the page."""
    count, result = read_row_count(query, reply), read_reply(query, reply)
    if isinstance(result, Page) and isinstance(query, LogsQuery | TaskRunsQuery | StatesQuery):
        assert count == result.count
    elif isinstance(count, Failure):
        assert isinstance(result, Failure)


@given(data=st.data(), query=st.sampled_from([StatesQuery(RUN), LOGS, TASK_RUNS, AgentsQuery()]))
def test_no_row_is_lost(
    data: st.DataObject, query: LogsQuery | TaskRunsQuery | StatesQuery | AgentsQuery
) -> None:
    """A row that was changed in any way is read or listed, and its neighbours are kept."""
    row = ROWS[type(query)]
    rows = [{**row, "id": str(number)} for number in range(3)]
    good = read_page(query, rows_reply(*rows)).rows
    changed = data.draw(changed_row(rows[0]))
    at = data.draw(st.integers(0, len(rows)))
    page = read_page(query, rows_reply(*rows[:at], changed, *rows[at:]))
    assert page.count == len(rows) + 1
    if page.malformed:
        (malformed,) = page.malformed
        assert isinstance(malformed, MalformedRow)
        assert (
            malformed.id == changed["id"]
            if isinstance(changed.get("id"), str)
            else len(malformed.id) == 32
        )
        assert page.rows == good
    else:
        assert type(page.rows[at]) is type(good[0])
        assert (*page.rows[:at], *page.rows[at + 1 :]) == good


@given(
    data=st.data(),
    query=st.sampled_from([RunQuery(RUN), TaskRunQuery(TASK_RUN), FlowQuery(FLOW)]),
)
def test_a_changed_single_row_is_read_or_unreadable(data: st.DataObject, query: Query) -> None:
    """The one row of a reply, changed in any way, is read, or the reply is unreadable."""
    reply = read_reply(query, rows_reply(data.draw(changed_row(ROWS[type(query)]))))
    if isinstance(reply, Page):
        assert len(reply.rows) == 1
    else:
        assert reply.kind is FailureKind.UNREADABLE
