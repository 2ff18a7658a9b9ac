"""`PollWakes`: announcements make polls due, and no more polls than a server can bear."""

from datetime import UTC, datetime

from rxflow._models.times import Now
from rxflow._protocol.push import AnnouncedChange
from rxflow._watching.poll_wakes import SECOND_LOOK, PollWakes

STATE, LINE = AnnouncedChange.STATE, AnnouncedChange.LOG_LINE


def at(seconds: float) -> Now:
    """Return a time."""
    return Now(seconds, datetime(2026, 11, 22, tzinfo=UTC))


def polled(wakes: PollWakes, began: float, ended: float) -> None:
    """Receive a whole poll."""
    wakes.begin_poll(at(began))
    wakes.end_poll(at(ended))


def test_without_announcements_nothing_changes() -> None:
    """A poll is due when it would be."""
    wakes = PollWakes()
    polled(wakes, 1.0, 1.1)
    assert wakes.next_due(6.0, at(1.1)) == 6.0
    assert not wakes.announced


def test_an_announcement_makes_a_poll_due_at_once() -> None:
    """It is due now, and not later than it would be."""
    wakes = PollWakes()
    polled(wakes, 1.0, 1.1)
    wakes.wake(STATE)
    assert wakes.next_due(6.0, at(3.0)) == 3.0
    assert wakes.next_due(2.0, at(3.0)) == 2.0


def test_polls_take_a_quarter_of_the_time_at_most() -> None:
    """However many announcements come, one poll is due after a rest."""
    wakes = PollWakes()
    wakes.wake(STATE)
    polled(wakes, 1.0, 2.0)
    for _ in range(100):
        wakes.wake(STATE)
    assert wakes.next_due(60.0, at(2.0)) == 5.0
    polled(wakes, 5.0, 5.001)
    wakes.wake(STATE)
    assert wakes.next_due(60.0, at(5.001)) == 5.051


def test_what_was_announced_is_looked_for_twice() -> None:
    """The second look counts as announced as well; then polls are due as before."""
    wakes = PollWakes()
    wakes.wake(STATE)
    wakes.wake(LINE)
    polled(wakes, 1.0, 1.1)
    assert wakes.announced == {STATE, LINE}
    assert wakes.next_due(6.0, at(1.1)) == 1.1 + SECOND_LOOK
    polled(wakes, 1.4, 1.5)
    assert wakes.announced == {STATE, LINE}
    assert not wakes.new
    assert wakes.next_due(6.0, at(1.5)) == 6.0
    polled(wakes, 6.0, 6.1)
    assert not wakes.announced


def test_what_is_announced_during_a_poll_is_for_the_next_one() -> None:
    """The poll may have read before the change."""
    wakes = PollWakes()
    wakes.begin_poll(at(1.0))
    wakes.wake(LINE)
    wakes.end_poll(at(1.01))
    assert not wakes.announced
    assert wakes.next_due(6.0, at(1.01)) == 1.01
    polled(wakes, 1.01, 1.02)
    assert wakes.announced == wakes.new == {LINE}
