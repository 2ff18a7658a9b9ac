"""Transports on real sockets: sending, deadlines and closing; both transports do the same.

No test is timed: where something must end quickly, all time-outs that could end it otherwise are an
hour long.
"""

import threading

import pytest
from broken_responses import (
    BROKEN,
    DRIPS,
    OK,
    close_half_way,
    reset_half_way,
    stall_before_end,
    stall_half_way,
)
from certificates import Authority
from http_calls import (
    GET,
    POST,
    ConnectTo,
    OpenTransport,
    close_during_call,
    failure_of,
    reply_of,
    settings_for,
)
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from wire_server import (
    Script,
    ServerConnection,
    WireServer,
    close_unanswered,
    drip_response,
    http_response,
    reset_unanswered,
    respond,
    respond_always,
    respond_then,
    stall_response,
)

from rxflow._backends.backend import HttpCall, HttpResponse, HttpResult
from rxflow._config.settings import Settings
from rxflow._net.tls import tls_context
from rxflow._protocol.failures import Failure, FailureKind

pytestmark = pytest.mark.timeout(60)


# -- calls ----------------------------------------------------------------------------------------


def test_a_call_is_sent_and_its_response_is_returned(connect_to: ConnectTo) -> None:
    """Method, path, query and body are sent as given, and the whole response is returned."""
    response = http_response(b"[1]", "201 Created", Date="Sun, 22 Nov 2026 14:28:38 GMT")
    with WireServer(respond(response, response)) as server, connect_to(server) as transport:
        for call in (GET, POST):
            result = reply_of(transport.send(call))
            assert (result.status, result.body) == (201, b"[1]")
            assert result.headers["date"] == "Sun, 22 Nov 2026 14:28:38 GMT"
            assert result.headers["content-type"] == "application/json"
        get, post = server.requests
        assert (get.method, get.body) == ("GET", b"")
        assert get.target in {
            f"/api/flow_run_states/?flow_run_id=a{sp}b%26c" for sp in ("+", "%20")
        }
        assert (post.method, post.target, post.body) == ("POST", "/api/logs/filter", POST.body)
        assert post.headers["content-type"] == "application/json"


def test_a_connection_is_kept(connect_to: ConnectTo) -> None:
    """Calls use one connection as long as the server keeps it."""
    with WireServer(respond_always(http_response())) as server, connect_to(server) as transport:
        for _ in range(5):
            reply_of(transport.send(GET))
        assert server.connections == 1


# -- connections that break -----------------------------------------------------------------------


@pytest.mark.parametrize("end", [close_unanswered, reset_unanswered])
@pytest.mark.parametrize("call", [GET, POST], ids=["GET", "POST"])
def test_a_stale_connection_is_replaced(end: Script, call: HttpCall, connect_to: ConnectTo) -> None:
    """A call on a kept connection that was closed is sent once more, on a new connection."""
    with (
        WireServer(respond_then(end), respond(http_response(b"[1]"))) as server,
        connect_to(server) as transport,
    ):
        assert reply_of(transport.send(GET)).body == b"[0]"
        assert reply_of(transport.send(call)).body == b"[1]"
        assert server.connections == 2
        assert server.requests[1] == server.requests[2]


def test_a_call_is_sent_at_most_twice(connect_to: ConnectTo) -> None:
    """A call whose replay fails as well is a failure."""
    with (
        WireServer(respond_then(close_unanswered), close_unanswered) as server,
        connect_to(server) as transport,
    ):
        reply_of(transport.send(GET))
        assert failure_of(transport.send(GET)).kind is FailureKind.NETWORK
        assert (server.connections, len(server.requests)) == (2, 3)


@pytest.mark.parametrize(
    "end", [close_unanswered, reset_unanswered, close_half_way, reset_half_way]
)
def test_a_new_connection_that_breaks_is_a_failure(end: Script, connect_to: ConnectTo) -> None:
    """A connection that was made for the call and breaks is NETWORK, without a replay."""
    with WireServer(end, respond(http_response())) as server, connect_to(server) as transport:
        assert failure_of(transport.send(GET)).kind is FailureKind.NETWORK
        assert len(server.requests) == 1


@pytest.mark.parametrize("end", [close_half_way, reset_half_way])
def test_a_response_that_breaks_off_is_not_replayed(end: Script, connect_to: ConnectTo) -> None:
    """A kept connection on which a response has begun is not stale; what breaks it is NETWORK."""
    with (
        WireServer(respond_then(end), respond(http_response())) as server,
        connect_to(server) as transport,
    ):
        reply_of(transport.send(GET))
        assert failure_of(transport.send(GET)).kind is FailureKind.NETWORK
        assert len(server.requests) == 2


