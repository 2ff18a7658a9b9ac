"""A world in virtual time: a fake server, scheduled actions on it, and a session that watches.

No Rx, no thread, no socket and no real clock: the session returns its next command, time passes,
due actions run, and the session receives the reply. Requests take time, too, so actions run between
any two of them.
"""

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Self

import httpx
from conversations import carry_out, send_to_fake

from rxflow._backends.prefect3 import Prefect3
from rxflow._models.times import Now
from rxflow._protocol.failures import Failure, FailureKind, Reply
from rxflow._protocol.push import AnnouncedChange, Announcement, PushTopic
from rxflow._protocol.queries import Query
from rxflow._watching.event_order import EventPages
from rxflow._watching.run_session import RunSession
from rxflow._watching.session import Done, Fetch, Session, Wait
from rxflow._watching.watch_spec import WatchSpec
from rxflow.errors import RxflowError
from rxflow.events import Closed, FlowRunEvent
from rxflow.testing import FakePrefect3, Faults, VirtualTime

START = datetime(2026, 11, 22, 12, tzinfo=UTC)
LATENCY = 0.01
"""Seconds that a request takes."""


class World:
    """A fake server and its time, in seconds since `START`."""

    def __init__(self, **options: Any) -> None:
        """Make a world at second 0.

        Args:
            options: Those of `FakePrefect3`; with ``random``, it draws the order of ties too.
        """
        self.time = VirtualTime(START)
        faults = Faults(ties="random" in options)
        self.server = FakePrefect3(clock=self.time, faults=faults, **options)
        self.fault: Callable[[Query], Failure | None] = lambda _: None

    @property
    def now(self) -> float:
        """The time; while an action runs, the time for which it was scheduled."""
        return (self.server.now() - self.time.beginning).total_seconds()

    def clock(self) -> datetime:
        """The server's time."""
        return self.server.now()

    def at(self, seconds: float, action: Callable[[], object]) -> None:
        """Schedule an action."""
        self.server.at(self.time.beginning + timedelta(seconds=seconds), action)

    def next_action_in(self) -> float:
        """Return the seconds until the next scheduled action, 0 if it is overdue; else infinity."""
        actions = self.server._schedule._actions
        if not actions:
            return math.inf
        return max(0.0, (actions[0][0] - self.server.now()).total_seconds())

    def wait(self, seconds: float) -> None:
        """Let time pass, and run the actions that are due."""
        self.time.wait(seconds)
        self.server.catch_up()

    def send(self, query: Query) -> Reply:
        """Return the reply of the server, between two halves of the latency."""
        self.wait(LATENCY / 2)
        failure = self.fault(query)
        reply = failure or exchange(self.server, query)
        self.wait(LATENCY / 2)
        return reply


class SimulatedWatch:
    """A watch: its queries and events with their times, and how it ended.

    Attributes:
        emitted: The events, each with the time at which it was emitted.
        sent: The queries, each with the time at which it was sent.
    """

    def __init__(
        self, world: World, spec: WatchSpec, *, seed: int = 0, session: Session | None = None
    ) -> None:
        """Make a watch that has sent no query yet.

        Args:
            world: What it watches.
            spec: What to watch, by a session over one run.
            seed: That of the session's jitter.
            session: Another session, in place of that one.
        """
        self.world = world
        self.session: Session = session or RunSession(spec, Random(seed))
        self.emitted: list[tuple[float, FlowRunEvent]] = []
        self.sent: list[tuple[float, Query]] = []
        self._announced = False
        self.ended = False
        self.error: RxflowError | None = None

    @property
    def events(self) -> list[FlowRunEvent]:
        """The events emitted, in order."""
        return [event for _, event in self.emitted]

    @property
    def closed(self) -> Closed:
        """The last event, which is Closed."""
        last = self.events[-1]
        assert isinstance(last, Closed), last
        return last

    def of(self, kind: type[Any]) -> list[Any]:
        """Return the events of a kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def run(self, until: float = 1e6) -> Self:
        """Watch to the end, or until a time."""
        while not self.ended and self.world.now < until:
            self.step(until)
        return self

    def step(self, until: float = 1e6) -> None:
        """Carry out one command."""
        self.record(self.session.wake(self.now()))
        match self.session.next_command(self.now()):
            case Fetch(query):
                self._fetch(query)
            case Wait(seconds):
                self._wait(min(seconds, max(0.0, until - self.world.now)))
            case Done(error):
                self.ended, self.error = True, error

    def _fetch(self, query: Query) -> None:
        """Send a query, and let the session receive the reply."""
        self.sent.append((self.world.now, query))
        reply = self.world.send(query)
        self.record(self.session.receive(reply, self.now()))

    def go_on_with(self, session: Session, handed_on: int) -> None:
        """Replace the session after so many events; those after them were emitted in vain."""
        del self.emitted[handed_on:]
        self.session = session

    def announce(self, flow_run_id: str, change: AnnouncedChange) -> None:
        """Announce a change of a run now."""
        announcement = Announcement(flow_run_id=flow_run_id, change=change)
        self.session.receive_announcements([announcement], self.now())
        self._announced = True

    def fail_push(self, failure: Failure, *, opened: bool) -> None:
        """Let the connection for events end now."""
        self.session.receive_push_failure(PushTopic.EVENTS, failure, self.now(), opened=opened)
        self._announced = True

    def _wait(self, seconds: float) -> None:
        """Let time pass, up to an action that announced something."""
        end = self.world.now + seconds
        self._announced = False
        while not self._announced and (left := end - self.world.now) > 0:
            self.world.wait(min(left, self.world.next_action_in()))

    def now(self) -> Now:
        """Return the time, by a monotonic clock that started at another moment."""
        return Now(self.world.now - 1e3, self.world.clock())

    def record(self, pages: EventPages) -> None:
        """Record the events that are emitted now."""
        self.emitted += [(self.world.now, event) for _, page in pages for event in page]


def exchange(server: FakePrefect3, query: Query) -> Reply:
    """Return the reply of a fake server, by the real codec; a broken connection is a failure."""
    try:
        return carry_out(
            Prefect3().converse(query),
            lambda call: send_to_fake(server.handle, "http://fake.invalid/api", call),
        )
    except httpx.ConnectError:
        return Failure(kind=FailureKind.REFUSED, text="Nothing listens there")
    except httpx.TransportError as error:
        return Failure(kind=FailureKind.NETWORK, text=type(error).__name__)


def refused(_: Query) -> Failure:
    """Return the failure of a refused connection, whatever the query."""
    return Failure(kind=FailureKind.REFUSED, text="Nothing listens there")
