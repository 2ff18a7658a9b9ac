"""`EventOrder`: the order within a tick, held and late events, and the view."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from rxflow import (
    Closed,
    FlowRun,
    FlowRunEvent,
    FlowRunLog,
    Notice,
    NoticeCode,
    RunChanged,
    RunSeen,
    Snapshot,
    State,
    StateChange,
    TaskRun,
    TaskRunStateChange,
    fold,
)
from rxflow._watching.event_order import DatedEvent, EventOrder, EventPages
from rxflow._watching.watch_spec import EventSource

RUN_ID = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
ALL = frozenset(EventSource)
STATES, LOGS, TASKS, NOTICES = EventSource


def second(seconds: float) -> datetime:
    """Return a time so many seconds after noon."""
    return NOON + timedelta(seconds=seconds)


# -- events -------------------------------------------------------------------------------------


def log(at: float, *, created: float | None = None, row: str = "") -> FlowRunLog:
    """Make a log row."""
    return FlowRunLog(
        flow_run_id=RUN_ID,
        id=row or f"log-{at}",
        timestamp=second(at),
        created=second(at if created is None else created),
        level=20,
        name="prefect.flow_runs",
        message="a line",
    )


def state(at: float, *, row: str = "") -> StateChange:
    """Make a state change."""
    new = State(id=row or f"state-{at}", type="RUNNING", name="Running", timestamp=second(at))
    return StateChange(flow_run_id=RUN_ID, id=new.id, state=new)


def task(at: float, *, row: str = "") -> TaskRunStateChange:
    """Make a task run's state change."""
    new = State(id=row or f"task-{at}", type="RUNNING", name="Running", timestamp=second(at))
    task_run = TaskRun(
        id="task-run",
        name="load-0",
        task_key="load",
        dynamic_key="0",
        created=NOON,
        updated=NOON,
        state=new,
        state_id=new.id,
    )
    return TaskRunStateChange(flow_run_id=RUN_ID, id=new.id, task_run=task_run, state=new)


def row(at: float) -> FlowRun:
    """Make the run's row, written at a second."""
    return FlowRun(id=RUN_ID, name=f"row-{at}", created=NOON, updated=second(at))


def changed(at: float) -> RunChanged:
    """Make a change of the row."""
    return RunChanged(flow_run_id=RUN_ID, run=row(at))


def notice(at: float) -> Notice:
    """Make a notice."""
    return Notice(
        flow_run_id=RUN_ID, code=NoticeCode.DEGRADED, message="no good reply", timestamp=second(at)
    )


SEEN = RunSeen(flow_run_id=RUN_ID, run=row(0))
CLOSED = Closed(flow_run_id=RUN_ID, timestamp=second(99))


def events(pages: EventPages) -> list[FlowRunEvent]:
    """Return the events of some pages, in order."""
    return [event for _, page in pages for event in page]


def arrange(
    order: EventOrder, *dated: DatedEvent, until: float | None = None
) -> list[tuple[FlowRunEvent, bool]]:
    """Arrange the events of a tick; return each as it was given, and whether it is late."""
    emitted = order.arrange(dated=dated, position=None if until is None else second(until))
    return [(replace(event, late=False), event.late) for event in events(emitted)]


def in_time(*given: FlowRunEvent) -> list[tuple[FlowRunEvent, bool]]:
    """Return what `arrange` returns for events that are not late."""
    return [(event, False) for event in given]


# -- order --------------------------------------------------------------------------------------

ORDERS: dict[str, list[DatedEvent]] = {
    "by timestamp": [log(1), state(2), task(3), log(4), changed(5)],
    "one timestamp, by creation": [
        log(1, created=2, row="c"),
        log(1, created=3, row="b"),
        log(1, created=4, row="a"),
    ],
    "one timestamp and creation, by id": [log(1, row="a"), state(1, row="b"), task(1, row="c")],
    "a state before the log row created after it": [state(1, row="z"), log(1, created=2, row="a")],
    "a log row created before the state": [log(1, created=0, row="z"), state(1, row="a")],
    "the row after its state": [state(1, row="ffffffff"), changed(1), log(2)],
    "the row after all states": [state(1), log(2), state(9), changed(3), log(10)],
    "rows after all states, by time": [state(9), changed(3), changed(4), task(9.5), changed(12)],
    "the row before what comes after the states": [state(1), log(2), changed(3), log(4)],
    "the row without a state": [log(2), changed(3), task(3), log(4)],
    "the timestamp outweighs the creation": [log(1, created=9), log(2, created=3)],
}


