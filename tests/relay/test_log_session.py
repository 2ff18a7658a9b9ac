"""What the pages of a log mean for a reader: events, the end, and silence."""

from typing import Any, cast

import pytest
from sample_events import RUN, at, closed, line

from rxflow import BrokerFailed, FlowRunEvent, NoticeCode, RelayLogLost
from rxflow._protocol.failures import Failure, FailureKind
from rxflow._watching.session import Done, Fetch, Wait
from rxflow.relay._broker import StoredPage
from rxflow.relay._log_channel import NEXT_PAGES, LogRead
from rxflow.relay._log_session import LOOK_SECONDS, LogSession
from rxflow.relay._pages import pages_of
from rxflow.relay._position import LogPosition
from rxflow.relay._reader_session import SILENT_SECONDS

CLOSED = LogPosition(9, 3, "abc", is_closed=True)


class Reading:
    """A session that is read, and what it has emitted.

    Attributes:
        events: The events, in order.
        positions: The position after each of them; a notice has that of the event before.
    """

    def __init__(self, after: LogPosition | None = None, *, keeps_pages: bool = False) -> None:
        self.session = LogSession(
            RUN, "default", after or LogPosition(), self._move, keeps_pages=keeps_pages
        )
        self.position = after or LogPosition()
        self.events: list[FlowRunEvent] = []
        self.positions: list[LogPosition] = []
        self.page_sizes: list[int] = []

    def _move(self, position: LogPosition) -> None:
        self.position = position

    def receive(self, read: LogRead, seconds: float = 0) -> None:
        """Pass what was read, and take all events, one page after the other."""
        assert self.session.next_command(at(seconds)) == Fetch(NEXT_PAGES, resumes=True)
        pages = self.session.receive(read.as_reply(), at(seconds))
        while pages:
            ((_, page),) = pages
            self.events += page
            self.positions += [self.position] * len(page)
            self.page_sizes.append(len(page))
            waits = self.session.next_command(at(seconds)) == Wait(0.0)
            assert waits == (self.session.due_in(at(seconds)) == 0.0)
            pages = self.session.wake(at(seconds))

    @property
    def done(self) -> Done | None:
        """How it ended."""
        return self.session.done

    @property
    def codes(self) -> list[NoticeCode]:
        """The notices so far."""
        return [cast("Any", event).code for event in self.events if event.kind == "notice"]


def log_of(*batches: list[Any], is_last: bool | None = True) -> tuple[StoredPage, ...]:
    """Return a log to which batches of events were appended; each page says whether it is last."""
    stored: list[StoredPage] = []
    number, position, page_id = 0, 0, ""
    for batch in batches:
        for page in pages_of(batch, first=number, previous_id=page_id):
            page_id = page.page_id
            is_end = False if is_last is True else is_last
            stored.append(StoredPage(position + 5, position, page, is_end))
            position += 5
        number += len(batch)
    if is_last is True:
        stored[-1] = stored[-1]._replace(is_last=True)
    return tuple(stored)


LINES: list[Any] = [line(number) for number in range(5)]


def test_events_are_emitted_one_by_one_each_with_its_position() -> None:
    """A reader that goes on after any of the positions gets the events after that one."""
    pages = log_of(LINES[:3], LINES[3:], [closed(9)])
    reading = Reading()
    reading.receive(LogRead(pages))
    assert reading.events == [*LINES, closed(9)]
    assert reading.done == Done()
    for number, position in enumerate(reading.positions[:-1], 1):
        rest = tuple(page for page in pages if page.position > position.position)
        resumed = Reading(LogPosition.parse("after", str(position)))
        resumed.receive(LogRead(rest))
        assert resumed.events == reading.events[number:]
        assert resumed.positions == reading.positions[number:]


def test_pages_are_emitted_as_they_were_stored() -> None:
    """For a consumer that handles pages, a page of the log is one."""
    reading = Reading(keeps_pages=True)
    reading.receive(LogRead(log_of(LINES[:3], LINES[3:], [closed(9)])))
    assert reading.page_sizes == [3, 2, 1]
    assert [position.number for position in reading.positions] == [3, 3, 3, 5, 5, 6]


@pytest.mark.parametrize("at_once", [True, False])
def test_a_closed_that_others_follow_is_not_emitted(at_once: bool) -> None:
    """It is of an earlier life of the run, whether what follows is read with it or after it."""
    pages = log_of(LINES[:2], [closed(3)], LINES[2:], [closed(9)])
    reading = Reading()
    for part in [pages] if at_once else [pages[:2], pages[2:]]:
        reading.receive(LogRead(part))
    assert reading.events == [*LINES, closed(9)]
    assert reading.done == Done()


