"""Replies of Prefect 3: pages and failures, from recorded replies and from any other bytes."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from http_replies import HTML, JSON_VALUES, changed_row, damaged, json_reply, replies_with
from hypothesis import given
from hypothesis import strategies as st
from prefect3_recordings import (
    FLOW,
    GOOD,
    LOGS,
    QUERIES,
    RUN,
    TASK_RUN,
    TASK_RUNS,
    log_row,
    read_failure,
    read_page,
    recorded_reply,
    recording,
)

from rxflow._backends.backend import HttpResponse
from rxflow._backends.prefect3_queries import Prefect3Query
from rxflow._backends.prefect3_replies import needs_csrf_token, read_csrf_headers, read_reply
from rxflow._models.entities import BackendName, Server, StoredResult, TaskRunState
from rxflow._protocol.failures import Failure, FailureKind, Reply
from rxflow._protocol.pages import MalformedRow, Page
from rxflow._protocol.queries import (
    DeploymentQuery,
    FlowQuery,
    ResultQuery,
    RunQuery,
    ServerQuery,
    TaskRunQuery,
    TaskRunStatesQuery,
    WorkersQuery,
    WorkPoolQuery,
)
from rxflow.events import FlowRunLog

# -- pages ----------------------------------------------------------------------------------------


def as_json(value: Any) -> Any:
    """Convert a decoded value to JSON, except that times stay times."""
    if isinstance(value, msgspec.Struct):
        return {name: as_json(getattr(value, name)) for name in value.__struct_fields__}
    return list(value) if isinstance(value, tuple) else value


def expected(raw: Any, row: Any) -> Any:
    """Reduce JSON to the fields of a decoded row; a time becomes a datetime."""
    if not isinstance(row, msgspec.Struct):
        is_time = isinstance(row, datetime) and isinstance(raw, str)
        return datetime.fromisoformat(raw) if is_time else raw
    return {
        name: expected(raw.get(name, default), getattr(row, name))
        for name, default in _fields(type(row))
    }


def _fields(kind: type[msgspec.Struct]) -> Iterator[tuple[str, Any]]:
    """List the fields of a struct, with the defaults of those that Prefect 3 does not send."""
    for field in msgspec.structs.fields(kind):
        yield field.name, field.default if field.name in PREFECT_1_FIELDS else None


PREFECT_1_FIELDS = {"run_config", "task_id", "map_index", "version", "registered"}


def test_states_of_task_runs_are_read_one_by_one() -> None:
    """The states of the first task run come with the query for the others, if there are any."""
    query = TaskRunStatesQuery((TASK_RUN, "b", "c"))
    page = read_page(query, recorded_reply("task_run_states"))
    assert [row.task_run_id for row in page.rows] == [TASK_RUN] * 4
    assert page.next_query == TaskRunStatesQuery(("b", "c"))
    last = read_page(TaskRunStatesQuery((TASK_RUN,)), recorded_reply("task_run_states"))
    assert last.next_query is None


def test_states_of_another_task_run_are_refused() -> None:
    """A proxy may send the reply to another query."""
    failure = read_failure(TaskRunStatesQuery((RUN,)), recorded_reply("task_run_states"))
    assert failure.kind is FailureKind.UNREADABLE
    assert TASK_RUN in failure.text


@pytest.mark.parametrize("name", sorted(GOOD))
def test_a_recorded_reply_is_read_field_by_field(name: str) -> None:
    """Each row of a recorded reply equals the server's JSON in every field that it has."""
    recorded = recording(name)
    query, kind = GOOD[name]
    raw = recorded["response"]
    if kind is Server:
        raw = {"backend": "prefect3", "version": raw}
    rows = raw if isinstance(raw, list) else [raw]
    page = read_page(query, recorded_reply(name))
    assert len(page.rows) == page.count == len(rows)
    assert {type(row) for row in page.rows} <= {kind}
    found = [row.state if isinstance(row, TaskRunState) else row for row in page.rows]
    derived = {"late": False, "replayed": False, "root": msgspec.UNSET}
    for row, sent in zip(found, rows, strict=True):
        known = derived | sent if kind is FlowRunLog else sent
        assert as_json(row) == expected(known, row)


