"""The entries of a log on Redis as pages, and those of the stream of all pages as runs."""

from collections.abc import Sequence
from typing import Any

from rxflow.errors import InvalidRelayLog
from rxflow.relay._broker import StoredPage
from rxflow.relay._headers import page_of
from rxflow.relay._names import run_of


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


def run_of_entry(fields: Sequence[bytes]) -> str | None:
    """Return the run that an entry names; None if it names none."""
    texts = [text_of(field) for field in fields]
    values = dict(zip(texts[::2], texts[1::2], strict=False))
    return run_of(values.get("run", ""), ":")


def position_of(identity: bytes) -> int:
    """Return the position of the entry with an id."""
    return int(identity.partition(b"-")[0])


def text_of(field: bytes) -> str:
    """Return a name or a value as text."""
    return field.decode("utf-8", "replace")
