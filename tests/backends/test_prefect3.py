"""Prefect 3's codec against recorded answers of a real server, and against whatever else may come.

The recordings are exchanges with Prefect 3.8.8: request, status, headers and answer; long lists
are cut short.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from conversations import play
from hypothesis import given
from hypothesis import strategies as st

from rxflow._backends.backend import HttpCall, HttpReply
from rxflow._backends.prefect3 import Prefect3
from rxflow._backends.prefect3_queries import call_of, csrf_token_call
from rxflow._backends.prefect3_replies import needs_csrf_token, read_csrf_headers, read_reply
from rxflow._models.entities import (
    BackendName,
    Deployment,
    Flow,
    FlowRun,
    Server,
    StoredResult,
    TaskRun,
    Worker,
    WorkPool,
)
from rxflow._models.states import State
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
)
from rxflow.events import FlowRunLog

RECORDED = Path(__file__).parents[1] / "recorded" / "prefect3"
CODEC = Prefect3()

RUN = "68f97243-4f66-4f85-ae38-f6beb86b2c99"
STUCK = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"
FAILED = "0d778d4d-b960-4984-a611-450b39158f5f"
GONE = "ca449f3a-c029-47d8-acb6-1db88b00c1f2"
FLOW = "c6169a03-4bfe-4baa-853d-32391366c608"
DEPLOYMENT = "ae5bac40-c433-4c8c-80a8-897aa4cfde2a"

LOGS = LogsQuery(flow_run_ids=(RUN,))
TASKS = TaskRunsQuery(flow_run_id=RUN)

# Each recorded good answer, the query that it answers, and what its rows are.
TASK_RUN = "01a203a7-deda-718a-8478-3c4353ec038c"

GOOD: Mapping[str, tuple[Query, type]] = {
    "admin_version": (ServerQuery(), Server),
    "flow_run_read": (RunQuery(RUN), FlowRun),
    "flow_run_stuck_no_worker": (RunQuery(STUCK), FlowRun),
    "flow_run_states": (StatesQuery(RUN), State),
    "flow_run_states_failed": (StatesQuery(FAILED), State),
    "flow_run_states_stuck": (StatesQuery(STUCK), State),
    "flow_run_states_unknown_id": (StatesQuery("4b74cac9-5d9f-4ed8-9805-6bd1233f6803"), State),
    "logs_filter": (LOGS, FlowRunLog),
    "logs_filter_multi_run_ts_level": (LOGS, FlowRunLog),
    "logs_filter_task_null": (LOGS, FlowRunLog),
    "task_runs_filter": (TASKS, TaskRun),
    "task_runs_filter_by_flow_run_id": (TASKS, TaskRun),
    "task_run_read": (TaskRunQuery(TASK_RUN), TaskRun),
    "task_run_states": (TaskRunStatesQuery(TASK_RUN), State),
    "flow_read": (FlowQuery(FLOW), Flow),
    "deployment_read": (DeploymentQuery(DEPLOYMENT), Deployment),
    "work_pool_ready": (WorkPoolQuery("pool1"), WorkPool),
    "work_pool_not_ready": (WorkPoolQuery("pool-empty"), WorkPool),
    "workers_filter": (WorkersQuery("pool1"), Worker),
    "workers_filter_empty": (WorkersQuery("pool-empty"), Worker),
}

# Of each kind of query, one.
QUERIES: tuple[Query, ...] = (
    ServerQuery(),
    RunQuery(RUN),
    StatesQuery(RUN),
    LOGS,
    TASKS,
    TaskRunQuery(TASK_RUN),
    TaskRunStatesQuery(TASK_RUN),
    ResultQuery(TASK_RUN),
    FlowsQuery("parent"),
    FlowQuery(FLOW),
    DeploymentQuery(DEPLOYMENT),
    WorkPoolQuery("pool1"),
    WorkersQuery("pool1"),
)


def recording(name: str) -> Any:
    """Load a recorded exchange."""
    return json.loads((RECORDED / f"{name}.json").read_text("utf-8"))


def reply_of(recorded: Any) -> HttpReply:
    """Make the reply that was recorded, as the transport hands it over."""
    said = recorded["response"]
    body = said if "response_headers" not in recorded else json.dumps(said)
    headers = recorded.get("response_headers", {"content-type": "application/json"})
    return HttpReply(status=recorded["status"], headers=headers, body=body.encode())


def reply(body: Any, status: int = 200, **headers: str) -> HttpReply:
    """Make a JSON reply, or one of these very bytes."""
    return HttpReply(
        status=status,
        headers={"content-type": "application/json"}
        | {name.replace("_", "-"): value for name, value in headers.items()},
        body=body if isinstance(body, bytes) else json.dumps(body).encode(),
    )


def page(query: Query, answer: HttpReply) -> Page[Any]:
    """Decode what has to be a page."""
    decoded = read_reply(query, answer)
    assert isinstance(decoded, Page), decoded
    return decoded


def failure(query: Query, answer: HttpReply) -> Failure:
    """Decode what has to be a failure."""
    decoded = read_reply(query, answer)
    assert isinstance(decoded, Failure), decoded
    return decoded


def plain(value: Any) -> Any:
    """Put a decoded value into the words of JSON, except that times stay times."""
    if isinstance(value, msgspec.Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    return list(value) if isinstance(value, tuple) else value


def expected(raw: Any, row: Any) -> Any:
    """Cut raw JSON down to the fields that a decoded row has; a time becomes a datetime."""
    if not isinstance(row, msgspec.Struct):
        is_time = isinstance(row, datetime) and isinstance(raw, str)
        return datetime.fromisoformat(raw) if is_time else raw
    return {
        name: expected(raw.get(name, default), getattr(row, name))
        for name, default in _fields(type(row))
    }


def _fields(kind: type[msgspec.Struct]) -> Iterator[tuple[str, Any]]:
    """The fields of a struct, with the defaults of those that Prefect 3 knows nothing of."""
    for field in msgspec.structs.fields(kind):
        yield field.name, field.default if field.name in PREFECT_1 else None


PREFECT_1 = {"run_config", "task_id", "map_index", "version", "registered"}


def a_log(**fields: Any) -> dict[str, Any]:
    """Make a log row."""
    row: dict[str, Any] = recording("logs_filter")["response"][0]
    return {**row, **fields}


# -- what is asked -----------------------------------------------------------------------------


def asked(call: HttpCall) -> tuple[str, str, dict[str, str] | None, Any]:
    """Put a call into the words of a recorded request."""
    body = json.loads(call.body) if call.body is not None else None
    return call.method, f"/api{call.path}", dict(call.params) or None, body


@pytest.mark.parametrize(
    "name",
    sorted(
        GOOD.keys()
        - {
            "logs_filter_multi_run_ts_level",
            "logs_filter_task_null",
            "task_runs_filter",
            "task_runs_filter_by_flow_run_id",
        }
    ),
)
def test_queries_are_put_as_recorded(name: str) -> None:
    """A query is encoded to the very request that the recorded answer came to."""
    request = recording(name)["request"]
    query, _ = GOOD[name]
    call = call_of(query)  # type: ignore[arg-type]
    assert asked(call) == tuple(request[part] for part in ("method", "path", "params", "body"))


def test_missing_run_is_asked_for_as_recorded() -> None:
    """A run that is gone is asked for by the path that was recorded."""
    assert asked(call_of(RunQuery(GONE)))[1] == recording("flow_run_read_404")["request"]["path"]


def test_logs_are_filtered_as_recorded() -> None:
    """Runs, level and time go into the filter under the names that the server knows."""
    request = recording("logs_filter_multi_run_ts_level")["request"]
    runs = tuple(request["body"]["logs"]["flow_run_id"]["any_"])
    query = LogsQuery(flow_run_ids=runs, level=30, after=datetime(2026, 11, 22, tzinfo=UTC))
    method, path, params, body = asked(call_of(query))
    assert (method, path, params) == (request["method"], request["path"], request["params"])
    assert body["logs"] == {k: v for k, v in request["body"]["logs"].items() if k != "operator"}


def test_logs_have_an_end_and_a_place() -> None:
    """The upper bound of time, the order, the offset and the limit of a query reach the server."""
    query = LogsQuery(
        flow_run_ids=(RUN,),
        before=datetime(2026, 1, 1, tzinfo=UTC),
        descending=True,
        offset=7,
        limit=3,
    )
    body = asked(call_of(query))[3]
    assert body["sort"] == "TIMESTAMP_DESC"
    assert body["logs"]["timestamp"] == {"before_": "2026-01-01T00:00:00Z"}
    assert (body["offset"], body["limit"]) == (7, 3)


def test_task_runs_are_filtered_as_recorded() -> None:
    """Task runs are asked for by the cheap filter that was recorded, in the order without ties."""
    request = recording("task_runs_filter_by_flow_run_id")["request"]
    query = TaskRunsQuery(flow_run_id=RUN, offset=200, limit=100)
    method, path, params, body = asked(call_of(query))
    assert (method, path, params) == (request["method"], request["path"], request["params"])
    assert body["task_runs"].keys() == request["body"]["task_runs"].keys()
    assert body["task_runs"]["flow_run_id"] == {"any_": [RUN]}
    assert (body["sort"], body["offset"], body["limit"]) == ("ID_DESC", 200, 100)


@pytest.mark.parametrize(
    "query", [RunQuery, FlowQuery, DeploymentQuery, WorkPoolQuery, WorkersQuery]
)
def test_ids_and_names_stay_within_their_segment(query: Any) -> None:
    """Whatever stands in an id or a name, it is one segment of the path and ends no URL."""
    path = call_of(query("a/b?c#d\n%2e é")).path
    assert "a%2Fb%3Fc%23d%0A%252e%20%C3%A9" in path.split("/")


# -- good answers ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(GOOD))
def test_recorded_answers_say_what_they_say(name: str) -> None:
    """Each row of a recorded answer equals the server's JSON in every field that it has."""
    recorded = recording(name)
    query, kind = GOOD[name]
    raw = recorded["response"]
    if kind is Server:
        raw = {"backend": "prefect3", "version": raw}
    rows = raw if isinstance(raw, list) else [raw]
    decoded = page(query, reply_of(recorded))
    assert len(decoded.rows) == decoded.count == len(rows)
    for row, said in zip(decoded.rows, rows, strict=True):
        assert type(row) is kind
        known = {"late": False, "replayed": False, **said} if kind is FlowRunLog else said
        assert plain(row) == expected(known, row)


