"""A live run on either fake server, whose replies a test may alter on their way to the watch.

Everything is in virtual time.
"""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any

import httpx
from engines import events_of_engine
from reactivex import Observable

from rxflow import Client, FlowRunEvent, watch_flow_run
from rxflow._watching.run_session import RunSession
from rxflow.testing import FakePrefect1, FakePrefect3, VirtualTime

Alter = Callable[[httpx.Request, httpx.Response], httpx.Response]
"""Returns what the watch receives for a request in place of the server's response, or raises."""

PREFECT_3_STATES = ("RUNNING", "COMPLETED")
PREFECT_1_STATES = ("Running", "Success")
LIFETIME = 60
"""Seconds after which the run ends."""

_SECOND = timedelta(seconds=1)


class AlteringTransport(httpx.BaseTransport):
    """Alters the responses of another transport."""

    def __init__(self, inner: httpx.BaseTransport, alter: Alter) -> None:
        """Wrap a transport."""
        self._inner = inner
        self._alter = alter

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request on, and return the altered response."""
        return self._alter(request, self._inner.handle_request(request))


class AlteredRun:
    """A run that logs every other second for a minute, and a watch whose replies are altered.

    Attributes:
        time: The virtual time.
        server: The fake server.
        run_id: The run.
        task_run_id: A task run of it.
        events: The events emitted.
        error: The error that the watch ended with.
    """

    def __init__(self, backend: str, *, lifetime: int = LIFETIME, **options: Any) -> None:
        """Make the run, before anything happens to it."""
        self.time = VirtualTime()
        fake = FakePrefect3 if backend == "prefect3" else FakePrefect1
        self.server: FakePrefect3 | FakePrefect1 = fake(clock=self.time, **options)
        running, ended = PREFECT_3_STATES if backend == "prefect3" else PREFECT_1_STATES
        self.run_id = self.server.add_run(state=running)
        self.task_run_id = self.server.add_task_run(self.run_id)
        for second in range(0, lifetime, 2):
            self.server.at(second, partial(self.server.log, self.run_id, f"line {second}"))
        self.server.at(lifetime - 1, partial(self.end_task_run, ended))
        self.server.at(lifetime, partial(self.server.set_state, self.run_id, ended))
        self._backend = backend
        self.events: list[FlowRunEvent] = []
        self.error: Exception | None = None
        self.completed = False

    def end_task_run(self, state: str) -> None:
        """Set the task run's last state."""
        if isinstance(self.server, FakePrefect3):
            self.server.set_task_state(self.run_id, self.task_run_id, state)
        else:
            self.server.set_task_state(self.task_run_id, state)

    def watch(
        self, alter: Alter, *, seconds: float = 3600, jitter: Random | None = None, **options: Any
    ) -> "AlteredRun":
        """Watch to the end, or for some seconds.

        Args:
            alter: Alters the replies.
            seconds: The longest that the watch may take.
            jitter: Draws the jitter of the pauses; None for that of `watch_flow_run`, which differs
                from one watch to the next.
            options: Those of `watch_flow_run`.
        """
        path = "/api" if self._backend == "prefect3" else ""
        client = Client(
            api_url=f"http://fake.invalid{path}",
            backend=self._backend,
            transport=AlteringTransport(self.server.transport(), alter),
        )
        watched = watch_flow_run(self.run_id, client=client, **options)
        stream: Observable[FlowRunEvent] = watched
        if jitter is not None:
            session = RunSession(watched._spec, jitter)
            stream = events_of_engine(session, client, sorted(watched._spec.sources))

        def fail(error: Exception) -> None:
            self.error = error

        def complete() -> None:
            self.completed = True

        subscription = stream.subscribe(self.events.append, fail, complete, scheduler=self.time)
        until = self.time.seconds + seconds
        while not (self.completed or self.error) and self.time.seconds < until:
            self.time.advance_to(self.time.now + _SECOND)
        subscription.dispose()
        return self
