"""The log: pages by their numbers, recent ones as they are and those before them packed."""

import gc

import pytest
from sample_events import line

from rxflow import FlowRunEvent, Overflow
from rxflow._runtime.page_log import PageLog
from rxflow._runtime.page_spool import PageSpool, Slot
from rxflow._watching.event_order import EventPage


class CountingSpool(PageSpool):
    """A spool that counts its pages.

    Attributes:
        held: How many were put and not released.
        is_full: Whether it refuses pages.
    """

    def __init__(self) -> None:
        """Create an empty spool."""
        super().__init__()
        self.held = 0
        self.is_full = False

    def put(self, page: EventPage) -> Slot:
        """Count the page."""
        if self.is_full:
            raise Overflow("full")
        self.held += 1
        return super().put(page)

    def release(self, slot: Slot) -> None:
        """Count the page."""
        self.held -= 1
        super().release(slot)


def page_of(number: int) -> tuple[FlowRunEvent, ...]:
    """Return a page of two lines."""
    return line(number, f"line {number}"), line(number, f"second line {number}")


def test_pages_are_read_by_their_numbers() -> None:
    """As often as wanted, packed or not."""
    spool = CountingSpool()
    log = PageLog[FlowRunEvent](spool, recent_items=6)
    for number in range(10):
        assert len(log) == number
        log.append(page_of(number))
    assert spool.held == 7
    for _ in range(2):
        assert [log.read(number) for number in range(10)] == [*map(page_of, range(10))]


def test_a_page_that_is_larger_than_what_is_recent_is_held_as_it_is() -> None:
    """At least one page is not packed: it was just emitted."""
    log = PageLog[FlowRunEvent](CountingSpool(), recent_items=1)
    page = page_of(0)
    log.append(page)
    assert log.read(0) is page


def test_released_pages_are_held_no_longer() -> None:
    """Packed ones and recent ones; the numbers of the others stay."""
    spool = CountingSpool()
    log = PageLog[FlowRunEvent](spool, recent_items=6)
    for number in range(10):
        log.append(page_of(number))
    log.release(5)
    assert spool.held == 2
    assert (log.read(5), log.read(9), len(log)) == (page_of(5), page_of(9), 10)
    log.release(9)
    assert spool.held == 0
    for number in range(10, 12):
        log.append(page_of(number))
    assert spool.held == 0  # three pages are recent
    assert [log.read(number) for number in (9, 10, 11)] == [*map(page_of, (9, 10, 11))]
    log.release(99)
    assert len(log) == 12


def test_a_log_that_is_dropped_releases_its_pages() -> None:
    """The spool may be that of other logs."""
    spool = CountingSpool()
    log, other = PageLog[FlowRunEvent](spool, 2), PageLog[FlowRunEvent](spool, 2)
    for number in range(4):
        log.append(page_of(number))
        other.append(page_of(number))
    assert spool.held == 6
    del log
    gc.collect()
    assert spool.held == 3
    assert [other.read(number) for number in range(4)] == [*map(page_of, range(4))]


def test_no_page_is_lost_when_the_spool_is_full() -> None:
    """The page that cannot be packed stays as it is."""
    spool = CountingSpool()
    log = PageLog[FlowRunEvent](spool, recent_items=2)
    log.append(page_of(0))
    spool.is_full = True
    with pytest.raises(Overflow):
        log.append(page_of(1))
    assert [log.read(number) for number in range(2)] == [page_of(0), page_of(1)]


def test_without_a_spool_all_is_held_as_it_is() -> None:
    """Items of any kind."""
    log = PageLog[str](None, recent_items=1)
    for letter in "abc":
        log.append((letter,))
    assert [log.read(number) for number in range(3)] == [("a",), ("b",), ("c",)]
