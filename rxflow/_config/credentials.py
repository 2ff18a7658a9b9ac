"""Choose the credentials to send: key, auth string, tenant and custom headers.

A credential of one group of sources replaces those of all groups with lower precedence, of any
kind, so that a key and an auth string that were never meant for the same server are not mixed.
Which sources form a group is decided in `rxflow._config.source_order`.
"""

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from rxflow._config.secrets import Secret
from rxflow._config.setting_sources import SettingSource, SettingText, first_text
from rxflow._config.setting_values import (
    CustomHeaders,
    read_auth_string,
    read_headers,
    read_key,
    read_tenant,
)


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """The credentials to send, and the custom headers, which may hold one.

    Attributes:
        api_key: The key, if any.
        auth_string: The auth string, if any.
        tenant_id: The tenant of the key, if any.
        headers: The merged custom headers.
        origin: What is sent to prove who one is, and where it was found, as a phrase for messages;
            "" if nothing is.
    """

    api_key: Secret | None
    auth_string: Secret | None
    tenant_id: Secret | None
    headers: CustomHeaders
    origin: str = ""


def choose_credentials(
    groups: Sequence[Sequence[SettingSource]], url: SettingText, user_info: Secret | None
) -> Credentials:
    """Return the credentials of the group with the highest precedence that has any.

    Args:
        groups: The groups of sources, highest precedence first; the last is Prefect's settings.
        url: The URL to use.
        user_info: The user-info in that URL, an auth string of the group that has the URL.

    Raises:
        ConfigurationError: One of the chosen credentials, or any custom header, cannot be used.
    """
    api_key: SettingText | None = None
    auth_string: SettingText | None = None
    tenant_id: SettingText | None = None
    headers: CustomHeaders = {}
    for group in reversed(groups):
        # Prefect drops headers that its client sets itself; so they are rejected elsewhere only.
        added = _merge_headers(group, reject_protected=group is not groups[-1])
        key, auth = first_text(group, "api_key"), first_text(group, "auth_string")
        if auth is None and user_info is not None and first_text(group, "api_url") is url:
            auth = SettingText(user_info, url.origin)
        if key is not None or auth is not None or "authorization" in added:
            api_key, auth_string, tenant_id = key, auth, None
            headers.pop("authorization", None)
        tenant_id = first_text(group, "tenant_id") or tenant_id
        headers |= added
    credentials = Credentials(
        api_key=read_key(api_key),
        auth_string=read_auth_string(auth_string),
        tenant_id=read_tenant(tenant_id),
        headers=headers,
    )
    return replace(credentials, origin=_origin_of(credentials, api_key, auth_string))


def _origin_of(
    credentials: Credentials, api_key: SettingText | None, auth_string: SettingText | None
) -> str:
    """Return which credential is sent, by the precedence of `Settings.authorization`."""
    if "authorization" in credentials.headers:
        return "the Authorization header among the custom headers"
    if credentials.auth_string is not None and auth_string is not None:
        return f"the auth string from {auth_string.origin}"
    if credentials.api_key is not None and api_key is not None:
        return f"the key from {api_key.origin}"
    return ""


def _merge_headers(group: Sequence[SettingSource], *, reject_protected: bool) -> CustomHeaders:
    merged: CustomHeaders = {}
    for source in reversed(group):
        merged |= read_headers(source.texts.get("headers"), reject_protected=reject_protected)
    return merged