@pytest.mark.parametrize("name", sorted(GOOD))
def test_the_server_tells_its_time(name: str) -> None:
    """A page knows the server's own time, from the Date header."""
    query, _ = GOOD[name]
    recorded = recording(name)
    told = datetime.strptime(
        f"{recorded['response_headers']['date']} +0000", "%a, %d %b %Y %H:%M:%S GMT %z"
    )
    assert page(query, reply_of(recorded)).server_time == told


@pytest.mark.parametrize(
    "date", ["", "now", "99", "Sun, 22 Nov 99999 14:28:39 GMT", "22 Nov 2026 1:2:3 +9999999999999"]
)
def test_a_date_that_cannot_be_read_is_none(date: str) -> None:
    """A page without a readable Date header is a page without a server time."""
    assert page(ServerQuery(), reply("3.8.8", date=date)).server_time is None


def test_unknown_fields_are_passed_over() -> None:
    """A newer server may send more, even under the names that an event keeps for itself."""
    plain_page = page(LOGS, reply([a_log()]))
    for more in ({"kind": "stdout"}, {"late": "yes"}, {"late": True}, {"replayed": True}):
        assert page(LOGS, reply([a_log(**more, brand_new={"deep": [1]})])) == plain_page
    run = recording("flow_run_read")["response"]
    assert page(RunQuery(RUN), reply({**run, "kind": 1})) == page(RunQuery(RUN), reply(run))


