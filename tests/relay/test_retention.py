"""Which logs a relay drops, and when."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from broker_logs import until
from sample_events import OTHER, RUN, closed, line

from rxflow.relay import _memory
from rxflow.relay._broker import LogEnd
from rxflow.relay._figures import Figures
from rxflow.relay._memory import MemoryStore
from rxflow.relay._pages import pages_of
from rxflow.relay._retention import Retention, expired, oldest_closed

THIRD = "6ecd8c99-4036-403d-bf84-cf8400f67836"


def end(run_id: str, stored_at: float, *, is_closed: bool = True) -> LogEnd:
    """Build the end of a log."""
    return LogEnd(run_id, 1, stored_at, is_closed)


def test_a_log_expires_some_time_after_its_last_page() -> None:
    """Whether its run is over or not."""
    ends = [end("a", 100), end("b", 100, is_closed=False), end("c", 150)]
    assert [each.run_id for each in expired(ends, 161, 60)] == ["a", "b"]
    assert expired(ends, 160, 60) == []


def test_the_oldest_log_of_a_run_that_is_over_makes_room() -> None:
    """A run that goes on keeps its log."""
    assert oldest_closed([end("a", 1, is_closed=False), end("b", 3), end("c", 2)]) == end("c", 2)
    assert oldest_closed([end("a", 1, is_closed=False)]) is None


def run(work: Callable[[MemoryStore], Awaitable[None]]) -> None:
    """Run a test with a store that has the logs of three runs, of which two are over."""

    async def bounded() -> None:
        store = MemoryStore()
        broker = store.connect()
        for run_id, event in ((RUN, line(0)), (OTHER, closed(1)), (THIRD, closed(2))):
            await broker.append(run_id, pages_of([event], first=0)[0], after=0)
        for seconds, log in enumerate(store.logs.values()):
            log.stored_at = 1000.0 + seconds
        async with asyncio.timeout(60):
            await work(store)

    asyncio.run(bounded())


def test_logs_that_are_in_use_or_of_others_are_kept() -> None:
    """Of the relay's share, those that are neither wanted nor watched are dropped."""

    async def work(store: MemoryStore) -> None:
        figures = Figures()
        await Retention(
            store.connect(), 60, figures, lambda each: each != THIRD, lambda each: each == RUN
        ).drop_expired()
        assert {run_id for _, run_id in store.logs} == {RUN, THIRD}
        assert figures.dropped == 1

    run(work)


def test_nothing_makes_room_that_is_there() -> None:
    """While the logs are read, another relay may have made room."""

    async def work(store: MemoryStore) -> None:
        broker = store.connect()
        assert not broker.is_full
        figures = Figures()
        await Retention(broker, 1e12, figures, lambda _: True, lambda _: False).make_room()
        assert len(store.logs) == 3
        assert figures.dropped == 0

    run(work)


def test_after_a_drop_a_broker_is_full_once_a_page_was_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So only one log is dropped before the page that waits for room is tried again."""
    monkeypatch.setattr(_memory, "_RETRY", 3600.0)

    async def work(store: MemoryStore) -> None:
        broker = store.connect()
        store.most_bytes = 0
        page = pages_of([line(7)], first=1)[0]
        appending = asyncio.create_task(broker.append(RUN, page, after=1))
        await until(lambda: broker.is_full)
        await broker.drop(OTHER)
        assert not broker.is_full
        appending.cancel()

    run(work)


def test_a_full_broker_gets_room() -> None:
    """The oldest logs of runs that are over are dropped until the page is stored."""

    async def work(store: MemoryStore) -> None:
        broker, figures = store.connect(), Figures()
        page = pages_of([line(7)], first=1, previous_id=store.pages(RUN)[0].page_id)[0]
        store.most_bytes = store.size() + len(page.body) - len(store.pages(OTHER)[0].body)
        keeping = asyncio.create_task(
            Retention(broker, 1e12, figures, lambda _: True, lambda _: False).keep()
        )
        await broker.append(RUN, page, after=1)
        await until(lambda: figures.dropped > 0)  # which is counted after the page has room
        keeping.cancel()
        assert {run_id for _, run_id in store.logs} == {RUN, THIRD}
        assert figures.dropped == 1

    run(work)
