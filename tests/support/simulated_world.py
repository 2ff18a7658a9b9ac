"""A world in virtual time: a fake server, what happens on it, and a session that watches.

No Rx, no thread, no socket and no real clock: a session is asked for its next command, time moves
on, what is due happens, and the answer goes back. Requests take time too, so things happen between
any two of them.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import httpx
from conversations import carry_out, send_to_fake

from rxflow._backends.prefect3 import Prefect3
from rxflow._models.times import Now
from rxflow._protocol.failures import Failure, FailureKind, Reply
from rxflow._protocol.queries import Query
from rxflow._watching.event_order import EventPages
from rxflow._watching.session import Done, Fetch, Session, Wait
from rxflow._watching.watch_spec import WatchSpec
from rxflow.errors import RxflowError
from rxflow.events import Closed, FlowRunEvent
from rxflow.testing import FakePrefect3, Faults, VirtualTime

START = datetime(2026, 11, 22, 12, tzinfo=UTC)
LATENCY = 0.01
"""Seconds that a request takes."""


class World:
    """A fake server and the time on it, in seconds since `START`."""

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
        """The time; while something happens, the time at which it was to happen."""
        return (self.server.now() - self.time.beginning).total_seconds()

    def clock(self) -> datetime:
        """The server's time."""
        return self.server.now()

    def at(self, seconds: float, action: Callable[[], object]) -> None:
        """Have something happen at a time."""
        self.server.at(self.time.beginning + timedelta(seconds=seconds), action)

    def wait(self, seconds: float) -> None:
        """Let time pass, and happen what is due."""
        self.time.wait(seconds)
        self.server.catch_up()

    def send(self, query: Query) -> Reply:
        """Have the server answer a question, after half the latency and before the other half."""
        self.wait(LATENCY / 2)
        failure = self.fault(query)
        answer = failure or exchange(self.server, query)
        self.wait(LATENCY / 2)
        return answer


class Watched:
    """What a watch told: events with their times, and how it ended."""

    def __init__(self, world: World, spec: WatchSpec, *, seed: int = 0) -> None:
        """Make a watch that has asked nothing yet."""
        self.world = world
        self.session = Session(spec, Random(seed))
        self.told: list[tuple[float, FlowRunEvent]] = []
        self.asked: list[tuple[float, Query]] = []
        self.ended = False
        self.error: RxflowError | None = None

    @property
    def events(self) -> list[FlowRunEvent]:
        """What was told, in order."""
        return [event for _, event in self.told]

    @property
    def closed(self) -> Closed:
        """The last event."""
        last = self.events[-1]
        assert isinstance(last, Closed), last
        return last

    def of(self, kind: type[Any]) -> list[Any]:
        """The events of a kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def run(self, until: float = 1e6) -> "Watched":
        """Watch to the end, or until a time."""
        while not self.ended and self.world.now < until:
            self.step(until)
        return self

    def step(self, until: float = 1e6) -> None:
        """Carry out one command."""
        self.take(self.session.wake(self.now()))
        match self.session.next_command(self.now()):
            case Fetch(query):
                self.asked.append((self.world.now, query))
                answer = self.world.send(query)
                self.take(self.session.receive(answer, self.now()))
            case Wait(seconds):
                self.world.wait(min(seconds, max(0.0, until - self.world.now)))
            case Done(error):
                self.ended, self.error = True, error

    def now(self) -> Now:
        """The time, by a monotonic clock that starts anywhere."""
        return Now(self.world.now - 1e3, self.world.clock())

    def take(self, batch: EventPages) -> None:
        """Note what is told."""
        self.told += [(self.world.now, event) for _, page in batch for event in page]


def exchange(server: FakePrefect3, query: Query) -> Reply:
    """Ask a fake server, by its real codec; what breaks off is a failure."""
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
    """A fault: nobody listens."""
    return Failure(kind=FailureKind.REFUSED, text="Nothing listens there")
