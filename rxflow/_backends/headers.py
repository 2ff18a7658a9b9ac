"""Headers of HTTP replies: the server's time, `Retry-After`, the content type.

Belongs here: headers whose meaning is the same for every server. Does not belong here: headers of
one server alone, such as those of a CSRF token.
"""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache

from rxflow._backends.backend import HttpResponse
from rxflow._models.times import PLAUSIBLE_YEARS
from rxflow._protocol.failures import LONGEST_RETRY_AFTER


def server_time(reply: HttpResponse) -> datetime | None:
    """Read when the server sent a reply, by its own clock, to the second."""
    return _http_date(reply.headers.get("date", ""))


def retry_after(reply: HttpResponse) -> float | datetime | None:
    """Read ``Retry-After``, which is a number of seconds or a date.

    Returns:
        The seconds to wait; the date if the reply does not say what time it is for the server.
    """
    value = reply.headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]+", value):
        return min(float(value), LONGEST_RETRY_AFTER)
    now, then = server_time(reply), _http_date(value)
    if now is None or then is None:
        return then
    return min(max(0.0, (then - now).total_seconds()), LONGEST_RETRY_AFTER)


def is_json(reply: HttpResponse) -> bool:
    """Whether a reply is declared to be JSON."""
    return "json" in reply.headers.get("content-type", "").lower()


@lru_cache(maxsize=16)  # all replies within a second have the same date
def _http_date(text: str) -> datetime | None:
    try:
        time = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if time.year not in PLAUSIBLE_YEARS:
        return None
    return time.astimezone(UTC) if time.tzinfo is not None else time.replace(tzinfo=UTC)
