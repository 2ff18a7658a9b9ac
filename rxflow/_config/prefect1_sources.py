"""The sources of a Prefect 1 installation: the environment, two TOML files, and saved logins.

Reads what the client of Prefect 1.4.1 reads, by the rules of its ``prefect/client/client.py``: the
URL, the key and the tenant come from one table of environment and files
(`rxflow._config.prefect1_config`), a missing key or tenant from the login for the URL's server.
Whether these sources are read at all is decided in `rxflow._config.source_order`.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from rxflow._config.files import home_directory, nested_table, read_toml
from rxflow._config.prefect1_config import (
    Prefect1Table,
    Prefect1Value,
    build_table,
    expand_variables,
)
from rxflow._config.setting_sources import SettingSource, SettingText
from rxflow.errors import ConfigurationError

# The path of each file, by the variable that can give another path; the later file has precedence.
_FILES: Final[Mapping[str, str]] = {
    "PREFECT__USER_CONFIG_PATH": "~/.prefect/config.toml",
    "PREFECT__BACKEND_CONFIG_PATH": "~/.prefect/backend.toml",
}

_BACKENDS: Final = ("cloud", "server")
_CREDENTIALS: Final = ("api_key", "tenant_id")

_ENVIRONMENT_ORIGIN: Final = (
    "PREFECT__BACKEND, PREFECT__SERVER__* and PREFECT__CLOUD__* in the environment"
)
_NO_SERVER: Final = "no server is chosen there"


def read_prefect1_sources(
    environ: Mapping[str, str],
    cwd: Path,
    home: Path | None,
    *,
    url: SettingText | None = None,
    defaults: bool = True,
) -> tuple[SettingSource, ...]:
    """Read the settings of Prefect 1; the first source holds all texts, the others none.

    The others are listed only for the message that says where no URL was found.

    Args:
        environ: The environment.
        cwd: The directory to which relative paths of files refer.
        home: The home directory, None for that of the user.
        url: A URL from elsewhere. The files may describe another server, so they are not read,
            except for the login that was saved for the server of this URL.
        defaults: Whether to use the defaults where the user set nothing that leads to a server.

    Raises:
        ConfigurationError: A file is broken or cannot be read, or the backend is not a known one
            and no URL follows from it.
    """
    home = home_directory(home)
    files = {} if url is not None else _read_files(environ, cwd, home)
    table = build_table(environ, home, files)
    return (
        SettingSource(
            texts=_find_texts(table, cwd, url) if defaults or _is_server_chosen(table) else {},
            url_origin=_ENVIRONMENT_ORIGIN,
            no_url_reason=_NO_SERVER,
        ),
        *(
            SettingSource(
                texts={},
                url_origin=f"backend, server and cloud in {path}",
                no_url_reason="no such file" if document is None else _NO_SERVER,
            )
            for path, document in reversed(files.items())  # the last one wins
        ),
    )


def _read_files(
    environ: Mapping[str, str], cwd: Path, home: Path
) -> dict[Path, Mapping[str, object] | None]:
    named = (environ.get(variable, path) for variable, path in _FILES.items())
    paths = [cwd / (expand_variables(path, environ, home) or "") for path in named if path]
    return {path: read_toml(path) for path in paths}


def _is_server_chosen(table: Prefect1Table) -> bool:
    """Whether anything that the user set leads to the URL, or is a credential.

    The host of a self-hosted server alone does not lead there, since the default backend is Cloud.
    """
    credentials = (table[f"cloud.{name}"] for name in _CREDENTIALS)
    return bool(table["cloud.api"].origins) or any(entry.value for entry in credentials)


def _find_texts(table: Prefect1Table, cwd: Path, url: SettingText | None) -> dict[str, SettingText]:
    """Return URL, key and tenant; the table has precedence over the login for the URL's server."""
    api = table["cloud.api"]
    if url is None and not api.value and table["backend"].value not in _BACKENDS:
        message = f"{table['backend'].setting_text().origin} must be {' or '.join(_BACKENDS)}."
        raise ConfigurationError(message)
    texts = {"api_url": api.setting_text()} if url is None else {}
    file = cwd / str(table["home_dir"].value) / "auth.toml"
    login = _read_login(file, (url or api.setting_text()).text.reveal())
    for name in _CREDENTIALS:
        entry = table[f"cloud.{name}"]
        chosen = entry if entry.value else login.get(name)
        if chosen is not None:
            texts[name] = chosen.setting_text()
    return texts


def _read_login(file: Path, url: str) -> dict[str, Prefect1Value]:
    """Return the key and tenant that ``prefect auth login`` saved for the server of a URL."""
    entry = nested_table(read_toml(file) or {}, (_server_slug(url),))
    return {
        name: Prefect1Value(entry[name], (f"{name} in {file}",))
        for name in _CREDENTIALS
        if entry.get(name)
    }


def _server_slug(url: str) -> str:
    """Return the name of a server among the logins, which is made of its host and port."""
    server = re.match(r"\w+://([^/?#]*)", url)
    slug = re.sub(r"[^-.a-z0-9]+", "-", (server[1] if server else url).lower())
    return re.sub(r"-{2,}", "-", slug).strip("-")
