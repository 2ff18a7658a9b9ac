"""Paged observables: items one by one, within a page no longer than the subscription lives."""

from collections.abc import Callable
from typing import Any

import pytest
import reactivex as rx
from reactivex import Observable, abc
from reactivex import operators as ops
from reactivex.disposable import Disposable
from reactivex.subject import Subject
from virtual_world import Recording

from rxflow._runtime.paged import Page, PagedObservable, pages_of, select

PAGES = [(1, 2, 3), (4,), (5, 6)]


def paged(*pages: Page[int]) -> PagedObservable[int]:
    """Return an observable of the items of pages, which are emitted at once."""
    return PagedObservable(rx.of(*pages))


def recorded(observable: Observable[Any]) -> list[Any]:
    """Return the items of an observable that completes at once."""
    recording: Recording[Any] = Recording()
    recording.subscribe_to(observable, None)
    assert recording.completed, recording.error
    return recording.values


def is_odd(number: int) -> bool:
    """Whether a number is odd."""
    return number % 2 == 1


def by_observer(observable: Observable[int], found: list[int]) -> abc.DisposableBase:
    """Subscribe with an observer."""
    recording: Recording[int] = Recording()
    subscription = observable.subscribe(recording)
    found.extend(recording.values)
    assert recording.completed
    return subscription


SUBSCRIBED: dict[str, Callable[[Observable[int], list[int]], abc.DisposableBase]] = {
    "an observer": by_observer,
    "a function": lambda observable, found: observable.subscribe(found.append),
    "a function by name": lambda observable, found: observable.subscribe(on_next=found.append),
}


@pytest.mark.parametrize("way", SUBSCRIBED)
def test_items_are_emitted_one_by_one(way: str) -> None:
    """A subscriber gets the items of all pages in order, however it subscribes."""
    found: list[int] = []
    SUBSCRIBED[way](paged(*PAGES), found)
    assert found == [1, 2, 3, 4, 5, 6]


def test_the_end_is_passed_on_without_on_next() -> None:
    """A subscriber without `on_next` is called at the end."""
    calls: list[object] = []
    paged(*PAGES).subscribe(on_completed=lambda: calls.append("completed"))
    error = ValueError("oops")
    PagedObservable[int](rx.throw(error)).subscribe(on_error=calls.append)
    assert calls == ["completed", error]


def test_the_scheduler_reaches_the_pages() -> None:
    """The pages are subscribed to with the scheduler that the items are subscribed to with."""
    given: list[object] = []

    def subscribe(
        _: abc.ObserverBase[Page[int]], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        given.append(scheduler)
        return Disposable()

    scheduler = rx.scheduler.ImmediateScheduler()
    PagedObservable(Observable(subscribe)).subscribe(scheduler=scheduler)
    assert given == [scheduler]


def test_a_dispose_within_a_page_is_its_end() -> None:
    """Once the subscription is disposed of, the rest of a page is not emitted, nor another page."""
    pages: Subject[Page[int]] = Subject()
    found: list[int] = []

    def on_next(item: int) -> None:
        found.append(item)
        if item == 2:
            subscription.dispose()

    subscription = PagedObservable(pages).subscribe(on_next)
    pages.on_next((1, 2, 3))
    pages.on_next((4,))
    assert found == [1, 2]
    assert not pages.observers


def test_an_error_in_on_next_is_raised_to_the_source() -> None:
    """What `on_next` raises goes to who emits the page, and the rest of it is not emitted."""
    pages: Subject[Page[int]] = Subject()
    found: list[float] = []
    PagedObservable(pages).subscribe(lambda item: found.append(1 / item))
    with pytest.raises(ZeroDivisionError):
        pages.on_next((1, 0, 2))
    assert found == [1.0]


def test_selected_pages_stay_pages() -> None:
    """A selection keeps the pages, but for those of which nothing is left."""
    selected = select(paged(*PAGES), is_odd)
    assert recorded(selected) == [1, 3, 5]
    assert recorded(pages_of(selected)) == [(1, 3), (5,)]


def test_a_selection_is_taken_from_any_observable() -> None:
    """Without pages, items are selected one by one."""
    selected = select(rx.of(1, 2, 3), is_odd)
    assert recorded(selected) == [1, 3]
    assert recorded(pages_of(selected)) == [(1,), (3,)]


def test_an_operator_that_needs_no_more_ends_a_page() -> None:
    """`take` ends within a page, and disposes of the pages."""
    pages: Subject[Page[int]] = Subject()
    recording: Recording[int] = Recording()
    recording.subscribe_to(PagedObservable(pages).pipe(ops.take(2)), None)
    pages.on_next((1, 2, 3))
    assert recording.values == [1, 2]
    assert recording.completed
    assert not pages.observers
