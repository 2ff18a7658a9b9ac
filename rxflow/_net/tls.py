"""TLS: how the server's certificate is verified."""

import ssl

import httpx

from rxflow._config.settings import Settings
from rxflow.errors import ConfigurationError


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """Build the TLS context for a server; None for a URL of plain HTTP.

    If the server is not verified, no certificates are read.

    Without a file of certificates, the server is verified with those that httpx ships, as Prefect's
    client does, and with those of the system.

    Raises:
        ConfigurationError: The file of certificates cannot be read.
    """
    if not settings.api_url.startswith("https:"):
        return None
    if not settings.verify:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    if settings.ssl_cert_file is None:
        # With trust_env httpx would read SSL_CERT_FILE, which the settings have read already.
        context = httpx.create_ssl_context(trust_env=False)
        context.load_default_certs()
        return context
    try:
        return ssl.create_default_context(cafile=settings.ssl_cert_file)
    except OSError as error:  # SSLError is an OSError
        text = (
            f"{settings.certificates_origin} names {settings.ssl_cert_file}, which is not a file "
            "of certificates in PEM format"
        )
        raise ConfigurationError(text) from error
