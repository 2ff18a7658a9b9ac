"""Operators: each does what its diagram says, and all keep the rules of Rx."""

import math
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple

import pytest
import reactivex as rx
from reactivex import Observable, abc
from reactivex import operators as ops
from reactivex.testing import ReactiveTest, TestScheduler
from reactivex.testing.marbles import marbles_testing
from sample_events import OTHER, RUN, TASK, closed, entered, line, notice, task_entered
from virtual_world import World

import rxflow
from rxflow import FlowRunLog, InvalidRunId, NoticeCode, Rate, Stream, operators
from rxflow.operators import (
    bounded,
    conflate,
    for_task,
    in_order,
    level_at_least,
    matching,
    only,
    quiet_for,
    rate,
    tail,
    until_terminal,
)
from rxflow.testing import FakePrefect3

Operator = Callable[[Observable[Any]], Observable[Any]]

on_next, on_error, on_completed = (
    ReactiveTest.on_next,
    ReactiveTest.on_error,
    ReactiveTest.on_completed,
)

# Where a `TestScheduler` subscribes.
BEGUN = 200


class Marbles(NamedTuple):
    """An operator as its diagram has it, and what the characters stand for.

    Attributes:
        operator: The operator.
        items: What comes in, by character; a character that is missing stands for itself.
        given: What comes out, where it is something else.
    """

    operator: Operator
    items: Mapping[str | float, Any] = {}
    given: Mapping[str | float, Any] = {}


def counted(window: int, count: int) -> Rate:
    """The rate in one of the windows of five seconds."""
    since = TestScheduler.to_datetime(BEGUN) + timedelta(seconds=5 * window)
    return Rate(since=since, seconds=5, count=count)


DIAGRAMS = {
    "only": Marbles(
        only(FlowRunLog),
        {"s": entered("Running"), "l": line(), "n": notice(NoticeCode.DEGRADED)},
    ),
    "level_at_least": Marbles(
        level_at_least("WARNING"),
        {key: line(level=level) for key, level in {"d": 10, "i": 20, "w": 30, "e": 40}.items()},
    ),
    "for_task": Marbles(
        for_task(TASK),
        {
            "a": line(task=TASK),
            "s": task_entered("Running"),
            "b": line(task=OTHER),
            "r": entered("Running"),
        },
    ),
    "matching": Marbles(
        matching(r"row \d+"),
        {
            key: line(message=text)
            for key, text in {"a": "row 7", "b": "no row", "c": "bad row 9"}.items()
        },
    ),
    "until_terminal": Marbles(
        until_terminal(),
        {"r": entered("Running"), "l": line(), "c": entered("Completed"), "e": closed()},
    ),
    "conflate": Marbles(conflate(str.lower)),
    "bounded": Marbles(bounded(2, "drop_oldest")),
    "in_order": Marbles(in_order(lateness=4), {second: line(second) for second in range(10)}),
    "tail": Marbles(
        tail(3),
        given={number: tuple("abcd"[max(0, number - 3) : number]) for number in range(1, 5)},
    ),
}


def drawn(name: str) -> tuple[str, str]:
    """What comes in and what goes out, as the docstring of an operator draws it."""
    text = str(getattr(operators, name).__doc__)
    found = re.search(r"in: +(\S+)\n.*\n +out: +(\S+)", text)
    assert found, name
    return found[1], found[2]


def records(operator: Operator, marbles: str, items: Mapping[str | float, Any] = {}) -> list[Any]:
    """What comes out of an operator, in virtual time."""
    with marbles_testing() as (start, cold, _, _):
        return start(cold(marbles, dict(items), None).pipe(operator))


def expected(marbles: str, items: Mapping[str | float, Any] = {}) -> list[Any]:
    """Marbles as records."""
    with marbles_testing() as (_, _, _, exp):
        return exp(marbles, dict(items), None)


# -- diagrams -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DIAGRAMS)
def test_an_operator_does_what_its_diagram_says(name: str) -> None:
    """What the docstring draws is what comes out, and when."""
    came, given = drawn(name)
    operator, items, others = DIAGRAMS[name]
    assert records(operator, came, items) == expected(given, others or items)


