"""Operators: each does what its diagram says, and all obey the rules of Rx."""

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

# The virtual time at which a `TestScheduler` subscribes.
SUBSCRIBED = 200


class Marbles(NamedTuple):
    """The operator of a diagram, and the items that its characters stand for.

    Attributes:
        operator: The operator.
        items: The items received, by character; a character that is missing stands for itself.
        emitted: The items emitted, where they are other ones.
    """

    operator: Operator
    items: Mapping[str | float, Any] = {}
    emitted: Mapping[str | float, Any] = {}


def rate_of_window(window: int, count: int) -> Rate:
    """Return the rate of one of the windows of five seconds."""
    since = TestScheduler.to_datetime(SUBSCRIBED) + timedelta(seconds=5 * window)
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
        emitted={number: tuple("abcd"[max(0, number - 3) : number]) for number in range(1, 5)},
    ),
}


def diagram_of(name: str) -> tuple[str, str]:
    """Return the input and the output in the docstring of an operator."""
    text = str(getattr(operators, name).__doc__)
    found = re.search(r"in: +(\S+)\n.*\n +out: +(\S+)", text)
    assert found, name
    return found[1], found[2]


def records(operator: Operator, marbles: str, items: Mapping[str | float, Any] = {}) -> list[Any]:
    """Return what an operator emits, in virtual time."""
    with marbles_testing() as (start, cold, _, _):
        return start(cold(marbles, dict(items), None).pipe(operator))


def expected(marbles: str, items: Mapping[str | float, Any] = {}) -> list[Any]:
    """Return the records of a diagram."""
    with marbles_testing() as (_, _, _, exp):
        return exp(marbles, dict(items), None)


# -- diagrams -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DIAGRAMS)
def test_an_operator_does_what_its_diagram_says(name: str) -> None:
    """The items of the diagram in the docstring are emitted at its times."""
    received, emitted = diagram_of(name)
    operator, items, others = DIAGRAMS[name]
    assert records(operator, received, items) == expected(emitted, others or items)


def test_rate_does_what_its_diagram_says() -> None:
    """Each window of the diagram is emitted at its end, with its beginning and its count."""
    received, emitted = diagram_of("rate")
    assert emitted == "-----2----0----1-(1,|)"
    windows = enumerate([(5, 2), (10, 0), (15, 1), (17, 1)])
    rates = [
        on_next(SUBSCRIBED + end, rate_of_window(window, count)) for window, (end, count) in windows
    ]
    assert records(rate(5), received) == [*rates, on_completed(SUBSCRIBED + 17)]