@pytest.mark.parametrize("name", sorted(GOOD))
def test_a_page_has_the_servers_time(name: str) -> None:
    """The time of a page is that of the Date header."""
    query, _ = GOOD[name]
    recorded = recording(name)
    date = datetime.strptime(
        f"{recorded['response_headers']['date']} +0000", "%a, %d %b %Y %H:%M:%S GMT %z"
    )
    assert read_page(query, recorded_reply(name)).server_time == date


def test_unknown_fields_are_ignored() -> None:
    """A newer server may send more fields, even under names that only an event may have."""
    plain_page = read_page(LOGS, json_reply([log_row()]))
    for more in (
        {"kind": "stdout"},
        {"late": "yes"},
        {"late": True},
        {"replayed": True},
        {"root_flow_run_id": RUN},
    ):
        assert read_page(LOGS, json_reply([log_row(**more, brand_new={"deep": [1]})])) == plain_page
    run = recording("flow_run_read")["response"]
    assert read_page(RunQuery(RUN), json_reply({**run, "kind": 1})) == read_page(
        RunQuery(RUN), json_reply(run)
    )


def test_an_unknown_state_type_is_kept_and_not_terminal() -> None:
    """An unknown state type is kept as text, and a run in that state is not terminal."""
    recorded = recording("flow_run_read")["response"]
    recorded["state"]["type"] = "HIBERNATING"
    (run,) = read_page(RunQuery(RUN), json_reply(recorded)).rows
    assert run.state.type == "HIBERNATING"
    assert not run.is_terminal


def test_a_run_may_have_no_state() -> None:
    """A run or a task run without a state is a good row."""
    run = {**recording("flow_run_read")["response"], "state": None, "state_id": None}
    assert read_page(RunQuery(RUN), json_reply(run)).rows[0].state is None
    task = {**recording("task_runs_filter")["response"][0], "state": None}
    (task_run,) = read_page(TASK_RUNS, json_reply([task])).rows
    assert task_run.state is None
    assert task_run.state_id == task["state_id"]


@pytest.mark.parametrize(
    "query",
    [
        FlowQuery(FLOW),
        TaskRunQuery(TASK_RUN),
        ResultQuery(TASK_RUN),
        DeploymentQuery("x"),
        WorkPoolQuery("x"),
        WorkersQuery("x"),
    ],
    ids=lambda query: type(query).__name__,
)
def test_a_missing_entity_is_an_empty_page(query: Prefect3Query) -> None:
    """A flow, deployment or pool that does not exist is a page without rows."""
    date = "Sun, 22 Nov 2026 14:28:38 GMT"
    page = read_page(query, json_reply({"detail": "Work pool 'x' not found."}, 404, date=date))
    assert page.rows == page.malformed == ()
    assert page.server_time == datetime(2026, 11, 22, 14, 28, 38, tzinfo=UTC)


@pytest.mark.parametrize("status", [200, 404])
def test_a_server_may_have_no_version(status: int) -> None:
    """A server that sends no version may be a Prefect 3 all the same: the next query shows it."""
    unknown = Server(backend=BackendName.PREFECT_3)
    assert read_page(ServerQuery(), json_reply(HTML, status, content_type="text/html")).rows == (
        unknown,
    )


# -- results --------------------------------------------------------------------------------------


def result_reply(state: Any) -> Reply:
    """Read the reply to the query for a result, of a task run in a state."""
    row = recording("task_run_read")["response"] | {"state": state}
    return read_reply(ResultQuery(TASK_RUN), json_reply(row))


def result_rows(state: Any) -> tuple[Any, ...]:
    """Read the rows of that reply, which must be a page."""
    reply = result_reply(state)
    assert isinstance(reply, Page)
    return reply.rows


def test_a_result_is_read_from_the_state() -> None:
    """The data of the state has the storage key, the serializer, and the block of a storage."""
    data = {
        "storage_key": "/storage/8b262b3a",
        "expiration": None,
        "serializer": {"type": "json"},
        "prefect_version": "3.8.8",
        "storage_block_id": None,
    }
    assert result_rows({"data": data}) == (StoredResult(location="/storage/8b262b3a", form="json"),)
    block = data | {"storage_block_id": RUN}
    assert result_rows({"data": block})[0].storage == f"storage block {RUN}"