@pytest.mark.parametrize("dated", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("backwards", [False, True], ids=["as given", "backwards"])
def test_tick_is_sorted(dated: list[DatedEvent], backwards: bool) -> None:
    """Events are sorted by (timestamp, created, id), in whatever order they were found.

    Only a changed row follows all states, since the clock of the last state's writer may be ahead.
    """
    assert arrange(EventOrder(ALL), *(reversed(dated) if backwards else dated)) == in_time(*dated)


def test_first_and_last_enclose_dated_events() -> None:
    """`first` precedes all dated events and `last` follows them, both in the order given."""
    last: list[FlowRunEvent] = [notice(3), notice(1), CLOSED]
    emitted = EventOrder(ALL).arrange(first=[SEEN], dated=[log(200), state(-5)], last=last)
    assert events(emitted) == [SEEN, state(-5), log(200), *last]


def test_order_holds_within_a_tick_only() -> None:
    """An emitted event is never taken back, so a later tick may emit an earlier event."""
    order = EventOrder(ALL)
    assert arrange(order, log(5)) == in_time(log(5))
    assert arrange(order, log(7), log(3)) == [(log(3), True), (log(7), False)]


# -- pages --------------------------------------------------------------------------------------


def test_pages_are_cut_where_the_source_changes() -> None:
    """Each page is of one source and as long as the order allows, and none is empty."""
    pages = EventOrder(ALL).arrange(
        first=[SEEN],
        dated=[log(1), log(2), state(3), changed(4), task(5), task(6), log(7)],
        last=[notice(8), CLOSED],
    )
    assert pages == (
        (NOTICES, (SEEN,)),
        (LOGS, (log(1), log(2))),
        (STATES, (state(3), changed(4))),
        (TASKS, (task(5), task(6))),
        (LOGS, (log(7),)),
        (NOTICES, (notice(8), CLOSED)),
    )


def test_tick_without_events_has_no_pages() -> None:
    """A tick that found nothing emits no pages."""
    assert EventOrder(ALL).arrange() == ()
    assert EventOrder(ALL).arrange(position=NOON) == ()


OF_SOURCE = {STATES: [1, 2], LOGS: [3], TASKS: [4], NOTICES: [0, 5]}


@pytest.mark.parametrize(
    "sources",
    [{STATES}, {LOGS}, {TASKS}, {NOTICES}, {LOGS, NOTICES}, set()],
    ids=lambda sources: " and ".join(sorted(sources)) or "none",
)
def test_events_of_other_sources_are_not_emitted(sources: set[EventSource]) -> None:
    """A watch emits only events of its sources."""
    given = [SEEN, state(1), changed(2), log(3), task(4), CLOSED]
    pages = EventOrder(frozenset(sources)).arrange(
        first=[SEEN], dated=[state(1), changed(2), log(3), task(4)], last=[CLOSED]
    )
    assert events(pages) == [
        event
        for number, event in enumerate(given)
        if any(number in OF_SOURCE[source] for source in sources)
    ]
    assert {source for source, _ in pages} == sources


# -- holding back -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "held", [state(5), changed(5), task(5)], ids=lambda event: type(event).__name__
)
def test_events_from_position_on_are_held_back(held: DatedEvent) -> None:
    """While log rows are missing, only events dated before them are emitted."""
    order = EventOrder(ALL)
    assert arrange(order, held, log(1), log(2), until=3) == in_time(log(1), log(2))
    assert arrange(order, log(3), log(4), until=5) == in_time(log(3), log(4))
    assert arrange(order, log(4.5), log(6)) == in_time(log(4.5), held, log(6))


def test_held_row_follows_its_states() -> None:
    """A changed row that waits with a state follows it, and the states found since."""
    order = EventOrder(ALL)
    assert arrange(order, state(9), changed(5), log(1), until=3) == in_time(log(1))
    emitted = arrange(order, log(3), state(4), log(10))
    assert emitted == in_time(log(3), state(4), state(9), changed(5), log(10))


