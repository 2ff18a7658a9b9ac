"""A Prefect 1 server in memory: how it is reached, and how a request is read.

What it holds is in `_store1.py`, what it answers in `_graphql.py`, which needs graphql-core.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from importlib.resources import files
from random import Random
from typing import TYPE_CHECKING, Any

import httpx
import msgspec

from rxflow._models.entities import BackendName
from rxflow._runtime.clocks import real_now
from rxflow.client import Client
from rxflow.testing import _http_server
from rxflow.testing._faults import BackendOutage, Faults
from rxflow.testing._hold import Hold
from rxflow.testing._prefect1.store import Prefect1Store
from rxflow.testing._requests import RequestHandling, Shuffle
from rxflow.testing._transport import FakeTransport
from rxflow.testing._virtual_time import VirtualTime

if TYPE_CHECKING:
    from rxflow.testing._prefect1.gateway import Gateway

_NO_FAULTS = Faults()
_NO_BODY = (500, b"POST body missing. Did you forget use body-parser middleware?")
_NO_QUERY = (400, b"GET query missing.")


class FakePrefect1(Prefect1Store):
    """A Prefect 1 server: Prefect Server, or Prefect Cloud if it has a key.

    It answers queries about the tables ``tenant``, ``project``, ``flow_group``, ``flow``, ``task``,
    ``flow_run``, ``flow_run_state``, ``task_run``, ``log`` and ``agent``, and four mutations. It
    needs graphql-core, which comes with the extra ``fake-prefect1`` of the package.

    Here the tables are ``tenants``, ``projects``, ``flow_groups``, ``flows``, ``tasks``, ``runs``,
    ``states``, ``task_runs``, ``logs`` and ``agents``: rows by their ids.

    What it says was recorded from a real server, except for what only Prefect Cloud says:
    ``timed_out`` is as an issue of Prefect's quotes it, and to a request without the key it says
    what the 1.4.1 client looks for. An answer that was not recorded has the shape and the code of
    its kind, but maybe other words.

    Attributes:
        clock: The server's time.
        faults: What goes wrong; it may be changed at any time.
        row_limit: The most rows that it gives in one list, silently; None, as in Prefect Server:
            as many as there are.
        outage: Which part is out of order, told with HTTP status 200: ``hasura_down`` or
            ``graphql_down``, of the two services behind the gateway; ``timed_out``, as Prefect
            Cloud says of a query that takes too long; None: no part.
        requests: The query and the variables of each request that came, in order; the path and None
            of one that has no query.
        intercept: Called with each request when it has come: it may return a response in place of
            the server's, or raise an httpx error in place of any.

    Raises:
        ImportError: graphql-core is not installed.

    Example:
        >>> import httpx
        >>> from rxflow.testing import FakePrefect1
        >>> server = FakePrefect1()
        >>> run_id = server.add_run(name="nightly", state="Running")
        >>> _ = server.log(run_id, "hello")
        >>> query = (
        ...     "query($id: uuid) { flow_run(where: {id: {_eq: $id}}) { name logs { message } } }"
        ... )
        >>> body = {"query": query, "variables": {"id": run_id}}
        >>> with httpx.Client(transport=server.transport()) as http:
        ...     http.post("http://fake.invalid", json=body).json()["data"]
        {'flow_run': [{'name': 'nightly', 'logs': [{'message': 'hello'}]}]}
    """

    def __init__(
        self,
        *,
        clock: Callable[[], datetime] | None = None,
        wait: Callable[[float], object] | None = None,
        row_limit: int | None = None,
        api_key: str | None = None,
        random: Random | None = None,
        faults: Faults = _NO_FAULTS,
    ) -> None:
        """Make a server with a tenant, and no other rows.

        Args:
            clock: The server's time, aware; the real one if None.
            wait: Lets seconds of that time pass, when a request takes some; None: a `VirtualTime`
                passes, and of any other clock they are really waited for.
            row_limit: The most rows that it gives in one list.
            api_key: The key that requests must have, as Prefect Cloud's; None: they need none.
            random: Draws ids and faults, the same ones for the same seed; None: ids that nobody
                knows, and always the same faults.
            faults: What goes wrong.
        """
        gateway = _gateway(cloud=api_key is not None)
        super().__init__(clock or (lambda: real_now().utc), random)
        self.faults = faults
        self.row_limit = row_limit
        self.outage: BackendOutage | None = None
        self.requests: list[tuple[str, Any]] = []
        self.intercept: Callable[[httpx.Request], httpx.Response | None] | None = None
        self._api_key = api_key
        self._gateway = gateway
        self._wait = wait or (clock.wait if isinstance(clock, VirtualTime) else None)
        # Dice of their own, so that ids are the same with faults and without.
        dice = Random(random.getrandbits(64) if random else 0)  # noqa: S311 - no secret
        self._course = RequestHandling(self, self._note, self._read, dice)

    # -- how to reach it ------------------------------------------------------------------------

    @staticmethod
    def schema() -> str:
        """The schema of what it answers, in GraphQL's language.

        Example:
            >>> import graphql
            >>> from rxflow.testing import FakePrefect1
            >>> schema = graphql.build_schema(FakePrefect1.schema())
            >>> query = graphql.parse("{ log(order_by: {created: asc}) { id text } }")
            >>> [error.message for error in graphql.validate(schema, query)]
            ["Cannot query field 'text' on type 'log'."]
        """
        return files("rxflow.testing._prefect1").joinpath("schema.graphql").read_text("utf-8")

    def client(self) -> Client:
        """A client that asks this server, without a network.

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
            api_url="http://fake.invalid",
            api_key=self._api_key,
            backend=BackendName.PREFECT_1,
            transport=self.transport(),
        )

    def transport(self) -> FakeTransport:
        """An httpx transport that ends in this server, for blocking clients and for async ones.

        Example:
            >>> import asyncio
            >>> import httpx
            >>> from rxflow.testing import FakePrefect1
            >>> server = FakePrefect1()
            >>> async def tenants():
            ...     async with httpx.AsyncClient(transport=server.transport()) as http:
            ...         asked = {"query": "{ tenant { slug } }"}
            ...         return (await http.post("http://fake.invalid", json=asked)).json()
            >>> asyncio.run(tenants())
            {'data': {'tenant': [{'slug': 'default'}]}}
        """
        return FakeTransport(self._course.steps, self._wait)

    def serve(self) -> AbstractContextManager[str]:
        """Serve it over real HTTP, on a free port of this machine, while a ``with`` block lasts.

        Returns:
            A context manager that gives the API's URL, and leaves neither thread nor connection.

        Example:
            >>> import httpx
            >>> from rxflow.testing import FakePrefect1
            >>> with FakePrefect1().serve() as api_url:
            ...     httpx.post(api_url, json={"query": "{ agent { name } }"}).json()
            {'data': {'agent': []}}
        """
        return _http_server.serve(self._course.steps, self._wait, path="")

    def handle(self, request: httpx.Request) -> httpx.Response:
        """Answer one request, as `transport` does.

        Raises:
            httpx.TransportError: It went wrong, as `faults` or `intercept` would have it.
        """
        return self.transport().handle_request(request)

    def hold(self, which: Callable[[httpx.Request], bool] | None = None) -> Hold:
        """Have requests wait from now on, as with `FakePrefect3.hold`.

        Args:
            which: The requests that must wait; all if None.

        Returns:
            The gate that they wait at; in a ``with`` block, until its end.
        """
        return self._course.hold(which)

    # -- what a request leads to ----------------------------------------------------------------

    def _note(self, request: httpx.Request) -> None:
        question = _question(request)
        self.requests.append(question or (request.url.path, None))

    def _read(
        self, request: httpx.Request, *, age: timedelta, shuffle: Shuffle | None
    ) -> tuple[int, bytes]:
        question = _question(request)
        if question is None:
            return _NO_QUERY if request.method == "GET" else _NO_BODY
        if self._api_key is not None:
            shown = request.headers.get("authorization", "")
            if shown != f"Bearer {self._api_key}":
                return 200, msgspec.json.encode(_unauthorized(shown))
        with self._lock:
            self.catch_up()
            then = self.now() - age if age else None
            status, said = self._gateway.answer(
                *question,
                store=self,
                tables=self.tables(then),
                row_limit=self.row_limit,
                outage=self.outage,
                shuffle=shuffle,
            )
            return status, msgspec.json.encode(said)


