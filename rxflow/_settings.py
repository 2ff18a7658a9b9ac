"""How to reach the server: arguments, environment and profile become one frozen `Settings`.

The precedence of the sources and the rule which credentials may be sent to which server live here;
where Prefect keeps its own settings is known to ``_profiles``. Nothing here opens a connection or
imports Prefect. A message names the place where a value was found, never the value.
"""

import base64
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

import msgspec

from rxflow._model import BackendName
from rxflow._profiles import Found, Secret, Source, prefect_environment, prefect_files
from rxflow.errors import ConfigurationError

__all__ = ["Secret", "Settings", "load_settings"]

_OWN_VARIABLES: Final[Mapping[str, str]] = {
    "api_url": "RXFLOW_API_URL",
    "api_key": "RXFLOW_API_KEY",
    "auth_string": "RXFLOW_API_AUTH_STRING",
    "headers": "RXFLOW_CUSTOM_HEADERS",
    "profile": "RXFLOW_PROFILE",
    "skip_verify": "RXFLOW_TLS_INSECURE_SKIP_VERIFY",
    "ssl_cert_file": "RXFLOW_SSL_CERT_FILE",
    "connect_timeout": "RXFLOW_CONNECT_TIMEOUT",
    "read_timeout": "RXFLOW_READ_TIMEOUT",
    "deadline": "RXFLOW_DEADLINE",
}

_CONNECT_TIMEOUT: Final = 5.0
_READ_TIMEOUT: Final = 10.0
_DEADLINE: Final = 30.0

# Prefect's client drops these from its custom headers (prefect/client/base.py, 3.8.8).
_PROTECTED_HEADERS: Final = frozenset({"user-agent", "prefect-csrf-token", "prefect-csrf-client"})

# What h11 lets through (RFC 9110, 5.1 and 5.5), in ASCII. Refused here, because an error of httpx
# would quote the header.
_HEADER_NAME: Final = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_HEADER_VALUE: Final = re.compile(r"(?:[!-~](?:[\t -~]*[!-~])?)?")
_HEADERS: Final = msgspec.json.Decoder(dict[str, str])

# The words that pydantic, and so Prefect, takes for a boolean.
_BOOLEANS: Final[Mapping[str, bool]] = {
    **dict.fromkeys(("1", "on", "t", "true", "y", "yes"), True),
    **dict.fromkeys(("0", "off", "f", "false", "n", "no"), False),
}

_T = TypeVar("_T")
_Headers = dict[str, tuple[str, Secret]]  # by the lower-case name, for names differ not by case


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

    Which credentials are sent where:

    - A URL from the arguments or ``RXFLOW_API_URL`` may name another server than the files speak
      of. Then no file is read at all: credentials, headers and TLS settings come from the arguments
      and the environment only.
    - A URL from Prefect's settings gets the credentials of Prefect's settings, each by its own
      precedence, as in Prefect: a profile's key goes to the server that ``PREFECT_API_URL`` names.
    - A credential (a key, an auth string, user-info in the URL, an Authorization header) among the
      arguments puts aside all others, of any kind; so does one of ``RXFLOW_*`` those of Prefect.

    ``PREFECT_API_REQUEST_TIMEOUT`` is not read. It says how long Prefect waits for a request that
    must succeed; here one that is given up is sent again, and a long wait only delays the news.

    Args:
        api_url: The server's API, such as ``http://127.0.0.1:4200/api``. User-info in it is taken
            out and becomes the auth string unless one is set.
        api_key: A Prefect Cloud key.
        auth_string: ``user:password`` of a self-hosted server; outranks `api_key`.
        headers: Further headers for every request.
        profile: The profile to read in place of the active one. Like that one it comes last, so
            ``PREFECT_API_URL`` outranks the URL in it.
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
            chosen profile does not exist.

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
        skip_verify=None if verify is None else str(not verify),
        ssl_cert_file=ssl_cert_file,
        connect_timeout=connect_timeout,
        read_timeout=read_timeout,
        deadline=deadline,
    )
    try:
        settled = _settled(arguments, environ, cwd, home)
        return msgspec.structs.replace(settled, backend=BackendName(backend) if backend else None)
    except ConfigurationError as error:
        failure = ConfigurationError(*error.args)
    # A new error, raised out here, has no context and none of the frames in whose locals a tool
    # that collects tracebacks would find the environment and every profile.
    raise failure