def test_an_unknown_state_type_is_kept_and_not_terminal() -> None:
    """A state type that is not known here is kept as text, and a run in it is not over."""
    recorded = recording("flow_run_read")["response"]
    recorded["state"]["type"] = "HIBERNATING"
    (run,) = page(RunQuery(RUN), reply(recorded)).rows
    assert run.state.type == "HIBERNATING"
    assert not run.is_terminal


def test_a_state_may_be_missing() -> None:
    """A run or a task run without a state is a good row."""
    run = {**recording("flow_run_read")["response"], "state": None, "state_id": None}
    assert page(RunQuery(RUN), reply(run)).rows[0].state is None
    task = {**recording("task_runs_filter")["response"][0], "state": None}
    (task_run,) = page(TASKS, reply([task])).rows
    assert task_run.state is None
    assert task_run.state_id == task["state_id"]


# -- rows that cannot be read ------------------------------------------------------------------


def test_a_malformed_row_is_named_and_the_others_are_kept() -> None:
    """Of a page with a row that cannot be read, that row is named, and the others are kept."""
    first, bad, last = a_log(id="1"), a_log(id="2", level="loud"), a_log(id="3")
    decoded = page(LOGS, reply([first, bad, last]))
    assert [row.id for row in decoded.rows] == ["1", "3"]
    (named,) = decoded.malformed
    assert named.id == "2"
    assert "$.level" in named.reason
    assert decoded.count == 3


