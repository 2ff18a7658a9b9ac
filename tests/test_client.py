"""The client: what it sends, how long it is patient, and that many may use it at once."""

import asyncio
import gc
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest
import trustme
from conversations import carry_out
from wire_server import Talk, WireServer, answer, answering, forever

from rxflow._backends.prefect3 import Prefect3
from rxflow._config.settings import Settings
from rxflow._models.entities import BackendName, Server
from rxflow._net.channel import AsyncChannel
from rxflow._net.response_bodies import MAX_BODY
from rxflow._protocol.failures import Failure, Reply
from rxflow._protocol.pages import Page, Poll
from rxflow._protocol.queries import (
    FlowQuery,
    LogsQuery,
    Query,
    RunQuery,
    ServerQuery,
    StatesQuery,
    WorkersQuery,
)
from rxflow.client import Client
from rxflow.errors import (
    AuthError,
    BadResponse,
    ConfigurationError,
    NotAPrefectApi,
    RunNotFound,
    RxflowError,
    ServerError,
    Unreachable,
)
from rxflow.testing import FakePrefect3

RECORDED = Path(__file__).with_name("recorded") / "prefect3"
GONE = "ca449f3a-c029-47d8-acb6-1db88b00c1f2"

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(autouse=True)
def _nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the environment nor a file says where a server is."""
    for name in ("API_URL", "API_KEY", "API_AUTH_STRING", "CLIENT_CUSTOM_HEADERS", "PROFILE"):
        monkeypatch.delenv(f"PREFECT_{name}", raising=False)
    for name in ("API_URL", "API_KEY", "API_AUTH_STRING", "CUSTOM_HEADERS", "PROFILE"):
        monkeypatch.delenv(f"RXFLOW_{name}", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.delenv("PREFECT_PROFILES_PATH", raising=False)
    monkeypatch.chdir(tmp_path)


def recorded(name: str) -> httpx.Response:
    """Answer as was recorded."""
    exchange = json.loads((RECORDED / f"{name}.json").read_text("utf-8"))
    body = exchange["response"]
    content = body if isinstance(body, str) else json.dumps(body)
    headers = {"content-type": "application/json"}
    return httpx.Response(exchange["status"], content=content, headers=headers)


def one(query: Query) -> Callable[[int], Poll[tuple[Any, ...]]]:
    """Make a poll of one question."""

    def poll(_: int) -> Poll[tuple[Any, ...]]:
        page = yield query
        return page.rows

    return poll


def all_logs(run_id: str) -> Callable[[int], Poll[list[str]]]:
    """Make a poll that reads a run's log lines, page by page."""

    def poll(limit: int) -> Poll[list[str]]:
        messages: list[str] = []
        page = yield LogsQuery(flow_run_ids=(run_id,), limit=limit)
        while page.rows:
            messages += [row.message for row in page.rows]
            page = yield LogsQuery(flow_run_ids=(run_id,), offset=len(messages), limit=limit)
        return messages

    return poll


@pytest.fixture
def server() -> FakePrefect3:
    """A server without a network."""
    return FakePrefect3()


class Asker(Protocol):
    """A channel, as the test's thread uses it."""

    def send(self, query: Query) -> Reply:
        """Ask, once."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


class Reader(Protocol):
    """A client, as the test's thread uses it."""

    def read(self, poll: Callable[[int], Poll[Any]]) -> Any:
        """Carry out a poll."""
        ...

    def open_channel(self) -> Asker:
        """Open a connection of one's own."""
        ...


class OnLoop:
    """A client whose reads are awaited, on an event loop that the test need not see."""

    def __init__(self, client: Client, runner: asyncio.Runner) -> None:
        self._client = client
        self._runner = runner

    def read(self, poll: Callable[[int], Poll[Any]]) -> Any:
        """Await a read."""
        return self._runner.run(self._client.aread(poll))

    def open_channel(self) -> Asker:
        """Open a channel of that loop."""
        return ChannelOnLoop(self._client.open_async_channel(), self._runner)


class ChannelOnLoop:
    """A channel of such a loop."""

    def __init__(self, channel: AsyncChannel, runner: asyncio.Runner) -> None:
        self._channel = channel
        self._runner = runner

    def send(self, query: Query) -> Reply:
        """Await an answer."""
        return self._runner.run(self._channel.send(query))

    def close(self) -> None:
        """Await the end."""
        self._runner.run(self._channel.aclose())