def test_row_waits_for_states_before_it() -> None:
    """A changed row waits for a state that led to it, whose writer's clock was ahead."""
    order = EventOrder(ALL)
    assert arrange(order, state(1), state(9), changed(2), log(3), until=5) == in_time(
        state(1), log(3)
    )
    assert arrange(order, log(6)) == in_time(log(6), state(9), changed(2))


def test_notify_releases_nothing() -> None:
    """A notice is emitted at once and alone; held events stay held, and are not late."""
    order = EventOrder(ALL)
    arrange(order, state(5), log(1), until=3)
    assert order.notify(notice(100), notice(101)) == ((NOTICES, (notice(100), notice(101))),)
    assert order.notify() == ()
    assert arrange(order, log(4), until=5) == in_time(log(4))
    assert arrange(order, log(6)) == in_time(state(5), log(6))


def test_notify_without_notices_source_emits_nothing() -> None:
    """A watch without the notices source emits no notice."""
    assert EventOrder(ALL - {NOTICES}).notify(notice(1)) == ()


def test_events_before_position_are_emitted() -> None:
    """A state waits no longer than for the log rows dated before it."""
    emitted = arrange(EventOrder(ALL), state(1), state(2.9), state(3), log(2), until=3)
    assert emitted == in_time(state(1), log(2), state(2.9))


def test_log_rows_are_never_held_back() -> None:
    """A log row is emitted in the tick that found it, whatever the position."""
    assert arrange(EventOrder(ALL), log(1), log(9), until=3) == in_time(log(1), log(9))


def test_held_event_is_emitted_and_folded_once() -> None:
    """A held event is folded into the view when it is emitted, and emitted once."""
    order = EventOrder(ALL)
    order.arrange(first=[SEEN], dated=[state(5)], position=second(3))
    assert order.view == Snapshot(run=SEEN.run)
    assert arrange(order) == in_time(state(5))
    assert arrange(order) == []
    assert order.view == fold(Snapshot(run=SEEN.run), state(5))


# -- log rows -----------------------------------------------------------------------------------


def logs_of(found: Sequence[DatedEvent]) -> tuple[FlowRunLog, ...]:
    """Return the log rows among some events, sorted."""
    return tuple(sorted((log for log in found if isinstance(log, FlowRunLog)), key=key))


@pytest.mark.parametrize("first", [5.0, 6.0], ids=["at the mark", "after it"])
def test_log_page_above_all_events_passes_whole(first: float) -> None:
    """A page of log rows above all events emitted is emitted as the same page object."""
    order = EventOrder(ALL)
    arrange(order, log(5, row="a"))
    page = (log(first, row="b"), log(7))
    (_, seen), (source, emitted), (_, last) = order.arrange(
        first=[SEEN], logs=page, last=[notice(8)]
    )
    assert (seen, last) == ((SEEN,), (notice(8),))
    assert source is LOGS
    assert emitted is page
    assert order.log_count == 3
    assert arrange(order, log(6.5)) == [(log(6.5), True)]


def test_log_rows_are_sorted_among_other_events() -> None:
    """Log rows found with other events, or below emitted ones, are sorted among them."""
    order = EventOrder(ALL)
    pages = order.arrange(dated=[state(2)], logs=(log(1), log(3)))
    assert pages == ((LOGS, (log(1),)), (STATES, (state(2),)), (LOGS, (log(3),)))
    late = replace(log(2.5), late=True)
    assert order.arrange(logs=(log(2.5), log(4))) == ((LOGS, (late, log(4))),)


def test_log_rows_without_logs_source_are_ignored() -> None:
    """A watch without the logs source neither emits nor counts log rows, nor compares with them."""
    order = EventOrder(ALL - {LOGS})
    assert order.arrange(logs=(log(5), log(6))) == ()
    assert order.log_count == 0
    assert arrange(order, state(1)) == in_time(state(1))


# -- late ---------------------------------------------------------------------------------------

