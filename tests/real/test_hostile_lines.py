"""Bursts, equal times and wrong clocks on a real server with SQLite, watched live to the end."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from virtual_world import Recording

from rxflow import Client, Closed, FlowRunEvent, FlowRunLog, watch_flow_run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from server_databases import DatabaseReader

    from rxflow.cli._prefect_server import PrefectServer
    from tests.real.conftest import ApiWriter, Until

MICROSECOND = timedelta(microseconds=1)

TEST_TIMEOUT = 120.0
"""Seconds of real time after which a wait fails."""

BATCH = 1_000
"""LineSeries that a writer sends in one request."""


class LineSeries(NamedTuple):
    """LineSeries that one writer stores in order.

    Attributes:
        message: The text of each.
        number: The number of lines.
        offset: How far the writer's clock is ahead.
        step: The time from one timestamp to the next.
    """

    message: str
    number: int
    offset: timedelta = timedelta()
    step: timedelta = MICROSECOND


TIE = timedelta()
LATE = timedelta(minutes=-10)
AHEAD = timedelta(minutes=30)

# By case: the lines stored before the end of the run and those after it. Each series is stored when
# the one before it has been emitted.
HOSTILE: dict[str, tuple[list[LineSeries], list[LineSeries]]] = {
    "burst-of-1500": ([LineSeries("burst", 1_500)], []),
    "450-at-one-timestamp": ([LineSeries("one", 1), LineSeries("tie", 450, step=TIE)], []),
    "10000-at-one-timestamp": ([LineSeries("one", 1), LineSeries("tie", 10_000, step=TIE)], []),
    "10-minutes-late": (
        [
            LineSeries("one", 300),
            LineSeries("late", 250, LATE),
            LineSeries("two", 20),
            LineSeries("late", 1, LATE),
        ],
        [],
    ),
    "30-minutes-ahead": (
        [
            LineSeries("one", 20),
            LineSeries("ahead", 250, AHEAD),
            LineSeries("two", 300),
            LineSeries("ahead", 5, AHEAD),
        ],
        [],
    ),
    "after-the-end": (
        [LineSeries("one", 20)],
        [LineSeries("last", 250), LineSeries("late", 5, LATE), LineSeries("tie", 450, step=TIE)],
    ),
}


class LiveRun:
    """A run that is watched and written to at the same time."""

    def __init__(self, run: str, writer: ApiWriter, until: Until) -> None:
        self.run = run
        self.recording: Recording[FlowRunEvent] = Recording()
        self._writer = writer
        self._until = until
        self._stored = 0

    @property
    def lines(self) -> list[FlowRunLog]:
        """The lines that were emitted."""
        return [event for event in self.recording.values if isinstance(event, FlowRunLog)]

    def write(self, lines: LineSeries) -> None:
        """Store lines, and wait until the watch has emitted them."""
        first = datetime.now(UTC) + lines.offset  # noqa: TID251 - a writer's clock
        rows: list[dict[str, Any]] = [
            {"message": lines.message, "timestamp": first + lines.step * place}
            for place in range(lines.number)
        ]
        for start in range(0, len(rows), BATCH):
            self._writer.post_logs(self.run, rows[start : start + BATCH])
        self._stored += lines.number
        self._until(lambda: len(self.lines) >= self._stored)


@pytest.fixture
def live(server: PrefectServer, writer: ApiWriter, until: Until) -> Iterator[LiveRun]:
    """A running run and its watch."""
    live = LiveRun(writer.new_run(state={"type": "RUNNING"}), writer, until)
    with Client(api_url=server.url) as client:
        live.recording.subscribe_to(watch_flow_run(live.run, client=client))
        until(lambda: live.recording.values)
        yield live
        live.recording.dispose()


@pytest.mark.parametrize("case", HOSTILE)
def test_every_line_is_emitted_once(
    case: str, live: LiveRun, writer: ApiWriter, database: DatabaseReader
) -> None:
    """The watch emits the rows of the server's table, and verifies that."""
    before, after = HOSTILE[case]
    for lines in before:
        live.write(lines)
    writer.set_state(live.run, "COMPLETED")
    for lines in after:
        live.write(lines)
    live.recording.wait()
    assert live.recording.completed, live.recording.error
    assert Counter(line.id for line in live.lines) == Counter(database.log_ids(live.run))
    closed = live.recording.values[-1]
    assert isinstance(closed, Closed)
    assert closed.verified
    assert closed.log_count == sum(lines.number for lines in (*before, *after))
    assert not any(line.replayed for line in live.lines)
    assert all(line.late for line in live.lines if line.message == "late")
