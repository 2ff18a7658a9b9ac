"""Subscribers that join and leave a shared watch, or the runs of one, in hostile worlds.

All of it is in virtual time, in one thread, through the public functions: a world, one
`shared()` watch of it, and subscribers of many manners. The longest of their histories is checked
against the server as that of a watch, and each of the others against the longest.
"""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any, Literal, TypeAlias, get_args

import httpx
from hostile_worlds import SHRINKING, Result, late_is_late, reordered
from reactivex import Observable, abc
from reactivex.disposable import SingleAssignmentDisposable

from rxflow import (
    AllClosed,
    Closed,
    FlowRunEvent,
    FlowRunLog,
    FlowRunStream,
    FlowRunView,
    Notice,
    NoticeCode,
    RunSeen,
    watch_flow_run,
    watch_flow_runs,
)
from rxflow.testing import Faults, World
from rxflow.testing._history import Played
from rxflow.testing._world import draw_history

Manner: TypeAlias = Literal["stays", "leaves at a time", "leaves within an event", "raises"]

_MANNERS: tuple[Manner, ...] = get_args(Manner)
_LONGEST = 3600.0
_IDLE = 120.0  # seconds for which nothing may be requested once there is no subscriber
_AT_ONCE = 5.0  # seconds within which a history is replayed: a slow request may be under way


class SubscriberError(Exception):
    """A subscriber raised it on purpose."""


class Subscriber(abc.ObserverBase[Any]):
    """An observer that records its calls, and leaves in its own manner.

    Attributes:
        manner: How it leaves.
        joined: When it subscribed; None before that.
        session: The number of the session that it joined.
        events: The events, each with its time.
        left: When it left, or raised; None while it stays.
        ended: When the stream ended for it; None before that.
        error: The error with which it did.
        broken: The rules that were broken.
    """

    def __init__(self, manner: Manner, most: int, now: Callable[[], float]) -> None:
        """Make an observer that has not subscribed.

        Args:
            manner: How it leaves.
            most: After how many events, unless it leaves at a time.
            now: The time, in seconds.
        """
        self.manner: Manner = manner
        self.joined: float | None = None
        self.session = 0
        self.events: list[tuple[float, FlowRunEvent]] = []
        self.left: float | None = None
        self.ended: float | None = None
        self.error: Exception | None = None
        self.broken: set[str] = set()
        self._most = most
        self._now = now
        self._subscription = SingleAssignmentDisposable()

    @property
    def values(self) -> list[FlowRunEvent]:
        """The events without their times."""
        return [event for _, event in self.events]

    @property
    def is_subscribed(self) -> bool:
        """Whether it has joined, and neither left nor received the end."""
        return self.joined is not None and self.left is None and self.ended is None

    def join(self, stream: Observable[Any], scheduler: abc.SchedulerBase) -> None:
        """Subscribe."""
        self.joined = self._now()
        self._subscription.disposable = stream.subscribe(self, scheduler=scheduler)

    def leave(self) -> None:
        """Dispose of the subscription, if it has begun."""
        if self.is_subscribed:
            self.left = self._now()
            self._subscription.dispose()

    def on_next(self, value: Any) -> None:
        """Record an event, and leave or raise if it is time."""
        self._check_call()
        self.events.append((self._now(), value))
        if len(self.events) < self._most:
            return
        if self.manner == "leaves within an event":
            self.leave()
        elif self.manner == "raises":
            self.left = self._now()
            raise SubscriberError

    def on_error(self, error: Exception) -> None:
        """Record the error; its own is the only call that may follow."""
        self.error, self.ended = error, self._now()
        if self.left is not None and not isinstance(error, SubscriberError):
            self._check_call()

    def on_completed(self) -> None:
        """Record the end."""
        self._check_call()
        self.ended = self._now()

    def _check_call(self) -> None:
        if self.left is not None or self.ended is not None:
            self.broken.add("I12: a call after a subscriber has left, or after the end")


