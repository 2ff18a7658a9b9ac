"""Errors of sending, mapped to failures."""

import httpx
import pytest
from http_calls import GET, OpenTransport, failure_of, open_on_loop, refused_port, settings_for
from thread_limits import no_more_threads

from rxflow._net.send_errors import send_failure
from rxflow._protocol.failures import FailureKind

pytestmark = pytest.mark.timeout(60)


def test_a_refused_connection_is_refused(open_transport: OpenTransport) -> None:
    """A port without a listener is REFUSED; the text has the URL and where it is set."""
    with refused_port() as port:
        url = f"http://127.0.0.1:{port}/api"
        with open_transport(settings_for(url), None) as transport:
            failure = failure_of(transport.send(GET))
    assert failure.kind is FailureKind.REFUSED
    assert url in failure.text
    assert "the test" in failure.text


def test_a_refusal_at_all_addresses_is_refused() -> None:
    """On an event loop a host's addresses are tried at once; a refusal is found among them."""
    refusals = [OSError("no route"), ConnectionRefusedError("at ::1")]
    error = httpx.ConnectError("All connection attempts failed")
    error.__cause__ = OSError("All connection attempts failed")
    error.__cause__.__cause__ = ExceptionGroup("several", refusals)
    assert send_failure(error, "the server", passed_deadline=None).kind is FailureKind.REFUSED


@pytest.mark.parametrize("host", ["unknown.invalid", "a..b", "a" * 64 + ".invalid"])
def test_an_unknown_host_name_is_a_network_failure(
    host: str, monkeypatch: pytest.MonkeyPatch, open_transport: OpenTransport
) -> None:
    """A host name that is unknown, or cannot be one, is NETWORK: it may be known later."""
    monkeypatch.setenv("NO_PROXY", "*")
    with open_transport(settings_for(f"http://{host}/api"), None) as transport:
        failure = failure_of(transport.send(GET))
    assert failure.kind is FailureKind.NETWORK
    assert "cannot be resolved" in failure.text


def test_a_name_that_no_thread_can_resolve_is_a_network_failure() -> None:
    """A moment in which no thread can be started is retried: a loop resolves names in threads."""
    with (
        refused_port() as port,
        open_on_loop(settings_for(f"http://localhost:{port}/api"), None) as transport,
        no_more_threads(),
    ):
        failure = failure_of(transport.send(GET))
    assert failure.kind is FailureKind.NETWORK
    assert "thread" in failure.text


@pytest.mark.parametrize("error", [httpx.ReadError(""), httpx.RemoteProtocolError("disconnected")])
def test_a_connection_that_breaks_names_the_other_scheme(error: Exception) -> None:
    """A port that expects TLS may close the connection without a word."""
    plain = send_failure(error, "http://prefect.example", passed_deadline=None)
    assert "https://" in plain.text
    assert "https://p" not in plain.text
    over_tls = send_failure(error, "https://prefect.example", passed_deadline=None)
    assert "TLS" not in over_tls.text
