"""What a poll found: the time before which all was read, and when its newest row was stored."""

from datetime import datetime

import pytest
from sample_events import NOON, line, second

from rxflow._logs.log_read import LogRead, newest_created
from rxflow._protocol.pages import MalformedRow


@pytest.mark.parametrize(
    ("position", "unsettled", "expected"),
    [
        (None, None, None),
        (second(3), None, second(3)),
        (None, second(3), second(3)),
        (second(5), second(3), second(3)),
        (second(3), second(5), second(3)),
    ],
)
def test_all_rows_before_a_backfill_and_its_unsettled_rows_are_read(
    position: datetime | None, unsettled: datetime | None, expected: datetime | None
) -> None:
    """The earlier of the two times is where unread rows begin."""
    read = LogRead(backfill_position=position, unsettled_from=unsettled)
    assert read.unread_from == expected


def test_the_newest_row_is_the_one_that_was_stored_last() -> None:
    """Unreadable rows count; rows stored in an impossible year do not."""
    bad = MalformedRow("bad", "no message", timestamp=NOON, created=second(7))
    impossible = MalformedRow("odd", "no message", created=NOON.replace(year=9999))
    assert newest_created(LogRead()) is None
    assert newest_created(LogRead(malformed=(impossible,))) is None
    assert newest_created(LogRead(rows=(line(3), line(5), line(4)))) == second(5)
    assert newest_created(LogRead(rows=(line(5),), malformed=(bad, impossible))) == second(7)
