"""`RunNotices`: the texts of notices, and that none is repeated."""

from datetime import UTC, datetime

import pytest

from rxflow import FlowRun, Notice, NoticeCode, State
from rxflow._models.times import Now
from rxflow._protocol.failures import Failure, FailureKind
from rxflow._protocol.pages import MalformedRow
from rxflow._watching.run_notices import RunNotices

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
NOW = Now(5.0, NOON)
RUN = FlowRun(id="run", name="amber-fox", created=NOON, updated=NOON)


def test_malformed_row_is_reported_once() -> None:
    """Each malformed row is reported once, with its id and the reason."""
    notices = RunNotices("run")
    first, second = MalformedRow("a", "no name"), MalformedRow("b", "no time")
    assert notices.malformed([first], NOW) == [
        Notice(
            flow_run_id="run",
            code=NoticeCode.MALFORMED,
            message="A row cannot be read: no name",
            timestamp=NOON,
            row_id="a",
        )
    ]
    assert [notice.row_id for notice in notices.malformed([first, second], NOW)] == ["b"]


def test_late_start_is_reported_for_each_new_reason() -> None:
    """A late start is reported when its reason changes, and again after the run was in time."""
    notices = RunNotices("run")
    reasons = ["x", "x", "y", None, "y"]
    texts = [
        [notice.message for notice in notices.late_start(RUN, reason, NOW)] for reason in reasons
    ]
    late = "Flow run 'amber-fox' is late: "
    assert texts == [[late + "x"], [], [late + "y"], [], [late + "y"]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No good reply for 10 s. The watch keeps retrying"),
        ("HTTP 503", "No good reply for 10 s: HTTP 503. The watch keeps retrying"),
        ("HTTP 503.", "No good reply for 10 s: HTTP 503. The watch keeps retrying"),
        ("Is it up?", "No good reply for 10 s: Is it up? The watch keeps retrying"),
    ],
)
def test_degraded_notice_quotes_the_last_failure(text: str | None, message: str) -> None:
    """The notice of an outage is one sentence with the last failure, if there was one."""
    failure = None if text is None else Failure(kind=FailureKind.SERVER, text=text)
    assert RunNotices("run").degraded(10, failure, NOW).message == message


def test_each_reopening_has_a_notice_with_its_state() -> None:
    """The notice of a reopening names the state that the run entered."""
    states = [State(id=name, type="RUNNING", name=name, timestamp=NOON) for name in ("One", "Two")]
    notices = RunNotices("run").reopened(states, NOW)
    assert [notice.message for notice in notices] == [
        "The run was over and entered state One",
        "The run was over and entered state Two",
    ]


def test_malformed_rows_are_counted_until_they_are_read() -> None:
    """Each malformed row counts once, and no more after it was read."""
    notices = RunNotices("run")
    rows = [MalformedRow("a", "no name"), MalformedRow("b", "no time")]
    notices.receive_read(["a"])
    notices.malformed(rows, NOW)
    notices.malformed(rows, NOW)
    assert notices.unread_count == 2
    notices.receive_read(["b", "c"])
    assert notices.unread_count == 1
