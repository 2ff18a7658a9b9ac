"""What a place sets, in words that can be shown: secrets, findings, and files read with care.

A place is the environment, a file, the arguments. Which places there are is known to ``_profiles``
and ``_prefect1_config``, what outranks what to ``_settings``, what a text means to ``_values``.
"""

from collections.abc import Mapping

import msgspec

from rxflow._config.secrets import Secret


class SettingText(msgspec.Struct, frozen=True):
    """One setting's text, and the words that say where it stood ("api.url in /x/prefect.toml")."""

    text: Secret
    where: str


class SettingSource(msgspec.Struct, frozen=True, kw_only=True):
    """What one place sets.

    `found` is keyed by the names that settings have in ``_settings``; `url_place` says where a URL
    would stand in this place, and `note` why none does.
    """

    found: Mapping[str, SettingText]
    url_place: str
    note: str = "not set"