@pytest.fixture(params=["read", "aread"])
def client(server: FakePrefect3, request: pytest.FixtureRequest) -> Iterator[Reader]:
    """Make a client of that server, which reads in one of the two ways."""
    with server.client() as client, asyncio.Runner() as runner:
        yield client if request.param == "read" else OnLoop(client, runner)
        runner.run(client.aclose())


def once(reply: httpx.Response) -> Callable[[httpx.Request], httpx.Response | None]:
    """Answer the first request with this, and leave all others to the server."""
    # A copy, since whoever reads a response makes it one of his own kind.
    copy = httpx.Response(reply.status_code, headers=reply.headers, content=reply.content)
    replies = [copy]
    return lambda _: replies.pop() if replies else None


# -- where the server is -----------------------------------------------------------------------


def test_no_url_is_a_matter_of_configuration() -> None:
    """Without a URL anywhere there is no client, and the error says where it was looked for."""
    with pytest.raises(ConfigurationError, match="PREFECT_API_URL"):
        Client()


def test_the_url_is_found_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without arguments a client goes where Prefect's own would go, and says where that is."""
    monkeypatch.setenv("PREFECT_API_URL", "http://prefect.example/api/")
    assert Client().api_url == "http://prefect.example/api"
    assert repr(Client()) == "Client(api_url='http://prefect.example/api')"


def test_certificates_that_cannot_be_read(tmp_path: Path) -> None:
    """A file of certificates that is none is told when the client is made."""
    junk = tmp_path / "junk.pem"
    junk.write_text("junk", "utf-8")
    with pytest.raises(ConfigurationError, match=r"junk\.pem"):
        Client(settings=Settings(api_url="https://prefect.example/api", ssl_cert_file=str(junk)))


# -- what is sent ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ({"api_key": "pnu_1"}, {"authorization": "Bearer pnu_1"}),
        ({"auth_string": "admin:pw"}, {"authorization": "Basic YWRtaW46cHc="}),
        (
            {"auth_string": "admin:pw", "headers": {"AUTHORIZATION": "Digest x", "X-A": "1"}},
            {"authorization": "Digest x", "x-a": "1"},
        ),
        ({"headers": {"Accept-Encoding": "br"}}, {"accept-encoding": "gzip"}),
        ({}, {"user-agent": "rxflow", "host": "@"}),
    ],
)
def test_headers_of_each_request(arguments: dict[str, Any], sent: dict[str, str]) -> None:
    """Every request of every kind carries the credentials, the custom headers and our name."""
    with WireServer(forever(answer())) as wire:
        with Client(api_url=wire.url, backend="prefect3", **arguments) as client:
            for query in (LogsQuery(flow_run_ids=(GONE,)), StatesQuery(GONE)):
                client.read(one(query))
        assert [request.method for request in wire.requests] == ["POST", "GET"]
        for request in wire.requests:
            for name, value in sent.items():
                assert request.headers[name] == value.replace("@", wire.address)


def test_nothing_is_sent_without_a_credential() -> None:
    """Without a credential there is no Authorization header."""
    with WireServer(answering(answer(b'"3.8.8"'))) as wire:
        with Client(api_url=wire.url, backend="prefect3") as client:
            assert client.read(one(ServerQuery())) == (
                Server(backend=BackendName.PREFECT_3, version="3.8.8"),
            )
        assert "authorization" not in wire.requests[0].headers


# -- the CSRF token ----------------------------------------------------------------------------


class Guard:
    """Stands before a server and lets nobody through without the token of the day.

    Attributes:
        token: The token that is right.
        gave: How often a token was given.
        refusal: What is answered in place of a token, at first.
    """

    def __init__(self, server: FakePrefect3) -> None:
        self.token = json.loads(recorded("auth_csrf_token").content)["token"]
        self.gave = 0
        self.clients: set[str] = set()
        self.refusal: list[httpx.Response] = []
        server.intercept = self.check

    def check(self, request: httpx.Request) -> httpx.Response | None:
        """Answer in the server's place, unless the request may pass."""
        if request.url.path == "/api/csrf-token":
            if self.refusal:
                return self.refusal.pop()
            self.gave += 1
            self.clients.add(request.url.params["client"])
            return httpx.Response(200, json={"token": self.token})
        shown = request.headers.get("prefect-csrf-token")
        if request.method == "GET" or shown == self.token:
            self.clients.add(request.headers.get("prefect-csrf-client", *self.clients))
            return None
        return recorded("auth_post_csrf_bad" if shown else "auth_post_no_csrf")


