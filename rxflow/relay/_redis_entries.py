"""The entries of a log on Redis as pages."""

from typing import Any

from rxflow.errors import InvalidRelayLog
from rxflow.relay._broker import StoredPage
from rxflow.relay._headers import page_of


def stored_entry(entry: Any, run: str, *, is_last: bool | None = None) -> StoredPage:
    """Return the page of an entry.

    Raises:
        InvalidRelayLog: It is no page, or one of a later version.
    """
    identity, fields = entry
    values: dict[bytes, bytes] = dict(zip(fields[::2], fields[1::2], strict=True))
    body = values.pop(b"body", b"")
    headers = {text_of(name): text_of(value) for name, value in values.items()}
    page = page_of(headers, body, run)
    previous = headers.get("previous", "")
    if not (previous.isascii() and previous.isdigit()):
        raise InvalidRelayLog(
            f"The log of flow run {run} has a page that does not name the one before it, which no "
            "relay writes; find out what else writes there, and drop the log"
        )
    return StoredPage(position_of(identity), int(previous), page, is_last)


def position_of(identity: bytes) -> int:
    """Return the position of the entry with an id."""
    return int(identity.partition(b"-")[0])


def text_of(field: bytes) -> str:
    """Return a name or a value as text."""
    return field.decode("utf-8", "replace")
