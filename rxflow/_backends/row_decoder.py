"""Decode the rows of a reply, one by one where some of them are malformed.

A tolerant reader: unknown fields are ignored, and a row that cannot be read is listed as malformed
while the other rows of its page are kept.
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from hashlib import blake2b
from typing import Any

import msgspec

from rxflow._models.times import Instant
from rxflow._protocol.pages import MalformedRow, Page

_Raw = bytes | msgspec.Raw

_raw_rows = msgspec.json.Decoder(list[msgspec.Raw]).decode
_any_row = msgspec.json.Decoder(dict[str, Any]).decode


class RowDecoder:
    """Decodes one kind of row; made once, at import.

    Attributes:
        decode_row: Decodes one row; raises `msgspec.DecodeError`.
        decode_rows: Decodes a list of rows; raises `msgspec.DecodeError`.
    """

    def __init__(self, row: Any, convert: Callable[[Any], Any] | None = None) -> None:
        """Build the decoders.

        Args:
            row: The type of a row on the wire.
            convert: Turns such a row into one that all backends share; None to keep it as it is.
        """
        rows: Any = tuple[row, ...]
        decode_row = msgspec.json.Decoder(row).decode
        decode_rows = msgspec.json.Decoder(rows).decode
        self.decode_row: Callable[[_Raw], Any] = decode_row
        self.decode_rows: Callable[[_Raw], tuple[Any, ...]] = decode_rows
        if convert is not None:
            self.decode_row = lambda raw: convert(decode_row(raw))
            self.decode_rows = lambda raw: tuple(map(convert, decode_rows(raw)))

    def decode_page(self, raw: _Raw, server_time: datetime | None) -> Page[Any]:
        """Decode a list of rows, and list those that are malformed.

        Args:
            raw: The list, as JSON.
            server_time: When the server sent it.

        Raises:
            msgspec.DecodeError: It is not a list, or not JSON.
        """
        try:
            return Page(self.decode_rows(raw), server_time)
        except msgspec.ValidationError:
            return self._decode_one_by_one(raw, server_time)

    def _decode_one_by_one(self, raw_rows: _Raw, server_time: datetime | None) -> Page[Any]:
        rows: list[Any] = []
        malformed: list[MalformedRow] = []
        for raw in _raw_rows(raw_rows):
            try:
                rows.append(self.decode_row(raw))
            except msgspec.ValidationError as error:
                malformed.append(_malformed_row(raw, str(error), rows[-1] if rows else None))
        return Page(tuple(rows), server_time, tuple(malformed))


def _malformed_row(raw: msgspec.Raw, reason: str, row_before: Any) -> MalformedRow:
    """Read what can be read of a malformed row; the row before shows about where it belongs."""
    try:
        fields_read = _any_row(raw)
    except msgspec.ValidationError:
        fields_read = {}
    fields: dict[str, Any] = {"id": blake2b(bytes(raw), digest_size=16).hexdigest()}
    for field, kind in _FIELD_TYPES.items():
        if field != "id" and hasattr(row_before, field):
            fields[field] = getattr(row_before, field)
        with suppress(msgspec.ValidationError):
            fields[field] = msgspec.convert(fields_read.get(field), kind)
    return MalformedRow(reason=reason, **fields)


_FIELD_TYPES = {"id": str, "flow_run_id": str, "timestamp": Instant, "created": Instant}
