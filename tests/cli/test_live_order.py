"""The order in which people see events: what is held back, and for how long."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_events import seen

import rxflow
from rxflow._models.times import Now
from rxflow.cli._live_order import HISTORY_PAUSE, MOST_PAUSE, Lateness, LiveOrder

BEGAN = datetime(2026, 1, 1, 12, tzinfo=UTC)
RUN = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"
FIRST_TIME = datetime.min.replace(tzinfo=UTC)


def order(history_from: datetime | None = None) -> LiveOrder:
    """An order that begins at noon, which is second 0."""
    return LiveOrder(Now(0.0, BEGAN), history_from)


def at(seconds: float) -> datetime:
    """A time after the beginning."""
    return BEGAN + timedelta(seconds=seconds)


def log(name: str, seconds: float, took: float = 2.0) -> rxflow.FlowRunLog:
    """A log line of some second, which took some time until it was stored."""
    return rxflow.FlowRunLog(
        flow_run_id=RUN,
        id=name,
        name="tests",
        timestamp=at(seconds),
        created=at(seconds + took),
        level=20,
        message=name,
    )


def change(name: str, seconds: float) -> rxflow.StateChange:
    """A change of the run's state."""
    state = rxflow.State(id=name, type="RUNNING", name=name, timestamp=at(seconds))
    return rxflow.StateChange(flow_run_id=RUN, id=name, state=state)


def closed(seconds: float = 0.0) -> rxflow.Closed:
    """The end of the run."""
    return rxflow.Closed(flow_run_id=RUN, timestamp=at(seconds))


def names(events: tuple[rxflow.FlowRunEvent, ...]) -> list[str]:
    """The ids of events; the kind of one that has none."""
    return [getattr(event, "id", event.kind) for event in events]


def test_a_state_waits_for_the_lines_before_it() -> None:
    """Lines are uploaded every two seconds, states at once; the state is shown after the lines."""
    held = order()
    assert held.receive(change("Running", 10.0), 10.1) == ()
    assert names(held.receive(log("one", 9.0), 11.5)) == ["one"]
    assert held.wake(12.4) == ()
    assert names(held.wake(12.6)) == ["Running"]


def test_an_event_that_is_old_enough_is_not_held() -> None:
    """A history is shown as it is read, at once."""
    held = order()
    assert names(held.receive(log("yesterday", -86_400), 0.1)) == ["yesterday"]
    assert held.due_in(0.1) is None


def test_an_event_of_a_clock_ahead_is_held_no_longer_than_another() -> None:
    """A writer whose clock is an hour ahead does not keep its lines from being shown."""
    held = order()
    assert held.receive(log("ahead", 3600.0), 1.0) == ()
    assert held.wake(3.0) == ()
    assert names(held.wake(3.6)) == ["ahead"]


def test_an_old_event_brings_along_those_before_it() -> None:
    """What sorts before an event that is shown is shown before it."""
    held = order()
    assert held.receive(change("new", 10.0), 10.0) == ()
    assert held.receive(log("older", 9.9), 10.1) == ()
    assert names(held.receive(log("oldest", 5.0), 10.2)) == ["oldest"]
    assert names(held.flush(10.3)) == ["older", "new"]


@pytest.mark.parametrize(
    "event",
    [
        rxflow.RunSeen(
            flow_run_id=RUN, run=rxflow.FlowRun(id=RUN, name="fox", created=BEGAN, updated=BEGAN)
        ),
        rxflow.Notice(
            flow_run_id=RUN,
            code=rxflow.NoticeCode.DEGRADED,
            message="No good reply",
            timestamp=BEGAN,
        ),
    ],
    ids=["run-seen", "notice"],
)
def test_the_watch_itself_is_not_held(event: rxflow.FlowRunEvent) -> None:
    """The run's title and a notice are shown at once, even while histories are read."""
    held = order(FIRST_TIME)
    held.receive(log("one", 0.0), 0.0)
    assert held.receive(event, 0.1) == (event,)


def test_the_end_of_a_run_follows_its_events() -> None:
    """Whatever its own time is, which is of the server's clock."""
    held = order()
    held.receive(change("Completed", 10.0), 10.1)
    assert held.receive(closed(-5.0), 10.2) == ()
    assert names(held.flush(10.2)) == ["Completed", "closed"]


def test_histories_of_several_runs_are_shown_in_order() -> None:
    """They are read one after another, and shown once no more comes for a moment."""
    held = order(FIRST_TIME)
    assert held.receive(log("one", -100.0), 0.1) == ()
    assert held.receive(log("three", -80.0), 0.2) == ()
    assert held.receive(log("two", -90.0), 0.3) == ()
    assert held.due_in(0.3) == pytest.approx(HISTORY_PAUSE)
    assert held.wake(0.5) == ()
    assert names(held.wake(0.3 + HISTORY_PAUSE)) == ["one", "two", "three"]
    assert names(held.receive(log("four", -70.0), 2.0)) == ["four"]


