"""A watch with a checkpoint: it goes on after the events that were acknowledged before.

    checkpoint -- load --> CheckpointedSession -> Engine -> merge -> CheckpointWriter -> observer
                              |         ^                                 |
                              v         |                                 v
                           Session (goes on)       AcknowledgedEvents -- save --> checkpoint

What is saved is not the state of the session, which is ahead of its consumer by all that a poll has
found, but what is known of the acknowledged events alone: the same that a watch with a journal
knows once it has read it. So an event is either in the checkpoint, and does not come again, or it
is not, and comes; there is no list of events to leave out.

As with a journal, a page has one event. An observer has acknowledged it when its `on_next` returns,
and a loop when it wants the next one: when an action of its scheduler runs while no item waits
for it. The end, too, is only emitted then, since the last event would else never be acknowledged.
Where `ack` acknowledges events, they wait for it from when they are handed on. They are handed on
one by one there, too, since an event that a loop was not given yet must not be acknowledged.

The checkpoint of a run is read when the run joins the watch, before the next query is sent.

Belongs here: when events are handed on and acknowledged. Does not belong here: when a checkpoint is
written (`acknowledged_events`), and the files (`checkpoints`).
"""

from collections import deque
from collections.abc import Callable
from typing import Protocol

from reactivex import abc

from rxflow._models.times import Now
from rxflow._protocol.failures import Reply
from rxflow._runtime.acknowledged_events import AcknowledgedEvents
from rxflow._runtime.checkpoint_use import CheckpointUse
from rxflow._runtime.checkpoints import Checkpoints
from rxflow._runtime.clocks import clock_of
from rxflow._runtime.iteration import AsyncPullScheduler, PullScheduler
from rxflow._runtime.resumed_session import JoiningSession, ResumedSession, TakeUp
from rxflow._runtime.unacknowledged_events import MOST_UNACKNOWLEDGED
from rxflow._watching.emitted_state import EmittedState, known_events
from rxflow._watching.event_order import EventPage, EventPages, source_of
from rxflow._watching.session import Command, Done, Wait
from rxflow._watching.watch_spec import WatchSpec
from rxflow.events import AllClosed, Closed, FlowRunEvent

_TAKEN_PAUSE = 0.05  # seconds until the next look whether a loop has taken an item
_ACK_PAUSE = 1.0  # seconds until the next look whether a checkpoint is due to an `ack`


class LoadedSession(JoiningSession, Protocol):
    """A session that goes on after events of which a checkpoint knows."""

    def load_emitted(self, state: EmittedState, flow_run_id: str, /) -> None:
        """Go on with a run after events of which this is known."""
        ...

    def report_checkpoint_stale(self, text: str, now: Now) -> EventPages:
        """Return the notice that a checkpoint is older than it should be."""
        ...

    def report_unacknowledged(self, count: int, now: Now) -> EventPages:
        """Return the notice that the watch waits until events are acknowledged."""
        ...