def test_rate_does_what_its_diagram_says() -> None:
    """Each window of the diagram comes out at its end, with its beginning and its count."""
    came, given = drawn("rate")
    assert given == "-----2----0----1-(1,|)"
    windows = enumerate([(5, 2), (10, 0), (15, 1), (17, 1)])
    rates = [on_next(BEGUN + end, counted(window, count)) for window, (end, count) in windows]
    assert records(rate(5), came) == [*rates, on_completed(BEGUN + 17)]


@pytest.mark.parametrize(
    ("operator", "came", "given"),
    [
        (conflate(), "--(a,b,c)--d--|", "--c--------d--|"),
        (conflate(), "--(a,b,c,|)", "--(c,|)"),
        (conflate(), "--(a,b,c,#)", "--(c,#)"),
        (bounded(2, "drop_newest"), "--(a,b,c,d)--e--|", "--(a,b)------e--|"),
        (bounded(3), "--(a,b,c)--(d,e,f,|)", "--(a,b,c)--(d,e,f,|)"),
        (bounded(2), "--(a,b,#)", "--(a,b,#)"),
        (tail(1), "--a--#", "--1--#"),
    ],
)
def test_further_diagrams(operator: Operator, came: str, given: str) -> None:
    """What is held comes out at the end, be it an error or not."""
    found = records(operator, came)
    assert found == expected(given, {1: ("a",)})


def test_the_end_releases_what_is_held_back() -> None:
    """At completion and before an error, the events that are held come out in order."""
    lines: dict[str | float, Any] = {second: line(second) for second in range(10)}
    assert records(in_order(9), "-3-1-2-|", lines) == expected("-------(1,2,3,|)", lines)
    assert records(in_order(9), "-3-1-2-#", lines) == expected("-------(1,2,3,#)", lines)


def test_an_error_ends_the_last_window() -> None:
    """What was counted in the last window is told before the error."""
    found = records(rate(5), "-a-b-c-#")
    assert [record.value.value for record in found[:-1]] == [counted(0, 2), counted(1, 1)]
    assert found[-1].value.kind == "E"


def test_a_bound_that_is_exceeded_ends_with_what_it_holds() -> None:
    """What is held is told before the `Overflow`, and the source is let go of at once."""
    scheduler = TestScheduler()
    source = scheduler.create_hot_observable(*(on_next(210, item) for item in "abc"))
    told: list[Any] = scheduler.start(lambda: source.pipe(bounded(2))).messages
    assert [record.value.kind for record in told] == ["N", "N", "E"]
    assert isinstance(told[-1].value.exception, rxflow.Overflow)
    assert source.subscriptions == [ReactiveTest.subscribe(200, 210)]


def unhashable(item: object) -> Any:
    """Something that cannot be a key."""
    return [item]


# -- the rules of Rx ----------------------------------------------------------------------------

EVENTS = [entered("Running", 1), line(1, task=TASK), line(2, level=40)]

EVERY: dict[str, Operator] = {
    "only": only(FlowRunLog),
    "level_at_least": level_at_least(20),
    "for_task": for_task(TASK),
    "matching": matching("a"),
    "until_terminal": until_terminal(),
    "tail": tail(2),
    "conflate": conflate(),
    "bounded": bounded(100),
    "in_order": in_order(1),
    "rate": rate(1),
    "quiet_for": quiet_for(1000, FakePrefect3().client()),
}
WAITING = ["conflate", "bounded", "in_order", "rate"]

each_operator = pytest.mark.parametrize("name", EVERY)
each_that_waits = pytest.mark.parametrize("name", WAITING)


def test_every_operator_is_looked_at() -> None:
    """The tests below are about all operators there are."""
    assert set(EVERY) == set(operators.__all__)


@each_operator
def test_each_subscription_is_one_of_its_own(name: str) -> None:
    """Nothing is subscribed to before somebody subscribes, and each who does gets the same."""
    scheduler = TestScheduler()
    came = [on_next(10 * number, event) for number, event in enumerate(EVENTS, 1)]
    source = scheduler.create_cold_observable(*came, on_completed(40))
    result = source.pipe(EVERY[name])
    assert source.subscriptions == []
    first, second = scheduler.create_observer(), scheduler.create_observer()
    for begin, observer in ((200, first), (1000, second)):
        scheduler.schedule_absolute(
            begin, lambda *_, observer=observer: result.subscribe(observer, scheduler=scheduler)
        )
    scheduler.advance_to(3000)
    assert first.messages[-1] == on_completed(240)
    told = [(record.time, str(record.value)[:6]) for record in first.messages]
    assert [(record.time - 800, str(record.value)[:6]) for record in second.messages] == told