@pytest.mark.parametrize(
    ("operator", "received", "emitted"),
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
def test_items_held_are_emitted_at_the_end(operator: Operator, received: str, emitted: str) -> None:
    """Items that are held are emitted at completion and before an error."""
    found = records(operator, received)
    assert found == expected(emitted, {1: ("a",)})


def test_events_held_are_emitted_in_order_at_the_end() -> None:
    """At completion and before an error, the events held are emitted in order."""
    lines: dict[str | float, Any] = {second: line(second) for second in range(10)}
    assert records(in_order(9), "-3-1-2-|", lines) == expected("-------(1,2,3,|)", lines)
    assert records(in_order(9), "-3-1-2-#", lines) == expected("-------(1,2,3,#)", lines)


def test_an_error_ends_the_last_window() -> None:
    """The count of the last window is emitted before the error."""
    found = records(rate(5), "-a-b-c-#")
    assert [record.value.value for record in found[:-1]] == [
        rate_of_window(0, 2),
        rate_of_window(1, 1),
    ]
    assert found[-1].value.kind == "E"


def test_an_overflow_follows_the_items_held() -> None:
    """The items held are emitted before the `Overflow`; the source is disposed of at once."""
    scheduler = TestScheduler()
    source = scheduler.create_hot_observable(*(on_next(210, item) for item in "abc"))
    records_emitted: list[Any] = scheduler.start(lambda: source.pipe(bounded(2))).messages
    assert [record.value.kind for record in records_emitted] == ["N", "N", "E"]
    assert isinstance(records_emitted[-1].value.exception, rxflow.Overflow)
    assert source.subscriptions == [ReactiveTest.subscribe(200, 210)]


def unhashable(item: object) -> Any:
    """Return an object that cannot be a key."""
    return [item]


# -- the rules of Rx ----------------------------------------------------------------------------

EVENTS = [entered("Running", 1), line(1, task=TASK), line(2, level=40)]

OPERATORS: dict[str, Operator] = {
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
WAITING_OPERATORS = ["conflate", "bounded", "in_order", "rate"]

each_operator = pytest.mark.parametrize("name", OPERATORS)
each_waiting_operator = pytest.mark.parametrize("name", WAITING_OPERATORS)


def test_every_operator_is_tested() -> None:
    """The tests below cover all operators."""
    assert set(OPERATORS) == set(operators.__all__)


@each_operator
def test_subscriptions_are_independent(name: str) -> None:
    """The source is not subscribed to early, and each subscription emits the same."""
    scheduler = TestScheduler()
    events = [on_next(10 * number, event) for number, event in enumerate(EVENTS, 1)]
    source = scheduler.create_cold_observable(*events, on_completed(40))
    result = source.pipe(OPERATORS[name])
    assert source.subscriptions == []
    first, second = scheduler.create_observer(), scheduler.create_observer()
    for begin, observer in ((200, first), (1000, second)):
        scheduler.schedule_absolute(
            begin, lambda *_, observer=observer: result.subscribe(observer, scheduler=scheduler)
        )
    scheduler.advance_to(3000)
    assert first.messages[-1] == on_completed(240)
    emitted = [(record.time, str(record.value)[:6]) for record in first.messages]
    assert [(record.time - 800, str(record.value)[:6]) for record in second.messages] == emitted


@each_operator
def test_an_error_of_the_source_is_passed_on(name: str) -> None:
    """The error of the source is emitted last, and nothing follows it."""
    scheduler = TestScheduler()
    source = scheduler.create_hot_observable(
        on_next(210, EVENTS[0]), on_error(220, "broken"), on_next(230, EVENTS[1])
    )
    recording = scheduler.start(lambda: source.pipe(OPERATORS[name]))
    assert recording.messages[-1] == on_error(220, "broken")
    assert source.subscriptions == [ReactiveTest.subscribe(200, 220)]


@each_operator
def test_after_disposal_nothing_is_emitted(name: str) -> None:
    """After disposal no item is emitted, and the source is disposed of."""
    scheduler = TestScheduler()
    source = scheduler.create_hot_observable(
        *(on_next(210 + 2 * number, event) for number, event in enumerate(EVENTS * 3))
    )
    recording = scheduler.start(lambda: source.pipe(OPERATORS[name]), disposed=213)
    scheduler.advance_to(5000)
    assert all(record.time < 213 for record in recording.messages)
    assert source.subscriptions == [ReactiveTest.subscribe(200, 213)]


@each_operator
def test_an_operator_turns_a_stream_into_a_stream(name: str) -> None:
    """A stream that is piped through an operator can be iterated."""
    assert isinstance(Stream.of(rx.of(*EVENTS)).pipe(OPERATORS[name]), Stream)


@each_operator
def test_an_empty_source_completes(name: str) -> None:
    """A source that completes without an event yields no item."""
    assert list(rxflow.iterate(rx.empty().pipe(OPERATORS[name]))) == []


@each_operator
def test_virtual_time_needs_no_thread(name: str, started: list[str]) -> None:
    """On a scheduler of virtual time no thread starts."""
    records(OPERATORS[name], "-a-b-|", {"a": EVENTS[0], "b": EVENTS[1]})
    assert started == []


@each_waiting_operator
def test_an_error_of_the_observer_is_emitted_once(name: str) -> None:
    """An error raised by `on_next` goes to `on_error`, once, and the source is disposed of."""
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
        source.pipe(OPERATORS[name]).subscribe(fail, errors.append, scheduler=scheduler)

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
    ids=["key", "unhashable key", "level", "message", "timestamp"],
)
def test_a_function_that_fails_ends_the_stream(operator: Operator) -> None:
    """An error of a given function, or an item that is not an event, goes to `on_error`."""
    found = records(operator, "--a--b--|", {"a": "no event"})
    assert [(record.time, record.value.kind) for record in found] == [(SUBSCRIBED + 2, "E")]
    assert isinstance(found[0].value.exception, AttributeError | TypeError)


def test_items_may_arrive_while_one_is_emitted() -> None:
    """An observer that makes the source emit receives that item too, and one end."""
    subject: rx.Subject[FlowRunLog] = rx.Subject()
    emitted: list[object] = []

    def respond(event: FlowRunLog) -> None:
        emitted.append(event.message)
        if event.message == "ping":
            subject.on_next(line(2, "pong"))
            subject.on_completed()

    scheduler = TestScheduler()
    subject.pipe(in_order(0)).subscribe(
        respond, emitted.append, lambda: emitted.append("over"), scheduler=scheduler
    )
    subject.on_next(line(1, "ping"))
    subject.on_next(line(3, "too late"))
    assert emitted == ["ping", "pong", "over"]


def test_a_source_may_complete_while_subscribing() -> None:
    """A source that completes while it is subscribed to, on no scheduler, completes the result."""

    def subscribe(
        observer: abc.ObserverBase[Any], _: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        observer.on_next(line(2))
        observer.on_next(line(1))
        observer.on_completed()
        return rx.disposable.Disposable()

    for name in WAITING_OPERATORS:
        emitted = rx.create(subscribe).pipe(OPERATORS[name], ops.to_list()).run()
        assert emitted, name


# -- over watches -------------------------------------------------------------------------------


def test_a_watch_ends_with_its_run(world: World) -> None:
    """`until_terminal` ends a watch with the run's last state, and no request follows."""
    run = world.server.add_run()
    world.at(30, lambda: world.server.set_state(run, "COMPLETED"))
    recording = world.watch(rxflow.watch_flow_run(run, client=world.client).pipe(until_terminal()))
    assert recording.values[-1].message == "Entered state Completed"
    assert recording.ended is not None
    assert 30 <= recording.ended < 35.5
    sent = len(world.server.requests)
    world.run(world.seconds + 600)
    assert len(world.server.requests) == sent


def test_watches_are_put_in_order(world: World) -> None:
    """The lines of two runs that are polled at different times are emitted in order of writing."""
    runs = [world.server.add_run(), world.server.add_run()]
    for number in range(60):
        world.at(number / 10, partial(world.server.log, runs[number % 2], str(number)))
    both = rx.merge(*(rxflow.watch_flow_run(run, client=world.client).logs for run in runs))
    as_polled = world.subscribe(both)
    recording = world.watch(both.pipe(in_order(lateness=12)), until=120)
    assert [event.message for event in recording.values] == [str(number) for number in range(60)]
    assert not any(event.late for event in recording.values)
    assert [event.message for event in as_polled.values] != [str(number) for number in range(60)]
    as_polled.dispose()


# -- arguments ----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [-1, math.nan, math.inf, timedelta(seconds=-1)])
@pytest.mark.parametrize("operator", [in_order, rate, quiet_for])
def test_an_unusable_duration_is_rejected(operator: Callable[[Any], Operator], value: Any) -> None:
    """A duration that is negative, infinite or not a number is rejected at the call."""
    with pytest.raises(ValueError, match="is not a duration"):
        operator(value)


@pytest.mark.parametrize("operator", [rate, quiet_for])
def test_windows_and_silences_have_a_duration(
    operator: Callable[[Any], Operator],
) -> None:
    """A window or a silence of no duration is rejected."""
    with pytest.raises(ValueError, match="above 0"):
        operator(0)


def test_a_duration_may_be_a_timedelta() -> None:
    """Seconds as a number and as a `timedelta` mean the same."""
    assert records(rate(timedelta(seconds=5)), "-a----|") == records(rate(5), "-a----|")


@pytest.mark.parametrize("operator", [bounded, tail])
@pytest.mark.parametrize(
    ("number", "error"), [(0, ValueError), (-3, ValueError), (2.0, TypeError), (True, TypeError)]
)
def test_an_unusable_number_of_items_is_rejected(
    operator: Callable[[Any], Operator], number: Any, error: type[Exception]
) -> None:
    """A number of items is whole and at least one."""
    with pytest.raises(error, match="n="):
        operator(number)


@pytest.mark.parametrize(
    ("overflow", "text"),
    [("block", "a blocked source may hold a lock"), ("drop", "none of .*'drop_oldest'")],
)
def test_an_unknown_overflow_policy_is_rejected(overflow: Any, text: str) -> None:
    """The error says why there is no blocking policy, and which policies there are."""
    with pytest.raises(ValueError, match=text):
        bounded(3, overflow)


def test_run_ids_are_validated() -> None:
    """The ids of runs to wait for are validated at the call, and may be in capitals."""
    with pytest.raises(InvalidRunId):
        until_terminal("amber-fox")
    events = [entered("Completed", run=OTHER), entered("Completed", run=RUN), line()]
    assert list(rxflow.iterate(rx.of(*events).pipe(until_terminal(RUN.upper())))) == events[:2]


def test_quiet_for_needs_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a configured server the call fails, not the first silence."""
    monkeypatch.setenv("PREFECT_HOME", "/nonexistent")
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with pytest.raises(rxflow.ConfigurationError):
        quiet_for(5)
