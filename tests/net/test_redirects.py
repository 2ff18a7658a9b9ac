"""Redirects: those on the same server are followed, and no others."""

import httpx
import pytest
from http_calls import GET, POST, ConnectTo, OpenTransport, reply_of
from wire_server import ServerConnection, WireServer, http_response, respond, respond_always

from rxflow._backends.backend import HttpCall, HttpResponse
from rxflow._config.secrets import Secret
from rxflow._config.settings import Settings
from rxflow._net.redirects import redirect_target

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


@pytest.mark.parametrize("location", ["\x00", "http://a:b/", "http://h:99999999/", "http://[::1/"])
def test_a_redirect_to_an_invalid_url_is_not_followed(location: str) -> None:
    """A location that is no URL is no target."""
    junk = HttpResponse(status=307, headers={"location": location}, body=b"")
    assert redirect_target(httpx.URL("http://h/api"), junk) is None
