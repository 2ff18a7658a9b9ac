"""The sources of a Prefect 3 installation: the environment, .env, TOML files and a profile.

Reads what Prefect 3 reads, in the same files and by the rules of ``prefect/settings/sources.py`` in
its version 3.8.8. Only broken files are rejected here. What a value means is decided in
`rxflow._config.setting_values`; which sources have precedence over these, in
`rxflow._config.source_order`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from rxflow._config.dotenv import parse_dotenv
from rxflow._config.files import home_directory, nested_table, read_text, read_toml
from rxflow._config.secrets import Secret
from rxflow._config.setting_sources import SettingSource, SettingText
from rxflow.errors import ConfigurationError

# Per setting its name in an environment or a profile, and its path in a TOML file. None of them has
# another name: Prefect keeps no aliases for its client's settings.
_NAMES: Final[Mapping[str, tuple[str, str]]] = {
    "api_url": ("PREFECT_API_URL", "api.url"),
    "api_key": ("PREFECT_API_KEY", "api.key"),
    "auth_string": ("PREFECT_API_AUTH_STRING", "api.auth_string"),
    "headers": ("PREFECT_CLIENT_CUSTOM_HEADERS", "client.custom_headers"),
    "skip_verify": ("PREFECT_API_TLS_INSECURE_SKIP_VERIFY", "api.tls_insecure_skip_verify"),
    "ssl_cert_file": ("PREFECT_API_SSL_CERT_FILE", "api.ssl_cert_file"),
    "profiles_path": ("PREFECT_PROFILES_PATH", "profiles_path"),
}

# The contents of the profiles.toml inside Prefect's package; it counts only while the user has no
# such file.
_PACKAGED_PROFILES: Final[Mapping[str, object]] = {
    "active": "ephemeral",
    "profiles": {
        "ephemeral": {},
        "local": {"PREFECT_API_URL": "http://127.0.0.1:4200/api"},
        "test": {},
        "cloud": {},
    },
}

# With any of these set Prefect reads no profile, so that a test cannot reach a real server by one.
_TEST_MODES: Final = (
    "PREFECT_TEST_MODE",
    "PREFECT_UNIT_TEST_MODE",
    "PREFECT_TESTING_UNIT_TEST_MODE",
    "PREFECT_TESTING_TEST_MODE",
)


def read_prefect3_environment(environ: Mapping[str, str]) -> SettingSource:
    """Read the ``PREFECT_*`` environment variables."""
    return SettingSource(
        texts=_variable_texts(_upper_names(environ), "the environment"),
        url_origin="PREFECT_API_URL in the environment",
    )


def read_prefect3_files(
    environ: Mapping[str, str], cwd: Path, home: Path | None, profile: SettingText | None
) -> tuple[SettingSource, ...]:
    """Read the files that Prefect 3 reads, highest precedence first.

    Args:
        environ: The environment; it can name the path of profiles.toml and the active profile.
        cwd: The directory in which .env, prefect.toml and pyproject.toml are looked up.
        home: The home directory, None for that of the user.
        profile: A profile chosen outside of Prefect's settings; it must exist.

    Raises:
        ConfigurationError: A file is broken or cannot be read, or `profile` does not exist.
    """
    configs = (
        _read_dotenv(cwd / ".env", environ),
        _read_toml_config(cwd / "prefect.toml", ()),
        _read_toml_config(cwd / "pyproject.toml", ("tool", "prefect")),
    )
    if profile is None and any(environ.get(mode) for mode in _TEST_MODES):
        no_profile = SettingSource(
            texts={}, url_origin="the active profile", no_url_reason="in test mode"
        )
        return (*configs, no_profile)
    path = _custom_profiles_path((read_prefect3_environment(environ), *configs), environ)
    if path is not None:
        return (*configs, _read_profile(cwd / path, {}, environ, profile))
    path = home_directory(home) / ".prefect" / "profiles.toml"
    return (*configs, _read_profile(path, _PACKAGED_PROFILES, environ, profile))


def _custom_profiles_path(
    sources: Sequence[SettingSource], environ: Mapping[str, str]
) -> Path | None:
    """Return the path of profiles.toml if a setting gives one."""
    for source in sources:
        found = source.texts.get("profiles_path")
        if found is not None and found.text.reveal():
            return Path(found.text.reveal())
    # Prefect reads PREFECT_HOME for this from the environment only, and expands no "~" in it.
    prefect_home = environ.get("PREFECT_HOME")
    return Path(prefect_home, "profiles.toml") if prefect_home else None


def _read_profile(
    path: Path,
    fallback: Mapping[str, object],
    environ: Mapping[str, str],
    chosen: SettingText | None,
) -> SettingSource:
    """Read the chosen profile, or else Prefect's active one.

    Args:
        path: The path of profiles.toml.
        fallback: The document to use where there is no such file.
        environ: The environment; it can name the active profile.
        chosen: A profile chosen outside of Prefect's settings.

    Raises:
        ConfigurationError: The file is broken or cannot be read, or `chosen` does not exist.
    """
    document = read_toml(path)
    file = str(path) if document is not None else f"{path} (no such file)"
    document = fallback if document is None else document
    profiles = nested_table(document, ("profiles",))
    active = environ.get("PREFECT_PROFILE") or document.get("active")
    name = chosen.text.reveal() if chosen is not None else active
    if isinstance(name, str) and name in profiles:
        origin = f"profile {name!r} of {file}"
        texts = _variable_texts(nested_table(profiles, (name,)), origin)
        return SettingSource(texts=texts, url_origin=f"PREFECT_API_URL in {origin}")
    if chosen is not None:
        known = ", ".join(repr(profile) for profile in profiles) or "none"
        message = (
            f"{chosen.origin} names the profile {name!r}, which is not in {file}. Profiles there: "
            f"{known}. Name one of them, or create it with `prefect profile create`."
        )
        raise ConfigurationError(message)
    if not name:
        return SettingSource(
            texts={}, url_origin=f"the active profile of {file}", no_url_reason="none is active"
        )
    return SettingSource(
        texts={}, url_origin=f"profile {name!r} of {file}", no_url_reason="no such profile"
    )


def _read_toml_config(path: Path, header: Sequence[str]) -> SettingSource:
    """Read prefect.toml or pyproject.toml; Prefect's settings are in the table `header`."""
    document = read_toml(path)
    settings = nested_table(document or {}, header)
    texts: dict[str, SettingText] = {}
    for setting, (_, dotted) in _NAMES.items():
        *tables, key = dotted.split(".")
        value = nested_table(settings, tables).get(key)
        if value is not None:
            texts[setting] = _value_text(value, f"{'.'.join((*header, dotted))} in {path}")
    return SettingSource(
        texts=texts,
        url_origin=f"{'.'.join((*header, 'api.url'))} in {path}",
        no_url_reason="not set" if document is not None else "no such file",
    )


def _read_dotenv(path: Path, environ: Mapping[str, str]) -> SettingSource:
    text = read_text(path)
    variables = parse_dotenv(text or "", environ)
    return SettingSource(
        texts=_variable_texts(_upper_names(variables), str(path)),
        url_origin=f"PREFECT_API_URL in {path}",
        no_url_reason="not set" if text is not None else "no such file",
    )


def _upper_names(variables: Mapping[str, str]) -> dict[str, object]:
    """Put the names in capitals: Prefect reads ``prefect_api_url`` too, but not in a profile."""
    return {name.upper(): value for name, value in variables.items()}


def _variable_texts(variables: Mapping[str, object], origin: str) -> dict[str, SettingText]:
    return {
        setting: _value_text(variables[variable], f"{variable} in {origin}")
        for setting, (variable, _) in _NAMES.items()
        if variable in variables
    }


def _value_text(value: object, origin: str) -> SettingText:
    """Convert a value of a TOML file to the text that an environment variable would have."""
    match value:
        case str():
            return SettingText(Secret(value), origin)
        case bool() | int() | float() | dict():
            return SettingText(Secret(msgspec.json.encode(value).decode()), origin)
        case _:
            message = f"{origin} must be a string."
            raise ConfigurationError(message)
