"""Lines as no reader likes them, on a real server with SQLite, watched live to the end."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from virtual_world import Recording

from rxflow import Client, Closed, FlowRunEvent, FlowRunLog, watch_flow_run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rxflow.cli._prefect_server import PrefectServer
    from tests.real.conftest import Hand, Truth, Until

MICROSECOND = timedelta(microseconds=1)

TEST_TIMEOUT = 120.0
"""Seconds until something that has not happened never will."""

POST = 1_000
"""Lines that a writer sends at once."""


class Lines(NamedTuple):
    """Lines that one writer stores one after the other.

    Attributes:
        message: What they say.
        number: How many there are.
        off: How far the writer's clock is ahead.
        step: From one timestamp to the next.
    """

    message: str
    number: int
    off: timedelta = timedelta()
    step: timedelta = MICROSECOND


TIE = timedelta()
LATE = timedelta(minutes=-10)
AHEAD = timedelta(minutes=30)

# What is stored before the run is over, each when all before it was told, and what after that.
HOSTILE: dict[str, tuple[list[Lines], list[Lines]]] = {
    "a-burst-of-1500": ([Lines("burst", 1_500)], []),
    "450-at-one-timestamp": ([Lines("one", 1), Lines("tie", 450, step=TIE)], []),
    "10000-at-one-timestamp": ([Lines("one", 1), Lines("tie", 10_000, step=TIE)], []),
    "10-minutes-late": (
        [Lines("one", 300), Lines("late", 250, LATE), Lines("two", 20), Lines("late", 1, LATE)],
        [],
    ),
    "30-minutes-ahead": (
        [Lines("one", 20), Lines("ahead", 250, AHEAD), Lines("two", 300), Lines("ahead", 5, AHEAD)],
        [],
    ),
    "after-the-end": (
        [Lines("one", 20)],
        [Lines("last", 250), Lines("late", 5, LATE), Lines("tie", 450, step=TIE)],
    ),
}


class Live:
    """A run that is watched, and written to at the same time."""

    def __init__(self, run: str, hand: Hand, until: Until) -> None:
        self.run = run
        self.told: Recording[FlowRunEvent] = Recording()
        self._hand = hand
        self._until = until
        self._stored = 0

    @property
    def lines(self) -> list[FlowRunLog]:
        """The lines that were told."""
        return [event for event in self.told.values if isinstance(event, FlowRunLog)]

    def write(self, lines: Lines) -> None:
        """Store lines, and wait until the watch has told as many."""
        first = datetime.now(UTC) + lines.off  # noqa: TID251 - a writer's own clock
        rows: list[dict[str, Any]] = [
            {"message": lines.message, "timestamp": first + lines.step * place}
            for place in range(lines.number)
        ]
        for start in range(0, len(rows), POST):
            self._hand.post_logs(self.run, rows[start : start + POST])
        self._stored += lines.number
        self._until(lambda: len(self.lines) >= self._stored, TEST_TIMEOUT)


@pytest.fixture
def live(server: PrefectServer, hand: Hand, until: Until) -> Iterator[Live]:
    """A running run whose watch has begun."""
    live = Live(hand.new_run(state={"type": "RUNNING"}), hand, until)
    with Client(api_url=server.url) as client:
        live.told.subscribe_to(watch_flow_run(live.run, client=client))
        until(lambda: live.told.values, TEST_TIMEOUT)
        yield live
        live.told.dispose()


@pytest.mark.parametrize("case", HOSTILE)
def test_every_line_is_told_once(case: str, live: Live, hand: Hand, truth: Truth) -> None:
    """What the watch told is what the server's table holds, and it could prove that."""
    before, after = HOSTILE[case]
    for lines in before:
        live.write(lines)
    hand.set_state(live.run, "COMPLETED")
    for lines in after:
        live.write(lines)
    live.told.wait()
    assert live.told.completed, live.told.error
    assert Counter(line.id for line in live.lines) == Counter(truth.log_ids(live.run))
    closed = live.told.values[-1]
    assert isinstance(closed, Closed)
    assert closed.verified
    assert closed.log_count == sum(lines.number for lines in (*before, *after))
    assert not any(line.replayed for line in live.lines)
    assert all(line.late for line in live.lines if line.message == "late")