@pytest.fixture
def guard(server: FakePrefect3) -> Guard:
    """A server that wants a CSRF token."""
    return Guard(server)


LOGS = one(LogsQuery(flow_run_ids=(GONE,)))


def test_a_token_is_fetched_once_and_shown_from_then_on(
    server: FakePrefect3, client: Reader, guard: Guard
) -> None:
    """A server that asks for a token gets it with every later call, from one client."""
    for _ in range(3):
        assert client.read(LOGS) == ()
    with closing(client.open_channel()) as channel:
        assert isinstance(channel.send(LogsQuery(flow_run_ids=(GONE,))), Page)
    assert guard.gave == 1
    assert len(guard.clients) == 1
    assert len(server.requests) == 2 + 4


def test_a_worn_out_token_is_replaced(client: Reader, guard: Guard) -> None:
    """When the server does not take the token any more, another is fetched."""
    client.read(LOGS)
    guard.token = "another"
    assert client.read(LOGS) == ()
    assert client.read(LOGS) == ()
    assert guard.gave == 2


def test_a_token_that_never_fits_is_an_auth_error(
    server: FakePrefect3, client: Reader, guard: Guard
) -> None:
    """A server that takes no token of its own has refused access; it is not asked for ever."""
    guard.refusal = [httpx.Response(200, json={"token": "wrong"})]
    with pytest.raises(AuthError, match="CSRF"):
        client.read(LOGS)
    assert len(server.requests) == 3


def test_who_gives_no_token_is_asked_for_the_reason(client: Reader, guard: Guard) -> None:
    """When the token is refused for another reason, that reason is told."""
    guard.refusal = [recorded("auth_csrf_token_noauth")]
    with pytest.raises(AuthError, match="401"):
        client.read(LOGS)


def test_a_busy_server_gives_the_token_later(client: Reader, guard: Guard) -> None:
    """A server too busy to give a token is asked again."""
    guard.refusal = [httpx.Response(503, json={"exception_message": "Service Unavailable"})]
    assert client.read(LOGS) == ()
    assert guard.gave == 1


@pytest.mark.parametrize("status", [200, 404])
@pytest.mark.parametrize("query", [LogsQuery(flow_run_ids=(GONE,)), WorkersQuery("pool")])
def test_a_token_that_cannot_be_read_is_none(
    client: Reader, guard: Guard, status: int, query: Query
) -> None:
    """Whatever is given in place of a token, the question was refused; nobody takes it for rows."""
    guard.refusal = [httpx.Response(status, json=[])]
    with pytest.raises(ServerError) as caught:
        client.read(one(query))
    assert type(caught.value) in {AuthError, NotAPrefectApi}


@pytest.mark.parametrize("which", [1, 2], ids=["for the token", "with the token"])
def test_a_network_that_fails_on_the_way_to_a_token(
    server: FakePrefect3, client: Reader, guard: Guard, which: int
) -> None:
    """A failure at either request that a token costs is the failure of the question."""

    def fail(request: httpx.Request) -> httpx.Response | None:
        if len(server.requests) == 1 + which:
            raise httpx.ConnectError("canary")
        return guard.check(request)

    server.intercept = fail
    with closing(client.open_channel()) as channel:
        failure = channel.send(LogsQuery(flow_run_ids=(GONE,)))
        assert isinstance(failure, Failure)
        assert "canary" not in failure.text
        assert isinstance(channel.send(LogsQuery(flow_run_ids=(GONE,))), Page)


def test_a_token_that_another_channel_was_given_is_taken(
    server: FakePrefect3, guard: Guard
) -> None:
    """Of channels that are refused at the same time the second makes do with the first one's."""
    client = server.client()
    query = LogsQuery(flow_run_ids=(GONE,))
    backend = Prefect3()
    conversations = [backend.converse(query) for _ in range(2)]
    with closing(client.open_channel()) as channel:
        send = channel._transport.send
        refused = [send(next(conversation)) for conversation in conversations]
        for conversation, result in zip(conversations, refused, strict=True):
            assert isinstance(carry_out(conversation, send, result), Page)
    assert guard.gave == 1


