"""The contract of Rx, rule by rule, held by all that rxflow gives to subscribe to.

The rules are those of https://reactivex.io/documentation/contract.html and of Rx's design
guidelines, and those that a source which polls a server has to keep besides. Each section is a
rule, and its tests go over the *subjects* that the rule concerns: a watch, its parts, its views,
each operator and each sink, with a watch as their source; and over the *faces*, the ways in which a
subject is driven.

Order, and that no row is lost or told twice, are laws over random lives: see `test_laws.py`.
"""

import asyncio
import gc
import io
import logging
import re
import subprocess
import sys
import threading
import tracemalloc
import weakref
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing
from functools import partial
from itertools import pairwise
from operator import attrgetter
from random import Random
from typing import Any

import httpx
import loguru
import msgspec
import pytest
import reactivex as rx
from reactivex import Observable, abc
from reactivex import operators as ops
from reactivex.disposable import CompositeDisposable, Disposable
from reactivex.scheduler import (
    CurrentThreadScheduler,
    EventLoopScheduler,
    ImmediateScheduler,
    NewThreadScheduler,
    ThreadPoolScheduler,
    TimeoutScheduler,
)
from reactivex.scheduler.eventloop import AsyncIOScheduler
from reactivex.subject import Subject
from sample_events import TASK
from virtual_world import BEGINNING, HOUR, TEST_TIMEOUT, Recording, World

import rxflow
from rxflow import FlowRunEvent, FlowRunLog, FlowRunStream, operators, sinks, watch_flow_run
from rxflow._protocol.pages import Page
from rxflow._protocol.queries import Query, RunQuery
from rxflow._runtime.engine import Engine
from rxflow._runtime.iteration import MAX_UNREQUESTED_ITEMS
from rxflow._runtime.poll_scheduler import default_scheduler
from rxflow._watching.session import Session
from rxflow._watching.watch_spec import EventSource, WatchSpec
from rxflow.testing import FakePrefect3
from rxflow.watch import _events_of

GONE = "00000000-0000-4000-8000-000000000000"
LINES = 250
KIB = 1024

Operator = Callable[[Observable[Any]], Observable[Any]]
Subject_ = Callable[[FlowRunStream], Observable[Any]]


# -- subjects and faces -------------------------------------------------------------------------

PARTS: dict[str, Subject_] = {
    "the watch": lambda watch: watch,
    "states": attrgetter("states"),
    "logs": attrgetter("logs"),
    "tasks": attrgetter("tasks"),
    "notices": attrgetter("notices"),
    "views": lambda watch: watch.views(),
}

_server = FakePrefect3()
_silent = logging.Logger("silent")  # noqa: LOG001 - without handlers, and without a parent's
_silent.addHandler(logging.NullHandler())

OPERATORS: dict[str, Operator] = {
    "only": operators.only(FlowRunLog),
    "level_at_least": operators.level_at_least(20),
    "for_task": operators.for_task(TASK),
    "matching": operators.matching("line"),
    "until_terminal": operators.until_terminal(),
    "tail": operators.tail(3),
    "conflate": operators.conflate(id),
    "bounded": operators.bounded(1000),
    "in_order": operators.in_order(60),
    "rate": operators.rate(60),
    "quiet_for": operators.quiet_for(600, _server.client()),
}
SINKS: dict[str, Operator] = {
    "to_callable": sinks.to_callable(lambda _: None),
    "to_json_lines": sinks.to_json_lines(io.StringIO()),
    "to_loguru": sinks.to_loguru(loguru.logger.opt(capture=False)),
    "to_logging": sinks.to_logging(_silent),
}
SUBJECTS: dict[str, Subject_] = PARTS | {
    name: lambda watch, operator=operator: watch.pipe(operator)
    for name, operator in (OPERATORS | SINKS).items()
}
# What these tell depends on the time at which something came, so it is not the same in every face.
TIMED = {"rate"}
# These say nothing in the life of the runs below.
SILENT = {"quiet_for"}

TELLING = {name: subject for name, subject in SUBJECTS.items() if name not in SILENT}

each_subject = pytest.mark.parametrize("name", SUBJECTS)
each_that_tells = pytest.mark.parametrize("name", TELLING)


@pytest.fixture(autouse=True)
def _no_output() -> Iterator[None]:
    """Keep what is written to loguru from standard error."""
    loguru.logger.remove()
    yield
    loguru.logger.remove()
    loguru.logger.add(sys.stderr)


def test_every_operator_and_every_sink_is_a_subject() -> None:
    """The rules below are held against all that there is."""
    assert set(OPERATORS) == set(operators.__all__)
    assert set(SINKS) == set(sinks.__all__)


def past(world: World, lines: int = LINES) -> str:
    """A run that has been over for an hour, of more than a page of log lines."""
    run_id = world.add_finished_run(lines=lines)
    world.server.set_task_state(run_id, TASK, "COMPLETED")
    world.server.log(run_id, "a line of a task", task_run_id=TASK)
    world.run(until=world.seconds + HOUR)
    return run_id


def live(world: World) -> str:
    """A run that runs from second 10 on, ends, runs again, and ends for good at second 50."""
    server, run_id = world.server, world.server.add_run(state="PENDING")
    world.at(10, lambda: server.set_state(run_id, "RUNNING"))
    for second in range(12, 30, 3):
        world.at(second, lambda: server.log(run_id, "line", task_run_id=TASK))
    world.at(20, lambda: server.set_task_state(run_id, TASK, "RUNNING"))
    world.at(30, lambda: server.set_state(run_id, "FAILED"))
    world.at(32, lambda: server.set_state(run_id, "RUNNING"))
    world.at(50, lambda: server.set_state(run_id, "COMPLETED"))
    world.at(52, lambda: server.log(run_id, "the last line"))
    return run_id


def watch(world: World, run_id: str) -> FlowRunStream:
    """A watch over all parts of a run."""
    return watch_flow_run(run_id, stream_tasks=True, client=world.client)


