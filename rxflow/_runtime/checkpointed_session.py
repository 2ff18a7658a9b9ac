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

Belongs here: when events are handed on and acknowledged. Does not belong here: when a checkpoint is
written (`acknowledged_events`), and the files (`checkpoint_file`).
"""

from collections.abc import Callable

from reactivex import abc

from rxflow._models.times import Now
from rxflow._protocol.failures import Reply
from rxflow._runtime.acknowledged_events import AcknowledgedEvents
from rxflow._runtime.checkpoint_file import CheckpointFile
from rxflow._runtime.checkpoint_use import CheckpointUse
from rxflow._runtime.clocks import clock_of
from rxflow._runtime.iteration import AsyncPullScheduler, PullScheduler
from rxflow._runtime.resumed_session import ResumedSession
from rxflow._watching.emitted_state import EmittedState, known_events
from rxflow._watching.event_order import EventPage, EventPages, source_of
from rxflow._watching.run_session import RunSession
from rxflow._watching.session import Command, Done, Wait
from rxflow._watching.watch_spec import EventSource, WatchSpec
from rxflow.events import Closed

_TAKEN_PAUSE = 0.05  # seconds until the next look whether a loop has taken an item


class CheckpointedSession(ResumedSession[RunSession]):
    """Runs a session of one run after the events that a checkpoint knows."""

    def __init__(
        self,
        session: RunSession,
        file: CheckpointFile,
        acknowledged: AcknowledgedEvents,
        *,
        use: CheckpointUse,
        sources: frozenset[EventSource],
        item_waits: Callable[[], bool] | None,
    ) -> None:
        """Create a session that has read nothing yet.

        Args:
            session: The session; no command was taken from it.
            file: The checkpoint, which was not opened.
            acknowledged: The events that are acknowledged, none yet.
            use: How it is used.
            sources: The sources whose events are emitted.
            item_waits: Whether an item waits for the loop that is to take it; None if there is no
                loop.
        """
        super().__init__(session, keeps_pages=use.keeps_pages, on_demand=item_waits is not None)
        self._file = file
        self._acknowledged = acknowledged
        self._use = use
        self._sources = sources
        self._item_waits = item_waits
        self._handed_on: EventPage | None = None  # to a loop, and not acknowledged
        self._saves_before_end = True
        self._recalled = 0  # so many pages come first that were acknowledged before
        self.is_reading = True

    # -- from the checkpoint --------------------------------------------------------------------

    def _open(self, now: Now) -> Wait:
        """Lock and load the checkpoint."""
        in_use = self._file.open()
        if in_use is not None:
            return self._await_file(in_use, now)
        self._load(now)
        return Wait(0.0)

    def _load(self, now: Now) -> None:
        loaded = self._file.load()
        self.is_reading = False
        if loaded.state is not None:
            self._session.load_emitted(loaded.state)
            self._acknowledged.load(loaded.state)
            if self._use.recalls:
                self._recall(loaded.state)
        if loaded.stale is not None:
            text = f"{loaded.stale}; the events since then come again"
            self._pages.extend(self._session.report_checkpoint_stale(text, now))

    def _recall(self, state: EmittedState) -> None:
        """Let events come first that fold to the snapshot, and are not acknowledged again."""
        known = [each for each in known_events(state) if source_of(each) in self._sources]
        self._recalled = len(known)
        self._pages.extend((source_of(event), (event,)) for event in known)

    # -- to the consumer ------------------------------------------------------------------------

    def hand_on(self, page: EventPage) -> None:
        """Receive that a page is now handed on."""
        if self._item_waits is not None:
            self._handed_on = page

    def receive_handled(self, page: EventPage, now: Now) -> None:
        """Receive that the observer of a page has returned."""
        if self._item_waits is None:
            self._acknowledge(page, now)

    def _acknowledge_taken(self, now: Now) -> None:
        """Acknowledge what was handed on to a loop if it wants the next item."""
        if self._handed_on is not None and self._item_waits is not None and not self._item_waits():
            page, self._handed_on = self._handed_on, None
            self._acknowledge(page, now)

    def _acknowledge(self, page: EventPage, now: Now) -> None:
        if self._recalled:
            self._recalled -= 1
            return
        self._report(self._acknowledged.add(page, now), now)

    def _report(self, failed: str | None, now: Now) -> None:
        """Let the next event be a notice that a checkpoint cannot be written."""
        if failed is not None:
            text = (
                f"{failed}. The watch goes on, and tries again; if it is killed before, the events "
                "since the last checkpoint come again"
            )
            self._pages.extendleft(self._session.report_checkpoint_stale(text, now))

    # -- what the engine carries out ------------------------------------------------------------

    def next_command(self, now: Now) -> Command:
        """Return what to do next, once the checkpoint was loaded and the pages were taken."""
        if self.is_reading:
            return self._open(now)
        if self._handed_on is not None:
            return Wait(_TAKEN_PAUSE)
        command = self._session.next_command(now)
        due = self._acknowledged.due_in(now)
        if isinstance(command, Wait) and due is not None:
            return Wait(min(command.seconds, due))
        return command

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
            self._report(self._acknowledged.save_if_due(now), now)
        return self._take(now)

    def due_in(self, now: Now) -> float | None:
        """Return the seconds until `wake` has something to do if no reply comes."""
        due = [self._session.due_in(now), self._acknowledged.due_in(now)]
        if self._handed_on is not None:
            # An action that runs while a loop waits for a reply may not run for ever.
            due.append(_TAKEN_PAUSE)
        elif self._pages:
            due.append(0.0)
        return min((seconds for seconds in due if seconds is not None), default=None)

    @property
    def done(self) -> Done | None:
        """How the watch ended; None while it goes on, or an event is not acknowledged."""
        return None if self._pages or self._handed_on is not None else self._session.done

    def _take(self, now: Now) -> EventPages:
        if self._handed_on is not None or not self._pages:
            return ()
        ends = any(isinstance(page[-1], Closed) for _, page in self._pages)
        if ends and self._saves_before_end and not self._recalled:
            # The last event is Closed, so a notice that the disk is full must come before it.
            self._saves_before_end = False
            self._report(self._acknowledged.save(now), now)
        return self._pop_pages()


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
    session: RunSession,
    spec: WatchSpec,
    use: CheckpointUse,
    *,
    api_url: str,
    scheduler: abc.SchedulerBase,
    observer: abc.ObserverBase[EventPage],
) -> tuple[CheckpointedSession, CheckpointWriter]:
    """Return a watch with a checkpoint: what an engine runs, and what its pages are passed to.

    Args:
        session: The session; no command was taken from it.
        spec: What is watched.
        use: How the checkpoint is used.
        api_url: The URL of the API.
        scheduler: The scheduler of the engine.
        observer: What the pages are handed on to.
    """
    file = CheckpointFile(use.path, spec, api_url)
    acknowledged = AcknowledgedEvents(spec, file)
    item_waits = None
    if isinstance(scheduler, PullScheduler | AsyncPullScheduler):
        loop = scheduler
        item_waits = lambda: loop.has_items  # noqa: E731
    resumed = CheckpointedSession(
        session, file, acknowledged, use=use, sources=spec.sources, item_waits=item_waits
    )
    return resumed, CheckpointWriter(resumed, acknowledged, observer, clock_of(scheduler))
