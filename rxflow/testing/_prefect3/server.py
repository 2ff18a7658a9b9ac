"""A Prefect 3 server in memory: the fake that tests use.

Belongs here: the fake's public methods beside those of its store and of every fake server. Does not
belong here: tables (`store.py`), routes (`routes.py`), connections and faults
(`../_fake_server.py`).
"""

from collections.abc import Callable, Collection, Iterable
from datetime import datetime, timedelta
from functools import partial
from random import Random
from typing import TYPE_CHECKING, ClassVar
from uuid import UUID

import httpx

from rxflow._models.entities import BackendName
from rxflow._models.states import StateType
from rxflow.testing._fake_server import FakeServer
from rxflow.testing._faults import NO_FAULTS, Faults
from rxflow.testing._prefect3.routes import Routes, path_of
from rxflow.testing._prefect3.store import Prefect3Store
from rxflow.testing._rows import Shuffle

if TYPE_CHECKING:
    from rxflow.testing._websocket import Websocket


class FakePrefect3(FakeServer, Prefect3Store):
    """A Prefect 3 server. Many threads may send it requests and write to it by its methods.

    Its tables are ``runs``, ``states``, ``flows``, ``logs``, ``task_runs``, ``deployments``,
    ``pools`` and ``workers``, with rows as the real server sends them.

    Attributes:
        clock: The server's time.
        faults: What goes wrong with requests; may be changed at any time.
        requests: The method and path of each request that arrived, in order.
        intercept: Called with each request when it has arrived: it may return a response in place
            of the server's, or raise an httpx error instead.
        announces: What is announced over websockets, where it is served over HTTP and websockets
            is installed: ``events``, ``logs``; by default events alone, as by a real server.
            Websockets are not among the requests, and nothing goes wrong with them.

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

    _backend: ClassVar[BackendName] = BackendName.PREFECT_3
    _api_path: ClassVar[str] = "/api"

    def __init__(
        self,
        *,
        clock: Callable[[], datetime] | None = None,
        wait: Callable[[float], object] | None = None,
        page_limit: int = 200,
        version: str = "3.8.8",
        random: Random | None = None,
        faults: Faults = NO_FAULTS,
    ) -> None:
        """Make a server without rows.

        Args:
            clock: The server's time, aware; None: real time.
            wait: Lets seconds of that time pass while a request is under way; None: a `VirtualTime`
                passes by itself, and with any other clock requests wait in real time.
            page_limit: The most rows that a reply has.
            version: The version that the server reports.
            random: Draws ids and faults, the same ones for the same seed; None: unpredictable ids,
                and always the same faults.
            faults: What goes wrong with requests.
        """
        super().__init__(clock=clock, wait=wait, random=random, faults=faults)
        self.requests: list[tuple[str, str]] = []
        self.announces: Collection[str] = {"events"}
        self._routes = Routes(self, page_limit=page_limit, version=version)

    def script(
        self,
        run_id: str | UUID,
        steps: Iterable[tuple[timedelta | float, StateType | str | Callable[[], object]]],
    ) -> None:
        """Schedule the life of a run.

        Args:
            run_id: The run.
            steps: What happens, each with its time from now, in seconds if a number: a `StateType`
                is a state that the run enters, a text is a line that it logs, and anything else is
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

    def _announce_to(self, path: str) -> "Callable[[Websocket], None] | None":
        topic = path.removeprefix(self._api_path).strip("/").removesuffix("/out")
        if topic not in self.announces:
            return None
        kind = topic.removesuffix("s")
        return lambda client: self._announcer.talk(kind, client, self.catch_up)

    def _record(self, request: httpx.Request) -> None:
        self.requests.append((request.method, path_of(request)))

    def _reply(
        self, request: httpx.Request, *, logs_as_of: datetime | None, shuffle: Shuffle | None
    ) -> tuple[int, bytes]:
        return self._routes.reply(request, logs_as_of=logs_as_of, shuffle=shuffle)