def test_a_malformed_log_row_tells_its_place() -> None:
    """A log row that cannot be read tells its run and times, or else those of the row before it."""
    first = a_log(id="1", timestamp="2026-01-01T00:00:00Z", created="2026-01-01T00:00:01Z")
    level = a_log(id="2", level=None)
    times = a_log(id="3", flow_run_id=5, timestamp="noon", created="2026-02-02T00:00:00Z")
    of_level, of_times, of_nothing = page(LOGS, reply([first, level, times, None])).malformed
    assert of_level.flow_run_id == RUN
    assert of_level.timestamp == datetime.fromisoformat(level["timestamp"])
    assert of_level.created == datetime.fromisoformat(level["created"])
    assert of_times.flow_run_id == RUN
    assert of_times.timestamp == of_nothing.timestamp == datetime(2026, 1, 1, tzinfo=UTC)
    assert of_times.created == datetime(2026, 2, 2, tzinfo=UTC)
    (alone,) = page(LOGS, reply([None])).malformed
    assert alone.timestamp < of_times.timestamp


def test_a_naive_time_is_malformed() -> None:
    """A time without an offset says nothing, and its row is named with the field's path."""
    (named,) = page(LOGS, reply([a_log(timestamp="2026-11-22T14:27:33")])).malformed
    assert "$.timestamp" in named.reason


@pytest.mark.parametrize("row", [None, 5, "a", [], {}, {"id": 5}, {"id": None}])
def test_a_row_without_an_id_gets_one(row: Any) -> None:
    """A row whose id cannot be read is named by a digest: the same each time, another's another."""
    good = a_log()
    decoded = page(LOGS, reply([row, good, row, ["another"]]))
    names = [named.id for named in decoded.malformed]
    assert names[0] == names[1] != names[2]
    assert len(names[0]) == 32
    assert decoded.rows == page(LOGS, reply([good])).rows


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (rb"\ud800", "\ufffd"),
        (rb"\udfff x", "\ufffd x"),
        (rb"\uD83D\uDE00", "\U0001f600"),
        (rb"\udc00\ud83d\ude00\ud83d", "\ufffd\U0001f600\ufffd"),
        (rb"\\ud800 \ud800", "\\ud800 \ufffd"),
        (rb"\ud800\u0041", "\ufffdA"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"caf\xe9", "caf\ufffd"),
        (b"\xed\xa0\x80", "\ufffd\ufffd\ufffd"),
        (b"\xc3\xa9\xff", "é\ufffd"),
        (rb"\u0000 \u001b[31m", "\x00 \x1b[31m"),
    ],
)
def test_text_that_is_not_unicode_is_mended(written: bytes, read: str) -> None:
    """Half surrogates and bytes that are not UTF-8 become U+FFFD; all else of the page stays."""
    body = json.dumps([a_log(id="1", message="@"), a_log(id="2", message="fine")]).encode()
    decoded = page(LOGS, reply(body.replace(b"@", written)))
    assert [(row.id, row.message) for row in decoded.rows] == [("1", read), ("2", "fine")]


def test_a_mended_page_may_hold_a_malformed_row() -> None:
    """A row that cannot be read is named on a page that had to be mended too."""
    rows = [a_log(id="1", level=None), a_log(id="2", message="@")]
    decoded = page(LOGS, reply(json.dumps(rows).encode().replace(b"@", rb"\ud800")))
    assert [row.message for row in decoded.rows] == ["\ufffd"]
    assert [named.id for named in decoded.malformed] == ["1"]


