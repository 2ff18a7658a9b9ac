"""What a place sets, in words that can be shown: secrets, findings, and files read with care.

A place is the environment, a file, the arguments. Which places there are is known to ``_profiles``
and ``_prefect1_config``, what outranks what to ``_settings``, what a text means to ``_values``.
"""

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, cast

from rxflow.errors import ConfigurationError

_TOML_POSITION: Final = re.compile(r"at line \d+, column \d+|at end of document")


def home_of(home: Path | None) -> Path:
    """Return the home directory, that of the user if none is given."""
    # Path.home() raises where a container's user has no home; this lets the environment suffice.
    return Path(os.path.expanduser("~")) if home is None else home  # noqa: PTH111


def table_in(document: Mapping[str, object], keys: Sequence[str]) -> Mapping[str, object]:
    """Return the table under `keys`, empty if there is none."""
    for key in keys:
        inner = document.get(key)
        document = cast("dict[str, object]", inner) if isinstance(inner, dict) else {}
    return document


def read_toml(path: Path) -> Mapping[str, object] | None:
    """Return a TOML file's contents, None if there is no such file."""
    text = read_text(path)
    try:
        return tomllib.loads(text) if text is not None else None
    except tomllib.TOMLDecodeError as error:
        # Only the position: what else the parser says may quote the file.
        position = _TOML_POSITION.search(str(error))
        where = f" ({position[0]})" if position else ""
        message = f"{path} is not valid TOML{where}. Correct it, or remove it."
        raise ConfigurationError(message) from error


def read_text(path: Path) -> str | None:
    """Return a file's text, None if there is no such file (".env" may be a directory)."""
    try:
        return path.read_text(encoding="utf-8-sig") if path.is_file() else None
    except OSError as error:
        reason = error.strerror or "the system gives no reason"
    except UnicodeDecodeError:
        reason = "it is not UTF-8 text"
    message = f"{path} cannot be read: {reason}. Make it readable, or remove it."
    raise ConfigurationError(message)
