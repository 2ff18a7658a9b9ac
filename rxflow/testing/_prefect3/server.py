"""A Prefect 3 server in memory: how it is reached, and how a request is read.

What it holds is in `_store.py`, what it answers in `_answers.py`.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from functools import partial
from random import Random

import httpx

from rxflow._models.entities import BackendName
from rxflow._models.states import StateType
from rxflow._runtime.clocks import real_now
from rxflow.client import Client
from rxflow.testing import _http_server
from rxflow.testing._faults import Faults
from rxflow.testing._hold import Hold
from rxflow.testing._prefect3.routes import Routes, path_of
from rxflow.testing._prefect3.store import Prefect3Store
from rxflow.testing._requests import RequestHandling, Shuffle
from rxflow.testing._transport import FakeTransport
from rxflow.testing._virtual_time import VirtualTime

_NO_FAULTS = Faults()


class FakePrefect3(Prefect3Store):
    """The server. Many threads may ask it and write to it by its methods.

    Its tables are ``runs``, ``states``, ``flows``, ``logs``, ``task_runs``, ``deployments``,
    ``pools`` and ``workers``, with rows as the real server sends them.

    Attributes:
        clock: The server's time.
        faults: What goes wrong; it may be changed at any time.
        requests: The method and path of each request that came, in order.
        intercept: Called with each request when it has come: it may return a response in place of
            the server's, or raise an httpx error in place of any.

    Example:
        >>> import rxflow
        >>> from rxflow.testing import FakePrefect3
        >>> server = FakePrefect3()
        >>> run_id = server.add_run(name="nightly", state="RUNNING")
        >>> _ = server.log(run_id, "hello")
        >>> _ = server.set_state(run_id, "COMPLETED")
        >>> stream = rxflow.watch_flow_run(run_id, drain=0, client=server.client())
        >>> for event in stream:
        ...     print(event.message)
        Watching flow run 'nightly'
        Entered state Running
        hello
        Entered state Completed
        Flow run ended in state Completed; 1 log line, verified
    """

    def __init__(
        self,
        *,
        clock: Callable[[], datetime] | None = None,
        wait: Callable[[float], object] | None = None,
        page_limit: int = 200,
        version: str = "3.8.8",
        random: Random | None = None,
        faults: Faults = _NO_FAULTS,
    ) -> None:
        """Make a server without rows.

        Args:
            clock: The server's time, aware; the real one if None.
            wait: Lets seconds of that time pass, when a request takes some; None: a `VirtualTime`
                passes, and of any other clock they are really waited for.
            page_limit: The most rows that it gives at once.
            version: What it says its version is.
            random: Draws ids and faults, the same ones for the same seed; None: ids that nobody
                knows, and always the same faults.
            faults: What goes wrong.
        """
        super().__init__(clock or (lambda: real_now().utc), random)
        self.faults = faults
        self.requests: list[tuple[str, str]] = []
        self.intercept: Callable[[httpx.Request], httpx.Response | None] | None = None
        # Dice of their own, so that ids are the same with faults and without.
        dice = Random(random.getrandbits(64) if random else 0)  # noqa: S311 - no secret
        self._wait = wait or (clock.wait if isinstance(clock, VirtualTime) else None)
        self._answers = Routes(self, page_limit=page_limit, version=version)
        self._course = RequestHandling(self, self._note, self._read, dice)

    # -- how to reach it ------------------------------------------------------------------------

    def client(self) -> Client:
        """A client that asks this server, without a network."""
        return Client(
            api_url="http://fake.invalid/api",
            backend=BackendName.PREFECT_3,
            transport=self.transport(),
        )

    def transport(self) -> FakeTransport:
        """An httpx transport that ends in this server, for blocking clients and for async ones.

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
        return FakeTransport(self._course.steps, self._wait)

    def serve(self) -> AbstractContextManager[str]:
        """Serve it over real HTTP, on a free port of this machine, while a ``with`` block lasts.

        Returns:
            A context manager that gives the API's URL, for ``PREFECT_API_URL`` or a `Client`, and
            leaves neither a thread nor a connection.

        Example:
            >>> import rxflow
            >>> from rxflow.testing import FakePrefect3
            >>> server = FakePrefect3()
            >>> with server.serve() as api_url, rxflow.Client(api_url=api_url) as client:
            ...     rxflow.FlowRunView.from_flow_run_id(server.add_run(), client=client).name
            'fake-run'
        """
        return _http_server.serve(self._course.steps, self._wait)

    def handle(self, request: httpx.Request) -> httpx.Response:
        """Answer one request, as `transport` does.

        Raises:
            httpx.TransportError: It went wrong, as `faults` or `intercept` would have it.
        """
        return self.transport().handle_request(request)

    # -- what happens on it ---------------------------------------------------------------------

    def hold(self, which: Callable[[httpx.Request], bool] | None = None) -> Hold:
        """Have requests wait from now on.

        Args:
            which: The requests that must wait; all if None.

        Returns:
            The gate that they wait at; in a ``with`` block, until its end.

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
        return self._course.hold(which)

    def script(
        self, run_id: str, steps: Iterable[tuple[float, StateType | str | Callable[[], object]]]
    ) -> None:
        """Write a run's life in advance.

        Args:
            run_id: The run.
            steps: What happens, each with the seconds from now at which it does: a `StateType` is
                a state that the run is put in, a text is a line that it logs, and anything else is
                called.

        Example:
            >>> import rxflow
            >>> from rxflow import StateType
            >>> from rxflow.testing import FakePrefect3, VirtualTime
            >>> time = VirtualTime()
            >>> server = FakePrefect3(clock=time)
            >>> run_id = server.add_run()
            >>> server.script(
            ...     run_id,
            ...     [
            ...         (0.0, StateType.RUNNING),
            ...         (1.0, "120 orders read"),
            ...         (1.5, lambda: server.log(run_id, "the disk is full", level=40)),
            ...         (2.0, StateType.FAILED),
            ...     ],
            ... )
            >>> stream = rxflow.watch_flow_run(run_id, client=server.client())
            >>> [line.message for line in time.collect(stream.logs)]
            ['120 orders read', 'the disk is full']
        """
        for seconds, step in steps:
            match step:
                case StateType():
                    self.at(seconds, partial(self.set_state, run_id, step))
                case str():
                    self.at(seconds, partial(self.log, run_id, step))
                case _:
                    self.at(seconds, step)

    # -- what a request leads to ----------------------------------------------------------------

    def _note(self, request: httpx.Request) -> None:
        self.requests.append((request.method, path_of(request)))

    def _read(
        self, request: httpx.Request, *, age: timedelta, shuffle: Shuffle | None
    ) -> tuple[int, bytes]:
        with self._lock:
            self.catch_up()
            return self._answers.to(request, age=age, shuffle=shuffle)
