"""Blocking and async clients and channels behind one blocking interface, and polls to read."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from wire_server import ServerConnection, http_response

from rxflow._net.channel import AsyncChannel
from rxflow._protocol.failures import Reply
from rxflow._protocol.pages import Poll
from rxflow._protocol.queries import LogsQuery, Query
from rxflow.client import Client
from rxflow.testing import FakePrefect3

READ_METHODS = ("read", "aread")


class QuerySender(Protocol):
    """A channel of either kind."""

    def send(self, query: Query) -> Reply:
        """Send a query once and return the reply."""
        ...

    def close(self) -> None:
        """Close the channel."""
        ...


class PollReader(Protocol):
    """A client, whose reads are blocking or async."""

    def read(self, poll: Callable[[int], Poll[Any]]) -> Any:
        """Run a poll."""
        ...

    def open_channel(self) -> QuerySender:
        """Open a channel with a connection of its own."""
        ...


@contextmanager
def open_reader(server: FakePrefect3, read_method: str) -> Iterator[PollReader]:
    """Yield a client of a server, whose reads are made by one of `READ_METHODS`."""
    with server.client() as client, asyncio.Runner() as runner:
        yield client if read_method == "read" else _AsyncReader(client, runner)
        runner.run(client.aclose())


class _AsyncReader:
    """A client whose reads are awaited on an event loop."""

    def __init__(self, client: Client, runner: asyncio.Runner) -> None:
        self._client = client
        self._runner = runner

    def read(self, poll: Callable[[int], Poll[Any]]) -> Any:
        return self._runner.run(self._client.aread(poll))

    def open_channel(self) -> QuerySender:
        return _AsyncQuerySender(self._client.open_async_channel(), self._runner)


class _AsyncQuerySender:
    """A channel whose replies are awaited on an event loop."""

    def __init__(self, channel: AsyncChannel, runner: asyncio.Runner) -> None:
        self._channel = channel
        self._runner = runner

    def send(self, query: Query) -> Reply:
        return self._runner.run(self._channel.send(query))

    def close(self) -> None:
        self._runner.run(self._channel.aclose())


def poll_of(query: Query) -> Callable[[int], Poll[tuple[Any, ...]]]:
    """Return a poll that sends one query and returns the rows of the page."""

    def poll(_: int) -> Poll[tuple[Any, ...]]:
        page = yield query
        return page.rows

    return poll


def poll_of_all_logs(run_id: str) -> Callable[[int], Poll[list[str]]]:
    """Return a poll that reads the messages of a run's log rows, page by page."""

    def poll(limit: int) -> Poll[list[str]]:
        messages: list[str] = []
        page = yield LogsQuery(flow_run_ids=(run_id,), limit=limit)
        while page.rows:
            messages += [row.message for row in page.rows]
            page = yield LogsQuery(flow_run_ids=(run_id,), offset=len(messages), limit=limit)
        return messages

    return poll


def serve_flows(connection: ServerConnection) -> None:
    """Respond to each request for a flow with a flow of that id; a script of a `WireServer`."""
    while True:
        flow = {"id": connection.read().target.rpartition("/")[2], "name": "f"}
        times = dict.fromkeys(("created", "updated"), "2026-11-22T14:25:52.775546Z")
        connection.send(http_response(flow | times))
