"""A source of settings, such as the environment or one file, and the texts that it sets.

Which sources exist, and in which order they are searched, is decided in
`rxflow._config.source_order`; what a text means, in `rxflow._config.setting_values`.
"""

from collections.abc import Iterable, Mapping

import msgspec

from rxflow._config.secrets import Secret


class SettingText(msgspec.Struct, frozen=True):
    """The text of one setting and where it was found.

    Attributes:
        text: The text, not parsed yet. An empty text sets the setting to nothing.
        origin: Where it was found, as a phrase for messages: ``api.url in /x/prefect.toml``.
    """

    text: Secret
    origin: str


class SettingSource(msgspec.Struct, frozen=True, kw_only=True):
    """What one source sets.

    Attributes:
        texts: The texts that it sets, keyed by the field names of `Settings`; beside these
            ``profile``, ``profiles_path`` and ``skip_verify``.
        url_origin: Where this source would set a URL, as a phrase for messages.
        no_url_reason: Why this source sets no URL, if it sets none.
    """

    texts: Mapping[str, SettingText]
    url_origin: str
    no_url_reason: str = "not set"


def first_text(sources: Iterable[SettingSource], name: str) -> SettingText | None:
    """Return the text of a setting from the first source that sets it, or None."""
    return next((source.texts[name] for source in sources if name in source.texts), None)