@each_operator
def test_an_error_of_the_source_is_passed_on(name: str) -> None:
    """The source's error is the last that is told, and nothing follows it."""
    scheduler = TestScheduler()
    source = scheduler.create_hot_observable(
        on_next(210, EVENTS[0]), on_error(220, "broken"), on_next(230, EVENTS[1])
    )
    told = scheduler.start(lambda: source.pipe(EVERY[name]))
    assert told.messages[-1] == on_error(220, "broken")
    assert source.subscriptions == [ReactiveTest.subscribe(200, 220)]


@each_operator
def test_who_leaves_is_told_nothing_more(name: str) -> None:
    """After a subscription is disposed of nothing is told, and the source is let go of."""
    scheduler = TestScheduler()
    source = scheduler.create_hot_observable(
        *(on_next(210 + 2 * number, event) for number, event in enumerate(EVENTS * 3))
    )
    told = scheduler.start(lambda: source.pipe(EVERY[name]), disposed=213)
    scheduler.advance_to(5000)
    assert all(record.time < 213 for record in told.messages)
    assert source.subscriptions == [ReactiveTest.subscribe(200, 213)]


@each_operator
def test_what_an_operator_makes_of_a_stream_is_a_stream(name: str) -> None:
    """A stream that is piped through an operator can be iterated."""
    assert isinstance(Stream.of(rx.of(*EVENTS)).pipe(EVERY[name]), Stream)


@each_operator
def test_an_empty_source_completes(name: str) -> None:
    """A source that ends without an event makes an end without an item."""
    assert list(rxflow.iterate(rx.empty().pipe(EVERY[name]))) == []


@each_operator
def test_virtual_time_needs_no_thread(name: str, started: list[str]) -> None:
    """On a scheduler of virtual time no thread starts."""
    records(EVERY[name], "-a-b-|", {"a": EVENTS[0], "b": EVENTS[1]})
    assert started == []


@each_that_waits
def test_an_error_of_the_observer_is_told_it_once(name: str) -> None:
    """What `on_next` raises goes to `on_error`, once, and the source is let go of."""
    scheduler = TestScheduler()
    source = scheduler.create_hot_observable(
        *(on_next(210 + number, event) for number, event in enumerate(EVENTS))
    )
    errors: list[Exception] = []
    items: list[Any] = []

    def fail(item: object) -> None:
        items.append(item)
        raise ValueError("not this one")

    def begin(*_: object) -> None:
        source.pipe(EVERY[name]).subscribe(fail, errors.append, scheduler=scheduler)

    scheduler.schedule_absolute(200, begin)
    scheduler.advance_to(300)
    assert [str(error) for error in errors] == ["not this one"]
    assert len(items) == 1
    assert source.subscriptions[0].unsubscribe < 300


@pytest.mark.parametrize(
    "operator",
    [
        conflate(lambda item: item.missing),
        conflate(unhashable),
        level_at_least(20),
        matching("x"),
        in_order(1),
    ],
    ids=["key", "key that is no key", "level", "message", "timestamp"],
)
def test_a_function_that_fails_ends_the_stream(operator: Operator) -> None:
    """What a function raises that was given, or an item that is no event, is told by `on_error`."""
    found = records(operator, "--a--b--|", {"a": "no event"})
    assert [(record.time, record.value.kind) for record in found] == [(BEGUN + 2, "E")]
    assert isinstance(found[0].value.exception, AttributeError | TypeError)


def test_items_may_come_while_one_is_told() -> None:
    """An observer whose `on_next` makes the source emit is told that too, and the end only once."""
    subject: rx.Subject[FlowRunLog] = rx.Subject()
    told: list[object] = []

    def answer(event: FlowRunLog) -> None:
        told.append(event.message)
        if event.message == "ping":
            subject.on_next(line(2, "pong"))
            subject.on_completed()

    scheduler = TestScheduler()
    subject.pipe(in_order(0)).subscribe(
        answer, told.append, lambda: told.append("over"), scheduler=scheduler
    )
    subject.on_next(line(1, "ping"))
    subject.on_next(line(3, "too late"))
    assert told == ["ping", "pong", "over"]


