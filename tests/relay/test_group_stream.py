"""Members of a group share pages: each is handled at least once, by one of them."""

import asyncio
import threading
from contextlib import aclosing, closing
from itertools import count, islice
from typing import Any

import pytest
from reactivex import operators as ops
from runtime_threads import join_runtime_threads
from sample_events import OTHER, RUN, line
from virtual_world import TEST_TIMEOUT

from rxflow import ConfigurationError, FlowRunEvent, InvalidRunId
from rxflow.relay import GroupStream, consume
from rxflow.relay._memory import MemoryStore
from rxflow.relay._pages import MOST_BYTES, pages_of

_names = count()


class Pages:
    """Pages of two events each, of two runs by turns, in a store of its own."""

    def __init__(self, number: int = 6) -> None:
        """Store pages."""
        name = f"group-{next(_names)}"
        self.url, self.store = f"memory://{name}", MemoryStore.named(name)
        self.pages: list[tuple[FlowRunEvent, ...]] = []
        self._ends = {RUN: 0, OTHER: 0}
        for _ in range(number):
            self.append()

    def append(self) -> None:
        """Store one more page."""
        number = len(self.pages)
        run = (RUN, OTHER)[number % 2]
        events = (line(2 * number, run=run), line(2 * number + 1, run=run))
        (page,) = pages_of(events, first=number // 2 * 2)
        position = self.store.append(("default", run), page, self._ends[run])
        assert position is not None
        self._ends[run] = position
        self.pages.append(events)

    @property
    def events(self) -> list[FlowRunEvent]:
        """All events."""
        return [event for page in self.pages for event in page]

    def member(self, **options: Any) -> GroupStream:
        """Return a stream of a member."""
        return consume(self.url, "alerts", **options)

    @property
    def acknowledged(self) -> int:
        """How many pages were given out and are done."""
        group = self.store.groups["default", "alerts"]
        given = sum(
            1
            for page in self.store.read_all("default", 0, 1000)
            if page.stored.position <= group.position
        )
        return given - len(group.held)


@pytest.fixture
def pages() -> Any:
    """Begin with six pages; at the end no thread of rxflow is left."""
    yield Pages()
    join_runtime_threads()


def test_a_page_is_acknowledged_when_the_loop_wants_the_next(pages: Pages) -> None:
    """While the body handles the last event of a page, the page is not acknowledged."""
    with closing(iter(pages.member())) as items:
        assert [next(items), next(items)] == pages.events[:2]
        assert pages.acknowledged == 0
        assert next(items) == pages.events[2]
        assert pages.acknowledged == 1


def test_an_async_loop_acknowledges_alike(pages: Pages) -> None:
    """The page is acknowledged when the task wants the event after it."""

    async def scenario() -> None:
        async with aclosing(aiter(pages.member())) as items:
            assert [await anext(items), await anext(items)] == pages.events[:2]
            await asyncio.sleep(0)
            assert pages.acknowledged == 0
            assert await anext(items) == pages.events[2]
            assert pages.acknowledged == 1

    asyncio.run(scenario())


def test_an_observer_acknowledges_when_it_returns(pages: Pages) -> None:
    """Within `on_next`, the page of its event is not acknowledged."""
    seen: list[int] = []
    ended = threading.Event()
    member = pages.member().pipe(ops.map(lambda _: pages.acknowledged), ops.take(6))
    member.subscribe(seen.append, print, ended.set)
    assert ended.wait(TEST_TIMEOUT)
    assert seen == [0, 0, 1, 1, 2, 2]


def test_a_loop_that_is_left_gives_its_page_back(pages: Pages) -> None:
    """Another member gets it at once, with all of its events."""
    with closing(iter(pages.member(redeliver_after=3600))) as items:
        assert [*islice(items, 3)] == pages.events[:3]
    join_runtime_threads()
    with closing(iter(pages.member(redeliver_after=3600))) as items:
        assert [*islice(items, 4)] == pages.events[2:6]


def test_two_members_share_the_pages(pages: Pages) -> None:
    """No page is handled by both."""
    with closing(iter(pages.member())) as one, closing(iter(pages.member())) as two:
        first, second = [next(one), next(one)], [next(two), next(two)]
        assert [first, second] == [pages.events[:2], pages.events[2:4]]
        rest = [next(one) for _ in range(8)]
        assert rest == pages.events[4:]


def test_a_member_that_has_gone_is_replaced(pages: Pages) -> None:
    """A page without a sign of life comes again, to a member that lives."""
    member = pages.store.connect().member(pages.member()._source.options)

    async def vanish() -> None:
        page = await member.next_page(1.0)
        assert page is not None
        held = pages.store.groups["default", "alerts"].held
        held[page.stored.position] = (page, held[page.stored.position][1], 0.0)

    asyncio.run(vanish())
    with closing(iter(pages.member())) as items:
        assert [*islice(items, 12)] == pages.events


def test_a_slow_member_keeps_its_page(pages: Pages) -> None:
    """As long as it lives, no other member gets the page that it handles."""
    with closing(iter(pages.member(redeliver_after=0.06))) as slow:
        next(slow)
        (position,) = pages.store.groups["default", "alerts"].held
        untils: set[float] = set()
        while len(untils) < 4:  # it says so again and again
            untils.add(pages.store.groups["default", "alerts"].held[position][2])
            threading.Event().wait(0.005)


def test_pages_that_come_later_are_shared(pages: Pages) -> None:
    """A member waits for them."""
    with closing(iter(pages.member())) as items:
        assert [*islice(items, 12)] == pages.events
        timer = threading.Timer(0.05, pages.append)
        timer.start()
        assert next(items) == line(12)
        timer.join()


def test_one_run_is_shared(pages: Pages) -> None:
    """Pages of other runs are left out."""
    with closing(iter(pages.member(flow_run_id=OTHER))) as items:
        own = [event for event in pages.events if event.flow_run_id == OTHER]
        assert [*islice(items, 6)] == own


def test_an_event_in_parts_is_handled_by_one_member(pages: Pages) -> None:
    """The one that gets the last part has the whole event."""
    large = line(90, "x" * (MOST_BYTES + 9), run="77d20c5e-54a7-4ff5-8e5f-1b0a0f6ad9f2")
    end = 0
    for page in pages_of([large], first=0):
        position = pages.store.append(("default", large.flow_run_id), page, end)
        assert position is not None
        end = position
    with closing(iter(pages.member())) as one, closing(iter(pages.member())) as two:
        assert [*islice(one, 12)] == pages.events
        assert next(two) == large


# -- arguments ------------------------------------------------------------------------------------


def test_a_member_says_of_which_group_it_is() -> None:
    """Before it is used, nothing is connected to."""
    member = consume("memory://never", "alerts")
    assert member.group == "alerts"
    assert repr(member) == "<GroupStream of 'alerts', not subscribed to until it is used>"


@pytest.mark.parametrize("name", ["", "a.b", "a b", "*", "x" * 65, 3])
def test_the_name_of_a_group_has_few_characters(name: Any) -> None:
    """It is a part of subjects and keys."""
    with pytest.raises(ConfigurationError, match="cannot be the name of a group"):
        consume("memory://x", name)


def test_wrong_arguments_are_refused() -> None:
    """The error names the argument."""
    with pytest.raises(InvalidRunId):
        consume("memory://x", "alerts", flow_run_id="abc")
    with pytest.raises(TypeError, match=r"tls is .*bool, not .*SSLContext"):
        consume("memory://x", "alerts", tls=True)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="redeliver_after=0"):
        consume("memory://x", "alerts", redeliver_after=0)
