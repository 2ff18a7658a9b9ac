"""Options that say what a relay's broker is shown: a user, a token, a file of NATS, and TLS.

A secret is never an argument, which other users of the machine see: it is read from a file or from
the environment. Options come before variables, and variables before what is in a broker's URL; but
variables do not replace the secret in a URL that is on the command line.
"""

import os
from collections.abc import Callable, Collection, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

import click
from click.core import ParameterSource

from rxflow._config.secrets import Secret

__all__ = ["RELAY_VARIABLE", "BrokerOptions", "broker_options", "is_set_by_environment"]

RELAY_VARIABLE: Final = "RXFLOW_RELAY"
"""The variable with a broker's URL; the names of the others begin with it, too."""

_VARIABLES: Final = {
    name: f"{RELAY_VARIABLE}_{name.upper()}"
    for name in ("user", "password", "token", "creds", "tls_ca", "tls_cert", "tls_key")
}
_HELP: Final = {
    "user": f"The broker's user; by default {_VARIABLES['user']}.",
    "password_file": f"Read its password from this file; by default {_VARIABLES['password']}.",
    "token_file": f"Read a token of NATS from this file; by default {_VARIABLES['token']}.",
    "creds": f"Show this file of NATS credentials; by default {_VARIABLES['creds']}.",
    "tls_ca": f"Trust the authorities in this PEM file; by default {_VARIABLES['tls_ca']}.",
    "tls_cert": f"Show the certificate in this PEM file; by default {_VARIABLES['tls_cert']}.",
    "tls_key": f"The PEM file of its key; by default {_VARIABLES['tls_key']}.",
}
_WAYS: Final = (("user", "password"), ("token",), ("creds",))  # of which a broker is shown one
_MOST_BYTES: Final = 1 << 16  # of a file with a secret


class BrokerOptions(NamedTuple):
    """What a broker is shown, by the command line; `arguments` adds the environment.

    Attributes:
        given: The values of the options that are on the command line, by their names.
        is_url_given: Whether the broker's URL is on the command line, and not that of a variable.
    """

    given: Mapping[str, str]
    is_url_given: bool

    @property
    def names(self) -> list[str]:
        """Which options were given."""
        return [_option(name) for name in self.given]

    @property
    def words(self) -> list[str]:
        """The options as they were given."""
        return [word for name, value in self.given.items() for word in (_option(name), value)]

    def arguments(self, url: str) -> dict[str, Any]:
        """Return what `rxflow.relay.stream` takes beside the broker's URL.

        Args:
            url: The URL.

        Raises:
            click.UsageError: A file cannot be read, or what is given does not go together.
        """
        from rxflow.cli._tls_files import tls_context  # noqa: PLC0415 - ssl takes long to import

        shown = _credentials(self.given, url, is_url_given=self.is_url_given)
        certificate, key = self._files("tls_cert", "tls_key")  # which belong together
        (authorities,) = self._files("tls_ca")
        tls = tls_context(authorities, certificate, key)
        return shown if tls is None else {**shown, "tls": tls}

    def _files(self, *names: str) -> list[Path | None]:
        """Return the files that options name, or that variables name if no option does."""
        is_given = any(name in self.given for name in names)
        values = self.given if is_given else _environment()
        return [None if (path := values.get(name)) is None else Path(path) for name in names]


def broker_options(url: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add the options of `BrokerOptions` to a command, which takes them as ``shown``.

    Args:
        url: The name of its parameter that is the broker's URL.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(command)
        def with_options(*arguments: Any, **options: Any) -> Any:
            values = {name: options.pop(name) for name in _HELP}
            given = {name: value for name, value in values.items() if value is not None}
            return command(
                *arguments,
                shown=BrokerOptions(given, not is_set_by_environment(url)),
                **options,
            )

        decorated: Callable[..., Any] = with_options
        for name, text in reversed(_HELP.items()):
            is_file = name != "user"
            option = click.option(
                _option(name),
                type=click.Path(exists=True, dir_okay=False) if is_file else str,
                metavar="FILE" if is_file else "NAME",
                help=text,
            )
            decorated = option(decorated)
        return decorated

    return decorate


def is_set_by_environment(parameter: str) -> bool:
    """Return whether the value of a parameter of the command is that of a variable."""
    source = click.get_current_context().get_parameter_source(parameter)
    return source is ParameterSource.ENVIRONMENT


def _credentials(given: Mapping[str, str], url: str, *, is_url_given: bool) -> dict[str, Any]:
    """Return the user, the password, the token or the file that the broker is shown."""
    options = {name: given[name] for name in ("user", "creds") if name in given}
    for name in ("password", "token"):
        if (path := given.get(f"{name}_file")) is not None:
            options[name] = _secret_in(path, f"--{name}-file").reveal()
    _check_one_way(options, {"password": "--password-file", "token": "--token-file"}, "given; pass")
    variables = {name: value for name, value in _environment().items() if name[:3] != "tls"}
    if options:  # of a user and its password, one may be an option and the other a variable
        way = next(way for way in _WAYS if any(name in options for name in way))
        return {name: value for name, value in variables.items() if name in way} | options
    parts = _split(url)
    if any(part.username for part in parts) and "password" in variables:
        variables.pop("user", None)
    if is_url_given and _has_secret(parts, variables):
        return {}
    _check_one_way(variables, _VARIABLES, "set; unset")
    return variables


def _check_one_way(found: Collection[str], names: Mapping[str, str], verbs: str) -> None:
    ways = [next((each for each in way if each in found), None) for way in _WAYS]
    given = [names.get(name, _option(name)) for name in ways if name is not None]
    if len(given) > 1:
        raise click.UsageError(
            f"{' and '.join(given)} are both {verbs} one of them: a broker is shown one."
        )


def _has_secret(parts: list[SplitResult], variables: Collection[str]) -> bool:
    """Return whether a URL has a password, or a token of NATS, which is a user alone."""
    return any(
        part.password is not None
        or (
            part.username is not None and part.scheme[:5] != "redis" and "password" not in variables
        )
        for part in parts
    )


def _split(url: str) -> list[SplitResult]:
    """Split the URLs of a broker; one that cannot be split is refused later, with its reason."""
    try:
        return [urlsplit(each.strip()) for each in url.split(",")]
    except ValueError:
        return []


def _environment() -> dict[str, str]:
    """Return the values of the variables by the names of their options; empty ones are not set."""
    values = {name: os.environ.get(variable) for name, variable in _VARIABLES.items()}
    return {name: value for name, value in values.items() if value}


def _secret_in(path: str, option: str) -> Secret:
    """Read a secret from a file, without the line feed at its end."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        text = content.decode()
    except OSError as error:
        raise click.UsageError(f"{option} '{path}' cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError:
        raise click.UsageError(f"{option} '{path}' is not text in UTF-8.") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text or len(content) > _MOST_BYTES or "\n" in text:
        raise click.UsageError(f"{option} '{path}' must have one line, with the secret alone.")
    return Secret(text)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