def _arguments(**given: str | float | None) -> Source:
    found = {
        name: Found(Secret(str(value)), f"the argument {name.replace('skip_verify', 'verify')}")
        for name, value in given.items()
        if value is not None
    }
    return Source(found=found, url_place="the argument api_url", note="not given")


def _own_environment(environ: Mapping[str, str]) -> Source:
    found = {
        name: Found(Secret(environ[variable]), f"{variable} in the environment")
        for name, variable in _OWN_VARIABLES.items()
        if environ.get(variable) or (variable in environ and name != "profile")
    }
    return Source(found=found, url_place="RXFLOW_API_URL in the environment")


def _settled(
    arguments: Source, environ: Mapping[str, str] | None, cwd: Path | None, home: Path | None
) -> Settings:
    """Read each value where it is set first, and the credentials group by group."""
    environ = os.environ if environ is None else environ
    cwd = Path.cwd() if cwd is None else cwd
    own = _own_environment(environ)
    groups = ((arguments,), (own,), _prefect_sources(arguments, own, environ, cwd, home))
    sources = [source for group in groups for source in group]
    found_url = _first(sources, "api_url")
    url = _read(found_url, _parse_url, _URL_RULE)
    if found_url is None or url is None:
        raise _no_url(sources)
    api_url, login = url
    api_key, auth_string, headers = _credentials(groups, found_url, login)
    verify = not _read(_first(sources, "skip_verify"), _parse_bool, "must be true or false")
    # OpenSSL's variable is the default of Prefect's setting.
    openssl = Found(Secret(environ.get("SSL_CERT_FILE", "")), "SSL_CERT_FILE in the environment")
    certificates = _first(sources, "ssl_cert_file") or openssl
    parse_file = partial(_parse_file, cwd)
    return Settings(
        api_url=api_url,
        api_key=api_key,
        auth_string=auth_string,
        headers=tuple(headers.values()),
        verify=verify,
        ssl_cert_file=_read(certificates, parse_file, "names no file") if verify else None,
        connect_timeout=_seconds(sources, "connect_timeout", _CONNECT_TIMEOUT),
        read_timeout=_seconds(sources, "read_timeout", _READ_TIMEOUT),
        deadline=_seconds(sources, "deadline", _DEADLINE),
        origin=found_url.where,
    )


def _prefect_sources(
    arguments: Source, own: Source, environ: Mapping[str, str], cwd: Path, home: Path | None
) -> tuple[Source, ...]:
    """Return Prefect's sources, without the files if they may speak of another server."""
    environment = prefect_environment(environ)
    url = _first((arguments, own), "api_url")
    if url is None:
        profile = _first((arguments, own), "profile")
        return (environment, *prefect_files(environ, cwd, home, profile))
    if "profile" in arguments.found:
        message = f"{url.where} and the argument profile both choose a server: give only one."
        raise ConfigurationError(message)
    return (environment,)


def _credentials(
    groups: Sequence[Sequence[Source]], url: Found, login: Secret | None
) -> tuple[Secret | None, Secret | None, _Headers]:
    """Return key, auth string and headers, those of a higher group in place of a lower one's."""
    api_key: Found | None = None
    auth_string: Found | None = None
    headers: _Headers = {}
    for group in reversed(groups):
        refuse_protected = group is not groups[-1]
        added = _custom_headers(group, partial(_parse_headers, refuse_protected=refuse_protected))
        key, auth = _first(group, "api_key"), _first(group, "auth_string")
        if auth is None and login is not None and _first(group, "api_url") is url:
            auth = Found(login, url.where)
        if key is not None or auth is not None or "authorization" in added:
            api_key, auth_string = key, auth
            headers.pop("authorization", None)
        headers |= added
    return (
        _read(api_key, _parse_key, "must be one line of ASCII, without blanks around it"),
        _read(auth_string, _parse_auth, "must be user:password, in one line"),
        headers,
    )