def subject(name: str, world: World, run_id: str) -> Observable[Any]:
    """A subject, of a watch over a run."""
    return SUBJECTS[name](watch(world, run_id))


def told_of(observable: Observable[Any], scheduler: abc.SchedulerBase | None) -> Recording[Any]:
    """What a subscription was told by the time it was over."""
    told: Recording[Any] = Recording()
    told.subscribe_to(observable, scheduler)
    told.wait()
    return told


def outcome(told: Recording[Any]) -> list[Any]:
    """What was told; its error is raised."""
    if told.error is not None:
        raise told.error
    assert told.completed
    return told.values


async def subscribed_on_a_loop(observable: Observable[Any]) -> Recording[Any]:
    """What a subscription on the running event loop was told by the time it was over."""
    over = asyncio.Event()
    told: Recording[Any] = Recording()
    scheduler = AsyncIOScheduler(asyncio.get_running_loop())
    told.subscribe_to(observable.pipe(ops.finally_action(over.set)), scheduler)
    async with asyncio.timeout(TEST_TIMEOUT):
        await over.wait()
    return told


async def collected(observable: Observable[Any]) -> list[Any]:
    """What an async loop gets."""
    return [item async for item in rxflow.aiterate(observable)]


async def awaited(observable: Observable[Any]) -> list[Any]:
    """The last item alone, as `await` gives it."""
    return [await rxflow.Stream.of(observable)]


Face = Callable[[Observable[Any], World], list[Any]]

FACES: dict[str, Face] = {
    "subscribe": lambda observable, _: outcome(told_of(observable, None)),
    "virtual": lambda observable, world: outcome(world.watch(observable)),
    "asyncio": lambda observable, _: outcome(asyncio.run(subscribed_on_a_loop(observable))),
    "for": lambda observable, _: list(rxflow.iterate(observable)),
    "async for": lambda observable, _: asyncio.run(collected(observable)),
    "await": lambda observable, _: asyncio.run(awaited(observable)),
}
each_face = pytest.mark.parametrize("face", FACES)


def timeless(value: Any) -> Any:
    """An item without the time at which the watch was closed, which is that of the watch."""
    match value:
        case tuple():
            return tuple(map(timeless, value))
        case rxflow.Closed():
            return msgspec.structs.replace(value, timestamp=BEGINNING)
        case _:
            return value


def timelessly(values: Iterable[Any]) -> list[Any]:
    """Items without that time."""
    return list(map(timeless, values))


def closings(world: World) -> list[int]:
    """How often the channel of each watch was closed, once all of them are."""
    assert all(channel.was_closed.wait(TEST_TIMEOUT) for channel in world.channels)
    return [channel.close_count for channel in world.channels]


class Letters(Recording[Any]):
    """An observer that keeps the grammar of what it is told: a letter for each call."""

    def __init__(self, fails_at: str = "") -> None:
        """Start empty.

        Args:
            fails_at: In which call to raise, by its letter.
        """
        super().__init__()
        self.letters = ""
        self.fails_at = fails_at

    def on_next(self, value: Any) -> None:
        """Note an item."""
        super().on_next(value)
        self._note("N")

    def on_error(self, error: Exception) -> None:
        """Note the error."""
        super().on_error(error)
        self._note("E")

    def on_completed(self) -> None:
        """Note the completion."""
        super().on_completed()
        self._note("C")

    def _note(self, letter: str) -> None:
        self.letters += letter
        if letter == self.fails_at:
            raise Own(letter)


class Own(Exception):
    """What an observer of these tests raises."""


# -- grammar: items, and then at most one end ---------------------------------------------------


@each_subject
@pytest.mark.parametrize("gone", [False, True], ids=["completes", "fails"])
def test_grammar(name: str, gone: bool, world: World) -> None:
    """Items come, then one completion or one error, then nothing, whatever the run does later.

    The observer stands there without the shield that `subscribe` puts before every observer.
    """
    run_id = live(world)
    world.at(300, lambda: world.server.set_state(run_id, "RUNNING"))
    world.at(301, lambda: world.server.log(run_id, "too late"))
    told = Letters()
    observable = subject(name, world, GONE if gone else run_id)
    world.at(0, lambda: observable._subscribe_core(told, world.scheduler))
    world.run(until=290)
    asked = len(world.server.requests)
    assert re.fullmatch("E" if gone else "N*C" if name in SILENT else "N+C", told.letters)
    letters = told.letters
    world.run(until=2 * HOUR)
    assert (told.letters, len(world.server.requests)) == (letters, asked)


@each_that_tells
def test_grammar_of_who_leaves(name: str, world: World) -> None:
    """Whoever takes one item is told that it was all, once, and nothing else."""
    told = Letters()
    told.subscribe_to(subject(name, world, live(world)).pipe(ops.take(1)), world.scheduler)
    world.run(until=HOUR)
    assert told.letters == "NC"


# -- serialisation: one thing at a time ---------------------------------------------------------


class Alone(Recording[Any]):
    """An observer that notes whether it is ever told two things at once.

    Attributes:
        overlaps: How often it was.
    """

    def __init__(self) -> None:
        super().__init__()
        self.overlaps = 0
        self._busy = threading.Lock()

    def on_next(self, value: Any) -> None:
        """Keep an item, and give others the time to come in between."""
        if not self._busy.acquire(blocking=False):
            self.overlaps += 1
            return
        threading.Event().wait(0.0002)
        super().on_next(value)
        self._busy.release()


def on_loop_thread() -> tuple[abc.SchedulerBase, Callable[[], object]]:
    """A scheduler of reactivex with one thread."""
    scheduler = EventLoopScheduler()
    return scheduler, scheduler.dispose


def on_pool() -> tuple[abc.SchedulerBase, Callable[[], object]]:
    """A scheduler of reactivex with several."""
    scheduler = ThreadPoolScheduler(4)
    return scheduler, scheduler.executor.shutdown