# -- answers that cannot be read ---------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(GOOD.keys() - {"admin_version"}))
@pytest.mark.parametrize("kind", ["application/json", "text/html"])
def test_no_piece_of_an_answer_is_an_answer(name: str, kind: str) -> None:
    """An answer that was cut short, at whichever byte, is never taken for a page.

    Only the version is different: nothing hangs on it, and it may stay unknown.
    """
    query, _ = GOOD[name]
    body = reply_of(recording(name)).body
    trouble = FailureKind.UNREADABLE if kind == "application/json" else FailureKind.NOT_AN_API
    for end in range(len(body)):
        cut = reply(body[:end], content_type=kind)
        assert failure(query, cut).kind is trouble


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
def test_deep_nesting_is_garbled(query: Query, body: bytes) -> None:
    """An answer that is nested too deep cannot be read, and nothing breaks over it."""
    assert failure(query, reply(body)).kind is FailureKind.UNREADABLE


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"1e999", b"9" * 5000])
def test_what_is_no_number_is_not_taken_for_one(number: bytes) -> None:
    """Numbers that JSON does not know, or nobody can hold, make a run's row unreadable."""
    run = json.dumps({**recording("flow_run_read")["response"], "parameters": {"n": "@"}})
    garbled = failure(RunQuery(RUN), reply(run.encode().replace(b'"@"', number)))
    assert garbled.kind is FailureKind.UNREADABLE


def test_what_is_missing_is_named() -> None:
    """An answer about a run that lacks a field names the run and the JSON path."""
    run = recording("flow_run_read")["response"]
    del run["state"]["timestamp"]
    text = failure(RunQuery(RUN), reply(run)).text
    assert RUN in text
    assert "`timestamp` - at `$.state`" in text


HTML = b"<!DOCTYPE html><html><body>Sign in to continue</body></html>"


