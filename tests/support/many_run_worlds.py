"""Watch many runs of one hostile world, and compare what was emitted of each with the server.

The runs have histories like that of `rxflow.testing.World`. In addition runs come while others are
watched, are deleted with their log rows deleted later, go on after they were over, are unknown, or
have a long history; a server limits the rate of requests, lets them time out, lowers the limit of a
page or refuses offsets; and there may be more runs than a group has room for. The promises of
`docs/contract.md` are checked for each run, as in `hostile_worlds` for one.
"""

from collections import Counter, defaultdict
from datetime import timedelta
from functools import partial, reduce
from itertools import pairwise
from random import Random
from typing import Any, Literal, TypeAlias, get_args
from uuid import UUID

import httpx
import msgspec
import simulated_world
from checked_watches import CheckedWatch
from hostile_worlds import SHRINKING, Result, late_is_late, reordered
from simulated_world import exchange

from rxflow import (
    AllClosed,
    Closed,
    FlowRunEvent,
    FlowRunLog,
    Notice,
    NoticeCode,
    RunOutcome,
    RunSeen,
    Snapshot,
    StateChange,
    StateType,
    fold,
)
from rxflow._protocol.failures import Failure, FailureKind, Reply
from rxflow._protocol.queries import LogsQuery, Query, RunQuery, RunsQuery
from rxflow._watching.runs_session import RunsSession
from rxflow._watching.watch_spec import EventSource, WatchSpec
from rxflow.testing import FakePrefect3, Faults, History, VirtualTime, Writer
from rxflow.testing._history import Played
from rxflow.testing._world import CALM, FAULTS, FAULTS_TAIL, WorldKind, draw_history

SessionKind: TypeAlias = Literal[
    "limited", "timeouts", "smaller pages", "no offsets", "long history", "crowd"
]
"""What happens to a watch of many runs beside what happens to one of one run:

- ``limited``: some requests get 429 or 503, with a ``Retry-After`` or without;
- ``timeouts``: some requests get no reply for up to 30 s;
- ``smaller pages``: the server lowers the limit of a page while runs are watched;
- ``no offsets``: from a time on the server refuses offsets;
- ``long history``: one run has a history of a hundred pages, and requests are slow;
- ``crowd``: there are more runs than a group has room for.
"""

ManyRunKind: TypeAlias = WorldKind | SessionKind

_WORLD_KINDS: tuple[ManyRunKind, ...] = get_args(WorldKind)
_SESSION_KINDS: tuple[ManyRunKind, ...] = ("limited", "timeouts", "smaller pages", "no offsets")
_CROWDS_IN = 40  # worlds, of which one is a crowd, and two have a long history

_FAULTS = {
    **FAULTS,
    "limited": Faults(latency=0.01, ties=True, errors=0.15, statuses=(429, 503), retry_after=3.0),
    "long history": Faults(latency=0.3),
}
_MANY = 24  # runs, of which not all rows are read each time
_OUTAGE_KINDS = {"faulty", "limited", "timeouts", "no offsets"}
_SOURCES = frozenset({EventSource.STATES, EventSource.LOGS, EventSource.NOTICES})
_LONGEST_INTERVAL = 11.0  # seconds between two polls of a group that has nothing to read at once
_MOST_REQUESTS_BETWEEN = 12  # of runs that are read alone, once a group is due
_SETTLED = 60.0  # seconds after which a calm watch has emitted what a server has


UNKNOWN = "ca449f3a-c029-47d8-acb6-1db88b00c1f2"
"""The id of a run that no server has."""


class Member:
    """One run of a world, and what the server had of it at the last queries.

    Attributes:
        run_id: The run.
        history: What happens to it; None for a run that the server does not have.
        begins: When it is added to the server, in seconds.
        joins: When it is added to the watch.
        rows_at_check: The ids of its log rows when its last close check began.
        row: What the server had of it when its row was last queried by itself.
        deleted: When it was deleted.
        grouped: The time since which it is read in a group; None while it is read alone.
    """

    def __init__(self, history: History | None, begins: float, joins: float) -> None:
        """Start with nothing on the server."""
        self.run_id = ""
        self.history = history
        self.begins, self.joins = begins, joins
        self.played: Played | None = None
        self.rows_at_check: set[str] = set()
        self.checked = False
        self.row: tuple[Any, Any, set[str]] | None = None
        self.deleted: float | None = None
        self.grouped: float | None = None

    @property
    def landed(self) -> list[Any]:
        """Every log row of the run that has landed."""
        return self.played.landed if self.played is not None else []