def test_subscribing_may_end_it_all() -> None:
    """A source that completes while it is subscribed to, on no scheduler, ends as it should."""

    def subscribe(
        observer: abc.ObserverBase[Any], _: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        observer.on_next(line(2))
        observer.on_next(line(1))
        observer.on_completed()
        return rx.disposable.Disposable()

    for name in WAITING:
        told = rx.create(subscribe).pipe(EVERY[name], ops.to_list()).run()
        assert told, name


# -- over watches -------------------------------------------------------------------------------


def test_a_watch_ends_with_its_run(world: World) -> None:
    """A watch that ends with its run ends as soon as that is told, and asks for nothing more."""
    run = world.server.add_run()
    world.at(30, lambda: world.server.set_state(run, "COMPLETED"))
    told = world.watch(rxflow.watch_flow_run(run, client=world.client).pipe(until_terminal()))
    assert told.values[-1].message == "Entered state Completed"
    assert told.ended is not None
    assert 30 <= told.ended < 35.5
    asked = len(world.server.requests)
    world.run(world.seconds + 600)
    assert len(world.server.requests) == asked


def test_watches_are_put_in_order(world: World) -> None:
    """The lines of two runs that are polled at different times come out as they were written."""
    runs = [world.server.add_run(), world.server.add_run()]
    for number in range(60):
        world.at(number / 10, partial(world.server.log, runs[number % 2], str(number)))
    both = rx.merge(*(rxflow.watch_flow_run(run, client=world.client).logs for run in runs))
    as_polled = world.subscribe(both)
    told = world.watch(both.pipe(in_order(lateness=12)), until=120)
    assert [event.message for event in told.values] == [str(number) for number in range(60)]
    assert not any(event.late for event in told.values)
    assert [event.message for event in as_polled.values] != [str(number) for number in range(60)]
    as_polled.dispose()


# -- arguments ----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [-1, math.nan, math.inf, timedelta(seconds=-1)])
@pytest.mark.parametrize("operator", [in_order, rate, quiet_for])
def test_what_is_no_time_is_refused(operator: Callable[[Any], Operator], value: Any) -> None:
    """A time that is negative, endless or not a number is refused at the call."""
    with pytest.raises(ValueError, match="is not a duration"):
        operator(value)


@pytest.mark.parametrize("operator", [rate, quiet_for])
def test_a_time_of_zero_is_refused_where_it_means_nothing(
    operator: Callable[[Any], Operator],
) -> None:
    """Neither windows nor silences last no time."""
    with pytest.raises(ValueError, match="above 0"):
        operator(0)


def test_a_time_may_be_a_timedelta() -> None:
    """Seconds as a number and as a `timedelta` mean the same."""
    assert records(rate(timedelta(seconds=5)), "-a----|") == records(rate(5), "-a----|")


@pytest.mark.parametrize("operator", [bounded, tail])
@pytest.mark.parametrize(
    ("number", "error"), [(0, ValueError), (-3, ValueError), (2.0, TypeError), (True, TypeError)]
)
def test_what_is_no_number_of_items_is_refused(
    operator: Callable[[Any], Operator], number: Any, error: type[Exception]
) -> None:
    """A number of items is whole and at least one."""
    with pytest.raises(error, match="n="):
        operator(number)


@pytest.mark.parametrize(
    ("overflow", "text"),
    [("block", "whoever blocks may hold a lock"), ("drop", "none of .*'drop_oldest'")],
)
def test_other_ways_to_overflow_are_refused(overflow: Any, text: str) -> None:
    """To block is refused with the reason, and a misspelling with what there is."""
    with pytest.raises(ValueError, match=text):
        bounded(3, overflow)


def test_a_malformed_run_id_is_refused() -> None:
    """The ids of runs to wait for are checked at the call, and may be spelled in capitals."""
    with pytest.raises(InvalidRunId):
        until_terminal("amber-fox")
    events = [entered("Completed", run=OTHER), entered("Completed", run=RUN), line()]
    assert list(rxflow.iterate(rx.of(*events).pipe(until_terminal(RUN.upper())))) == events[:2]


def test_a_quiet_alarm_without_a_server_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no server is configured that is said at the call, and not when a run falls silent."""
    monkeypatch.setenv("PREFECT_HOME", "/nonexistent")
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with pytest.raises(rxflow.ConfigurationError):
        quiet_for(5)
