"""A Prefect 1 server in memory: the fake that tests use.

Belongs here: authorization, and reading a GraphQL request. Does not belong here: tables
(`store.py`), queries (`gateway.py`, which needs graphql-core and is therefore imported late),
connections and faults (`../_fake_server.py`).
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from importlib.resources import files
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar

import httpx
import msgspec

from rxflow._models.entities import BackendName
from rxflow.testing._fake_server import FakeServer
from rxflow.testing._faults import NO_FAULTS, BackendOutage, Faults
from rxflow.testing._prefect1.store import Prefect1Store
from rxflow.testing._rows import Row, Shuffle, encode_body

if TYPE_CHECKING:
    from rxflow.testing._prefect1.gateway import Gateway

_NO_BODY = (500, b"POST body missing. Did you forget use body-parser middleware?")
_NO_QUERY = (400, b"GET query missing.")


class FakePrefect1(FakeServer, Prefect1Store):
    """A Prefect 1 server: Prefect Server, or Prefect Cloud if it has a key.

    It replies to queries about the tables ``tenant``, ``project``, ``flow_group``, ``flow``,
    ``task``, ``flow_run``, ``flow_run_state``, ``task_run``, ``task_run_state``, ``log`` and
    ``agent``, their aggregates' counts, and the mutations by which the 1.4.1 client manages
    projects, flows, flow runs, task runs and logs: that client can register a flow with it, execute
    a run of it, and show both on its command line. It needs graphql-core, which the package's extra
    ``fake-prefect1`` installs.

    It leaves out agents' mutations, API keys, artifacts, key-value pairs, limits of concurrency,
    secrets and new tenants: such a query is rejected with an error that says so. It has no
    scheduler, and does not check the version that a client expects of a run, nor whether the
    parameters that come with an idempotency key are those of the run that has the key.

    Its tables are ``tenants``, ``projects``, ``flow_groups``, ``flows``, ``tasks``, ``runs``,
    ``states``, ``task_runs``, ``task_run_states``, ``logs`` and ``agents``: rows by their ids.

    Its replies were recorded from a real server, except for what only Prefect Cloud sends:
    ``timed_out`` is as an issue of Prefect's quotes it, and a request without the key gets what the
    1.4.1 client looks for. A reply that was not recorded has what that client reads of it, the
    shape and the code of its kind, but possibly another wording. Neither recorded nor documented by
    the client, and therefore a choice: which rows are deleted with a project (its flows, tasks and
    runs), what cancelling does to a run that has not started (it is cancelled at once) or has ended
    (nothing), and that of several states which are set, those before an invalid one remain.

    Attributes:
        clock: The server's time.
        faults: What goes wrong with requests; may be changed at any time.
        row_limit: The most rows that a list has; further rows are left out silently. None, as in
            Prefect Server: no limit.
        outage: The part that is down, reported with HTTP status 200: ``hasura_down`` or
            ``graphql_down``, one of the two services behind the gateway; ``timed_out``, Prefect
            Cloud's reply to a query that takes too long; None: no part.
        requests: The query and the variables of each request that arrived, in order; the path and
            None for a request without a query.
        intercept: Called with each request when it has arrived: it may return a response in place
            of the server's, or raise an httpx error instead.

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
        >>> with server.serve() as api_url:
        ...     httpx.post(api_url, json={"query": "{ agent { name } }"}).json()
        {'data': {'agent': []}}
    """

    _backend: ClassVar[BackendName] = BackendName.PREFECT_1
    _api_path: ClassVar[str] = ""

    def __init__(
        self,
        *,
        clock: Callable[[], datetime] | None = None,
        wait: Callable[[float], object] | None = None,
        row_limit: int | None = None,
        api_key: str | None = None,
        random: Random | None = None,
        faults: Faults = NO_FAULTS,
    ) -> None:
        """Make a server with a tenant and no other rows.

        Args:
            clock: The server's time, aware; None: real time.
            wait: Lets seconds of that time pass while a request is under way; None: a `VirtualTime`
                passes by itself, and with any other clock requests wait in real time.
            row_limit: The most rows that a list has.
            api_key: The key that requests must have, as for Prefect Cloud; None: they need none.
            random: Draws ids and faults, the same ones for the same seed; None: unpredictable ids,
                and always the same faults.
            faults: What goes wrong with requests.
        """
        self._gateway = _make_gateway(cloud=api_key is not None)
        super().__init__(clock=clock, wait=wait, random=random, faults=faults)
        self.row_limit = row_limit
        self.outage: BackendOutage | None = None
        self.requests: list[tuple[str, Any]] = []
        self._api_key = api_key

    @staticmethod
    def schema() -> str:
        """Return the schema of the queries that the server takes, in GraphQL's language.

        Example:
            >>> import graphql
            >>> from rxflow.testing import FakePrefect1
            >>> schema = graphql.build_schema(FakePrefect1.schema())
            >>> query = graphql.parse("{ log(order_by: {created: asc}) { id text } }")
            >>> [error.message for error in graphql.validate(schema, query)]
            ["Cannot query field 'text' on type 'log'."]
        """
        return files("rxflow.testing._prefect1").joinpath("schema.graphql").read_text("utf-8")

    def _record(self, request: httpx.Request) -> None:
        self.requests.append(_query_of(request) or (request.url.path, None))

    def _reply(
        self, request: httpx.Request, *, logs_as_of: datetime | None, shuffle: Shuffle | None
    ) -> tuple[int, bytes]:
        query = _query_of(request)
        if query is None:
            return _NO_QUERY if request.method == "GET" else _NO_BODY
        if self._api_key is not None:
            credentials = request.headers.get("authorization", "")
            if credentials != f"Bearer {self._api_key}":
                return 200, encode_body(_unauthorized(credentials))
        status, body = self._gateway.reply(
            *query,
            store=self,
            tables=self.tables(logs_as_of),
            row_limit=self.row_limit,
            outage=self.outage,
            shuffle=shuffle,
        )
        return status, encode_body(body)


def _make_gateway(*, cloud: bool) -> "Gateway":
    """Make the gateway; import graphql-core only here, since it is optional and slow to import.

    Raises:
        ImportError: graphql-core is not installed.
    """
    try:
        from rxflow.testing._prefect1.gateway import Gateway  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name != "graphql":
            raise
        raise ImportError(
            "FakePrefect1 needs graphql-core; install the extra: rxflow-prefect[fake-prefect1]"
        ) from error
    return Gateway(FakePrefect1.schema(), cloud=cloud)


def _query_of(request: httpx.Request) -> tuple[str, Mapping[str, Any] | None] | None:
    """Read the query and its variables, which the 1.4.1 client sends as JSON in a string."""
    try:
        body = msgspec.json.decode(request.content)
        variables = body.get("variables")
        if isinstance(variables, str):
            variables = msgspec.json.decode(variables)
        query = body["query"]
    except (msgspec.DecodeError, AttributeError, KeyError):
        return None
    return (query, variables) if isinstance(query, str) else None


def _unauthorized(credentials: str) -> Row:
    """Make the reply to a request without the key: the errors that the 1.4.1 client looks for."""
    if credentials and not credentials.startswith("Bearer "):
        return {"errors": [{"message": "Malformed Authorization header"}], "data": None}
    error = {"message": "Unauthenticated", "extensions": {"code": "UNAUTHENTICATED"}}
    return {"errors": [error], "data": None}
