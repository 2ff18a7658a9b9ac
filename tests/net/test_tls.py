"""TLS: which servers are trusted, and what is the failure for others."""

import ssl
from pathlib import Path

import pytest
from broken_responses import DRIPS
from certificates import Authority
from http_calls import GET, OpenTransport, failure_of, reply_of, settings_for
from wire_server import (
    ServerConnection,
    WireServer,
    close_unanswered,
    drip_response,
    http_response,
    respond,
    respond_then,
)

from rxflow._backends.backend import HttpResult
from rxflow._config.settings import Settings, load_settings
from rxflow._net.tls import tls_context
from rxflow._protocol.failures import FailureKind
from rxflow.errors import ConfigurationError

pytestmark = pytest.mark.timeout(60)


def send_over_tls(open_transport: OpenTransport, settings: Settings) -> HttpResult:
    """Make one call."""
    with open_transport(settings, tls_context(settings)) as transport:
        return transport.send(GET)


def test_a_certificate_of_a_trusted_authority_is_accepted(
    authority: Authority, open_transport: OpenTransport
) -> None:
    """An authority in the file of certificates is trusted."""
    with WireServer(respond(http_response(b"[1]")), tls=authority.server_context()) as server:
        settings = settings_for(server.url, ssl_cert_file=authority.file)
        assert reply_of(send_over_tls(open_transport, settings)).body == b"[1]"


def test_a_certificate_of_an_unknown_authority_is_rejected(
    authority: Authority, open_transport: OpenTransport
) -> None:
    """The server gets no request, and the text names the setting."""
    with WireServer(respond(http_response()), tls=authority.server_context()) as server:
        failure = failure_of(send_over_tls(open_transport, settings_for(server.url)))
        assert failure.kind is FailureKind.CERTIFICATE
        assert "PREFECT_API_SSL_CERT_FILE" in failure.text
        assert server.requests == []


def test_a_certificate_of_another_server_is_rejected(
    authority: Authority, open_transport: OpenTransport
) -> None:
    """The text has the name for which the certificate is not valid."""
    with WireServer(
        respond(http_response()), tls=authority.server_context("other.example")
    ) as server:
        failure = failure_of(
            send_over_tls(open_transport, settings_for(server.url, ssl_cert_file=authority.file))
        )
        assert failure.kind is FailureKind.CERTIFICATE
        assert "not valid for '127.0.0.1'" in failure.text
        assert server.requests == []


def test_verification_can_be_disabled(authority: Authority, open_transport: OpenTransport) -> None:
    """With `verify=False` any certificate is accepted."""
    with WireServer(
        respond(http_response()), tls=authority.server_context("other.example")
    ) as server:
        assert (
            reply_of(
                send_over_tls(open_transport, Settings(api_url=server.url, verify=False))
            ).status
            == 200
        )


def respond_in_plain_text(connection: ServerConnection) -> None:
    """Send a response without TLS, and without a request."""
    connection.send(http_response())


def test_a_server_without_tls_is_the_wrong_scheme(open_transport: OpenTransport) -> None:
    """A server that speaks no TLS is said to speak none, with the scheme to use."""
    with WireServer(respond_in_plain_text) as server:
        failure = failure_of(
            send_over_tls(open_transport, settings_for(f"https://{server.address}/api"))
        )
        assert failure.kind is FailureKind.WRONG_SCHEME
        assert "http://" in failure.text


PLAIN_TO_TLS = {
    "nginx": http_response(
        b"<center>The plain HTTP request was sent to HTTPS port</center>", "400 Bad Request"
    ),
    "go": http_response(b"Client sent an HTTP request to an HTTPS server.\n", "400 Bad Request"),
    "apache": http_response(
        b"You're speaking plain HTTP to an SSL-enabled server port.", "400 Bad Request"
    ),
    "alert": b"\x15\x03\x03\x00\x02\x02\x46\r\n\r\n",
}


@pytest.mark.parametrize("response", PLAIN_TO_TLS.values(), ids=PLAIN_TO_TLS)
def test_a_server_with_tls_is_the_wrong_scheme(
    response: bytes, open_transport: OpenTransport
) -> None:
    """A port that expects TLS is said to do so, in the ways in which servers reply to HTTP."""
    with (
        WireServer(respond(response)) as server,
        open_transport(settings_for(server.url), None) as transport,
    ):
        failure = failure_of(transport.send(GET))
        assert failure.kind is FailureKind.WRONG_SCHEME
        assert "https://" in failure.text


