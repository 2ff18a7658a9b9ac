"""A relay: hold a share of the runs, watch them, and append what they emit to the broker.

    wants, filters --> which runs --> RelayedWatch --> logs on the broker
    leases ---------> which share --^

It gives up on nothing that may pass: while Prefect's server or the broker is away it starts the
watch again and again, and each watch goes on after the events in the logs. So a run that was left,
since it was not wanted for a while, misses nothing once it is wanted again. A relay that looks for
runs leaves none: it takes up those whose logs are not closed.

Belongs here: when a watch is started, and what it is about. Does not belong here: the watch
(`_relayed_watch`), the share (`_shares`), which logs are dropped (`_retention`).
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import timedelta
from math import inf
from random import Random

import msgspec

from rxflow._protocol.queries import RunFilter
from rxflow._runtime.clocks import apause, real_now
from rxflow._watching.watch_spec import RunSelection, WatchSpec
from rxflow.client import Client
from rxflow.errors import BrokerFailed, RxflowError, UnsupportedFilter, UnsupportedServer
from rxflow.relay._additions import Additions
from rxflow.relay._broker import Broker, Moved
from rxflow.relay._departures import Departures
from rxflow.relay._figures import Figures
from rxflow.relay._health import Health
from rxflow.relay._relayed_watch import RelayedWatch
from rxflow.relay._retention import Retention
from rxflow.relay._shares import Shares

_SHORTEST_PAUSE = 0.5  # seconds until a watch that failed is started again
_LONGEST_PAUSE = 30.0
_HEALTH_INTERVAL = 5.0  # seconds between two looks at the health
_BROKER_PAUSE = 1.0  # seconds until work is tried again that the broker has refused
_REFUSAL_SECONDS = 10.0  # without a refusal, until it is over

Report = Callable[[str], None]
"""Receives sentences for people."""


class RelayOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a relay watches, and how it shares that with others.

    Attributes:
        where: Which runs to look for, beside those that readers want; None for no others.
        since_seconds: Of those, the ones that started so long before a watch, or later; an earlier
            one is watched if its log is not closed.
        spec: What is watched of each run; its run is not used.
        shards: How many shards the runs of the workspace are divided into; the same for all its
            relays, of which there are so many at most.
        lease_seconds: After how many seconds others take over from a relay that has gone.
        keep_seconds: For how many seconds a log is kept after its last page.
        replicas: How many servers of the broker's cluster keep each log; None for its default.
        max_bytes: How large all logs may become; None for the broker's default.
    """

    where: RunFilter | None = None
    since_seconds: float = 3600.0
    spec: WatchSpec = WatchSpec(flow_run_id="")
    shards: int = 8
    lease_seconds: float = 3.0
    keep_seconds: float = 7 * 86400.0
    replicas: int | None = None
    max_bytes: int | None = None

    def selection(self) -> RunSelection:
        """Return which runs a watch that begins now looks for."""
        if self.where is None:
            return RunSelection(forever=True)
        start = real_now().utc - timedelta(seconds=self.since_seconds)
        where = msgspec.structs.replace(self.where, started_after=start)
        return RunSelection(where=where, discover=True, forever=True)


