"""Detection: a client without a configured backend finds out what its server is, once.

Over the shipped fakes, in process and over HTTP, and over servers of other kinds.
"""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any, TypeAlias

import httpx
import pytest

import rxflow
from rxflow import FlowRunView, RxflowError
from rxflow._backends.prefect1 import Prefect1
from rxflow._backends.prefect3 import Prefect3
from rxflow._models.entities import BackendName, FlowRun, Server
from rxflow._net.channel import Channel
from rxflow._protocol.failures import Failure, FailureKind, Reply
from rxflow._protocol.pages import Page
from rxflow._protocol.queries import RunQuery, ServerQuery, StatesQuery
from rxflow.client import Client
from rxflow.testing import FakePrefect1, FakePrefect3

Fake: TypeAlias = FakePrefect1 | FakePrefect3
Handler: TypeAlias = Callable[[httpx.Request], httpx.Response]

FAKES: dict[BackendName, tuple[type[Fake], str]] = {
    BackendName.PREFECT_1: (FakePrefect1, "http://fake.invalid"),
    BackendName.PREFECT_3: (FakePrefect3, "http://fake.invalid/api"),
}
HTML = "<!doctype html><title>Sign in</title>"
MISSING_RUN = "4edbba39-67c2-4746-b176-eb7641704653"


@pytest.fixture(params=FAKES)
def name(request: pytest.FixtureRequest) -> BackendName:
    """Run a test for each kind of server."""
    kind: BackendName = request.param
    return kind


@contextmanager
def client_of(server: Fake) -> Iterator[Client]:
    """Open a client of a fake server, without naming its kind."""
    url = FAKES[kind_of(server)][1]
    with Client(api_url=url, transport=server.transport()) as client:
        yield client


@contextmanager
def channel_to(handle: Handler, url: str = "http://fake.invalid/api") -> Iterator[Channel]:
    """Open a channel of a client whose server is a function, without naming its kind."""
    client = Client(api_url=url, transport=httpx.MockTransport(handle))
    with closing(client.open_channel()) as channel:
        yield channel


def kind_of(server: Fake) -> BackendName:
    """Return the kind of a fake server."""
    return BackendName.PREFECT_1 if isinstance(server, FakePrefect1) else BackendName.PREFECT_3


def detection_requests(server: Fake) -> int:
    """Count the requests of the detection that a fake server received."""
    targets = [first if first != "GET" else second for first, second in server.requests]
    return sum(target == "/admin/version" or target.startswith("query Hello") for target in targets)


def send(channel: Channel, run_id: str = MISSING_RUN) -> Reply:
    """Send the query for a flow run."""
    return channel.send(RunQuery(run_id))


def kind_of_failure(reply: Reply) -> FailureKind:
    """Return the kind of a reply, which must be a failure."""
    assert isinstance(reply, Failure), reply
    return reply.kind


# -- servers that are detected --------------------------------------------------------------------


def test_a_server_is_detected(name: BackendName) -> None:
    """Reads and watches, blocking and on an event loop, detect the server."""
    server = FAKES[name][0]()
    run_id = server.add_run(name="nightly")
    server.log(run_id, "hello")
    server.set_state(run_id, "COMPLETED" if name == BackendName.PREFECT_3 else "Success")

    async def on_a_loop(client: Client) -> list[Any]:
        async with client:
            view = await FlowRunView.afrom_flow_run_id(run_id, client=client)
            return [view.name, *[event async for event in watch(client)]]

    def watch(client: Client) -> rxflow.FlowRunStream:
        return rxflow.watch_flow_run(run_id, drain=0, client=client)

    with client_of(server) as client:
        view = FlowRunView.from_flow_run_id(run_id, client=client)
        events = [view.name, *watch(client)]
    with client_of(server) as client:
        async_events = asyncio.run(on_a_loop(client))
    for results in (events, async_events):
        assert results[0] == "nightly"
        assert "hello" in [event.message for event in results[1:]]
        assert results[-1].verified
        assert results[-1].state.type == "COMPLETED"


def test_a_server_is_detected_over_http(name: BackendName) -> None:
    """A client needs nothing but the URL of the server."""
    server = FAKES[name][0]()
    run_id = server.add_run(name="nightly")
    with server.serve() as url, Client(api_url=url) as client:
        assert FlowRunView.from_flow_run_id(run_id, client=client).name == "nightly"