def nothing() -> None:
    """What there is to do after most schedulers."""


SCHEDULERS: dict[str, Callable[[], tuple[abc.SchedulerBase | None, Callable[[], object]]]] = {
    "none": lambda: (None, nothing),
    "event loop": on_loop_thread,
    "pool": on_pool,
    "new threads": lambda: (NewThreadScheduler(), nothing),
    "timeout": lambda: (TimeoutScheduler(), nothing),
}


# Some schedulers of reactivex keep a thread for a timer until it is due, needed or not.
BRIEF: dict[str, Operator] = (
    {"nothing": ops.map(lambda event: event)}
    | OPERATORS
    | SINKS
    | {
        "in_order": operators.in_order(0.05),
        "rate": operators.rate(0.05),
        "quiet_for": operators.quiet_for(0.05, _server.client()),
    }
)


@pytest.mark.parametrize("kind", SCHEDULERS)
@pytest.mark.parametrize("operator", BRIEF)
def test_one_thing_at_a_time(operator: str, kind: str, world: World) -> None:
    """Several watches merged, with fetches on threads of their own, are told one by one."""
    run_ids = [past(world, lines=20), past(world, lines=20)]
    streams = [watch(world, run_id) for run_id in run_ids]
    merged: Observable[Any] = rx.merge(streams[0], streams[1].states, streams[1].logs)
    scheduler, shut = SCHEDULERS[kind]()
    told = Alone()
    told.subscribe_to(merged.pipe(BRIEF[operator]), scheduler)
    told.wait()
    shut()
    assert (told.overlaps, told.error) == (0, None)


# -- dispose: nothing after it, and a request under way is broken off ---------------------------


@each_subject
def test_nothing_is_told_or_asked_after_a_dispose(name: str, world: World) -> None:
    """After a dispose nothing comes, and the server hears nothing more."""
    told = Letters()
    told.subscribe_to(subject(name, world, live(world)), world.scheduler)
    world.run(until=25)
    told.dispose()
    letters, asked = told.letters, len(world.server.requests)
    world.run(until=HOUR)
    assert (told.letters, len(world.server.requests)) == (letters, asked)
    assert closings(world) == [1]


@each_that_tells
def test_nothing_is_told_after_a_dispose_within_an_item(name: str, world: World) -> None:
    """A dispose within the first item is the end, though more of its page is at hand."""

    class Leaves(Letters):
        def on_next(self, value: Any) -> None:
            """Leave."""
            super().on_next(value)
            self.dispose()

    told = Leaves()
    stream = subject(name, world, past(world))
    world.at(HOUR, lambda: told.subscribe_to(stream, world.scheduler))
    world.run(until=2 * HOUR)
    assert told.letters == "N"
    assert closings(world) == [1]


def served(*, subscribe: Callable[[Observable[Any]], Awaitable[object]]) -> tuple[int, int]:
    """How many requests a server held back, and how many of them were broken off."""
    server = FakePrefect3()
    run_id = server.add_run(state="RUNNING")
    with (
        server.serve() as url,
        rxflow.Client(api_url=url) as client,
        server.hold() as hold,
    ):
        stream = watch_flow_run(run_id, client=client)

        async def leave() -> None:
            task = asyncio.ensure_future(subscribe(stream))
            await hold.auntil_reached()
            task.cancel()
            await hold.auntil_left()
            await asyncio.wait([task])

        asyncio.run(leave())
        return hold.came, hold.left


async def until_cancelled(observable: Observable[Any], scheduler: abc.SchedulerBase | None) -> None:
    """Subscribe, and dispose when cancelled."""
    subscription = observable.subscribe(scheduler=scheduler)
    try:
        await asyncio.Event().wait()
    finally:
        subscription.dispose()


BREAKING: dict[str, Callable[[Observable[Any]], Awaitable[object]]] = {
    "subscribe": lambda stream: until_cancelled(stream, None),
    "event loop": lambda stream: until_cancelled(stream, NewThreadScheduler()),
    "asyncio": lambda stream: until_cancelled(stream, AsyncIOScheduler(asyncio.get_running_loop())),
    "async for": collected,
    "await": awaited,
}


@pytest.mark.parametrize("face", BREAKING)
@pytest.mark.timeout(60)
def test_a_blocked_request_is_broken_off(face: str) -> None:
    """Who leaves while a server does not answer has the connection closed, at once."""
    assert served(subscribe=BREAKING[face]) == (1, 1)


# -- cold: each subscription asks for itself ----------------------------------------------------


@each_subject
def test_each_subscription_asks_for_itself(name: str, world: World) -> None:
    """Nothing is asked before somebody subscribes; then each asks on a channel of its own."""
    stream = subject(name, world, live(world))
    world.run(until=5)
    assert world.server.requests == []
    first, second = world.subscribe(stream), world.subscribe(stream, at=21)
    world.run(until=HOUR)
    assert first.completed
    assert second.completed
    assert closings(world) == [1, 1]
    assert all(channel.queries for channel in world.channels)
    if name not in SILENT:
        assert first.values
        assert second.events[0][0] >= 21


# -- resubscribe: after any end it begins anew --------------------------------------------------


@each_subject
def test_retry_begins_anew(name: str, world: World) -> None:
    """After an error a subject can be subscribed to again, and tells what it would have told."""
    stream = subject(name, world, past(world))
    expected = world.watch(stream)
    refusals: Iterator[httpx.Response | None] = iter([httpx.Response(401), httpx.Response(401)])
    world.server.intercept = lambda _: next(refusals, None)
    told = world.watch(stream.pipe(ops.retry(3)))
    assert told.completed
    assert len(told.values) == len(expected.values)
    assert closings(world) == [1] * 4


