"""The journals of a relay's watch: the logs of its runs on the broker.

    thread of the watch                       event loop of the relay
    read(run) ------------------------------> Broker.read until Broker.last
    append(events) -> of each run its pages -> Broker.append, side by side
              <------ when all are stored -----

The watch waits until the broker has stored what it has found, so that it reads no more from
Prefect's server than the broker takes.

Belongs here: what a relay knows of each log, and the way between the two threads. Does not belong
here: what is in a page (`_pages`), and when events are read and appended
(`rxflow._runtime.journaled_session`).
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

from rxflow._runtime.clocks import apause, real_now
from rxflow._watching.event_order import EventPage
from rxflow.errors import (
    InvalidEvent,
    InvalidRelayLog,
    RelayLogLost,
    RelayLogTrimmed,
    RxflowError,
)
from rxflow.events import Closed, FlowRunEvent
from rxflow.relay._broker import Broker, Moved
from rxflow.relay._figures import Figures
from rxflow.relay._pages import Unpacker, pages_of

T = TypeVar("T")

_PAGES_AT_ONCE = 16  # that are read as one part
_REPLICA_PAUSE = 0.1  # seconds until a replica that lags is read again


class _LogState:
    """What is known of the log of one run.

    Attributes:
        unpacker: Checks the pages that are read.
        number: How many events the log has.
        end: The position of the last page, 0 for none.
        page_id: The id of that page, "" for none.
    """

    def __init__(self, run_id: str) -> None:
        self.unpacker = Unpacker(run_id)
        self.number = 0
        self.end = 0
        self.page_id = ""


class BrokerJournal:
    """The logs of the runs of one watch; an `EventJournal`, used by the watch's thread.

    `close` may be called by any thread, and ends what the other methods wait for.
    """

    def __init__(
        self,
        broker: Broker,
        loop: asyncio.AbstractEventLoop,
        figures: Figures,
        accepts: Callable[[str], bool],
        *,
        refuse: Callable[[str, RxflowError], None],
        report: Callable[[str], None],
    ) -> None:
        """Create it; nothing is read yet.

        Args:
            broker: The connection to the broker.
            loop: The event loop that it was opened on, in another thread than the watch's.
            figures: Where it counts what it appends.
            accepts: Whether a run is one to go on with, if its log is not closed.
            refuse: Is called on that loop with a run whose log cannot be read, and why; after it,
                `accepts` says that it is none.
            report: Is called on that loop with what people should know.
        """
        self._broker = broker
        self._loop = loop
        self._figures = figures
        self._accepts = accepts
        self._refuse = refuse
        self._report = report
        self._logs: dict[str, _LogState] = {}
        self._read_run: str | None = None  # the run whose log is being read
        self._lock = threading.Lock()
        self._waits_for: Future[Any] | None = None
        self._is_closed = False

    def open(self) -> None:
        """Do nothing: the broker refuses what a second writer would append."""

    def close(self) -> None:
        """Read and append nothing more, and end the waiting for it."""
        with self._lock:
            self._is_closed = True
            waits_for = self._waits_for
        if waits_for is not None:
            waits_for.cancel()

    def _wait_for(self, work: Coroutine[Any, Any, T], otherwise: T) -> T:
        """Run work on the event loop, and wait for it; return another value once it is closed."""
        with self._lock:
            if self._is_closed:
                work.close()
                return otherwise
            future: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
            self._waits_for = future
        try:
            return future.result()
        except CancelledError:
            return otherwise

    # -- what the logs have ---------------------------------------------------------------------

    def unclosed(self) -> list[str]:
        """Return the runs whose logs do not end with their `Closed`."""
        return self._wait_for(self._unclosed(), [])

    async def _unclosed(self) -> list[str]:
        return [
            end.run_id
            async for end in self._broker.ends()
            if not end.is_closed and self._accepts(end.run_id)
        ]

    def read(self, flow_run_id: str, /) -> list[FlowRunEvent] | None:
        """Return the next part of a run's events; None after the last one.

        A log that is not whole is dropped, so that the run is relayed from its beginning. One that
        a later version has written, or something else than a relay, is refused.

        Raises:
            Moved: The log was dropped or refused.
            RxflowError: The broker refuses it.
        """
        return self._wait_for(self._read(flow_run_id), None)

    async def _read(self, run_id: str) -> list[FlowRunEvent] | None:
        if self._read_run != run_id:  # it has joined, for the first time or again
            self._read_run = run_id
            self._logs[run_id] = _LogState(run_id)
        state = self._logs[run_id]
        try:
            return await self._read_part(run_id, state)
        except (RelayLogLost, RelayLogTrimmed) as error:
            self._report(f"makes the log of flow run {run_id} anew, which it drops first: {error}")
            await self._broker.drop(run_id)
            raise Moved(run_id) from error
        except (InvalidEvent, InvalidRelayLog) as error:
            self._refuse(run_id, error)
            raise Moved(run_id) from error

    async def _read_part(self, run_id: str, state: _LogState) -> list[FlowRunEvent] | None:
        while not (pages := await self._broker.read(run_id, after=state.end, limit=_PAGES_AT_ONCE)):
            last = await self._broker.last(run_id)
            if (last.position if last is not None else 0) == state.end:
                self._read_run = None
                return None
            await apause(_REPLICA_PAUSE)
        events = [event for page in pages for event in state.unpacker.take(page).events]
        state.number = state.unpacker.number
        state.end, state.page_id = pages[-1].position, pages[-1].page.page_id
        return events

    def forget(self, flow_run_id: str) -> None:
        """Forget what is known of the log of a run that is not watched any more."""
        self._logs.pop(flow_run_id, None)

    # -- writing --------------------------------------------------------------------------------

    def append(self, events: EventPage) -> bool:
        """Append events to the logs of their runs; those that name no run are in none.

        Returns:
            Whether the logs have them: False once this is closed.

        Raises:
            Moved: Another relay has appended to a log.
            RxflowError: The broker refuses it.
        """
        of_runs: dict[str, list[FlowRunEvent]] = {}
        for event in events:
            if event.flow_run_id:
                of_runs.setdefault(event.flow_run_id, []).append(event)
        return not of_runs or self._wait_for(self._append(of_runs), otherwise=False)

    async def _append(self, of_runs: dict[str, list[FlowRunEvent]]) -> bool:
        try:
            async with asyncio.TaskGroup() as group:
                for run_id, events in of_runs.items():
                    group.create_task(self._append_to(run_id, events))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return True

    async def _append_to(self, run_id: str, events: list[FlowRunEvent]) -> None:
        state = self._logs.setdefault(run_id, _LogState(run_id))
        for page in pages_of(events, first=state.number, previous_id=state.page_id):
            try:
                state.end = await self._broker.append(run_id, page, after=state.end)
            except Moved:
                self._figures.fenced += 1
                raise
            state.page_id = page.page_id
            self._figures.pages += 1
            self._figures.appended_at = real_now().mono
        state.number += len(events)
        self._figures.events += len(events)
        if isinstance(events[-1], Closed):  # nothing follows it, unless the run joins again
            del self._logs[run_id]
