"""Watch hostile worlds, and compare the events that were emitted with the rows on the server.

The worlds themselves are those of `rxflow.testing.World`. A watch goes through one, and the
promises of `docs/contract.md` are checked.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterable
from datetime import timedelta
from functools import reduce
from itertools import pairwise
from random import Random
from typing import Any

import httpx
import msgspec
import simulated_world
from checked_watches import CheckedWatch
from simulated_world import SimulatedWatch, exchange

from rxflow import (
    Closed,
    FlowRun,
    FlowRunEvent,
    FlowRunLog,
    Notice,
    NoticeCode,
    RunSeen,
    Snapshot,
    StateChange,
    fold,
)
from rxflow._logs.cursor import LogCursor
from rxflow._protocol.failures import Reply
from rxflow._protocol.queries import PAGE_LIMIT, Query, RunQuery
from rxflow._watching.run_session import RunSession
from rxflow._watching.run_watch import RunWatch
from rxflow._watching.watch_spec import EventSource, WatchSpec
from rxflow.testing import Faults, World


class Result(msgspec.Struct):
    """The outcome of a watch; its lists name what is wrong, and must be empty.

    Attributes:
        seed: The world's seed.
        kind: The world's kind.
        rows: How many rows were ever stored.
        requests: How many requests were sent.
        lost: Rows that were on the server when it was last read, and were not emitted.
        repeated: Rows that were emitted twice without a flag.
        reordered: Lines that were emitted after a later one of their writer.
        unresolved: How many notices said that rows vanished.
        kills: How often the watcher was killed.
        again: How many rows had to come again, since no checkpoint had them at a kill.
        missing: Rows of these that did not.
        broken: Other rules that were broken.
    """

    seed: int
    kind: str
    rows: int = 0
    requests: int = 0
    lost: list[str] = []
    repeated: list[str] = []
    reordered: list[str] = []
    unresolved: int = 0
    kills: int = 0
    again: int = 0
    missing: list[str] = []
    broken: list[str] = []

    @property
    def good(self) -> bool:
        """Whether nothing is wrong that the world's kind rules out."""
        if self.kind in SHRINKING:
            return not self.broken
        reordered = self.reordered if self.kind != "stale" else []
        return not (self.lost or self.repeated or reordered or self.unresolved or self.broken)


SHRINKING = {"deleted", "restored"}
"""Kinds in which rows vanish: counts prove less there, and flagged rows may be emitted twice."""


