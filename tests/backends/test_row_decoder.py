"""Pages with malformed rows, by the example of Prefect 3's log rows."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from http_replies import json_reply
from prefect3_recordings import LOGS, RUN, log_row, read_page

from rxflow._backends.row_decoder import RowDecoder


def test_rows_are_converted_one_by_one_and_in_a_page() -> None:
    """A decoder returns rows as they are on the wire, or as the backends share them."""
    plain, shared = RowDecoder(int), RowDecoder(int, convert=hex)
    assert (plain.decode_row(b"15"), plain.decode_rows(b"[15, 16]")) == (15, (15, 16))
    assert (shared.decode_row(b"15"), shared.decode_rows(b"[15, 16]")) == ("0xf", ("0xf", "0x10"))
    page = shared.decode_page(b'[15, "16", 17]', None)
    assert (page.rows, len(page.malformed)) == (("0xf", "0x11"), 1)


def test_a_malformed_row_is_listed_and_the_others_are_kept() -> None:
    """Of a page with a malformed row, that row is listed with the reason."""
    first, bad, last = log_row(id="1"), log_row(id="2", level="loud"), log_row(id="3")
    page = read_page(LOGS, json_reply([first, bad, last]))
    assert [row.id for row in page.rows] == ["1", "3"]
    (malformed,) = page.malformed
    assert malformed.id == "2"
    assert "$.level" in malformed.reason
    assert page.count == 3


def test_a_malformed_row_has_its_run_and_times() -> None:
    """What cannot be read of them is taken from the row before it."""
    first = log_row(id="1", timestamp="2026-01-01T00:00:00Z", created="2026-01-01T00:00:01Z")
    level = log_row(id="2", level=None)
    times = log_row(id="3", flow_run_id=5, timestamp="noon", created="2026-02-02T00:00:00Z")
    bad_level, bad_times, null = read_page(LOGS, json_reply([first, level, times, None])).malformed
    assert bad_level.flow_run_id == RUN
    assert bad_level.timestamp == datetime.fromisoformat(level["timestamp"])
    assert bad_level.created == datetime.fromisoformat(level["created"])
    assert bad_times.flow_run_id == RUN
    assert bad_times.timestamp == null.timestamp == datetime(2026, 1, 1, tzinfo=UTC)
    assert bad_times.created == datetime(2026, 2, 2, tzinfo=UTC)
    (alone,) = read_page(LOGS, json_reply([None])).malformed
    assert alone.timestamp < bad_times.timestamp


def test_a_naive_time_is_malformed() -> None:
    """A row with a time without an offset is listed, with the path of the field."""
    (malformed,) = read_page(LOGS, json_reply([log_row(timestamp="2026-11-22T14:27:33")])).malformed
    assert "$.timestamp" in malformed.reason


@pytest.mark.parametrize("row", [None, 5, "a", [], {}, {"id": 5}, {"id": None}])
def test_a_row_without_an_id_is_listed_by_a_digest(row: Any) -> None:
    """The digest is the same each time, and differs from that of another row."""
    good = log_row()
    page = read_page(LOGS, json_reply([row, good, row, ["another"]]))
    ids = [row.id for row in page.malformed]
    assert ids[0] == ids[1] != ids[2]
    assert len(ids[0]) == 32
    assert page.rows == read_page(LOGS, json_reply([good])).rows


def test_a_repaired_page_may_have_a_malformed_row() -> None:
    """A malformed row is listed on a page that had to be repaired, too."""
    rows = [log_row(id="1", level=None), log_row(id="2", message="@")]
    page = read_page(LOGS, json_reply(json.dumps(rows).encode().replace(b"@", rb"\ud800")))
    assert [row.message for row in page.rows] == ["\ufffd"]
    assert [row.id for row in page.malformed] == ["1"]