def _custom_headers(group: Sequence[Source], parse: Callable[[str], _Headers | None]) -> _Headers:
    merged: _Headers = {}
    for source in reversed(group):
        merged |= _read(source.found.get("headers"), parse, _HEADERS_RULE) or {}
    return merged


def _seconds(sources: Iterable[Source], name: str, default: float) -> float:
    rule = "must be a number of seconds above 0, such as 10 or 2.5"
    return _read(_first(sources, name), _parse_seconds, rule) or default


def _first(sources: Iterable[Source], name: str) -> Found | None:
    return next((source.found[name] for source in sources if name in source.found), None)


def _read(found: Found | None, parse: Callable[[str], _T | None], rule: str) -> _T | None:
    """Parse a value, None if there is none or it is empty; a parser returns None if it cannot."""
    if found is None or not found.text.reveal():
        return None
    value = parse(found.text.reveal())
    if value is None:
        message = f"{found.where} {rule}."
        raise ConfigurationError(message)
    return value


def _no_url(sources: Iterable[Source]) -> ConfigurationError:
    lines = ["No URL of a Prefect API was found. Looked for, in this order:"]
    for source in sources:
        if "api_url" in source.found:
            lines.append(f"  - {source.url_place}: empty, which hides any further one")
            break
        lines.append(f"  - {source.url_place}: {source.note}")
    return ConfigurationError("\n".join((*lines, _NO_URL_ADVICE)))


_NO_URL_ADVICE: Final = (
    "Set PREFECT_API_URL (for a local server: http://127.0.0.1:4200/api), or store it in the "
    "active profile with `prefect config set PREFECT_API_URL=...`, or choose a profile that has "
    "one with `prefect profile use`. An 'ephemeral' profile has none: its server lives inside the "
    "process that runs the flow, out of reach of any other."
)

_URL_RULE: Final = (
    "must be an http:// or https:// URL with a host and neither query nor fragment, such as "
    "http://127.0.0.1:4200/api; in a user name or a password, percent-encode / ? # and @"
)


def _parse_url(text: str) -> tuple[str, Secret | None] | None:
    """Return the URL without user-info, and this as an auth string."""
    if not text.isprintable() or re.search(r"[\s\\?#]", text):
        return None
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        return None
    # An "@" in the path is what a "/" within a password looks like; the rest of it would show.
    if not usable or "@" in parts.path:
        return None
    user_info, _, host = parts.netloc.rpartition("@")
    user, _, password = user_info.partition(":")
    secret = Secret(f"{unquote(user)}:{unquote(password)}") if user or password else None
    return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", "")), secret


_HEADERS_RULE: Final = (
    "must be a JSON object of header names and of values, each one line of printable ASCII "
    "without blanks around it; User-Agent and Prefect-Csrf-* are not yours to set"
)


def _parse_headers(text: str, *, refuse_protected: bool) -> _Headers | None:
    try:
        given = _HEADERS.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    headers = {name.lower(): (name, Secret(value)) for name, value in given.items()}
    if refuse_protected and not _PROTECTED_HEADERS.isdisjoint(headers):
        return None
    for name, value in given.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            return None
    return {name: header for name, header in headers.items() if name not in _PROTECTED_HEADERS}


def _parse_key(text: str) -> Secret | None:
    return Secret(text) if _HEADER_VALUE.fullmatch(text) else None


def _parse_auth(text: str) -> Secret | None:
    # Not ":" in it: a proxy may want something else. Lone surrogates could not be encoded.
    return Secret(text) if text.isprintable() else None


def _parse_bool(text: str) -> bool | None:
    return _BOOLEANS.get(text.lower())


def _parse_seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds > 0 else None


def _parse_file(cwd: Path, text: str) -> str | None:
    try:
        return text if (cwd / text).is_file() else None
    except OSError:
        return None