def test_a_prefect_1_with_a_key_is_detected() -> None:
    """Whether the key is right or wrong, the reply is one of a Prefect 1."""
    server = FakePrefect1(api_key="secret")
    run_id = server.add_run(name="nightly")
    for key, accepted in (("secret", True), ("wrong", False)):
        arguments: dict[str, Any] = {"api_url": "http://fake.invalid", "api_key": key}
        client = Client(**arguments, transport=server.transport())
        with closing(client.open_channel()) as channel:
            reply = send(channel, run_id)
            if accepted:
                assert isinstance(reply, Page)
            else:
                assert kind_of_failure(reply) is FailureKind.AUTH
        assert isinstance(client._connector.shared_backend.backend, Prefect1)


@pytest.mark.parametrize("down", ["hasura_down", "graphql_down", "timed_out"])
def test_a_prefect_1_with_an_outage_is_detected(down: Any) -> None:
    """The error of a service that is down is in the format of GraphQL."""
    server = FakePrefect1()
    run_id = server.add_run()
    server.outage = down
    with client_of(server) as client, closing(client.open_channel()) as channel:
        runs_fail = down != "graphql_down"
        assert isinstance(send(channel, run_id), Failure) is runs_fail
        server.outage = None
        assert isinstance(send(channel, run_id), Page)
        assert isinstance(client._connector.shared_backend.backend, Prefect1)


def test_a_server_is_detected_once(name: BackendName) -> None:
    """All later reads, watches and channels of the client use what the first read detected."""
    server = FAKES[name][0]()
    run_id = server.add_run()
    server.set_state(run_id, "COMPLETED" if name == BackendName.PREFECT_3 else "Success")
    with client_of(server) as client:
        FlowRunView.from_flow_run_id(run_id, client=client)
        requests, backend = detection_requests(server), client._connector.shared_backend.backend
        assert requests == (1 if name == BackendName.PREFECT_3 else 2)
        list(rxflow.watch_flow_run(run_id, drain=0, client=client))
        FlowRunView.from_flow_run_id(run_id, client=client)
        with closing(client.open_channel()) as channel:
            send(channel)
        assert detection_requests(server) == requests
        assert client._connector.shared_backend.backend is backend


def test_a_configured_backend_is_not_detected(name: BackendName) -> None:
    """The first request of a client with a configured backend is that of its query."""
    server = FAKES[name][0]()
    run_id = server.add_run(name="nightly")
    with server.client() as client:
        assert FlowRunView.from_flow_run_id(run_id, client=client).name == "nightly"
    assert detection_requests(server) == 0


def test_many_threads_detect_one_backend(name: BackendName) -> None:
    """Threads that detect the server at once share one backend, which learns from all of them."""
    server = FAKES[name][0]()
    run_id = server.add_run()
    with client_of(server) as client, ThreadPoolExecutor(4) as pool:
        with server.hold() as hold:  # no thread has a reply before all have sent a request
            channels = [client.open_channel() for _ in range(4)]
            replies = [pool.submit(send, channel, run_id) for channel in channels]
            hold.until_reached(4)
        for future in replies:
            assert isinstance(future.result(), Page)
        backend, requests = client._connector.shared_backend.backend, detection_requests(server)
        for channel in channels:
            assert isinstance(channel.send(ServerQuery()), Page)
            channel.close()
        assert client._connector.shared_backend.backend is backend
        assert detection_requests(server) == requests


# -- Prefect 3 ------------------------------------------------------------------------------------


def test_a_prefect_3_sends_its_version() -> None:
    """The version that the detection received is not queried again."""
    server = FakePrefect3(version="3.1.4")
    with client_of(server) as client, closing(client.open_channel()) as channel:
        page = channel.send(ServerQuery())
        assert page == Page((Server(backend=BackendName.PREFECT_3, version="3.1.4"),))
        assert channel.send(ServerQuery()) == page
    assert server.requests == [("GET", "/admin/version")]


def test_a_prefect_3_that_requires_a_password_is_detected() -> None:
    """Its status 401 is the reply, and no other request is sent."""
    methods: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        methods.append(request.method)
        return httpx.Response(401, json={"exception_message": "Unauthorized"})

    with channel_to(handle) as channel:
        reply = send(channel)
        assert kind_of_failure(reply) is FailureKind.AUTH
        assert isinstance(reply, Failure)
        assert "PREFECT_API_AUTH_STRING" in reply.text
    assert methods == ["GET"]


