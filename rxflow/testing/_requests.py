"""The course of a request to a fake server: faults, gates and interceptors, whatever is answered.

It is told in steps, so that a thread, a task and virtual time each wait in their way.
"""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random
from typing import Any, Protocol

import httpx

from rxflow.testing import _exchange
from rxflow.testing._exchange import Steps
from rxflow.testing._faults import FaultDraw, Faults, draw_fault
from rxflow.testing._hold import Hold

Shuffle = Callable[[list[Any]], object]


class Read(Protocol):
    """Answers a request, without a word on what may go wrong."""

    def __call__(
        self, request: httpx.Request, *, age: timedelta, shuffle: Shuffle | None
    ) -> tuple[int, bytes]:
        """Answer it: the status and the body.

        Args:
            request: The request, read.
            age: By how much the log rows are out of date.
            shuffle: How rows get another order before they are sorted; None: they have none.
        """
        ...


class Fake(Protocol):
    """A server that requests are under way to."""

    faults: Faults
    intercept: Callable[[httpx.Request], httpx.Response | None] | None

    def now(self) -> datetime:
        """Tell its time."""
        ...

    def catch_up(self) -> None:
        """Have everything happen that is due."""
        ...


class RequestHandling:
    """What comes between each request and its answer."""

    def __init__(
        self, fake: Fake, note: Callable[[httpx.Request], object], read: Read, dice: Random
    ) -> None:
        """Make the way to a server.

        Args:
            fake: The server.
            note: Puts a request that came on record.
            read: What answers it.
            dice: Decide on what goes wrong.
        """
        self._fake = fake
        self._note = note
        self._read = read
        self._dice = dice
        self._holds: list[Hold] = []
        self._lock = threading.Lock()

    def hold(self, which: Callable[[httpx.Request], bool] | None) -> Hold:
        """Have requests wait from now on, at the gate that is returned."""
        gate = Hold(which)
        with self._lock:
            self._holds = [*(hold for hold in self._holds if not hold.is_open), gate]
        return gate

    def steps(self, request: httpx.Request) -> Steps:
        """Lead a request to its answer."""
        fake = self._fake
        fake.catch_up()
        faults = fake.faults
        fate = draw_fault(faults, self._dice)
        if fate.accident == "refused":
            _exchange.refuse(request)
        if faults.latency:
            yield faults.latency / 2
        self._note(request)
        for hold in self._holds:
            if hold.stops(request):
                with hold.counted():
                    yield hold
        fake.catch_up()
        intercepted = fake.intercept(request) if fake.intercept is not None else None
        if intercepted is not None:
            return intercepted
        if fate.accident == "error":
            response = _exchange.error(fate, faults, fake.now())
        else:
            response = self._answered(request, faults, fate)
        if back := faults.latency / 2 + fate.delay:
            yield back
        return _exchange.deliver(response, request, fate)

    def _answered(self, request: httpx.Request, faults: Faults, fate: FaultDraw) -> httpx.Response:
        shuffle = self._dice.shuffle if faults.ties else None
        status, body = self._read(request, age=fate.age, shuffle=shuffle)
        return _exchange.answer(status, body, self._fake.now())
