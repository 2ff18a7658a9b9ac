"""What the answers of all servers have in common: rows, JSON as it comes, times, and what to say.

A tolerant reader: unknown fields are passed over, and of a list in which one row cannot be read
the others are taken.
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from hashlib import blake2b
from typing import Any

import msgspec

from rxflow._models.times import Instant
from rxflow._protocol.pages import MalformedRow, Page

_raw_rows = msgspec.json.Decoder(list[msgspec.Raw]).decode
_any_row = msgspec.json.Decoder(dict[str, Any]).decode


class RowDecoder:
    """Decoders of one kind of row, made once.

    Attributes:
        one: Reads a row.
        many: Reads a list of rows.
    """

    def __init__(self, row: Any, convert: Callable[[Any], Any] | None = None) -> None:
        """Make them.

        Args:
            row: The type of the rows.
            convert: What a row is in the words of all backends; the row itself if None.
        """
        one = msgspec.json.Decoder(row).decode
        many = msgspec.json.Decoder(tuple[row, ...]).decode
        self.one: Callable[[bytes | msgspec.Raw], Any] = one
        self.many: Callable[[bytes | msgspec.Raw], tuple[Any, ...]] = many
        if convert is not None:
            self.one = lambda raw: convert(one(raw))
            self.many = lambda raw: tuple(convert(row) for row in many(raw))


def page_of(rows: RowDecoder, body: bytes | msgspec.Raw, time: datetime | None) -> Page[Any]:
    """Read a list of rows, and say of those that cannot be read what can."""
    try:
        return Page(rows.many(body), time)
    except msgspec.ValidationError:
        good: list[Any] = []
        bad: list[MalformedRow] = []
        for raw in _raw_rows(body):
            try:
                good.append(rows.one(raw))
            except msgspec.ValidationError as error:
                bad.append(_malformed(raw, str(error), good[-1] if good else None))
        return Page(tuple(good), time, tuple(bad))


def _malformed(raw: msgspec.Raw, reason: str, before: Any) -> MalformedRow:
    """What can be read of a row that cannot; a list's neighbours tell about where it lies."""
    try:
        row = _any_row(raw)
    except msgspec.ValidationError:
        row = {}
    fields: dict[str, Any] = {"id": blake2b(bytes(raw), digest_size=16).hexdigest()}
    for field, kind in _PLACE.items():
        if field != "id" and hasattr(before, field):
            fields[field] = getattr(before, field)
        with suppress(msgspec.ValidationError):
            fields[field] = msgspec.convert(row.get(field), kind)
    return MalformedRow(reason=reason, **fields)


_PLACE = {"id": str, "flow_run_id": str, "timestamp": Instant, "created": Instant}
