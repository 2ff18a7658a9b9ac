"""The laws of what servers send: replies, frames of websockets, headers and compressed bodies."""

import gzip
import json
from collections.abc import Generator, Iterator, Sequence
from datetime import datetime
from functools import partial
from itertools import product
from typing import Any

import httpx
import prefect1_recordings
import prefect3_recordings

from reader_laws.law import Law, check_event
from rxflow import FlowRun, FlowRunLog, RunSeen, State, StateChange, TaskRun, TaskRunStateChange
from rxflow._backends.backend import HttpResponse
from rxflow._backends.detection import detect_backend
from rxflow._backends.headers import is_json, retry_after, server_time
from rxflow._backends.prefect1 import Prefect1
from rxflow._backends.prefect3 import Prefect3
from rxflow._backends.prefect3_push import announcement_of, is_accepted
from rxflow._backends.prefect3_replies import needs_csrf_token, read_csrf_headers
from rxflow._models.entities import TaskRunState
from rxflow._net.redirects import redirect_target
from rxflow._net.response_bodies import MAX_BODY, BodyReader
from rxflow._protocol.failures import LONGEST_RETRY_AFTER, Failure
from rxflow._protocol.pages import Page
from rxflow._protocol.queries import Query, RunCancellation, RunCreation, WorkPoolsQuery

MOST_CALLS = 20
"""HTTP calls that one query takes at most, where each has the same reply."""

LONGEST_TEXT = 2_000
"""Characters of a failure's text, which may quote a server."""

RUN = prefect3_recordings.RUN
STATUSES = (200, 201, 302, 400, 401, 403, 404, 409, 422, 429, 500, 503)
HEADERS: Sequence[dict[str, str]] = (
    {"content-type": "application/json"},
    {"content-type": "text/html", "location": "/login?token=1"},
    {},
    {"content-type": "application/json", "date": "Sun, 22 Nov 2026 12:00:00 GMT"},
    {"date": "Sun, 22 Nov 2026 12:00:00 GMT", "retry-after": "7"},
)
QUERIES: Sequence[tuple[type[Prefect1] | type[Prefect3], Query]] = (
    *product([Prefect3], [*prefect3_recordings.QUERIES, WorkPoolsQuery(), RunCancellation(RUN)]),
    (Prefect3, RunCreation(source_id=RUN, idempotency_key="key")),
    *product([Prefect1], [*prefect1_recordings.QUERIES, RunCancellation(RUN)]),
    (Prefect1, RunCreation(source_id=RUN, idempotency_key="key")),
)


# -- replies to queries ---------------------------------------------------------------------------


def check_reply(data: bytes) -> None:
    """Three bytes choose the query, the status and the headers; the rest is the body."""
    if len(data) < 3:
        return
    backend, query = QUERIES[data[0] % len(QUERIES)]
    reply = HttpResponse(
        status=STATUSES[data[1] % len(STATUSES)],
        headers=HEADERS[data[2] % len(HEADERS)],
        body=data[3:],
    )
    _check_result(_end_of(backend().converse(query), reply))
    _end_of(detect_backend(None), reply)
    needs_csrf_token(reply)
    for name, value in read_csrf_headers(reply, "client"):
        httpx.Headers([(name.encode("ascii"), value.encode("ascii"))])


def _end_of(conversation: Generator[Any, Any, Any], reply: HttpResponse) -> Any:
    """Give each call of a conversation the same reply, and return what it ends with."""
    try:
        next(conversation)
        for _ in range(MOST_CALLS):
            conversation.send(reply)
    except StopIteration as end:
        return end.value
    raise AssertionError(f"there was no end after {MOST_CALLS} calls")


def _check_result(result: Failure | Page[Any]) -> None:
    if isinstance(result, Failure):
        assert result.text.isprintable(), result.text
        assert len(result.text) < LONGEST_TEXT
        assert 0 <= (result.retry_after or 0) <= LONGEST_RETRY_AFTER
        return
    for row in result.rows:
        for event in _events_of(row):
            check_event(event)
    assert all(malformed.reason for malformed in result.malformed)


def _events_of(row: Any) -> Iterator[Any]:
    """Yield the events that a row leads to."""
    match row:
        case FlowRunLog():
            yield row
        case FlowRun():
            yield RunSeen(flow_run_id=row.id, run=row)
        case State():
            yield StateChange(flow_run_id=RUN, id=row.id, state=row)
        case TaskRun(state=State() as state):
            yield TaskRunStateChange(flow_run_id=RUN, id=state.id, task_run=row, state=state)
        case TaskRunState(state=state):
            yield from _events_of(state)
        case _:
            pass