@each_subject
def test_repeat_begins_anew(name: str, world: World) -> None:
    """After its completion a subject can be subscribed to again, and tells the same."""
    stream = subject(name, world, past(world))
    once = world.watch(stream).values
    twice = world.watch(stream.pipe(ops.repeat(2))).values
    assert len(twice) == 2 * len(once)
    if name not in TIMED:
        assert timelessly(twice) == timelessly(once * 2)


@each_subject
def test_after_a_dispose_it_begins_anew(name: str, world: World) -> None:
    """Who has left may come again, and is told what whoever comes then is told."""
    stream = subject(name, world, live(world))
    world.watch(stream, until=25)
    again, other = world.subscribe(stream, at=70), world.subscribe(stream, at=70)
    world.run(until=HOUR)
    assert again.completed
    assert len(again.values) == len(other.values)


# -- re-entrancy: it may be left while it is subscribed to --------------------------------------


@pytest.mark.parametrize("given", [None, ImmediateScheduler(), CurrentThreadScheduler()])
@each_that_tells
def test_subscribe_returns_before_anything_is_told(
    name: str, given: abc.SchedulerBase | None, world: World
) -> None:
    """Where nothing can be waited for, `subscribe` returns at once, and `take` ends the asking."""
    told = Letters()
    with default_scheduler._changed:  # so that nothing runs on it meanwhile
        told.subscribe_to(subject(name, world, past(world)).pipe(ops.take(1)), given)
        assert told.letters == ""
    told.wait()
    assert told.letters == "NC"
    assert closings(world) == [1]


@each_that_tells
@pytest.mark.parametrize("number", [1, 2])
def test_take_asks_no_more_than_it_takes(name: str, number: int, world: World) -> None:
    """Once `take` has what it takes the asking ends, and where it ends early it ends for good."""
    stream = subject(name, world, live(world))
    told = world.watch(stream.pipe(ops.take(number)))
    assert len(told.values) <= number
    assert told.ended is not None
    asked = len(world.server.requests)
    world.run(until=3 * HOUR)
    assert len(world.server.requests) == asked
    assert closings(world) == [1]


@pytest.mark.parametrize("name", PARTS)
def test_an_observer_may_subscribe_again_within_an_item(name: str, world: World) -> None:
    """A subscription made within an item of another gets everything as well."""
    stream = subject(name, world, live(world))
    inner: list[Recording[Any]] = []

    def nest(_: object) -> None:
        if not inner:
            inner.append(Recording())
            inner[0].subscribe_to(stream, world.scheduler)

    outer = world.watch(stream.pipe(ops.do_action(nest)))
    assert outer.completed
    assert inner[0].completed
    assert closings(world) == [1, 1]


# -- the scheduler that was given, and its thread -----------------------------------------------

_sleepers: list[str] = []


def _hear(event: str, _: object) -> None:
    if event == "time.sleep":
        _sleepers.append(threading.current_thread().name)


@pytest.fixture(scope="session")
def _ears() -> None:
    """Have the interpreter say when something sleeps; it cannot be asked to stop saying so."""
    sys.addaudithook(_hear)


@pytest.mark.usefixtures("_ears")
@each_subject
def test_virtual_time_takes_no_time(name: str, started: list[str], world: World) -> None:
    """In virtual time nothing sleeps, no thread starts, and all comes when the clock says so."""
    _sleepers.clear()
    told = world.watch(subject(name, world, live(world)), at=5)
    assert (started, _sleepers) == ([], [])
    assert told.ended is not None
    assert all(5 <= at <= told.ended for at, _ in told.events)
    # The run fails at 30, is over at 50, and tells its last line while it is drained.
    assert told.ended > (30 if name == "until_terminal" else 55)


def test_polls_come_when_the_session_wants_them(world: World) -> None:
    """With a pace that has no chance in it, polls come at exactly its seconds."""

    class Even(Random):
        def uniform(self, a: float, b: float) -> float:
            """The middle."""
            return (a + b) / 2

    run_id = world.server.add_run(state="RUNNING")
    asked: list[float] = []

    def note(request: httpx.Request) -> None:
        if request.url.path.endswith(run_id):
            asked.append(round(world.seconds, 3))

    world.server.intercept = note
    world.watch(engine_of(Session(spec_of(run_id), Even(0)), world), until=40)
    expected, pause = [0.0], 0.5
    while expected[-1] + pause < 40:
        expected.append(round(expected[-1] + pause, 3))
        pause = min(5.0, pause * 1.5)
    assert asked == pytest.approx(expected, abs=0.01)


@each_subject
def test_all_is_told_on_the_poll_schedulers_thread(name: str, world: World) -> None:
    """Without a scheduler one thread, rxflow's own, tells everything, the end included."""
    names: set[str] = set()

    def note(*_: object) -> None:
        names.add(threading.current_thread().name)

    over = threading.Event()

    def end(*_: object) -> None:
        note()
        over.set()

    subject(name, world, past(world)).subscribe(note, end, end)
    assert over.wait(TEST_TIMEOUT)
    assert names == {"rxflow-poll"}


@each_subject
def test_all_is_told_on_the_event_loop(name: str, started: list[str], world: World) -> None:
    """On an asyncio scheduler the loop's thread tells everything, and no other starts."""
    told = asyncio.run(subscribed_on_a_loop(subject(name, world, past(world))))
    assert told.completed, told.error
    assert told.threads == {threading.get_ident()}
    assert started == []


@each_subject
@pytest.mark.parametrize("face", ["for", "async for", "await"])
def test_loops_run_in_their_own_thread(
    name: str, face: str, started: list[str], world: World
) -> None:
    """A loop, blocking or async, and an await run in the caller's thread, and start none."""
    threads: set[int] = set()
    stream = subject(name, world, past(world)).pipe(
        ops.do_action(lambda _: threads.add(threading.get_ident())),
        ops.default_if_empty(None),
    )
    assert FACES[face](stream, world)
    assert threads <= {threading.get_ident()}
    assert started == []


