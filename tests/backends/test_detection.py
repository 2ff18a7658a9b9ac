"""Getting to know a server: a client that was not told finds out what answers, once, and no sooner.

Over the shipped fakes, in process and over HTTP, and before whatever else may stand at a URL.
"""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any, TypeAlias

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
Answer: TypeAlias = Callable[[httpx.Request], httpx.Response]

FAKES: dict[BackendName, tuple[type[Fake], str]] = {
    BackendName.PREFECT_1: (FakePrefect1, "http://fake.invalid"),
    BackendName.PREFECT_3: (FakePrefect3, "http://fake.invalid/api"),
}
HTML = "<!doctype html><title>Sign in</title>"
NO_RUN = "4edbba39-67c2-4746-b176-eb7641704653"


@pytest.fixture(params=FAKES)
def name(request: pytest.FixtureRequest) -> BackendName:
    """Go through the kinds of server that are spoken to."""
    found: BackendName = request.param
    return found


@contextmanager
def unknown(server: Fake) -> Iterator[Client]:
    """Make a client that was not told what a server is."""
    url = FAKES[kind_of(server)][1]
    with Client(api_url=url, transport=server.transport()) as client:
        yield client


@contextmanager
def before(answer: Answer, url: str = "http://fake.invalid/api") -> Iterator[Channel]:
    """Open a channel of a client that was not told what answers."""
    client = Client(api_url=url, transport=httpx.MockTransport(answer))
    with closing(client.open_channel()) as channel:
        yield channel


def kind_of(server: Fake) -> BackendName:
    """What a fake is."""
    return BackendName.PREFECT_1 if isinstance(server, FakePrefect1) else BackendName.PREFECT_3


def greetings(server: Fake) -> int:
    """How many requests came that only ask what it is."""
    asked = [first if first != "GET" else second for first, second in server.requests]
    return sum(each == "/admin/version" or each.startswith("query Hello") for each in asked)


def ask(channel: Channel, run_id: str = NO_RUN) -> Reply:
    """Ask for a flow run."""
    return channel.send(RunQuery(run_id))


def trouble(answer: Reply) -> FailureKind:
    """What went wrong."""
    assert isinstance(answer, Failure), answer
    return answer.kind


# -- servers that are known ----------------------------------------------------------------------


def test_a_server_is_found_out(name: BackendName) -> None:
    """Blocking reads, watches, and reads and watches on an event loop find out what answers."""
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

    with unknown(server) as client:
        view = FlowRunView.from_flow_run_id(run_id, client=client)
        told = [view.name, *watch(client)]
    with unknown(server) as client:
        told_async = asyncio.run(on_a_loop(client))
    for each in (told, told_async):
        assert each[0] == "nightly"
        assert "hello" in [event.message for event in each[1:]]
        assert each[-1].verified
        assert each[-1].state.type == "COMPLETED"


def test_a_server_is_found_out_over_http(name: BackendName) -> None:
    """The URL that a server is reached by is all that a client needs."""
    server = FAKES[name][0]()
    run_id = server.add_run(name="nightly")
    with server.serve() as url, Client(api_url=url) as client:
        assert FlowRunView.from_flow_run_id(run_id, client=client).name == "nightly"


def test_a_prefect_1_with_a_key_is_found_out() -> None:
    """Whether the key is right or wrong, the answer is one of a Prefect 1."""
    server = FakePrefect1(api_key="secret")
    run_id = server.add_run(name="nightly")
    for key, good in (("secret", True), ("wrong", False)):
        given: dict[str, Any] = {"api_url": "http://fake.invalid", "api_key": key}
        client = Client(**given, transport=server.transport())
        with closing(client.open_channel()) as channel:
            answer = ask(channel, run_id)
            assert isinstance(answer, Page) if good else trouble(answer) is FailureKind.AUTH
        assert isinstance(client._shared_backend.backend, Prefect1)


