"""Whether output is coloured: by ``--color``, by the environment, and else by the terminal.

What a command writes has its colours as ANSI sequences. `click.echo` leaves them out unless the
context's ``color`` is True, or it is None and the stream is a terminal.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

__all__ = ["colour_of_environment", "colour_option"]

C = TypeVar("C", bound=Callable[..., Any])


def colour_of_environment(environment: Mapping[str, str]) -> bool | None:
    """Return whether output is coloured; None if each stream decides, by being a terminal.

    The first variable that says anything counts: ``NO_COLOR`` (no-color.org), ``FORCE_COLOR``
    (force-color.org), ``CLICOLOR_FORCE`` and ``CLICOLOR`` (bixense.com/clicolors), ``TERM=dumb``.

    Args:
        environment: The environment's variables.
    """
    if environment.get("NO_COLOR"):
        return False
    if forced := environment.get("FORCE_COLOR"):
        return forced != "0"
    if environment.get("CLICOLOR_FORCE", "0") not in {"", "0"}:
        return True
    if environment.get("CLICOLOR") == "0" or environment.get("TERM") == "dumb":
        return False
    return None


def colour_option(command: C) -> C:
    """Add ``--color`` to a command; without it the environment decides."""
    return click.option(
        "--color",
        type=click.Choice(["auto", "always", "never"]),
        expose_value=False,
        callback=_set_colour,
        help="Whether to write colours; by default on terminals, unless the environment differs.",
    )(command)


def _set_colour(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.color = {"always": True, "never": False, "auto": None}[value]
