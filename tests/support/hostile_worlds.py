"""Watch hostile worlds, and compare the events that were emitted with the rows on the server.

The worlds themselves are those of `rxflow.testing.World`. A watch goes through one, and the
promises of `docs/contract.md` are checked.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from datetime import timedelta
from functools import reduce
from random import Random
from typing import Any

import httpx
import msgspec
import simulated_world
from simulated_world import SimulatedWatch, exchange

from rxflow import (
    Closed,
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
from rxflow._protocol.queries import Query
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
        rows_at_last_read: The ids of the server's log rows when they were last read.
    """

    def __init__(self, seed: int, world: World | None = None) -> None:
        """Draw the world from the seed, unless it is given."""
        self.seed = seed
        self.world = World(seed) if world is None else world
        self.time, self.server = self.world.time, self.world.server
        self.random = Random(f"watch {seed}")  # not the one that drew the world
        self.rows_at_last_read: set[str] = set()
        self._faults: Faults | None = self.server.faults
        self.world.heal()
        self.server.intercept = self._note_rows
        spec = WatchSpec(flow_run_id=self.world.run_id, sources=_SOURCES)
        self.watched = SimulatedWatch(self, spec, seed=seed)

    def watch(self) -> Result:
        """Watch the world from a random time on to the end, and check the promises."""
        end = self.world.played.end
        self.wait(self.random.choice([0.0, 0.0, end / 2, end + 1, 200.0]))
        return self._check(self.watched.run(until=3600.0))

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
            self.rows_at_last_read = {row["id"] for row in self._log_rows()}

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
            "I14: the fold is not the row": self._folds(watched),
            "I15: it did not end": watched.ended and watched.error is None,
            "not verified": kind in SHRINKING or _verified(watched),
        }
        result.broken = [rule for rule, holds in rules.items() if not holds]
        return result

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
        return ledger.kept_id_count <= len(recent)

    def _folds(self, watched: SimulatedWatch) -> bool:
        start: Snapshot | None = None
        snapshot = reduce(fold, watched.events, start)
        run_id = self.world.run_id
        row = self.server.runs[run_id]
        return (
            snapshot is not None
            and snapshot.run.state_id == row["state_id"]
            and snapshot.run.updated == row["updated"]
            and {s.id for s in snapshot.states}
            == {state["id"] for state in self.server.states[run_id]}
        )


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
