"""What events say of their runs: when all are over, and which have fallen silent."""

from collections.abc import Iterable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from sample_events import OTHER, RUN, at, changed, closed, entered, line, notice, row, second, seen

from rxflow import FlowRunEvent, NoticeCode, Quiet
from rxflow._operators.run_ends import RunEnds
from rxflow._operators.silence import SilenceDetector

NAMES = ["Pending", "Running", "Paused", "Completed", "Failed", "Crashed", "Cancelled"]
OVER = {"Completed", "Failed", "Crashed", "Cancelled"}


def told(events: Iterable[object], expected: Iterable[str] = ()) -> list[object]:
    """The events up to the one that ends it."""
    endings, passed = RunEnds(expected), list[object]()
    for event in events:
        passed.append(event)
        if not endings.goes_on(event):
            break
    return passed


# -- all over -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "last",
    [entered("Failed", 2), changed("Crashed", 2), seen("Completed", 2), closed(2)],
    ids=["state", "row", "first row", "end of the watch"],
)
def test_a_run_ends_with_what_says_so(last: FlowRunEvent) -> None:
    """The first event that says that the run is over is the last, whatever its kind."""
    events = [entered("Running", 1), line(1), last]
    assert told([*events, line(3), closed(4)]) == events


@given(st.lists(st.tuples(st.sampled_from([RUN, OTHER]), st.sampled_from(NAMES))))
def test_all_runs_that_were_seen_have_to_be_over(steps: list[tuple[str, str]]) -> None:
    """It ends where the last state of each run that was seen so far is terminal, and not before."""
    events = [entered(name, number, run=run) for number, (run, name) in enumerate(steps)]
    latest, length = dict[str, str](), 0
    for run, name in steps:
        latest[run] = name
        length += 1
        if set(latest.values()) <= OVER:
            break
    assert told(events) == events[:length]


def test_runs_that_were_named_are_waited_for() -> None:
    """With ids, a run that is over first does not end it, and one without never counts."""
    third = "00000000-0000-4000-8000-000000000000"
    events = [
        entered("Completed", 1),
        entered("Running", 2, run=third),
        line(2, run=OTHER),
        entered("Failed", 3, run=OTHER),
    ]
    assert told([*events, line(4)], [RUN, OTHER]) == events


def test_an_older_state_opens_nothing() -> None:
    """A state that is told after a newer one does not make a run that is over one that is not."""
    events = [
        line(0, run=OTHER),
        entered("Completed", 9),
        entered("Running", 1),
        entered("Completed", 9, run=OTHER),
    ]
    assert told([*events, line(9)]) == events


def test_what_is_no_event_is_passed_on() -> None:
    """Items of other kinds end nothing, before and after the first event."""
    events = ["item", line(1), "item", entered("Completed", 2)]
    assert told([*events, "item"]) == events


# -- silence ------------------------------------------------------------------------------------


def silent_after(silence: SilenceDetector, now: float) -> list[str]:
    """The runs that are due at a second, if it is asked then."""
    return list(silence.take_due(at(now)))


def heard(*events: tuple[float, FlowRunEvent]) -> SilenceDetector:
    """What is known after events, of silences of ten seconds."""
    silence = SilenceDetector(10)
    for seconds, event in events:
        silence.receive(event, at(seconds))
    return silence


def test_nothing_is_due_before_a_run_is_seen() -> None:
    """Without a run there is no silence."""
    assert SilenceDetector(10).due_in(at(99)) is None
    assert silent_after(SilenceDetector(10), 99) == []


def test_each_run_is_silent_by_itself() -> None:
    """A run is due ten seconds after its own last event, whatever others say meanwhile."""
    silence = heard((0, seen()), (1, seen(run=OTHER)), (9, line(run=OTHER)))
    assert silence.due_in(at(9)) == 1
    assert silent_after(silence, 9.9) == []
    assert silent_after(silence, 10) == [RUN]
    assert silence.due_in(at(10)) == 9
    assert silent_after(silence, 19) == [OTHER]
    assert silence.due_in(at(19)) is None


def test_a_silent_run_is_told_once() -> None:
    """After a look at a run that is not over it is told, and not again before an event came."""
    silence = heard((0, seen()), (3, entered("Running", 3)))
    assert silent_after(silence, 13) == [RUN]
    quiet = silence.judge(row("Running", 3), at(14))
    assert quiet == Quiet(
        flow_run_id=RUN, since=second(3), run=row("Running", 3), timestamp=second(14)
    )
    assert silence.due_in(at(14)) is None
    silence.receive(line(20), at(20))
    assert silent_after(silence, 30) == [RUN]
    assert silence.judge(row("Running", 3), at(30)) is not None


