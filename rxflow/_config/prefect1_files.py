"""Where a Prefect 1 installation keeps its settings: the environment, two TOML files, its logins.

Reads what the client of Prefect 1.4.1 reads, by the rules of its ``prefect/configuration.py`` and
``prefect/client/client.py``: files and ``PREFECT__*`` variables make one table, whose values may
name variables and each other. Only the part of the table is known here of which the URL, the key
and the tenant can be made. Whether Prefect 1 is asked at all is decided in ``_settings``.
"""

import os
import re
from ast import literal_eval
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, cast

import msgspec

from rxflow._config.files import home_of, read_toml, table_in
from rxflow._config.secrets import Secret
from rxflow._config.setting_sources import SettingSource, SettingText
from rxflow.errors import ConfigurationError

_PREFIX: Final = "PREFECT__"
_BACKENDS: Final = ("cloud", "server")

# Files by the variable that names another one in their place; of two, the later one wins.
_FILES: Final[Mapping[str, str]] = {
    "PREFECT__USER_CONFIG_PATH": "~/.prefect/config.toml",
    "PREFECT__BACKEND_CONFIG_PATH": "~/.prefect/backend.toml",
}

# What holds where nothing is set, by the path in the table.
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

_CREDENTIALS: Final = ("api_key", "tenant_id")

_IN_ENVIRONMENT: Final = (
    "PREFECT__BACKEND, PREFECT__SERVER__* and PREFECT__CLOUD__* in the environment"
)
_NO_SERVER: Final = "no server is chosen there"

_VARIABLE: Final = re.compile(r"\$(?:(\w+)|\{([^}]*)\})", re.ASCII)
_REFERENCE: Final = re.compile(r"\$\{([^${}]+)\}")
_ROUNDS: Final = 10  # of replacing what names something else, in case it goes in circles


class _Setting(msgspec.Struct, frozen=True):
    """A value of the table, and where that was set of which it is made; nowhere if by default."""

    value: object
    places: tuple[str, ...] = ()

    def found(self) -> SettingText:
        """Put it into text."""
        text = str(self.value) if self.value else ""
        return SettingText(Secret(text), " and ".join(self.places) or "the default of Prefect 1")


_Table = dict[str, _Setting]


def prefect1_sources(
    environ: Mapping[str, str],
    cwd: Path,
    home: Path | None,
    *,
    url: SettingText | None = None,
    defaults: bool = True,
) -> tuple[SettingSource, ...]:
    """Read what Prefect 1 reads: the first source has what was found, the others have none.

    Args:
        environ: The environment.
        cwd: The directory that relative paths of files begin at.
        home: The home directory, None for that of the user.
        url: A URL from elsewhere. It may be that of another server than the files speak of, so
            these are not read, but for the login that was saved for this very server.
        defaults: Whether to give a URL where the user set nothing that leads to one.

    Raises:
        ConfigurationError: A file is broken or cannot be read, or the backend is none that is
            known, and leads nowhere.
    """
    home = home_of(home)
    files = {} if url is not None else _read_files(environ, cwd, home)
    table = _table(environ, home, files)
    return (
        SettingSource(
            found=_found(table, cwd, url) if defaults or _is_chosen(table) else {},
            url_place=_IN_ENVIRONMENT,
            note=_NO_SERVER,
        ),
        *(
            SettingSource(
                found={},
                url_place=f"backend, server and cloud in {path}",
                note="no such file" if document is None else _NO_SERVER,
            )
            for path, document in files.items()
        ),
    )


def _read_files(
    environ: Mapping[str, str], cwd: Path, home: Path
) -> dict[Path, Mapping[str, object] | None]:
    named = (environ.get(variable, path) for variable, path in _FILES.items())
    paths = [cwd / (_expanded(path, environ, home) or "") for path in named if path]
    return {path: read_toml(path) for path in paths}


def _is_chosen(table: _Table) -> bool:
    """Whether anything that the user set leads to the URL, or is meant for its server.

    The host of a server of one's own does not lead to Cloud, which is asked by default.
    """
    credentials = (table[f"cloud.{name}"] for name in _CREDENTIALS)
    return bool(table["cloud.api"].places) or any(setting.value for setting in credentials)


