"""Checks of the websockets over which a server announces changes, for `rxflow doctor`.

A websocket that is open may be silent: announcements may be switched off, or made by another
process of the server. So what it announces in a few seconds is compared with what has changed in
them. Nothing depends on it: what is not announced is polled for.
"""

import asyncio
from collections.abc import Collection, Coroutine, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from rxflow import BackendName, Client
from rxflow._models.entities import Server
from rxflow._models.states import TERMINAL_TYPES, StateType
from rxflow._protocol.pages import Page
from rxflow._protocol.push import Announcement, PushEnd, PushSubscription, PushTopic
from rxflow._protocol.queries import LogsQuery, RunFilter, RunsQuery
from rxflow._runtime.clocks import apause, real_now
from rxflow.cli._findings import Finding, Grade
from rxflow.cli._option_names import as_options

if TYPE_CHECKING:
    from rxflow._net.channel import Channel

__all__ = ["check_push"]

LISTENING = 3.0
"""Seconds for which each websocket is listened to, unless something is announced before."""

_GOING_ON = tuple(str(each) for each in StateType if each not in TERMINAL_TYPES)

_NOT_INSTALLED = "install the extra 'ws' (websockets) for lines that come at once"
_REFUSED = {
    PushTopic.EVENTS: "let websockets to /events/out of the API through, in what is in front of "
    "the server; until then changes are polled for, and none is lost",
    PushTopic.LOGS: "log lines are polled for, and none is lost; a server before version 3.4 "
    "announces none, and of a later one let websockets to /logs/out of the API through",
}
_SILENT = {
    PushTopic.EVENTS: "set PREFECT_SERVER_EVENTS_STREAM_OUT_ENABLED=true on the server, and give "
    "several processes of it one message broker; until then changes are polled for",
    PushTopic.LOGS: "set PREFECT_SERVER_LOGS_STREAM_OUT_ENABLED=true and "
    "PREFECT_SERVER_LOGS_STREAM_PUBLISHING_ENABLED=true on the server for lines that come at once; "
    "until then they are polled for, and none is lost",
}


class _Listening(NamedTuple):
    """What was heard over one websocket.

    Attributes:
        is_open: Whether it could be opened.
        heard: Whether something was announced.
        failure: Why it could not be opened; "" if it could.
    """

    is_open: bool
    heard: bool
    failure: str = ""


def check_push(client: Client, channel: "Channel", server: Server, rows: int) -> Iterator[Finding]:
    """Listen to the websockets of a server, and yield what is found.

    Args:
        client: The client of the server.
        channel: Reads what changes meanwhile.
        server: The server's kind.
        rows: How many rows to query at once.
    """
    if server.backend is BackendName.PREFECT_1:
        yield Finding("websocket", Grade.GOOD, "a Prefect 1 has none; changes are polled for")
        return
    if client.open_push_channel() is None:
        text = "websockets is not installed; changes are polled for"
        yield Finding("websocket", Grade.NOTE, text, _NOT_INSTALLED)
        return
    before = _read_states(channel, rows)
    last_line = _read_last_line(channel, before)
    heard = asyncio.run(_listen_to_all(client))
    changed = {
        PushTopic.EVENTS: _read_states(channel, rows) != before,
        PushTopic.LOGS: _read_last_line(channel, before) != last_line,
    }
    for topic, listening in heard.items():
        yield _finding(topic, listening, changed=changed[topic])


def _finding(topic: PushTopic, listening: _Listening, *, changed: bool) -> Finding:
    subject = "websocket" if topic is PushTopic.EVENTS else "log push"
    what = "states" if topic is PushTopic.EVENTS else "log lines"
    if not listening.is_open:
        return Finding(subject, Grade.NOTE, as_options(listening.failure), _REFUSED[topic])
    if listening.heard:
        return Finding(subject, Grade.GOOD, f"{what} are announced")
    if changed:
        text = f"it is open and silent: {what} came meanwhile, and none was announced"
        return Finding(subject, Grade.NOTE, text, _SILENT[topic])
    text = f"it is open; no {what} came in {LISTENING:g} s that could have been announced"
    return Finding(subject, Grade.GOOD, text)


# -- what is announced ----------------------------------------------------------------------------


async def _listen_to_all(client: Client) -> Mapping[PushTopic, _Listening]:
    heard = await asyncio.gather(*(_listen(client, topic) for topic in PushTopic))
    return dict(zip(PushTopic, heard, strict=True))


async def _listen(client: Client, topic: PushTopic) -> _Listening:
    channel = client.open_push_channel()
    assert channel is not None  # noqa: S101 - as before
    opened, announced = asyncio.Event(), asyncio.Event()

    def receive(_: Announcement) -> None:
        announced.set()

    reading = asyncio.create_task(
        channel.read(PushSubscription(topic=topic), real_now().utc, receive, opened.set)
    )
    try:
        await _first_of(reading, opened.wait())
        if opened.is_set():
            await _first_of(reading, announced.wait(), apause(LISTENING))
    finally:
        reading.cancel()
        await asyncio.wait([reading])
    failure = "" if reading.cancelled() else reading.result().failure.text
    return _Listening(opened.is_set(), announced.is_set(), failure)


async def _first_of(reading: "asyncio.Task[PushEnd]", *others: Coroutine[Any, Any, object]) -> None:
    """Wait until one of some coroutines is done, and cancel all but the first."""
    tasks = [asyncio.create_task(other) for other in others]
    try:
        await asyncio.wait([reading, *tasks], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


# -- what has changed -----------------------------------------------------------------------------


def _read_states(channel: "Channel", rows: int) -> Mapping[str, str | None]:
    """Read the states of runs that are not over; none if that fails."""
    where = RunFilter(state_types=_GOING_ON)
    reply = channel.send(RunsQuery(where=where, newest_first=True, limit=rows))
    return {run.id: run.state_id for run in reply.rows} if isinstance(reply, Page) else {}


def _read_last_line(channel: "Channel", runs: Collection[str]) -> str | None:
    """Read the id of the last log line of some runs; None if there is none, or that fails."""
    if not runs:
        return None
    reply = channel.send(LogsQuery(flow_run_ids=tuple(runs), descending=True, limit=1))
    return reply.rows[0].id if isinstance(reply, Page) and reply.rows else None
