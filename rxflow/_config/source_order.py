"""The sources of settings in order of precedence, and the backend that they imply.

Decides which installation is read, Prefect 3's or Prefect 1's, and whether its files are read at
all. How they are read is in `rxflow._config.prefect3_sources` and
`rxflow._config.prefect1_sources`; how credentials are chosen, in `rxflow._config.credentials`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from rxflow._config.prefect1_sources import read_prefect1_sources
from rxflow._config.prefect3_sources import read_prefect3_environment, read_prefect3_files
from rxflow._config.secrets import Secret
from rxflow._config.setting_sources import SettingSource, SettingText, first_text
from rxflow._config.setting_values import read_backend
from rxflow._models.entities import BackendName
from rxflow.errors import ConfigurationError

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

_PREFECT_3_ADVICE: Final = (
    "Set PREFECT_API_URL (for a local server: http://127.0.0.1:4200/api), or store it in the "
    "active profile with `prefect config set PREFECT_API_URL=...`, or choose a profile that has "
    "one with `prefect profile use`. An 'ephemeral' profile has none: its server lives inside the "
    "process that runs the flow, and no other process can reach it."
)

_PREFECT_1_ADVICE: Final = (
    "For a server of Prefect 1 set RXFLOW_API_URL (for a local one: http://localhost:4200), or "
    "PREFECT__BACKEND to server or cloud."
)

# Of other arguments, such as of a URL of httpx, `str` is the text that is meant.
_TEXT_ARGUMENTS: Final = ("api_key", "auth_string", "profile", "backend", "tenant_id")

_ARGUMENT_URL: Final = "the argument api_url"
_OWN_URL: Final = "RXFLOW_API_URL in the environment"

PASSED_URL_ORIGINS: Final = frozenset({_ARGUMENT_URL, _OWN_URL})
"""The origins of a URL that may belong to another server than the one in Prefect's files."""

_SourceGroup = tuple[SettingSource, ...]


class UrlSource(NamedTuple):
    """A source in which the URL is looked for.

    Attributes:
        origin: Where it sets a URL, or would, as a phrase for messages.
        missing: Why it sets none; "" if it does.
    """

    origin: str
    missing: str


class SourceOrder(msgspec.Struct, frozen=True, kw_only=True):
    """All sources, highest precedence first, and the backend.

    Attributes:
        groups: The arguments, ``RXFLOW_*``, and the settings of Prefect. Within a group each
            credential has its own precedence; between groups they replace each other.
        backend: The backend, None if no setting says it.
    """

    groups: tuple[_SourceGroup, _SourceGroup, _SourceGroup]
    backend: BackendName | None

    @property
    def sources(self) -> _SourceGroup:
        """The sources of all groups."""
        return tuple(source for group in self.groups for source in group)

    @property
    def url_sources(self) -> tuple[UrlSource, ...]:
        """Where the URL is looked for, up to the last source that is read."""
        return tuple(map(_url_source, self.sources))


def argument_source(**arguments: object) -> SettingSource:
    """Return the source made of the arguments; None says that one was not given.

    Raises:
        ConfigurationError: An argument that must be text is not.
    """
    for name in _TEXT_ARGUMENTS:
        _check_text(name, arguments.get(name))
    texts = {
        name: SettingText(
            Secret(str(value)), f"the argument {name.replace('skip_verify', 'verify')}"
        )
        for name, value in arguments.items()
        if value is not None
    }
    return SettingSource(texts=texts, url_origin=_ARGUMENT_URL, no_url_reason="not given")


def _check_text(name: str, value: object) -> None:
    """Reject a value whose `str` is another text than was meant, such as of a SecretStr."""
    if value is None or isinstance(value, str) or (name == "tenant_id" and isinstance(value, UUID)):
        return
    advice = " such as by get_secret_value()" if hasattr(value, "get_secret_value") else ""
    raise ConfigurationError(
        f"the argument {name} is of the class {type(value).__name__}; pass its text{advice}."
    )