class HostileWatch(simulated_world.World):
    """A `rxflow.testing.World`, and a watch that goes through it.

    No request fails before the watch has read its run, since until then it may end with an error.

    Attributes:
        world: The world.
        kills: How many times it was killed.
        drain: The seconds without news before it ends.
        longest: The seconds after which it must have ended.
        longest_pause: The seconds between two requests, at most.
    """

    kills = 0
    drain = 5.0
    longest = 3600.0
    longest_pause = 36.0  # the longest backoff is 30, the longest interval 5.5

    def __init__(self, seed: int, world: World | None = None) -> None:
        """Draw the world from the seed, unless it is given."""
        self.seed = seed
        self.world = World(seed) if world is None else world
        self.time, self.server = self.world.time, self.world.server
        self.random = Random(f"watch {seed}")  # not the one that drew the world
        self._last_read: tuple[list[Any], int] = ([], 0)
        self._faults: Faults | None = self.server.faults
        self.world.heal()
        self.server.intercept = self._note_rows
        self._dice = Random(f"checks {seed}")
        self._delivered: set[str] = set()  # ids of the log rows emitted, as far as they were read
        self._read = 0  # so many events were read
        self._complete = 0  # so many of the rows that landed first were delivered
        self._landed = 0  # so many rows had landed when the poll under way began
        self._quiet_requests = math.inf  # the most that a poll may send that finds nothing
        self._quiet_since = 0  # so many had when the last good poll began
        self.watched = CheckedWatch(self, self._spec(), seed=seed, polled=self)

    def watch(self) -> Result:
        """Watch the world from a random time on to the end, and check the promises."""
        end = self.world.played.end
        self.wait(self.random.choice([0.0, 0.0, end / 2, end + 1, 200.0]))
        return self._check(self.watched.run(until=self.longest))

    def _spec(self) -> WatchSpec:
        return WatchSpec(flow_run_id=self.world.run_id, sources=_SOURCES)

    def send(self, query: Query) -> Reply:
        """Send a query to the server, which has its own latency."""
        self._start_faults()
        return exchange(self.server, query)

    def _start_faults(self) -> None:
        """Let requests fail once the watch has read its run."""
        if self._faults is not None and self._has_begun:
            if self.now < self.world.healed:
                self.server.faults = self._faults
            self._faults = None

    @property
    def _has_begun(self) -> bool:
        """Whether a watch was able to begin, so that no failure ends it."""
        return _run_of(self.watched).row is not None

    def _log_rows(self) -> Collection[Any]:
        return self.server.logs

    def _note_rows(self, request: httpx.Request) -> None:
        if request.url.path.endswith("/logs/filter"):
            # Rows are only added to this list; a deletion replaces it.
            self._last_read = self.server.logs, len(self.server.logs)

    @property
    def rows_at_last_read(self) -> set[str]:
        """The ids of the server's log rows when they were last read."""
        rows, count = self._last_read
        return {row["id"] for row in rows[:count]}

    # -- the promises of each poll --------------------------------------------------------------

    def begin_poll(self) -> None:
        """Note how many rows there are, and what the poll may cost if none of them is new."""
        self._landed = len(self.world.played.landed)
        logs = _run_of(self.watched).reader.logs
        assert logs is not None
        forecast = logs.cursor.progress.forecast
        # The run's row, a page of lines, and one of those dated ahead. Where new lines lay between
        # many known ones lately, these are read again, and more where they come in another order;
        # where the last poll found about a page of lines, one more page is read first.
        parts = (forecast.near, forecast.ahead)
        known, expected = (sum(part.step_back for part in parts), sum(part.new for part in parts))
        most_known = 0 if self.world.kind == "ties" else PAGE_LIMIT / 2
        is_plain = known <= most_known and expected <= PAGE_LIMIT / 2 and self._has_large_pages
        self._quiet_requests = 3.0 if is_plain else math.inf

    def end_poll(self, requests: int, *, good: bool) -> None:
        """Check that a poll has emitted all rows that there were when it began, and its cost."""
        watched, kind, landed = self.watched, self.world.kind, self.world.played.landed
        news = [event for _, event in watched.emitted[self._read :]]
        self._read += len(news)
        self._delivered.update(event.id for event in news if isinstance(event, FlowRunLog))
        if not good or kind in SHRINKING:
            return
        if self._dice.random() < _BOUNDS_CHECKED and not self._bounded(watched):
            watched.broken.add("I9: ids or counts are kept that need not be")
        if kind == "stale" or not self._is_caught_up:
            return
        read = landed[self._complete : self._landed]
        if not self._delivered.issuperset(row["id"] for row in read):
            watched.broken.add("I2: a poll has left out a row that was there when it began")
        is_quiet = not news and len(landed) == self._quiet_since
        self._complete = self._quiet_since = self._landed
        if is_quiet and not self.kills and requests > self._quiet_requests:
            watched.broken.add("I10: a poll without news takes more requests than it may")

    @property
    def may_fail(self) -> bool:
        """Whether requests may fail now."""
        is_failing_world = self.world.kind in {"faulty", "outages"}
        return is_failing_world and self._faults is None and self.now < self.world.healed

    @property
    def _has_large_pages(self) -> bool:
        """Whether all rows that a quiet poll reads are in one page."""
        return self.server._routes._page_limit == PAGE_LIMIT

    def _forget_polls(self) -> None:
        """Forget what the polls of a watch that was killed have read."""
        self._delivered.clear()
        self._read = self._complete = 0

    @property
    def _is_caught_up(self) -> bool:
        """Whether the last poll has read all rows that there were."""
        logs = _run_of(self.watched).reader.logs
        assert logs is not None
        return logs.position is None and not logs.cursor.progress.just_backfilled

    # -- the promises ---------------------------------------------------------------------------

    def _check(self, watched: SimulatedWatch) -> Result:
        ever = {row["id"] for row in self.world.played.landed}
        kind = self.world.kind
        result = Result(self.seed, kind, rows=len(ever), requests=len(watched.sent))
        logs: list[FlowRunLog] = watched.of(FlowRunLog)
        emitted = Counter(log.id for log in logs if not log.replayed)
        result.lost = sorted(self.rows_at_last_read - {log.id for log in logs})
        result.repeated = sorted(row for row, count in emitted.items() if count > 1)
        result.reordered = reordered(logs)
        codes = [notice.code for notice in watched.of(Notice)]
        result.unresolved = codes.count(NoticeCode.SOURCE_REWOUND)
        rules = {
            "I1: emitted what was never stored": {log.id for log in logs} <= ever,
            "I5: late is not late": late_is_late(watched.events),
            "I3: a row twice without a flag": not result.repeated,
            "I8: the count is not the table": kind in SHRINKING or self._counts(watched),
            "I9: ids kept that need not be": kind in SHRINKING or self._bounded(watched),
            "I11: Closed is not once and last": _closed_once(watched),
            "I11: Closed before the end of the drain": self._drained(watched),
            "I13: no notice that rows vanished": self._says_what_vanished(watched),
            "I14: the fold is not the row": self._folds(watched),
            "I15: it did not end": watched.ended and watched.error is None,
            "I15: no request for too long": self.kills > 0 or self._goes_on(watched),
            "not verified": kind in SHRINKING or _verified(watched),
        }
        result.broken = [rule for rule, holds in rules.items() if not holds]
        result.broken += sorted(self.watched.broken)
        return result

    def _drained(self, watched: SimulatedWatch) -> bool:
        """Whether nothing that was emitted had been stored shortly before the end."""
        tables: Any = self.server
        run = tables.runs[self.world.run_id]
        stored = [log.created for log in watched.of(FlowRunLog)]
        closed = [at for at, event in watched.emitted if isinstance(event, Closed)]
        newest = (max([*stored, run["updated"]]) - self.time.beginning).total_seconds()
        return not closed or closed[-1] - newest >= self.drain - _DATE_STEP

    def _says_what_vanished(self, watched: SimulatedWatch) -> bool:
        """Whether a notice says so if other rows were delivered than the server has at last."""
        delivered = {log.id for log in watched.of(FlowRunLog)}
        codes = {notice.code for notice in watched.of(Notice)}
        return delivered == self.rows_at_last_read or NoticeCode.SOURCE_REWOUND in codes

    def _goes_on(self, watched: SimulatedWatch) -> bool:
        """Whether after the faults no two requests were further apart than retries and polls."""
        times = [at for at, _ in watched.sent if at > self.world.healed]
        times = [self.world.healed, *times] if watched.sent[0][0] < self.world.healed else times
        return all(after - before <= self.longest_pause for before, after in pairwise(times))

    def _counts(self, watched: SimulatedWatch) -> bool:
        return _cursor_of(watched).ledger.total == len(self.rows_at_last_read)

    def _bounded(self, watched: SimulatedWatch) -> bool:
        # Ids are kept of rows written or stored in the last ten seconds, and of rows dated ahead.
        ledger = _cursor_of(watched).ledger
        floor, horizon = ledger.floor, ledger.id_horizon
        if floor is None or horizon is None:
            return ledger.kept_id_count == 0
        horizon -= timedelta(seconds=1)
        recent = [
            row
            for row in self._log_rows()
            if row["timestamp"] >= floor or row["created"] >= horizon
        ]
        counts = len(ledger.buckets_of(self.world.run_id))
        return ledger.kept_id_count <= len(recent) and counts <= _MOST_COUNTS

    def _folds(self, watched: SimulatedWatch) -> bool:
        start: Snapshot | None = None
        snapshot = reduce(fold, watched.events, start)
        run_id = self.world.run_id
        row = self.server.runs[run_id]
        return (
            snapshot is not None
            and snapshot.run == self._row_on_server()
            and snapshot.run.state_id == row["state_id"]
            and snapshot.run.updated == row["updated"]
            and {s.id for s in snapshot.states}
            == {state["id"] for state in self.server.states[run_id]}
        )

    def _row_on_server(self) -> FlowRun:
        """Read the run's row once more, without faults and unnoticed."""
        self.world.heal()
        self.server.intercept = None
        page: Any = self.send(RunQuery(self.world.run_id))
        row: FlowRun = page.rows[0]
        return row


