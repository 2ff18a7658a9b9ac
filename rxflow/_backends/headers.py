"""What the answers of all servers have in common: rows, JSON as it comes, times, and what to say.

A tolerant reader: unknown fields are passed over, and of a list in which one row cannot be read
the others are taken.
"""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache

from rxflow._backends.backend import HttpReply

_LONGEST_RETRY_AFTER = 300.0


def server_time(reply: HttpReply) -> datetime | None:
    """When the server answered, by its own clock."""
    return _http_date(reply.headers.get("date", ""))


def retry_after(reply: HttpReply) -> float | None:
    """Seconds to wait by ``Retry-After``, which counts seconds or names a date."""
    value = reply.headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]+", value):
        return min(float(value), _LONGEST_RETRY_AFTER)
    now, then = server_time(reply), _http_date(value)
    if now is None or then is None:
        return None
    return min(max(0.0, (then - now).total_seconds()), _LONGEST_RETRY_AFTER)


@lru_cache(maxsize=16)  # a server says the same for a second
def _http_date(text: str) -> datetime | None:
    try:
        time = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def is_json(reply: HttpReply) -> bool:
    """Whether an answer says that it is JSON."""
    return "json" in reply.headers.get("content-type", "").lower()