def _found(table: _Table, cwd: Path, url: SettingText | None) -> dict[str, SettingText]:
    """Return URL, key and tenant, each from the table before the login of the URL's server."""
    api = table["cloud.api"]
    if url is None and not api.value and table["backend"].value not in _BACKENDS:
        message = f"{table['backend'].found().where} must be {' or '.join(_BACKENDS)}."
        raise ConfigurationError(message)
    found = {"api_url": api.found()} if url is None else {}
    file = cwd / str(table["home_dir"].value) / "auth.toml"
    login = _login(file, (url or api.found()).text.reveal())
    for name in _CREDENTIALS:
        setting = table[f"cloud.{name}"]
        chosen = setting if setting.value else login.get(name)
        if chosen is not None:
            found[name] = chosen.found()
    return found


def _login(file: Path, url: str) -> _Table:
    """Return what ``prefect auth login`` has saved for the server of a URL."""
    entry = table_in(read_toml(file) or {}, (_slug(url),))
    return {
        name: _Setting(entry[name], (f"{name} in {file}",))
        for name in _CREDENTIALS
        if entry.get(name)
    }


def _slug(url: str) -> str:
    """Return the name that a server has among the logins: its host and port."""
    server = re.match(r"\w+://([^/?#]*)", url)
    slug = re.sub(r"[^-.a-z0-9]+", "-", (server[1] if server else url).lower())
    return re.sub(r"-{2,}", "-", slug).strip("-")


def _table(
    environ: Mapping[str, str], home: Path, files: Mapping[Path, Mapping[str, object] | None]
) -> _Table:
    """Lay defaults, files and environment over one another, and replace what is named in them."""
    table = {key: _Setting(value) for key, value in _DEFAULTS.items()}
    for path, document in files.items():
        leaves = _leaves(document or {})
        table |= {key: _Setting(value, (f"{key} in {path}",)) for key, value in leaves}
    for variable, text in environ.items():
        if variable.startswith(_PREFIX):
            key = variable.removeprefix(_PREFIX).lower().replace("__", ".")
            value = _evaluated(text, environ, home)
            table[key] = _Setting(value, (f"{variable} in the environment",))
    # What the environment says goes through this twice, as it does in Prefect.
    return _interpolated(
        {
            key: _Setting(_evaluated(setting.value, environ, home), setting.places)
            for key, setting in table.items()
        }
    )


def _leaves(document: Mapping[str, object], path: str = "") -> Iterator[tuple[str, object]]:
    for key, value in document.items():
        if isinstance(value, dict):
            yield from _leaves(cast("dict[str, object]", value), f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def _evaluated(value: object, environ: Mapping[str, str], home: Path) -> object:
    """Replace the variables that a text names, and take it for a literal of Python if it is one."""
    text = _expanded(value, environ, home) if isinstance(value, str) else value
    if not isinstance(text, str):
        return text
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    try:
        return cast("object", literal_eval(text))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return text


def _expanded(text: str, environ: Mapping[str, str], home: Path) -> str | None:
    """Replace ``$NAME``, ``${NAME}`` and ``~`` until none is left, or None if that never ends."""
    for _ in range(_ROUNDS):
        named = _VARIABLE.sub(lambda name: environ.get(name[1] or name[2], name[0]), text)
        expanded = _homed(named, home)
        if expanded == text:
            return text
        text = expanded
    return None


def _homed(text: str, home: Path) -> str:
    if text == "~" or text.startswith("~/"):
        return f"{home}{text[1:]}"
    try:
        return os.path.expanduser(text)  # noqa: PTH111 - a text is not always a path
    except ValueError:  # what no user can be called
        return text


def _interpolated(table: _Table) -> _Table:
    """Replace each ``${path.in.table}`` by what is there, innermost first, or by nothing."""
    for _ in range(_ROUNDS):
        table = {key: _replaced_once(setting, table) for key, setting in table.items()}
    return table


def _replaced_once(setting: _Setting, table: _Table) -> _Setting:
    text = setting.value
    if not isinstance(text, str) or (named := _REFERENCE.search(text)) is None:
        return setting
    other = table.get(named[1], _Setting(""))
    # What is there is not put into text where it is all of it, for False means that nothing is set.
    whole = text == named[0]
    value = other.value if whole else text.replace(named[0], str(other.value), 1)
    return _Setting(value, _unique((*setting.places, *other.places)))


def _unique(places: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(places))