@pytest.mark.parametrize("query", QUERIES[1:], ids=lambda query: type(query).__name__)
@pytest.mark.parametrize(
    ("status", "trouble"),
    [(200, FailureKind.NOT_AN_API), (404, FailureKind.NOT_AN_API), (502, FailureKind.SERVER)],
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
def test_what_may_be_missing_is_an_empty_page(query: Query) -> None:
    """A flow, deployment, pool that the API says is not there is an answer without rows."""
    date = "Sun, 22 Nov 2026 14:28:38 GMT"
    decoded = page(query, reply({"detail": "Work pool 'x' not found."}, 404, date=date))
    assert decoded.rows == decoded.malformed == ()
    assert decoded.server_time == datetime(2026, 11, 22, 14, 28, 38, tzinfo=UTC)


@pytest.mark.parametrize("status", [200, 404])
def test_a_server_may_not_say_its_version(status: int) -> None:
    """Whoever does not say a version may still be a Prefect server: the next question will tell."""
    unknown = Server(backend=BackendName.PREFECT_3)
    assert page(ServerQuery(), reply(HTML, status, content_type="text/html")).rows == (unknown,)


@pytest.mark.parametrize(
    ("name", "query", "trouble", "said"),
    [
        ("flow_run_read_404", RunQuery(GONE), FailureKind.RUN_NOT_FOUND, GONE),
        ("flow_run_read_422", RunQuery("not-a-uuid"), FailureKind.NOT_AN_API, "/api"),
        ("auth_no_auth", ServerQuery(), FailureKind.AUTH, "Unauthorized"),
        ("auth_bad_basic", ServerQuery(), FailureKind.AUTH, "PREFECT_API_AUTH_STRING"),
        ("auth_bearer", ServerQuery(), FailureKind.AUTH, "PREFECT_API_KEY"),
        ("auth_csrf_token_noauth", LOGS, FailureKind.AUTH, "HTTP 401"),
        ("auth_post_no_csrf", LOGS, FailureKind.AUTH, "Missing CSRF token."),
        ("logs_filter_limit_201", LOGS, FailureKind.PAGE_LIMIT, "200"),
        ("logs_filter_limit_neg", LOGS, FailureKind.REJECTED, "greater than"),
        ("logs_filter_bad_sort", LOGS, FailureKind.REJECTED, "LogsQuery"),
        ("logs_filter_unknown_field", LOGS, FailureKind.REJECTED, "Invalid request received."),
        ("csrf_disabled", LOGS, FailureKind.REJECTED, "CSRF protection is disabled."),
    ],
)
def test_recorded_errors(name: str, query: Query, trouble: FailureKind, said: str) -> None:
    """A recorded error answer is understood, and the message says what to look at."""
    found = failure(query, reply_of(recording(name)))
    assert found.kind is trouble
    assert said in found.text
    assert found.limit == (200 if trouble is FailureKind.PAGE_LIMIT else None)


@pytest.mark.parametrize("query", [StatesQuery(RUN), LOGS, TASKS], ids=lambda q: type(q).__name__)
def test_only_its_own_row_tells_that_a_run_is_missing(query: Query) -> None:
    """The answer to another question never says that the run is gone."""
    found = failure(query, reply({"detail": "Flow run not found"}, 404))
    assert found.kind is FailureKind.NOT_AN_API


@pytest.mark.parametrize(
    ("status", "trouble"),
    [
        *((status, FailureKind.BUSY) for status in (408, 425, 429, 503)),
        *((status, FailureKind.SERVER) for status in (409, 410, 500, 501, 502, 504, 507, 599)),
        *((status, FailureKind.AUTH) for status in (401, 403)),
        *((status, FailureKind.REJECTED) for status in (400, 406, 413, 415, 422)),
        *((status, FailureKind.NOT_AN_API) for status in (202, 204, 301, 304, 307, 404, 405)),
    ],
)
def test_each_status_means_something(status: int, trouble: FailureKind) -> None:
    """Each HTTP status leads to one kind of trouble, which says who can put it right."""
    assert failure(LOGS, reply({"detail": "words"}, status)).kind is trouble


def test_a_limit_of_something_else_is_no_page_limit() -> None:
    """Only a limit on the number of rows is taken for one."""
    words = {"detail": "Invalid offset: must be less than or equal to 10000."}
    assert failure(LOGS, reply(words, 422)).kind is FailureKind.REJECTED


@pytest.mark.parametrize("key", ["detail", "exception_message"])
@pytest.mark.parametrize("status", [400, 401, 403, 422, 500, 503])
def test_an_error_is_quoted_in_plain_words_and_briefly(status: int, key: str) -> None:
    """Of what a server says, 256 printable characters at the most go into a message."""
    words = "\x1b[31m\u202e\n" + "blah " * 10_000
    found = failure(LOGS, reply({key: words, "request_body": {"token": "canary"}}, status))
    assert "blah" in found.text
    assert len(found.text) < 256 + 200
    assert found.text.isprintable()
    assert "canary" not in found.text


@pytest.mark.parametrize(
    "detail", [[{"msg": "canary", "input": "canary"}], {"a": "canary"}, 5, None]
)
def test_a_structured_error_is_not_quoted(detail: Any) -> None:
    """An error that echoes what was sent, as validation errors do, is not quoted."""
    for key in ("detail", "exception_detail", "exception_message"):
        found = failure(LOGS, reply({key: detail, "request_body": "canary"}, 422))
        assert found.kind is FailureKind.REJECTED
        assert "canary" not in found.text


# -- when to come again ------------------------------------------------------------------------

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


def http_date(seconds: float) -> str:
    """Write a time, so many seconds after noon, as HTTP does."""
    return format_datetime(NOON + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize("status", [429, 503, 502])
@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 12 ", 12.0),
        ("300", 300.0),
        ("301", 300.0),
        ("9" * 400, 300.0),
        (http_date(20), 20.0),
        (http_date(-20), 0.0),
        (http_date(86_400), 300.0),
        ("Sunday, 22-Nov-26 12:00:09 GMT", 9.0),
        ("Sun Nov 22 12:00:08 2026", 8.0),
        ("Sun, 22 Nov 2026 14:00:06 +0200", 6.0),
        *((value, None) for value in ("", "nan", "inf", "-5", "+5", "٣", "1.5", "1e3", "0x10")),
        *((value, None) for value in ("soon", "Sun, 99 Nov 2026 12:00:00 GMT", "5, 5", "1_0")),
    ],
)
def test_retry_after(status: int, value: str, seconds: float | None) -> None:
    """Retry-After counts whole seconds or names a date by the server's clock, 300 s at most."""
    found = failure(LOGS, reply({}, status, retry_after=value, date=http_date(0)))
    assert found.retry_after == seconds


def test_retry_after_a_date_needs_the_servers_clock() -> None:
    """Without the server's own time a date says nothing about how long to wait."""
    assert failure(LOGS, reply({}, 503, retry_after=http_date(20))).retry_after is None
    assert failure(LOGS, reply({}, 503)).retry_after is None


