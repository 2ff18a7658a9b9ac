"""Events become pages of a log, and the same events again, wherever reading begins."""

from itertools import accumulate
from typing import Any

import msgspec
import pytest
from event_strategies import events
from hypothesis import given
from hypothesis import strategies as st
from sample_events import RUN, closed, line

from rxflow import Closed, FlowRunEvent
from rxflow.errors import RelayLogLost, RelayLogTrimmed
from rxflow.relay import _pages
from rxflow.relay._broker import Page, StoredPage
from rxflow.relay._pages import Unpacker, pages_of


def stored(pages: list[Page], *, start: int = 0) -> list[StoredPage]:
    """Store pages one after the other, at positions that are not their numbers."""
    positions = [0, *(10 * number + 7 for number in range(start, start + len(pages)))]
    return [
        StoredPage(position, previous, page, None)
        for previous, position, page in zip(positions, positions[1:], pages, strict=False)
    ]


def unpack(unpacker: Unpacker, pages: list[StoredPage]) -> list[FlowRunEvent]:
    """Return the events of pages."""
    return [event for page in pages for event in unpacker.take(page).events]


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pages be so small that most events are cut in parts."""
    monkeypatch.setattr(_pages, "MOST_BYTES", 300)
    monkeypatch.setattr(_pages, "MOST_EVENTS", 3)


@given(batches=st.lists(st.lists(events(), min_size=1, max_size=9), max_size=4))
def test_unpacked_pages_are_the_events(batches: list[list[FlowRunEvent]]) -> None:
    """Pages of events that were appended in any batches give the same events, in order."""
    pages: list[Page] = []
    firsts = accumulate(map(len, batches), initial=0)
    for first, batch in zip(firsts, batches, strict=False):
        pages += pages_of(batch, first=first, previous_id=pages[-1].page_id if pages else "")
    assert unpack(Unpacker(RUN), stored(pages)) == [event for batch in batches for event in batch]
    assert len({page.page_id for page in pages}) == len(pages)
    assert [page.previous_id for page in pages] == ["", *(page.page_id for page in pages)][:-1]


@pytest.mark.usefixtures("small_pages")
def test_a_page_has_a_limited_number_of_events_and_bytes() -> None:
    """A page is closed at either limit, and an event over the limit is cut in parts."""
    lines: list[Any] = [line(n, "x" * size) for n, size in enumerate([1, 1, 1, 1, 900, 1])]
    pages = pages_of(lines, first=0)
    assert all(len(page.body) <= 300 for page in pages)
    assert all(page.count <= 3 for page in pages)
    assert max(page.parts for page in pages) >= 4
    assert unpack(Unpacker(RUN), stored(pages)) == lines


@pytest.mark.usefixtures("small_pages")
def test_only_the_last_page_of_a_run_is_the_end() -> None:
    """`is_end` is set on the page, or the part, that has the last byte of `Closed`."""
    pages = pages_of([line(1), line(2), closed(3)], first=0)
    assert [page.is_end for page in pages] == [False] * (len(pages) - 1) + [True]
    again = pages_of([closed(3), line(4)], first=0)
    assert [page.is_end for page in again if page.part == page.parts] == [True, False]


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("handed_on", range(12))
def test_reading_goes_on_after_any_event(handed_on: int) -> None:
    """A reader that was handed some events gets the others, the first page of which has both."""
    lines: list[Any] = [line(n, "x" * (700 * (n % 4 == 3))) for n in range(12)]
    pages = stored(pages_of(lines, first=0))
    unpacker = Unpacker(RUN)
    before, begun_id = (0, ""), ""
    for page in pages:
        unpacked = unpacker.take(page)
        if unpacked.number + len(unpacked.events) > handed_on:
            begun_id = unpacked.page_id if unpacked.number < handed_on else ""
            break
        before = unpacked.position, unpacked.page_id
    position, page_id = before
    rest = [page for page in pages if page.position > position]
    resumed = Unpacker(RUN, position=position, page_id=page_id, number=handed_on, begun_id=begun_id)
    assert unpack(resumed, rest) == lines[handed_on:]


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("left", [1, 2])
def test_parts_without_their_rest_are_dropped(left: int) -> None:
    """A writer was killed between the parts of an event; the next one has written it again."""
    long = line(1, "x" * 700)
    begun = pages_of([line(0)], first=0)
    parts = pages_of([long], first=1, previous_id=begun[-1].page_id)
    again = pages_of([long, line(2)], first=1, previous_id=parts[left - 1].page_id)
    unpacker = Unpacker(RUN)
    pages = stored([*begun, *parts[:left], *again])
    assert unpack(unpacker, pages) == [line(0), long, line(2)]
    assert unpacker.position == pages[-1].position
    other = pages_of([line(1), line(2)], first=1, previous_id=parts[left - 1].page_id)
    assert unpack(Unpacker(RUN), stored([*begun, *parts[:left], *other])) == [
        *(line(0), line(1), line(2))
    ]


@pytest.mark.usefixtures("small_pages")
def test_a_part_alone_is_a_lost_log() -> None:
    """A part whose first parts are gone cannot be read."""
    first, second, *_ = pages_of([line(0, "x" * 700)], first=0)
    alone = msgspec.structs.replace(second, previous_id="")
    with pytest.raises(RelayLogLost, match="no part before it"):
        Unpacker(RUN).take(stored([alone])[0])
    with pytest.raises(RelayLogTrimmed, match="before event 0"):
        Unpacker(RUN).take(stored([second])[0])
    assert Unpacker(RUN).take(stored([first])[0]).events == ()


def test_a_log_without_its_beginning_is_trimmed() -> None:
    """The error says how many events are gone, and what to do."""
    pages = pages_of([line(n) for n in range(3)], first=40, previous_id="abc")
    with pytest.raises(RelayLogTrimmed, match=r"before event 40; .* watch_flow_run"):
        Unpacker(RUN).take(stored(pages)[0])


CASES = {
    "another page": ({"previous_id": "other"}, "another page follows"),
    "another log": ({"previous_id": ""}, "another page follows"),
    "a gap": ({"first": 5}, "2 events from 3 on are gone"),
    "a repeat": ({"first": 0}, "number 0 comes after 3"),
    "a lying count": ({"count": 7}, "does not go on"),
}


@pytest.mark.parametrize(("changed", "text"), CASES.values(), ids=CASES)
def test_a_page_that_does_not_follow_is_a_lost_log(changed: dict[str, Any], text: str) -> None:
    """Whatever the broker returns, no event is skipped, and none comes twice."""
    first = pages_of([line(n) for n in range(3)], first=0)
    second = pages_of([line(3)], first=3, previous_id=first[0].page_id)[0]
    unpacker = Unpacker(RUN)
    assert len(unpack(unpacker, stored(first))) == 3
    page = msgspec.structs.replace(second, **changed)
    with pytest.raises(RelayLogLost, match=text):
        unpacker.take(StoredPage(99, 7, page, None))


GONE_ON: dict[str, dict[str, Any]] = {
    "after another page": {"position": 3, "page_id": "abc", "number": 1},
    "in the middle of another page": {"number": 1, "begun_id": "abc"},
}


@pytest.mark.parametrize("place", GONE_ON.values(), ids=GONE_ON)
def test_a_reader_that_goes_on_sees_that_the_log_is_another(place: dict[str, Any]) -> None:
    """A position is of the pages that were read; that of others says nothing."""
    pages = pages_of([line(0), Closed(flow_run_id=RUN, timestamp=line(1).timestamp)], first=0)
    with pytest.raises(RelayLogLost, match="without after="):
        Unpacker(RUN, **place).take(stored(pages)[0])