def reply_seeds(backend: type[Prefect1] | type[Prefect3]) -> list[bytes]:
    """Return recorded replies to queries of one kind of server."""
    numbers = [number for number, (kind, _) in enumerate(QUERIES) if kind is backend]
    bodies = dict(_recorded3() if backend is Prefect3 else _recorded1())
    seeds = []
    for number in numbers:
        named = bodies.pop(type(QUERIES[number][1]), [])
        seeds += [bytes([number, 0, 3]) + body for body in named]
    errors = [body for rest in bodies.values() for body in rest]
    choices = product(errors, range(len(STATUSES)))
    return seeds + [bytes([numbers[0], status, 0]) + body for body, status in choices]


def _recorded3() -> Iterator[tuple[type | None, list[bytes]]]:
    found: dict[type, list[bytes]] = {}
    for name, (query, _) in prefect3_recordings.GOOD.items():
        found.setdefault(type(query), []).append(prefect3_recordings.recorded_reply(name).body)
    yield from found.items()
    names = ("auth_csrf_token", "auth_no_auth", "logs_filter_limit_201", "flow_run_read_404")
    yield None, [prefect3_recordings.recorded_reply(name).body for name in names]


def _recorded1() -> Iterator[tuple[type | None, list[bytes]]]:
    for kind, row in prefect1_recordings.ROWS.items():
        yield kind, [prefect1_recordings.rows_reply(row).body]
    errors = (
        prefect1_recordings.recording(name, "errors")["response"]
        for name in prefect1_recordings.ERRORS
    )
    yield None, [json.dumps(error).encode() for error in errors]


# -- frames, headers, bodies ----------------------------------------------------------------------


def check_frame(data: bytes) -> None:
    """A frame announces something, or nothing."""
    assert is_accepted(data) in {True, False}
    announcement = announcement_of(data)
    assert announcement is None or isinstance(announcement.flow_run_id, str)


def _frame_seeds() -> list[bytes]:
    resource = {"prefect.resource.id": f"prefect.flow-run.{RUN}"}
    state = {"event": "prefect.flow-run.Running", "resource": resource}
    task = {"event": "prefect.task-run.Running", "resource": {}, "related": [resource]}
    frames = [{"type": "event", "event": event} for event in (state, task)]
    log = {"type": "log", "log": prefect3_recordings.log_row()}
    return [json.dumps(each).encode() for each in (*frames, log, {"type": "auth_success"})]


NAMES = (b"date", b"retry-after", b"location", b"content-type")
URL = httpx.URL("http://prefect.example:4200/api/logs/filter")


def check_headers(data: bytes) -> None:
    """Lines are the values of headers, as httpx reads them."""
    lines = data.split(b"\n")[: len(NAMES)]
    headers = httpx.Headers(list(zip(NAMES, lines, strict=False)))
    reply = HttpResponse(status=307, headers=dict(headers.items()), body=b"")
    is_json(reply)
    for time in (server_time(reply), wait := retry_after(reply)):
        if isinstance(time, datetime):
            assert time.utcoffset() is not None
    assert wait is None or isinstance(wait, datetime) or 0 <= wait <= LONGEST_RETRY_AFTER
    try:
        target = redirect_target(URL, reply)
    except httpx.InvalidURL:
        return
    assert target is None or (target.scheme, target.host, target.port) == ("http", URL.host, 4200)


def _header_seeds() -> list[bytes]:
    date = b"Sun, 22 Nov 2026 12:00:00 GMT"
    return [
        b"\n".join([date, b"120", b"/api/logs/filter/", b"application/json; charset=utf-8"]),
        b"\n".join([b"22 Nov 2026 12:00:00 +0130", date, b"//prefect.example:4200/x?y#z", b""]),
        b"\n".join([date, date, b"http://user:key@[::1]:80/", b"text/html"]),
    ]


CODINGS = ("gzip", "identity", "br")


def check_body(data: bytes) -> None:
    """The first byte chooses how the rest is compressed; how it is cut makes no difference."""
    if not data:
        return
    response = httpx.Response(200, headers={"content-encoding": CODINGS[data[0] % len(CODINGS)]})
    body = data[1:]
    whole = _body_of(response, [body])
    pieces = [body[start : start + 7] for start in range(0, len(body), 7)]
    assert len(body) > 10_000 or _body_of(response, pieces) == whole
    assert isinstance(whole, Failure) or len(whole.body) <= MAX_BODY


def _body_of(response: httpx.Response, chunks: list[bytes]) -> HttpResponse | Failure:
    reader = BodyReader(response)
    for chunk in chunks:
        if not reader.add(chunk):
            break
    return reader.end()


def _body_seeds() -> list[bytes]:
    body = prefect3_recordings.recorded_reply("logs_filter").body
    return [b"\0" + gzip.compress(body), b"\1" + body, b"\0" + gzip.compress(b"x" * 1_000_000)]


LAWS = (
    Law("prefect3 replies", check_reply, partial(reply_seeds, Prefect3)),
    Law("prefect1 replies", check_reply, partial(reply_seeds, Prefect1)),
    Law("frames", check_frame, _frame_seeds),
    Law("headers", check_headers, _header_seeds),
    Law("bodies", check_body, _body_seeds),
)