@pytest.mark.parametrize(
    "hidden",
    [
        httpx.Response(404, json={"detail": "Not Found"}),
        httpx.Response(404, html=HTML),
        httpx.Response(200, html=HTML),
        httpx.Response(404, text="404 page not found"),
    ],
    ids=["cloud", "proxy", "front page", "text"],
)
def test_a_prefect_3_may_hide_its_version(hidden: httpx.Response) -> None:
    """Prefect Cloud sends none, and a proxy may hide it: rows in its format confirm the backend."""
    server = FakePrefect3()
    run_id = server.add_run(name="nightly")

    def handle(request: httpx.Request) -> httpx.Response:
        visible = request.url.path.startswith("/api/flow_run")
        return server.handle(request) if visible else hidden

    client = Client(api_url="http://fake.invalid/api", transport=httpx.MockTransport(handle))
    with closing(client.open_channel()) as channel:
        first = channel.send(ServerQuery())
        assert isinstance(first, Page)
        assert first.rows == (Server(backend=BackendName.PREFECT_3),)
        page = send(channel, run_id)
        assert isinstance(page, Page)
        assert [run.name for run in page.rows] == ["nightly"]
        assert isinstance(client._connector.shared_backend.backend, Prefect3)
        requests = len(server.requests)
        assert isinstance(channel.send(StatesQuery(run_id)), Page)
        assert len(server.requests) == requests + 1


# -- servers of neither kind ----------------------------------------------------------------------


def always(*arguments: Any, **options: Any) -> Handler:
    """Respond to each request in the same way."""
    return lambda _: httpx.Response(*arguments, **options)


def by_method(get: httpx.Response, post: httpx.Response) -> Handler:
    """Respond according to the method of the request."""
    return lambda request: get if request.method == "GET" else post


NEITHER: dict[str, Handler] = {
    "front page": always(200, html=HTML),
    "not found": always(404, html=HTML),
    "an API of something else": always(404, json={"error": "no such thing"}),
    "JSON:API": always(404, json={"errors": [{"status": "404", "title": "Not Found"}]}),
    "a list": always(200, json=[1, 2]),
    "a redirect": always(302, headers={"location": "https://sso.invalid/?token=canary"}),
    "a page and no POST": by_method(
        httpx.Response(200, html=HTML), httpx.Response(405, text="Method Not Allowed")
    ),
    "no GET and a page": by_method(httpx.Response(405), httpx.Response(200, html=HTML)),
    "nothing": always(204),
}


@pytest.mark.parametrize("kind", NEITHER)
def test_the_error_for_neither_kind_names_both(kind: str) -> None:
    """It says where either kind of server has its API, and quotes nothing."""
    handle = NEITHER[kind]
    client = Client(api_url="http://fake.invalid/api", transport=httpx.MockTransport(handle))
    with client, pytest.raises(rxflow.NotAPrefectApi) as caught:
        FlowRunView.from_flow_run_id(MISSING_RUN, client=client)
    assert "ends in /api" in str(caught.value)
    assert "4200" in str(caught.value)
    assert "canary" not in str(caught.value)
    assert "Sign in" not in str(caught.value)


@pytest.mark.parametrize("kind", NEITHER)
def test_a_server_of_neither_kind_is_not_final(kind: str, name: BackendName) -> None:
    """A server that replaces it later is detected."""
    make, url = FAKES[name]
    server, down = make(), [True]
    run_id = server.add_run()

    def handle(request: httpx.Request) -> httpx.Response:
        return NEITHER[kind](request) if down else server.handle(request)

    with channel_to(handle, url) as channel:
        assert kind_of_failure(send(channel, run_id)) is FailureKind.NOT_AN_API
        down.clear()
        assert isinstance(send(channel, run_id), Page)
        backend = channel._shared_backend.backend
        assert isinstance(backend, Prefect1 if name == BackendName.PREFECT_1 else Prefect3)


# -- servers that are down ------------------------------------------------------------------------


DOWN: dict[str, tuple[Handler, FailureKind]] = {
    "bad gateway": (always(502, html=HTML), FailureKind.SERVER),
    "unavailable": (always(503, headers={"retry-after": "7"}), FailureKind.BUSY),
    "too many": (always(429, json={}), FailureKind.RATE_LIMITED),
    "refused by a proxy": (always(403, html=HTML), FailureKind.AUTH),
    "GraphQL down": (
        by_method(httpx.Response(400, text="GET query missing."), httpx.Response(502, html=HTML)),
        FailureKind.SERVER,
    ),
    "GraphQL refused by a proxy": (
        by_method(httpx.Response(404, html=HTML), httpx.Response(401)),
        FailureKind.AUTH,
    ),
}