class SharedWatch:
    """A hostile world, and subscribers that join and leave one shared watch of it.

    In some worlds all of them leave before the end. Then nothing more is requested, and the next
    subscriber gets all from the beginning, by a session of its own.

    Attributes:
        world: The world.
        subscribers: The subscribers, in the order in which they join.
    """

    def __init__(self, seed: int) -> None:
        """Draw the world and the subscribers from the seed."""
        self.seed = seed
        self.world = World(seed)
        self.time, self.server = self.world.time, self.world.server
        self.random = Random(f"shared {seed}")
        self.broken: set[str] = set()
        self._faults: Faults = self.server.faults
        self._last_read: tuple[list[Any], int] = ([], 0)
        self.world.heal()
        self.server.intercept = self._note
        client = self.server.client()
        self.stream: FlowRunStream = watch_flow_run(self.world.run_id, client=client).shared()
        self.subscribers: list[Subscriber] = []
        self._session = 0  # the number of the last one
        self._all_leave = self.random.random() < 0.3
        for number in range(self.random.randint(2, 6)):
            self._add(first=number == 0)

    def watch(self) -> Result:
        """Let time pass until all subscribers have left or received the end, and check them."""
        while self.time.seconds < _LONGEST and not self._is_over:
            self._step(1.0)
        if self._all_leave:
            self._check_silence()
            last = self._new_subscriber("stays")
            self._join(last)
            while self.time.seconds < 2 * _LONGEST and last.is_subscribed:
                self._step(1.0)
        return self._check()

    def _step(self, seconds: float) -> None:
        """Let time pass; requests fail while a session has begun and the world is not healed."""
        subscribed = [each for each in self.subscribers if each.is_subscribed]
        may_fail = any(each.events for each in subscribed) and self.time.seconds < self.world.healed
        if not may_fail:
            self.world.heal()
        elif self.time.seconds < self.world.healed:
            self.server.faults = self._faults
        self.time.advance_to(self.time.now + _seconds(seconds))

    # -- the subscribers ------------------------------------------------------------------------

    def _new_subscriber(self, manner: Manner) -> Subscriber:
        most = self.random.choice((1, 2, 5, 20, 100))
        subscriber = Subscriber(manner, most, lambda: self.time.seconds)
        self.subscribers.append(subscriber)
        return subscriber

    def _add(self, *, first: bool) -> None:
        random, end = self.random, self.world.played.end
        stays = first and not self._all_leave
        subscriber = self._new_subscriber("stays" if stays else random.choice(_MANNERS))
        joins = random.choice((0.0, end / 2)) if first else random.uniform(0, end + 20)
        self._at(joins, lambda: self._join(subscriber))
        # Where all leave, so do those that would stay, or raise later.
        if subscriber.manner == "leaves at a time" or self._all_leave:
            self._at(joins + random.choice((0.0, 0.1, 3.0, end / 2)), subscriber.leave)

    def _join(self, subscriber: Subscriber) -> None:
        """Let one join the session that goes on or has ended, or else start another one."""
        own = [each for each in self.subscribers if each.session == self._session]
        goes_on = any(each.is_subscribed or (each.ended and not each.error) for each in own)
        self._session += not goes_on
        subscriber.session = self._session
        subscriber.join(self.stream, self.time)

    def _at(self, seconds: float, action: Callable[[], object]) -> None:
        def act(_: abc.SchedulerBase, __: Any = None) -> None:
            action()

        self.time.schedule_absolute(self.time.beginning + _seconds(seconds), act)

    @property
    def _is_over(self) -> bool:
        return all(each.joined is not None and not each.is_subscribed for each in self.subscribers)

    def _note(self, request: httpx.Request) -> None:
        if request.url.path.endswith("/logs/filter"):
            self._last_read = self.server.logs, len(self.server.logs)
        if not any(each.is_subscribed for each in self.subscribers):
            self.broken.add("I12: a request without a subscriber")

    # -- the promises ---------------------------------------------------------------------------

    def _check_silence(self) -> None:
        """Let time pass without a subscriber; a request breaks a rule."""
        sent = len(self.server.requests)
        self._step(_IDLE)
        if len(self.server.requests) > sent:
            self.broken.add("I12: a request without a subscriber")

    def _check(self) -> Result:
        kind = self.world.kind
        ever = {row["id"] for row in self.world.played.landed}
        result = Result(
            self.seed, kind, rows=len(ever), requests=len(self.server.requests), broken=[]
        )
        rows, count = self._last_read
        on_server = {row["id"] for row in rows[:count]}
        longest = self._longest_of(self._session)
        check_history(longest.values, ever, on_server, result, shrinks=kind in SHRINKING)
        result.broken += sorted(self.broken)
        for number, each in enumerate(self.subscribers):
            broken = {*each.broken, *self._broken_of(each)}
            result.broken += [f"subscriber {number}: {rule}" for rule in sorted(broken)]
        if not self._views_agree():
            result.broken.append("I14: the last view is not the one that is read")
        return result

    def _longest_of(self, session: int) -> Subscriber:
        own = [each for each in self.subscribers if each.session == session]
        return max(own, key=lambda each: len(each.events))

    def _broken_of(self, each: Subscriber) -> set[str]:
        longest = self._longest_of(each.session)
        got_all = each.ended is not None and each.error is None
        expected = longest.values if got_all else longest.values[: len(each.events)]
        rules = {
            "it got an error": each.error is None or isinstance(each.error, SubscriberError),
            "it neither left nor got the end": not each.is_subscribed,
            "it got other events": each.values == expected,
            "its history came late": self._has_caught_up(each, longest),
        }
        return {rule for rule, holds in rules.items() if not holds}

    def _has_caught_up(self, each: Subscriber, other: Subscriber) -> bool:
        """Whether it soon got what the other one had got when it joined."""
        assert each.joined is not None
        soon = each.joined + _AT_ONCE
        before = sum(at < each.joined for at, _ in other.events)
        has_left = each.left is not None and each.left <= soon
        return has_left or sum(at <= soon for at, _ in each.events) >= before

    def _views_agree(self) -> bool:
        """Whether the last of the stream's views is what a `FlowRunView` reads at the end."""
        self.world.heal()
        self.server.intercept = None
        with self.server.client() as client:
            read = FlowRunView.from_flow_run_id(self.world.run_id, client=client)
        views = self.time.collect(self.stream.views())
        return bool(views) and views[-1] == read


