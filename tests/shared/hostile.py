"""Hostile worlds: a seed is a world is a run of it.

Writers whose clocks are off, who send in batches and late; commits that take their time and land
between any two requests; equal timestamps in another order each time; requests that fail before or
after the server read them; replies from a replica that lags behind; rows that are deleted, or lost
when the server is restored from a backup. A watch goes through it, and what it told is compared
with what the server held.
"""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from functools import partial, reduce
from random import Random
from typing import Any

import msgspec
from simulation import START, Watched, World

from rxflow import Closed, FlowRunLog, Notice, NoticeCode, RunSeen, Snapshot, StateChange, fold
from rxflow._cursor import LogCursor
from rxflow._polling import Failure, LogsQuery, Page, Query, Trouble
from rxflow._reader import WatchSpec
from rxflow._telling import Source

_LATEST_TAIL = 4.0
"""Seconds after the terminal state in which a writer sends its last lines, without an outage."""


class Writer(msgspec.Struct):
    """A process that logs: in order, by its own clock, in batches."""

    number: int
    skew: float
    batch: float
    step: float  # its clock's resolution
    lines: list[float]  # when it writes, in the server's time


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

KINDS = ["calm", "calm", "ties", "skewed", "late", "faulty", "stale", "deleted", "restored", "busy"]