@pytest.mark.parametrize(
    "text",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n[]\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://a:b/\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
    ],
)
def test_a_response_that_is_not_http_is_a_failure(text: bytes, connect_to: ConnectTo) -> None:
    """A response that is cut short, or is not HTTP at all, is NETWORK."""
    with WireServer(respond(text)) as server, connect_to(server) as transport:
        assert failure_of(transport.send(GET)).kind is FailureKind.NETWORK


def test_a_response_without_a_length_ends_with_the_connection(connect_to: ConnectTo) -> None:
    """HTTP does not show that such a response was cut short; parsing its body does."""
    text = b"HTTP/1.1 200 OK\r\n\r\n[1, 2"
    with WireServer(respond(text)) as server, connect_to(server) as transport:
        assert reply_of(transport.send(GET)).body == b"[1, 2"


@pytest.mark.long
@limits(max_examples=60)
@given(text=st.binary() | st.binary().map(lambda body: b"HTTP/1.1 200 OK\r\n" + body))
def test_any_bytes_are_a_reply_or_a_failure(text: bytes, connect_to: ConnectTo) -> None:
    """No bytes that a server may send raise an exception."""
    with WireServer(respond(text)) as server, connect_to(server) as transport:
        assert isinstance(transport.send(GET), HttpResponse | Failure)


@pytest.mark.parametrize("name", BROKEN)
def test_a_failure_is_followed_by_a_new_connection(name: str, connect_to: ConnectTo) -> None:
    """Whatever a call failed with, the next one has a response."""
    scripts = (BROKEN[name], respond(http_response(b"[1]")))
    with WireServer(*scripts) as server, connect_to(server, deadline=1.0) as transport:
        failure_of(transport.send(GET))
        assert reply_of(transport.send(GET)).body == b"[1]"
        assert server.connections == 2


def test_a_failure_closes_the_connection(connect_to: ConnectTo) -> None:
    """The server sees at once that a connection on which a call failed is closed."""
    closed = threading.Event()

    def script(connection: ServerConnection) -> None:
        respond(http_response(b"[]", content_encoding="br"))(connection)
        connection.stall()
        closed.set()

    with WireServer(script) as server, connect_to(server) as transport:
        failure_of(transport.send(GET))
        assert closed.wait(60)


# -- time-outs and the deadline -------------------------------------------------------------------


def test_a_silent_server_times_out(open_transport: OpenTransport) -> None:
    """A server that sends nothing for `read_timeout` is NETWORK."""
    with WireServer(respond_then(ServerConnection.stall)) as server:
        settings = Settings(api_url=server.url, read_timeout=0.1)
        with open_transport(settings, None) as transport:
            reply_of(transport.send(GET))
            failure = failure_of(transport.send(GET))
    assert failure.kind is FailureKind.NETWORK
    assert "ReadTimeout" in failure.text


@pytest.mark.parametrize("name", DRIPS)
def test_a_slow_response_ends_at_the_deadline(name: str, connect_to: ConnectTo) -> None:
    """A response that arrives byte by byte, in any part, is NETWORK."""
    scripts = (drip_response(*DRIPS[name]), respond(http_response(b"[1]")))
    with WireServer(*scripts) as server, connect_to(server, deadline=0.2) as transport:
        failure = failure_of(transport.send(GET))
        assert failure.kind is FailureKind.NETWORK
        assert "in 0.2 s" in failure.text


def test_time_outs_may_have_any_length(open_transport: OpenTransport) -> None:
    """Seconds that no socket can wait for mean no time-out."""
    with WireServer(respond(http_response(b"[1]"))) as server:
        long = 1e12
        settings = Settings(
            api_url=server.url, connect_timeout=long, read_timeout=long, deadline=long
        )
        with open_transport(settings, None) as transport:
            assert reply_of(transport.send(GET)).body == b"[1]"


def test_the_deadline_includes_replays_and_redirects(connect_to: ConnectTo) -> None:
    """A call has one deadline, of which a replay or a redirect has what is left."""
    redirect = http_response(b"", "307 Temporary Redirect", location="/api/elsewhere")

    def redirect_slowly(connection: ServerConnection) -> None:
        connection.read()
        connection.send(redirect)
        drip_response(OK, b"X-Padding: x\r\n")(connection)

    with (
        WireServer(respond_then(close_unanswered), redirect_slowly) as server,
        # Long enough to connect again: anyio leaves a connection open that is cancelled meanwhile.
        connect_to(server, deadline=1.0) as transport,
    ):
        reply_of(transport.send(GET))
        assert "in 1 s" in failure_of(transport.send(GET)).text
        assert server.connections == 2


