"""The watch of a relay: one session over many runs, whose journals are logs on the broker.

    Prefect's server <-- polls -- Engine <-- RelayedSession -- append --> BrokerJournal --> broker
                                                 |
                                             RunsSession (goes on after the events of the logs)

Belongs here: one watch, from its start to its end. Does not belong here: which runs it has, and
what follows when it ends (`_service`).
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from random import Random
from typing import Any, Self

from reactivex import abc

from rxflow._models.times import Now
from rxflow._protocol.failures import Failure, Reply
from rxflow._runtime.engine import Engine
from rxflow._runtime.journal_use import JournalUse
from rxflow._runtime.journaled_session import JournaledSession
from rxflow._runtime.turn_scheduler import TurnScheduler
from rxflow._watching.event_order import EventPage, EventPages
from rxflow._watching.runs_session import RunsSession
from rxflow._watching.session import Command
from rxflow._watching.watch_spec import EventSource, RunSelection, WatchSpec
from rxflow.client import Client
from rxflow.errors import RxflowError
from rxflow.relay._broker import Broker
from rxflow.relay._broker_journal import BrokerJournal
from rxflow.relay._figures import Figures

_USE = JournalUse(path="", is_directory=True, keeps_pages=True)


class RelayedSession(JournaledSession):
    """Appends the events of each reply to the logs of their runs, before the next command."""

    def __init__(
        self,
        session: RunsSession,
        journal: BrokerJournal,
        figures: Figures,
        *,
        take_up: Callable[[list[str]], None] | None,
    ) -> None:
        """Create a session that has read nothing yet.

        Args:
            session: The session; no command was taken from it.
            journal: Its journals.
            figures: What is known of the relay.
            take_up: As for `JournaledSession`.
        """
        super().__init__(session, journal, _USE, on_demand=False, take_up=take_up)
        self._runs = session
        self._appends_to = journal
        self._figures = figures
        self._leaving: set[str] = set()

    def add(self, run_ids: list[str]) -> None:
        """Watch runs, those that were closed included."""
        self._leaving.difference_update(run_ids)
        self._runs.add(run_ids, again=True)

    def leave(self, run_ids: list[str]) -> None:
        """Watch runs no longer, whose logs stay as they are."""
        self._leaving.update(run_ids)
        self._runs.leave(run_ids)

    def next_command(self, now: Now) -> Command:
        """Return what to do next, and forget the logs of runs that were left."""
        command = super().next_command(now)
        for run_id in [run_id for run_id in self._leaving if not self._runs.has_run(run_id)]:
            self._leaving.discard(run_id)
            self._appends_to.forget(run_id)
        self._figures.runs = self._runs.run_count
        return command

    def receive(self, reply: Reply, now: Now) -> EventPages:
        """Receive a reply, and return its events once they are in the logs."""
        if not isinstance(reply, Failure):
            self._figures.polled_at = now.mono
        pages = super().receive(reply, now)
        self._figures.runs = self._runs.run_count
        return pages

    def _add(self, pages: EventPages) -> None:
        events: EventPage = tuple(event for _, page in pages for event in page)
        if events and self._journal.append(events):
            self._pages.append((EventSource.NOTICES, events))


class RelayedWatch:
    """One watch, made on the event loop of the relay; it runs on other threads.

    Attributes:
        ended: Is done when the watch has ended, with its error.
    """

    def __init__(
        self,
        broker: Broker,
        client: Client,
        *,
        spec: WatchSpec,
        selection: RunSelection,
        figures: Figures,
        accepts: Callable[[str], bool],
        refuse: Callable[[str, RxflowError], None],
        report: Callable[[str], None],
    ) -> None:
        """Make a watch that has not begun.

        Args:
            broker: The connection to the broker.
            client: The client of Prefect's server.
            spec: What is watched of each run; its run is not used.
            selection: Which runs to look for, beside those that are added.
            figures: What is known of the relay.
            accepts: Whether a run is one to watch; called by any thread.
            refuse: As for `BrokerJournal`.
            report: As for `BrokerJournal`.
        """
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._scheduler = TurnScheduler()
        random = Random()  # noqa: S311 - jitter, not a secret
        self._session = RunsSession(spec, random, selection, goes_on=True, accepts=accepts)
        self._journal = BrokerJournal(
            broker, self._loop, figures, accepts, refuse=refuse, report=report
        )
        take_up = None if selection.where is None else self._session.add
        self._relayed = RelayedSession(self._session, self._journal, figures, take_up=take_up)
        self._engine = Engine(
            self._relayed, client, self._scheduler, frozenset({EventSource.NOTICES})
        )

    def add(self, flow_run_ids: Iterable[str]) -> None:
        """Watch runs, those that were closed included."""
        ids = [*flow_run_ids]
        self._engine.call(lambda: self._relayed.add(ids))

    def leave(self, flow_run_ids: Iterable[str]) -> None:
        """Watch runs no longer, whose logs stay as they are."""
        ids = [*flow_run_ids]
        self._engine.call(lambda: self._relayed.leave(ids))

    def has_run(self, flow_run_id: str) -> bool:
        """Whether a run is watched, and not closed."""
        return self._session.has_run(flow_run_id)

    async def __aenter__(self) -> Self:
        """Begin."""
        pages = self._engine.source(EventSource.NOTICES)
        pages.subscribe(on_error=self._end, on_completed=self._end, scheduler=self._scheduler)
        return self

    async def __aexit__(self, *_: object) -> None:
        """End the watch, and wait until its thread is done with it."""
        self._journal.close()
        self._engine.dispose()
        idle = asyncio.Event()

        def end_turns(_: abc.SchedulerBase, __: Any = None) -> None:
            self._post(idle.set)

        self._scheduler.schedule(end_turns)
        await idle.wait()
        self.ended.cancel()

    def _end(self, error: Exception | None = None) -> None:
        def settle() -> None:
            if self.ended.done():
                return
            if error is None:
                self.ended.set_result(None)
            else:
                self.ended.set_exception(error)

        self._post(settle)

    def _post(self, function: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # the loop was closed
            self._loop.call_soon_threadsafe(function)