@pytest.mark.parametrize("down", ["hasura_down", "graphql_down", "timed_out"])
def test_a_prefect_1_that_is_out_of_order_is_found_out(down: Any) -> None:
    """What is told of a part that is down is told in GraphQL."""
    server = FakePrefect1()
    run_id = server.add_run()
    server.outage = down
    with unknown(server) as client, closing(client.open_channel()) as channel:
        down_for_runs = down != "graphql_down"
        assert isinstance(ask(channel, run_id), Failure) is down_for_runs
        server.outage = None
        assert isinstance(ask(channel, run_id), Page)
        assert isinstance(client._shared_backend.backend, Prefect1)


def test_a_server_is_found_out_once(name: BackendName) -> None:
    """What one read has found out, all later reads, watches and channels of the client know."""
    server = FAKES[name][0]()
    run_id = server.add_run()
    server.set_state(run_id, "COMPLETED" if name == BackendName.PREFECT_3 else "Success")
    with unknown(server) as client:
        FlowRunView.from_flow_run_id(run_id, client=client)
        asked, backend = greetings(server), client._shared_backend.backend
        assert asked == (1 if name == BackendName.PREFECT_3 else 2)
        list(rxflow.watch_flow_run(run_id, drain=0, client=client))
        FlowRunView.from_flow_run_id(run_id, client=client)
        with closing(client.open_channel()) as channel:
            ask(channel)
        assert greetings(server) == asked
        assert client._shared_backend.backend is backend


def test_a_client_that_was_told_asks_nothing(name: BackendName) -> None:
    """The argument decides: the first request is the question itself."""
    server = FAKES[name][0]()
    run_id = server.add_run(name="nightly")
    with server.client() as client:
        assert FlowRunView.from_flow_run_id(run_id, client=client).name == "nightly"
    assert greetings(server) == 0


def test_many_threads_find_out_one_thing(name: BackendName) -> None:
    """Threads that ask at once go on with one codec, so that what one learns is learnt for all."""
    server = FAKES[name][0]()
    run_id = server.add_run()
    with unknown(server) as client, ThreadPoolExecutor(4) as pool:
        with server.hold() as hold:  # nobody has an answer before all have asked
            channels = [client.open_channel() for _ in range(4)]
            answers = [pool.submit(ask, channel, run_id) for channel in channels]
            hold.until_reached(4)
        for answer in answers:
            assert isinstance(answer.result(), Page)
        backend, asked = client._shared_backend.backend, greetings(server)
        for channel in channels:
            assert isinstance(channel.send(ServerQuery()), Page)
            channel.close()
        assert client._shared_backend.backend is backend
        assert greetings(server) == asked


@given(at_once=st.integers(2, 5))
def test_the_first_codec_is_kept(at_once: int) -> None:
    """Whoever finds out later takes what was found before."""
    client = Client(api_url="http://fake.invalid")
    codecs = [Prefect1() for _ in range(at_once)]
    assert [client._shared_backend.set_first(codec) for codec in codecs] == [codecs[0]] * at_once


# -- a Prefect 3 in its own words ----------------------------------------------------------------


def test_a_prefect_3_tells_its_version() -> None:
    """What it says of itself when it is greeted is not asked for again."""
    server = FakePrefect3(version="3.1.4")
    with unknown(server) as client, closing(client.open_channel()) as channel:
        page = channel.send(ServerQuery())
        assert page == Page((Server(backend=BackendName.PREFECT_3, version="3.1.4"),))
        assert channel.send(ServerQuery()) == page
    assert server.requests == [("GET", "/admin/version")]