class Hostile:
    """One world."""

    def __init__(self, seed: int) -> None:
        """Draw it."""
        self.random = random = Random(seed)
        self.seed = seed
        self.kind = random.choice(KINDS)
        limit = random.choice([3, 7, 7, 20, 200])
        self.world = World(page_limit=limit, random=Random(seed))
        self.run = self.world.server.add_run()
        self.length = random.uniform(3, 90)
        self.visible: dict[str, float] = {}
        self.writer_of: dict[str, tuple[int, int]] = {}
        self.ever: set[str] = set()
        self.asked_logs = 0.0
        self.at_proof: set[str] = set()
        self.last = 0.0
        for number in range(random.choice([1, 1, 2, 4])):
            self._write(self._writer(number))
        # The last lines come after the terminal state, within the drain.
        self.length = max(self.length, self.last - random.uniform(0, _LATEST_TAIL))
        self.faults_until = self.length + 40
        self._live()

    # -- what happens ---------------------------------------------------------------------------

    def _writer(self, number: int) -> Writer:
        random = self.random
        skew = 0.0
        if self.kind == "skewed":
            skew = random.choice([-3600, -30, -3, 3, 30, 1800])
        count = random.choice([0, 5, 40, 150]) * (4 if self.kind == "busy" else 1)
        times = sorted(random.uniform(1, self.length) for _ in range(count))
        times += [self.length + random.uniform(0, 0.5) for _ in range(random.choice([0, 1, 3]))]
        step = random.choice([1.0, 10.0]) if self.kind == "ties" else random.choice([1e-6, 0.015])
        return Writer(number, skew, random.choice([0.0, 0.5, 2.0]), step, sorted(times))

    def _write(self, writer: Writer) -> None:
        random = self.random
        sent = 0.0
        for line, written in enumerate(writer.lines):
            lag = random.uniform(0, 0.3)
            if self.kind == "late" and random.random() < 0.02:
                lag = random.choice([5, 20, 60])
            batch = writer.batch * (int(written / writer.batch) + 1) if writer.batch else written
            sent = max(sent + 1e-5, batch + lag)
            commit = random.choice([0.0, 0.05]) if random.random() < 0.98 else 2.0
            if self.kind == "late" and random.random() < 0.02:
                commit = 15.0  # longer than the window
            # Commits of one writer are in order: it waits for each answer.
            landed, sent = sent + commit, sent + commit
            own = (written + writer.skew) // writer.step * writer.step
            self.world.at(landed, partial(self._store, writer.number, line, own, landed - commit))
            self.last = max(self.last, landed)

    def _store(self, writer: int, line: int, own: float, inserted: float) -> None:
        server = self.world.server
        row = server.log(
            self.run,
            f"{writer}:{line}",
            timestamp=START + timedelta(seconds=own),
            created=START + timedelta(seconds=inserted, microseconds=len(self.ever)),
        )
        self.visible[row] = self.world.now
        self.writer_of[row] = (writer, line)
        self.ever.add(row)

    def _live(self) -> None:
        random, server = self.random, self.world.server
        begin = random.uniform(0, 2)
        self.world.at(begin, lambda: server.set_state(self.run, "RUNNING"))
        if random.random() < 0.3:
            self.world.at(begin + 0.1, lambda: server.set_state(self.run, "RUNNING"))
        if random.random() < 0.2:
            self.world.at(self.length / 2, lambda: server.set_state(self.run, "FAILED"))
            self.world.at(self.length / 2 + 1, lambda: server.set_state(self.run, "RUNNING"))
        end = random.choice(["COMPLETED", "FAILED", "CRASHED"])
        self.world.at(self.length, lambda: server.set_state(self.run, end))
        if self.kind == "deleted":
            self.world.at(random.uniform(2, self.length), self._delete_some)
        if self.kind == "restored":
            self.world.at(random.uniform(2, self.length), self._restore)

    def _delete_some(self) -> None:
        logs = self.world.server.logs
        gone = self.random.sample(logs, k=min(len(logs), self.random.choice([1, 3, 20])))
        self.world.server.logs = [row for row in logs if row not in gone]

    def _restore(self) -> None:
        """Go back to what the table was a while ago."""
        then = self.world.now - self.random.uniform(1, 20)
        logs = self.world.server.logs
        self.world.server.logs = [row for row in logs if self.visible[row["id"]] <= then]

    # -- what goes wrong ------------------------------------------------------------------------

    def _fault(self, query: Query) -> Failure | None:
        if isinstance(query, LogsQuery):
            self.at_proof = {row["id"] for row in self.world.server.logs}
        dice = self.random.random()
        trouble = (
            self.watched.session._reader.row is not None and self.world.now < self.faults_until
        )
        if self.kind == "faulty" and trouble and dice < 0.2:
            kind = self.random.choice([Trouble.REFUSED, Trouble.NETWORK, Trouble.SERVER])
            return Failure(trouble=kind, text="a fault")
        return None

    def ask(self, query: Query, ask: Callable[[Query], Page[Any] | Failure]) -> Any:
        """Ask, of a replica that lags behind now and then."""
        server = self.world.server
        if self.kind != "stale" or not isinstance(query, LogsQuery) or self.random.random() > 0.1:
            return ask(query)
        if self.world.now > self.faults_until:
            return ask(query)
        then = self.world.now - self.random.uniform(0, 2)
        now = server.logs
        server.logs = [row for row in now if self.visible[row["id"]] <= then]
        kept = list(server.logs)
        answer = ask(query)
        landed = [row for row in server.logs if row not in kept]
        server.logs = now + landed
        return answer

    # -- what comes of it -----------------------------------------------------------------------

    def watch(self) -> Result:
        """Watch it through."""
        world = self.world
        world.wait(self.random.choice([0.0, 0.0, self.length / 2, self.length + 1, 200.0]))
        world.fault = self._fault
        plain = world.ask
        world.ask = lambda query: self.ask(query, plain)  # type: ignore[method-assign]
        sources = frozenset({Source.STATES, Source.LOGS, Source.NOTICES})
        spec = WatchSpec(flow_run_id=self.run, sources=sources)
        self.watched = Watched(world, spec, seed=self.seed)
        return self._judge(self.watched.run(until=3600.0))

    def _judge(self, watched: Watched) -> Result:
        result = Result(self.seed, self.kind, rows=len(self.ever), requests=len(watched.asked))
        logs: list[FlowRunLog] = watched.of(FlowRunLog)
        told = Counter(log.id for log in logs if not log.replayed)
        result.lost = sorted(self.at_proof - {log.id for log in logs})
        result.repeated = sorted(row for row, count in told.items() if count > 1)
        result.reordered = self._reordered(logs)
        codes = [notice.code for notice in watched.of(Notice)]
        result.unresolved = codes.count(NoticeCode.SOURCE_REWOUND)
        rules = {
            "I1: told what was never stored": {log.id for log in logs} <= self.ever,
            "I5: late is not late": _late_is_late(watched),
            "I3: a row twice without a flag": not result.repeated,
            "I8: N is not the table": self.kind in SHRINKING or self._counts(watched),
            "I9: ids held that need not be": self._bounded(watched),
            "I11: Closed is not once and last": _closed_once(watched),
            "I14: the fold is not the row": self._folds(watched),
            "I15: it did not end": watched.ended and watched.error is None,
            "not verified": self.kind in SHRINKING or self._verified(watched),
        }
        result.broken = [rule for rule, holds in rules.items() if not holds]
        return result

    def _reordered(self, logs: list[FlowRunLog]) -> list[str]:
        last: dict[int, int] = {}
        wrong: list[str] = []
        for log in logs:
            writer, line = self.writer_of[log.id]
            if not log.replayed and line < last.get(writer, -1):
                wrong.append(f"{writer}:{line}")
            last[writer] = max(last.get(writer, -1), line)
        return wrong

    def _counts(self, watched: Watched) -> bool:
        return _cursor(watched).ledger.total == len(self.at_proof)

    def _bounded(self, watched: Watched) -> bool:
        # Ids are held of what was written or stored in the last ten seconds, or is dated ahead.
        ledger = _cursor(watched).ledger
        floor, horizon = ledger.floor, ledger.horizon
        if floor is None or horizon is None:
            return ledger.held == 0
        horizon -= timedelta(seconds=1)
        logs = self.world.server.logs
        young = [row for row in logs if row["timestamp"] >= floor or row["created"] >= horizon]
        return self.kind in SHRINKING or ledger.held <= len(young)

    def _folds(self, watched: Watched) -> bool:
        start: Snapshot | None = None
        snapshot = reduce(fold, watched.events, start)
        row = self.world.server.runs[self.run]
        return (
            snapshot is not None
            and snapshot.run.state_id == row["state_id"]
            and snapshot.run.updated == row["updated"]
            and {s.id for s in snapshot.states}
            == {state["id"] for state in self.world.server.states[self.run]}
        )

    def _verified(self, watched: Watched) -> bool:
        last = watched.events[-1] if watched.events else None
        return isinstance(last, Closed) and last.verified


def _cursor(watched: Watched) -> LogCursor:
    return watched.session._reader.cursor


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
