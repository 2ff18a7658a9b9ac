"""One request to a fake server as a generator: it yields what it waits for, returns the response.

Waiting is left to the caller, so that a thread, an asyncio task and virtual time share one
description of a request. Belongs here: the possible ends of a request, and how its steps are run.
Does not belong here: which steps a request takes (`_fake_server.py`) and sockets
(`_http_server.py`).
"""

from collections.abc import Awaitable, Callable, Generator
from contextlib import closing
from datetime import datetime
from email.utils import format_datetime
from http import HTTPStatus

import httpx

from rxflow.testing._faults import FaultDraw, Faults
from rxflow.testing._hold import Hold

Steps = Generator[float | Hold, None, httpx.Response]
"""Yields seconds to let pass, or a gate to wait at; returns the response or raises httpx errors."""

Handler = Callable[[httpx.Request], Steps]

_HTML = "<!doctype html><title>Welcome</title><p>The service is being moved.</p>"


class TruncatedResponse(httpx.RemoteProtocolError):
    """The connection broke in the middle of a response's body.

    Attributes:
        response: The complete response.
    """

    def __init__(self, request: httpx.Request, response: httpx.Response) -> None:
        """Truncate a response to half of its body."""
        sent, length = len(response.content) // 2, len(response.content)
        super().__init__(
            "peer closed connection without sending complete message body "
            f"(received {sent} bytes, expected {length})",
            request=request,
        )
        self.response = response


# -- ends of a request --------------------------------------------------------------------------


def json_response(status: int, body: bytes, now: datetime) -> httpx.Response:
    """Make a response with the headers that a Prefect server sends."""
    headers = {"content-type": "application/json", "date": format_datetime(now, usegmt=True)}
    return httpx.Response(status, content=body, headers=headers)


def error_response(draw: FaultDraw, faults: Faults, now: datetime) -> httpx.Response:
    """Make the response of a server that fails before it reads anything."""
    response = json_response(draw.status, b'{"exception_message":"Internal Server Error"}', now)
    if faults.retry_after and draw.status in {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.SERVICE_UNAVAILABLE,
    }:
        response.headers["retry-after"] = f"{faults.retry_after:g}"
    return response


def refuse_connection(request: httpx.Request) -> None:
    """Fail a request as if no server listened.

    Raises:
        httpx.ConnectError: Caused by the operating system's own error, as httpx does it.
    """
    raise httpx.ConnectError("Connection refused", request=request) from ConnectionRefusedError(
        "Connection refused"
    )


def send_back(response: httpx.Response, request: httpx.Request, draw: FaultDraw) -> httpx.Response:
    """Return the response as the client receives it.

    Raises:
        httpx.ReadError: The response is lost.
        TruncatedResponse: The response is cut in its middle.
    """
    match draw.kind:
        case "lost":
            raise httpx.ReadError("Connection reset by peer", request=request)
        case "cut":
            raise TruncatedResponse(request, response)
        case "garbled":
            return httpx.Response(200, html=_HTML)
        case _:
            return response


# -- running the steps --------------------------------------------------------------------------


def run_steps(steps: Steps, wait: Callable[[float | Hold], None]) -> httpx.Response:
    """Run the steps of a request; an error in `wait` ends them."""
    with closing(steps):
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                return _response(end)
            wait(step)


async def arun_steps(
    steps: Steps, wait: Callable[[float | Hold], Awaitable[None]]
) -> httpx.Response:
    """Run the steps of a request; an error in `wait`, or its cancellation, ends them."""
    with closing(steps):
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                return _response(end)
            await wait(step)


def _response(end: StopIteration) -> httpx.Response:
    response: httpx.Response = end.value
    return response