def test_the_deadline_includes_the_tls_handshake(open_transport: OpenTransport) -> None:
    """A server that stalls in the handshake is given up at the deadline."""
    with WireServer(ServerConnection.stall) as server:
        settings = settings_for(f"https://{server.address}/api", deadline=0.2)
        with open_transport(settings, tls_context(settings)) as transport:
            assert "in 0.2 s" in failure_of(transport.send(GET)).text


# -- closing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("script", [stall_response, stall_half_way, stall_before_end])
@pytest.mark.parametrize("before", [0, 1], ids=["fresh", "kept"])
def test_closing_aborts_a_call(script: Script, before: int, connect_to: ConnectTo) -> None:
    """Closing ends a call that waits in another thread, wherever in the response, for good."""
    with (
        WireServer(respond_then(script) if before else script) as server,
        connect_to(server) as transport,
    ):
        for _ in range(before):
            reply_of(transport.send(GET))
        failure = close_during_call(transport, server)
        assert failure.kind is FailureKind.NETWORK
        assert "closed" in failure.text
    assert (server.connections, len(server.requests)) == (1, before + 1)


@pytest.mark.parametrize("script", [stall_response, stall_half_way])
def test_closing_aborts_a_call_over_tls(
    script: Script, authority: Authority, open_transport: OpenTransport
) -> None:
    """Closing ends a call over TLS as well."""
    with WireServer(script, tls=authority.server_context()) as server:
        settings = settings_for(server.url, ssl_cert_file=authority.file)
        with open_transport(settings, tls_context(settings)) as transport:
            assert close_during_call(transport, server).kind is FailureKind.NETWORK


def test_closing_aborts_a_handshake(open_transport: OpenTransport) -> None:
    """Closing ends a TLS handshake in which the server has stalled."""
    with WireServer(ServerConnection.stall) as server:
        settings = settings_for(f"https://{server.address}/api")
        with open_transport(settings, tls_context(settings)) as transport:
            assert close_during_call(transport, server).kind is FailureKind.NETWORK


def test_closing_aborts_a_slow_response(connect_to: ConnectTo) -> None:
    """Closing ends a call whose response goes on for ever."""

    def script(connection: ServerConnection) -> None:
        server.stalling.set()
        drip_response(OK, b"X-Padding: x\r\n")(connection)

    with WireServer(script) as server, connect_to(server) as transport:
        assert "closed" in close_during_call(transport, server).text


def test_a_closed_transport_returns_a_failure(connect_to: ConnectTo) -> None:
    """After closing, which may be done twice, a call is a failure and is not sent."""
    with WireServer(respond_always(http_response())) as server, connect_to(server) as transport:
        reply_of(transport.send(GET))
        transport.close()
        transport.close()
        assert failure_of(transport.send(GET)).kind is FailureKind.NETWORK
        assert (server.connections, len(server.requests)) == (1, 1)


def test_an_unused_transport_can_be_closed(connect_to: ConnectTo) -> None:
    """Closing before the first call makes no connection, then or later."""
    with WireServer(respond_always(http_response())) as server, connect_to(server) as transport:
        transport.close()
        failure_of(transport.send(GET))
        assert server.connections == 0


def test_many_threads_may_close_a_transport(connect_to: ConnectTo) -> None:
    """Many threads may close a transport at once, during a call."""
    with WireServer(stall_response) as server, connect_to(server) as transport:
        results: list[HttpResult] = []
        sender = threading.Thread(target=lambda: results.append(transport.send(GET)))
        sender.start()
        server.stalling.wait()
        closers = [threading.Thread(target=transport.close) for _ in range(8)]
        for closer in closers:
            closer.start()
        for thread in (*closers, sender):
            thread.join()
        assert failure_of(results[0]).kind is FailureKind.NETWORK


def test_closing_closes_the_connection(connect_to: ConnectTo) -> None:
    """The server sees that the connection is closed when the transport is."""
    closed = threading.Event()

    def script(connection: ServerConnection) -> None:
        respond(http_response())(connection)
        connection.stall()
        closed.set()

    with WireServer(script) as server:
        with connect_to(server) as transport:
            reply_of(transport.send(GET))
        assert closed.wait(60)
