"""What the answers of all servers have in common: rows, JSON as it comes, times, and what to say.

A tolerant reader: unknown fields are passed over, and of a list in which one row cannot be read
the others are taken.
"""

import re
from collections.abc import Callable

import msgspec

from rxflow._backends.status_failures import unreadable
from rxflow._protocol.failures import Reply
from rxflow._protocol.queries import Query

JSON_HEADERS = (("Content-Type", "application/json"),)
"""The headers of a request whose body is JSON."""

encode_json = msgspec.json.Encoder().encode


def read_body(
    query: Query,
    body: bytes,
    page: Callable[[bytes], Reply],
    otherwise: Callable[[str], Reply],
) -> Reply:
    """Read an answer, mended if it is not quite JSON.

    Args:
        query: What it answers.
        body: The answer.
        page: Reads it; may raise what msgspec raises.
        otherwise: Says what an answer means that is no JSON at all, given what is wrong with it.
    """
    try:
        return page(body)
    except msgspec.ValidationError as error:
        return unreadable(query, str(error))
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass  # not JSON as it stands
    except RecursionError:
        return unreadable(query, "it is nested too deep")
    try:
        return page(_repaired(body))
    except (msgspec.DecodeError, RecursionError) as error:
        return otherwise(str(error))


_SURROGATES = re.compile(
    rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)


def _repaired(body: bytes) -> bytes:
    """JSON as Python writes it may hold half a surrogate pair, or bytes that are not UTF-8."""
    text = body.decode("utf-8", "replace").encode()
    return _SURROGATES.sub(lambda match: match[0] if len(match[0]) != 6 else rb"\ufffd", text)
