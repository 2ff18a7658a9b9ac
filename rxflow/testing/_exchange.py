"""One request from its sending to its answer, in steps: what takes time is yielded, not waited for.

So one description serves a thread, a task, and virtual time: who carries it out waits in its way.
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
"""Seconds that pass, or a gate to wait at; then the answer, or an httpx error."""

Handler = Callable[[httpx.Request], Steps]

_HTML = "<!doctype html><title>Welcome</title><p>The service is being moved.</p>"


class CutShort(httpx.RemoteProtocolError):
    """The connection broke in the middle of an answer.

    Attributes:
        response: The whole of it.
    """

    def __init__(self, request: httpx.Request, response: httpx.Response) -> None:
        """Cut an answer to a request short."""
        sent, length = len(response.content) // 2, len(response.content)
        super().__init__(
            "peer closed connection without sending complete message body "
            f"(received {sent} bytes, expected {length})",
            request=request,
        )
        self.response = response


# -- what the steps lead to ---------------------------------------------------------------------


def answer(status: int, body: bytes, now: datetime) -> httpx.Response:
    """An answer as the server sends it."""
    headers = {"content-type": "application/json", "date": format_datetime(now, usegmt=True)}
    return httpx.Response(status, content=body, headers=headers)


def error(fate: FaultDraw, faults: Faults, now: datetime) -> httpx.Response:
    """An answer of a server that did not read."""
    response = answer(fate.status, b'{"exception_message":"Internal Server Error"}', now)
    if faults.retry_after and fate.status in {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.SERVICE_UNAVAILABLE,
    }:
        response.headers["retry-after"] = f"{faults.retry_after:g}"
    return response


def refuse(request: httpx.Request) -> None:
    """Have nobody listen.

    Raises:
        httpx.ConnectError: As httpx does, over the system's own error.
    """
    raise httpx.ConnectError("Connection refused", request=request) from ConnectionRefusedError(
        "Connection refused"
    )


def deliver(response: httpx.Response, request: httpx.Request, fate: FaultDraw) -> httpx.Response:
    """Send an answer back, as far as it gets.

    Raises:
        httpx.ReadError: It is lost.
        CutShort: It ends in its middle.
    """
    match fate.accident:
        case "lost":
            raise httpx.ReadError("Connection reset by peer", request=request)
        case "cut":
            raise CutShort(request, response)
        case "garbled":
            return httpx.Response(200, html=_HTML)
        case _:
            return response


# -- who carries them out -----------------------------------------------------------------------


def carry_out(steps: Steps, wait: Callable[[float | Hold], None]) -> httpx.Response:
    """Carry out an exchange; an error in `wait` breaks it off."""
    with closing(steps):
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                return _response(end)
            wait(step)


async def acarry_out(
    steps: Steps, wait: Callable[[float | Hold], Awaitable[None]]
) -> httpx.Response:
    """Carry out an exchange; a cancel, or an error in `wait`, breaks it off."""
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