_MOST_COUNTS = 4096
_BOUNDS_CHECKED = 0.05  # of the polls
_DATE_STEP = 1.0  # seconds of a Date header
_SOURCES = frozenset({EventSource.STATES, EventSource.LOGS, EventSource.NOTICES})


def _run_of(watched: SimulatedWatch) -> RunWatch:
    session = watched.session
    assert isinstance(session, RunSession)
    return session._run


def _cursor_of(watched: SimulatedWatch) -> LogCursor:
    logs = _run_of(watched).reader.logs
    assert logs is not None
    return logs.cursor


def reordered(logs: Iterable[FlowRunLog]) -> list[str]:
    """Return the lines of a run that were emitted after a later one of their writer."""
    last: dict[str, int] = {}
    wrong: list[str] = []
    for log in logs:
        writer, _, number = log.message.partition(":")
        if not log.replayed and int(number) < last.get(writer, -1):
            wrong.append(log.message)
        last[writer] = max(last.get(writer, -1), int(number))
    return wrong


def _verified(watched: SimulatedWatch) -> bool:
    last = watched.events[-1] if watched.events else None
    return isinstance(last, Closed) and last.verified


def late_is_late(events: Iterable[FlowRunEvent]) -> bool:
    """Whether the events of a run that are flagged late are those that follow a later one."""
    top: tuple[Any, ...] | None = None
    for event in events:
        if isinstance(event, StateChange | FlowRunLog):
            created = event.created if isinstance(event, FlowRunLog) else event.timestamp
            key = (event.timestamp, created, event.id)
            if event.late != (top is not None and key < top):
                return False
            top = key if top is None else max(top, key)
    return True


def _closed_once(watched: SimulatedWatch) -> bool:
    kinds = [type(event) for event in watched.events]
    first = next((kind for kind in kinds if kind is not Notice), None)
    return kinds.count(Closed) == 1 and kinds[-1] is Closed and first is RunSeen
