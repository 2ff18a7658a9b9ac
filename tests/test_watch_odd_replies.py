"""Odd replies in the middle of a watch: none of them ends it, and a lasting refusal does."""

import ssl
from collections.abc import Callable
from datetime import timedelta
from email.utils import format_datetime

import httpx
import pytest
from altered_replies import LIFETIME, AlteredRun

from rxflow import Closed, FlowRunLog, Notice, StateChange
from rxflow.errors import AuthError, BadResponse, RxflowError, Unreachable

BEGIN = 10.0
"""Seconds after which replies are odd; the watch has begun long before."""

STATUSES = (
    *(400, 401, 402, 403, 404, 405, 406, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418),
    *(421, 422, 423, 424, 425, 426, 428, 429, 431, 451, 499, 500, 501, 502, 503, 504, 511, 599),
    *(201, 202, 204, 206, 226, 300, 301, 302, 304, 307, 308),
)

Odd = Callable[[httpx.Request, httpx.Response], httpx.Response]

each_backend = pytest.mark.parametrize("backend", ["prefect3", "prefect1"])


def with_status(status: int) -> Odd:
    """Reply with a status, and a JSON body that no API of Prefect has."""
    return lambda _, __: httpx.Response(status, json={"code": status, "message": "odd"})


def with_body(body: bytes, content_type: str = "application/json") -> Odd:
    """Reply with status 200 and a body."""
    headers = {"content-type": content_type}
    return lambda _, __: httpx.Response(200, content=body, headers=headers)


def validation_failed(_: httpx.Request, __: httpx.Response) -> httpx.Response:
    """Reply as the database's API behind a Prefect 1 does while it loads its metadata."""
    error = {"message": 'field "log" not found', "extensions": {"code": "validation-failed"}}
    return httpx.Response(200, json={"errors": [error]})


def bad_certificate(request: httpx.Request, _: httpx.Response) -> httpx.Response:
    """Fail as a TLS handshake does, of which the certificate cannot be verified."""
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "certificate has expired"
    raise httpx.ConnectError("certificate verify failed", request=request) from error


def broken_handshake(request: httpx.Request, _: httpx.Response) -> httpx.Response:
    """Fail as a TLS handshake does that is broken off."""
    error = ssl.SSLEOFError(8, "EOF occurred in violation of protocol")
    raise httpx.ConnectError("EOF occurred in violation of protocol", request=request) from error


def plain_port(request: httpx.Request, _: httpx.Response) -> httpx.Response:
    """Fail as a TLS handshake does with a port that speaks plain HTTP."""
    error = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")
    raise httpx.ConnectError("wrong version number", request=request) from error


ODD_REPLIES: dict[str, Odd] = {
    **{str(status): with_status(status) for status in STATUSES},
    "not JSON": with_body(b"{"),
    "HTML": with_body(b"<p>Welcome", "text/html"),
    "empty": with_body(b""),
    "null": with_body(b"null"),
    "a number": with_body(b"7"),
    "a deep list": with_body(b"[" * 100_000),
    "no rows": with_body(b'{"data": {}}'),
    "validation-failed": validation_failed,
    "certificate": bad_certificate,
    "handshake": broken_handshake,
    "plain port": plain_port,
}


def watch(backend: str, odd: Odd, *, replies: int | None = None, seconds: float = 0) -> AlteredRun:
    """Watch a run of which some replies, or those of some seconds, are odd."""
    run = AlteredRun(backend)
    left = replies

    def alter(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        nonlocal left
        if run.time.seconds < BEGIN or left == 0:
            return response
        if left is None and run.time.seconds >= BEGIN + seconds:
            return response
        left = None if left is None else left - 1
        return odd(request, response)

    return run.watch(alter)


def check_all_was_emitted(run: AlteredRun) -> None:
    """Check that a watch ended well, with each line and state once."""
    assert run.error is None
    closed = run.events[-1]
    assert isinstance(closed, Closed)
    assert closed.verified
    lines = [event.message for event in run.events if isinstance(event, FlowRunLog)]
    assert lines == [f"line {second}" for second in range(0, LIFETIME, 2)]
    assert sum(isinstance(event, StateChange) for event in run.events) == 2


@each_backend
@pytest.mark.parametrize("odd", ODD_REPLIES.values(), ids=ODD_REPLIES)
@pytest.mark.parametrize("replies", [1, 3])
def test_no_odd_reply_ends_a_watch_that_has_begun(backend: str, odd: Odd, replies: int) -> None:
    """One odd reply, and three in a row within a second or two, cost nothing but their retries."""
    check_all_was_emitted(watch(backend, odd, replies=replies))


# Not 404: three of them may say that the run was deleted.
OUTAGES = {name: odd for name, odd in ODD_REPLIES.items() if name != "404"}


@each_backend
@pytest.mark.parametrize("odd", OUTAGES.values(), ids=OUTAGES)
def test_odd_replies_of_fifteen_seconds_end_no_watch(backend: str, odd: Odd) -> None:
    """A proxy that replies oddly for a while is an outage, which is reported, and no end."""
    run = watch(backend, odd, seconds=15)
    check_all_was_emitted(run)
    codes = [event.code for event in run.events if isinstance(event, Notice)]
    limited = ["rate-limited"] if odd is ODD_REPLIES["429"] else []
    assert codes == [*limited, "degraded", "recovered"]


REFUSALS: dict[str, tuple[Odd, type[RxflowError]]] = {
    "401": (with_status(401), AuthError),
    "403": (with_status(403), AuthError),
    "not JSON": (with_body(b"{"), BadResponse),
    "certificate": (bad_certificate, Unreachable),
    "plain port": (plain_port, Unreachable),
}


@each_backend
@pytest.mark.parametrize(("odd", "error"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_of_sixty_seconds_ends_a_watch(
    backend: str, odd: Odd, error: type[RxflowError]
) -> None:
    """What the server refuses in the same way for a minute, it goes on to refuse."""
    run = watch(backend, odd, seconds=1000)
    assert type(run.error) is error
    assert BEGIN + 60 <= run.time.seconds <= BEGIN + 70


@pytest.mark.parametrize(
    ("backend", "odd"), [("prefect3", with_status(422)), ("prefect1", validation_failed)]
)
def test_a_query_that_is_rejected_for_sixty_seconds_ends_a_watch(backend: str, odd: Odd) -> None:
    """A rejection is a refusal as any other, in the way in which each server says it."""
    run = watch(backend, odd, seconds=1000)
    assert type(run.error) is BadResponse
    assert BEGIN + 60 <= run.time.seconds <= BEGIN + 70


@each_backend
@pytest.mark.parametrize("server_time", [True, False], ids=["with Date", "without Date"])
def test_a_date_to_retry_after_is_waited_for(backend: str, server_time: bool) -> None:
    """A reply that names a time is followed by no request before it, with or without a Date."""
    run = AlteredRun(backend)
    sent: list[float] = []

    def alter(_: httpx.Request, response: httpx.Response) -> httpx.Response:
        if run.time.seconds < BEGIN:
            return response
        sent.append(run.time.seconds)
        if len(sent) > 1:
            return response
        then = format_datetime(run.time.now + timedelta(seconds=6), usegmt=True)
        busy = httpx.Response(503, headers={"retry-after": then})
        if server_time:
            busy.headers["date"] = format_datetime(run.time.now, usegmt=True)
        return busy

    check_all_was_emitted(run.watch(alter))
    assert sent[1] - sent[0] >= 5  # an HTTP date counts whole seconds