@each_that_tells
def test_all_faces_tell_the_same(name: str, world: World) -> None:
    """Of a run that is over each face tells the same items in the same order."""
    stream = subject(name, world, past(world))
    told = {face: timelessly(run(stream, world)) for face, run in FACES.items()}
    last = told.pop("await")
    whole = told["virtual"]
    if name in TIMED:
        assert {face: len(values) for face, values in told.items()} == dict.fromkeys(
            told, len(whole)
        )
    else:
        assert {face for face, values in told.items() if values != whole} == set()
        assert last == whole[-1:]
    assert closings(world) == [1] * len(FACES)


# -- trouble: in virtual time, and told by on_error ---------------------------------------------


def test_backoff_passes_in_virtual_time(world: World) -> None:
    """While a server is busy it is asked at growing distances, of at most half a minute."""
    run_id = world.server.add_run(state="RUNNING")
    asked: list[float] = []

    def busy(_: httpx.Request) -> httpx.Response | None:
        if not 100 <= world.seconds < 1000:
            return None
        asked.append(world.seconds)
        return httpx.Response(503)

    world.server.intercept = busy
    told = world.watch(watch_flow_run(run_id, client=world.client), until=2000)
    pauses = [later - earlier for earlier, later in pairwise(asked)]
    assert max(pauses) <= 30
    assert max(pauses[:3]) <= 0.5 * 2**3
    assert len(asked) < 900 / 5
    assert max(pauses[3:]) > max(pauses[:3])
    codes = [event.code for event in told.values if isinstance(event, rxflow.Notice)]
    assert codes == ["degraded", "recovered"]
    assert told.error is None


def broken(request: httpx.Request) -> httpx.Response | None:
    """A connection that cannot prove who it is."""
    raise httpx.ConnectError("certificate verify failed", request=request)


def defect(_: httpx.Request) -> httpx.Response | None:
    """A defect of the code that asks."""
    raise ZeroDivisionError


ERRORS: dict[str, tuple[Callable[[httpx.Request], httpx.Response | None], type[Exception]]] = {
    "no such run": (lambda _: None, rxflow.RunNotFound),
    "no key": (lambda _: httpx.Response(401), rxflow.AuthError),
    "another site": (lambda _: httpx.Response(200, html="<p>Hi"), rxflow.NotAPrefectApi),
    "a question refused": (
        lambda request: (
            httpx.Response(422, json={"detail": "no"}) if GONE in request.url.path else None
        ),
        rxflow.BadResponse,
    ),
    "a defect": (defect, ZeroDivisionError),
}


@each_face
@pytest.mark.parametrize("trouble", ERRORS)
def test_what_goes_wrong_is_told_by_on_error(trouble: str, face: str, world: World) -> None:
    """In each face trouble is one typed error at the end, which subscribing itself never raises."""
    intercept, error = ERRORS[trouble]
    world.server.intercept = intercept
    with pytest.raises(error):
        FACES[face](watch(world, GONE), world)
    assert closings(world) == [1]


@each_subject
@pytest.mark.parametrize("face", ["virtual", "for"])
def test_each_subject_passes_on_an_error(name: str, face: str, world: World) -> None:
    """What ends a watch with an error ends so whatever is made of it."""
    with pytest.raises(rxflow.RunNotFound):
        FACES[face](subject(name, world, GONE), world)


# -- the observer's own error -------------------------------------------------------------------


@each_that_tells
@pytest.mark.parametrize("threaded", [False, True], ids=["virtual", "threaded"])
def test_what_an_observer_raises_it_is_told(name: str, threaded: bool, world: World) -> None:
    """What `on_next` raises comes back by `on_error`, once, and the asking ends."""
    told = Letters(fails_at="N")
    stream = subject(name, world, past(world))
    told.subscribe_to(stream, None if threaded else world.scheduler)
    if not threaded:
        world.run(until=2 * HOUR)
    told.wait()
    assert told.letters == "NE"
    assert isinstance(told.error, Own)
    assert closings(world) == [1]


@each_that_tells
@pytest.mark.parametrize("call", ["N", "C"])
def test_what_an_observer_raises_does_not_vanish(
    name: str, call: str, world: World, reported: list[BaseException | None]
) -> None:
    """An error that nobody takes is reported, once; other watches on the thread go on."""
    fails = Letters(fails_at=call)
    stream = subject(name, world, past(world))
    other: Recording[Any] = Recording()
    other.subscribe_to(stream)
    over = threading.Event()
    stream.pipe(ops.finally_action(over.set)).subscribe(fails.on_next, None, fails.on_completed)
    other.wait()
    assert over.wait(TEST_TIMEOUT)
    assert closings(world) == [1, 1]
    assert default_scheduler.join(TEST_TIMEOUT)
    assert other.completed
    assert [type(error) for error in reported] == [Own]


# -- teardown: exactly once ---------------------------------------------------------------------


@each_that_tells
@pytest.mark.parametrize("ends", ["completed", "failed", "left", "left within", "left twice"])
def test_teardown_happens_once(name: str, ends: str, world: World) -> None:
    """However a subscription ends, and however often, its channel is closed once."""

    class Leaves(Letters):
        def _note(self, letter: str) -> None:
            super()._note(letter)
            if ends == "left within":
                self.dispose()
                self.dispose()

    stream = subject(name, world, GONE if ends == "failed" else live(world))
    told = Leaves()
    gone: list[str] = []
    told.subscribe_to(stream.pipe(ops.finally_action(lambda: gone.append(ends))), world.scheduler)
    world.run(until=20 if ends.startswith("left") else HOUR)
    for _ in range(2 if ends == "left twice" else 1):
        told.dispose()
    world.run(until=2 * HOUR)
    assert (closings(world), gone) == ([1], [ends])


class Target(io.StringIO):
    """A target that counts how often it is closed."""

    closings = 0

    def close(self) -> None:
        """Count."""
        self.closings += 1
        super().close()


