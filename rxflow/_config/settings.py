"""`Settings`, and `load_settings`, which makes them from arguments, environment and files.

The precedence of sources is decided in `rxflow._config.source_order`, the choice of credentials in
`rxflow._config.credentials`. Nothing here opens a connection or imports Prefect. Messages name the
origin of a value, never the value.
"""

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec

from rxflow._config.credentials import choose_credentials
from rxflow._config.secrets import Secret
from rxflow._config.setting_sources import SettingSource, SettingText, first_text
from rxflow._config.setting_values import read_file_path, read_flag, read_seconds, read_url
from rxflow._config.source_order import (
    PASSED_URL_ORIGINS,
    SourceOrder,
    UrlSource,
    argument_source,
    no_url_error,
    order_sources,
)
from rxflow._models.entities import BackendName
from rxflow.errors import ConfigurationError

_CONNECT_TIMEOUT: Final = 5.0
_READ_TIMEOUT: Final = 10.0
_DEADLINE: Final = 30.0
_ARGUMENT_CERTIFICATES: Final = "the argument ssl_cert_file"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The address of one server, how to connect to it, and the credentials to send.

    `load_settings` makes them. Their repr shows no secret.

    Attributes:
        api_url: The base of all paths: no trailing slash, user-info, query or fragment.
        api_key: A Prefect Cloud key, sent as ``Bearer``.
        auth_string: ``user:password`` of a self-hosted server, sent as ``Basic``.
        headers: Further headers for every request, as names and values, each name once.
        verify: Whether the server's certificate is verified.
        ssl_cert_file: The path of a file of certificates to verify by, None for the default ones.
        certificates_origin: Where that path was found, as a phrase for messages.
        connect_timeout: Seconds in which a connection must be established.
        read_timeout: Seconds without a byte after which a response is abandoned.
        deadline: Seconds for a whole request, from connecting to the last byte of the response.
        backend: The kind of server, None if no setting says it.
        tenant_id: The tenant of Prefect Cloud 1, sent only together with a key.
        origin: Where the URL was found, as a phrase for messages.
        credentials_origin: Which credential is sent and where it was found, as a phrase for
            messages; "" if none is sent.
    """

    api_url: str
    api_key: Secret | None = None
    auth_string: Secret | None = None
    headers: tuple[tuple[str, Secret], ...] = ()
    verify: bool = True
    ssl_cert_file: str | None = None
    certificates_origin: str = _ARGUMENT_CERTIFICATES
    connect_timeout: float = _CONNECT_TIMEOUT
    read_timeout: float = _READ_TIMEOUT
    deadline: float = _DEADLINE
    backend: BackendName | None = None
    tenant_id: Secret | None = None
    origin: str = "the argument api_url"
    credentials_origin: str = ""

    @property
    def files_ignored(self) -> bool:
        """Whether Prefect's files are not searched for credentials, since the URL was passed."""
        # Of Prefect 1, auth.toml names the server of each key, and is read all the same.
        return self.backend is not BackendName.PREFECT_1 and self.origin in PASSED_URL_ORIGINS

    def authorization(self) -> str | None:
        """Return the value of the Authorization header, a secret, or None if there is none to send.

        As in Prefect's client a custom header of that name has precedence over the auth string,
        and the auth string over the key.
        """
        for name, value in self.headers:
            if name.lower() == "authorization":
                return value.reveal()
        if self.auth_string is not None:
            return f"Basic {base64.b64encode(self.auth_string.reveal().encode()).decode()}"
        return f"Bearer {self.api_key.reveal()}" if self.api_key is not None else None