class Relay:
    """One relay, on one event loop.

    Attributes:
        figures: What it has done and is doing.
    """

    def __init__(
        self,
        broker: Broker,
        client: Client,
        options: RelayOptions,
        report: Report = lambda _: None,
    ) -> None:
        """Create a relay that does nothing yet.

        Args:
            broker: The connection to the broker, opened on the running loop.
            client: The client of Prefect's server.
            options: What it watches.
            report: Receives what people should know.
        """
        self.figures = Figures()
        self.broker = broker
        self._client = client
        self._options = options
        self._report = report
        self._changed = asyncio.Event()
        self._wanted: set[str] = set()
        self._said: set[str] = set()  # of which readers have said so since runs were last added
        self._refused: set[str] = set()  # whose logs cannot be read here
        self._watch: RelayedWatch | None = None
        self._pause = _SHORTEST_PAUSE
        self._refusal = ""  # by the broker, as reported last; "" once it works again
        self._refused_at = -inf
        self._random = Random()  # noqa: S311 - jitter, not a secret
        self._shares = Shares(
            broker,
            self.figures,
            self._on_share,
            shards=options.shards,
            lease_seconds=options.lease_seconds,
        )
        self._retention = Retention(
            broker, options.keep_seconds, self.figures, self._shares.accepts, self._is_in_use
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Relay until this is stopped.

        Args:
            stop: Is set to stop it; the leases are then handed over at once.

        Raises:
            UnsupportedFilter: Prefect's server cannot filter by one of the filters.
            UnsupportedServer: The server is of a kind that is not supported.
            BrokerFailed: The broker has ended the connection.
        """
        work = [
            asyncio.create_task(task)
            for task in (
                self._retry(self._shares.keep),
                self._retry(self._follow_wants),
                self._retry(self._retention.keep),
                self._watch_forever(),
                self._report_health(),
            )
        ]
        stopped = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait({stopped, *work}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (stopped, *work):
                task.cancel()
            await asyncio.gather(stopped, *work, return_exceptions=True)
            await self._shares.release()

    async def _retry(self, work: Callable[[], Coroutine[None, None, None]]) -> None:
        """Do work that ends only if the broker refuses something, again and again.

        A broker that was restored, or keeps something in memory alone, may have to be set up again.
        """
        while True:
            try:
                await work()
            except BrokerFailed as error:
                self._report_refusal("waits for its broker", error)
            await apause(_BROKER_PAUSE)
            with suppress(BrokerFailed):
                await self.set_up()

    async def set_up(self) -> None:
        """Create on the broker what relays need, or change its settings where they differ.

        Raises:
            BrokerFailed: The broker refuses it.
        """
        options = self._options
        await self.broker.setup(replicas=options.replicas, max_bytes=options.max_bytes)

    def _report_refusal(self, what: str, error: BrokerFailed) -> None:
        """Say that the broker refuses something, once for all the work that it refuses.

        Raises:
            BrokerFailed: It has ended the connection, so that no more work can be done on that.
        """
        if error.is_ended:
            raise error
        self._refused_at = real_now().mono
        if str(error) != self._refusal:
            self._refusal = str(error)
            self._report(f"{what}: {error}")

    def _end_refusal(self) -> None:
        """Say that the broker refuses nothing any more, once it replies and none was for a while.

        Work that is refused is so within seconds of each new attempt.
        """
        is_over = real_now().mono - self._refused_at >= _REFUSAL_SECONDS
        if self._refusal and is_over and self.figures.heard_at > self._refused_at:
            self._refusal = ""
            self._report("works with its broker again")

    async def _report_health(self) -> None:
        """Say when the relay cannot work, and when it can again."""
        health, was_healthy = Health(self.figures, self.broker), True
        while True:
            wrong = health.wrong()
            if wrong is not None and was_healthy:
                self._report(f"cannot work: {wrong}")
            elif wrong is None and not was_healthy:
                self._report("works again")
            was_healthy = wrong is None
            self._end_refusal()
            await apause(_HEALTH_INTERVAL)

    # -- which runs -----------------------------------------------------------------------------

    async def _follow_wants(self) -> None:
        self._wanted.clear()  # what was wanted before is said again, or is wanted no more
        async for run_id, is_wanted in self.broker.wanted():
            if is_wanted:
                self._wanted.add(run_id)
                self._said.add(run_id)
            else:
                self._wanted.discard(run_id)
                self._said.discard(run_id)
            self._changed.set()

    def _accepts(self, run_id: str) -> bool:
        """Whether a run is one to watch. Callable from any thread."""
        return self._shares.accepts(run_id) and run_id not in self._refused

    def _refuse(self, run_id: str, error: RxflowError) -> None:
        """Leave a run alone until this relay is started again, perhaps in another version."""
        self._refused.add(run_id)
        self._report(
            f"cannot read the log of flow run {run_id}, and does not watch the run until it is "
            f"started again: {error}"
        )

    def _is_in_use(self, run_id: str) -> bool:
        return run_id in self._wanted or (self._watch is not None and self._watch.has_run(run_id))

    def _on_share(self) -> None:
        held = self._shares.held
        self.figures.shards, self.figures.leases = len(held), int(bool(held))
        numbers = ", ".join(map(str, sorted(held)))
        self._report(f"watches shards {numbers} of {self._options.shards}" if held else "no share")
        self._changed.set()

    # -- watches --------------------------------------------------------------------------------

    async def _watch_forever(self) -> None:
        while True:
            if not self._shares.held:
                self._changed.clear()
                await self._changed.wait()
                continue
            try:
                await self._watch_share()
            except Moved:  # another relay watches one of the runs, or did until now
                await apause(self._random.uniform(0, self._options.lease_seconds / 6))
            except (UnsupportedFilter, UnsupportedServer):
                raise
            except RxflowError as error:
                await self._pause_after(error)

    async def _pause_after(self, error: RxflowError) -> None:
        """Wait before the next watch, longer each time unless Prefect's server has replied."""
        text = "starts its watch again, which ended"
        if isinstance(error, BrokerFailed):
            self._report_refusal(text, error)
        else:
            self._report(f"{text}: {error}")
        if real_now().mono - self.figures.polled_at < self._pause:
            self._pause = _SHORTEST_PAUSE
        await apause(self._random.uniform(0.5, 1.0) * self._pause)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    async def _watch_share(self) -> None:
        """Watch the runs of the share until that is smaller, or the watch ends."""
        held = self._shares.held
        watch = RelayedWatch(
            self.broker,
            self._client,
            spec=self._options.spec,
            selection=self._options.selection(),
            figures=self.figures,
            accepts=self._accepts,
            refuse=self._refuse,
            report=self._report,
        )
        additions, departures = Additions(watch.has_run), Departures()
        watch.ended.add_done_callback(lambda _: self._changed.set())
        async with watch:
            self._watch = watch
            try:
                while True:
                    self._changed.clear()
                    if held - self._shares.held:
                        return None
                    if self._options.where is not None and held != self._shares.held:
                        return None  # the finder has left out what others watched
                    held = self._shares.held
                    due_in = self._change_runs(watch, additions, departures, real_now().mono)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(due_in):
                            await self._changed.wait()
                    if watch.ended.done():
                        return watch.ended.result()
            finally:
                self._watch = None
                self.figures.runs = 0

    def _change_runs(
        self, watch: RelayedWatch, additions: Additions, departures: Departures, now: float
    ) -> float | None:
        """Add the runs to a watch that are wanted, and leave those that are not wanted any more.

        Returns:
            In how many seconds more is to be done; None if that needs another want.
        """
        wanted = {run_id for run_id in self._wanted if self._accepts(run_id)}
        said, self._said = self._said, set()
        if new := additions.next_runs(wanted, said, now):
            watch.add(new)
        if self._options.where is not None:
            self.figures.polls_since = min(self.figures.polls_since, now)
            return additions.due_in(now)
        self.figures.polls_since = min(self.figures.polls_since, now) if wanted else inf
        if old := departures.next_runs(wanted, now):
            watch.leave(old)
        dues = (additions.due_in(now), departures.due_in(now))
        return min((due for due in dues if due is not None), default=None)
