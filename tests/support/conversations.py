"""Conversations of a backend: carry one out with given results, or with a fake server."""

from collections.abc import Callable, Iterable
from typing import TypeVar

import httpx

from rxflow._backends.backend import Conversation, HttpCall, HttpResponse, HttpResult

T = TypeVar("T")


def carry_out(
    conversation: Conversation[T],
    send: Callable[[HttpCall], HttpResult],
    result: HttpResult | None = None,
) -> T:
    """Carry out a conversation to its end, and return what it returns.

    Args:
        conversation: The conversation, begun or not.
        send: Sends a call.
        result: The result of the first call, of a conversation that was begun.
    """
    try:
        call = next(conversation) if result is None else conversation.send(result)
        while True:
            call = conversation.send(send(call))
    except StopIteration as end:
        value: T = end.value
        return value


def play(
    conversation: Conversation[T], results: Iterable[HttpResult] = ()
) -> tuple[list[HttpCall], T]:
    """Carry out a conversation with given results, all of which it must use up.

    Returns:
        The calls that it yielded, and what it returned.
    """
    calls: list[HttpCall] = []
    left = list(results)

    def send(call: HttpCall) -> HttpResult:
        calls.append(call)
        return left.pop(0)

    returned = carry_out(conversation, send)
    assert not left, f"not used: {left}"
    return calls, returned


def send_to_fake(
    handle: Callable[[httpx.Request], httpx.Response], url: str, call: HttpCall
) -> HttpResponse:
    """Let a fake server handle a call.

    Args:
        handle: Its `handle` method.
        url: The base URL of its API.
        call: The call.
    """
    request = httpx.Request(
        call.method, f"{url}{call.path}", params=call.params or None, content=call.body
    )
    response = handle(request)
    return HttpResponse(
        status=response.status_code, headers=dict(response.headers), body=response.content
    )
