"""Read configuration files: text and TOML, with errors that name the file and quote nothing of it.

Which files are read, and what stands in them, is known to `rxflow._config.prefect3_sources` and
`rxflow._config.prefect1_sources`.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, cast

from rxflow.errors import ConfigurationError

LONGEST_FILE: Final = 1024 * 1024
"""Bytes of the longest file that is read; a settings file has some hundred."""

_TOML_POSITION: Final = re.compile(r"at line \d+, column \d+|at end of document")


def home_directory(home: Path | None) -> Path:
    """Return `home`, or the home directory of the user if it is None."""
    # Path.home() raises where a container's user has no home directory; expanduser does not, so
    # that the environment alone is enough there.
    return Path(os.path.expanduser("~")) if home is None else home  # noqa: PTH111


def read_toml(path: Path) -> Mapping[str, object] | None:
    """Return the contents of a TOML file, or None if there is no such file.

    Raises:
        ConfigurationError: The file cannot be read, or is not valid TOML.
    """
    text = read_text(path)
    if text is None:
        return None
    import tomllib  # noqa: PLC0415 - takes 2 ms to import, and many users have no such file

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # Only the position: the rest of the parser's message may quote the file.
        position = _TOML_POSITION.search(str(error))
        where = f" ({position[0]})" if position else ""
        message = f"{path} is not valid TOML{where}. Correct it, or remove it."
        raise ConfigurationError(message) from error
    except (RecursionError, ValueError) as error:  # a number of thousands of digits is a ValueError
        message = f"{path} is nested too deep, or has too long a number. Correct it, or remove it."
        raise ConfigurationError(message) from error


def read_text(path: Path) -> str | None:
    """Return the text of a file, or None if there is no such file (".env" may be a directory).

    Raises:
        ConfigurationError: The file cannot be read, or is not UTF-8 text.
    """
    try:
        if not path.is_file():
            return None
        if path.stat().st_size > LONGEST_FILE:
            reason = f"it is longer than {LONGEST_FILE // 1024} KiB"
            raise ConfigurationError(_unreadable(path, reason, "Shorten it"))
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        reason = error.strerror or "the system gives no reason"
    except UnicodeDecodeError:
        reason = "it is not UTF-8 text"
    raise ConfigurationError(_unreadable(path, reason, "Make it readable"))


def nested_table(document: Mapping[str, object], keys: Sequence[str]) -> Mapping[str, object]:
    """Return the table under nested `keys` of a TOML document, empty if there is none."""
    for key in keys:
        inner = document.get(key)
        document = cast("dict[str, object]", inner) if isinstance(inner, dict) else {}
    return document


def _unreadable(path: Path, reason: str, remedy: str) -> str:
    return f"{path} cannot be read: {reason}. {remedy}, or remove it."
