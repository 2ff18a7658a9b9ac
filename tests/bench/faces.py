"""Measure the way from a page to its consumer: faces and operators, beside a plain loop.

``python tests/bench/faces.py`` (or ``tox -e bench``) emits pages that were decoded before:
a scripted session, with the real engine, sources, merge and faces. `lines.py` measures reading,
decoding and proving. Only figures of one run are compared; each is the least CPU time of several
rounds, in which the candidates take turns. `README.md` beside this file keeps the results.
"""

import asyncio
import gc
import platform
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from random import Random
from time import process_time
from typing import Any

from reactivex import Observable, abc, merge
from reactivex import operators as ops
from reactivex.disposable import CompositeDisposable, Disposable
from reactivex.scheduler import VirtualTimeScheduler

from rxflow import FlowRunEvent, FlowRunLog, Stream, operators
from rxflow._models.times import Now
from rxflow._protocol.failures import Reply
from rxflow._protocol.pages import Page
from rxflow._protocol.queries import Query, ServerQuery
from rxflow._runtime.engine import Engine
from rxflow._runtime.paged import PagedObservable
from rxflow._runtime.scheduling import scheduler_for
from rxflow._watching.event_order import EventPages
from rxflow._watching.run_session import RunSession
from rxflow._watching.session import Command, Done, Fetch
from rxflow._watching.watch_spec import EventSource, WatchSpec
from rxflow.testing import FakePrefect3

PAGES, PAGE = 250, 200
EVENTS = PAGES * PAGE
ROUNDS = 9
GOAL_WAITING = 15.0
# Of each way beside a plain loop.
GOALS = {
    "subscribe": 1.9,
    "for": 1.9,
    "for, pages()": 1.3,
    "for, level_at_least": 2.4,
    "for, only": 2.4,
    "for, reactivex": 4.0,
    "async for": 3.5,
}

RUN_ID = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"
TASK_RUN_ID = "6ecd8c99-4036-403d-bf84-cf8400f67836"
START = datetime(2026, 11, 22, 12, tzinfo=UTC)
SOURCES = frozenset(EventSource)


def _event(number: int) -> FlowRunLog:
    time = START + timedelta(milliseconds=10) * number
    return FlowRunLog(
        flow_run_id=RUN_ID,
        id=str(number),
        timestamp=time,
        created=time,
        level=20,
        name="prefect.flow_runs",
        message=f"Loaded partition {number} of {EVENTS} into the warehouse, 1284 rows",
        task_run_id=TASK_RUN_ID,
    )


BATCH = [tuple(_event(page * PAGE + row) for row in range(PAGE)) for page in range(PAGES)]


class Scripted(RunSession):
    """A session that sends one query for each page, and emits it."""

    def __init__(self) -> None:
        super().__init__(WatchSpec(flow_run_id=RUN_ID, sources=SOURCES), Random(0))
        self._pages = iter(BATCH)
        self._page: tuple[FlowRunEvent, ...] | None = next(self._pages)

    def next_command(self, now: Now) -> Command:  # noqa: ARG002
        """Return a query, or the end."""
        return Done() if self._page is None else Fetch(ServerQuery())

    def receive(self, reply: Reply, now: Now) -> EventPages:  # noqa: ARG002
        """Emit the page."""
        page, self._page = self._page, next(self._pages, None)
        return () if page is None else ((EventSource.LOGS, page),)


class InstantChannel:
    """A channel, for threads and for loops, that replies at once."""

    def send(self, query: Query, while_waiting: Any = None) -> Any:  # noqa: ARG002
        """Reply."""
        return _REPLY

    def close(self) -> None:
        """Do nothing."""

    def open_channel(self) -> Any:
        """Return this one."""
        return self

    def open_async_channel(self) -> Any:
        """Return its twin."""
        return _InstantAsyncChannel()

    def open_push_channel(self) -> None:
        """Announce nothing."""


class _InstantAsyncChannel:
    async def send(self, query: Query) -> Any:  # noqa: ARG002
        return _REPLY

    async def aclose(self) -> None:
        pass


_REPLY: Page[Any] = Page(rows=())


