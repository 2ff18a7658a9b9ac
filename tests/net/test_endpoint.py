"""Endpoints: URLs, proxies, and secrets that no text has."""

import base64
import io
import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec

import pytest
from broken_responses import BROKEN
from certificates import Authority
from http_calls import (
    GET,
    POST,
    ConnectTo,
    OpenTransport,
    close_during_call,
    failure_of,
    refused_port,
    reply_of,
    settings_for,
)
from loguru import logger
from wire_server import ServerConnection, WireServer, http_response, respond, stall_response

from rxflow._config.secrets import Secret
from rxflow._config.settings import Settings
from rxflow._net.tls import tls_context
from rxflow._protocol.failures import FailureKind
from rxflow.client import Client
from rxflow.errors import ConfigurationError

pytestmark = pytest.mark.timeout(60)


# -- URLs and proxies -----------------------------------------------------------------------------


def test_an_invalid_url_is_a_configuration_error(open_transport: OpenTransport) -> None:
    """A host name that cannot be looked up is an error at once, which says where it is set."""
    with pytest.raises(ConfigurationError, match="the test"):
        open_transport(settings_for("http://\N{SNOWMAN}.example/api"), None).__enter__()


REMOTE_URL = "http://prefect.invalid/api"


@pytest.mark.usefixtures("_no_proxies")
def test_a_proxy_of_the_environment_is_used(
    monkeypatch: pytest.MonkeyPatch, open_transport: OpenTransport
) -> None:
    """A server elsewhere is reached through the proxy that the environment names."""
    with WireServer(respond(http_response(b"[1]"))) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://user:p%20w@{proxy.address}")
        with open_transport(settings_for(REMOTE_URL), None) as transport:
            assert reply_of(transport.send(POST)).body == b"[1]"
        assert proxy.requests[0].target == f"{REMOTE_URL}/logs/filter"
        login = base64.b64encode(b"user:p w").decode()
        assert proxy.requests[0].headers["proxy-authorization"] == f"Basic {login}"


@pytest.mark.usefixtures("_no_proxies")
def test_a_server_on_this_machine_needs_no_proxy(
    monkeypatch: pytest.MonkeyPatch, connect_to: ConnectTo
) -> None:
    """A server on loopback is reached directly, whatever proxy is set."""
    with refused_port() as port, WireServer(respond(http_response(b"[1]"))) as server:
        monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{port}")
        with connect_to(server) as transport:
            assert reply_of(transport.send(GET)).body == b"[1]"


@pytest.mark.usefixtures("_no_proxies")
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "all_proxy"])
def test_a_proxy_is_named_without_its_password(
    variable: str, monkeypatch: pytest.MonkeyPatch, open_transport: OpenTransport
) -> None:
    """A failure of the proxy names it, without its password."""
    with refused_port() as port:
        monkeypatch.setenv(variable, f"http://user:canary@127.0.0.1:{port}")
        with open_transport(settings_for(REMOTE_URL), None) as transport:
            failure = failure_of(transport.send(GET))
    assert failure.kind is FailureKind.REFUSED
    assert f"through the proxy 127.0.0.1:{port}" in failure.text
    assert "canary" not in failure.text


@pytest.mark.usefixtures("_no_proxies")
@pytest.mark.parametrize(
    "proxy",
    [
        "http://user:canary/x@host",
        "ftp://user:canary@host:21",
        pytest.param(
            "socks5://user:canary@host:1080",
            marks=pytest.mark.skipif(find_spec("socksio") is not None, reason="it can be used"),
        ),
    ],
)
def test_an_unusable_proxy_is_a_configuration_error(
    proxy: str, monkeypatch: pytest.MonkeyPatch, open_transport: OpenTransport
) -> None:
    """The error does not quote its URL."""
    monkeypatch.setenv("HTTP_PROXY", proxy)
    with pytest.raises(ConfigurationError, match="HTTP_PROXY") as caught:
        open_transport(settings_for(REMOTE_URL), None).__enter__()
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.usefixtures("_no_proxies")
def test_an_unusable_proxy_of_another_scheme_is_no_error(
    monkeypatch: pytest.MonkeyPatch, open_transport: OpenTransport
) -> None:
    """Only the proxy that is used for the server must be one that can be used."""
    with WireServer(respond(http_response(b"[1]"))) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.address}")
        monkeypatch.setenv("HTTPS_PROXY", "ftp://nowhere")
        with open_transport(settings_for(REMOTE_URL), None) as transport:
            assert reply_of(transport.send(GET)).body == b"[1]"


