"""A log cursor that is polled directly, and tables for it to read: a fake server's, or a long one.

Use `simulated_world.SimulatedWatch` for a whole watch; here nothing but the cursor runs.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import msgspec
from simulated_world import START, World, exchange

from rxflow import FlowRunLog
from rxflow._logs.cursor import CursorState, LogCursor
from rxflow._logs.log_read import LogRead
from rxflow._protocol.failures import Failure, Reply
from rxflow._protocol.pages import Page, Poll
from rxflow._protocol.queries import LogsQuery

PERIOD = 2.0
"""Seconds between two polls, and between two uploads of a writer."""

Send = Callable[[LogsQuery], Reply]


def seconds(number: float) -> timedelta:
    """Return a duration."""
    return timedelta(seconds=number)


class CursorReader:
    """A cursor, the rows that it delivered, and what that cost."""

    def __init__(self, send: Send, *runs: str, limit: int = 200, **options: Any) -> None:
        """Start at the first row of some runs.

        Args:
            send: Sends a query.
            runs: The runs.
            limit: The most rows of a page.
            options: Those of `LogCursor`.
        """
        self.send = send
        self.limit = limit
        self.cursor = LogCursor(*runs, **options)
        self.delivered: list[FlowRunLog] = []
        self.requests: list[int] = []
        """How many requests each poll took."""
        self.rows_moved = 0

    def poll(self, *, deep: bool = True, last: bool = False) -> LogRead:
        """Carry out a poll that must not fail, and commit it."""
        read = self.try_poll(deep=deep, last=last)
        assert read is not None
        return read

    def try_poll(self, *, deep: bool = True, last: bool = False) -> LogRead | None:
        """Carry out a poll and commit it; return None if a request of it failed."""
        read = self._carry_out(self.cursor.poll(self.limit, deep=deep, last=last))
        if read is not None:
            self.cursor.commit(read)
            self.delivered += read.rows
        return read

    def _carry_out(self, poll: Poll[LogRead]) -> LogRead | None:
        self.requests.append(0)
        try:
            query = next(poll)
            while True:
                assert isinstance(query, LogsQuery)
                self.requests[-1] += 1
                reply = self.send(query)
                if isinstance(reply, Failure):
                    poll.close()
                    return None
                self.rows_moved += reply.count
                query = poll.send(reply)
        except StopIteration as end:
            read: LogRead = end.value
            return read

    def catch_up(self) -> LogRead:
        """Poll until all rows are proven to be delivered."""
        for _ in range(1000):
            read = self.poll()
            if read.proven:
                return read
        raise AssertionError("A thousand polls proved nothing")

    def save_and_load(self) -> None:
        """Save the cursor, and continue with one that was loaded."""
        self.cursor = LogCursor.load(msgspec.json.decode(self.saved(), type=CursorState))

    def saved(self) -> bytes:
        """Return the cursor's whole state as JSON."""
        return msgspec.json.encode(self.cursor.save())

    @property
    def ids(self) -> list[str]:
        """The ids of the delivered rows, in order."""
        return [row.id for row in self.delivered]


def at_once(world: World, *, dated: bool = True) -> Send:
    """Send queries to the server of a world whose time stands still meanwhile.

    Args:
        world: The world.
        dated: Whether the replies have the server's time.
    """

    def send(query: LogsQuery) -> Reply:
        reply = exchange(world.server, query)
        if dated or isinstance(reply, Failure):
            return reply
        return msgspec.structs.replace(reply, server_time=None)

    return send


def over_time(world: World) -> Send:
    """Send queries to the server of a world in which a request takes time, and may fail."""
    return world.send


def stored(world: World) -> list[str]:
    """Return the ids of all rows on the server."""
    return [row["id"] for row in world.server.logs]


def write(world: World, run: str, *times: float) -> None:
    """Store rows of these times now."""
    for time in times:
        world.server.log(run, timestamp=START + seconds(time))


def followed_run(minutes: float = 3) -> tuple[World, str, CursorReader]:
    """Return a world, a run that wrote a row a second, and a reader that followed it to now."""
    world = World(page_limit=20)
    run = world.server.add_run()
    for second in range(int(minutes * 60)):
        world.at(second + 0.5, partial(write, world, run, float(second)))
    reader = CursorReader(at_once(world), run, limit=20)
    while world.now < minutes * 60:
        reader.poll()
        world.wait(PERIOD)
    reader.catch_up()
    assert sorted(reader.ids) == sorted(stored(world))
    return world, run, reader


class LongTable:
    """A table for long histories: one run's rows by time, two numbers a row."""

    run = "3d1c0f2a-7f0b-4a39-a7d4-2d6a4a9b5c11"

    def __init__(self) -> None:
        """Start at second 0 without rows."""
        self.now = 0.0
        self.created = array("q")
        """When each row was stored, in microseconds, by the row's number."""
        self._times = array("q")
        self._numbers = array("q")

    def write(self, time: float) -> None:
        """Store a row of a time now."""
        micro = round(time * 1e6)
        rank = bisect_right(self._times, micro)
        self._times.insert(rank, micro)
        self._numbers.insert(rank, len(self.created))
        self.created.append(round(self.now * 1e6) + len(self.created) % 1000)

    def send(self, query: LogsQuery) -> Page[Any]:
        """Return the page for a query."""
        first = 0 if query.after is None else bisect_left(self._times, _micro(query.after))
        end = len(self._times)
        if query.before is not None:
            end = bisect_right(self._times, _micro(query.before))
        if query.descending:
            start = end - query.offset
            ranks = range(start - 1, max(first, start - query.limit) - 1, -1)
        else:
            start = first + query.offset
            ranks = range(start, min(end, start + query.limit))
        date = START + seconds(int(self.now))
        return Page(tuple(self._row(rank) for rank in ranks), date)

    def _row(self, rank: int) -> FlowRunLog:
        number = self._numbers[rank]
        return FlowRunLog(
            flow_run_id=self.run,
            id=str(number),
            timestamp=START + timedelta(microseconds=self._times[rank]),
            created=START + timedelta(microseconds=self.created[number]),
            level=20,
            name="prefect.flow_runs",
            message="a line",
        )


def _micro(time: datetime) -> int:
    return (time - START) // timedelta(microseconds=1)