def watched() -> Stream[FlowRunEvent]:
    """The stream of a watch, merged from an engine's sources as in `watch_flow_run`."""

    def subscribe(
        observer: abc.ObserverBase[Any], given: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        scheduler = scheduler_for(given)
        engine = Engine(Scripted(), InstantChannel(), scheduler, SOURCES)
        pages = merge(*(engine.source(source) for source in sorted(SOURCES)))
        subscription = pages.subscribe(observer, scheduler=scheduler)
        return CompositeDisposable(subscription, Disposable(engine.dispose))

    return Stream.of(PagedObservable(Observable(subscribe)))


# -- faces --------------------------------------------------------------------------------------


class Reader:
    """The callables that each way calls for each event."""

    def __init__(self) -> None:
        self.seen = 0

    def keep(self, event: FlowRunEvent) -> bool:
        """Return True for each event."""
        return event.level >= 20

    def see(self, event: FlowRunEvent) -> None:
        """Count it."""
        if self.keep(event):
            self.seen += 1


def subscribe_to(observable: Observable[Any], see: Callable[[Any], None]) -> None:
    """Subscribe, in virtual time."""
    scheduler = VirtualTimeScheduler()
    observable.subscribe(see, scheduler=scheduler)
    scheduler.start()


def plain_loop(see: Callable[[Any], None]) -> None:
    """Call it in nested loops."""
    for page in BATCH:
        for event in page:
            see(event)


def subscribe(see: Callable[[Any], None]) -> None:
    """Subscribe to the watch."""
    subscribe_to(watched(), see)


def iterate(see: Callable[[Any], None]) -> None:
    """Iterate the watch."""
    for event in watched():
        see(event)


def iterate_piped(see: Callable[[Any], None]) -> None:
    """Iterate a pipeline over the watch, which emits single events instead of pages."""
    for event in watched().pipe(ops.skip(0)):
        see(event)


def iterate_selected(see: Callable[[Any], None]) -> None:
    """Iterate the watch through operators of rxflow, which keep its pages."""
    for event in watched().level_at_least(20):
        see(event)


def iterate_only(see: Callable[[Any], None]) -> None:
    """Iterate the log lines of the watch."""
    for event in watched().only(FlowRunLog):
        see(event)


def iterate_pages(see: Callable[[Any], None]) -> None:
    """Iterate the pages of the watch, and their events."""
    for page in watched().pages():
        for event in page:
            see(event)


def async_for(see: Callable[[Any], None]) -> None:
    """Iterate the watch on an event loop."""

    async def read() -> None:
        async for event in watched():
            see(event)

    asyncio.run(read())


Way = Callable[[Callable[[Any], None]], None]

FACES: dict[str, Way] = {
    "a plain loop": plain_loop,
    "subscribe": subscribe,
    "for": iterate,
    "for, pages()": iterate_pages,
    "for, level_at_least": iterate_selected,
    "for, only": iterate_only,
    "for, reactivex": iterate_piped,
    "async for": async_for,
}


# -- operators ----------------------------------------------------------------------------------


def emitting(see: Callable[[Any], None], *operator: Any) -> None:
    """Subscribe to a source that emits all events at once, through an operator."""

    def subscribe(observer: abc.ObserverBase[Any], _: Any = None) -> abc.DisposableBase:
        for page in BATCH:
            for event in page:
                observer.on_next(event)
        observer.on_completed()
        return Disposable()

    subscribe_to(Observable(subscribe).pipe(*operator), see)


def through(operator: Any) -> Way:
    """Return a way through an operator."""
    return lambda see: emitting(see, operator)


def anything(item: Any) -> bool:
    """Pass every item."""
    return item is not None


NOTHING = "no operator"
FILTER = "reactivex: filter"
OPERATORS: dict[str, Way] = {
    NOTHING: emitting,
    FILTER: through(ops.filter(anything)),
    "reactivex: scan": through(ops.scan(lambda _, item: item, 0)),
    "only": through(operators.only(FlowRunLog)),
    "level_at_least": through(operators.level_at_least(20)),
    "for_task": through(operators.for_task(TASK_RUN_ID)),
    "matching": through(operators.matching(r"partition \d+")),
    "until_terminal": through(operators.until_terminal()),
    "tail": through(operators.tail(20)),
    "in_order": through(operators.in_order(1)),
    "rate": through(operators.rate(60)),
    "quiet_for": through(operators.quiet_for(600, FakePrefect3().client())),
    "conflate, one key": through(operators.conflate()),
    "bounded, all held": through(operators.bounded(EVENTS)),
}


# -- measuring ----------------------------------------------------------------------------------


def cpu_of(way: Way) -> float:
    """CPU seconds of one pass."""
    reader = Reader()
    gc.collect()
    began = process_time()
    way(reader.see)
    return process_time() - began


def least(measures: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """The least of each measure; they take turns, so that a slow moment hits all."""
    for measure in measures.values():
        measure()  # warm up
    found = [[measure() for measure in measures.values()] for _ in range(rounds)]
    return {
        name: min(spent) for name, spent in zip(measures, zip(*found, strict=True), strict=True)
    }


def report() -> Iterator[str]:
    """Measure, and yield the report line by line."""
    names = ("rxflow-prefect", "httpx", "loguru", "msgspec", "reactivex")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    yield f"Python {platform.python_version()}, {versions}"
    yield f"\n{EVENTS:,} events in pages of {PAGE} that are decoded already: best of {ROUNDS}"
    spent = least({name: _measure(way) for name, way in FACES.items()}, ROUNDS)
    loop = spent["a plain loop"]
    for name, seconds in spent.items():
        goal = f"   goal: at most {GOALS[name]:g} x" if name in GOALS else ""
        yield f"  {name:20}{seconds / EVENTS * 1e6:7.3f} us an event{seconds / loop:7.2f} x{goal}"
    yield f"\nan operator more, of a source that emits at once: best of {ROUNDS}"
    spent = least({name: _measure(way) for name, way in OPERATORS.items()}, ROUNDS)
    for name, seconds in spent.items():
        more = seconds - spent[NOTHING]
        beside = more / (spent[FILTER] - spent[NOTHING])
        yield f"  {name:20}{more / EVENTS * 1e6:+7.3f} us an event{beside:7.1f} x"
    waiting = "in_order, rate, quiet_for and bounded"
    yield f"  goal of {waiting} beside filter: at most {GOAL_WAITING:g} x"


def _measure(way: Way) -> Callable[[], float]:
    if way in OPERATORS.values():
        return lambda: _cpu_of_anything(way)
    return lambda: cpu_of(way)


def _cpu_of_anything(way: Way) -> float:
    gc.collect()
    began = process_time()
    way(anything)  # type: ignore[arg-type]
    return process_time() - began


if __name__ == "__main__":
    for line in report():
        print(line, flush=True)
