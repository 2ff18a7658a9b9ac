"""What both fake servers share: how they are reached, and what a request goes through.

A request passes faults, gates and an interceptor before the server replies to it. Belongs here:
everything that does not depend on the kind of server. Does not belong here: rows and routes, which
are in `_prefect3/` and `_prefect1/`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from random import Random
from typing import TYPE_CHECKING, ClassVar

import httpx

from rxflow._models.arguments import check_type
from rxflow._models.entities import BackendName
from rxflow._runtime.clocks import real_now
from rxflow.client import Client
from rxflow.testing import _exchange, _http_server
from rxflow.testing._exchange import Steps
from rxflow.testing._faults import FaultDraw, Faults, draw_fault
from rxflow.testing._hold import Hold
from rxflow.testing._rows import Shuffle
from rxflow.testing._timeline import Timeline
from rxflow.testing._transport import FakeTransport
from rxflow.testing._virtual_time import VirtualTime

if TYPE_CHECKING:
    from rxflow.testing._websocket import Websocket


class FakeServer(Timeline, ABC):
    """A server in memory; a subclass adds its tables and its replies.

    The subclass also inherits from its store, a `Timeline` with the same arguments, which
    `__init__` sets up.
    """

    _backend: ClassVar[BackendName]
    _api_path: ClassVar[str]
    _api_key: str | None = None

    def __init__(
        self,
        *,
        clock: Callable[[], datetime] | None,
        wait: Callable[[float], object] | None,
        random: Random | None,
        faults: Faults,
    ) -> None:
        """Make a server; the arguments are those of `FakePrefect3`."""
        super().__init__(clock or (lambda: real_now().utc), random)
        check_type("faults", faults, Faults, "rxflow.testing.Faults(...)")
        self.faults = faults
        self.intercept: Callable[[httpx.Request], httpx.Response | None] | None = None
        # A generator of its own, so that ids are the same with faults and without.
        self._fault_random = Random(random.getrandbits(64) if random else 0)  # noqa: S311 - no secret
        self._wait = wait or (clock.wait if isinstance(clock, VirtualTime) else None)
        self._holds: list[Hold] = []

    # -- connections ----------------------------------------------------------------------------

    def client(self) -> Client:
        """Make a client of this server that needs no network.

        Example:
            >>> import rxflow
            >>> from rxflow.testing import FakePrefect1
            >>> server = FakePrefect1()
            >>> run_id = server.add_run(name="nightly", state="Running")
            >>> _ = server.log(run_id, "hello")
            >>> _ = server.set_state(run_id, "Success")
            >>> stream = rxflow.watch_flow_run(run_id, drain=0, client=server.client())
            >>> for event in stream:
            ...     print(event.message)
            Watching flow run 'nightly'
            Entered state Running
            hello
            Entered state Success
            Flow run ended in state Success; 1 log line, verified
        """
        return Client(
            api_url=f"http://fake.invalid{self._api_path}",
            api_key=self._api_key,
            backend=self._backend,
            transport=self.transport(),
        )

    def transport(self) -> FakeTransport:
        """Make an httpx transport that ends in this server, for blocking and async clients.

        Example:
            >>> import asyncio
            >>> import httpx
            >>> from rxflow.testing import FakePrefect3
            >>> server = FakePrefect3()
            >>> async def version():
            ...     api = "http://fake.invalid/api"
            ...     async with httpx.AsyncClient(transport=server.transport()) as http:
            ...         return (await http.get(f"{api}/admin/version")).json()
            >>> asyncio.run(version())
            '3.8.8'
        """
        return FakeTransport(self._steps, self._wait)

    def serve(self) -> AbstractContextManager[str]:
        """Serve over real HTTP, on a free port of this machine, while a ``with`` block lasts.

        Returns:
            A context manager that gives the API's URL, for ``PREFECT_API_URL`` or a `Client`; at
            its end neither a thread nor a connection is left.

        Example:
            >>> import rxflow
            >>> from rxflow.testing import FakePrefect3
            >>> server = FakePrefect3()
            >>> with server.serve() as api_url, rxflow.Client(api_url=api_url) as client:
            ...     rxflow.FlowRunView.from_flow_run_id(server.add_run(), client=client).name
            'fake-run'
        """
        return _http_server.serve(
            self._steps, self._wait, path=self._api_path, announce_to=self._announce_to
        )

    def handle(self, request: httpx.Request) -> httpx.Response:
        """Handle one request, as `transport` does.

        Raises:
            httpx.TransportError: `faults` or `intercept` made the request fail.
        """
        return self.transport().handle_request(request)

    def hold(self, which: Callable[[httpx.Request], bool] | None = None) -> Hold:
        """Make requests wait from now on.

        Args:
            which: Selects the requests that must wait; None: all.

        Returns:
            The gate that they wait at; a ``with`` block opens it at its end.

        Example:
            >>> import asyncio
            >>> import httpx
            >>> from rxflow.testing import FakePrefect3
            >>> server = FakePrefect3()
            >>> async def cancel():
            ...     async with httpx.AsyncClient(transport=server.transport()) as http:
            ...         with server.hold() as hold:
            ...             task = asyncio.create_task(http.get("http://fake.invalid/api/flows"))
            ...             await hold.auntil_reached()
            ...             task.cancel()
            ...             await hold.auntil_left()
            ...             return hold.left
            >>> asyncio.run(cancel())
            1
        """
        gate = Hold(which)
        with self._lock:
            self._holds = [*(hold for hold in self._holds if not hold.is_open), gate]
        return gate

    # -- requests -------------------------------------------------------------------------------

    def _steps(self, request: httpx.Request) -> Steps:
        """Run one request: yield what it waits for, return its response."""
        self.catch_up()
        faults = self.faults
        draw = draw_fault(faults, self._fault_random)
        if draw.kind == "refused":
            _exchange.refuse_connection(request)
        if faults.latency:
            yield faults.latency / 2
        self._record(request)
        for hold in self._holds:
            if hold.stops(request):
                with hold.counted():
                    yield hold
        self.catch_up()
        intercepted = self.intercept(request) if self.intercept is not None else None
        if intercepted is not None:
            return intercepted
        if draw.kind == "error":
            response = _exchange.error_response(draw, faults, self.now())
        else:
            response = self._response(request, faults, draw)
        if seconds := faults.latency / 2 + draw.delay:
            yield seconds
        return _exchange.send_back(response, request, draw)

    def _response(self, request: httpx.Request, faults: Faults, draw: FaultDraw) -> httpx.Response:
        with self._lock:
            self.catch_up()
            now = self.now()
            status, body = self._reply(
                request,
                logs_as_of=now - draw.replica_lag if draw.replica_lag else None,
                shuffle=self._fault_random.shuffle if faults.ties else None,
            )
        return _exchange.json_response(status, body, self.now())

    def _announce_to(self, path: str) -> "Callable[[Websocket], None] | None":  # noqa: ARG002
        """Return what talks to the client of a websocket; None to treat it as any request."""
        return None

    @abstractmethod
    def _record(self, request: httpx.Request) -> None:
        """Add a request to the ``requests`` of the server."""

    @abstractmethod
    def _reply(
        self, request: httpx.Request, *, logs_as_of: datetime | None, shuffle: Shuffle | None
    ) -> tuple[int, bytes]:
        """Reply to a request from the tables, under the lock and without faults.

        Args:
            request: The request, with its body read.
            logs_as_of: The time as of which log rows are read; None: now.
            shuffle: Shuffles rows before they are sorted; None: they stay as they were stored.

        Returns:
            The status and the body.
        """