class ManyRunWatch(simulated_world.World):
    """A world of many runs, and a watch that goes through it.

    Attributes:
        kind: The world's kind.
        members: The runs.
        watched: The watch.
        given: The ids of the runs that were added to it.
        are_all_given: Whether no more will be.
        kills: How many times it was killed.
        longest: The seconds after which it must have ended.
        longest_pause: The seconds between two requests, at most.
    """

    kills = 0
    longest = 7200.0
    longest_pause = 42.0  # the longest backoff is 30, the longest interval 11

    def __init__(self, seed: int, kind: ManyRunKind | None = None) -> None:
        """Draw the world from the seed.

        Args:
            seed: Determines everything that is random.
            kind: The world's kind, in place of a drawn one.
        """
        self.seed = seed
        self.random = random = Random(f"many runs {seed}")
        self.kind: ManyRunKind = kind or _draw_kind(random)
        self.time = VirtualTime()
        limit = {"crowd": 200, "long history": 20}.get(self.kind) or random.choice((3, 7, 20, 200))
        self.server = _Server(
            clock=self.time,
            page_limit=limit,
            random=Random(random.getrandbits(64)),
            faults=CALM,
        )
        self.server.intercept = self._note
        self.given: list[str] = []
        self.are_all_given = False
        self._query: Query | None = None
        self._alone_at: list[float] = []  # when requests for runs that are read alone were sent
        self._healed = 0.0
        self._refuses_offsets_from = random.uniform(0, 60)
        self.members = self._draw_members()
        self._of_id: dict[str, Member] = {}
        spec = self._spec()
        session = RunsSession(spec, Random(seed))
        self.session = session
        self.watched = CheckedWatch(self, spec, session=session)
        for member in self.members:
            if member.history is None:
                member.run_id = UNKNOWN
                self._of_id[UNKNOWN] = member
            else:
                self.at(member.begins, partial(self._begin, member, member.history))
        if self.kind == "smaller pages":
            for _ in range(2):
                self.at(random.uniform(1, 90), self._lower_page_limit)

    def _spec(self) -> WatchSpec:
        return WatchSpec(flow_run_id="", sources=_SOURCES)

    def watch(self) -> Result:
        """Watch the world to its end, and check the promises."""
        for member in sorted(self.members, key=lambda member: member.joins):
            self._run(until=member.joins)
            self.server.catch_up()
            self.given.append(member.run_id)
            # An id that comes again is the same run.
            self.session.add([member.run_id, self.random.choice(self.given)])
        self.are_all_given = True
        self.session.complete()
        self._run(until=self.longest)
        return self._check()

    def _run(self, until: float) -> None:
        """Watch until a time."""
        self.watched.run(until)

    # -- the world ------------------------------------------------------------------------------

    def _draw_members(self) -> list[Member]:
        random, kind = self.random, self.kind
        watch_begins = random.choice((0.0, 0.0, 30.0, 200.0))
        if kind == "long history":
            quiet = [self._draw_member(watch_begins=20.0) for _ in range(random.randint(1, 4))]
            return [*quiet, Member(_long_history(random), 0.0, random.uniform(40, 70))]
        if kind == "crowd":
            return [
                Member(_short_history(random), random.uniform(0, 20), random.uniform(20, 40))
                for _ in range(random.randint(201, 230))
            ]
        count = random.choice((1, 2, 3, 4, 6, 9, _MANY))
        members = [self._draw_member(watch_begins, thinned=count) for _ in range(count)]
        unknown = [Member(None, 0.0, random.uniform(0, 60))] if random.random() < 0.1 else []
        return [*members, *unknown]

    def _draw_member(self, watch_begins: float, *, thinned: int = 1) -> Member:
        random, kind = self.random, self.kind
        history = draw_history(random, kind if kind in _WORLD_KINDS else "calm")  # type: ignore[arg-type]
        history = _thinned(history, thinned * random.choice((1, 4, 8)))
        if random.random() < 0.15:
            history = _with_retry(history, random)
        begins = random.choice((0.0, 0.0, random.uniform(0, 60)))
        joins = max(begins, watch_begins) + random.choice((0.0, 0.0, random.uniform(0, 90)))
        return Member(history, begins, joins)

    def _begin(self, member: Member, history: History) -> None:
        random = self.random
        member.played = played = history.play(self.server, random)
        member.run_id = played.run_id
        self._of_id[member.run_id] = member
        self._healed = max(self._healed, self.now + played.end + FAULTS_TAIL)
        if random.random() < 0.12:
            self.server.at(random.uniform(0, played.end + 8), partial(self._delete, member))

    def _delete(self, member: Member) -> None:
        member.deleted = self.now
        self.server.delete_run(member.run_id)
        delay = self.random.choice((0.0, 0.005, 1.0, 20.0, None))
        if delay is not None:
            self.server.at(delay, partial(self._delete_rows, member))

    def _delete_rows(self, member: Member) -> None:
        self.server.delete_logs([row["id"] for row in member.landed])

    def _lower_page_limit(self) -> None:
        routes = self.server._routes
        routes._page_limit = max(2, routes._page_limit // 2)

    # -- requests -------------------------------------------------------------------------------

    def send(self, query: Query) -> Reply:
        """Send a query to the server, which has its own latency."""
        faults = _FAULTS.get(self.kind, CALM)
        attacked = self._has_begun and self.now < self._healed
        self.server.faults = faults if attacked else Faults(latency=faults.latency, ties=True)
        self._follow(query)
        self._query = query
        if attacked and self.kind == "timeouts" and self.random.random() < 0.1:
            if self.random.random() < 0.5:
                exchange(self.server, query)
            self.wait(self.random.uniform(5, 30))
            return Failure(kind=FailureKind.NETWORK, text="timed out")
        refuses = self.kind == "no offsets" and self.now > self._refuses_offsets_from
        if refuses and isinstance(query, LogsQuery) and query.offset:
            return Failure(kind=FailureKind.REJECTED, text="no offsets")
        return exchange(self.server, query)

    @property
    def _has_begun(self) -> bool:
        """Whether a watch was able to begin, so that no failure ends it."""
        return bool(self.watched.emitted)

    def _follow(self, query: Query) -> None:
        """Follow which runs are read in a group, and when others are read alone."""
        match query:
            case RunsQuery(where=where):
                for run_id in where.flow_run_ids:
                    member = self._of_id[run_id]
                    member.checked = False
                    if member.grouped is None:
                        member.grouped = self.now
            case RunQuery(flow_run_id=run_id):
                if run_id in self._of_id:
                    self._of_id[run_id].grouped = None
                    self._of_id[run_id].checked = False
                self._alone_at.append(self.now)
            case LogsQuery(flow_run_ids=(run_id,)) if self._of_id[run_id].grouped is None:
                self._alone_at.append(self.now)
            case _:
                pass

    def _note(self, _: httpx.Request) -> None:
        """Note what the server has of the run that it is queried for."""
        match self._query:
            case RunQuery(flow_run_id=run_id) if run_id in self._of_id:
                self._of_id[run_id].row = self._row_of(run_id)
            case LogsQuery(flow_run_ids=(run_id,)) if not self._of_id[run_id].checked:
                member = self._of_id[run_id]
                member.checked = True
                member.rows_at_check = {
                    row["id"] for row in self.server.logs if row["flow_run_id"] == run_id
                }
            case _:
                pass

    def _row_of(self, run_id: str) -> tuple[Any, Any, set[str]] | None:
        row = self.server.runs.get(run_id)
        if row is None:
            return None
        states = {state["id"] for state in self.server.states[run_id]}
        return row["state_id"], row["updated"], states

    # -- the promises ---------------------------------------------------------------------------

    def _check(self) -> Result:
        watched, events = self.watched, self.watched.events
        of_run: defaultdict[str, list[FlowRunEvent]] = defaultdict(list)
        for event in events:
            of_run[event.flow_run_id].append(event)
        about_all = of_run.pop("", [])
        last = events[-1] if events else None
        outcomes = last.runs if isinstance(last, AllClosed) else ()
        of_outcome = {outcome.flow_run_id: outcome for outcome in outcomes}
        rows = sum(len(member.landed) for member in self.members)
        result = Result(self.seed, self.kind, rows=rows, requests=len(watched.sent))
        codes = [event.code for event in about_all if isinstance(event, Notice)]
        session = self.session
        rules = {
            "I15: it did not end": watched.ended and watched.error is None,
            "AllClosed is not once and last": isinstance(last, AllClosed)
            and sum(isinstance(event, AllClosed) for event in events) == 1,
            "AllClosed has other runs": len(outcomes) == len(self.members)
            and of_outcome.keys() == of_run.keys() == {m.run_id for m in self.members},
            "an outage without its end": (
                self.kills > 0  # the end may have come while nothing watched
                or codes.count(NoticeCode.DEGRADED) == codes.count(NoticeCode.RECOVERED)
            ),
            "an outage that is none": (
                NoticeCode.DEGRADED not in codes or self.kind in _OUTAGE_KINDS
            ),
            "something of a closed run is kept": not (session._runs or session._groups),
            "I15: no request for too long": self._goes_on(),
            "a long history delays others": self._most_requests_between() <= _MOST_REQUESTS_BETWEEN,
        }
        result.broken = [rule for rule, holds in rules.items() if not holds]
        result.broken += sorted(watched.broken)
        for number, member in enumerate(self.members):
            own = of_run[member.run_id]
            broken = self._check_member(member, own, of_outcome.get(member.run_id), result)
            result.broken += [f"run {number}: {rule}" for rule in broken]
        return result

    def _check_member(
        self,
        member: Member,
        events: list[FlowRunEvent],
        outcome: RunOutcome | None,
        result: Result,
    ) -> list[str]:
        logs = [event for event in events if isinstance(event, FlowRunLog)]
        delivered = {log.id for log in logs}
        unflagged = Counter(log.id for log in logs if not log.replayed)
        states = [event.id for event in events if isinstance(event, StateChange)]
        closed = events[-1] if events else None
        shrinks = self.kind in SHRINKING
        result.repeated += [row for row, count in unflagged.items() if count > 1]
        if self.kind != "no offsets":  # what is late is found at the end there
            result.reordered += reordered(logs)
        result.unresolved += sum(
            isinstance(event, Notice) and event.code is NoticeCode.SOURCE_REWOUND
            for event in events
        )
        if not isinstance(closed, Closed):
            return ["I11: Closed is not last"]
        if member.row is not None:
            result.lost += sorted(member.rows_at_check - delivered)
        elif self._is_calm and member.deleted is not None and not self.kills:
            result.lost += sorted(self._settled_rows(member) - delivered)
        rules = {
            "I1: emitted what was never stored": delivered <= {row["id"] for row in member.landed},
            "I3: a row twice without a flag": all(count == 1 for count in unflagged.values()),
            "I3: a state twice": len(states) == len(set(states)),
            "I5: late is not late": late_is_late(events),
            # A watch that goes on looks at runs that are closed; some have gone on as well.
            "I11: Closed is not once": (
                self.kills > 0 or sum(isinstance(event, Closed) for event in events) == 1
            ),
            "I11: Closed twice without news": not _is_repeated_end(events),
            "log_count": closed.log_count == len(logs),
            "outcome": _is_outcome_of(closed, outcome),
            "verified and lost": not closed.verified or member.rows_at_check <= delivered,
            "I13: no notice of a difference": self._says_difference(member, events, closed),
        }
        if member.row is None:
            rules["not said to be gone"] = _is_gone(events, outcome)
        else:
            rules["RunSeen is not first"] = isinstance(events[0], RunSeen)
            rules["I14: the fold is not the row"] = _folds(events, member.row)
            rules["not verified"] = closed.verified or shrinks or self.kind == "no offsets"
        return [rule for rule, holds in rules.items() if not holds]

    def _says_difference(self, member: Member, events: list[FlowRunEvent], closed: Closed) -> bool:
        """Whether an event says so if not the rows were delivered that are on the server at last.

        The rows of a run that was deleted vanish with it, and its notice says that.
        """
        delivered = {event.id for event in events if isinstance(event, FlowRunLog)}
        notices = {event.code for event in events if isinstance(event, Notice)}
        return (
            member.row is None
            or member.deleted is not None
            or delivered == member.rows_at_check
            or NoticeCode.SOURCE_REWOUND in notices
            or not closed.verified
        )

    def _goes_on(self) -> bool:
        """Whether after the faults no two requests were too far apart, while runs were watched."""
        if self.kills or not self.watched.sent:
            return True
        calm = max(self._healed, *(member.joins for member in self.members))
        times = [at for at, _ in self.watched.sent if at > calm]
        if self.watched.sent[0][0] < calm and times:
            times = [calm, *times]
        return all(after - before <= self.longest_pause for before, after in pairwise(times))

    @property
    def _is_calm(self) -> bool:
        return self.kind in {"calm", "ties", "skewed"}

    def _settled_rows(self, member: Member) -> set[str]:
        """Return the rows that a run had long before it was deleted, if it was watched by then."""
        landed = self.server._landed
        until = (member.deleted or 0.0) - _SETTLED
        if member.joins > until:
            return set()
        then = self.time.beginning + timedelta(seconds=until)
        return {row["id"] for row in member.landed if landed[row["id"]] < then}

    def _most_requests_between(self) -> int:
        """Return the most requests for runs read alone that a group's line had to wait for."""
        if self.kind != "long history" or self.kills:
            return 0
        most = 0
        for at, event in self.watched.emitted:
            if not isinstance(event, FlowRunLog):
                continue
            landed = self.server._landed[event.id] - self.time.beginning
            due = landed.total_seconds() + _LONGEST_INTERVAL
            member = self._of_id[event.flow_run_id]
            if member.grouped is not None and member.grouped < landed.total_seconds():
                most = max(most, sum(due < alone < at for alone in self._alone_at))
        return most


class _Server(FakePrefect3):
    """A server on which the history of a run that was deleted goes on without effect."""

    def set_state(self, run_id: str | UUID, type: str, *given: Any, **more: Any) -> str:  # noqa: A002
        """Set the state of a run that is not deleted."""
        if run_id in self._deleted_runs:
            return ""
        return super().set_state(run_id, type, *given, **more)


def _draw_kind(random: Random) -> ManyRunKind:
    match random.randrange(_CROWDS_IN):
        case 0:
            return "crowd"
        case 1 | 2:
            return "long history"
        case _:
            return random.choice((*_WORLD_KINDS, *_SESSION_KINDS))


def _thinned(history: History, by: int) -> History:
    """Keep one line of so many, since there are several runs."""
    writers = [
        msgspec.structs.replace(writer, lines=writer.lines[::by]) for writer in history.writers
    ]
    return msgspec.structs.replace(history, writers=tuple(writers))


def _with_retry(history: History, random: Random) -> History:
    """Let a run go on some seconds after its end; later than a drain, its watch may be over."""
    end = history.states[-1][0] + random.choice((1.0, 3.0, 6.0, 20.0))
    again = end + random.uniform(2, 40)
    lines = tuple(sorted(random.uniform(end + 1, again) for _ in range(random.choice((0, 5, 40)))))
    return msgspec.structs.replace(
        history,
        states=(*history.states, (end, StateType.RUNNING), (again, StateType.COMPLETED)),
        writers=(*history.writers, Writer(name="retry", lines=lines, lag=0.3)),
    )


def _long_history(random: Random) -> History:
    lines = tuple(sorted(random.uniform(0, 35) for _ in range(random.choice((800, 2000)))))
    end = random.choice((36.0, 250.0))
    return History(
        states=((0.0, StateType.RUNNING), (end, StateType.COMPLETED)),
        writers=(Writer(name="long", lines=lines),),
    )


def _short_history(random: Random) -> History:
    end = random.uniform(1, 90)
    lines = tuple(sorted(random.uniform(0, end) for _ in range(random.choice((0, 0, 1, 2)))))
    return History(
        states=((0.0, StateType.RUNNING), (end, StateType.COMPLETED)),
        writers=(Writer(name="short", lines=lines, batch=2.0, lag=0.3),),
    )


def _is_outcome_of(closed: Closed, outcome: RunOutcome | None) -> bool:
    return outcome is not None and all(
        getattr(outcome, field) == getattr(closed, field)
        for field in ("flow_run_id", "state", "verified", "log_count", "malformed", "unsettled")
    )


def _is_repeated_end(events: list[FlowRunEvent]) -> bool:
    """Whether a run was closed twice, with the same content and nothing in between."""
    return any(
        isinstance(one, Closed)
        and isinstance(two, Closed)
        and msgspec.structs.replace(two, timestamp=one.timestamp) == one
        for one, two in pairwise(events)
    )


def _is_gone(events: list[FlowRunEvent], outcome: RunOutcome | None) -> bool:
    """Whether a run that the server does not have any more, or never had, is closed as such."""
    seen = any(isinstance(event, RunSeen) for event in events)
    code = NoticeCode.RUN_DELETED if seen else NoticeCode.RUN_NOT_FOUND
    return (
        outcome is not None
        and outcome.ended_by is code
        and not outcome.verified
        and sum(isinstance(event, Notice) and event.code is code for event in events) == 1
    )


def _folds(events: list[FlowRunEvent], row: tuple[Any, Any, set[str]]) -> bool:
    start: Snapshot | None = None
    snapshot = reduce(fold, events, start)
    state_id, updated, states = row
    return (
        snapshot is not None
        and snapshot.run.state_id == state_id
        and snapshot.run.updated == updated
        and {state.id for state in snapshot.states} == states
    )