LATE: dict[str, tuple[DatedEvent, DatedEvent, bool]] = {
    # emitted in an earlier tick, emitted now, whether the second is late
    "a log row below a log row": (log(5), log(3), True),
    "a log row below a state": (state(5), log(3), True),
    "a state below a log row": (log(5), state(3), True),
    "a task's state below a log row": (log(5), task(3), True),
    "a log row above a log row": (log(5), log(7), False),
    "the same time, a greater id": (log(5, row="a"), log(5, row="b"), False),
    "the same time, a smaller id": (log(5, row="b"), log(5, row="a"), True),
    "the same time, created before": (log(5, created=7, row="a"), log(5, created=6, row="b"), True),
    "the same time, created after": (log(5, created=6, row="b"), log(5, created=7, row="a"), False),
    "a row below a log row": (log(5), changed(3), False),
    "a log row below a row": (changed(5), log(3), False),
}


@pytest.mark.parametrize(("before", "now", "late"), LATE.values(), ids=LATE)
def test_event_below_earlier_tick_is_late(before: DatedEvent, now: DatedEvent, late: bool) -> None:
    """An event below one of an earlier tick is late; a changed row never is."""
    order = EventOrder(ALL)
    arrange(order, before)
    assert arrange(order, now) == [(now, late)]


