"""Watch a run for days of virtual time, and print how much the watch holds.

``python tests/tools/virtual_soak.py --days 7 --rate 1`` watches a run that logs one line a second
for a week, and another line every ten minutes that is ten minutes late. For each day it prints the
most ids of lines and counts of older ones that the session held after a command, which is all that
grows with a run. Exits 1 if a line is not delivered once, or if the watch is not verified.
"""

import argparse
import sys
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from cursor_reader import LongTable
from simulated_world import LATENCY, SimulatedWatch, World

from rxflow import Closed, FlowRunLog
from rxflow._protocol.failures import Reply
from rxflow._protocol.queries import LogsQuery, Query
from rxflow._watching.event_order import EventPages
from rxflow._watching.run_session import RunSession
from rxflow._watching.watch_spec import WatchSpec

DAY = 86_400.0
UPLOAD = 2.0  # seconds between two requests of the writer
LATE = 600.0  # seconds by which a line is late, and between two such lines


class LongWorld(World):
    """A server with a run that goes on for days, whose lines are in a compact table."""

    def __init__(self, rate: float) -> None:
        """Begin the run.

        Args:
            rate: Lines a second.
        """
        super().__init__()
        self.table = LongTable()
        self.table.run = self.server.add_run(state="RUNNING")
        self.is_running = True
        self._rate = rate
        self._uploaded = 0.0  # the time up to which lines are stored
        self._late = LATE

    def send(self, query: Query) -> Reply:
        """Return the table's reply to a query for lines; others are those of the fake server."""
        if not isinstance(query, LogsQuery):
            return super().send(query)
        self.wait(LATENCY)
        self._upload()
        return self.table.send(query)

    def end_run(self) -> None:
        """Let the run complete now, after its last line."""
        self._upload()
        self.is_running = False
        self.server.set_state(self.table.run, "COMPLETED")

    def _upload(self) -> None:
        """Store what the writer has sent until now."""
        while self._uploaded + UPLOAD <= self.now and self.is_running:
            self.table.now = self._uploaded + UPLOAD
            for line in range(round(UPLOAD * self._rate)):
                self.table.write(self._uploaded + line / self._rate)
            self._uploaded += UPLOAD
            if self._uploaded >= self._late:
                self.table.write(self._uploaded - LATE)
                self._late += LATE
        self.table.now = self.now


class CountedWatch(SimulatedWatch):
    """A watch that keeps no event and no query, but counts how often each line came.

    Attributes:
        times_delivered: How often each line was emitted, by its number.
        end: The last event, once it has come.
    """

    def __init__(self, world: LongWorld, lines: int) -> None:
        """Make a watch that has sent no query yet.

        Args:
            world: What it watches.
            lines: How many lines there will be, at most.
        """
        spec = WatchSpec(flow_run_id=world.table.run)
        self._run_session = RunSession(spec, Random(0))
        super().__init__(world, spec, session=self._run_session)
        self.times_delivered = bytearray(lines)
        self.end: Closed | None = None

    def record(self, pages: EventPages) -> None:
        """Count the lines."""
        self.sent.clear()
        for _, page in pages:
            for event in page:
                if isinstance(event, FlowRunLog):
                    self.times_delivered[int(event.id)] += 1
                elif isinstance(event, Closed):
                    self.end = event

    def held(self) -> tuple[int, int]:
        """Return how many ids of lines and how many counts the session holds."""
        logs = self._run_session._run.reader.logs
        if logs is None:
            raise AssertionError("A watch of one run reads its lines itself")
        ledger = logs.cursor.ledger
        return ledger.kept_id_count, len(ledger.buckets_of(self._run_session._run.spec.flow_run_id))


def print_held(day: int, ids: int, counts: int) -> None:
    """Print the most that was held on a day."""
    print(f"day {day}: at most {ids} ids and {counts:,} counts held", flush=True)


def main() -> int:
    """Watch for some days of virtual time, and print what is held on each."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--days", type=float, default=7.0, help="for how long the run goes on")
    options.add_argument("--rate", type=float, default=1.0, help="lines a second")
    arguments = options.parse_args()
    world = LongWorld(arguments.rate)
    end = DAY * arguments.days
    watch = CountedWatch(world, round(end * (arguments.rate + 1)))
    world.at(end, world.end_run)
    day, ids, counts = 1, 0, 0
    while not watch.ended:
        watch.step(until=float("inf"))
        held = watch.held()
        ids, counts = max(ids, held[0]), max(counts, held[1])
        if day * DAY <= world.now < end:
            print_held(day, ids, counts)
            day, ids, counts = day + 1, 0, 0
    print_held(day, ids, counts)
    rows = len(world.table.created)
    delivered = watch.times_delivered
    is_exact = delivered == b"\x01" * rows + bytes(len(delivered) - rows)
    is_verified = watch.error is None and watch.end is not None and watch.end.verified
    print(f"{rows:,} lines, each delivered once: {is_exact}, verified: {is_verified}")
    return 0 if is_exact and is_verified else 1


if __name__ == "__main__":
    sys.exit(main())