def test_a_prefect_3_that_asks_for_a_password_is_a_prefect_3() -> None:
    """Its 401 says what to look at, and nothing else is asked."""
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.method)
        return httpx.Response(401, json={"exception_message": "Unauthorized"})

    with before(answer) as channel:
        answered = ask(channel)
        assert trouble(answered) is FailureKind.AUTH
        assert isinstance(answered, Failure)
        assert "PREFECT_API_AUTH_STRING" in answered.text
    assert asked == ["GET"]


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
def test_a_prefect_3_may_not_tell_its_version(hidden: httpx.Response) -> None:
    """Prefect Cloud does not, a proxy may hide it: rows in the right words are proof enough."""
    server = FakePrefect3()
    run_id = server.add_run(name="nightly")

    def answer(request: httpx.Request) -> httpx.Response:
        known = request.url.path.startswith("/api/flow_run")
        return server.handle(request) if known else hidden

    client = Client(api_url="http://fake.invalid/api", transport=httpx.MockTransport(answer))
    with closing(client.open_channel()) as channel:
        first = channel.send(ServerQuery())
        assert isinstance(first, Page)
        assert first.rows == (Server(backend=BackendName.PREFECT_3),)
        page = ask(channel, run_id)
        assert isinstance(page, Page)
        assert [run.name for run in page.rows] == ["nightly"]
        assert isinstance(client._shared_backend.backend, Prefect3)
        asked = len(server.requests)
        assert isinstance(channel.send(StatesQuery(run_id)), Page)
        assert len(server.requests) == asked + 1


# -- what is neither -----------------------------------------------------------------------------


def everywhere(*given: Any, **more: Any) -> Answer:
    """Answer each request in one way."""
    return lambda _: httpx.Response(*given, **more)


def by_method(get: httpx.Response, post: httpx.Response) -> Answer:
    """Answer by method."""
    return lambda request: get if request.method == "GET" else post


NEITHER: dict[str, Answer] = {
    "front page": everywhere(200, html=HTML),
    "not found": everywhere(404, html=HTML),
    "an API of something else": everywhere(404, json={"error": "no such thing"}),
    "JSON:API": everywhere(404, json={"errors": [{"status": "404", "title": "Not Found"}]}),
    "a list": everywhere(200, json=[1, 2]),
    "a redirect": everywhere(302, headers={"location": "https://sso.invalid/?token=canary"}),
    "a page and no POST": by_method(
        httpx.Response(200, html=HTML), httpx.Response(405, text="Method Not Allowed")
    ),
    "no GET and a page": by_method(httpx.Response(405), httpx.Response(200, html=HTML)),
    "nothing": everywhere(204),
}


@pytest.mark.parametrize("kind", NEITHER)
def test_what_is_neither_is_said_to_be_neither(kind: str) -> None:
    """The error names where both kinds of server have their API, and quotes nothing."""
    answer = NEITHER[kind]
    client = Client(api_url="http://fake.invalid/api", transport=httpx.MockTransport(answer))
    with client, pytest.raises(rxflow.NotAPrefectApi) as caught:
        FlowRunView.from_flow_run_id(NO_RUN, client=client)
    assert "ends in /api" in str(caught.value)
    assert "4200" in str(caught.value)
    assert "canary" not in str(caught.value)
    assert "Sign in" not in str(caught.value)


@pytest.mark.parametrize("kind", NEITHER)
def test_nothing_is_decided_by_what_is_neither(kind: str, name: BackendName) -> None:
    """Whatever stood there for a while, the server is found out when it is back."""
    make, url = FAKES[name]
    server, away = make(), [True]
    run_id = server.add_run()

    def answer(request: httpx.Request) -> httpx.Response:
        return NEITHER[kind](request) if away else server.handle(request)

    with before(answer, url) as channel:
        assert trouble(ask(channel, run_id)) is FailureKind.NOT_AN_API
        away.clear()
        assert isinstance(ask(channel, run_id), Page)
        backend = channel._shared_backend.backend
        assert isinstance(backend, Prefect1 if name == BackendName.PREFECT_1 else Prefect3)


# -- servers that are away -----------------------------------------------------------------------

