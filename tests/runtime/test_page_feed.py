"""A feed: what its readers receive when they join while the source goes on or ends."""

from typing import Any

from reactivex import Observable, abc
from reactivex.disposable import Disposable
from reactivex.testing import TestScheduler
from rx_subjects import GrammarRecording

from rxflow._runtime.page_feed import PageFeed, PageReader
from rxflow._runtime.page_log import PageLog


class _EndingObservers(list[Any]):
    """The observers of a feed that ends as soon as another thread sees one of them."""

    def __init__(self, feed: PageFeed[str]) -> None:
        super().__init__()
        self._feed = feed

    def append(self, observer: Any) -> None:
        super().append(observer)
        self._feed.end()


def test_a_reader_that_joins_at_the_end_gets_all_pages() -> None:
    """The source may end in its own thread while the reader joins."""
    feed = PageFeed[str](PageLog())
    feed.put(("first",))
    feed.put(("second",))
    feed._observers = _EndingObservers(feed)
    scheduler = TestScheduler()

    def join(
        observer: abc.ObserverBase[PageLog[str]], _: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        feed.add(observer)
        return Disposable()

    recording = GrammarRecording()
    PageReader(recording, scheduler).start(Observable(join))
    scheduler.start()
    assert (recording.values, recording.calls) == ([("first",), ("second",)], "NNC")