def order_sources(
    arguments: SettingSource, environ: Mapping[str, str], cwd: Path, home: Path | None
) -> SourceOrder:
    """Read all sources that may be read for these arguments and this environment.

    Raises:
        ConfigurationError: A file is broken or cannot be read, or the chosen profile does not
            exist or would be ignored.
    """
    own = _own_environment(environ)
    explicit = (arguments, own)
    _reject_ignored_profile(explicit)
    backend, installed = _installed_sources(explicit, environ, cwd, home)
    return SourceOrder(groups=((arguments,), (own,), installed), backend=backend)


def no_url_error(order: SourceOrder) -> ConfigurationError:
    """Return the error that lists where no URL was found, in order, and says how to set one."""
    lines = ["No URL of a Prefect API was found. Looked for, in this order:"]
    for origin, missing in order.url_sources:
        lines.append(f"  - {origin}: {missing or 'empty, which hides all later sources'}")
        if not missing:
            break
    if order.backend is not BackendName.PREFECT_1:
        lines.append(_PREFECT_3_ADVICE)
    if order.backend is not BackendName.PREFECT_3:
        lines.append(_PREFECT_1_ADVICE)
    return ConfigurationError("\n".join(lines))


def _url_source(source: SettingSource) -> UrlSource:
    if "api_url" in source.texts:
        return UrlSource(source.texts["api_url"].origin, "")
    return UrlSource(source.url_origin, source.no_url_reason)


def _own_environment(environ: Mapping[str, str]) -> SettingSource:
    # An empty RXFLOW_PROFILE chooses no profile; any other empty variable sets to nothing.
    texts = {
        name: SettingText(Secret(environ[variable]), f"{variable} in the environment")
        for name, variable in _OWN_VARIABLES.items()
        if environ.get(variable) or (variable in environ and name != "profile")
    }
    return SettingSource(texts=texts, url_origin=_OWN_URL)


def _reject_ignored_profile(explicit: _SourceGroup) -> None:
    """Reject the argument `profile` where another argument or variable would hide it."""
    arguments = explicit[0]
    if "profile" not in arguments.texts:
        return
    url = first_text(explicit, "api_url")
    if url is not None:
        message = f"{url.origin} and the argument profile both choose a server: give only one."
        raise ConfigurationError(message)
    backend = first_text(explicit, "backend")
    if backend is not None and read_backend(backend) is BackendName.PREFECT_1:
        message = f"{backend.origin} is prefect1, which has no profiles: give no argument profile."
        raise ConfigurationError(message)


def _installed_sources(
    explicit: _SourceGroup, environ: Mapping[str, str], cwd: Path, home: Path | None
) -> tuple[BackendName | None, _SourceGroup]:
    """Return the backend, None if it is unknown, and the settings of Prefect.

    Args:
        explicit: The arguments and ``RXFLOW_*``.
        environ: The environment.
        cwd: The working directory.
        home: The home directory, None for that of the user.
    """
    backend = read_backend(first_text(explicit, "backend"))
    url = first_text(explicit, "api_url")
    profile = first_text(explicit, "profile")
    if backend is BackendName.PREFECT_1:
        return backend, read_prefect1_sources(environ, cwd, home, url=url)
    environment = read_prefect3_environment(environ)
    if url is not None:
        # The files may describe another server.
        return backend, (environment,)
    prefect3 = (environment, *read_prefect3_files(environ, cwd, home, profile))
    # A chosen profile implies Prefect 3, as does a URL in its settings.
    if backend is not None or profile is not None or first_text(prefect3, "api_url") is not None:
        return BackendName.PREFECT_3, prefect3
    prefect1 = read_prefect1_sources(environ, cwd, home, defaults=False)
    found = first_text(prefect1, "api_url")
    if found is not None and found.text.reveal():
        return BackendName.PREFECT_1, prefect1
    return None, (*prefect3, *prefect1)