AWAY: dict[str, tuple[Answer, FailureKind]] = {
    "bad gateway": (everywhere(502, html=HTML), FailureKind.SERVER),
    "unavailable": (everywhere(503, headers={"retry-after": "7"}), FailureKind.BUSY),
    "too many": (everywhere(429, json={}), FailureKind.BUSY),
    "a proxy's door": (everywhere(403, html=HTML), FailureKind.AUTH),
    "GraphQL away": (
        by_method(httpx.Response(400, text="GET query missing."), httpx.Response(502, html=HTML)),
        FailureKind.SERVER,
    ),
    "GraphQL behind a door": (
        by_method(httpx.Response(404, html=HTML), httpx.Response(401)),
        FailureKind.AUTH,
    ),
}


@pytest.mark.parametrize("kind", AWAY)
def test_nothing_is_decided_while_a_server_is_away(kind: str, name: BackendName) -> None:
    """What a proxy says for it passes by itself, and then the server is found out."""
    make, url = FAKES[name]
    server, away = make(), [True]
    run_id = server.add_run()

    def answer(request: httpx.Request) -> httpx.Response:
        return AWAY[kind][0](request) if away else server.handle(request)

    with before(answer, url) as channel:
        for _ in range(2):
            found = ask(channel, run_id)
            assert trouble(found) is AWAY[kind][1]
            assert isinstance(found, Failure)
            assert found.retry_after == (7 if kind == "unavailable" else None)
            assert channel._shared_backend.backend is None
        away.clear()
        assert isinstance(ask(channel, run_id), Page)


@pytest.mark.parametrize("at", [0, 1])
def test_nothing_is_decided_while_nobody_listens(at: int) -> None:
    """A connection that is refused, at the first request or at the second, says nothing."""
    server, count = FakePrefect1(), [0]
    run_id = server.add_run()

    def answer(request: httpx.Request) -> httpx.Response:
        count[0] += 1
        if count[0] > at and count[0] <= at + 2:
            raise httpx.ConnectError("refused") from ConnectionRefusedError()
        return server.handle(request)

    with before(answer, "http://fake.invalid") as channel:
        found = ask(channel, run_id)
        assert trouble(found) is FailureKind.REFUSED
        assert channel._shared_backend.backend is None
        while isinstance(found, Failure) and count[0] < 9:
            found = ask(channel, run_id)
        assert isinstance(found, Page)


def test_who_listens_no_more_is_unreachable() -> None:
    """Over HTTP, at a port where a server was, a client that was not told says so."""
    with FakePrefect1().serve() as url:
        client = Client(api_url=url)
    with closing(client.open_channel()) as channel:
        assert trouble(ask(channel)) is FailureKind.REFUSED


# -- how a Prefect 1 takes it --------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", "/", "/admin/version"])
def test_a_gateway_takes_a_get_for_a_query(path: str) -> None:
    """Apollo answers on all paths, and misses the query where there is none."""
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
def test_a_prefect_1_is_known_by_its_graphql(get: httpx.Response) -> None:
    """Whatever a gateway, or what stands before it, says to a GET: the greeting tells."""
    server = FakePrefect1()
    run_id = server.add_run(name="nightly")

    def answer(request: httpx.Request) -> httpx.Response:
        return get if request.method == "GET" else server.handle(request)

    with before(answer, "http://fake.invalid") as channel:
        page = ask(channel, run_id)
        assert isinstance(page, Page)
        (run,) = page.rows
        assert isinstance(run, FlowRun)
        assert run.name == "nightly"


def test_a_graphql_of_something_else_does_not_take_the_question() -> None:
    """It is spoken to as a Prefect 1, and says itself what it does not know."""
    error = {"message": "Cannot query field", "extensions": {"code": "GRAPHQL_VALIDATION_FAILED"}}
    answer = by_method(httpx.Response(404), httpx.Response(400, json={"errors": [error]}))
    client = Client(api_url="http://fake.invalid", transport=httpx.MockTransport(answer))
    with client, pytest.raises(RxflowError, match="Cannot query field"):
        FlowRunView.from_flow_run_id(NO_RUN, client=client)