# -- patience ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply",
    [
        httpx.Response(503, json={"exception_message": "Service Unavailable"}),
        httpx.Response(502, html="<h1>Bad Gateway</h1>"),
        httpx.Response(200, content=b'{"id":', headers={"content-type": "application/json"}),
    ],
    ids=["busy", "gateway", "garbled"],
)
def test_a_server_that_fails_once_is_asked_again(
    server: FakePrefect3, client: Reader, reply: httpx.Response
) -> None:
    """A server that fails and then answers has answered."""
    run_id = server.add_run(name="patient")
    server.intercept = once(reply)
    (run,) = client.read(one(RunQuery(run_id)))
    assert run.name == "patient"
    assert len(server.requests) == 2


def test_only_what_failed_is_asked_again(server: FakePrefect3, client: Reader) -> None:
    """A read that fails on the way goes on where it was; what it has is not read again."""
    run_id = server.add_run()
    for number in range(300):
        server.log(run_id, str(number))
    asked: list[int] = []

    def fail_at_the_second_page(request: httpx.Request) -> httpx.Response | None:
        asked.append(json.loads(request.content)["offset"])
        return httpx.Response(503) if asked == [0, 200] else None

    server.intercept = fail_at_the_second_page
    assert client.read(all_logs(run_id)) == [str(number) for number in range(300)]
    assert asked == [0, 200, 200, 300]


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (recorded("flow_run_read_404"), RunNotFound),
        (recorded("flow_run_read_422"), NotAPrefectApi),
        (httpx.Response(200, html="<h1>Sign in</h1>"), NotAPrefectApi),
        (httpx.Response(302, headers={"location": "https://sso.example/"}), NotAPrefectApi),
        (recorded("auth_no_auth"), AuthError),
        (httpx.Response(403, json={"detail": "Forbidden"}), AuthError),
        (recorded("logs_filter_unknown_field"), BadResponse),
    ],
)
def test_what_waiting_does_not_mend_is_raised_at_once(
    server: FakePrefect3, client: Reader, reply: httpx.Response, error: type[RxflowError]
) -> None:
    """An answer that would not be another a moment later is raised as its error, at once."""
    server.intercept = once(reply)
    with pytest.raises(RxflowError) as caught:
        client.read(one(RunQuery(GONE)))
    assert type(caught.value) is error
    assert len(server.requests) == 1