# -- the pass ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["auth_post_no_csrf", "auth_post_csrf_bad"])
def test_a_pass_is_fetched_when_it_is_asked_for(name: str) -> None:
    """A server that misses or refuses the CSRF token is asked for one, for this client."""
    assert needs_csrf_token(reply_of(recording(name)))
    call = csrf_token_call("me")
    recorded = recording("auth_csrf_token")["request"]
    assert asked(call) == (recorded["method"], recorded["path"], {"client": "me"}, None)


@pytest.mark.parametrize(
    "answer",
    [
        reply_of(recording("auth_no_auth")),
        reply({"detail": "Forbidden"}, 403),
        reply({"detail": "Missing CSRF token."}, 200),
        reply(HTML, 403),
        reply(b"\xff", 403),
    ],
)
def test_no_pass_is_fetched_otherwise(answer: HttpReply) -> None:
    """Any other answer, whatever is forbidden by it, asks for no CSRF token."""
    assert not needs_csrf_token(answer)


def test_the_pass_is_shown() -> None:
    """The recorded token is shown in the two headers that the server looks at."""
    recorded = recording("auth_csrf_token")
    assert read_csrf_headers(reply_of(recorded), "me") == (
        ("Prefect-Csrf-Token", json.loads(recorded["response"])["token"]),
        ("Prefect-Csrf-Client", "me"),
    )


@pytest.mark.parametrize(
    "body",
    [b"", HTML, b'{"token":"\xff"}', b'{"token":' * 50_000, b"[]", b"{}", b'{"token":5}']
    + [json.dumps({"token": token}).encode() for token in ("", "a b", "a\nb", "é", "\x7f")],
    ids=lambda body: repr(body[:20]),
)
def test_what_is_no_token_is_not_shown(body: bytes) -> None:
    """What cannot be read, or cannot stand in a header, is no token."""
    assert read_csrf_headers(reply(body), "me") == ()


# -- laws --------------------------------------------------------------------------------------

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | st.integers() | FLOATS | st.text(max_size=5)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
WORDS = [
    "detail",
    "exception_message",
    "token",
    "id",
    "Missing CSRF token",
    "less than or equal to",
]


@st.composite
def pieced(draw: st.DrawFn) -> bytes:
    """Draw a recorded body with a piece of it replaced, or doubled, or cut out."""
    body = reply_of(recording(draw(st.sampled_from(sorted(GOOD))))).body
    start, end = sorted(draw(st.tuples(*[st.integers(0, len(body))] * 2)))
    return body[:start] + draw(st.binary(max_size=8) | st.just(body[start:end] * 2)) + body[end:]


BODIES = (
    st.binary()
    | pieced()
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.dictionaries(st.sampled_from(WORDS), JSON | st.sampled_from(WORDS)).map(
        lambda value: json.dumps(value).encode()
    )
)
HEADERS = st.dictionaries(
    st.sampled_from(["content-type", "date", "retry-after", "location"]),
    st.text() | st.sampled_from([http_date(5), "application/json", "text/html"]),
)
REPLIES = st.builds(
    HttpReply,
    status=st.integers(100, 599) | st.sampled_from([200, 403, 404, 422, 429]),
    headers=HEADERS,
    body=BODIES,
)


@given(query=st.sampled_from(QUERIES), answer=REPLIES)
def test_nothing_that_comes_raises(query: Query, answer: HttpReply) -> None:
    """Whatever comes is a page or a failure with a printable text, never an exception."""
    decoded = read_reply(query, answer)
    if isinstance(decoded, Failure):
        assert decoded.text.isprintable()
        assert decoded.retry_after is None or 0 <= decoded.retry_after <= 300
    else:
        assert isinstance(decoded, Page)
        assert answer.status in {200, 201, 404}
    assert isinstance(read_csrf_headers(answer, "me"), tuple)
    assert isinstance(needs_csrf_token(answer), bool)


LISTS = ["flow_run_states", "logs_filter", "task_runs_filter", "workers_filter"]
SINGLES = ["flow_run_read", "flow_read", "deployment_read", "work_pool_ready"]


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


@given(data=st.data(), name=st.sampled_from(LISTS))
def test_no_row_is_lost(data: st.DataObject, name: str) -> None:
    """A row that was changed in any way is read or named, and its neighbours are untouched."""
    query, kind = GOOD[name]
    rows = recording(name)["response"]
    good = page(query, reply(rows)).rows
    odd = data.draw(changed(rows[0]))
    at = data.draw(st.integers(0, len(rows)))
    decoded = page(query, reply([*rows[:at], odd, *rows[at:]]))
    assert decoded.count == len(rows) + 1
    if decoded.malformed:
        (named,) = decoded.malformed
        assert isinstance(named, MalformedRow)
        assert named.id == odd["id"] if isinstance(odd.get("id"), str) else len(named.id) == 32
        assert decoded.rows == good
    else:
        assert type(decoded.rows[at]) is kind
        assert (*decoded.rows[:at], *decoded.rows[at + 1 :]) == good


