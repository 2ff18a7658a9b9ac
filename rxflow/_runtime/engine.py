"""The engine: carry out a session's commands on a scheduler and feed the sources of the watch.

One engine is one subscription to a watch. It starts when the last of its sources is subscribed to
and stops when it is disposed of. The way of a page:

    reply -> Session.receive -> pages of events -> on_next of each page's source

All of this happens in *turns*: actions on the scheduler, one at a time. A turn that emitted events
schedules the next turn instead of looping on, so that a consumer which has disposed of its
subscription meanwhile (`take(2)`) stops the polling.
"""

import math
import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol

from reactivex import Observable, abc
from reactivex.disposable import Disposable, SerialDisposable, SingleAssignmentDisposable

from rxflow._forks import inherited_watch, register
from rxflow._models.times import Now
from rxflow._own_log import log
from rxflow._protocol.failures import Failure, Reply
from rxflow._protocol.push import Announcement, PushEnd, PushSubscription, PushTopic
from rxflow._protocol.queries import Query
from rxflow._runtime.clocks import clock_of
from rxflow._runtime.fetchers import Fetcher, open_fetcher
from rxflow._runtime.iteration import PullScheduler
from rxflow._runtime.push_reader import PushReader, open_push_reader
from rxflow._runtime.query_channels import ChannelOpener, QueryChannel
from rxflow._runtime.scheduling import (
    NextAction,
    fetches_inline,
    is_exit_on_thread,
    is_virtual,
)
from rxflow._runtime.thread_errors import exit_on_thread
from rxflow._watching.event_order import EventPage, EventPages
from rxflow._watching.session import Command, Done, Fetch, Wait
from rxflow._watching.watch_spec import EventSource


class EngineSession(Protocol):
    """What an engine runs: a `Session`, or one that goes on from a journal."""

    def next_command(self, now: Now) -> Command:
        """Return what to do next."""
        ...

    def receive(self, reply: Reply, now: Now) -> EventPages:
        """Receive the reply to the query sent last, and return the events to emit."""
        ...

    def wake(self, now: Now) -> EventPages:
        """Return the events that are due because time has passed."""
        ...

    def due_in(self, now: Now) -> float | None:
        """Return the seconds until `wake` has something to do if no reply comes; None for never."""
        ...

    @property
    def done(self) -> Done | None:
        """How the watch ended; None while it goes on."""
        ...

    def has_run(self, flow_run_id: str) -> bool:
        """Whether a run is watched, and not over. Callable from any thread."""
        ...

    def push_subscriptions(self, now: Now) -> tuple[PushSubscription, ...]:
        """Return what the server is to announce from now on."""
        ...

    def receive_announcements(self, announcements: Iterable[Announcement], now: Now) -> None:
        """Receive what the server announced."""
        ...

    def receive_push_failure(
        self, topic: PushTopic, failure: Failure, now: Now, *, opened: bool
    ) -> None:
        """Receive that a connection for announcements ended, or could not be opened."""
        ...


