"""Channels: conversations over a transport, and the backend that channels share."""

import asyncio
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect3_recordings import LOGS, recorded_reply

from rxflow._backends.backend import HttpCall, HttpResult
from rxflow._backends.prefect1 import Prefect1
from rxflow._backends.prefect3 import Prefect3
from rxflow._backends.prefect3_queries import VERSION_CALL, call_of
from rxflow._models.entities import BackendName
from rxflow._net.channel import AsyncChannel, Channel, SharedBackend
from rxflow._protocol.failures import Failure, FailureKind, Reply
from rxflow._protocol.pages import Page
from rxflow._protocol.queries import AgentsQuery, Query

NO_ROUTE = Failure(kind=FailureKind.NETWORK, text="no route")


class Script:
    """Both transports in one, which returns given results.

    Attributes:
        calls: The calls that were sent.
    """

    def __init__(self, *results: HttpResult) -> None:
        self.calls: list[HttpCall] = []
        self._results = list(results)

    def send(self, call: HttpCall, _: object = None) -> HttpResult:
        """Return the next result."""
        self.calls.append(call)
        return self._results.pop(0)


class AsyncScript(Script):
    """The async twin of `Script`."""

    async def send(self, call: HttpCall) -> HttpResult:  # type: ignore[override]
        """Return the next result."""
        return super().send(call)


def send(name: BackendName | None, query: Query, *results: HttpResult) -> tuple[Any, Reply]:
    """Send a query over a channel of each kind, and check that both do the same.

    Returns:
        The calls that it took, and the reply.
    """
    blocking, on_loop = Script(*results), AsyncScript(*results)
    reply = Channel(cast("Any", blocking), SharedBackend(name)).send(query)
    async_reply = asyncio.run(AsyncChannel(cast("Any", on_loop), SharedBackend(name)).send(query))
    assert async_reply == reply
    assert on_loop.calls == blocking.calls
    return blocking.calls, reply


def test_a_channel_carries_a_conversation() -> None:
    """Each call of the conversation is sent, and its last result is the reply."""
    rows = recorded_reply("logs_filter")
    calls, reply = send(BackendName.PREFECT_3, LOGS, rows)
    assert calls == [call_of(LOGS)]
    assert isinstance(reply, Page)
    calls, reply = send(None, LOGS, recorded_reply("admin_version"), rows)
    assert calls == [VERSION_CALL, call_of(LOGS)]
    assert isinstance(reply, Page)


def test_a_query_without_calls_sends_nothing() -> None:
    """The reply to a query that the server does not support needs no transport."""
    assert send(BackendName.PREFECT_3, AgentsQuery()) == ([], Page(()))


def test_a_failed_detection_is_the_reply() -> None:
    """A failure of the first call is the reply, and no backend is set."""
    assert send(None, LOGS, NO_ROUTE) == ([VERSION_CALL], NO_ROUTE)


@given(at_once=st.integers(2, 5))
def test_the_first_backend_is_kept(at_once: int) -> None:
    """Channels that detect the server later use the backend that was set first."""
    shared, backends = SharedBackend(None), [Prefect1() for _ in range(at_once)]
    assert [shared.set_first(backend) for backend in backends] == [backends[0]] * at_once


@pytest.mark.parametrize("name", BackendName)
def test_a_task_has_no_other_names_before_the_detection(name: BackendName) -> None:
    """Its names depend on the backend, which is unknown until a query was sent."""
    shared = SharedBackend(name)
    assert shared.task_names("load-0489fc40") == ()
    shared.set_first(Prefect3())
    assert shared.task_names("load-0489fc40") == ("load",)