def _gateway(*, cloud: bool) -> "Gateway":
    """Make the part that needs graphql-core, which nobody else is to wait for or to install."""
    try:
        from rxflow.testing._prefect1.gateway import Gateway  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name != "graphql":
            raise
        raise ImportError(
            "FakePrefect1 needs graphql-core; install the extra: rxflow-prefect[fake-prefect1]"
        ) from error
    return Gateway(FakePrefect1.schema(), cloud=cloud)


def _question(request: httpx.Request) -> tuple[str, Mapping[str, Any] | None] | None:
    """The query of a request and its variables, which the 1.4.1 client sends as a text of JSON."""
    try:
        body = msgspec.json.decode(request.content)
        variables = body.get("variables")
        if isinstance(variables, str):
            variables = msgspec.json.decode(variables)
        query = body["query"]
    except (msgspec.DecodeError, AttributeError, KeyError):
        return None
    return (query, variables) if isinstance(query, str) else None


def _unauthorized(shown: str) -> Any:
    """What is said to a request without the key: what the 1.4.1 client looks for in it."""
    if shown and not shown.startswith("Bearer "):
        return {"errors": [{"message": "Malformed Authorization header"}], "data": None}
    error = {"message": "Unauthenticated", "extensions": {"code": "UNAUTHENTICATED"}}
    return {"errors": [error], "data": None}
