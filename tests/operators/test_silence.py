"""Which runs of a stream have fallen silent."""

import msgspec
import pytest
from msgspec.structs import replace
from sample_events import (
    OTHER,
    RUN,
    all_closed,
    at,
    changed,
    closed,
    entered,
    line,
    notice,
    row,
    second,
    seen,
)

from rxflow import FlowRunEvent, NoticeCode, Quiet
from rxflow._operators.silence import SilenceDetector


def checks_at(detector: SilenceDetector, now: float) -> list[str]:
    """Return the runs whose rows are to be read at a second."""
    return list(detector.next_row_checks(at(now)))


def detector_after(*events: tuple[float, FlowRunEvent]) -> SilenceDetector:
    """Return a detector of silences of ten seconds, after these events."""
    detector = SilenceDetector(10)
    for seconds, event in events:
        detector.receive(event, at(seconds))
    return detector


def test_without_a_run_no_check_is_due() -> None:
    """A detector that has seen no run is never due."""
    assert SilenceDetector(10).due_in(at(99)) is None
    assert checks_at(SilenceDetector(10), 99) == []


def test_each_run_has_its_own_silence() -> None:
    """A run is due ten seconds after its own last event, whatever events others have."""
    detector = detector_after((0, seen()), (1, seen(run=OTHER)), (9, line(run=OTHER)))
    assert detector.due_in(at(9)) == 1
    assert checks_at(detector, 9.9) == []
    assert checks_at(detector, 10) == [RUN]
    assert detector.due_in(at(10)) == 9
    assert checks_at(detector, 19) == [OTHER]
    assert detector.due_in(at(19)) is None


def test_the_silence_of_a_run_may_begin_with_a_notice() -> None:
    """Of a run that has had a notice alone the time is counted from there."""
    detector = detector_after((3, notice(NoticeCode.MALFORMED)))
    assert detector.due_in(at(4)) == 9


def test_a_run_may_be_forgotten_twice() -> None:
    """As when it was deleted after it was over."""
    detector = detector_after((0, seen()), (1, closed(1)))
    detector.forget(RUN)
    assert detector.due_in(at(1)) is None


def test_a_silence_is_reported_once() -> None:
    """A silent run that is not over is reported, and not again before another event."""
    detector = detector_after((0, seen()), (3, entered("Running", 3)))
    assert checks_at(detector, 13) == [RUN]
    quiet = detector.receive_row(row("Running", 3), at(14))
    assert quiet == Quiet(
        flow_run_id=RUN, since=second(3), run=row("Running", 3), timestamp=second(14)
    )
    assert detector.due_in(at(14)) is None
    detector.receive(line(20), at(20))
    assert checks_at(detector, 30) == [RUN]
    assert detector.receive_row(row("Running", 3), at(30)) is not None


def test_a_run_that_is_over_is_not_reported() -> None:
    """A row in a terminal state is not reported, and no further check is due."""
    detector = detector_after((0, line()))
    assert checks_at(detector, 10) == [RUN]
    assert detector.receive_row(row("Completed", 9), at(10)) is None
    assert detector.due_in(at(10)) is None


def test_a_new_state_restarts_the_time_once() -> None:
    """If the row has another state than the stream reported, the time is counted anew, once."""
    detector = detector_after((0, seen()), (0, entered("Pending", 0)))
    assert checks_at(detector, 10) == [RUN]
    assert detector.receive_row(row("Running", 9), at(11)) is None
    assert detector.due_in(at(11)) == 10
    assert checks_at(detector, 21) == [RUN]
    quiet = detector.receive_row(row("Running", 9), at(21))
    assert quiet is not None
    assert quiet.since == second(0)


def test_an_event_during_a_check_cancels_it() -> None:
    """A row that is received after an event is not reported."""
    detector = detector_after((0, seen()))
    assert checks_at(detector, 10) == [RUN]
    detector.receive(line(11), at(11))
    assert detector.receive_row(row("Running"), at(12)) is None
    assert detector.due_in(at(12)) == 9


@pytest.mark.parametrize(
    "last", [entered("Completed", 1), changed("Failed", 1), closed(1)], ids=["state", "row", "end"]
)
def test_a_run_known_to_be_over_may_be_silent(last: FlowRunEvent) -> None:
    """After an event that reports the end no check is due until the run is opened again."""
    detector = detector_after((0, seen()), (1, last))
    assert detector.due_in(at(1)) is None
    if not isinstance(last, type(closed())):
        detector.receive(line(2), at(2))
        assert detector.due_in(at(2)) is None
    detector.receive(entered("Running", 3), at(3))
    assert detector.due_in(at(3)) == 10