def test_a_closed_of_which_it_is_not_known_whether_it_is_last_is_the_end() -> None:
    """A page that was stored a moment ago mostly is."""
    reading = Reading()
    reading.receive(LogRead(log_of(LINES, [closed(9)], is_last=None)))
    assert reading.events[-1] == closed(9)
    assert reading.done == Done()


def test_a_reader_that_begins_after_the_end_waits_for_a_look() -> None:
    """It ends without an event, or emits what is new after that time."""
    pages = log_of(LINES, [closed(9)])
    first = Reading()
    first.receive(LogRead(pages))
    assert first.position.is_closed
    again = Reading(first.position)
    again.receive(LogRead(is_relayed=True))
    assert not again.done
    again.receive(LogRead(is_relayed=True), LOOK_SECONDS)
    assert [again.done, again.events] == [Done(), []]

    later = log_of(LINES, [closed(9)], [line(10)])
    other = Reading(first.position)
    other.receive(LogRead(tuple(later[-1:])))
    assert isinstance(cast("Any", other.done).error, RelayLogLost)  # it is another log
    page = later[-1]
    same = page._replace(page=pages_of([line(10)], first=6, previous_id=first.position.page_id)[0])
    gone_on = Reading(first.position)
    gone_on.receive(LogRead((same,)))
    gone_on.receive(LogRead(is_relayed=True), LOOK_SECONDS + 60)
    assert gone_on.events == [line(10)]
    assert gone_on.done is None


def test_an_error_comes_after_the_events_before_it() -> None:
    """Of what was read, everything that is right is emitted."""
    pages = log_of(LINES[:3], LINES[3:])
    reading = Reading()
    reading.receive(LogRead((pages[0], pages[0])))
    assert reading.events == LINES[:3]
    assert isinstance(cast("Any", reading.done).error, RelayLogLost)
    refused = Reading()
    refused.receive(LogRead(error=BrokerFailed("no")))
    assert str(cast("Any", refused.done).error) == "no"


def test_silence_without_a_relay_is_a_notice() -> None:
    """It is said once until a relay is at work again, which is said as well."""
    reading = Reading()
    reading.receive(LogRead(log_of(LINES[:1])), 0)
    for seconds in (1.0, SILENT_SECONDS - 1, SILENT_SECONDS, SILENT_SECONDS + 5):
        reading.receive(LogRead(is_relayed=False), seconds)
    assert reading.codes == [NoticeCode.NOT_RELAYED]
    assert "For 10 s no relay has been at work in workspace 'default'" in reading.events[-1].message
    reading.receive(LogRead(is_relayed=True), 60)
    reading.receive(LogRead(is_relayed=True), 61)
    assert reading.codes == [NoticeCode.NOT_RELAYED, NoticeCode.RECOVERED]
    assert reading.position.number == 1


@pytest.mark.parametrize("is_relayed", [True, None])
def test_silence_of_a_relay_is_none(is_relayed: bool | None) -> None:
    """A run may be quiet for hours; and a reader that may not look says nothing."""
    reading = Reading()
    for seconds in range(0, 3600, 60):
        reading.receive(LogRead(is_relayed=is_relayed), seconds)
    assert reading.codes == []


def test_nothing_is_announced() -> None:
    """There is no push for a log."""
    session = Reading().session
    assert session.push_subscriptions(at(0)) == ()
    assert session.has_run(RUN)


def test_an_error_after_the_end_is_not_swallowed() -> None:
    """Though it comes so late that a run which did not go on would have ended the stream."""
    reading = Reading(CLOSED)
    error = BrokerFailed("gone")
    reading.receive(LogRead(error=error), LOOK_SECONDS + 1)
    assert reading.done == Done(error)


def test_the_time_to_find_that_a_run_went_on_begins_with_the_first_read() -> None:
    """However long it takes to reach the broker."""
    reading = Reading(CLOSED)
    reading.receive(LogRead(), LOOK_SECONDS + 1)
    assert reading.done is None
    reading.receive(LogRead(), 2 * LOOK_SECONDS + 1)
    assert reading.done == Done()


def test_a_system_without_threads_is_an_error() -> None:
    """It is one of rxflow's, with the reason."""
    session = Reading().session
    failure = Failure(kind=FailureKind.NETWORK, text="no thread")
    assert session.receive(failure, at(0)) == ()
    assert isinstance(session.done, Done)
    assert isinstance(session.done.error, BrokerFailed)