def test_a_handshake_that_is_broken_off_is_a_network_failure(open_transport: OpenTransport) -> None:
    """A server that closes the connection is NETWORK, not CERTIFICATE."""
    with WireServer(lambda _: None) as server:
        failure = failure_of(
            send_over_tls(open_transport, settings_for(f"https://{server.address}/api"))
        )
        assert failure.kind is FailureKind.NETWORK


def test_a_connection_over_tls_is_kept_and_replaced(
    authority: Authority, open_transport: OpenTransport
) -> None:
    """Over TLS too a connection is kept, and replaced when the server has closed it."""
    scripts = (respond_then(close_unanswered), respond(http_response(b"[1]")))
    with WireServer(*scripts, tls=authority.server_context()) as server:
        settings = settings_for(server.url, ssl_cert_file=authority.file)
        with open_transport(settings, tls_context(settings)) as transport:
            assert reply_of(transport.send(GET)).body == b"[0]"
            assert reply_of(transport.send(GET)).body == b"[1]"
        assert (server.connections, len(server.requests)) == (2, 3)


def test_the_deadline_holds_over_tls(authority: Authority, open_transport: OpenTransport) -> None:
    """A slow response over TLS ends at the deadline."""
    script = drip_response(*DRIPS["the head"])
    with WireServer(script, tls=authority.server_context()) as server:
        settings = settings_for(server.url, deadline=0.3, ssl_cert_file=authority.file)
        assert "in 0.3 s" in failure_of(send_over_tls(open_transport, settings)).text


@pytest.mark.parametrize("file", ["missing.pem", "junk.pem"])
def test_an_unverified_server_needs_no_certificates(
    authority: Authority,
    open_transport: OpenTransport,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    file: str,
) -> None:
    """With verification off no certificates are read, whatever SSL_CERT_FILE names."""
    (tmp_path / "junk.pem").write_text("junk", "utf-8")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / file))
    monkeypatch.setenv("PREFECT_API_TLS_INSECURE_SKIP_VERIFY", "true")
    with WireServer(respond(http_response()), tls=authority.server_context()) as server:
        monkeypatch.setenv("PREFECT_API_URL", server.url)
        settings = load_settings(cwd=tmp_path, home=tmp_path)
        assert reply_of(send_over_tls(open_transport, settings)).status == 200


@pytest.mark.parametrize("file", ["missing.pem", "junk.pem"])
def test_the_error_of_wrong_certificates_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, file: str
) -> None:
    """A missing file and one of other contents are errors that name SSL_CERT_FILE."""
    (tmp_path / "junk.pem").write_text("junk", "utf-8")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / file))
    monkeypatch.setenv("PREFECT_API_URL", "https://prefect.example/api")
    with pytest.raises(ConfigurationError, match="SSL_CERT_FILE in the environment"):
        tls_context(load_settings(cwd=tmp_path, home=tmp_path))


def test_a_hidden_variable_is_not_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty PREFECT_API_SSL_CERT_FILE hides SSL_CERT_FILE, and the shipped ones are used."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
    monkeypatch.setenv("PREFECT_API_SSL_CERT_FILE", "")
    monkeypatch.setenv("PREFECT_API_URL", "https://prefect.example/api")
    context = tls_context(load_settings(cwd=tmp_path, home=tmp_path))
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.cert_store_stats()["x509_ca"] > 50


def test_plain_http_needs_no_context() -> None:
    """A URL of plain HTTP has no TLS context."""
    assert tls_context(Settings(api_url="http://prefect.example/api")) is None


def test_well_known_authorities_are_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a file the certificates that httpx ships are used, whatever the system has."""
    for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.setenv(variable, "")
    context = tls_context(Settings(api_url="https://prefect.example/api"))
    assert context is not None
    assert context.cert_store_stats()["x509_ca"] > 50


def test_a_file_without_certificates_is_a_configuration_error(tmp_path: Path) -> None:
    """The error names the file."""
    junk = tmp_path / "junk.pem"
    junk.write_text("junk", "utf-8")
    for file in (junk, tmp_path / "missing.pem"):
        settings = Settings(api_url="https://prefect.example/api", ssl_cert_file=str(file))
        with pytest.raises(ConfigurationError, match=file.name):
            tls_context(settings)