@given(data=st.data(), name=st.sampled_from(SINGLES))
def test_a_changed_row_is_read_or_garbled(data: st.DataObject, name: str) -> None:
    """The row that was asked for, changed in any way, is read, or the answer cannot be read."""
    query, kind = GOOD[name]
    decoded = read_reply(query, reply(data.draw(changed(recording(name)["response"]))))
    if isinstance(decoded, Page):
        assert [type(row) for row in decoded.rows] == [kind]
    else:
        assert decoded.kind is FailureKind.UNREADABLE


# -- task runs, results and flows for views -------------------------------------------------------


def test_task_runs_are_asked_for_by_their_ids() -> None:
    """Ids are asked for within their flow run, so that another's are not among the rows."""
    query = TaskRunsQuery(flow_run_id=RUN, task_run_ids=(TASK_RUN,), limit=3)
    body = json.loads(call_of(query).body or b"")
    assert body["task_runs"] == {"flow_run_id": {"any_": [RUN]}, "id": {"any_": [TASK_RUN]}}


def test_a_flow_is_asked_for_by_its_name() -> None:
    """A name is compared whole, and the answer is a list."""
    call = call_of(FlowsQuery("par*ent"))
    assert (call.method, call.path) == ("POST", "/flows/filter")
    assert json.loads(call.body or b"") == {"flows": {"name": {"any_": ["par*ent"]}}}
    row = recording("flow_read")["response"]
    (flow,) = page(FlowsQuery("parent"), reply([row])).rows
    assert flow == page(FlowQuery(FLOW), reply(row)).rows[0]


@pytest.mark.parametrize("query", [AgentsQuery(), ResultsQuery((TASK_RUN,))])
def test_what_only_prefect_1_has_is_not_asked_for(query: Query) -> None:
    """It has neither agents nor parents of mapped task runs, whose children have results."""
    assert play(CODEC.converse(query)) == ([], Page(()))


def result_page(state: Any) -> Any:
    """The answer to where a result is, of a task run in a state."""
    row = recording("task_run_read")["response"] | {"state": state}
    reply = HttpReply(
        status=200, headers={"content-type": "application/json"}, body=json.dumps(row).encode()
    )
    return read_reply(ResultQuery(TASK_RUN), reply)


def test_where_a_result_is_stands_in_the_state() -> None:
    """The state's data has the storage key, the serializer, and the block of another storage."""
    data = {
        "storage_key": "/storage/8b262b3a",
        "expiration": None,
        "serializer": {"type": "json"},
        "prefect_version": "3.8.8",
        "storage_block_id": None,
    }
    assert result_page({"data": data}).rows == (
        StoredResult(location="/storage/8b262b3a", form="json"),
    )
    block = data | {"storage_block_id": RUN}
    assert result_page({"data": block}).rows[0].storage == f"storage block {RUN}"


@pytest.mark.parametrize("state", [None, {}, {"data": None}])
def test_a_state_without_data_has_no_result(state: Any) -> None:
    """Where nothing was persisted, the location is None."""
    assert result_page(state).rows == (StoredResult(),)


@pytest.mark.parametrize("data", ["text", [1], {"storage_key": 17}])
def test_data_of_another_kind_cannot_be_read(data: Any) -> None:
    """What is no record of a result is garbled, and nothing is guessed."""
    assert result_page({"data": data}).kind is FailureKind.UNREADABLE


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("load-0489fc40", ("load",)),
        ("load-data-0489fc40", ("load-data",)),
        ("load", ()),
        ("load-0489FC40", ()),
        ("load-0489fc4", ()),
        ("-0489fc40", ()),
        ("", ()),
    ],
)
def test_a_task_goes_by_its_key_without_the_hash(key: str, names: tuple[str, ...]) -> None:
    """Only what Prefect 3 puts at the end of a key is cut off: a dash and eight hex digits."""
    assert CODEC.task_names(key) == names