@pytest.mark.parametrize(
    ("source", "before"),
    [(STATES, state(5)), (LOGS, log(5)), (TASKS, task(5))],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("together", [True, False], ids=["in one tick", "in two"])
def test_event_not_emitted_makes_none_late(
    source: EventSource, before: DatedEvent, together: bool
) -> None:
    """An event of another source makes no event late."""
    order = EventOrder(ALL - {source})
    now: list[DatedEvent] = [log(3), state(4)] if source is TASKS else [task(4)]
    if together:
        assert arrange(order, before, *now) == in_time(*now)
    else:
        assert arrange(order, before) == []
        assert arrange(order, *now) == in_time(*now)


def test_late_event_does_not_lower_the_mark() -> None:
    """An event above a late one, but below an earlier one, is late too."""
    order = EventOrder(ALL)
    arrange(order, log(5))
    arrange(order, log(1))
    assert arrange(order, log(3)) == [(log(3), True)]


def test_only_the_flag_of_a_late_event_changes() -> None:
    """A late event equals the given one but for its flag, and the given one is unchanged."""
    order, given = EventOrder(ALL), log(3)
    arrange(order, log(5))
    (emitted,) = events(order.arrange(dated=[given]))
    assert emitted == replace(given, late=True)
    assert given.late is False


# -- the view -----------------------------------------------------------------------------------


def test_view_is_fold_of_emitted_events() -> None:
    """Each emitted event is folded into the view."""
    order = EventOrder(ALL)
    assert order.view is None
    emitted = events(
        order.arrange(first=[SEEN], dated=[state(1), task(2), changed(3)], last=[CLOSED])
    )
    assert order.view == folded(emitted)


@pytest.mark.parametrize("source", [STATES, TASKS])
def test_events_of_other_sources_are_not_in_the_view(source: EventSource) -> None:
    """Events of other sources are not folded into the view."""
    order = EventOrder(ALL - {source})
    order.arrange(first=[SEEN], dated=[state(1) if source is STATES else task(1)])
    assert order.view == Snapshot(run=SEEN.run)


@pytest.mark.parametrize("sources", [ALL, ALL - {LOGS}], ids=["emitted", "not emitted"])
def test_log_rows_are_counted(sources: frozenset[EventSource]) -> None:
    """`log_count` counts the log rows emitted in all ticks, late ones included."""
    order = EventOrder(sources)
    arrange(order, log(5), state(6), log(7))
    arrange(order, log(1))
    assert order.log_count == (3 if LOGS in sources else 0)


# -- laws ---------------------------------------------------------------------------------------


def folded(emitted: Iterable[FlowRunEvent]) -> Snapshot | None:
    """Return the fold of some events."""
    start: Snapshot | None = None
    return reduce(fold, emitted, start)


def key(event: FlowRunEvent) -> tuple[datetime, datetime, str]:
    """Return what an event is sorted by."""
    match event:
        case FlowRunLog():
            return event.timestamp, event.created, event.id
        case StateChange() | TaskRunStateChange():
            return event.timestamp, event.timestamp, event.id
        case _:
            return event.timestamp, event.timestamp, ""


def assert_in_order(emitted: Sequence[FlowRunEvent]) -> None:
    """Check that a tick is sorted, except that each changed row follows all states."""
    others = [event for event in emitted if not isinstance(event, RunChanged)]
    assert [key(event) for event in others] == sorted(key(event) for event in others)
    for number, row in enumerate(emitted):
        if not isinstance(row, RunChanged):
            continue
        after = emitted[number + 1 :]
        assert not any(isinstance(event, StateChange) for event in after)
        assert all(key(event) >= key(row) for event in after)
        before = [event for event in emitted[:number] if not isinstance(event, RunChanged)]
        assert not before or isinstance(before[-1], StateChange) or key(before[-1]) <= key(row)


moments = st.integers(0, 9)
kinds = st.sampled_from(["log", "state", "task", "row"])
found = st.lists(st.tuples(kinds, moments, st.integers(0, 3)), max_size=6)
ticks = st.lists(st.tuples(found, st.none() | moments), max_size=8)
Found = list[tuple[str, int, int]]


def made(found: Found, tick: int) -> list[DatedEvent]:
    """Make the events that a tick found, with ids that are unique over all ticks."""
    dated: list[DatedEvent] = []
    for number, (kind, at, delay) in enumerate(found):
        name = f"{(7 * number + 3 * tick) % 11}-{tick}-{number}"
        match kind:
            case "log":
                dated.append(log(at, created=at + delay, row=name))
            case "state":
                dated.append(state(at, row=name))
            case "task":
                dated.append(task(at, row=name))
            case _:
                dated.append(RunChanged(flow_run_id=RUN_ID, run=replace(row(at), name=name)))
    return dated


@given(ticks=ticks)
def test_each_event_is_emitted_once(ticks: list[tuple[Found, int | None]]) -> None:
    """Whatever ticks find, each event was emitted exactly once when all rows are read."""
    order = EventOrder(ALL)
    given: list[DatedEvent] = []
    emitted: list[FlowRunEvent] = []
    for number, (found, until) in enumerate([*ticks, ([], None)]):
        dated = made(found, number)
        given += dated
        emitted += [event for event, _ in arrange(order, *dated, until=until)]
    assert sorted(map(repr, emitted)) == sorted(map(repr, given))
    assert order.log_count == sum(isinstance(event, FlowRunLog) for event in given)


@given(ticks=ticks)
def test_each_tick_is_sorted_and_flags_late_events(ticks: list[tuple[Found, int | None]]) -> None:
    """Each tick is sorted, holds back from its position on, and flags events below emitted ones."""
    order = EventOrder(ALL)
    top = (second(-1), second(-1), "")
    for number, (found, until) in enumerate(ticks):
        emitted = arrange(order, *made(found, number), until=until)
        assert_in_order([event for event, _ in emitted])
        for event, late in emitted:
            assert until is None or isinstance(event, FlowRunLog) or event.timestamp < second(until)
            if isinstance(event, RunChanged):
                assert not late
            else:
                assert late == (key(event) < top)
                top = max(top, key(event))


@given(ticks=ticks, sources=st.frozensets(st.sampled_from(EventSource)))
def test_log_page_is_emitted_like_single_rows(
    ticks: list[tuple[Found, int | None]], sources: frozenset[EventSource]
) -> None:
    """A page of log rows makes the same events, flags and counts as the rows one by one."""
    as_page, one_by_one = EventOrder(sources), EventOrder(sources)
    for number, (found, until) in enumerate(ticks):
        position = None if until is None else second(until)
        dated = made(found, number)
        others = [event for event in dated if not isinstance(event, FlowRunLog)]
        emitted = as_page.arrange(dated=others, logs=logs_of(dated), position=position)
        assert emitted == one_by_one.arrange(dated=dated, position=position)
        assert as_page.log_count == one_by_one.log_count


@given(ticks=ticks)
def test_view_is_fold_after_each_tick(ticks: list[tuple[Found, int | None]]) -> None:
    """After each tick the view is the fold of all events so far, and no page is empty."""
    order = EventOrder(ALL)
    so_far = events(order.arrange(first=[SEEN]))
    for number, (found, until) in enumerate(ticks):
        position = None if until is None else second(until)
        pages = order.arrange(dated=made(found, number), position=position)
        assert all(page for _, page in pages)
        so_far += events(pages)
        assert order.view == folded(so_far)
