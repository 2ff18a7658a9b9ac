"""The CSRF token of Prefect 3: when it is fetched, and how a refusal is reported."""

import json
from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest
from client_readers import READ_METHODS, PollReader, open_reader, poll_of
from conversations import carry_out
from recorded_responses import recorded_response

from rxflow._backends.prefect3 import Prefect3
from rxflow._protocol.failures import Failure
from rxflow._protocol.pages import Page
from rxflow._protocol.queries import LogsQuery, Query, WorkersQuery
from rxflow.errors import AuthError, NotAPrefectApi, ServerError
from rxflow.testing import FakePrefect3

LOGS_QUERY = LogsQuery(flow_run_ids=("ca449f3a-c029-47d8-acb6-1db88b00c1f2",))
LOGS = poll_of(LOGS_QUERY)


class CsrfGuard:
    """A check before a server that refuses every POST without the current token.

    Attributes:
        token: The current token.
        issued: How often a token was issued.
        clients: The ids of the clients that requested or sent a token.
        token_responses: Responses to send first in place of a token.
    """

    def __init__(self, server: FakePrefect3) -> None:
        self.token = json.loads(recorded_response("auth_csrf_token").content)["token"]
        self.issued = 0
        self.clients: set[str] = set()
        self.token_responses: list[httpx.Response] = []
        server.intercept = self.check

    def check(self, request: httpx.Request) -> httpx.Response | None:
        """Return the response to a request in the server's place, or None to let it pass."""
        if request.url.path == "/api/csrf-token":
            if self.token_responses:
                return self.token_responses.pop()
            self.issued += 1
            self.clients.add(request.url.params["client"])
            return httpx.Response(200, json={"token": self.token})
        sent = request.headers.get("prefect-csrf-token")
        if request.method == "GET" or sent == self.token:
            self.clients.add(request.headers.get("prefect-csrf-client", *self.clients))
            return None
        return recorded_response("auth_post_csrf_bad" if sent else "auth_post_no_csrf")


@pytest.fixture
def server() -> FakePrefect3:
    """A server without a network."""
    return FakePrefect3()


@pytest.fixture
def guard(server: FakePrefect3) -> CsrfGuard:
    """A guard before the server."""
    return CsrfGuard(server)


@pytest.fixture(params=READ_METHODS)
def client(server: FakePrefect3, request: pytest.FixtureRequest) -> Iterator[PollReader]:
    """A client of the server, with blocking and with async reads."""
    with open_reader(server, request.param) as reader:
        yield reader


def test_a_token_is_fetched_once(
    server: FakePrefect3, client: PollReader, guard: CsrfGuard
) -> None:
    """One token of one client is sent with all later calls, of every channel."""
    for _ in range(3):
        assert client.read(LOGS) == ()
    with closing(client.open_channel()) as channel:
        assert isinstance(channel.send(LOGS_QUERY), Page)
    assert guard.issued == 1
    assert len(guard.clients) == 1
    assert len(server.requests) == 2 + 4


def test_an_expired_token_is_replaced(client: PollReader, guard: CsrfGuard) -> None:
    """When the server refuses the token, another one is fetched."""
    client.read(LOGS)
    guard.token = "another"
    assert client.read(LOGS) == ()
    assert client.read(LOGS) == ()
    assert guard.issued == 2


def test_a_refused_new_token_is_an_auth_error(
    server: FakePrefect3, client: PollReader, guard: CsrfGuard
) -> None:
    """A server that refuses the token it just issued has refused access; there is no retry."""
    guard.token_responses = [httpx.Response(200, json={"token": "wrong"})]
    with pytest.raises(AuthError, match="CSRF"):
        client.read(LOGS)
    assert len(server.requests) == 3


def test_a_refused_token_request_is_reported(client: PollReader, guard: CsrfGuard) -> None:
    """If the request for a token is refused, the error gives the reason."""
    guard.token_responses = [recorded_response("auth_csrf_token_noauth")]
    with pytest.raises(AuthError, match="401"):
        client.read(LOGS)


def test_a_failed_token_request_is_retried(client: PollReader, guard: CsrfGuard) -> None:
    """A server that is too busy to issue a token is queried again."""
    guard.token_responses = [httpx.Response(503, json={"exception_message": "Service Unavailable"})]
    assert client.read(LOGS) == ()
    assert guard.issued == 1


@pytest.mark.parametrize("status", [200, 404])
@pytest.mark.parametrize("query", [LOGS_QUERY, WorkersQuery("pool")])
def test_an_unreadable_token_is_a_refusal(
    client: PollReader, guard: CsrfGuard, status: int, query: Query
) -> None:
    """A reply without a token leaves the query refused; it is never decoded as rows."""
    guard.token_responses = [httpx.Response(status, json=[])]
    with pytest.raises(ServerError) as caught:
        client.read(poll_of(query))
    assert type(caught.value) in {AuthError, NotAPrefectApi}


@pytest.mark.parametrize("which", [1, 2], ids=["for the token", "with the token"])
def test_a_network_failure_during_the_token_request_is_reported(
    server: FakePrefect3, client: PollReader, guard: CsrfGuard, which: int
) -> None:
    """A failure of either request that a token costs is the failure of the query."""

    def fail(request: httpx.Request) -> httpx.Response | None:
        if len(server.requests) == 1 + which:
            raise httpx.ConnectError("canary")
        return guard.check(request)

    server.intercept = fail
    with closing(client.open_channel()) as channel:
        failure = channel.send(LOGS_QUERY)
        assert isinstance(failure, Failure)
        assert "canary" not in failure.text
        assert isinstance(channel.send(LOGS_QUERY), Page)


def test_channels_refused_together_share_one_token(server: FakePrefect3, guard: CsrfGuard) -> None:
    """Of channels refused at the same time, the second uses the token of the first."""
    client = server.client()
    backend = Prefect3()
    conversations = [backend.converse(LOGS_QUERY) for _ in range(2)]
    with closing(client.open_channel()) as channel:
        send = channel._transport.send
        refused = [send(next(conversation)) for conversation in conversations]
        for conversation, result in zip(conversations, refused, strict=True):
            assert isinstance(carry_out(conversation, send, result), Page)
    assert guard.issued == 1
