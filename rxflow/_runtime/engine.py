"""The engine: carries out a session's commands on a scheduler and feeds the sources.

One engine is one subscription to a watch. It starts when each of its sources has been subscribed
to, and stops when it is disposed of. It runs one action at a time, and after each one that told
something it schedules the next, so that whoever has seen enough stops the asking by leaving.
"""

import threading
from collections.abc import Callable
from typing import Any

from loguru import logger
from reactivex import Observable, abc
from reactivex.disposable import Disposable, SerialDisposable, SingleAssignmentDisposable

from rxflow._protocol.failures import Reply
from rxflow._protocol.queries import Query
from rxflow._runtime.clocks import clock_of
from rxflow._runtime.fetchers import Channel, ChannelOpener, Fetcher, open_fetcher
from rxflow._runtime.scheduling import fetches_inline, schedule_next
from rxflow._watching.event_order import EventPages
from rxflow._watching.session import Done, Fetch, Session, Wait
from rxflow._watching.watch_spec import EventSource
from rxflow.events import FlowRunEvent

EventPage = tuple[FlowRunEvent, ...]


class Engine:
    """Runs one session."""

    def __init__(
        self,
        session: Session,
        opener: ChannelOpener,
        scheduler: abc.SchedulerBase,
        sources: frozenset[EventSource],
    ) -> None:
        """Make an engine that stands still until all its sources are subscribed to.

        Args:
            session: What to ask and tell.
            opener: Opens the channel to ask on; the engine closes it.
            scheduler: When and where everything happens.
            sources: The sources that must be subscribed to.
        """
        self._session = session
        self._opener = opener
        self._scheduler = scheduler
        self._clock = clock_of(scheduler)
        self._channel: Channel | None = None
        self._carrier: Fetcher | None = None
        self._sources = sources
        self._observers: dict[EventSource, abc.ObserverBase[EventPage]] = {}
        self._next = SerialDisposable()
        self._alarm = SerialDisposable()
        self._connection = SingleAssignmentDisposable()
        # Actions never overlap on most schedulers; on one with many threads the alarm could.
        self._lock = threading.RLock()
        self._teardown = Disposable(self._tear_down)

    def source(self, source: EventSource) -> Observable[EventPage]:
        """The observable of one source's pages. It can be subscribed to once."""

        def subscribe(
            observer: abc.ObserverBase[EventPage], _: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            self._observers[source] = observer
            if self._observers.keys() == self._sources:
                self._go_on()
            return Disposable(self.dispose)

        return Observable(subscribe)

    def dispose(self) -> None:
        """Stop: nothing is asked or told any more, and a question under way is broken off."""
        self._teardown.dispose()

    def _tear_down(self) -> None:
        self._next.dispose()
        self._alarm.dispose()
        self._connection.dispose()

    @property
    def _stopped(self) -> bool:
        return self._teardown.is_disposed

    # -- actions: each is one turn on the scheduler ---------------------------------------------

    def _go_on(self, seconds: float = 0.0) -> None:
        if self._stopped:
            return
        schedule_next(self._scheduler, seconds, self._turn(self._step), place=self._next)

    def _turn(self, action: Callable[[], None]) -> abc.ScheduledAction[Any]:
        def run(_: abc.SchedulerBase, __: Any = None) -> None:
            self._act(action)

        return run

    def _act(self, action: Callable[[], None]) -> None:
        with self._lock:
            if self._stopped:
                return
            try:
                action()
            except Exception as error:  # an observer's own, or a defect of ours
                if self._stopped:  # nobody is left to be told but the scheduler
                    raise
                self._finish(error)
            except BaseException:
                self.dispose()
                raise

    def _step(self) -> None:
        while not self._stopped:
            now = self._clock()
            if self._tell(self._session.wake(now)):
                return self._go_on()
            match self._session.next_command(now):
                case Wait(seconds):
                    return self._go_on(seconds)
                case Done(error):
                    return self._finish(error)
                case Fetch(query):
                    if not fetches_inline(self._scheduler):
                        return self._fetch(query)
                    if self._take(self._ask(query)):
                        return self._go_on()
        return None

    def _fetch(self, query: Query) -> None:
        """Have a question carried, and take the answer in a turn of its own."""
        if self._carrier is None:
            self._carrier = open_fetcher(self._opener, self._scheduler, self._post)
            self._connection.disposable = Disposable(self._carrier.close)
        due = self._session.due_in(self._clock())
        if due is not None:
            self._alarm.disposable = self._carrier.remind(due, self._ring)
        self._carrier.carry(query, self._take_and_go_on, self._finish)

    def _ask(self, query: Query) -> Reply:
        """Ask here and now."""
        if self._channel is None:
            self._channel = self._opener.open_channel()
            self._connection.disposable = Disposable(self._channel.close)
        return self._channel.send(query)

    def _post(self, action: Callable[[], None]) -> None:
        """Have an action carried out as a turn, from another thread."""
        if self._stopped:
            return
        try:
            self._scheduler.schedule(self._turn(action))
        except Exception as error:
            if self._stopped:
                raise
            logger.opt(exception=error).debug("The scheduler of a watch was closed, so it ends")
            self.dispose()

    def _take_and_go_on(self, answer: Reply) -> None:
        self._take(answer)
        self._go_on()

    def _ring(self) -> None:
        self._tell(self._session.wake(self._clock()))

    # -- what the observers get -----------------------------------------------------------------

    def _take(self, answer: Reply) -> bool:
        return self._tell(self._session.receive(answer, self._clock()))

    def _tell(self, batch: EventPages) -> bool:
        for source, page in batch:
            if self._stopped:
                break
            self._observers[source].on_next(page)
        return bool(batch)

    def _finish(self, error: Exception | None) -> None:
        self.dispose()
        if error is not None:
            next(iter(self._observers.values())).on_error(error)
            return
        for observer in self._observers.values():
            observer.on_completed()
