"""Complete the texts of failures: mask the secrets that were sent, and name the proxy.

A backend quotes the server, and knows neither. Every reply of a channel goes through here, so that
no backend can forget it. Log rows are left as they were written.
"""

from msgspec.structs import replace

from rxflow._config.redaction import Redactor, secrets_of, user_info_secrets
from rxflow._config.settings import Settings
from rxflow._net.endpoint import Endpoint
from rxflow._protocol.failures import Failure, FailureKind, Reply

# Failures by a reply that may be the proxy's; those of the connection name the proxy anyway.
_REPLIED = {
    FailureKind.BUSY,
    FailureKind.RATE_LIMITED,
    FailureKind.SERVER,
    FailureKind.UNREADABLE,
    FailureKind.NOT_AN_API,
    FailureKind.AUTH,
    FailureKind.REJECTED,
}


class FailureTexts:
    """Completes the failures of one server."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Collect the secrets.

        Args:
            endpoint: The server; its credentials and those of the proxy are masked.
        """
        settings, proxy = endpoint.settings, endpoint.proxy
        self._proxy = proxy.name if proxy is not None else ""
        self._server = f"the URL {settings.api_url} is from {settings.origin}"
        self._credentials = _credentials_of(settings)
        proxy_secrets = user_info_secrets(proxy.user_info) if proxy is not None else ()
        self._redactor = Redactor((*secrets_of(settings), *proxy_secrets))

    def complete(self, reply: Reply) -> Reply:
        """Return a reply with the texts that people may read."""
        if isinstance(reply, Failure):
            return self.complete_failure(reply)
        if not reply.malformed:
            return reply
        malformed = tuple(
            replace(row, reason=self._redactor.redact(row.reason)) for row in reply.malformed
        )
        return replace(reply, malformed=malformed)

    def complete_failure(self, failure: Failure) -> Failure:
        """Return a failure with the text that people may read."""
        text = self._redactor.redact(failure.text)
        if failure.kind is FailureKind.AUTH:
            text = f"{text}; {self._credentials}; {self._server}"
        if failure.kind is FailureKind.NOT_AN_API:
            text = f"{text}; {self._server}"
        if self._proxy and failure.kind in _REPLIED:
            text = f"{text}; requests go through the proxy {self._proxy}, which may have replied"
        return failure if text == failure.text else replace(failure, text=text)


def _credentials_of(settings: Settings) -> str:
    """Say which credential was sent, or why none was."""
    if settings.credentials_origin:
        return f"{settings.credentials_origin} was sent"
    if settings.authorization() is not None:
        return "the credential in the settings was sent"
    if not settings.files_ignored:
        return "no key was sent, since none was found"
    return (
        f"no key was sent: for a URL from {settings.origin} profiles and other files are not "
        "read; pass api_key=..., or set RXFLOW_API_KEY or PREFECT_API_KEY"
    )
