"""The configuration table of a Prefect 1 installation: defaults, files and environment merged.

Follows ``prefect/configuration.py`` of Prefect 1.4.1: the files and the ``PREFECT__*`` variables
form one table, whose values may refer to environment variables and to each other. Of the defaults
only those are kept that lead to the URL, the key and the tenant. Which files are read, and what is
made of the table, is decided in `rxflow._config.prefect1_sources`.
"""

import os
import re
from ast import literal_eval
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, cast

import msgspec

from rxflow._config.secrets import Secret
from rxflow._config.setting_sources import SettingText

_PREFIX: Final = "PREFECT__"

# The default of each value, by its path in the table.
_DEFAULTS: Final[Mapping[str, str]] = {
    "home_dir": "~/.prefect",
    "backend": "cloud",
    "server.host": "http://localhost",
    "server.port": "4200",
    "server.host_ip": "127.0.0.1",
    "server.host_port": "4200",
    "server.endpoint": "${server.host}:${server.port}",
    "cloud.endpoint": "https://api.prefect.io",
    "cloud.api": "${${backend}.endpoint}",
    "cloud.api_key": "",
    "cloud.tenant_id": "",
}

_VARIABLE: Final = re.compile(r"\$(?:(\w+)|\{([^}]*)\})", re.ASCII)
_REFERENCE: Final = re.compile(r"\$\{([^${}]+)\}")
_MAX_ROUNDS: Final = 10  # of replacing references, which may be circular


class Prefect1Value(msgspec.Struct, frozen=True):
    """A value of the table.

    Attributes:
        value: The value; one that is false in Python sets nothing.
        origins: Where it, and the values that it refers to, were set; empty for a default.
    """

    value: object
    origins: tuple[str, ...] = ()

    def setting_text(self) -> SettingText:
        """Return the value as the text of a setting."""
        text = str(self.value) if self.value else ""
        return SettingText(Secret(text), " and ".join(self.origins) or "the default of Prefect 1")


Prefect1Table = dict[str, Prefect1Value]
"""The values by their path in the table, such as ``cloud.api_key``."""


def build_table(
    environ: Mapping[str, str], home: Path, files: Mapping[Path, Mapping[str, object] | None]
) -> Prefect1Table:
    """Merge defaults, files and environment, then replace all references in the values.

    Args:
        environ: The environment.
        home: The home directory.
        files: The TOML documents by path, None for a missing file; later ones have precedence.
    """
    table = {key: Prefect1Value(value) for key, value in _DEFAULTS.items()}
    for path, document in files.items():
        leaves = _leaves(document or {})
        table |= {key: Prefect1Value(value, (f"{key} in {path}",)) for key, value in leaves}
    for variable, text in environ.items():
        if variable.startswith(_PREFIX):
            key = variable.removeprefix(_PREFIX).lower().replace("__", ".")
            value = _evaluate(text, environ, home)
            table[key] = Prefect1Value(value, (f"{variable} in the environment",))
    # Values from the environment are evaluated twice, as in Prefect.
    return _resolve_references(
        {
            key: Prefect1Value(_evaluate(entry.value, environ, home), entry.origins)
            for key, entry in table.items()
        }
    )


def expand_variables(text: str, environ: Mapping[str, str], home: Path) -> str | None:
    """Replace ``$NAME``, ``${NAME}`` and ``~`` until none is left, or return None if some remain.

    A variable that is not in the environment is left as it is.
    """
    for _ in range(_MAX_ROUNDS):
        named = _VARIABLE.sub(lambda name: environ.get(name[1] or name[2], name[0]), text)
        expanded = _expand_home(named, home)
        if expanded == text:
            return text
        text = expanded
    return None


def _leaves(document: Mapping[str, object], path: str = "") -> Iterator[tuple[str, object]]:
    for key, value in document.items():
        if isinstance(value, dict):
            yield from _leaves(cast("dict[str, object]", value), f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def _evaluate(value: object, environ: Mapping[str, str], home: Path) -> object:
    """Expand the variables in a text; return the value of the text if it is a Python literal."""
    text = expand_variables(value, environ, home) if isinstance(value, str) else value
    if not isinstance(text, str):
        return text
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    try:
        return cast("object", literal_eval(text))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return text


def _expand_home(text: str, home: Path) -> str:
    if text == "~" or text.startswith("~/"):
        return f"{home}{text[1:]}"
    try:
        return os.path.expanduser(text)  # noqa: PTH111 - a text is not always a path
    except ValueError:  # "~" with a name that no user can have
        return text


def _resolve_references(table: Prefect1Table) -> Prefect1Table:
    """Replace each ``${path.in.table}`` by the value at that path, innermost first, or by ""."""
    for _ in range(_MAX_ROUNDS):
        table = {key: _resolve_one(entry, table) for key, entry in table.items()}
    return table


def _resolve_one(entry: Prefect1Value, table: Prefect1Table) -> Prefect1Value:
    text = entry.value
    if not isinstance(text, str) or (reference := _REFERENCE.search(text)) is None:
        return entry
    other = table.get(reference[1], Prefect1Value(""))
    # A text that is one reference gets the value itself: the text "False" would set something.
    is_whole = text == reference[0]
    value = other.value if is_whole else text.replace(reference[0], str(other.value), 1)
    return Prefect1Value(value, tuple(dict.fromkeys((*entry.origins, *other.origins))))