class SharedRunsWatch(SharedWatch):
    """A world of some runs whose streams, `by_run()`, are read, left, raised in or not read."""

    def __init__(self, seed: int) -> None:
        """Draw the runs and the manners from the seed."""
        super().__init__(seed)
        random = self.random
        self.played: dict[str, Played] = {self.world.run_id: self.world.played}
        for _ in range(random.randint(1, 3)):
            history = draw_history(random, "calm")
            played = history.play(self.server, random)
            self.played[played.run_id] = played
        self.streams = watch_flow_runs([*self.played], client=self.server.client())
        self.readers: dict[str, Subscriber] = {}
        self._is_shared = random.random() < 0.5
        self._all_leave = False
        self.subscribers.clear()

    def watch(self) -> Result:
        """Read the streams of the runs to their end, and check each of them."""
        streams = self.streams.shared() if self._is_shared else self.streams
        whole = Subscriber("stays", 1, lambda: self.time.seconds)
        self.subscribers.append(whole)
        whole.join(streams.by_run().do_action(self._read), self.time)
        while self.time.seconds < _LONGEST and whole.is_subscribed:
            self._step(1.0)
        # Some join, or leave, after the session has ended.
        self.time.advance_to(self.time.now + _seconds(100.0))
        return self._check_runs(whole)

    def _read(self, run: FlowRunStream) -> None:
        random, run_id = self.random, run.flow_run_id
        if random.random() < 0.2:
            return  # it is held, and not read
        manner: Manner = random.choice(("stays", *_MANNERS))
        reader = self.readers[run_id] = self._new_subscriber(manner)
        delay = random.choice((0.0, 0.0, 5.0, 60.0))
        now = self.time.seconds
        self._at(now + delay, partial(reader.join, run, self.time))
        if manner == "leaves at a time":
            self._at(now + delay + random.choice((0.0, 1.0, 30.0)), reader.leave)

    def _check_runs(self, whole: Subscriber) -> Result:
        kind = self.world.kind
        rows = sum(len(played.landed) for played in self.played.values())
        result = Result(self.seed, kind, rows=rows, requests=len(self.server.requests), broken=[])
        found = [stream.flow_run_id for stream in whole.values]
        if whole.ended is None or whole.error is not None:
            result.broken.append("I15: the streams did not end")
        if sorted(found) != sorted(self.played):
            result.broken.append("a run has no stream, or two")
        for run_id, reader in self.readers.items():
            table = {row["id"] for row in self.server.logs if row["flow_run_id"] == run_id}
            ever = {row["id"] for row in self.played[run_id].landed}
            broken = set(reader.broken)
            if reader.is_subscribed:
                broken.add("it neither left nor got the end")
            if any(event.flow_run_id != run_id for event in reader.values):
                broken.add("it got events of another run")
            if reader.left is None:
                if kind in SHRINKING:  # others may have vanished since
                    table = {e.id for e in reader.values if isinstance(e, FlowRunLog)}
                check_history(reader.values, ever, table, result, shrinks=kind in SHRINKING)
            result.broken += [f"{run_id}: {rule}" for rule in sorted(broken)]
        return result


def check_history(
    events: list[FlowRunEvent],
    ever: set[str],
    on_server: set[str],
    result: Result,
    *,
    shrinks: bool,
) -> None:
    """Check the events of one run, as those of a watch of it; add what is wrong to a result.

    Args:
        events: The events.
        ever: The ids of the log rows that the server ever had.
        on_server: Those of the rows that it has at last.
        result: The result.
        shrinks: Whether rows may have vanished.
    """
    logs = [event for event in events if isinstance(event, FlowRunLog)]
    delivered = [log.id for log in logs if not log.replayed]
    ids = {log.id for log in logs}
    codes = {event.code for event in events if isinstance(event, Notice)}
    closed = [event for event in events if isinstance(event, Closed | AllClosed)]
    result.lost += sorted(on_server - ids)
    result.repeated += sorted({row for row in delivered if delivered.count(row) > 1})
    result.reordered += reordered(logs)
    result.unresolved += NoticeCode.SOURCE_REWOUND in codes
    rules = {
        "I1: emitted what was never stored": ids <= ever,
        "I3: a row twice without a flag": not result.repeated,
        "I5: late is not late": late_is_late(events),
        "I11: Closed is not once and last": len(closed) == 1 and events[-1] is closed[0],
        "RunSeen is not first": bool(events) and isinstance(events[0], RunSeen),
        "I13: no notice that rows vanished": (
            ids == on_server or (shrinks and NoticeCode.SOURCE_REWOUND in codes)
        ),
    }
    result.broken += [rule for rule, holds in rules.items() if not holds]


def _seconds(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)