@pytest.mark.parametrize(("first", "pause"), [(0.1, 1.0), (1.0, 2.0), (60.0, 5.0)])
def test_a_slow_server_is_given_more_time(first: float, pause: float) -> None:
    """The histories are awaited for as long as it takes to read them, by the first event."""
    held = order(FIRST_TIME)
    held.receive(log("one", -100.0), first)
    assert held.wake(first + pause - 0.01) == ()
    assert names(held.wake(first + pause)) == ["one"]


def test_histories_are_awaited_before_the_first_event() -> None:
    """However long the server takes to send one."""
    held = order(FIRST_TIME)
    assert held.wake(0.0) == held.wake(60.0) == ()
    assert held.receive(log("one", -100.0), 60.1) == ()


def test_a_run_that_is_known_is_awaited_longer() -> None:
    """While a subflow has no event yet, its parent's are held for some seconds more, not for ever.

    Otherwise times would jump back wherever a poll takes longer than usual.
    """
    held = LiveOrder(Now(0.0, BEGAN), FIRST_TIME, [RUN, "the subflow"])
    assert held.receive(log("one", -60), 0.1) == ()
    assert held.due_in(0.1) == MOST_PAUSE
    assert held.wake(0.1 + HISTORY_PAUSE) == ()
    assert names(held.wake(0.1 + MOST_PAUSE)) == ["one"]


def test_a_run_that_has_come_is_awaited_no_longer() -> None:
    """From the first event of the last run on, the pause is the usual one."""
    held = LiveOrder(Now(0.0, BEGAN), FIRST_TIME, ["the subflow"])
    assert held.receive(log("two", -60), 0.1) == ()
    first = seen(run="the subflow")
    assert held.receive(first, 1.5) == (first,)
    assert held.receive(log("one", -70), 1.5) == ()
    assert names(held.wake(1.5 + HISTORY_PAUSE)) == ["one", "two"]


def test_a_history_before_the_first_subflow_is_not_held() -> None:
    """Only from the time on at which another run may have events are they held."""
    held = order(at(-50.0))
    assert names(held.receive(log("before", -60.0), 0.1)) == ["before"]
    assert held.receive(log("after", -40.0), 0.1) == ()


def test_a_wake_is_due_when_the_first_event_is() -> None:
    """Which need not be the one that arrived first."""
    held = order()
    assert held.due_in(0.0) is None
    held.receive(change("later", 2.0), 2.0)
    assert held.due_in(2.0) == pytest.approx(3.0)
    held.receive(change("earlier", 1.0), 2.0)
    assert held.due_in(2.0) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("took", "seconds"),
    [([], 3.0), ([0.0], 0.5), ([0.2, 1.9, 0.1], 2.4), ([60.0], 5.0), ([-3.0], 0.5)],
    ids=["none", "at once", "longest", "most", "clock ahead"],
)
def test_the_lateness_is_that_of_recent_lines(took: list[float], seconds: float) -> None:
    """The longest time that a line took, and a poll; within limits."""
    lateness = Lateness()
    for number, each in enumerate(took):
        lateness.receive(log(str(number), float(number), each))
    assert lateness.seconds == pytest.approx(seconds)


def test_the_lateness_forgets_old_lines() -> None:
    """After many quick lines a slow one does not count any more."""
    lateness = Lateness()
    lateness.receive(log("slow", 0.0, 4.0))
    for number in range(199):
        lateness.receive(log(str(number), 1.0, 0.1))
    assert lateness.seconds == pytest.approx(4.5)
    lateness.receive(log("last", 1.0, 0.1))
    assert lateness.seconds == pytest.approx(0.6)


@given(st.lists(st.tuples(st.floats(-60, 60), st.floats(0, 2)), max_size=40), st.booleans())
def test_every_event_is_emitted_once(moments: list[tuple[float, float]], has_history: bool) -> None:
    """Whatever the times are, nothing is lost, repeated or left."""
    held = order(FIRST_TIME if has_history else None)
    emitted: list[str] = []
    mono = 0.0
    for number, (seconds, pause) in enumerate(moments):
        mono += pause
        emitted += names(held.wake(mono))
        emitted += names(held.receive(change(str(number), seconds), mono))
    emitted += names(held.flush(mono))
    assert sorted(emitted, key=int) == [str(number) for number in range(len(moments))]
    assert held.due_in(mono) is None


@given(st.lists(st.floats(0, 2.9), max_size=40))
def test_events_that_are_late_by_less_than_expected_are_in_order(lags: list[float]) -> None:
    """Ten events a second that arrive up to three seconds later are shown in their order."""
    held = order()
    arrivals = sorted((number / 10 + lag, number) for number, lag in enumerate(lags))
    emitted: list[str] = []
    for mono, number in arrivals:
        emitted += names(held.wake(mono))
        emitted += names(held.receive(change(str(number), number / 10), mono))
    emitted += names(held.flush(100.0))
    assert emitted == [str(number) for number in range(len(lags))]
