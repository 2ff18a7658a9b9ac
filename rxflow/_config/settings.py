"""How to reach the server: arguments, environment and profile become one frozen `Settings`.

The precedence of the sources and the rule which credentials may be sent to which server live here;
where Prefect keeps its own settings is known to ``_profiles`` and, for Prefect 1, to
``_prefect1_config``. Nothing here opens a connection or imports Prefect. A message names the place
where a value was found, never the value.
"""

import base64
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from rxflow._config.prefect1_files import prefect1_sources
from rxflow._config.profiles import prefect_environment, prefect_files
from rxflow._config.secrets import Secret
from rxflow._config.setting_sources import SettingSource, SettingText
from rxflow._config.setting_values import (
    Headers,
    read_auth,
    read_backend,
    read_file,
    read_flag,
    read_headers,
    read_key,
    read_seconds,
    read_tenant,
    read_url,
)
from rxflow._models.entities import BackendName
from rxflow.errors import ConfigurationError

__all__ = ["BackendName", "Secret", "Settings", "load_settings"]

_OWN_VARIABLES: Final[Mapping[str, str]] = {
    "api_url": "RXFLOW_API_URL",
    "api_key": "RXFLOW_API_KEY",
    "auth_string": "RXFLOW_API_AUTH_STRING",
    "headers": "RXFLOW_CUSTOM_HEADERS",
    "profile": "RXFLOW_PROFILE",
    "backend": "RXFLOW_BACKEND",
    "tenant_id": "RXFLOW_TENANT_ID",
    "skip_verify": "RXFLOW_TLS_INSECURE_SKIP_VERIFY",
    "ssl_cert_file": "RXFLOW_SSL_CERT_FILE",
    "connect_timeout": "RXFLOW_CONNECT_TIMEOUT",
    "read_timeout": "RXFLOW_READ_TIMEOUT",
    "deadline": "RXFLOW_DEADLINE",
}

