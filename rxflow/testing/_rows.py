"""What rows of either fake server are made of: their type and their ids.

Belongs here: what both kinds of rows share. Does not belong here: which columns a row has, which is
in `_prefect3/rows.py` and `_prefect1/rows.py`.
"""

import uuid
from collections.abc import Callable, Collection, Container, Mapping
from datetime import datetime
from random import Random
from typing import Any

import msgspec

from rxflow._models.arguments import stored_id, utc_time
from rxflow._models.times import encode_time

Row = dict[str, Any]

Shuffle = Callable[[list[Row]], object]
"""Puts rows in another order, in place, before they are sorted."""


def columns(row: Mapping[str, Any]) -> Row:
    """Return the fields of a row that a caller has given, as the tables store them.

    Ids become text, and times those of the class `datetime` in UTC.
    """
    return {name: _stored(name, value) for name, value in row.items()}


def with_columns(noun: str, row: Row, given: Mapping[str, Any]) -> Row:
    """Return a row with the fields that a caller has given in place of its own.

    Args:
        noun: What the row stands for, for the error.
        row: The row, with every field that rows of its table have.
        given: The given fields.

    Raises:
        TypeError: Rows of this table have no such field, as if its name is misspelt.
    """
    unknown = sorted(given.keys() - row.keys())
    if unknown:
        raise TypeError(
            f"{unknown[0]!r} is neither an argument of this method nor a field of a {noun}; its "
            f"fields are {', '.join(sorted(row))}"
        )
    return row | columns(given)


def known_type(name: str, value: object, types: Collection[str]) -> str:
    """Return the type of a state that the server knows.

    Args:
        name: The argument's name, for the error.
        value: The type.
        types: The types that the server knows, as it spells them.

    Raises:
        ValueError: The server knows no such type.
    """
    if not isinstance(value, str) or value not in types:
        raise ValueError(
            f"{name}={value!r} is not the type of a state on this server; pass one of "
            f"{', '.join(types)}"
        )
    return str(value)


def known_id(name: str, row_id: object, table: Container[str]) -> str:
    """Return the id of a row that exists, as the table has it.

    Args:
        name: The argument's name, for the error.
        row_id: The id, text or a `uuid.UUID`.
        table: The rows by their ids.

    Raises:
        ValueError: The table has no such row.
    """
    known = stored_id(row_id)
    if known not in table:
        raise ValueError(
            f"{name}={row_id!r} is no row of the fake server; pass an id that one of its methods "
            "has returned"
        )
    return known


def encode_body(body: Any) -> bytes:
    """Encode a body as JSON, with times of any subclass of `datetime` that a test put into it."""
    return msgspec.json.encode(body, enc_hook=encode_time)


def _stored(name: str, value: Any) -> Any:
    match value:
        case uuid.UUID():
            return stored_id(value)
        case str() if name == "id" or name.endswith("_id"):
            return stored_id(value)
        case datetime():
            return utc_time(name, value)
        case _:
            return value


def uuid4(random: Random) -> str:
    """Draw a version 4 UUID, which holds random bits only.

    Args:
        random: Draws the bits; the same seed draws the same ids.
    """
    return str(uuid.UUID(int=random.getrandbits(128), version=4))


def uuid7(now: datetime, random: Random) -> str:
    """Draw a version 7 UUID, which begins with a time, so that ids sort by time, to the ms.

    Args:
        now: The time.
        random: Draws the other bits; the same seed draws the same bits.
    """
    ms = int(now.timestamp() * 1000) & ((1 << 48) - 1)
    value = (ms << 80) | random.getrandbits(80)
    value = (value & ~(0xF << 76)) | (7 << 76)
    return str(uuid.UUID(int=(value & ~(0x3 << 62)) | (0x2 << 62)))
