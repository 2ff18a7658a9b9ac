"""Arguments of flows as they are written on a command line."""

from typing import Any

import click

__all__ = ["read_parameter"]


def read_parameter(text: str) -> tuple[str, Any]:
    """Read an argument and its name: the ``type`` of an option.

    Args:
        text: ``KEY=VALUE``; a value that is not JSON is text.

    Raises:
        click.BadParameter: There is no key, or no ``=``.
    """
    import msgspec  # noqa: PLC0415 - not for --help

    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise click.BadParameter(f"{text!r} is not KEY=VALUE, such as days=3")
    try:
        return key.strip(), msgspec.json.decode(value)
    except msgspec.DecodeError:
        return key.strip(), value