class CheckpointedSession(ResumedSession[LoadedSession]):
    """Runs a session after the events that checkpoints know."""

    def __init__(
        self,
        session: LoadedSession,
        files: Checkpoints,
        acknowledged: AcknowledgedEvents,
        *,
        use: CheckpointUse,
        spec: WatchSpec,
        item_waits: Callable[[], bool] | None,
        take_up: TakeUp | None = None,
    ) -> None:
        """Create a session that has read nothing yet.

        Args:
            session: The session; no command was taken from it.
            files: The checkpoints, which were not opened.
            acknowledged: The events that are acknowledged, none yet.
            use: How they are used.
            spec: What is watched.
            item_waits: Whether an item waits for the loop that is to take it; None if there is no
                loop.
            take_up: As for `ResumedSession`.
        """
        super().__init__(
            session,
            files,
            keeps_pages=use.keeps_pages,
            on_demand=item_waits is not None,
            take_up=take_up,
        )
        self._files = files
        self._acknowledged = acknowledged
        self._use = use
        self._spec = spec
        self._item_waits = item_waits
        self._handed_on: EventPage | None = None  # to a loop, and not known to be taken
        self._has_end = False  # whether the session has emitted the last event
        self._saves_before_end = True
        self._recalled: deque[EventPage] = deque()  # pages that were acknowledged before
        self._said_full = False  # that too many events wait for `ack`
        self.is_reading = True  # until the next command of the session is due

    # -- from the checkpoints -------------------------------------------------------------------

    def _read(self, now: Now) -> Wait | None:
        """Open the checkpoints, or read that of the next run; return None once all were read.

        All pages were taken then, so that those to come are the ones that are recalled.
        """
        if not self._is_opened:
            return self._open(now)
        while (run_id := self._session.next_joined()) is not None:
            self.is_reading = True
            if self._load(run_id, now):
                return Wait(0.0)
        self.is_reading = False
        return None

    def _open(self, now: Now) -> Wait:
        pause = super()._open(now)
        if self._is_opened and self._use.acks is not None:
            self._use.acks.pass_to(self._acknowledged.acknowledge_to)
        return pause

    def _load(self, run_id: str, now: Now) -> bool:
        """Read the checkpoint of a run; return whether there is one."""
        loaded = self._files.load(run_id)
        if loaded.state is None:
            return False
        self._session.load_emitted(loaded.state, run_id)
        self._acknowledged.load(run_id, loaded.state)
        if self._use.recalls:
            self._recall(loaded.state)
        if loaded.stale is not None:
            text = f"{loaded.stale}; the events since then come again"
            self._pages.extend(self._session.report_checkpoint_stale(text, now))
        return True

    def _recall(self, state: EmittedState) -> None:
        """Let events come first that fold to the snapshot, and are not acknowledged again."""
        known = [each for each in known_events(state) if source_of(each) in self._spec.sources]
        pages: list[EventPage] = [(event,) for event in known]
        self._recalled += pages
        self._pages += [(source_of(page[0]), page) for page in pages]

    # -- to the consumer ------------------------------------------------------------------------

    def hand_on(self, page: EventPage) -> None:
        """Receive that a page is now handed on."""
        if self._item_waits is not None:
            self._handed_on = page
        if self._use.acks is None:
            return
        if self._was_recalled(page):
            self._acknowledged.add_known(page)
        else:
            self._acknowledged.add_waiting(page)

    def receive_handled(self, page: EventPage, now: Now) -> None:
        """Receive that the observer of a page has returned."""
        if self._use.acks is None and self._item_waits is None:
            self._acknowledge(page, now)

    def _was_recalled(self, page: EventPage) -> bool:
        """Whether a page was acknowledged before; to be called once for each."""
        was_recalled = bool(self._recalled) and page is self._recalled[0]
        if was_recalled:
            self._recalled.popleft()
        return was_recalled

    def _acknowledge_taken(self, now: Now) -> None:
        """Acknowledge what was handed on to a loop if it wants the next item, unless by `ack`."""
        if self._handed_on is not None and self._item_waits is not None and not self._item_waits():
            page, self._handed_on = self._handed_on, None
            if self._use.acks is None:
                self._acknowledge(page, now)

    def _acknowledge(self, page: EventPage, now: Now) -> None:
        if not self._was_recalled(page):
            self._acknowledged.add(page, now)
            self._report_failure(now)

    def _report_failure(self, now: Now) -> None:
        """Let the next event be a notice if a checkpoint cannot be written."""
        failed = self._acknowledged.take_failure()
        if failed is not None:
            text = (
                f"{failed}. The watch goes on, and tries again; if it is killed before, the events "
                "since the last checkpoint come again"
            )
            self._pages.extendleft(self._session.report_checkpoint_stale(text, now))

    def _must_wait(self, now: Now) -> bool:
        """Whether nothing is to be read until some events are acknowledged; a notice says so."""
        waiting = self._acknowledged.waiting_count
        is_full = waiting >= MOST_UNACKNOWLEDGED
        if is_full and not self._said_full:
            self._pages.extend(self._session.report_unacknowledged(waiting, now))
        # One notice for a consumer that is slow for long, and takes some events now and then.
        self._said_full = is_full or (self._said_full and waiting > MOST_UNACKNOWLEDGED // 2)
        return is_full and self._session.done is None

    # -- what the engine carries out ------------------------------------------------------------

    def next_command(self, now: Now) -> Command:
        """Return what to do next, once checkpoints were read and the pages were taken."""
        if self._handed_on is not None:
            return Wait(_TAKEN_PAUSE)
        if self._must_wait(now):
            return Wait(0.0 if self._pages else _TAKEN_PAUSE)
        reading = self._read(now)
        if reading is not None:
            return reading
        command = self._session.next_command(now)
        due = self._save_in(now)
        if isinstance(command, Wait) and due is not None:
            return Wait(min(command.seconds, due))
        return command

    def _save_in(self, now: Now) -> float | None:
        """Return the seconds until a checkpoint may be due; None for never."""
        due = self._acknowledged.due_in(now)
        if due is None and self._acknowledged.waiting_count:
            return _ACK_PAUSE  # as `ack` may be called meanwhile
        return due

    def receive(self, reply: Reply, now: Now) -> EventPages:
        """Receive a reply, and return the first of the pages to emit, or all of them."""
        self._acknowledge_taken(now)
        self._add(self._session.receive(reply, now))
        return self._take(now)

    def wake(self, now: Now) -> EventPages:
        """Return the next page to emit, or all of them; write a checkpoint if it is time."""
        self._acknowledge_taken(now)
        if not self.is_reading:
            self._add(self._session.wake(now))
            self._acknowledged.save_if_due(now)
            self._report_failure(now)
        return self._take(now)

    def due_in(self, now: Now) -> float | None:
        """Return the seconds until `wake` has something to do if no reply comes."""
        due = [self._session.due_in(now), self._save_in(now)]
        if self._handed_on is not None:
            # An action that runs while a loop waits for a reply may not run for ever.
            due.append(_TAKEN_PAUSE)
        elif self._pages:
            due.append(0.0)
        return min((seconds for seconds in due if seconds is not None), default=None)

    @property
    def done(self) -> Done | None:
        """How the watch ended; None while it goes on, or an event is to be emitted or taken."""
        return None if self._pages or self._handed_on is not None else self._session.done

    def _add(self, pages: EventPages) -> None:
        # Looked for once, and not among all that wait each time that one of them is taken.
        self._has_end |= any(self._is_end(event) for _, page in pages for event in page)
        super()._add(pages)

    def _take(self, now: Now) -> EventPages:
        if self._handed_on is not None or not self._pages:
            return ()
        if self._has_end and self._saves_before_end and not self._recalled:
            # Nothing follows the last event, so a notice that the disk is full must come before it.
            self._saves_before_end = False
            self._acknowledged.save(now)
            self._report_failure(now)
        return self._pop_pages()

    def _is_end(self, event: FlowRunEvent) -> bool:
        is_own = event.flow_run_id == self._spec.flow_run_id
        return is_own and isinstance(event, Closed | AllClosed)


class CheckpointWriter(abc.ObserverBase[EventPage], abc.DisposableBase):
    """Passes pages to an observer, and acknowledges them; closes the checkpoint at the end."""

    def __init__(
        self,
        session: CheckpointedSession,
        acknowledged: AcknowledgedEvents,
        observer: abc.ObserverBase[EventPage],
        clock: Callable[[], Now],
    ) -> None:
        """Create a writer.

        Args:
            session: What emits the pages.
            acknowledged: The events that were acknowledged.
            observer: What the pages are handed on to.
            clock: Reads the time.
        """
        self._session = session
        self._acknowledged = acknowledged
        self._observer = observer
        self._clock = clock

    def on_next(self, value: EventPage) -> None:
        if self._acknowledged.is_closed:  # a source emits until its subscription is disposed of
            return
        self._session.hand_on(value)
        self._observer.on_next(value)
        self._session.receive_handled(value, self._clock())

    def on_error(self, error: Exception) -> None:
        self._acknowledged.close()
        self._observer.on_error(error)

    def on_completed(self) -> None:
        self._acknowledged.close()
        self._observer.on_completed()

    def dispose(self) -> None:
        """Close the checkpoint. Callable from any thread.

        The event that is being handled is not acknowledged: operators such as `map` and `do_action`
        dispose of the watch and return when the consumer's function has raised.
        """
        self._acknowledged.close()


def checkpointed(
    session: LoadedSession,
    spec: WatchSpec,
    use: CheckpointUse,
    scheduler: abc.SchedulerBase,
    observer: abc.ObserverBase[EventPage],
    *,
    api_url: str,
    take_up: TakeUp | None = None,
) -> tuple[CheckpointedSession, CheckpointWriter]:
    """Return a watch with checkpoints: what an engine runs, and what its pages are passed to.

    Args:
        session: The session; no command was taken from it.
        spec: What is watched.
        use: How the checkpoints are used.
        scheduler: The scheduler of the engine.
        observer: What the pages are handed on to.
        api_url: The URL of the API.
        take_up: Adds the runs to the session that an earlier watch was not done with.
    """
    clock = clock_of(scheduler)
    files = Checkpoints(use, spec, api_url)
    acknowledged = AcknowledgedEvents(spec, files, clock)
    item_waits = None
    if isinstance(scheduler, PullScheduler | AsyncPullScheduler):
        loop = scheduler
        item_waits = lambda: loop.has_items  # noqa: E731
    resumed = CheckpointedSession(
        session,
        files,
        acknowledged,
        use=use,
        spec=spec,
        item_waits=item_waits,
        take_up=take_up,
    )
    return resumed, CheckpointWriter(resumed, acknowledged, observer, clock)