class Engine:
    """Runs one session for one subscription."""

    def __init__(
        self,
        session: EngineSession,
        opener: ChannelOpener,
        scheduler: abc.SchedulerBase,
        sources: frozenset[EventSource],
    ) -> None:
        """Create an engine that starts when all its sources are subscribed to.

        Args:
            session: Decides which queries to send and which events to emit.
            opener: Opens the channel to send queries on; the engine closes the channel.
            scheduler: Runs the turns.
            sources: The sources that must be subscribed to.
        """
        self._session = session
        self._opener = opener
        self._scheduler = scheduler
        self._pull_scheduler = scheduler if isinstance(scheduler, PullScheduler) else None
        self._inline = fetches_inline(scheduler)
        self._clock = clock_of(scheduler)
        self._channel: QueryChannel | None = None
        self._fetcher: Fetcher | None = None
        self._step_turn = self._turn(self._step)
        self._sources = sources
        self._observers: dict[EventSource, abc.ObserverBase[EventPage]] = {}
        self._push: PushReader | None = None
        self._can_push = not is_virtual(scheduler)
        self._waits = False  # whether the next step is to come only after a while
        self._stopped = False
        self._inherited = False  # whether this is a forked child of the process that watches
        self._start_disposables()
        register(self)

    def _start_disposables(self) -> None:
        self._next_step = NextAction(self._scheduler)
        self._wake_timer = SerialDisposable()
        self._wake_due = math.inf  # when the wake timer is due, in monotonic seconds
        self._broken_off = False  # whether the query in flight must be sent again, or dropped
        self._connection = SingleAssignmentDisposable()
        self._push_connection = SingleAssignmentDisposable()
        # Turns never overlap on most schedulers. On one with many threads a wake-up could.
        self._lock = threading.RLock()
        self._teardown = Disposable(self._tear_down)

    def reset_after_fork(self) -> None:
        """Stop in a forked child; the next turn there, if any, ends the watch with an error."""
        if self._stopped:
            return
        self._stopped = self._inherited = True
        self._start_disposables()  # those of the parent may be locked, and hold its connection

    def source(self, source: EventSource) -> Observable[EventPage]:
        """Return the observable of one source's pages. It can be subscribed to once."""

        def subscribe(
            observer: abc.ObserverBase[EventPage], _: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            self._observers[source] = observer
            if self._observers.keys() == self._sources:
                self._schedule_step()
            return Disposable(self.dispose)

        return Observable(subscribe)

    def dispose(self) -> None:
        """Stop polling and emitting; abort the query in flight. Callable from any thread."""
        self._teardown.dispose()

    def call(self, action: Callable[[], None]) -> None:
        """Run an action on the session in a turn of its own, and do at once what it made due.

        Callable from any thread, once the sources are subscribed to.
        """
        self._post(partial(self._call, action))

    def fail(self, error: Exception) -> None:
        """End the watch with an error. Callable from any thread."""
        self._post(partial(self._finish, error))

    def _call(self, action: Callable[[], None]) -> None:
        action()
        if self._waits:
            self._schedule_step()

    # -- announcements of the server ------------------------------------------------------------

    def _follow_push(self, now: Now) -> None:
        """Subscribe to the announcements that the session wants now."""
        subscriptions = self._session.push_subscriptions(now)
        if self._push is None:
            if not (subscriptions and self._can_push):
                return
            self._push = open_push_reader(self._opener, self._scheduler, self._post, self)
            if self._push is None:
                self._can_push = False
                return
            self._push_connection.disposable = Disposable(self._push.close)
        self._push.follow(subscriptions)

    def has_run(self, flow_run_id: str) -> bool:
        """Whether announcements of a run are of use. Callable from any thread."""
        return self._session.has_run(flow_run_id)

    def receive_announcements(self, announcements: Iterable[Announcement]) -> None:
        """Receive what the server announced, in a turn."""
        now = self._clock()
        self._call(partial(self._session.receive_announcements, announcements, now))

    def receive_push_end(self, topic: PushTopic, end: PushEnd) -> None:
        """Receive that the server announces nothing any more, in a turn."""
        self._session.receive_push_failure(topic, end.failure, self._clock(), opened=end.lived > 0)
        if self._waits:
            self._schedule_step()

    def _tear_down(self) -> None:
        self._stopped = True
        self._next_step.dispose()
        self._wake_timer.dispose()
        self._connection.dispose()
        self._push_connection.dispose()

    # -- from the next command to the observers -------------------------------------------------

    def _step(self) -> None:
        """Carry out commands up to the first that emits events or has to wait."""
        self._waits = False
        while not self._stopped:
            now = self._clock()
            if self._emit(self._session.wake(now)):
                return self._schedule_step()
            if self._is_blocked(now):
                return None
            match self._session.next_command(now):
                case Wait(seconds):
                    self._waits = True
                    self._follow_push(now)
                    return self._schedule_step(seconds)
                case Done(error):
                    return self._finish(error)
                case Fetch(query, resumes):
                    if not self._inline:
                        return self._fetch(query, now)
                    reply = self._send(query, resumes=resumes)
                    if reply is None or self._receive(reply):
                        return self._schedule_step()
        return None

    def _send(self, query: Query, *, resumes: bool) -> Reply | None:
        """Send a query and block until the reply arrives; return None if that was broken off."""
        if self._channel is None:
            self._channel = self._opener.open_channel()
            self._connection.disposable = Disposable(self._channel.close)
        scheduler = self._pull_scheduler
        if scheduler is None:
            return self._channel.send(query)
        self._broken_off = False
        while_waiting = partial(self._wait_for_reply, scheduler, resumes)
        reply = scheduler.block_for(partial(self._channel.send, query, while_waiting))
        return None if self._broken_off else reply

    def _wait_for_reply(self, scheduler: PullScheduler, resumes: bool) -> float | None:
        """Run what is due; return the seconds until the next action, None to break off the query.

        A notice that was emitted meanwhile breaks it off, since the consumer gets the notice only
        when this action returns. The query is then sent again; there is one such notice an outage.

        A query that resumes is also broken off by what other actions of the loop emit, such as an
        operator that holds items for some time: it may be replied to only after hours.
        """
        self._arm_wake_timer(self._clock())
        pause = scheduler.run_due()
        self._broken_off |= pause is None or self._stopped or (resumes and scheduler.has_items)
        return None if self._broken_off else pause

    def _is_blocked(self, now: Now) -> bool:
        """Whether another engine of the same loop waits for a reply; this one's step is next."""
        scheduler = self._pull_scheduler
        if scheduler is None or not scheduler.is_blocked:
            return False
        scheduler.call_unblocked(self._schedule_step)
        self._arm_wake_timer(now)
        return True

    def _fetch(self, query: Query, now: Now) -> None:
        """Send a query elsewhere; the reply is received in a turn of its own."""
        if self._fetcher is None:
            self._fetcher = open_fetcher(self._opener, self._scheduler, self._post)
            self._connection.disposable = Disposable(self._fetcher.close)
        self._arm_wake_timer(now)
        self._fetcher.fetch(query, self._receive_and_continue, self._finish)

    def _receive_and_continue(self, reply: Reply) -> None:
        self._receive(reply)
        self._schedule_step()

    def _receive(self, reply: Reply) -> bool:
        return self._emit(self._session.receive(reply, self._clock()))

    def _arm_wake_timer(self, now: Now) -> None:
        """Schedule the turn for what is due if no reply comes.

        A timer that is due before that stays, since an early turn only arms the next one: with
        each query what is due moves ahead, and a new timer would wake the poll thread each time.
        """
        due_in = self._session.due_in(now)
        if due_in is None or now.mono + due_in >= self._wake_due:
            return
        self._wake_due = now.mono + due_in
        if self._fetcher is not None:
            timer = self._fetcher.call_later(due_in, self._wake)
        else:
            timer = self._scheduler.schedule_relative(due_in, self._turn(self._wake))
        self._wake_timer.disposable = timer

    def _wake(self) -> None:
        """Emit what is due without a reply, and finish a watch that has reached its limit."""
        self._wake_due = math.inf
        now = self._clock()
        self._broken_off |= self._emit(self._session.wake(now))
        if self._stopped:
            return None
        if self._session.done is not None:
            return self._finish(self._session.done.error)
        return self._arm_wake_timer(now)

    def _emit(self, pages: EventPages) -> bool:
        """Emit pages to their sources; return whether there were any."""
        for source, page in pages:
            if self._stopped:
                break
            self._observers[source].on_next(page)
        return bool(pages)

    def _finish(self, error: Exception | None) -> None:
        self.dispose()
        if error is not None:
            # One source is enough: the merge of the sources fails with it.
            next(iter(self._observers.values())).on_error(error)
            return
        for observer in self._observers.values():
            observer.on_completed()

    # -- turns ----------------------------------------------------------------------------------

    def _schedule_step(self, seconds: float = 0.0) -> None:
        if not self._stopped:
            self._next_step.schedule(seconds, self._step_turn)

    def _post(self, action: Callable[[], None]) -> None:
        """Schedule a turn from any thread."""
        if self._stopped:
            return
        try:
            self._scheduler.schedule(self._turn(action))
        except Exception as error:
            if self._stopped:
                raise
            log("DEBUG", "A watch ends because its scheduler was closed", error=error)
            self.dispose()

    def _turn(self, action: Callable[[], None]) -> abc.ScheduledAction[Any]:
        return partial(self._run_turn, action)

    def _run_turn(self, action: Callable[[], None], _: abc.SchedulerBase, __: Any = None) -> None:
        with self._lock:
            if not self._stopped:
                self._run_action(action)
            # The process was forked since the turn was scheduled, or by an observer in the turn.
            if self._inherited and not self._teardown.is_disposed:
                self._finish(inherited_watch())

    def _run_action(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # raised by an observer, or a defect of rxflow
            if self._stopped:  # the observers have had their end: leave it to the scheduler
                raise
            self._finish(error)
        except BaseException as error:
            if self._stopped or not is_exit_on_thread(error, self._scheduler):
                self.dispose()
                raise
            self._finish(exit_on_thread(error))