@pytest.mark.parametrize("ends", ["completed", "failed", "left"])
def test_a_sinks_file_is_closed_once(ends: str, world: World, tmp_path: Any) -> None:
    """Whatever ends a subscription, the file it writes is closed, and one given to it is not."""
    path, given = tmp_path / "events.jsonl", Target()
    stream = watch(world, GONE if ends == "failed" else live(world))
    told = world.subscribe(
        stream.pipe(sinks.to_json_lines(path), sinks.to_json_lines(given)),
    )
    world.run(until=20 if ends == "left" else HOUR)
    told.dispose()
    gc.collect()  # a file that is left open warns, and warnings are errors
    assert path.read_text() == given.getvalue()
    assert given.closings == 0


# -- threads, forks and the interpreter's end ---------------------------------------------------


@each_subject
def test_threads_go(name: str, world: World) -> None:
    """After many subscriptions, each left within its first moments, no thread is left."""
    stream = subject(name, world, world.server.add_run(state="RUNNING"))
    before = threading.active_count()
    for _ in range(20):
        stream.subscribe().dispose()
    several = [stream.subscribe() for _ in range(20)]
    CompositeDisposable(several).dispose()
    assert default_scheduler.join(TEST_TIMEOUT)
    for thread in threading.enumerate():
        if thread.name.startswith("rxflow"):
            thread.join(TEST_TIMEOUT)
    assert threading.active_count() <= before


AT_EXIT = """
import asyncio, threading
import reactivex
import rxflow
from reactivex.scheduler.eventloop import AsyncIOScheduler
from rxflow import operators, sinks
from rxflow.testing import FakePrefect3

server = FakePrefect3()
stream = rxflow.watch_flow_run(server.add_run(state="RUNNING"), client=server.client())
stream = stream.pipe(operators.in_order(60), operators.bounded(9))
seen = threading.Event()
see = sinks.to_callable(lambda event: seen.set())
"""

LEAVING = {
    "subscribe": "stream.pipe(see).subscribe(); assert seen.wait(30)",
    "blocked": """
with server.serve() as url:
    hold = server.hold()
    run_id = server.add_run()
    rxflow.watch_flow_run(run_id, client=rxflow.Client(api_url=url)).subscribe()
    hold.until_reached()
    hold.release()
""",
    "for": "items = iter(stream); next(items)",
    "async for": """
async def main():
    items = aiter(stream)
    await anext(items)
asyncio.run(main())
""",
    "asyncio": """
async def main():
    stream.pipe(see).subscribe(scheduler=AsyncIOScheduler(asyncio.get_running_loop()))
    while not seen.is_set():
        await asyncio.sleep(0)
asyncio.run(main())
""",
}