def test_no_time_is_counted_in_an_outage() -> None:
    """From the notice of an outage to that of its end no check is due; then the time restarts."""
    detector = detector_after((0, seen()), (5, notice(NoticeCode.DEGRADED)))
    assert detector.due_in(at(5)) is None
    assert checks_at(detector, 99) == []
    detector.receive(notice(NoticeCode.RECOVERED), at(100))
    assert detector.due_in(at(100)) == 10
    assert checks_at(detector, 110) == [RUN]
    quiet = detector.receive_row(row("Running"), at(110))
    assert quiet is not None
    assert quiet.since == second(0)


def test_an_outage_of_a_watch_over_many_runs_is_one_of_each() -> None:
    """Its notices name no run; they are no run of their own, and hold for those that are seen."""
    detector = detector_after(
        (0, seen()), (0, seen(run=OTHER)), (5, notice(NoticeCode.DEGRADED, run=""))
    )
    assert checks_at(detector, 99) == []
    detector.receive(notice(NoticeCode.RECOVERED, run=""), at(100))
    assert sorted(checks_at(detector, 110)) == sorted([RUN, OTHER])
    detector.receive(all_closed(120), at(120))
    assert checks_at(detector, 999) == []


def test_an_outage_during_a_check_cancels_it() -> None:
    """A row that is received after the notice of an outage is not reported."""
    detector = detector_after((0, seen()))
    assert checks_at(detector, 10) == [RUN]
    detector.receive(notice(NoticeCode.DEGRADED), at(11))
    assert detector.receive_row(row("Running"), at(12)) is None


def test_an_outage_does_not_repeat_a_report() -> None:
    """A detector that was reported is not reported again after an outage."""
    detector = detector_after((0, seen()))
    assert checks_at(detector, 10) == [RUN]
    assert detector.receive_row(row("Running"), at(10)) is not None
    detector.receive(notice(NoticeCode.DEGRADED), at(20))
    detector.receive(notice(NoticeCode.RECOVERED), at(30))
    assert detector.due_in(at(30)) is None


def test_an_event_ends_an_outage_too() -> None:
    """An event of the run restarts the time even without a notice of recovery."""
    detector = detector_after((0, notice(NoticeCode.DEGRADED)), (5, line(5)))
    assert detector.due_in(at(5)) == 10


def test_other_notices_do_not_end_a_silence() -> None:
    """A notice about a late start does not restart the time."""
    detector = detector_after((0, seen()), (8, notice(NoticeCode.LATE_START)))
    assert checks_at(detector, 10) == [RUN]


def test_a_failed_check_is_retried() -> None:
    """If the row cannot be read, it is due again after another full period."""
    detector = detector_after((0, seen()))
    assert checks_at(detector, 10) == [RUN]
    detector.receive_failure(RUN, at(12))
    assert detector.due_in(at(12)) == 10
    detector.forget(RUN)
    assert detector.due_in(at(12)) is None


def test_a_failed_check_after_an_event_changes_nothing() -> None:
    """An event cancels a check, so a failure of it does not restart the time."""
    detector = detector_after((0, seen()))
    assert checks_at(detector, 10) == [RUN]
    detector.receive(line(11), at(11))
    detector.receive_failure(RUN, at(15))
    assert detector.due_in(at(15)) == 6


def test_quiet_has_a_level_and_a_message() -> None:
    """Its message has the duration of the detector and the state of the run."""
    quiet = Quiet(flow_run_id=RUN, since=second(0), run=row("Running"), timestamp=second(75))
    assert str(quiet) == f"2026-11-22 12:01:15.000+00:00 WARNING  {quiet.message}"
    assert quiet.kind == "quiet"
    assert quiet.level == 30
    assert quiet.message == "No event of flow run 'amber-fox' for 75 s; it is in state Running"
    assert str(quiet).endswith(f" WARNING  {quiet.message}")
    assert replace(quiet, run=row()).message.endswith("it has no state")
    assert msgspec.json.decode(msgspec.json.encode(quiet), type=Quiet) == quiet
    assert b'"kind":"quiet"' in msgspec.json.encode(quiet)