@pytest.mark.parametrize("state", [None, {}, {"data": None}])
def test_a_state_without_data_has_no_result(state: Any) -> None:
    """Where no result was persisted, the location is None."""
    assert result_rows(state) == (StoredResult(),)


@pytest.mark.parametrize("data", ["text", [1], {"storage_key": 17}])
def test_data_of_another_shape_is_unreadable(data: Any) -> None:
    """JSON that is no record of a result is a failure, and no part of it is used."""
    reply = result_reply({"data": data})
    assert isinstance(reply, Failure)
    assert reply.kind is FailureKind.UNREADABLE


# -- unreadable replies ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(GOOD.keys() - {"admin_version"}))
@pytest.mark.parametrize("content_type", ["application/json", "text/html"])
def test_a_reply_that_was_cut_short_is_a_failure(name: str, content_type: str) -> None:
    """A reply that is cut short at any byte is never a page.

    Only the version is an exception: nothing depends on it, and it may be unknown.
    """
    query, _ = GOOD[name]
    body = recorded_reply(name).body
    kind = FailureKind.UNREADABLE if content_type == "application/json" else FailureKind.NOT_AN_API
    for end in range(len(body)):
        cut = json_reply(body[:end], content_type=content_type)
        assert read_failure(query, cut).kind is kind


@pytest.mark.parametrize("query", QUERIES[1:], ids=lambda query: type(query).__name__)
@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'[{"id":"1","x":' + b"[" * 50_000 + b"]" * 50_000 + b"}]",
        b"\xff" + b"[" * 100_000,
    ],
    ids=["arrays", "objects", "closed", "within a row", "not unicode"],
)
def test_deep_nesting_is_unreadable(query: Prefect3Query, body: bytes) -> None:
    """A reply that is nested too deep is a failure, and raises nothing."""
    assert read_failure(query, json_reply(body)).kind is FailureKind.UNREADABLE


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"1e999", b"9" * 5000])
def test_a_number_that_json_does_not_have_is_unreadable(number: bytes) -> None:
    """NaN, infinity, and numbers beyond every float make the row of a run unreadable."""
    run = json.dumps({**recording("flow_run_read")["response"], "parameters": {"n": "@"}})
    failure = read_failure(RunQuery(RUN), json_reply(run.encode().replace(b'"@"', number)))
    assert failure.kind is FailureKind.UNREADABLE


def test_a_missing_field_is_named() -> None:
    """The failure for a reply about a run names the run, and the JSON path of the missing field."""
    run = recording("flow_run_read")["response"]
    del run["state"]["timestamp"]
    text = read_failure(RunQuery(RUN), json_reply(run)).text
    assert RUN in text
    assert "`timestamp` - at `$.state`" in text


@pytest.mark.parametrize("query", QUERIES[1:], ids=lambda query: type(query).__name__)
@pytest.mark.parametrize(
    ("status", "kind"),
    [(200, FailureKind.NOT_AN_API), (404, FailureKind.NOT_AN_API), (502, FailureKind.SERVER)],
)
def test_a_web_page_is_a_failure(query: Prefect3Query, status: int, kind: FailureKind) -> None:
    """HTML of a proxy is never a page of rows, and is not quoted."""
    failure = read_failure(query, json_reply(HTML, status, content_type="text/html; charset=utf-8"))
    assert failure.kind is kind
    assert "Sign in" not in failure.text


# -- CSRF tokens ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["auth_post_no_csrf", "auth_post_csrf_bad"])
def test_a_refusal_shows_that_a_token_is_needed(name: str) -> None:
    """A token is needed if the server has none of this client, or not the one that was sent."""
    assert needs_csrf_token(recorded_reply(name))