def test_a_certificate_is_not_waited_for() -> None:
    """A server that cannot prove who it is is unreachable, at once."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)
    with WireServer(tls=tls) as wire, Client(api_url=wire.url, backend="prefect3") as client:
        with pytest.raises(Unreachable, match="PREFECT_API_SSL_CERT_FILE"):
            client.read(LOGS)
        assert wire.connections == 1


# -- pages -------------------------------------------------------------------------------------


def test_a_lower_page_limit_is_learnt_once() -> None:
    """A server that gives fewer rows at once is asked for so many, from its first 422 on."""
    server = FakePrefect3(page_limit=50)
    run_id = server.add_run()
    for number in range(120):
        server.log(run_id, str(number))
    with server.client() as client:
        for _ in range(2):
            assert client.read(all_logs(run_id)) == [str(number) for number in range(120)]
    pages = 4  # of 50, 50, 20 and no rows
    assert len(server.requests) == 1 + 2 * pages


def test_an_answer_that_is_too_large_is_asked_for_in_halves(
    server: FakePrefect3, client: Reader
) -> None:
    """Of rows too large for one page half as many are asked for; the next read starts anew."""
    run_id = server.add_run()
    server.log(run_id, "large")
    limits: list[int] = []

    def too_large(request: httpx.Request) -> httpx.Response | None:
        limits.append(json.loads(request.content)["limit"])
        return httpx.Response(200, content=bytes(MAX_BODY + 1)) if limits[-1] > 50 else None

    server.intercept = too_large
    for _ in range(2):
        limits.clear()
        assert client.read(all_logs(run_id)) == ["large"]
        assert limits == [200, 100, 50, 50]


def test_a_row_that_is_too_large_is_an_error(server: FakePrefect3, client: Reader) -> None:
    """When even one row is too large, that is the error, whatever was asked for."""
    server.intercept = lambda _: httpx.Response(200, content=bytes(MAX_BODY + 1))
    with pytest.raises(BadResponse, match="32 MiB"):
        client.read(all_logs(GONE))


# -- threads and closing -----------------------------------------------------------------------


def test_many_threads_may_read_at_once() -> None:
    """Each thread gets the answer to its own question, over the one connection there is."""

    def script(talk: Talk) -> None:
        while True:
            flow = {"id": talk.read().target.rpartition("/")[2], "name": "f"}
            times = dict.fromkeys(("created", "updated"), "2026-11-22T14:25:52.775546Z")
            talk.send(answer(flow | times))

    asked = [f"{thread}-{number}" for thread in range(8) for number in range(5)]
    got: list[str] = []
    with WireServer(script) as wire, Client(api_url=wire.url, backend="prefect3") as client:

        def read(thread: int) -> None:
            for number in range(5):
                (flow,) = client.read(one(FlowQuery(f"{thread}-{number}")))
                got.append(flow.id if flow.id == f"{thread}-{number}" else "another's")

        threads = [threading.Thread(target=read, args=(thread,)) for thread in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wire.connections == 1
    assert sorted(got) == sorted(asked)


def test_the_context_closes_the_connection() -> None:
    """Leaving the context lets go of the connection, and closing twice does no harm."""
    gone = threading.Event()

    def script(talk: Talk) -> None:
        answering(answer())(talk)
        talk.stall()
        gone.set()

    with WireServer(script) as wire:
        with Client(api_url=wire.url, backend="prefect3") as client:
            client.read(LOGS)
            assert not gone.is_set()
        gone.wait()
        client.close()


def test_a_closed_client_can_be_used_again() -> None:
    """The next read after closing opens another connection."""
    with (
        WireServer(*[forever(answer())] * 2) as wire,
        Client(api_url=wire.url, backend="prefect3") as client,
    ):
        client.read(LOGS)
        client.close()
        assert client.read(LOGS) == ()
        assert wire.connections == 2


def test_a_watch_outlives_its_client() -> None:
    """A channel has a connection of its own, which closing the client leaves open."""
    with WireServer(*[forever(answer())] * 2) as wire:
        with Client(api_url=wire.url, backend="prefect3") as client:
            channel = client.open_channel()
            client.read(LOGS)
            channel.send(LogsQuery(flow_run_ids=(GONE,)))
        with closing(channel):
            assert isinstance(channel.send(LogsQuery(flow_run_ids=(GONE,))), Page)
        assert wire.connections == 2
        assert isinstance(channel.send(LogsQuery(flow_run_ids=(GONE,))), Failure)


def ended_by_closing(wire: WireServer, ready: threading.Event) -> Exception:
    """Close a client while another thread reads, and return what that thread meets."""
    errors: list[Exception] = []
    client = Client(api_url=wire.url, backend="prefect3")

    def read() -> None:
        try:
            client.read(LOGS)
        except RxflowError as error:
            errors.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    ready.wait()
    client.close()
    reader.join()
    return errors[0]


def test_closing_ends_a_read_that_waits_for_an_answer() -> None:
    """A read that is under way when its client is closed ends, and is not begun again."""

    def script(talk: Talk) -> None:
        talk.read()
        talk.stall()

    with WireServer(script) as wire:
        error = ended_by_closing(wire, wire.stalling)
        assert isinstance(error, Unreachable)
        assert "closed" in str(error)
        assert wire.connections == 1


def test_closing_ends_a_read_that_waits_for_better_times() -> None:
    """A read that is about to try again when its client is closed does not."""
    busy = threading.Event()

    def script(talk: Talk) -> None:
        answering(answer(b"", "503 Service Unavailable"))(talk)
        busy.set()
        talk.stall()

    with WireServer(script) as wire:
        assert isinstance(ended_by_closing(wire, busy), Unreachable)
        assert (wire.connections, len(wire.requests)) == (1, 1)


# -- on event loops -----------------------------------------------------------------------------


def flows(talk: Talk) -> None:
    """Give each flow that is asked for, by its id."""
    while True:
        flow = {"id": talk.read().target.rpartition("/")[2], "name": "f"}
        times = dict.fromkeys(("created", "updated"), "2026-11-22T14:25:52.775546Z")
        talk.send(answer(flow | times))


async def flow_of(client: Client, flow_id: str) -> str:
    """The id of the flow that comes when one is asked for."""
    (flow,) = await client.aread(one(FlowQuery(flow_id)))
    return str(flow.id)


async def lets_go(event: threading.Event) -> None:
    """Wait for something that happens in another thread."""
    assert await asyncio.to_thread(event.wait, 60)


def test_many_tasks_may_read_at_once() -> None:
    """Each task gets the answer to its own question, over the one connection there is."""
    asked = [str(number) for number in range(40)]

    async def read(client: Client) -> list[str]:
        async with client:
            return list(await asyncio.gather(*(flow_of(client, flow) for flow in asked)))

    with WireServer(flows) as wire:
        assert asyncio.run(read(Client(api_url=wire.url, backend="prefect3"))) == asked
        gc.collect()
        assert wire.connections == 1


def test_a_task_that_is_cancelled_holds_up_nobody() -> None:
    """Cancelling a read, under way or in the queue, ends that one, and the others are answered."""

    def script(talk: Talk) -> None:
        talk.read()
        talk.stall()

    async def read(wire: WireServer) -> None:
        async with Client(api_url=wire.url, backend="prefect3") as client:
            tasks = [asyncio.create_task(flow_of(client, str(number))) for number in range(4)]
            await lets_go(wire.stalling)
            tasks[2].cancel()
            tasks[0].cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            assert outcomes[1::2] == ["1", "3"]
            assert all(isinstance(outcomes[n], asyncio.CancelledError) for n in (0, 2))

    with WireServer(script, flows) as wire:
        asyncio.run(read(wire))
        gc.collect()
        assert wire.connections == 2


def test_one_client_serves_many_loops() -> None:
    """Loops in several threads, and blocking reads beside them, each have their own connection."""
    got: list[str] = []
    begun = threading.Barrier(3)
    with WireServer(*[flows] * 4) as wire, Client(api_url=wire.url, backend="prefect3") as client:

        async def read() -> None:
            begun.wait(60)
            async with client:
                got.extend([await flow_of(client, str(number)) for number in range(5)])

        threads = [threading.Thread(target=lambda: asyncio.run(read())) for _ in range(3)]
        for thread in threads:
            thread.start()
        (flow,) = client.read(one(FlowQuery("blocking")))
        for thread in threads:
            thread.join()
        assert flow.id == "blocking"
        assert sorted(got) == sorted("01234" * 3)
        assert wire.connections == 4


# What asyncio says of a connection that was not closed, whenever it comes upon it.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_one_loop_after_the_other_may_use_a_client() -> None:
    """A client not closed when its loop ended serves the next loop, and lets go of the first."""
    gone = threading.Event()

    def script(talk: Talk) -> None:
        with suppress(ConnectionAbortedError):
            flows(talk)
        gone.set()

    with WireServer(script, flows) as wire:
        client = Client(api_url=wire.url, backend="prefect3")
        assert asyncio.run(flow_of(client, "first")) == "first"
        assert not gone.is_set()

        async def second() -> None:
            async with client:
                assert await flow_of(client, "second") == "second"
                gc.collect()
                await lets_go(gone)

        asyncio.run(second())
        gc.collect()
        assert wire.connections == 2


def test_an_async_context_closes_the_connection() -> None:
    """Leaving `async with` closes what reads on this loop opened, and the next read opens anew."""
    gone = threading.Event()

    def script(talk: Talk) -> None:
        with suppress(ConnectionAbortedError):
            flows(talk)
        gone.set()

    async def read(wire: WireServer) -> None:
        async with Client(api_url=wire.url, backend="prefect3") as client:
            await flow_of(client, "a")
            assert not gone.is_set()
        await lets_go(gone)
        await client.aclose()
        assert await flow_of(client, "b") == "b"
        await client.aclose()

    with WireServer(script, flows) as wire:
        asyncio.run(read(wire))
        gc.collect()
        assert wire.connections == 2


def test_closing_ends_the_reads_of_a_loop() -> None:
    """Reads that are under way or in the queue when their client is closed are told so."""

    def script(talk: Talk) -> None:
        talk.read()
        talk.stall()

    async def read(wire: WireServer) -> None:
        client = Client(api_url=wire.url, backend="prefect3")
        tasks = [asyncio.create_task(client.aread(LOGS)) for _ in range(3)]
        await lets_go(wire.stalling)
        await client.aclose()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(outcome, Unreachable)
            assert "closed" in str(outcome)

    with WireServer(script) as wire:
        asyncio.run(read(wire))
        gc.collect()
        assert (wire.connections, len(wire.requests)) == (1, 1)


def test_waiting_for_better_times_leaves_the_loop_free() -> None:
    """While a read waits to ask again other tasks run, and a cancellation ends the wait."""
    server = FakePrefect3()

    async def read() -> None:
        refused = asyncio.Event()

        def refuse(_: httpx.Request) -> httpx.Response:
            refused.set()
            return httpx.Response(503, headers={"retry-after": "29"})

        server.intercept = refuse
        async with server.client() as client:
            task = asyncio.create_task(client.aread(LOGS))
            await refused.wait()
            for _ in range(10):
                await asyncio.sleep(0)
            assert not task.done()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(read())
