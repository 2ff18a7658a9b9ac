"""The oracle of hostile worlds: what a watch told, compared with what the server held.

The worlds themselves are those of `rxflow.testing.World`. Here a watch goes through one, and each
thing that is promised of it is looked at.
"""

from collections import Counter
from datetime import timedelta
from functools import reduce
from random import Random
from typing import Any

import httpx
import msgspec
import simulated_world
from simulated_world import Watched, exchange

from rxflow import Closed, FlowRunLog, Notice, NoticeCode, RunSeen, Snapshot, StateChange, fold
from rxflow._logs.cursor import LogCursor
from rxflow._protocol.failures import Reply
from rxflow._protocol.queries import Query
from rxflow._watching.watch_spec import EventSource, WatchSpec
from rxflow.testing import Faults, World


class Result(msgspec.Struct):
    """What came of a world; what must be empty is a list, and names what is wrong."""

    seed: int
    kind: str
    rows: int = 0
    requests: int = 0
    lost: list[str] = []
    repeated: list[str] = []
    reordered: list[str] = []
    unresolved: int = 0
    broken: list[str] = []

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        if self.kind in SHRINKING:
            return not self.broken
        reordered = self.reordered if self.kind != "stale" else []
        return not (self.lost or self.repeated or reordered or self.unresolved or self.broken)


SHRINKING = {"deleted", "restored"}
"""Kinds in which rows vanish: there counts prove less, and only what is flagged comes twice."""


class Hostile(simulated_world.World):
    """A world of the package's, and a watch that goes through it.

    Nothing goes wrong with requests before the watch has read its run: until then it may give up.

    Attributes:
        world: The world.
        at_proof: The ids in the table of log rows when it was last read.
    """

    def __init__(self, seed: int, world: World | None = None) -> None:
        """Draw the world from the seed, unless it is given."""
        self.seed = seed
        self.world = World(seed) if world is None else world
        self.time, self.server = self.world.time, self.world.server
        self.random = Random(f"watch {seed}")  # not the one that drew the world
        self.at_proof: set[str] = set()
        self._faults: Faults | None = self.server.faults
        self.world.heal()
        self.server.intercept = self._look
        spec = WatchSpec(flow_run_id=self.world.run_id, sources=_SOURCES)
        self.watched = Watched(self, spec, seed=seed)

    def watch(self) -> Result:
        """Watch it through."""
        end = self.world.played.end
        self.wait(self.random.choice([0.0, 0.0, end / 2, end + 1, 200.0]))
        return self._judge(self.watched.run(until=3600.0))

    def send(self, query: Query) -> Reply:
        """Ask the server, which takes its time for the answer."""
        if self._faults is not None and self.watched.session._reader.row is not None:
            if self.now < self.world.healed:
                self.server.faults = self._faults
            self._faults = None
        return exchange(self.server, query)

    def _look(self, request: httpx.Request) -> None:
        if request.url.path.endswith("/logs/filter"):
            self.at_proof = {row["id"] for row in self.server.logs}

    # -- what comes of it -----------------------------------------------------------------------

    def _judge(self, watched: Watched) -> Result:
        ever = {row["id"] for row in self.world.played.landed}
        kind = self.world.kind
        result = Result(self.seed, kind, rows=len(ever), requests=len(watched.sent))
        logs: list[FlowRunLog] = watched.of(FlowRunLog)
        told = Counter(log.id for log in logs if not log.replayed)
        result.lost = sorted(self.at_proof - {log.id for log in logs})
        result.repeated = sorted(row for row, count in told.items() if count > 1)
        result.reordered = _reordered(logs)
        codes = [notice.code for notice in watched.of(Notice)]
        result.unresolved = codes.count(NoticeCode.SOURCE_REWOUND)
        rules = {
            "I1: told what was never stored": {log.id for log in logs} <= ever,
            "I5: late is not late": _late_is_late(watched),
            "I3: a row twice without a flag": not result.repeated,
            "I8: N is not the table": kind in SHRINKING or self._counts(watched),
            "I9: ids held that need not be": kind in SHRINKING or self._bounded(watched),
            "I11: Closed is not once and last": _closed_once(watched),
            "I14: the fold is not the row": self._folds(watched),
            "I15: it did not end": watched.ended and watched.error is None,
            "not verified": kind in SHRINKING or _verified(watched),
        }
        result.broken = [rule for rule, holds in rules.items() if not holds]
        return result

    def _counts(self, watched: Watched) -> bool:
        return _cursor(watched).ledger.total == len(self.at_proof)

    def _bounded(self, watched: Watched) -> bool:
        # Ids are held of what was written or stored in the last ten seconds, or is dated ahead.
        ledger = _cursor(watched).ledger
        floor, horizon = ledger.floor, ledger.id_horizon
        if floor is None or horizon is None:
            return ledger.kept_id_count == 0
        horizon -= timedelta(seconds=1)
        logs = self.server.logs
        young = [row for row in logs if row["timestamp"] >= floor or row["created"] >= horizon]
        return ledger.kept_id_count <= len(young)

    def _folds(self, watched: Watched) -> bool:
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


def _cursor(watched: Watched) -> LogCursor:
    return watched.session._reader.cursor


def _reordered(logs: list[FlowRunLog]) -> list[str]:
    last: dict[str, int] = {}
    wrong: list[str] = []
    for log in logs:
        writer, _, number = log.message.partition(":")
        if not log.replayed and int(number) < last.get(writer, -1):
            wrong.append(log.message)
        last[writer] = max(last.get(writer, -1), int(number))
    return wrong


def _verified(watched: Watched) -> bool:
    last = watched.events[-1] if watched.events else None
    return isinstance(last, Closed) and last.verified


def _late_is_late(watched: Watched) -> bool:
    top: tuple[Any, ...] | None = None
    for event in watched.events:
        if isinstance(event, StateChange | FlowRunLog):
            created = event.created if isinstance(event, FlowRunLog) else event.timestamp
            key = (event.timestamp, created, event.id)
            if event.late != (top is not None and key < top):
                return False
            top = key if top is None else max(top, key)
    return True


def _closed_once(watched: Watched) -> bool:
    kinds = [type(event) for event in watched.events]
    first = next((kind for kind in kinds if kind is not Notice), None)
    return kinds.count(Closed) == 1 and kinds[-1] is Closed and first is RunSeen
