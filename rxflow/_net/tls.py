"""TLS: how the server's certificate is verified."""

import ssl

import httpx

from rxflow._config.settings import Settings
from rxflow.errors import ConfigurationError


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """Build the TLS context for a server; None for a URL of plain HTTP.

    Without a file of certificates, the server is verified with those that httpx ships, as Prefect's
    client does, and with those of the system.

    Raises:
        ConfigurationError: The file of certificates cannot be read.
    """
    if not settings.api_url.startswith("https:"):
        return None
    try:
        if settings.ssl_cert_file is not None:
            context = ssl.create_default_context(cafile=settings.ssl_cert_file)
        else:
            context = httpx.create_ssl_context()
            context.load_default_certs()
    except OSError as error:  # SSLError is an OSError
        text = f"{settings.ssl_cert_file} is not a file of certificates in PEM format"
        raise ConfigurationError(text) from error
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
