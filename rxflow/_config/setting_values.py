"""Parse the text of a setting, and reject the texts that cannot be used.

Each reader takes a text and returns its value, or None where the text is missing or empty. An error
names the origin of the text and the rule that it breaks, never the text itself. Where texts are
looked up is decided elsewhere in this package.
"""

import math
import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit
from uuid import UUID

import msgspec

from rxflow._config.secrets import Secret
from rxflow._config.setting_sources import SettingText
from rxflow._models.entities import BackendName
from rxflow.errors import ConfigurationError

# Prefect's client drops these from its custom headers (prefect/client/base.py, 3.8.8).
_PROTECTED_HEADERS: Final = frozenset({"user-agent", "prefect-csrf-token", "prefect-csrf-client"})

# The headers that h11 accepts (RFC 9110, 5.1 and 5.5), in ASCII. Others are rejected here, because
# an error of httpx would quote the header.
_HEADER_NAME: Final = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_HEADER_VALUE: Final = re.compile(r"(?:[!-~](?:[\t -~]*[!-~])?)?")
_HEADERS_DECODER: Final = msgspec.json.Decoder(dict[str, str])

# The words that pydantic, and so Prefect, parses as a boolean.
_BOOLEANS: Final[Mapping[str, bool]] = {
    **dict.fromkeys(("1", "on", "t", "true", "y", "yes"), True),
    **dict.fromkeys(("0", "off", "f", "false", "n", "no"), False),
}

_URL_RULE: Final = (
    "must be an http:// or https:// URL with a host and neither query nor fragment, such as "
    "http://127.0.0.1:4200/api; in a user name or a password, percent-encode / ? # and @"
)
_HEADERS_RULE: Final = (
    "must be a JSON object of header names and of values, each one line of printable ASCII "
    "without blanks around it; User-Agent and Prefect-Csrf-* are set by the client itself"
)
_BACKEND_RULE: Final = f"must be {' or '.join(BackendName)}"

_T = TypeVar("_T")

CustomHeaders = dict[str, tuple[str, Secret]]
"""Headers, as names and values, keyed by lower-cased name; names are case-insensitive."""


def read_backend(found: SettingText | None) -> BackendName | None:
    """Return the name of a backend."""
    return _read(found, _parse_backend, _BACKEND_RULE)


def read_url(found: SettingText | None) -> tuple[str, Secret | None] | None:
    """Return the URL without its user-info, and the user-info as an auth string."""
    return _read(found, _parse_url, _URL_RULE)


def read_key(found: SettingText | None) -> Secret | None:
    """Return an API key."""
    return _read(found, _parse_key, "must be one line of ASCII, without blanks around it")


def read_tenant(found: SettingText | None) -> Secret | None:
    """Return the id of a tenant, in its canonical form."""
    return _read(found, _parse_tenant, "must be the id of a tenant, which is a UUID")


def read_auth_string(found: SettingText | None) -> Secret | None:
    """Return an auth string."""
    return _read(found, _parse_auth_string, "must be user:password, in one line")


def read_headers(found: SettingText | None, *, reject_protected: bool) -> CustomHeaders:
    """Return custom headers; headers that the client sets itself are rejected or dropped."""
    parse = partial(_parse_headers, reject_protected=reject_protected)
    return _read(found, parse, _HEADERS_RULE) or {}


def read_flag(found: SettingText | None) -> bool | None:
    """Return a boolean."""
    return _read(found, _parse_flag, "must be true or false")


def read_seconds(found: SettingText | None) -> float | None:
    """Return a number of seconds."""
    rule = "must be a number of seconds above 0, such as 10 or 2.5"
    return _read(found, _parse_seconds, rule)


def read_file_path(found: SettingText | None, cwd: Path) -> str | None:
    """Return the path of an existing file, as it was written."""
    return _read(found, partial(_parse_file_path, cwd), "must be the path of an existing file")


def _read(found: SettingText | None, parse: Callable[[str], _T | None], rule: str) -> _T | None:
    """Return the parsed text, or None if it is missing or empty.

    Raises:
        ConfigurationError: `parse` returned None, which says that the text cannot be used.
    """
    if found is None or not found.text.reveal():
        return None
    value = parse(found.text.reveal())
    if value is None:
        message = f"{found.origin} {rule}."
        raise ConfigurationError(message)
    return value


def _parse_backend(text: str) -> BackendName | None:
    return next((name for name in BackendName if name == text), None)


def _parse_url(text: str) -> tuple[str, Secret | None] | None:
    if not text.isprintable() or re.search(r"[\s\\?#]", text):
        return None
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        return None
    # A "/" in a password ends up as an "@" in the path; the rest of the password would be shown.
    if not usable or "@" in parts.path:
        return None
    user_info, _, host = parts.netloc.rpartition("@")
    user, _, password = user_info.partition(":")
    secret = Secret(f"{unquote(user)}:{unquote(password)}") if user or password else None
    return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", "")), secret


def _parse_headers(text: str, *, reject_protected: bool) -> CustomHeaders | None:
    try:
        given = _HEADERS_DECODER.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    headers = {name.lower(): (name, Secret(value)) for name, value in given.items()}
    if reject_protected and not _PROTECTED_HEADERS.isdisjoint(headers):
        return None
    for name, value in given.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            return None
    return {name: header for name, header in headers.items() if name not in _PROTECTED_HEADERS}


def _parse_key(text: str) -> Secret | None:
    return Secret(text) if _HEADER_VALUE.fullmatch(text) else None


def _parse_tenant(text: str) -> Secret | None:
    try:
        return Secret(str(UUID(text)))
    except ValueError:
        return None


def _parse_auth_string(text: str) -> Secret | None:
    # A ":" is not required: a proxy may expect another form. Lone surrogates cannot be encoded.
    return Secret(text) if text.isprintable() else None


def _parse_flag(text: str) -> bool | None:
    return _BOOLEANS.get(text.lower())


def _parse_seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds > 0 else None


def _parse_file_path(cwd: Path, text: str) -> str | None:
    # Before Python 3.14, Path.is_file raises OSError for a name that is too long.
    return text if os.path.isfile(cwd / text) else None  # noqa: PTH113
