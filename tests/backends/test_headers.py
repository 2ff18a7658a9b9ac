"""Headers of replies that mean the same on every server."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from http_replies import json_reply

from rxflow._backends.headers import is_json, retry_after, server_time

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


def http_date(seconds: float) -> str:
    """Format a time, so many seconds after noon, as HTTP does."""
    return format_datetime(NOON + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    "date",
    [
        *("", "now", "99", "Sun, 22 Nov 99999 14:28:39 GMT", "22 Nov 2026 1:2:3 +9999999999999"),
        *("Fri, 31 Dec 9999 23:59:59 GMT", "Wed, 01 Jan 3000 00:00:00 GMT"),
        "Thu, 01 Jan 1970 00:00:00 GMT",
    ],
)
def test_an_unreadable_or_impossible_date_is_no_server_time(date: str) -> None:
    """A reply has no server time if its Date cannot be read or lies far from any server's clock."""
    assert server_time(json_reply("3.8.8", date=date)) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 12 ", 12.0),
        ("300", 300.0),
        ("301", 300.0),
        ("9" * 400, 300.0),
        (http_date(20), 20.0),
        (http_date(-20), 0.0),
        (http_date(86_400), 300.0),
        ("Sunday, 22-Nov-26 12:00:09 GMT", 9.0),
        ("Sun Nov 22 12:00:08 2026", 8.0),
        ("Sun, 22 Nov 2026 14:00:06 +0200", 6.0),
        *((value, None) for value in ("", "nan", "inf", "-5", "+5", "٣", "1.5", "1e3", "0x10")),
        *((value, None) for value in ("soon", "Sun, 99 Nov 2026 12:00:00 GMT", "5, 5", "1_0")),
    ],
)
def test_retry_after_has_seconds_or_a_date(value: str, seconds: float | None) -> None:
    """`Retry-After` has whole seconds, or a date by the server's clock; the most is 300 s."""
    reply = json_reply({}, 503, retry_after=value, date=http_date(0))
    assert retry_after(reply) == seconds


def test_a_date_to_retry_after_stays_a_date_without_the_servers_time() -> None:
    """Without the time of the server, the date itself is handed on: the watcher's clock decides."""
    date = http_date(20)
    assert retry_after(json_reply({}, 503, retry_after=date)) == NOON + timedelta(seconds=20)
    assert retry_after(json_reply({}, 503)) is None


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        ("application/problem+json", True),
        ("text/html", False),
        ("", False),
    ],
)
def test_a_content_type_may_be_json(content_type: str, expected: bool) -> None:
    """Any content type of JSON is recognised, in any case and with any parameters."""
    assert is_json(json_reply({}, content_type=content_type)) is expected
