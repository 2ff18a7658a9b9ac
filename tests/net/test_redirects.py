"""Redirects: those on the same server are followed, and no others."""

from contextlib import suppress

import httpx
import pytest
from http_calls import GET, POST, ConnectTo, OpenTransport, failure_of, reply_of
from hypothesis import given
from hypothesis import strategies as st
from wire_server import ServerConnection, WireServer, http_response, respond, respond_always

from rxflow._backends.backend import HttpCall, HttpResponse
from rxflow._config.secrets import Secret
from rxflow._config.settings import Settings
from rxflow._net.redirects import redirect_target
from rxflow._protocol.failures import FailureKind

pytestmark = pytest.mark.timeout(60)


def redirect(location: str, status: str = "307 Temporary Redirect") -> bytes:
    """Format a redirect."""
    return http_response(b"", status, location=location)


@pytest.mark.parametrize("status", ["307 Temporary Redirect", "308 Permanent Redirect"])
@pytest.mark.parametrize("call", [GET, POST], ids=["GET", "POST"])
def test_a_redirect_on_the_same_server_is_followed(
    status: str, call: HttpCall, connect_to: ConnectTo
) -> None:
    """The request is repeated with its method, body and headers."""
    script = respond(redirect("/api/there?x=1", status), http_response(b"[1]"))
    with WireServer(script) as server, connect_to(server) as transport:
        assert reply_of(transport.send(call)).body == b"[1]"
        first, second = server.requests
        assert second.target == "/api/there?x=1"
        assert second._replace(target=first.target) == first


def test_redirects_are_followed_three_times(connect_to: ConnectTo) -> None:
    """The fourth redirect is the reply."""
    with WireServer(respond_always(redirect("/api/on"))) as server, connect_to(server) as transport:
        assert reply_of(transport.send(GET)).status == 307
        assert len(server.requests) == 4


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other"])
def test_redirects_that_may_change_the_method_are_not_followed(
    status: str, connect_to: ConnectTo
) -> None:
    """A redirect after which a POST would become a GET is the reply."""
    with (
        WireServer(respond_always(redirect("/api/on", status))) as server,
        connect_to(server) as transport,
    ):
        assert reply_of(transport.send(POST)).headers["location"] == "/api/on"
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "location",
    [
        "http://OTHER/api/",
        "//OTHER/api/",
        "https://SAME/api/",
        "http://user:pw@SAME/api/",
        "http://SAME\\@OTHER/api/",
        "http://SAME@OTHER/api/",
        "ftp://SAME/api/",
        "http://localhost:1/api/",
        "",
    ],
)
def test_a_redirect_to_another_server_is_not_followed(
    location: str, open_transport: OpenTransport
) -> None:
    """Such a redirect is the reply, and nothing is sent to the other server, least of all a key."""
    with WireServer(respond_always(http_response())) as other:

        def script(connection: ServerConnection) -> None:
            target = location.replace("SAME", same).replace("OTHER", other.address)
            respond_always(redirect(target))(connection)

        with WireServer(script) as server:
            same = server.address
            settings = Settings(api_url=server.url, api_key=Secret("key"))
            with open_transport(settings, None) as transport:
                assert reply_of(transport.send(GET)).status == 307
            assert len(server.requests) == 1
        assert other.connections == 0


@pytest.mark.parametrize("status", ["301 Moved", "307 Temporary Redirect"])
@pytest.mark.parametrize("location", ["http://a:b/", "http://[::1/"])
def test_a_redirect_to_an_invalid_url_is_a_failure(
    location: str, status: str, connect_to: ConnectTo
) -> None:
    """The failure says so, and does not quote it, since it may hold a secret."""
    script = respond(redirect(location, status))
    with WireServer(script) as server, connect_to(server) as transport:
        failure = failure_of(transport.send(POST))
        assert failure.kind is FailureKind.NETWORK
        assert failure.text.endswith("redirects to what is not a URL")
        assert len(server.requests) == 1


@given(location=st.text())
def test_a_location_is_a_url_or_is_invalid(location: str) -> None:
    """No text in a redirect raises another exception."""
    reply = HttpResponse(status=307, headers={"location": location}, body=b"")
    with suppress(httpx.InvalidURL):
        assert isinstance(redirect_target(httpx.URL("http://h/api"), reply), httpx.URL | None)
