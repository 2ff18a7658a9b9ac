"""Watch worlds of many runs by two relays, which are stopped and killed again and again.

Each relay has a session of its own, and appends what that emits, page by page, to one store of
logs. A relay that is stopped goes on later, with what it knew before; one that is killed may have
appended the events of some runs and not of others. What is in the logs at the end is checked as the
events of one watch.
"""

from random import Random
from typing import Any

from hostile_worlds import Result
from many_run_worlds import ManyRunKind, ManyRunWatch
from simulated_world import SimulatedWatch

from rxflow._watching.event_order import EventPages
from rxflow._watching.runs_session import RunsSession
from rxflow._watching.watch_spec import WatchSpec
from rxflow.events import AllClosed, FlowRunEvent, decode_event
from rxflow.relay._broker import Moved
from rxflow.relay._memory import MemoryStore
from rxflow.relay._pages import Unpacker, pages_of

_KILLS = 0.03  # of all steps of a relay
_STOPS = 0.02
_STOPPED = (0.5, 4.0, 30.0)  # seconds
_MOST_FAULTS = 24  # so that a long history is read at last


class _Killed(Exception):
    """A relay was killed."""


class _Relay(SimulatedWatch):
    """One relay; `record` appends to the logs."""

    def __init__(self, worlds: "RelayedRuns", session: RunsSession) -> None:
        super().__init__(worlds, worlds.spec, session=session)
        self.worlds = worlds
        self.logs: dict[str, tuple[int, int, str]] = {}  # of each run: end, number of events, id
        self.stopped_until = 0.0
        self.last: list[FlowRunEvent] = []  # what names no run

    def read_logs(self) -> None:
        """Let the session go on after the logs of the runs that joined."""
        session = self.session
        assert isinstance(session, RunsSession)
        while (run_id := session.next_joined()) is not None:
            stored = self.worlds.store.read(("default", run_id), 0, 10**6)
            events = self.worlds.events_of(run_id)
            if events:
                session.record_emitted(events)
            end, page_id = (stored[-1].position, stored[-1].page.page_id) if stored else (0, "")
            self.logs[run_id] = end, len(events), page_id

    def record(self, pages: EventPages) -> None:
        """Append the events that are emitted now, one run after the other."""
        of_runs: dict[str, list[FlowRunEvent]] = {}
        for event in (event for _, page in pages for event in page):
            of_runs.setdefault(event.flow_run_id, []).append(event)
        self.last += of_runs.pop("", [])
        for run_id, events in of_runs.items():
            self.worlds.may_kill()
            end, number, page_id = self.logs[run_id]
            for page in pages_of(events, first=number, previous_id=page_id):
                position = self.worlds.store.append(("default", run_id), page, end)
                if position is None:
                    raise Moved(run_id)
                end, page_id = position, page.page_id
                self.worlds.may_kill()
            self.logs[run_id] = end, number + len(events), page_id


class RelayedRuns(ManyRunWatch):
    """Two relays of many runs.

    Attributes:
        store: The broker.
        fenced: How often an append was refused.
        stops: How often a relay was stopped.
    """

    def __init__(self, seed: int, kind: ManyRunKind | None = None) -> None:
        """Draw the world and the faults from the seed."""
        super().__init__(seed, kind)
        self._fault_random = Random(f"relays {seed}")
        self.spec: WatchSpec = self.session._spec
        self.store = MemoryStore()
        self.fenced = self.stops = 0
        self.relays = [self._new_relay() for _ in range(2)]
        self.session = _AllSessions(self)  # type: ignore[assignment]

    def watch(self) -> Result:
        """Watch the world to its end, and check the promises of what is in the logs."""
        result = super().watch()
        result.kills = self.kills
        return result

    def events_of(self, run_id: str) -> list[FlowRunEvent]:
        """Return the events in a run's log, which must be whole if appends are fenced."""
        pages = self.store.read(("default", run_id), 0, 10**6)
        if not self.store.fenced:
            return [decode_event(line) for each in pages for line in each.page.body.splitlines()]
        unpacker = Unpacker(run_id)
        return [event for page in pages for event in unpacker.take(page).events]

    def may_kill(self) -> None:
        """Kill the relay that takes a step, now and then."""
        faults = self.kills + self.stops
        if self._has_begun and faults < _MOST_FAULTS and self._fault_random.random() < _KILLS:
            raise _Killed

    @property
    def _has_begun(self) -> bool:
        return all(relay.session._outages._retry._attached for relay in self.relays)

    def _new_relay(self) -> _Relay:
        random = Random(self._fault_random.random())
        session = RunsSession(self.spec, random, goes_on=True)
        session.add(self.given)
        if self.are_all_given:
            session.complete()
        return _Relay(self, session)

    def _run(self, until: float) -> None:
        random = self._fault_random
        while self.now < until and not all(relay.ended for relay in self.relays):
            ready = [
                relay
                for relay in self.relays
                if not relay.ended and relay.stopped_until <= self.now
            ]
            if not ready:
                self.wait(0.1)
                continue
            relay = random.choice(ready)
            try:
                relay.read_logs()
                relay.step(min(until, self.now + 1.0))
                self.may_kill()
            except Moved:
                self.fenced += 1
                self._replace(relay)
            except _Killed:
                self.kills += 1
                self._replace(relay).stopped_until = self.now + random.choice((0.0, 3.0, 20.0))
            if self._has_begun and self.stops < _MOST_FAULTS and random.random() < _STOPS:
                self.stops += 1
                relay.stopped_until = self.now + random.choice(_STOPPED)

    def _replace(self, relay: _Relay) -> _Relay:
        new = self._new_relay()
        self.relays[self.relays.index(relay)] = new
        return new

    def _check(self) -> Result:
        watched: Any = self.watched
        for member in self.members:
            watched.emitted += [(self.now, event) for event in self.events_of(member.run_id)]
        last = [event for event in self.relays[0].last if isinstance(event, AllClosed)]
        watched.emitted += [(self.now, event) for event in last]
        watched.ended = all(relay.ended and relay.error is None for relay in self.relays)
        self.session = self.relays[0].session  # type: ignore[assignment]
        self.kills = max(self.kills, 1)  # the two relays are no single watch
        return super()._check()

    def _check_member(self, *arguments: Any) -> list[str]:
        # Which of the relays has closed a run last is not known; `AllClosed` is in no log.
        return [rule for rule in super()._check_member(*arguments) if rule != "outcome"]


class _AllSessions:
    """Passes the runs to the sessions of all relays."""

    def __init__(self, runs: RelayedRuns) -> None:
        self._runs = runs

    def add(self, flow_run_ids: list[str]) -> None:
        for relay in self._runs.relays:
            relay.session.add(flow_run_ids)  # type: ignore[attr-defined]

    def complete(self) -> None:
        for relay in self._runs.relays:
            relay.session.complete()  # type: ignore[attr-defined]
