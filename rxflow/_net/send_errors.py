"""Errors of sending a request, mapped to failures: the errors of httpx and of sockets end here."""

import re
import socket
import ssl
from collections.abc import Iterator
from typing import cast

import httpx

from rxflow._backends.reply_failures import printable
from rxflow._protocol.failures import Failure, FailureKind

STALE_CONNECTION_ERRORS = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)
"""Raised for a kept connection that the server has closed in the meantime."""

# A host name that cannot be encoded is a UnicodeError, and a passed deadline an OSError.
SEND_ERRORS = (httpx.HTTPError, httpx.InvalidURL, UnicodeError, OSError)
"""Raised by sending a request."""

_NO_THREAD = Failure(kind=FailureKind.NETWORK, text="No thread can be started to resolve a name")
"""The result of a call on an event loop, which resolves host names in threads of its own."""

CONNECTION_CLOSED = Failure(kind=FailureKind.NETWORK, text="The connection was closed")
"""The result of a call whose transport was closed."""


# How OpenSSL names what it receives in place of a TLS handshake, in versions 1.1 to 3.
_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST")

# How h11 shows a TLS alert where the status line of a response should be.
_TLS_ALERT = re.compile(r"illegal status line: bytearray\(b'\\x1[56]\\x03")


def send_failure(error: Exception, server: str, *, passed_deadline: float | None) -> Failure:
    """Map an error to a failure whose text says what to do.

    Args:
        error: One of `SEND_ERRORS`.
        server: The server's name, for the text.
        passed_deadline: The deadline in seconds, if it has passed.
    """
    what = "response" if passed_deadline is None else f"complete response in {passed_deadline:g} s"
    kind, text = FailureKind.NETWORK, f"No {what} from {server}: {type(error).__name__}"
    if server.startswith("http://") and isinstance(error, STALE_CONNECTION_ERRORS):
        text += "; if it speaks TLS, use a URL that begins with https://"
    for cause in _causes(error):
        match cause:
            case httpx.ProxyError():
                text = f"The proxy refused the connection to {server}: {printable(str(cause))}"
            case ssl.SSLCertVerificationError():
                kind = FailureKind.CERTIFICATE
                text = (
                    f"The certificate of {server} cannot be verified "
                    f"({cause.verify_message}); set PREFECT_API_SSL_CERT_FILE"
                )
            case ssl.SSLError() if any(reason in str(cause) for reason in _NO_TLS):
                kind = FailureKind.WRONG_SCHEME
                text = f"{server} does not speak TLS; use a URL that begins with http://"
            case httpx.RemoteProtocolError() if _TLS_ALERT.search(str(cause)):
                kind = FailureKind.WRONG_SCHEME
                text = f"{server} speaks TLS; use a URL that begins with https://"
            case ConnectionRefusedError():
                kind = FailureKind.REFUSED
                text = f"No process listens at {server}; is the server running?"
            case httpx.InvalidURL():
                text = f"{server} redirects to what is not a URL"
            case socket.gaierror() | UnicodeError():
                text = f"The host name of {server} cannot be resolved"
            case _:
                pass
    return Failure(kind=kind, text=text)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        if isinstance(error, ExceptionGroup):  # on an event loop, for a host of several addresses
            for one in cast("ExceptionGroup[Exception]", error).exceptions:
                yield from _causes(one)
        error = error.__cause__ or error.__context__


def no_thread_failure(error: RuntimeError) -> Failure:
    """Return the failure of a moment in which the system starts no thread; raise other errors."""
    if "start new thread" not in str(error):
        raise error
    return _NO_THREAD
