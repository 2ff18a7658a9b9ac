"""A watch with a journal: it goes on from the events in it, and appends each event before the next.

    Journal -- read --> JournaledSession -> Engine -> merge -> JournalWriter -- append --> Journal
                          |        ^                              |
                          v        |                              v
                       Session (go on after them)             observer

What the journal has of a run is read when the run joins the watch, before the next query is sent:
that of a watch of one run, of each run that is given, and of each that is found later. The events
of a reply are cut into pages of one, and where a loop takes them, each is emitted by an
action of its own, which runs when the loop wants the next one. So the journal has an event if and
only if it was handed on, wherever the process is killed or the loop is left.

Belongs here: when events are read, handed on and appended. Does not belong here: the file
(`journal`, `journal_directory`), and what follows from the events (`rxflow._watching`).
"""

from collections.abc import Callable
from contextlib import suppress
from itertools import groupby
from typing import Protocol

from reactivex import abc

from rxflow._models.times import Now
from rxflow._protocol.failures import Reply
from rxflow._runtime.clocks import clock_of
from rxflow._runtime.journal import Journal
from rxflow._runtime.journal_directory import JournalDirectory
from rxflow._runtime.journal_use import JournalUse
from rxflow._runtime.resumed_session import JoiningSession, ResumedFile, ResumedSession, TakeUp
from rxflow._runtime.scheduling import buffers_items
from rxflow._watching.event_order import EventPage, EventPages, source_of
from rxflow._watching.session import Command, Done, Wait
from rxflow._watching.watch_spec import WatchSpec
from rxflow.errors import JournalFailed
from rxflow.events import FlowRunEvent


class EventJournal(ResumedFile, Protocol):
    """A `Journal`, or a `JournalDirectory`."""

    def read(self, flow_run_id: str, /) -> list[FlowRunEvent] | None:
        """Return the next part of a run's events; None after the last one."""
        ...

    def append(self, events: EventPage) -> bool:
        """Append events, all of them or none; return False once it is closed."""
        ...

    def close(self) -> None:
        """Close it; callable from any thread, and twice."""
        ...


class SeededSession(JoiningSession, Protocol):
    """A session that goes on after the events of an earlier one."""

    def record_emitted(self, events: list[FlowRunEvent]) -> None:
        """Record the next of the events of one run."""
        ...

    def report_journal_full(self, reason: str, now: Now) -> EventPages:
        """Return the notice that the watch goes on without its journal."""
        ...


