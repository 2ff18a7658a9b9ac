"""Where a Prefect 3 installation keeps its settings: the environment, .env, TOML files, a profile.

Reads what Prefect 3 reads, in the places and by the rules of its ``prefect/settings/sources.py``
(3.8.8), without importing Prefect, which takes seconds. Every value stays text in a `Secret`,
beside the words that say where it was found; only broken files are complained of here. What a value
means, and what outranks Prefect's settings, is decided in ``_settings``.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from rxflow._config.files import home_of, read_text, read_toml, table_in
from rxflow._config.secrets import Secret
from rxflow._config.setting_sources import SettingSource, SettingText
from rxflow.errors import ConfigurationError

# Each setting under its name here, its name in an environment or a profile, and its path in a TOML
# file. None of them has another name: Prefect keeps no aliases for its client's settings.
PREFECT_NAMES: Final[Mapping[str, tuple[str, str]]] = {
    "api_url": ("PREFECT_API_URL", "api.url"),
    "api_key": ("PREFECT_API_KEY", "api.key"),
    "auth_string": ("PREFECT_API_AUTH_STRING", "api.auth_string"),
    "headers": ("PREFECT_CLIENT_CUSTOM_HEADERS", "client.custom_headers"),
    "skip_verify": ("PREFECT_API_TLS_INSECURE_SKIP_VERIFY", "api.tls_insecure_skip_verify"),
    "ssl_cert_file": ("PREFECT_API_SSL_CERT_FILE", "api.ssl_cert_file"),
    "profiles_path": ("PREFECT_PROFILES_PATH", "profiles_path"),
}

# What the profiles.toml inside Prefect's package says; it counts only while the user has none.
_PACKAGED_PROFILES: Final[Mapping[str, object]] = {
    "active": "ephemeral",
    "profiles": {
        "ephemeral": {},
        "local": {"PREFECT_API_URL": "http://127.0.0.1:4200/api"},
        "test": {},
        "cloud": {},
    },
}

# Under any of these Prefect reads no profile, so that a test cannot reach a real server by one.
_TEST_MODES: Final = (
    "PREFECT_TEST_MODE",
    "PREFECT_UNIT_TEST_MODE",
    "PREFECT_TESTING_UNIT_TEST_MODE",
    "PREFECT_TESTING_TEST_MODE",
)

_BINDING: Final = re.compile(
    r"""
    ^[^\S\n]*(?:export[^\S\n]+)?(?P<name>[^=\#\s]+)[^\S\n]*=
    (?: [^\S\n]+\#.*
      | [^\S\n]*(?: '(?P<single>(?:\\[\s\S]|[^'\\])*)'[^\S\n]*(?:\#.*)?$
                  | "(?P<double>(?:\\[\s\S]|[^"\\])*)"[^\S\n]*(?:\#.*)?$
                  | (?P<bare>(?!['"]).*) ) )
    """,
    re.MULTILINE | re.VERBOSE,
)
_REFERENCE: Final = re.compile(r"\$\{([^}:]*)(?::-([^}]*))?\}")
_ESCAPES: Final = dict(zip("abfnrtv", "\a\b\f\n\r\t\v", strict=True))


def prefect_environment(environ: Mapping[str, str]) -> SettingSource:
    """Read the ``PREFECT_*`` environment variables."""
    return SettingSource(
        found=_from_variables(_folded(environ), "the environment"),
        url_place="PREFECT_API_URL in the environment",
    )


def prefect_files(
    environ: Mapping[str, str], cwd: Path, home: Path | None, profile: SettingText | None
) -> tuple[SettingSource, ...]:
    """Read the files that Prefect reads, those that outrank others first.

    Args:
        environ: The environment; it can say where profiles.toml is, and which profile is active.
        cwd: The directory in which .env, prefect.toml and pyproject.toml are looked for.
        home: The home directory, None for that of the user.
        profile: A profile chosen outside of Prefect's settings; it must exist.

    Raises:
        ConfigurationError: A file is broken or cannot be read, or `profile` does not exist.
    """
    configs = (
        _dotenv(cwd / ".env", environ),
        _toml_config(cwd / "prefect.toml", ()),
        _toml_config(cwd / "pyproject.toml", ("tool", "prefect")),
    )
    if profile is None and any(environ.get(mode) for mode in _TEST_MODES):
        return (
            *configs,
            SettingSource(found={}, url_place="the active profile", note="in test mode"),
        )
    named = _profiles_path((prefect_environment(environ), *configs), environ)
    if named is not None:
        return (*configs, _active_profile(cwd / named, {}, environ, profile))
    path = home_of(home) / ".prefect" / "profiles.toml"
    return (*configs, _active_profile(path, _PACKAGED_PROFILES, environ, profile))


def _profiles_path(sources: Iterable[SettingSource], environ: Mapping[str, str]) -> Path | None:
    """Return the path of profiles.toml if something names it."""
    for source in sources:
        found = source.found.get("profiles_path")
        if found is not None and found.text.reveal():
            return Path(found.text.reveal())
    # Prefect takes PREFECT_HOME for this from the environment only, and expands no "~" in it.
    prefect_home = environ.get("PREFECT_HOME")
    return Path(prefect_home, "profiles.toml") if prefect_home else None


def _active_profile(
    path: Path,
    fallback: Mapping[str, object],
    environ: Mapping[str, str],
    chosen: SettingText | None,
) -> SettingSource:
    """Read the profile that is chosen, or else the one that Prefect holds active."""
    document = read_toml(path)
    file = str(path) if document is not None else f"{path} (no such file)"
    document = fallback if document is None else document
    profiles = table_in(document, ("profiles",))
    named = environ.get("PREFECT_PROFILE") or document.get("active")
    name = chosen.text.reveal() if chosen is not None else named
    if isinstance(name, str) and name in profiles:
        place = f"profile {name!r} of {file}"
        found = _from_variables(table_in(profiles, (name,)), place)
        return SettingSource(found=found, url_place=f"PREFECT_API_URL in {place}")
    if chosen is not None:
        known = ", ".join(repr(profile) for profile in profiles) or "none"
        message = (
            f"{chosen.where} names the profile {name!r}, which is not in {file}. Profiles there: "
            f"{known}. Name one of them, or make it with `prefect profile create`."
        )
        raise ConfigurationError(message)
    if not name:
        return SettingSource(
            found={}, url_place=f"the active profile of {file}", note="none is active"
        )
    return SettingSource(found={}, url_place=f"profile {name!r} of {file}", note="no such profile")


def _toml_config(path: Path, header: Sequence[str]) -> SettingSource:
    """Read prefect.toml or its like, in which Prefect's settings stand under `header`."""
    document = read_toml(path)
    settings = table_in(document or {}, header)
    found: dict[str, SettingText] = {}
    for setting, (_, dotted) in PREFECT_NAMES.items():
        *tables, key = dotted.split(".")
        value = table_in(settings, tables).get(key)
        if value is not None:
            found[setting] = _found(value, f"{'.'.join((*header, dotted))} in {path}")
    return SettingSource(
        found=found,
        url_place=f"{'.'.join((*header, 'api.url'))} in {path}",
        note="not set" if document is not None else "no such file",
    )


def _dotenv(path: Path, environ: Mapping[str, str]) -> SettingSource:
    """Read a .env file by the grammar of python-dotenv, with which Prefect reads it."""
    text = read_text(path)
    variables: dict[str, str] = {}
    for binding in _BINDING.finditer(text or ""):
        variables[binding["name"]] = _REFERENCE.sub(
            lambda name: variables.get(name[1], environ.get(name[1], name[2] or "")),
            _unquoted(binding),
        )
    return SettingSource(
        found=_from_variables(_folded(variables), str(path)),
        url_place=f"PREFECT_API_URL in {path}",
        note="not set" if text is not None else "no such file",
    )


def _unquoted(binding: re.Match[str]) -> str:
    if binding["single"] is not None:
        return re.sub(r"\\([\\'])", r"\1", binding["single"])
    if binding["double"] is not None:
        return re.sub(r"\\([\\'\"abfnrtv])", lambda m: _ESCAPES.get(m[1], m[1]), binding["double"])
    return re.sub(r"\s+#.*", "", binding["bare"] or "").rstrip()


def _folded(variables: Mapping[str, str]) -> dict[str, object]:
    """Put the names in capitals: Prefect heeds ``prefect_api_url`` too, though not in a profile."""
    return {name.upper(): value for name, value in variables.items()}


def _from_variables(variables: Mapping[str, object], place: str) -> dict[str, SettingText]:
    return {
        setting: _found(variables[variable], f"{variable} in {place}")
        for setting, (variable, _) in PREFECT_NAMES.items()
        if variable in variables
    }


def _found(value: object, where: str) -> SettingText:
    """Put a value of a TOML file into the text that stands for it in an environment."""
    match value:
        case str():
            return SettingText(Secret(value), where)
        case bool() | int() | float() | dict():
            return SettingText(Secret(msgspec.json.encode(value).decode()), where)
        case _:
            message = f"{where} must be a string."
            raise ConfigurationError(message)
