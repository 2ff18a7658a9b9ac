"""Watches in virtual time that check while they go on that a failed poll changes nothing.

Of some polls a copy of the session is kept from before they began. If the poll fails, the next one
is carried out with the copy as well: it sends the same queries and emits the same events, so the
failure has left nothing behind but what concerns failures. What holds of a world's rows at each
poll is checked by that world.
"""

from collections.abc import Iterable
from copy import deepcopy
from random import Random
from typing import Any, Protocol

from msgspec.structs import replace
from simulated_world import START, SimulatedWatch, World

from rxflow._protocol.failures import Failure, FailureKind, Reply
from rxflow._protocol.queries import Query
from rxflow._watching.event_order import EventPages
from rxflow._watching.session import Fetch, Session
from rxflow._watching.watch_spec import WatchSpec
from rxflow.events import Closed, FlowRunEvent, Notice

_COPIED = 0.5  # of the polls that may fail, of which a copy of the session is kept
_ADAPTED = {FailureKind.PAGE_LIMIT, FailureKind.REJECTED, FailureKind.RUN_NOT_FOUND}
"""Failures after which the next poll is meant to differ."""


class PolledWorld(Protocol):
    """What checks its rows at each poll."""

    @property
    def may_fail(self) -> bool:
        """Whether a poll may fail now."""

    def begin_poll(self) -> None:
        """Note what there is before a poll."""

    def end_poll(self, requests: int, *, good: bool) -> None:
        """Check what a poll has emitted.

        Args:
            requests: How many requests it took.
            good: Whether it succeeded.
        """


class CheckedWatch(SimulatedWatch):
    """A watch whose polls are checked.

    Attributes:
        broken: The rules that a poll has broken.
        compared: How many polls were repeated by a copy of the session.
    """

    def __init__(
        self,
        world: World,
        spec: WatchSpec,
        *,
        seed: int = 0,
        session: Session | None = None,
        polled: PolledWorld | None = None,
    ) -> None:
        """Make a watch that has sent no query yet; the other arguments are those of its base.

        Args:
            world: What it watches.
            spec: What to watch, by a session over one run.
            seed: That of the session's jitter, and of which polls are repeated.
            session: Another session, in place of that one.
            polled: What checks the rows at each poll.
        """
        super().__init__(world, spec, seed=seed, session=session)
        self.broken: set[str] = set()
        self.compared = 0
        self._polled = polled
        self._random = Random(f"copies {seed}")
        self._requests = 0  # of the poll under way
        self._before: Session | None = None  # the session as it was before the poll under way
        self._copy: Session | None = None  # it, once that poll has failed

    def go_on_with(self, session: Session, handed_on: int) -> None:
        """Replace the session, whose poll under way is broken off."""
        super().go_on_with(session, handed_on)
        self._before = self._copy = None
        self._requests = 0

    def step(self, until: float = 1e6) -> None:
        """Carry out one command; keep a copy of some sessions before their polls begin."""
        polled, session = self._polled, self.session
        if session._poll is None and polled is not None and polled.may_fail:
            keeps = self._copy is None and self._random.random() < _COPIED
            self._before = deepcopy(session) if keeps else None
        super().step(until)

    def _fetch(self, query: Query) -> None:
        copy = self._copy
        if not self._requests and self._polled is not None:
            self._polled.begin_poll()
        if copy is not None and copy.next_command(self.now()) != Fetch(query):
            self.broken.add("I6: the poll after a failed one sends other queries")
            copy = self._copy = None
        self._requests += 1
        self.sent.append((self.world.now, query))
        reply = self.world.send(query)
        pages = self.session.receive(reply, self.now())
        self.record(pages)
        if copy is not None:
            self._compare(copy, reply, pages)
        self._check_failure(reply, pages)
        if self.session._poll is None:
            self._end_poll(reply)

    def _compare(self, copy: Session, reply: Reply, pages: EventPages) -> None:
        """Let the copy receive the reply, too; the poll is compared up to its end."""
        emitted = copy.receive(reply, self.now())
        if _without_notices(emitted) != _without_notices(pages):
            self.broken.add("I6: the poll after a failed one emits other events")
        if self.session._poll is None:
            self._copy = None
            self.compared += not isinstance(reply, Failure)

    def _check_failure(self, reply: Reply, pages: EventPages) -> None:
        if not isinstance(reply, Failure) or reply.kind is FailureKind.RUN_NOT_FOUND:
            return
        if _without_notices(pages):
            self.broken.add("I6: a failed poll emits events")

    def _end_poll(self, reply: Reply) -> None:
        failed = isinstance(reply, Failure)
        if isinstance(reply, Failure) and reply.kind not in _ADAPTED:
            self._copy = self._before
        self._before = None
        requests, self._requests = self._requests, 0
        if self._polled is not None:
            self._polled.end_poll(requests, good=not failed)


def _without_notices(pages: EventPages) -> list[FlowRunEvent]:
    """Return the events that do not say how the watch itself fares."""
    events: Iterable[Any] = (event for _, page in pages for event in page)
    return [
        # A notice may be later than the server's time, and `Closed` is not before it.
        replace(event, timestamp=START) if isinstance(event, Closed) else event
        for event in events
        if not isinstance(event, Notice)
    ]
