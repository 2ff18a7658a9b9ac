"""Observables whose items arrive in pages, so that what a page needs is not done for each item.

Belongs here: how pages become items, and how items are selected page by page. Does not belong here:
how pages are iterated (`iteration`), or what is selected (`rxflow._operators.predicates`).
"""

from collections.abc import Callable
from typing import Any, TypeVar

from reactivex import Observable, abc
from reactivex import operators as ops
from reactivex.disposable import SingleAssignmentDisposable

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Page = tuple[T, ...]
"""Items that arrived together, in order; never empty."""


class PagedObservable(Observable[T_co]):
    """The items of pages, one by one.

    Attributes:
        page_source: The pages. What takes items from them subscribes to this.
        whole_pages: The pages for a consumer that handles a page at a time; they are larger where
            each item has to be emitted by itself to all others.
    """

    def __init__(
        self,
        page_source: Observable[Page[T_co]],
        whole_pages: Observable[Page[T_co]] | None = None,
    ) -> None:
        """Create an observable of the items of an observable's pages.

        Args:
            page_source: The pages.
            whole_pages: The same items in larger pages; None if there are none.
        """
        super().__init__()
        self.page_source = page_source
        self.whole_pages = page_source if whole_pages is None else whole_pages

    # Overridden beside `_subscribe_core`, where Rx's own observer would be called in between for
    # each item, for 0.05 us. Here it is called for each page.
    def subscribe(
        self,
        on_next: abc.ObserverBase[T_co] | abc.OnNext[T_co] | None = None,
        on_error: abc.OnError | None = None,
        on_completed: abc.OnCompleted | None = None,
        *,
        scheduler: abc.SchedulerBase | None = None,
    ) -> abc.DisposableBase:
        """Subscribe to the pages, and emit the items of each until the subscription is disposed of.

        Args:
            on_next: Is called with each item; or an observer, in place of all three functions.
            on_error: Is called with the error that the pages end with.
            on_completed: Is called after the last page.
            scheduler: The scheduler to subscribe with.

        Returns:
            What disposes of the subscription; within `on_next`, no other item is emitted after it.
        """
        emit: Any = on_next
        if callable(getattr(on_next, "on_next", None)):  # an observer, in the eyes of reactivex
            observer: Any = on_next
            emit, on_error, on_completed = (
                observer.on_next,
                observer.on_error,
                observer.on_completed,
            )
        subscription = SingleAssignmentDisposable()
        subscription.disposable = self.page_source.subscribe(
            None if emit is None else _items_to(emit, subscription),
            on_error,
            on_completed,
            scheduler=scheduler,
        )
        return subscription

    def _subscribe_core(
        self, observer: abc.ObserverBase[T_co], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        return self.subscribe(observer, scheduler=scheduler)


def pages_of(source: Observable[T]) -> Observable[Page[T]]:
    """Return the pages of an observable; if it has none, pages of one item."""
    if isinstance(source, PagedObservable):
        return source.whole_pages
    return source.pipe(ops.map(_page_of_one))


def select(
    source: Observable[Any],
    predicate: Callable[[Any], bool],
    select_page: Callable[[Page[Any]], Page[Any]] | None = None,
) -> Observable[Any]:
    """Emit the items for which a predicate is true, page by page where there are pages.

    Args:
        source: The items. Of a `PagedObservable`, the result is one too.
        predicate: Must not raise: the items of a page are selected before the first is emitted.
        select_page: Selects the same from a whole page; if None, the predicate is called.
    """
    if not isinstance(source, PagedObservable):
        return source.pipe(ops.filter(predicate))

    def call_for_each(page: Page[Any]) -> Page[Any]:
        return tuple(filter(predicate, page))

    def select_from(pages: Observable[Page[Any]]) -> Observable[Page[Any]]:
        return pages.pipe(ops.map(select_page or call_for_each), ops.filter(bool))

    return PagedObservable(select_from(source.page_source), select_from(source.whole_pages))


def _items_to(
    on_next: abc.OnNext[T], subscription: SingleAssignmentDisposable
) -> abc.OnNext[Page[T]]:
    def on_page(page: Page[T]) -> None:
        for item in page:
            if subscription.is_disposed:
                return
            on_next(item)

    return on_page


def _page_of_one(item: T) -> Page[T]:
    return (item,)
