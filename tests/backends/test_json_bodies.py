"""JSON that Python writes and that is not quite JSON."""

import json

import msgspec
import pytest
from http_replies import json_reply
from prefect3_recordings import LOGS, log_row, read_page

from rxflow._backends.json_bodies import UnreadableBody, decode_body


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (rb"\ud800", "\ufffd"),
        (rb"\udfff x", "\ufffd x"),
        (rb"\uD83D\uDE00", "\U0001f600"),
        (rb"\udc00\ud83d\ude00\ud83d", "\ufffd\U0001f600\ufffd"),
        (rb"\\ud800 \ud800", "\\ud800 \ufffd"),
        (rb"\ud800\u0041", "\ufffdA"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"caf\xe9", "caf\ufffd"),
        (b"\xed\xa0\x80", "\ufffd\ufffd\ufffd"),
        (b"\xc3\xa9\xff", "é\ufffd"),
        (rb"\u0000 \u001b[31m", "\x00 \x1b[31m"),
    ],
)
def test_text_that_is_not_unicode_is_repaired(written: bytes, read: str) -> None:
    """Half surrogates and bytes that are not UTF-8 become U+FFFD; the rest of the page is kept."""
    body = json.dumps([log_row(id="1", message="@"), log_row(id="2", message="fine")]).encode()
    page = read_page(LOGS, json_reply(body.replace(b"@", written)))
    assert [(row.id, row.message) for row in page.rows] == [("1", read), ("2", "fine")]


@pytest.mark.parametrize(
    ("body", "is_json"),
    [(b"[1]", True), (b"[" * 100_000, True), (b"{", False), (b"", False), (b"\xff{", False)],
    ids=["another shape", "too deep", "cut short", "empty", "not unicode"],
)
def test_an_unreadable_body_may_be_json(body: bytes, is_json: bool) -> None:
    """JSON of another shape is distinguished from a body that is no JSON at all."""
    with pytest.raises(UnreadableBody) as caught:
        decode_body(body, msgspec.json.Decoder(dict[str, int]).decode)
    assert caught.value.is_json is is_json
    assert caught.value.reason


def test_a_body_that_is_nested_too_deep_is_json() -> None:
    """It is read as far as the stack allows, and not repaired."""
    with pytest.raises(UnreadableBody, match="nested too deep") as caught:
        decode_body(b"[" * 100_000, msgspec.json.decode)
    assert caught.value.is_json is True
