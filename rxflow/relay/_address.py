"""Where a broker is, and what it is shown: a URL and credentials, which no error shows.

Belongs here: reading the arguments of `open_broker`. Does not belong here: connecting.
"""

import ssl
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec

from rxflow._config.secrets import Secret
from rxflow._models.arguments import check_type
from rxflow.errors import ConfigurationError

PORTS: Final = {"nats": 4222, "tls": 4222, "redis": 6379, "rediss": 6379}
"""The schemes of brokers' URLs, each with its port."""

_NATS: Final = ("nats", "tls")
_CREDS_MARKS: Final = ("BEGIN NATS USER JWT", "BEGIN USER NKEY SEED")
_EXAMPLES: Final = "nats://broker.example:4222 or redis://broker.example:6379/0"


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """What a broker is shown.

    Attributes:
        user: The user's name.
        password: The user's password.
        token: In place of both, on NATS.
        creds: A file of NATS credentials.
        tls: How certificates are verified, and which one the broker is shown; None for the
            system's authorities, where the broker requires TLS.
    """

    user: str | None = None
    password: Secret | None = None
    token: Secret | None = None
    creds: Path | None = None
    tls: ssl.SSLContext | None = None


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where a broker is.

    Attributes:
        scheme: One of `PORTS`.
        servers: The host and the port of each server that may be connected to.
        database: The number of a Redis database.
        credentials: What it is shown.
    """

    scheme: str
    servers: tuple[tuple[str, int], ...]
    database: int
    credentials: Credentials

    @property
    def urls(self) -> list[str]:
        """The URL of each server, without secrets."""
        return [f"{self.scheme}://{_netloc(host)}:{port}" for host, port in self.servers]

    @property
    def name(self) -> str:
        """All URLs, for messages."""
        return ",".join(self.urls)


def parse_address(url: str, credentials: Credentials) -> Address:
    """Read a URL.

    Args:
        url: The URL; for a cluster of NATS, several that are joined by commas, those after the
            first with or without its scheme. A user and a password in it are percent-decoded.
        credentials: Those that were given beside it, which come before those in the URL. A password
            without a user is that of the user in the URL.

    Raises:
        ConfigurationError: It is not the URL of a broker, or the credentials are not of its kind.
    """
    check_type("url", url, str, f"the URL of a broker, such as {_EXAMPLES}")
    parts = [_split(each) for each in _urls_of(url)]
    schemes = {part.scheme for part in parts}
    scheme = parts[0].scheme
    if len(schemes) > 1 or (len(parts) > 1 and scheme not in _NATS):
        raise ConfigurationError(
            "Several URLs of a broker must be those of one NATS cluster, all with nats:// or all "
            "with tls://"
        )
    in_url = next((part for part in parts if part.username is not None), None)
    if in_url is not None:
        credentials = _with_user_info(credentials, in_url)
    _check_kind(scheme, credentials)
    return Address(
        scheme=scheme,
        servers=tuple((part.hostname or "", part.port or PORTS[scheme]) for part in parts),
        database=_database_of(parts[0]),
        credentials=credentials,
    )


def _urls_of(url: str) -> list[str]:
    """Return the URL of each server; ``nats://a:4222,b:4222`` has two."""
    first, *others = (each.strip() for each in url.split(","))
    scheme = first.partition("://")[0]
    # What has an @ may be the rest of a password with a comma, and is refused.
    return [
        first,
        *(each if "://" in each or "@" in each else f"{scheme}://{each}" for each in others),
    ]


def _split(url: str) -> SplitResult:
    """Split a URL, of which a message may show nothing: what precedes a ``/`` may be a password."""
    try:
        part = urlsplit(url)
        port = part.port
    except ValueError:
        raise _unreadable() from None
    if part.scheme not in PORTS:
        scheme = f"begins with {part.scheme}://" if "://" in url else "has no scheme"
        raise ConfigurationError(f"The URL of a broker {scheme}; pass one such as {_EXAMPLES}")
    rest = f"{part.path}?{part.query}#{part.fragment}"
    if not part.hostname or port == 0 or "@" in rest or part.query or part.fragment:
        raise _unreadable()
    if part.scheme in _NATS and part.path not in {"", "/"}:
        raise _unreadable()
    return part


def _unreadable() -> ConfigurationError:
    return ConfigurationError(
        f"The URL of the broker cannot be read; pass one such as {_EXAMPLES}, and percent-encode "
        "/, @, :, ?, # and commas of a password in it, or pass user= and password="
    )


def _with_user_info(credentials: Credentials, part: SplitResult) -> Credentials:
    """Add what the URL says, unless credentials beside it replace that."""
    user, password = unquote(part.username or ""), part.password
    if any(each is not None for each in (credentials.user, credentials.token, credentials.creds)):
        return credentials
    if credentials.password is not None:
        return msgspec.structs.replace(credentials, user=user or None)
    if password is None and part.scheme in _NATS:
        return msgspec.structs.replace(credentials, token=Secret(user))
    return msgspec.structs.replace(
        credentials,
        user=user or None,
        password=None if password is None else Secret(unquote(password)),
    )


def _check_kind(scheme: str, credentials: Credentials) -> None:
    if scheme not in _NATS and (credentials.token or credentials.creds):
        raise ConfigurationError("token= and creds= are of NATS; pass user= and password=")
    if scheme == "redis" and credentials.tls is not None:
        raise ConfigurationError(
            "tls= is for an encrypted connection; begin the URL with rediss://"
        )
    ways = {
        "user= and password=": credentials.user is not None or credentials.password is not None,
        "token=": credentials.token is not None,
        "creds=": credentials.creds is not None,
    }
    given = [way for way, is_given in ways.items() if is_given]
    if len(given) > 1:
        raise ConfigurationError(
            f"A broker is shown one kind of credentials: pass either {' or '.join(given)}"
        )
    if scheme in _NATS and (credentials.user is None) != (credentials.password is None):
        raise ConfigurationError("Pass both user= and password= to NATS")
    if credentials.creds is not None:
        _check_creds(credentials.creds)


def _check_creds(path: Path) -> None:
    """Check a file of NATS credentials, which the client reads at each connection."""
    if not path.is_file():
        raise ConfigurationError(f"creds='{path}' is not a file on this machine")
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"creds='{path}' cannot be read: {error.strerror}") from error
    missing = next((mark for mark in _CREDS_MARKS if mark.encode() not in text), None)
    if missing is not None:
        raise ConfigurationError(
            f"creds='{path}' has no line with {missing!r}; pass a file of NATS credentials, as "
            "`nsc generate creds` writes it"
        )


def _database_of(part: SplitResult) -> int:
    number = part.path.strip("/")
    if not number:
        return 0
    if number.isascii() and number.isdigit() and len(number) <= 5:
        return int(number)
    raise ConfigurationError("The path of a Redis URL is the number of a database, such as /0")


def _netloc(host: str) -> str:
    return f"[{host}]" if ":" in host else host
