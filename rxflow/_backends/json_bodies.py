"""JSON bodies: encode requests, and decode replies that are not quite JSON.

Belongs here: the JSON of any server, whatever it holds. Does not belong here: rows
(`row_decoder`), and which failure an unreadable body leads to (`reply_failures`).
"""

import re
from collections.abc import Callable
from typing import TypeVar

import msgspec

T = TypeVar("T")

JSON_HEADERS = (("Content-Type", "application/json"),)
"""The headers of a request whose body is JSON."""

DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding a body of unknown contents may raise."""

encode_json = msgspec.json.Encoder().encode


class UnreadableBody(Exception):
    """A body that cannot be decoded.

    Attributes:
        reason: What is wrong with it, with the JSON path where there is one.
        is_json: Whether it is JSON all the same, of another shape than expected or nested too deep.
    """

    def __init__(self, reason: str, *, is_json: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_json = is_json


def decode_body(body: bytes, decode: Callable[[bytes], T]) -> T:
    """Decode a body, and repair it first if it is not quite JSON.

    Args:
        body: The body of a reply.
        decode: Decodes it; may raise `DECODE_ERRORS`.

    Raises:
        UnreadableBody: It cannot be decoded, as it is or repaired.
    """
    try:
        return decode(body)
    except msgspec.ValidationError as error:
        raise UnreadableBody(str(error), is_json=True) from error
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass  # not JSON as it is
    except RecursionError as error:
        raise UnreadableBody("it is nested too deep", is_json=True) from error
    try:
        return decode(_repaired(body))
    except (msgspec.DecodeError, RecursionError) as error:
        raise UnreadableBody(str(error), is_json=False) from error


_SURROGATES = re.compile(
    rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)


def _repaired(body: bytes) -> bytes:
    """Replace half surrogate pairs and bytes that are not UTF-8, both of which Python writes."""
    text = body.decode("utf-8", "replace").encode()
    return _SURROGATES.sub(lambda match: match[0] if len(match[0]) != 6 else rb"\ufffd", text)