def load_settings(
    *,
    api_url: str | None = None,
    api_key: str | None = None,
    auth_string: str | None = None,
    headers: Mapping[str, str] | None = None,
    profile: str | None = None,
    backend: BackendName | str | None = None,
    tenant_id: str | UUID | None = None,
    verify: bool | None = None,
    ssl_cert_file: str | None = None,
    connect_timeout: float | None = None,
    read_timeout: float | None = None,
    deadline: float | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    home: Path | None = None,
) -> Settings:
    """Make the settings from arguments, environment and files.

    Each value comes from the first of these sources that sets it: the arguments; the ``RXFLOW_*``
    environment variables; then, as in Prefect, the ``PREFECT_*`` environment variables, ./.env,
    ./prefect.toml, ./pyproject.toml, and the active profile. An empty text sets a value to nothing
    and hides all later sources. Custom headers of all sources are merged by name.

    If `backend` or ``RXFLOW_BACKEND`` is Prefect 1, its settings replace Prefect 3's:
    ``PREFECT__*`` in the environment, ~/.prefect/backend.toml, ~/.prefect/config.toml, and
    ~/.prefect/auth.toml, as its client reads them, including its defaults. If no setting names the
    backend and none of the sources above has a URL, Prefect 1's settings are read too, but a URL
    that follows from its defaults alone is not used.

    Which credentials are sent where:

    - A URL from the arguments or from ``RXFLOW_API_URL`` may belong to another server than the one
      in the files. No file is read then: credentials, headers and TLS settings come from the
      arguments and the environment only. The exception is Prefect 1's auth.toml, which names the
      server of each key; it is read for the key of this server.
    - A URL from Prefect's settings gets the credentials of Prefect's settings, each by its own
      precedence, as in Prefect: the key of a profile is sent to the server that
      ``PREFECT_API_URL`` names.
    - A credential (a key, an auth string, user-info in the URL, an Authorization header) among the
      arguments replaces all others, of any kind; a credential among ``RXFLOW_*`` replaces those of
      Prefect. A tenant is dropped together with the key beside which it was found.

    ``PREFECT_API_REQUEST_TIMEOUT`` is not read. It is the time that Prefect waits for a request
    that must succeed; an abandoned request is retried here, and a long timeout only delays events.

    Args:
        api_url: The base URL of the server's API, such as ``http://127.0.0.1:4200/api``. User-info
            in it is removed and becomes the auth string unless one is set.
        api_key: A Prefect Cloud key.
        auth_string: ``user:password`` of a self-hosted server; has precedence over `api_key`.
        headers: Further headers for every request.
        profile: The profile to read instead of the active one. Either has the lowest precedence,
            so ``PREFECT_API_URL`` has precedence over the URL in it. Only Prefect 3 has profiles.
        backend: The kind of server, ``prefect3`` or ``prefect1``. If None it is the kind whose
            settings have the URL, and unknown if the URL is an argument or ``RXFLOW_API_URL``.
        tenant_id: The tenant to use, a UUID; only Prefect Cloud 1 has tenants.
        verify: False to accept any certificate.
        ssl_cert_file: The path of a file of certificates to verify by.
        connect_timeout: Seconds in which a connection must be established; 5 unless set.
        read_timeout: Seconds without a byte after which a response is abandoned; 10 unless set.
        deadline: Seconds for a whole request; 30 unless set.
        environ: The environment, None for that of the process.
        cwd: The directory whose .env, prefect.toml and pyproject.toml are read, None for the
            current one.
        home: The directory that contains .prefect, None for the home directory of the user.

    Returns:
        The settings, complete and validated.

    Raises:
        ConfigurationError: There is no URL, a value cannot be used, a file cannot be read, or the
            chosen profile does not exist or conflicts with another choice of a server.

    Example:
        >>> load_settings(api_url="http://127.0.0.1:4200/api/", environ={}).api_url
        'http://127.0.0.1:4200/api'
    """
    arguments = argument_source(
        api_url=api_url,
        api_key=api_key,
        auth_string=auth_string,
        headers=None if headers is None else _json_of(headers),
        profile=profile or None,
        backend=backend,
        tenant_id=tenant_id,
        skip_verify=None if verify is None else str(not verify),
        ssl_cert_file=ssl_cert_file,
        connect_timeout=connect_timeout,
        read_timeout=read_timeout,
        deadline=deadline,
    )
    try:
        return _load(arguments, environ, cwd, home)
    except ConfigurationError as error:
        failure = ConfigurationError(*error.args)
    # A new error, raised outside of the handler, has no context and none of the frames in whose
    # locals a traceback collector would find the environment and every profile.
    raise failure


def find_url_sources(
    *,
    api_url: str | None = None,
    profile: str | None = None,
    backend: BackendName | str | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    home: Path | None = None,
) -> tuple[UrlSource, ...]:
    """Return where `load_settings` looks for the URL, the highest precedence first.

    The first source that has a URL is the one that counts.

    Args:
        api_url: As in `load_settings`, and so are the others.
        profile: The same.
        backend: The same.
        environ: The same.
        cwd: The same.
        home: The same.

    Raises:
        ConfigurationError: As by `load_settings`, of the sources.
    """
    arguments = argument_source(api_url=api_url, profile=profile or None, backend=backend)
    return _order(arguments, environ, cwd, home).url_sources


def _order(
    arguments: SettingSource, environ: Mapping[str, str] | None, cwd: Path | None, home: Path | None
) -> SourceOrder:
    environ = os.environ if environ is None else environ
    return order_sources(arguments, environ, Path.cwd() if cwd is None else cwd, home)


def _json_of(headers: Mapping[str, str]) -> str:
    """Return headers as JSON.

    Raises:
        ConfigurationError: They are no mapping of texts.
    """
    try:
        return json.dumps(dict(headers))
    except (TypeError, ValueError):
        failure = ConfigurationError(
            "the argument headers must map names of headers to values, both text, such as "
            "{'X-Team': 'data'}."
        )
    raise failure  # without a context, as above


def _load(
    arguments: SettingSource, environ: Mapping[str, str] | None, cwd: Path | None, home: Path | None
) -> Settings:
    environ = os.environ if environ is None else environ
    cwd = Path.cwd() if cwd is None else cwd
    order = _order(arguments, environ, cwd, home)
    sources = order.sources
    found_url = first_text(sources, "api_url")
    url = read_url(found_url)
    if found_url is None or url is None:
        raise no_url_error(order)
    api_url, user_info = url
    credentials = choose_credentials(order.groups, found_url, user_info)
    verify = not read_flag(first_text(sources, "skip_verify"))
    # OpenSSL's variable is the default of Prefect's setting.
    openssl = SettingText(
        Secret(environ.get("SSL_CERT_FILE", "")), "SSL_CERT_FILE in the environment"
    )
    certificates = first_text(sources, "ssl_cert_file") or openssl
    cert_file = read_file_path(certificates, cwd) if verify else None
    return Settings(
        api_url=api_url,
        api_key=credentials.api_key,
        auth_string=credentials.auth_string,
        headers=tuple(credentials.headers.values()),
        verify=verify,
        ssl_cert_file=cert_file,
        certificates_origin=_ARGUMENT_CERTIFICATES if cert_file is None else certificates.origin,
        connect_timeout=read_seconds(first_text(sources, "connect_timeout")) or _CONNECT_TIMEOUT,
        read_timeout=read_seconds(first_text(sources, "read_timeout")) or _READ_TIMEOUT,
        deadline=read_seconds(first_text(sources, "deadline")) or _DEADLINE,
        backend=order.backend,
        tenant_id=credentials.tenant_id,
        origin=found_url.origin,
        credentials_origin=credentials.origin,
    )