@pytest.mark.parametrize("kind", DOWN)
def test_the_replies_of_a_proxy_are_not_final(kind: str, name: BackendName) -> None:
    """While a server is down, a proxy may reply for it; once it is up it is detected."""
    make, url = FAKES[name]
    server, down = make(), [True]
    run_id = server.add_run()

    def handle(request: httpx.Request) -> httpx.Response:
        return DOWN[kind][0](request) if down else server.handle(request)

    with channel_to(handle, url) as channel:
        for _ in range(2):
            reply = send(channel, run_id)
            assert kind_of_failure(reply) is DOWN[kind][1]
            assert isinstance(reply, Failure)
            assert reply.retry_after == (7 if kind == "unavailable" else None)
            assert channel._shared_backend.backend is None
        down.clear()
        assert isinstance(send(channel, run_id), Page)


@pytest.mark.parametrize("at", [0, 1])
def test_a_refused_connection_is_not_final(at: int) -> None:
    """A connection that is refused, at the first request or at the second, decides nothing."""
    server, count = FakePrefect1(), [0]
    run_id = server.add_run()

    def handle(request: httpx.Request) -> httpx.Response:
        count[0] += 1
        if count[0] > at and count[0] <= at + 2:
            raise httpx.ConnectError("refused") from ConnectionRefusedError()
        return server.handle(request)

    with channel_to(handle, "http://fake.invalid") as channel:
        reply = send(channel, run_id)
        assert kind_of_failure(reply) is FailureKind.REFUSED
        assert channel._shared_backend.backend is None
        while isinstance(reply, Failure) and count[0] < 9:
            reply = send(channel, run_id)
        assert isinstance(reply, Page)


def test_a_stopped_server_refuses_connections() -> None:
    """Over HTTP, at the port of a server that was stopped, the detection fails as REFUSED."""
    with FakePrefect1().serve() as url:
        client = Client(api_url=url)
    with closing(client.open_channel()) as channel:
        assert kind_of_failure(send(channel)) is FailureKind.REFUSED


# -- Prefect 1 ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", "/", "/admin/version"])
def test_the_gateway_of_a_prefect_1_reads_a_get_as_a_query(path: str) -> None:
    """Apollo replies on all paths that the query is missing."""
    response = FakePrefect1().handle(httpx.Request("GET", f"http://fake.invalid{path}"))
    assert (response.status_code, response.text) == (400, "GET query missing.")


@pytest.mark.parametrize(
    "get",
    [
        httpx.Response(400, text="GET query missing."),
        httpx.Response(404, html=HTML),
        httpx.Response(200, html=HTML),
        httpx.Response(405, headers={"allow": "POST"}),
        httpx.Response(500, text="POST body missing."),
        httpx.Response(403, text="Forbidden"),
    ],
    ids=lambda response: str(response.status_code),
)
def test_a_prefect_1_is_detected_by_its_graphql(get: httpx.Response) -> None:
    """Whatever the gateway, or a proxy, replies to a GET, the reply to GraphQL decides."""
    server = FakePrefect1()
    run_id = server.add_run(name="nightly")

    def handle(request: httpx.Request) -> httpx.Response:
        return get if request.method == "GET" else server.handle(request)

    with channel_to(handle, "http://fake.invalid") as channel:
        page = send(channel, run_id)
        assert isinstance(page, Page)
        (run,) = page.rows
        assert isinstance(run, FlowRun)
        assert run.name == "nightly"


def test_another_graphql_api_rejects_the_query() -> None:
    """It is detected as a Prefect 1, and its own error says what it does not know."""
    error = {"message": "Cannot query field", "extensions": {"code": "GRAPHQL_VALIDATION_FAILED"}}
    handle = by_method(httpx.Response(404), httpx.Response(400, json={"errors": [error]}))
    client = Client(api_url="http://fake.invalid", transport=httpx.MockTransport(handle))
    with client, pytest.raises(RxflowError, match="Cannot query field"):
        FlowRunView.from_flow_run_id(MISSING_RUN, client=client)