@pytest.mark.usefixtures("_no_proxies")
def test_closing_aborts_a_call_through_a_tunnel(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, open_transport: OpenTransport
) -> None:
    """Closing ends a call over TLS through a proxy too."""

    def tunnel(connection: ServerConnection) -> None:
        connection.read()
        connection.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        connection.start_tls(authority.server_context("prefect.invalid"))
        with closing(connection):
            stall_response(connection)

    with WireServer(tunnel) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.address}")
        settings = settings_for("https://prefect.invalid/api", ssl_cert_file=authority.file)
        with open_transport(settings, tls_context(settings)) as transport:
            assert close_during_call(transport, proxy).kind is FailureKind.NETWORK
        assert [request.method for request in proxy.requests] == ["CONNECT", "GET"]


@pytest.mark.usefixtures("_no_proxies")
def test_a_proxy_that_refuses_a_tunnel_is_named(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, open_transport: OpenTransport
) -> None:
    """The failure has the proxy's name and its status, and not its password."""
    with WireServer(respond(http_response(b"", "407 Proxy \x1b[2J required"))) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:canary@{proxy.address}")
        settings = settings_for("https://prefect.invalid/api", ssl_cert_file=authority.file)
        with open_transport(settings, tls_context(settings)) as transport:
            failure = failure_of(transport.send(GET))
        named = f"through the proxy {proxy.address}" in failure.text
    assert named
    assert failure.kind is FailureKind.NETWORK
    assert "407 Proxy" in failure.text
    assert "canary" not in failure.text


# -- secrets --------------------------------------------------------------------------------------


@contextmanager
def everything_logged() -> Iterator[io.StringIO]:
    """Collect what loguru, httpx and httpcore log at their lowest levels."""
    logged = io.StringIO()
    handler = logging.StreamHandler(logged)
    root = logging.getLogger()
    names = [logging.getLogger(name) for name in ("httpx", "httpcore", "h11")]
    sink = logger.add(logged, level=0, backtrace=True, diagnose=True)
    logger.enable("rxflow")
    root.addHandler(handler)
    for log in names:
        log.setLevel(logging.DEBUG)
    try:
        yield logged
    finally:
        for log in names:
            log.setLevel(logging.NOTSET)
        root.removeHandler(handler)
        logger.disable("rxflow")
        logger.remove(sink)


SECRETS = (
    Settings(api_url="", auth_string=Secret("someone:canary-auth")),
    Settings(api_url="", api_key=Secret("canary-key")),
    Settings(api_url="", headers=(("X-Token", Secret("canary-header")),)),
    Settings(api_url="", headers=(("authorization", Secret("Digest canary-header")),)),
)


@pytest.mark.parametrize("secret", SECRETS, ids=["auth", "key", "header", "authorization"])
def test_no_text_has_a_secret(secret: Settings, open_transport: OpenTransport) -> None:
    """No text of ours, no log and no repr has a secret, though each secret is sent."""
    scripts = [
        *BROKEN.values(),
        respond(http_response(b"{}", "401 Unauthorized")),
        respond(http_response()),
    ]
    with everything_logged() as logged, WireServer(*scripts) as server:
        settings = Settings(
            api_url=server.url,
            auth_string=secret.auth_string,
            api_key=secret.api_key,
            headers=secret.headers,
            deadline=0.5,
        )
        with open_transport(settings, None) as transport:
            results = [transport.send(GET) for _ in scripts]
            logged.write(f"{results} {transport!r} {settings!r} {Client(settings=settings)!r}")
        sent = str(server.requests)
    text = logged.getvalue()
    assert "GET" in text
    for canary in ("canary", base64.b64encode(b"someone:canary-auth").decode()):
        assert canary not in text
    assert any(
        hidden.reveal() in sent or base64.b64encode(hidden.reveal().encode()).decode() in sent
        for hidden in (secret.auth_string, secret.api_key, *dict(secret.headers).values())
        if hidden is not None
    )


def test_no_text_has_a_login_of_the_url() -> None:
    """A login that is part of the URL is sent as a header, and is in no text."""
    with everything_logged() as logged, WireServer(respond(http_response())) as server:
        client = Client(api_url=server.url.replace("://", "://me:canary@"))
        with closing(client.open_channel()) as channel:
            logged.write(f"{client!r} {client.api_url} {channel!r}")
            reply_of(channel._transport.send(GET))
        login = base64.b64encode(b"me:canary").decode()
        assert server.requests[0].headers["authorization"] == f"Basic {login}"
    text = logged.getvalue()
    assert "canary" not in text
    assert login not in text