def run_alone(program: str, *options: str) -> tuple[int, str, str]:
    """Run a program in an interpreter of its own."""
    done = subprocess.run(
        [sys.executable, "-P", *options, "-c", program],
        capture_output=True,
        text=True,
        timeout=TEST_TIMEOUT,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("way", LEAVING)
def test_a_program_ends_with_a_watch_under_way(way: str) -> None:
    """A program that comes to its end while it watches ends, and says nothing."""
    assert run_alone(AT_EXIT + LEAVING[way], "-W", "error") == (0, "", "")


FORK = """
import os, sys, threading
import rxflow
from rxflow.testing import FakePrefect3

def life():
    server = FakePrefect3()
    run_id = server.add_run(state="RUNNING")
    return server, run_id, rxflow.watch_flow_run(run_id, drain=0, client=server.client())

def watched(server, run_id, stream):
    seen, over = threading.Event(), threading.Event()
    told = []
    stream.subscribe(lambda e: (told.append(e), seen.set()), on_completed=over.set)
    assert seen.wait(30)
    return lambda: (server.set_state(run_id, "COMPLETED"), over.wait(30), type(told[-1]).__name__)

finish = watched(*life())
child = os.fork()
if child == 0:
    fresh = life()
    good = watched(*fresh)()[1:] == (True, "Closed") and len(list(fresh[2])) == 4
    os._exit(0 if good else 1)
_, status = os.waitpid(child, 0)
print(finish()[1:])
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_a_fork_watches_anew_and_its_parent_goes_on() -> None:
    """In a process that is forked while it watches, child and parent both watch to the end."""
    assert run_alone(FORK, "-W", "ignore") == (0, "(True, 'Closed')\n", "")


# -- memory: no growth by polls, none by a consumer that stalls, and no cycle -------------------


def spec_of(run_id: str) -> WatchSpec:
    """What a watch of all but tasks watches, for ever."""
    sources = frozenset({EventSource.STATES, EventSource.LOGS, EventSource.NOTICES})
    return WatchSpec(flow_run_id=run_id, sources=sources, max_duration=None)


class Idle:
    """A channel to a server on which nothing happens: it is asked each question once.

    Attributes:
        polls: How often the run's row was asked for.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._channel = world.client.open_channel()
        self._answers: dict[Query, Page[Any]] = {}
        self.polls = 0

    def send(self, query: Query) -> Page[Any]:
        """Give the answer of the first time, as of now."""
        self.polls += isinstance(query, RunQuery)
        known = self._answers.get(query)
        if known is None:
            answer = self._channel.send(query)
            assert isinstance(answer, Page)
            known = self._answers[query] = answer
        now = self._world.scheduler.now.replace(microsecond=0)
        return Page(rows=known.rows, server_time=now)

    def close(self) -> None:
        """Close."""
        self._channel.close()

    def open_channel(self) -> "Idle":
        """Be asked for this channel."""
        return self

    def open_async_channel(self) -> Any:
        """There is no loop here."""
        raise AssertionError


def engine_of(session: Session, world: World, opener: Any = None) -> Observable[FlowRunEvent]:
    """The events of an engine that is made when somebody subscribes."""

    def subscribe(
        observer: abc.ObserverBase[FlowRunEvent], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        assert scheduler is not None
        sources = spec_of(GONE).sources
        engine = Engine(session, opener or world.client, scheduler, sources)
        pages = rx.merge(*(engine.source(source) for source in sources))
        subscription = Observable(_events_of(pages)).subscribe(observer, scheduler=scheduler)
        return CompositeDisposable(subscription, Disposable(engine.dispose))

    return Observable(subscribe)


@pytest.mark.long
def test_memory_does_not_grow_by_polls(world: World) -> None:
    """A hundred thousand polls of a run on which nothing happens leave memory as it was."""
    run_id = world.server.add_run(state="RUNNING")
    world.server.log(run_id)
    idle = Idle(world)
    told = world.subscribe(engine_of(Session(spec_of(run_id), Random(0)), world, idle))
    world.run(until=10_000)
    began, events = idle.polls, len(told.events)
    gc.collect()
    blocks = sys.getallocatedblocks()  # tracemalloc would make it four times as long
    while idle.polls < began + 100_000:
        world.run(until=world.seconds + 50_000)
    gc.collect()
    grown = sys.getallocatedblocks() - blocks
    told.dispose()
    assert len(told.events) == events
    assert grown < 1_000  # a block for each poll were 100,000


def traced(action: Callable[[], object]) -> int:
    """By how many bytes memory grew, what belongs to the fake server left out."""
    gc.collect()
    tracemalloc.start()
    try:
        action()
        gc.collect()
        snapshot = tracemalloc.take_snapshot()
    finally:
        tracemalloc.stop()
    ours = snapshot.filter_traces(
        [
            tracemalloc.Filter(False, "*/rxflow/testing/*"),
            tracemalloc.Filter(False, tracemalloc.__file__),
        ]
    )
    return sum(statistic.size for statistic in ours.statistics("filename"))


STALLED = 5_000


@pytest.mark.parametrize("face", ["subscribe", "for", "async for"])
def test_a_consumer_that_stalls_stops_the_polling(face: str, world: World) -> None:
    """While a consumer is busy nothing is asked and nothing piles up; then it gets everything."""
    server = world.server
    run_id = server.add_run(state="RUNNING")
    stream = watch_flow_run(run_id, client=world.client)

    def watch_beside() -> int:
        # It has turns enough for the stalled one to be seen at fault, and is told to its end.
        world.run(until=world.seconds + HOUR)
        return len(list(watch_flow_run(run_id, client=world.client)))

    stalls = STALLS[face](stream)
    next(stalls)
    asked = len(server.requests)
    for number in range(STALLED):
        server.log(run_id, str(number))
    server.set_state(run_id, "COMPLETED")
    assert watch_beside() == 4 + STALLED
    grown = traced(watch_beside)
    held, requests = len(world.channels[0].queries), len(world.channels[1].queries)
    messages = [event.message for event in next(stalls) if isinstance(event, FlowRunLog)]
    assert messages == [str(number) for number in range(STALLED)]
    assert held == asked < requests
    assert grown < 64 * KIB


def stalls_in_on_next(stream: FlowRunStream) -> Iterator[list[FlowRunEvent]]:
    """A subscriber that is busy with its first event until it is asked to go on."""
    entered, go_on = threading.Event(), threading.Event()

    def stall(_: object) -> None:
        if not entered.is_set():
            entered.set()
            assert go_on.wait(TEST_TIMEOUT)

    told: Recording[FlowRunEvent] = Recording()
    told.subscribe_to(stream.pipe(ops.do_action(stall)))
    assert entered.wait(TEST_TIMEOUT)
    yield []
    go_on.set()
    told.wait()
    yield told.values


def stalls_in_a_loop(stream: FlowRunStream) -> Iterator[list[FlowRunEvent]]:
    """A loop that is busy with its first event."""
    events = iter(stream)
    first = next(events)
    yield []
    yield [first, *events]


def stalls_in_an_async_loop(stream: FlowRunStream) -> Iterator[list[FlowRunEvent]]:
    """An async loop that is busy with its first event, while its event loop is not."""
    with asyncio.Runner() as runner:
        events = aiter(stream)

        async def rest() -> list[FlowRunEvent]:
            return [event async for event in events]

        first = runner.run(anext_of(events))
        for _ in range(50):
            runner.run(asyncio.sleep(0))
        yield []
        yield [first, *runner.run(rest())]


async def anext_of(events: Any) -> Any:
    """The next one."""
    return await anext(events)


STALLS = {
    "subscribe": stalls_in_on_next,
    "for": stalls_in_a_loop,
    "async for": stalls_in_an_async_loop,
}


@each_subject
@pytest.mark.parametrize("threaded", [False, True], ids=["virtual", "threaded"])
def test_no_cycle_holds_who_left(name: str, threaded: bool, world: World) -> None:
    """An observer that has left is held by nobody, though a run it watched goes on."""
    told: Recording[Any] = Recording()
    asked = threading.Event()
    world.server.intercept = lambda _: asked.set()
    told.subscribe_to(subject(name, world, live(world)), None if threaded else world.scheduler)
    world.run(until=25)
    assert asked.wait(TEST_TIMEOUT)
    told.dispose()
    assert default_scheduler.join(TEST_TIMEOUT)
    for thread in threading.enumerate():
        if thread.name == "rxflow-fetch":
            thread.join(TEST_TIMEOUT)
    held = weakref.ref(told)
    del told
    world.run(until=HOUR)  # reactivex keeps what was cancelled until it would have been due
    gc.collect()
    assert held() is None


# -- threads that nobody asked, in a pump -------------------------------------------------------


def flooded(
    stream: Observable[Any], number: int, operator: Operator | None = None
) -> tuple[Observable[Any], threading.Thread]:
    """A watch merged with a source that a thread floods, and that thread, not started yet."""
    source: Subject[int] = Subject()

    def flood() -> None:
        for item in range(number):
            source.on_next(item)
        source.on_completed()

    side = source if operator is None else source.pipe(operator)
    return rx.merge(side, stream), threading.Thread(target=flood, daemon=True)


def read_in_a_loop(merged: Observable[Any], thread: threading.Thread) -> list[Any]:
    """What a loop gets that begins, then is busy until the flood is over, and then reads on."""
    items = rxflow.iterate(merged)
    found = [next(items)]
    thread.start()
    thread.join(TEST_TIMEOUT)
    assert not thread.is_alive(), "who floods was blocked"
    try:
        found.extend(items)
    except rxflow.Overflow as overflow:
        found.append(overflow)
    return found


def read_in_an_async_loop(merged: Observable[Any], thread: threading.Thread) -> list[Any]:
    """The same on an event loop."""

    async def read() -> list[Any]:
        async with aclosing(rxflow.aiterate(merged)) as items:
            found: list[Any] = [await anext(items)]
            thread.start()
            await asyncio.to_thread(thread.join, TEST_TIMEOUT)
            assert not thread.is_alive(), "who floods was blocked"
            try:
                async for item in items:
                    found.append(item)  # noqa: PERF401 - what was found before an error counts
            except rxflow.Overflow as overflow:
                found.append(overflow)
            return found

    return asyncio.run(read())


READS = {"for": read_in_a_loop, "async for": read_in_an_async_loop}
each_read = pytest.mark.parametrize("face", READS)


@each_read
@pytest.mark.timeout(60)
def test_a_flood_is_an_overflow(face: str, world: World) -> None:
    """A thread that floods a pump is never blocked; its reader gets what fits, and then is told."""
    merged, thread = flooded(watch(world, past(world)), MAX_UNREQUESTED_ITEMS + 100)
    found = READS[face](merged, thread)
    assert isinstance(found[-1], rxflow.Overflow)
    numbers = [item for item in found if isinstance(item, int)]
    assert numbers == list(range(len(numbers)))
    # The page that was read from the watch before takes its places too.
    assert MAX_UNREQUESTED_ITEMS - 2 * LINES < len(numbers) <= MAX_UNREQUESTED_ITEMS
    assert closings(world) == [1]


@each_read
@pytest.mark.parametrize(
    ("operator", "left"),
    [
        (operators.conflate(), [MAX_UNREQUESTED_ITEMS + 99]),
        (
            operators.bounded(3, "drop_oldest"),
            [MAX_UNREQUESTED_ITEMS + 97 + number for number in range(3)],
        ),
        (operators.bounded(3, "drop_newest"), [0, 1, 2]),
    ],
    ids=["conflate", "drop_oldest", "drop_newest"],
)
@pytest.mark.timeout(60)
def test_a_flood_may_be_held_upstream(
    face: str, operator: Operator, left: list[int], world: World
) -> None:
    """With `conflate` or `bounded` before the merge a flood ends well, and so does the watch."""
    run_id = past(world)
    merged, thread = flooded(watch(world, run_id), MAX_UNREQUESTED_ITEMS + 100, operator)
    found = READS[face](merged, thread)
    numbers = [item for item in found if isinstance(item, int)]
    assert numbers == left
    assert len(found) - len(numbers) == len(world.watch(watch(world, run_id)).values)


@each_read
@pytest.mark.timeout(60)
def test_the_lock_of_merge_is_not_held_against_the_reader(face: str, world: World) -> None:
    """A reader whose own watch wants the lock of `merge` meets no thread that waits for it there.

    If putting an item into a full pump blocked, the thread that floods would wait for room while it
    holds the lock of `merge`, and the reader, who alone makes room, would wait for that lock to
    pass on an item of the watch.
    """
    run_id = world.server.add_run(state="RUNNING")
    lively = watch(world, run_id)
    merged, thread = flooded(lively, MAX_UNREQUESTED_ITEMS + 1)

    def finish(item: Any) -> None:
        if isinstance(item, rxflow.RunSeen):
            for _ in range(LINES):
                world.server.log(run_id)
            world.server.set_state(run_id, "COMPLETED")
            world.run(until=HOUR)

    found = READS[face](merged.pipe(ops.do_action(finish)), thread)
    assert isinstance(found[-1], rxflow.Overflow)
    assert closings(world) == [1]


# -- shared, where somebody says so -------------------------------------------------------------

SHARES: dict[str, Operator] = {
    "share": ops.share(),
    "publish": rx.compose(ops.publish(), ops.ref_count()),
}


@pytest.mark.parametrize("share", SHARES)
@each_that_tells
def test_a_shared_watch_is_one_session(name: str, share: str, world: World) -> None:
    """Several observers share one session, which ends when the last of them has left."""
    shared = subject(name, world, live(world)).pipe(SHARES[share])
    told: list[Recording[Any]] = [Recording() for _ in range(3)]
    for recording in told:
        world.at(0, partial(recording.subscribe_to, shared, world.scheduler))
    world.run(until=20)
    told[0].dispose()
    told[1].dispose()
    world.run(until=25)
    assert [channel.close_count for channel in world.channels] == [0]
    told[2].dispose()
    assert closings(world) == [1]
    asked = len(world.server.requests)
    world.run(until=40)
    assert len(world.server.requests) == asked
    again = world.watch(shared)
    assert again.completed
    assert closings(world) == [1, 1]


@pytest.mark.parametrize("share", SHARES)
def test_who_shares_a_watch_gets_what_one_gets(share: str, world: World) -> None:
    """Observers that share a watch from its beginning on each get all of it, by any scheduler."""
    run_id = past(world)
    alone = timelessly(world.watch(watch(world, run_id)).values)
    for scheduler in (world.scheduler, None):
        shared = watch(world, run_id).pipe(SHARES[share])
        told: list[Recording[Any]] = [Recording() for _ in range(3)]
        with default_scheduler._changed:  # so that nothing is told before all are there
            for recording in told:
                recording.subscribe_to(shared, scheduler)
        world.run(until=world.seconds + HOUR)
        for recording in told:
            recording.wait()
            assert timelessly(recording.values) == alone
    assert closings(world) == [1, 1, 1]
