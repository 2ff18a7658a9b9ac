"""Options that say which server a command talks to, the same for every command."""

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

import rxflow
from rxflow.cli._output import report

if TYPE_CHECKING:
    from rxflow.cli._command_client import CommandClient

__all__ = ["command_client", "connection_options", "server_options"]


C = TypeVar("C", bound=Callable[..., None])


def server_options(command: C) -> C:
    """Add the options that say which server is meant to a command that takes them as they are."""
    for option in (
        click.option(
            "--backend",
            type=click.Choice([name.value for name in rxflow.BackendName]),
            help="The kind of server; by default detected.",
        ),
        click.option("--profile", help="The Prefect profile to use in place of the active one."),
        click.option("--api-url", help="The API's URL; by default found as Prefect finds it."),
    ):
        command = option(command)
    return command


def command_client(
    api_url: str | None, profile: str | None, backend: str | None
) -> "CommandClient":
    """Return the client that options name, which is to be closed.

    Where the command has the options ``--timeout`` and ``--quiet``, its reads keep to them.

    Args:
        api_url: The values of `server_options`, and so are the others.
        profile: The same.
        backend: The same.

    Raises:
        ConfigurationError: No server is found, or a setting is malformed.
    """
    from rxflow.cli._command_client import CommandClient  # noqa: PLC0415 - needs reactivex

    values = click.get_current_context().params
    return CommandClient(
        limit=values.get("timeout"),
        say=None if values.get("quiet") else report,
        api_url=api_url,
        profile=profile,
        backend=backend,
    )


def connection_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of the connection to a command.

    Args:
        command: Takes the client as its first argument, ``client``; it is closed afterwards.
    """

    @server_options
    @wraps(command)
    def with_client(
        *arguments: Any,
        api_url: str | None,
        profile: str | None,
        backend: str | None,
        **options: Any,
    ) -> None:
        with command_client(api_url, profile, backend) as client:
            command(client, *arguments, **options)

    return with_client