@pytest.mark.parametrize(
    "reply",
    [
        recorded_reply("auth_no_auth"),
        json_reply({"detail": "Forbidden"}, 403),
        json_reply({"detail": "Missing CSRF token."}, 200),
        json_reply(HTML, 403),
        json_reply(b"\xff", 403),
    ],
)
def test_no_other_refusal_shows_that_a_token_is_needed(reply: HttpResponse) -> None:
    """Any other reply, whatever it forbids, does not concern the token."""
    assert not needs_csrf_token(reply)


def test_a_token_is_sent_in_two_headers() -> None:
    """The recorded token and the id of the client are sent in the headers that the server reads."""
    recorded = recording("auth_csrf_token")
    assert read_csrf_headers(recorded_reply("auth_csrf_token"), "me") == (
        ("Prefect-Csrf-Token", json.loads(recorded["response"])["token"]),
        ("Prefect-Csrf-Client", "me"),
    )


@pytest.mark.parametrize(
    "body",
    [b"", HTML, b'{"token":"\xff"}', b'{"token":' * 50_000, b"[]", b"{}", b'{"token":5}']
    + [json.dumps({"token": token}).encode() for token in ("", "a b", "a\nb", "é", "\x7f")],
    ids=lambda body: repr(body[:20]),
)
def test_a_reply_without_a_usable_token_has_no_headers(body: bytes) -> None:
    """A body that is unreadable, or has a token that a header cannot have, yields no headers."""
    assert read_csrf_headers(json_reply(body), "me") == ()


# -- laws -----------------------------------------------------------------------------------------


WORDS = [
    "detail",
    "exception_message",
    "token",
    "id",
    "Missing CSRF token",
    "less than or equal to",
]
BODIES = (
    st.binary()
    | st.sampled_from(sorted(GOOD)).flatmap(lambda name: damaged(recorded_reply(name).body))
    | JSON_VALUES.map(lambda value: json.dumps(value).encode())
    | st.dictionaries(st.sampled_from(WORDS), JSON_VALUES | st.sampled_from(WORDS)).map(
        lambda value: json.dumps(value).encode()
    )
)
REPLIES = replies_with(
    BODIES,
    [200, 403, 404, 422, 429],
    "Sun, 22 Nov 2026 12:00:05 GMT",
    "application/json",
    "text/html",
)


@given(query=st.sampled_from(QUERIES), reply=REPLIES)
def test_no_reply_raises(query: Prefect3Query, reply: HttpResponse) -> None:
    """Any reply is a page or a failure with a printable text, never an exception."""
    result = read_reply(query, reply)
    if isinstance(result, Failure):
        assert result.text.isprintable()
        assert result.retry_after is None or 0 <= result.retry_after <= 300
    else:
        assert reply.status in {200, 201, 404}
    assert isinstance(read_csrf_headers(reply, "me"), tuple)
    assert isinstance(needs_csrf_token(reply), bool)


LISTS = ["flow_run_states", "logs_filter", "task_runs_filter", "workers_filter"]
SINGLES = ["flow_run_read", "flow_read", "deployment_read", "work_pool_ready"]


@given(data=st.data(), name=st.sampled_from(LISTS))
def test_no_row_is_lost(data: st.DataObject, name: str) -> None:
    """A row that was changed in any way is read or listed, and its neighbours are kept."""
    query, kind = GOOD[name]
    rows = recording(name)["response"]
    good = read_page(query, json_reply(rows)).rows
    changed = data.draw(changed_row(rows[0]))
    at = data.draw(st.integers(0, len(rows)))
    page = read_page(query, json_reply([*rows[:at], changed, *rows[at:]]))
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
        assert type(page.rows[at]) is kind
        assert (*page.rows[:at], *page.rows[at + 1 :]) == good


@given(data=st.data(), name=st.sampled_from(SINGLES))
def test_a_changed_single_row_is_read_or_unreadable(data: st.DataObject, name: str) -> None:
    """The one row of a reply, changed in any way, is read, or the reply is unreadable."""
    query, kind = GOOD[name]
    reply = read_reply(query, json_reply(data.draw(changed_row(recording(name)["response"]))))
    if isinstance(reply, Page):
        assert [type(row) for row in reply.rows] == [kind]
    else:
        assert reply.kind is FailureKind.UNREADABLE