def test_a_run_that_is_over_is_not_told() -> None:
    """A look that finds the run over tells nothing, and nothing is due any more."""
    silence = heard((0, line()))
    assert silent_after(silence, 10) == [RUN]
    assert silence.judge(row("Completed", 9), at(10)) is None
    assert silence.due_in(at(10)) is None


def test_a_state_that_is_news_is_no_silence() -> None:
    """If the row is in another state than was heard of, the time is counted anew, once."""
    silence = heard((0, seen()), (0, entered("Pending", 0)))
    assert silent_after(silence, 10) == [RUN]
    assert silence.judge(row("Running", 9), at(11)) is None
    assert silence.due_in(at(11)) == 10
    assert silent_after(silence, 21) == [RUN]
    quiet = silence.judge(row("Running", 9), at(21))
    assert quiet is not None
    assert quiet.since == second(0)


def test_an_event_during_a_look_makes_it_void() -> None:
    """A look that an event overtook tells nothing."""
    silence = heard((0, seen()))
    assert silent_after(silence, 10) == [RUN]
    silence.receive(line(11), at(11))
    assert silence.judge(row("Running"), at(12)) is None
    assert silence.due_in(at(12)) == 9


@pytest.mark.parametrize(
    "last", [entered("Completed", 1), changed("Failed", 1), closed(1)], ids=["state", "row", "end"]
)
def test_a_run_that_said_it_is_over_may_be_silent(last: FlowRunEvent) -> None:
    """Once it was told that the run is over nothing is due, until it is opened again."""
    silence = heard((0, seen()), (1, last))
    assert silence.due_in(at(1)) is None
    if not isinstance(last, type(closed())):
        silence.receive(line(2), at(2))
        assert silence.due_in(at(2)) is None
    silence.receive(entered("Running", 3), at(3))
    assert silence.due_in(at(3)) == 10


def test_no_time_is_counted_in_an_outage() -> None:
    """From the notice of an outage to that of its end nothing is due; then time is counted anew."""
    silence = heard((0, seen()), (5, notice(NoticeCode.DEGRADED)))
    assert silence.due_in(at(5)) is None
    assert silent_after(silence, 99) == []
    silence.receive(notice(NoticeCode.RECOVERED), at(100))
    assert silence.due_in(at(100)) == 10
    assert silent_after(silence, 110) == [RUN]
    quiet = silence.judge(row("Running"), at(110))
    assert quiet is not None
    assert quiet.since == second(0)


def test_an_outage_makes_a_look_void() -> None:
    """What a look finds counts no more once there is word of an outage."""
    silence = heard((0, seen()))
    assert silent_after(silence, 10) == [RUN]
    silence.receive(notice(NoticeCode.DEGRADED), at(11))
    assert silence.judge(row("Running"), at(12)) is None


def test_the_end_of_an_outage_does_not_tell_again() -> None:
    """A silence that was told is not told again since an outage came and went."""
    silence = heard((0, seen()))
    assert silent_after(silence, 10) == [RUN]
    assert silence.judge(row("Running"), at(10)) is not None
    silence.receive(notice(NoticeCode.DEGRADED), at(20))
    silence.receive(notice(NoticeCode.RECOVERED), at(30))
    assert silence.due_in(at(30)) is None


def test_an_event_ends_an_outage_too() -> None:
    """Who hears of the run again need not be told that the outage is over."""
    silence = heard((0, notice(NoticeCode.DEGRADED)), (5, line(5)))
    assert silence.due_in(at(5)) == 10


def test_other_notices_are_no_sign_of_life() -> None:
    """What the watch says of a run does not break its silence."""
    silence = heard((0, seen()), (8, notice(NoticeCode.LATE_START)))
    assert silent_after(silence, 10) == [RUN]


def test_a_look_that_failed_is_tried_again() -> None:
    """If the row could not be read, it is due again after as long a time."""
    silence = heard((0, seen()))
    assert silent_after(silence, 10) == [RUN]
    silence.retry(RUN, at(12))
    assert silence.due_in(at(12)) == 10
    silence.forget(RUN)
    assert silence.due_in(at(12)) is None


def test_silence_reads_like_an_event() -> None:
    """It has a level and a message, which says for how long, and in which state the run is."""
    quiet = Quiet(flow_run_id=RUN, since=second(0), run=row("Running"), timestamp=second(75))
    assert quiet.level == 30
    assert quiet.message == "No event of flow run 'amber-fox' for 75 s; it is in state Running"
    assert replace(quiet, run=row()).message.endswith("it has no state")
    assert msgspec.json.decode(msgspec.json.encode(quiet), type=Quiet) == quiet
    assert b'"kind":"quiet"' in msgspec.json.encode(quiet)