class JournaledSession(ResumedSession[SeededSession]):
    """Runs a session after the events in its journal."""

    def __init__(
        self,
        session: SeededSession,
        journal: EventJournal,
        use: JournalUse,
        *,
        on_demand: bool,
        take_up: TakeUp | None = None,
    ) -> None:
        """Create a session that has read nothing yet.

        Args:
            session: The session; no command was taken from it.
            journal: Its journal, which was not opened.
            use: How it is used.
            on_demand: Whether a page is emitted only when the consumer wants the next one.
            take_up: As for `ResumedSession`.
        """
        keeps_pages = use.keeps_pages
        super().__init__(
            session, journal, keeps_pages=keeps_pages, on_demand=on_demand, take_up=take_up
        )
        self._journal = journal
        self._use = use
        self._is_journaling = True
        self._read_run: str | None = None  # the run of which the journal is read
        self._is_reading = True  # until the next command of the session is due

    # -- what the journal has -------------------------------------------------------------------

    def _read(self, now: Now) -> Wait | None:
        """Open the journal, or read the next part of it; return None once all was read.

        All pages were taken then, so that those to come are the ones that are read.
        """
        if not self._is_opened:
            return self._open(now)
        while True:
            if self._read_run is None:
                self._read_run = self._session.next_joined()
            if self._read_run is None:
                self._is_reading = False
                return None
            self._is_reading = True
            part = self._journal.read(self._read_run)
            if part is None:
                self._read_run = None
            else:
                self._record(part)
                return Wait(0.0)

    def _record(self, part: list[FlowRunEvent]) -> None:
        if not part:  # of a line that is longer than what is read at once
            return
        self._session.record_emitted(part)
        if self._use.observer is not None:
            self._use.observer.recall(part)
        if self._use.replays:
            self._pages.extend((source, tuple(run)) for source, run in groupby(part, source_of))

    def append(self, page: EventPage, now: Now) -> EventPages | None:
        """Append a page that is to be handed on.

        Args:
            page: The page, which the session has emitted.
            now: The time.

        Returns:
            What is to be emitted before it; None if it must not be handed on, since the watch was
            disposed of.

        Raises:
            JournalFailed: The journal cannot be written, and the watch does not go on without it.
        """
        if self._is_reading or not self._is_journaling:
            return ()
        if self._use.observer is not None:
            self._use.observer.begin_append()
        try:
            return () if self._journal.append(page) else None
        except JournalFailed as error:
            if not (self._use.outlived and error.is_full):
                raise
            self._is_journaling = False
            return self._session.report_journal_full(str(error), now)

    # -- what the engine carries out ------------------------------------------------------------

    def next_command(self, now: Now) -> Command:
        """Return what to do next, once the journal was read and its pages were taken."""
        reading = self._read(now)
        return self._session.next_command(now) if reading is None else reading

    def receive(self, reply: Reply, now: Now) -> EventPages:
        """Receive a reply, and return the first of the pages to emit, or all of them."""
        self._add(self._session.receive(reply, now))
        return self._pop_pages()

    def wake(self, now: Now) -> EventPages:
        """Return the next page to emit, or all of them."""
        if not self._is_reading:
            self._add(self._session.wake(now))
        return self._pop_pages()

    def due_in(self, now: Now) -> float | None:
        """Return the seconds until `wake` has something to do if no reply comes."""
        return 0.0 if self._pages else self._session.due_in(now)

    @property
    def done(self) -> Done | None:
        """How the watch ended; None while it goes on, or has pages to emit."""
        return None if self._pages else self._session.done


class JournalWriter(abc.ObserverBase[EventPage], abc.DisposableBase):
    """Appends each page to the journal, then passes it to an observer; closes it at the end."""

    def __init__(
        self,
        session: JournaledSession,
        journal: EventJournal,
        observer: abc.ObserverBase[EventPage],
        clock: Callable[[], Now],
    ) -> None:
        """Create a writer.

        Args:
            session: What emits the pages.
            journal: Its journal.
            observer: What the pages are handed on to.
            clock: Reads the time.
        """
        self._session = session
        self._journal = journal
        self._observer = observer
        self._clock = clock

    def on_next(self, value: EventPage) -> None:
        now = self._clock()
        try:
            first = self._session.append(value, now)
        except JournalFailed as error:
            self.on_error(error)
            return
        if first is not None:  # else a source emits until its subscription is disposed of
            for _, page in first:
                self._observer.on_next(page)
            self._observer.on_next(value)

    def on_error(self, error: Exception) -> None:
        with suppress(JournalFailed):  # the first error is the one to report
            self._journal.close()
        self._observer.on_error(error)

    def on_completed(self) -> None:
        try:
            self._journal.close()
        except JournalFailed as error:
            self._observer.on_error(error)
        else:
            self._observer.on_completed()

    def dispose(self) -> None:
        """Close the journal. Callable from any thread."""
        self._journal.close()


def journaled(
    session: SeededSession,
    spec: WatchSpec,
    use: JournalUse,
    scheduler: abc.SchedulerBase,
    observer: abc.ObserverBase[EventPage],
    *,
    take_up: TakeUp | None = None,
) -> tuple[JournaledSession, JournalWriter]:
    """Return a session that goes on from a journal, and what appends its pages to it.

    Args:
        session: The session; no command was taken from it.
        spec: What is watched.
        use: The journal, and how it is used.
        scheduler: The scheduler of the watch.
        observer: What the pages are handed on to.
        take_up: Adds the runs to the session that an earlier watch was not done with.
    """
    kind = JournalDirectory if use.is_directory else Journal
    journal = kind(use.path, spec)
    on_demand = buffers_items(scheduler)
    resumed = JournaledSession(session, journal, use, on_demand=on_demand, take_up=take_up)
    return resumed, JournalWriter(resumed, journal, observer, clock_of(scheduler))