_CONNECT_TIMEOUT: Final = 5.0
_READ_TIMEOUT: Final = 10.0
_DEADLINE: Final = 30.0


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach one server. Made by `load_settings`; its repr shows no secret.

    Attributes:
        api_url: The base of all paths: no trailing slash, user-info, query or fragment.
        api_key: A Prefect Cloud key, sent as ``Bearer``.
        auth_string: ``user:password`` of a self-hosted server, sent as ``Basic``.
        headers: Further headers for every request, as names and values, each name once.
        verify: Whether the server's certificate is verified.
        ssl_cert_file: A file of certificates to verify by, None for the usual ones.
        connect_timeout: Seconds in which a connection must stand.
        read_timeout: Seconds without a byte after which an answer is given up.
        deadline: Seconds for a whole request, from connecting to the answer's last byte.
        backend: What the server is, None if nobody said.
        tenant_id: The tenant of Prefect Cloud 1 to ask for, sent where a key is.
        origin: Where the URL was found, as a phrase for messages.
    """

    api_url: str
    api_key: Secret | None = None
    auth_string: Secret | None = None
    headers: tuple[tuple[str, Secret], ...] = ()
    verify: bool = True
    ssl_cert_file: str | None = None
    connect_timeout: float = _CONNECT_TIMEOUT
    read_timeout: float = _READ_TIMEOUT
    deadline: float = _DEADLINE
    backend: BackendName | None = None
    tenant_id: Secret | None = None
    origin: str = "the argument api_url"

    def authorization(self) -> str | None:
        """Return the value of the Authorization header, a secret, or None if there is none to send.

        As in Prefect's client a custom header of that name outranks the auth string, and that the
        key.
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
    tenant_id: str | None = None,
    verify: bool | None = None,
    ssl_cert_file: str | None = None,
    connect_timeout: float | None = None,
    read_timeout: float | None = None,
    deadline: float | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    home: Path | None = None,
) -> Settings:
    """Find out how to reach the server.

    Each value comes from the first of these that sets it: the arguments; the ``RXFLOW_*``
    environment; then, as in Prefect, the ``PREFECT_*`` environment, ./.env, ./prefect.toml,
    ./pyproject.toml, and the active profile. An empty text counts as set, to nothing, and hides
    what comes after. Custom headers of all sources are merged, name by name.

    Where the backend is Prefect 1, by `backend` or ``RXFLOW_BACKEND``, its settings stand in the
    place of Prefect's: ``PREFECT__*`` in the environment, ~/.prefect/backend.toml,
    ~/.prefect/config.toml, and ~/.prefect/auth.toml, as its client reads them, defaults included.
    Where nobody says what the backend is, and none of the above has a URL, they are looked at too,
    but for a URL that only defaults lead to.

    Which credentials are sent where:

    - A URL from the arguments or ``RXFLOW_API_URL`` may name another server than the files speak
      of. Then no file is read at all: credentials, headers and TLS settings come from the arguments
      and the environment only. Prefect 1's auth.toml names the server of each key, and is read for
      the key of this one.
    - A URL from Prefect's settings gets the credentials of Prefect's settings, each by its own
      precedence, as in Prefect: a profile's key goes to the server that ``PREFECT_API_URL`` names.
    - A credential (a key, an auth string, user-info in the URL, an Authorization header) among the
      arguments puts aside all others, of any kind; so does one of ``RXFLOW_*`` those of Prefect.
      A tenant is put aside with the key beside which it was found.

    ``PREFECT_API_REQUEST_TIMEOUT`` is not read. It says how long Prefect waits for a request that
    must succeed; here one that is given up is sent again, and a long wait only delays the news.

    Args:
        api_url: The server's API, such as ``http://127.0.0.1:4200/api``. User-info in it is taken
            out and becomes the auth string unless one is set.
        api_key: A Prefect Cloud key.
        auth_string: ``user:password`` of a self-hosted server; outranks `api_key`.
        headers: Further headers for every request.
        profile: The profile to read in place of the active one. Like that one it comes last, so
            ``PREFECT_API_URL`` outranks the URL in it. Only Prefect 3 has profiles.
        backend: What the server is, ``prefect3`` or ``prefect1``; that whose settings have the URL
            if None, and unknown where the URL is an argument or ``RXFLOW_API_URL``.
        tenant_id: The tenant to ask for, a UUID; only Prefect Cloud 1 asks for one.
        verify: False to accept any certificate.
        ssl_cert_file: A file of certificates to verify by.
        connect_timeout: Seconds to connect in; 5 unless set.
        read_timeout: Seconds to wait for more of an answer; 10 unless set.
        deadline: Seconds for a whole request; 30 unless set.
        environ: The environment, None for that of the process.
        cwd: The directory whose .env, prefect.toml and pyproject.toml count, None for the current.
        home: The directory that holds .prefect, None for the user's home.

    Returns:
        The settings, complete and checked.

    Raises:
        ConfigurationError: There is no URL, a value cannot be used, a file cannot be read, or the
            chosen profile does not exist, or chooses another server than the rest.

    Example:
        >>> load_settings(api_url="http://127.0.0.1:4200/api/", environ={}).api_url
        'http://127.0.0.1:4200/api'
    """
    arguments = _arguments(
        api_url=api_url,
        api_key=api_key,
        auth_string=auth_string,
        headers=None if headers is None else json.dumps(dict(headers)),
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
        return _settled(arguments, environ, cwd, home)
    except ConfigurationError as error:
        failure = ConfigurationError(*error.args)
    # A new error, raised out here, has no context and none of the frames in whose locals a tool
    # that collects tracebacks would find the environment and every profile.
    raise failure


def _arguments(**given: str | float | None) -> SettingSource:
    found = {
        name: SettingText(
            Secret(str(value)), f"the argument {name.replace('skip_verify', 'verify')}"
        )
        for name, value in given.items()
        if value is not None
    }
    return SettingSource(found=found, url_place="the argument api_url", note="not given")


def _own_environment(environ: Mapping[str, str]) -> SettingSource:
    found = {
        name: SettingText(Secret(environ[variable]), f"{variable} in the environment")
        for name, variable in _OWN_VARIABLES.items()
        if environ.get(variable) or (variable in environ and name != "profile")
    }
    return SettingSource(found=found, url_place="RXFLOW_API_URL in the environment")


def _settled(
    arguments: SettingSource, environ: Mapping[str, str] | None, cwd: Path | None, home: Path | None
) -> Settings:
    """Read each value where it is set first, and the credentials group by group."""
    environ = os.environ if environ is None else environ
    cwd = Path.cwd() if cwd is None else cwd
    own = _own_environment(environ)
    backend, installed = _installed(arguments, own, environ, cwd, home)
    groups = ((arguments,), (own,), installed)
    sources = [source for group in groups for source in group]
    found_url = _first(sources, "api_url")
    url = read_url(found_url)
    if found_url is None or url is None:
        raise _no_url(sources, backend)
    api_url, login = url
    api_key, auth_string, tenant_id, headers = _credentials(groups, found_url, login)
    verify = not read_flag(_first(sources, "skip_verify"))
    # OpenSSL's variable is the default of Prefect's setting.
    openssl = SettingText(
        Secret(environ.get("SSL_CERT_FILE", "")), "SSL_CERT_FILE in the environment"
    )
    certificates = _first(sources, "ssl_cert_file") or openssl
    return Settings(
        api_url=api_url,
        api_key=api_key,
        auth_string=auth_string,
        headers=tuple(headers.values()),
        verify=verify,
        ssl_cert_file=read_file(certificates, cwd) if verify else None,
        connect_timeout=read_seconds(_first(sources, "connect_timeout")) or _CONNECT_TIMEOUT,
        read_timeout=read_seconds(_first(sources, "read_timeout")) or _READ_TIMEOUT,
        deadline=read_seconds(_first(sources, "deadline")) or _DEADLINE,
        backend=backend,
        tenant_id=tenant_id,
        origin=found_url.where,
    )


def _installed(
    arguments: SettingSource,
    own: SettingSource,
    environ: Mapping[str, str],
    cwd: Path,
    home: Path | None,
) -> tuple[BackendName | None, tuple[SettingSource, ...]]:
    """Return which Prefect is meant, if that is known, and the sources of its settings."""
    backend = read_backend(_first((arguments, own), "backend"))
    url = _first((arguments, own), "api_url")
    profile = _first((arguments, own), "profile")
    _refuse_profile(arguments, own)
    if backend is BackendName.PREFECT_1:
        return backend, prefect1_sources(environ, cwd, home, url=url)
    if url is not None:
        # The files may speak of another server.
        return backend, (prefect_environment(environ),)
    sources = (prefect_environment(environ), *prefect_files(environ, cwd, home, profile))
    # These are Prefect 3's, as is a profile that was asked for.
    if backend is not None or profile is not None or _first(sources, "api_url") is not None:
        return backend or BackendName.PREFECT_3, sources
    further = prefect1_sources(environ, cwd, home, defaults=False)
    found = _first(further, "api_url")
    if found is not None and found.text.reveal():
        return BackendName.PREFECT_1, further
    return None, (*sources, *further)


def _refuse_profile(arguments: SettingSource, own: SettingSource) -> None:
    """Complain of a profile among the arguments where it would be ignored."""
    url = _first((arguments, own), "api_url")
    backend = _first((arguments, own), "backend")
    if "profile" not in arguments.found:
        return
    if url is not None:
        message = f"{url.where} and the argument profile both choose a server: give only one."
        raise ConfigurationError(message)
    if backend is not None and read_backend(backend) is BackendName.PREFECT_1:
        message = f"{backend.where} is prefect1, which has no profiles: give no argument profile."
        raise ConfigurationError(message)


def _credentials(
    groups: Sequence[Sequence[SettingSource]], url: SettingText, login: Secret | None
) -> tuple[Secret | None, Secret | None, Secret | None, Headers]:
    """Return key, auth string, tenant and headers, of a higher group in place of a lower one's."""
    api_key: SettingText | None = None
    auth_string: SettingText | None = None
    tenant_id: SettingText | None = None
    headers: Headers = {}
    for group in reversed(groups):
        added = _custom_headers(group, refuse_protected=group is not groups[-1])
        key, auth = _first(group, "api_key"), _first(group, "auth_string")
        if auth is None and login is not None and _first(group, "api_url") is url:
            auth = SettingText(login, url.where)
        if key is not None or auth is not None or "authorization" in added:
            api_key, auth_string, tenant_id = key, auth, None
            headers.pop("authorization", None)
        tenant_id = _first(group, "tenant_id") or tenant_id
        headers |= added
    return read_key(api_key), read_auth(auth_string), read_tenant(tenant_id), headers


def _custom_headers(group: Sequence[SettingSource], *, refuse_protected: bool) -> Headers:
    merged: Headers = {}
    for source in reversed(group):
        merged |= read_headers(source.found.get("headers"), refuse_protected=refuse_protected)
    return merged


def _first(sources: Iterable[SettingSource], name: str) -> SettingText | None:
    return next((source.found[name] for source in sources if name in source.found), None)


def _no_url(sources: Iterable[SettingSource], backend: BackendName | None) -> ConfigurationError:
    lines = ["No URL of a Prefect API was found. Looked for, in this order:"]
    for source in sources:
        if "api_url" in source.found:
            lines.append(f"  - {source.found['api_url'].where}: empty, which hides any further one")
            break
        lines.append(f"  - {source.url_place}: {source.note}")
    if backend is not BackendName.PREFECT_1:
        lines.append(_PREFECT_3_ADVICE)
    if backend is not BackendName.PREFECT_3:
        lines.append(_PREFECT_1_ADVICE)
    return ConfigurationError("\n".join(lines))


_PREFECT_3_ADVICE: Final = (
    "Set PREFECT_API_URL (for a local server: http://127.0.0.1:4200/api), or store it in the "
    "active profile with `prefect config set PREFECT_API_URL=...`, or choose a profile that has "
    "one with `prefect profile use`. An 'ephemeral' profile has none: its server lives inside the "
    "process that runs the flow, out of reach of any other."
)

_PREFECT_1_ADVICE: Final = (
    "For a server of Prefect 1 set RXFLOW_API_URL (for a local one: http://localhost:4200), or "
    "PREFECT__BACKEND to server or cloud."
)
