"""`Client`: the server it finds, what it sends, when it retries, and how it is closed."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from client_readers import (
    READ_METHODS,
    PollReader,
    open_reader,
    poll_of,
    poll_of_all_logs,
    serve_flows,
)
from recorded_responses import recorded_response
from wire_server import ServerConnection, WireServer, http_response, respond, respond_always

from rxflow._config.settings import Settings
from rxflow._models.entities import BackendName, Server
from rxflow._net.response_bodies import MAX_BODY
from rxflow._protocol.failures import Failure
from rxflow._protocol.pages import Page
from rxflow._protocol.queries import FlowQuery, LogsQuery, RunQuery, ServerQuery, StatesQuery
from rxflow.client import Client
from rxflow.errors import (
    AuthError,
    BadResponse,
    ConfigurationError,
    NotAPrefectApi,
    RunNotFound,
    RxflowError,
    Unreachable,
)
from rxflow.testing import FakePrefect3

GONE = "ca449f3a-c029-47d8-acb6-1db88b00c1f2"
LOGS = poll_of(LogsQuery(flow_run_ids=(GONE,)))

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(autouse=True)
def _no_server_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the environment nor a file has the URL of a server."""
    for name in ("API_URL", "API_KEY", "API_AUTH_STRING", "CLIENT_CUSTOM_HEADERS", "PROFILE"):
        monkeypatch.delenv(f"PREFECT_{name}", raising=False)
    for name in ("API_URL", "API_KEY", "API_AUTH_STRING", "CUSTOM_HEADERS", "PROFILE"):
        monkeypatch.delenv(f"RXFLOW_{name}", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.delenv("PREFECT_PROFILES_PATH", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def server() -> FakePrefect3:
    """A server without a network."""
    return FakePrefect3()


@pytest.fixture(params=READ_METHODS)
def client(server: FakePrefect3, request: pytest.FixtureRequest) -> Iterator[PollReader]:
    """A client of the server, with blocking and with async reads."""
    with open_reader(server, request.param) as reader:
        yield reader


def respond_once(reply: httpx.Response) -> Callable[[httpx.Request], httpx.Response | None]:
    """Return a hook that responds to the first request and leaves all others to the server."""
    # A copy, since reading a response makes it either blocking or async.
    copy = httpx.Response(reply.status_code, headers=reply.headers, content=reply.content)
    replies = [copy]
    return lambda _: replies.pop() if replies else None


# -- where the server is -----------------------------------------------------------------------


def test_without_a_url_there_is_no_client() -> None:
    """Without a URL the error lists where it was looked up."""
    with pytest.raises(ConfigurationError, match="PREFECT_API_URL"):
        Client()


def test_the_url_is_found_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without arguments a client uses the server that Prefect would use, and its repr names it."""
    monkeypatch.setenv("PREFECT_API_URL", "http://prefect.example/api/")
    assert Client().api_url == "http://prefect.example/api"
    assert repr(Client()) == "Client(api_url='http://prefect.example/api')"


def test_a_client_that_is_half_made_has_a_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    """A debugger or a traceback may show a client whose settings were rejected."""
    assert "Client" in repr(Client.__new__(Client))
    monkeypatch.setenv("PREFECT_API_URL", "not a URL")
    shown: list[str] = []

    class Shown(Client):
        """A client that is shown when its settings were rejected."""

        def __init__(self) -> None:
            try:
                super().__init__()
            except ConfigurationError:
                shown.append(repr(self))
                raise

    with pytest.raises(ConfigurationError):
        Shown()
    assert len(shown) == 1


def test_an_unreadable_certificate_file_is_rejected(tmp_path: Path) -> None:
    """A file that holds no certificates is rejected when the client is made."""
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
    """Every request carries the credentials, the custom headers and the user agent."""
    with WireServer(respond_always(http_response())) as wire:
        with Client(api_url=wire.url, backend="prefect3", **arguments) as client:
            for query in (LogsQuery(flow_run_ids=(GONE,)), StatesQuery(GONE)):
                client.read(poll_of(query))
        assert [request.method for request in wire.requests] == ["POST", "GET"]
        for request in wire.requests:
            for name, value in sent.items():
                assert request.headers[name] == value.replace("@", wire.address)


def test_without_a_credential_no_authorization_is_sent() -> None:
    """Without a credential there is no Authorization header."""
    with WireServer(respond(http_response(b'"3.8.8"'))) as wire:
        with Client(api_url=wire.url, backend="prefect3") as client:
            assert client.read(poll_of(ServerQuery())) == (
                Server(backend=BackendName.PREFECT_3, version="3.8.8"),
            )
        assert "authorization" not in wire.requests[0].headers


# -- retries -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply",
    [
        httpx.Response(503, json={"exception_message": "Service Unavailable"}),
        httpx.Response(502, html="<h1>Bad Gateway</h1>"),
        httpx.Response(200, content=b'{"id":', headers={"content-type": "application/json"}),
    ],
    ids=["busy", "gateway", "unreadable"],
)
def test_a_failed_query_is_retried(
    server: FakePrefect3, client: PollReader, reply: httpx.Response
) -> None:
    """A query that fails once is sent again."""
    run_id = server.add_run(name="amber-fox")
    server.intercept = respond_once(reply)
    (run,) = client.read(poll_of(RunQuery(run_id)))
    assert run.name == "amber-fox"
    assert len(server.requests) == 2


def test_only_the_failed_query_is_retried(server: FakePrefect3, client: PollReader) -> None:
    """A failure in the middle of a poll does not make it read earlier pages again."""
    run_id = server.add_run()
    for number in range(300):
        server.log(run_id, str(number))
    offsets: list[int] = []

    def fail_at_the_second_page(request: httpx.Request) -> httpx.Response | None:
        offsets.append(json.loads(request.content)["offset"])
        return httpx.Response(503) if offsets == [0, 200] else None

    server.intercept = fail_at_the_second_page
    assert client.read(poll_of_all_logs(run_id)) == [str(number) for number in range(300)]
    assert offsets == [0, 200, 200, 300]


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (recorded_response("flow_run_read_404"), RunNotFound),
        (recorded_response("flow_run_read_422"), NotAPrefectApi),
        (httpx.Response(200, html="<h1>Sign in</h1>"), NotAPrefectApi),
        (httpx.Response(302, headers={"location": "https://sso.example/"}), NotAPrefectApi),
        (recorded_response("auth_no_auth"), AuthError),
        (httpx.Response(403, json={"detail": "Forbidden"}), AuthError),
        (recorded_response("logs_filter_unknown_field"), BadResponse),
    ],
)
def test_a_lasting_failure_is_raised_at_once(
    server: FakePrefect3, client: PollReader, reply: httpx.Response, error: type[RxflowError]
) -> None:
    """A failure that no retry mends is raised as its error, after one request."""
    server.intercept = respond_once(reply)
    with pytest.raises(RxflowError) as caught:
        client.read(poll_of(RunQuery(GONE)))
    assert type(caught.value) is error
    assert len(server.requests) == 1


def test_an_untrusted_certificate_is_not_retried() -> None:
    """A server whose certificate is not trusted is unreachable, at once."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)
    with WireServer(tls=tls) as wire, Client(api_url=wire.url, backend="prefect3") as client:
        with pytest.raises(Unreachable, match="PREFECT_API_SSL_CERT_FILE"):
            client.read(LOGS)
        assert wire.connections == 1


# -- page limits -------------------------------------------------------------------------------


def test_a_lower_page_limit_is_remembered() -> None:
    """After the first 422 all pages have the size that the server allows."""
    server = FakePrefect3(page_limit=50)
    run_id = server.add_run()
    for number in range(120):
        server.log(run_id, str(number))
    with server.client() as client:
        for _ in range(2):
            assert client.read(poll_of_all_logs(run_id)) == [str(number) for number in range(120)]
    pages = 4  # of 50, 50, 20 and no rows
    assert len(server.requests) == 1 + 2 * pages


def test_a_page_that_is_too_large_is_halved(server: FakePrefect3, client: PollReader) -> None:
    """A page with too many bytes is halved until it fits; the next read starts anew."""
    run_id = server.add_run()
    server.log(run_id, "large")
    limits: list[int] = []

    def too_large(request: httpx.Request) -> httpx.Response | None:
        limits.append(json.loads(request.content)["limit"])
        return httpx.Response(200, content=bytes(MAX_BODY + 1)) if limits[-1] > 50 else None

    server.intercept = too_large
    for _ in range(2):
        limits.clear()
        assert client.read(poll_of_all_logs(run_id)) == ["large"]
        assert limits == [200, 100, 50, 50]


def test_a_row_that_is_too_large_is_an_error(server: FakePrefect3, client: PollReader) -> None:
    """If even one row is too large, the read fails."""
    server.intercept = lambda _: httpx.Response(200, content=bytes(MAX_BODY + 1))
    with pytest.raises(BadResponse, match="32 MiB"):
        client.read(poll_of_all_logs(GONE))


# -- threads, and closing ----------------------------------------------------------------------


def test_many_threads_may_read_at_once() -> None:
    """Each thread receives the reply to its own query, over the one connection."""
    flow_ids = [f"{thread}-{number}" for thread in range(8) for number in range(5)]
    received: list[str] = []
    with WireServer(serve_flows) as wire, Client(api_url=wire.url, backend="prefect3") as client:

        def read(thread: int) -> None:
            for number in range(5):
                (flow,) = client.read(poll_of(FlowQuery(f"{thread}-{number}")))
                received.append(flow.id if flow.id == f"{thread}-{number}" else "wrong flow")

        threads = [threading.Thread(target=read, args=(thread,)) for thread in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wire.connections == 1
    assert sorted(received) == sorted(flow_ids)


def test_the_context_closes_the_connection() -> None:
    """Leaving the context closes the connection, and the client may be closed again."""
    closed = threading.Event()

    def script(connection: ServerConnection) -> None:
        respond(http_response())(connection)
        connection.stall()
        closed.set()

    with WireServer(script) as wire:
        with Client(api_url=wire.url, backend="prefect3") as client:
            client.read(LOGS)
            assert not closed.is_set()
        closed.wait()
        client.close()


def test_a_closed_client_can_be_used_again() -> None:
    """The next read after closing opens another connection."""
    with (
        WireServer(*[respond_always(http_response())] * 2) as wire,
        Client(api_url=wire.url, backend="prefect3") as client,
    ):
        client.read(LOGS)
        client.close()
        assert client.read(LOGS) == ()
        assert wire.connections == 2


def test_a_channel_outlives_its_client() -> None:
    """A channel has a connection of its own, which closing the client leaves open."""
    with WireServer(*[respond_always(http_response())] * 2) as wire:
        with Client(api_url=wire.url, backend="prefect3") as client:
            channel = client.open_channel()
            client.read(LOGS)
            channel.send(LogsQuery(flow_run_ids=(GONE,)))
        with closing(channel):
            assert isinstance(channel.send(LogsQuery(flow_run_ids=(GONE,))), Page)
        assert wire.connections == 2
        assert isinstance(channel.send(LogsQuery(flow_run_ids=(GONE,))), Failure)


def error_of_read_ended_by_close(wire: WireServer, ready: threading.Event) -> Exception:
    """Close a client while another thread reads, and return the error that the read raises."""
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


def test_closing_ends_a_read_that_waits_for_a_reply() -> None:
    """A read in progress fails when its client is closed, and its query is not sent again."""

    def script(connection: ServerConnection) -> None:
        connection.read()
        connection.stall()

    with WireServer(script) as wire:
        error = error_of_read_ended_by_close(wire, wire.stalling)
        assert isinstance(error, Unreachable)
        assert "closed" in str(error)
        assert wire.connections == 1


def test_closing_ends_a_read_that_waits_to_retry() -> None:
    """A read that waits to retry fails after its client is closed, without a retry."""
    busy = threading.Event()

    def script(connection: ServerConnection) -> None:
        respond(http_response(b"", "503 Service Unavailable"))(connection)
        busy.set()
        connection.stall()

    with WireServer(script) as wire:
        assert isinstance(error_of_read_ended_by_close(wire, busy), Unreachable)
        assert (wire.connections, len(wire.requests)) == (1, 1)
