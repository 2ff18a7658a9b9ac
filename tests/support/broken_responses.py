"""Responses that break off, stall, arrive too slowly or are too long, as scripts of a server."""

import gzip
import zlib

from wire_server import (
    Script,
    ServerConnection,
    close_unanswered,
    drip_response,
    http_response,
    reset_unanswered,
    respond,
)

MIB = 1024 * 1024

OK = b"HTTP/1.1 200 OK\r\n"
_HALF = http_response(b"[1, 2, 3]")[:-4]


def close_half_way(connection: ServerConnection) -> None:
    """Close the connection in the middle of a response."""
    connection.read()
    connection.send(_HALF)


def reset_half_way(connection: ServerConnection) -> None:
    """Reset the connection in the middle of a response, long enough that the client reads it."""
    connection.read()
    connection.send(http_response(bytes(30 * MIB))[: -6 * MIB])
    connection.reset()


def stall_half_way(connection: ServerConnection) -> None:
    """Stall in the middle of a response."""
    connection.read()
    connection.send(_HALF)
    connection.stall()


def stall_before_end(connection: ServerConnection) -> None:
    """Stall in a response that ends when the connection is closed."""
    connection.read()
    connection.send(OK + b"\r\n[]")
    connection.stall()


_GZIP_HEAD_OF_A_NAMED_FILE = gzip.compress(b"")[:3] + b"\x08" + bytes(6)
_EMPTY_DEFLATE_BLOCK = b"\x00\x00\x00\xff\xff"

DRIPS = {
    "a body of known length": (OK + b"Content-Length: 100000\r\n\r\n", b"x"),
    "a body without a length": (OK + b"\r\n", b"x"),
    "chunks": (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "the head": (OK + b"X-Padding: ", b"x"),
    "before the head": (b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
    "the head of a compressed body": (
        OK + b"Content-Encoding: gzip\r\n\r\n" + _GZIP_HEAD_OF_A_NAMED_FILE,
        b"x",
    ),
    "an empty compressed body": (
        OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"")[:10],
        _EMPTY_DEFLATE_BLOCK,
    ),
}
"""Starts of responses, and what is sent after them byte by byte, by the part that never ends."""


def zip_bomb(mebibytes: int) -> bytes:
    """Compress so many MiB of zeros, quickly."""
    squeeze = zlib.compressobj(wbits=31)
    head = squeeze.compress(b"") + squeeze.flush(zlib.Z_FULL_FLUSH)
    block = squeeze.compress(bytes(MIB)) + squeeze.flush(zlib.Z_FULL_FLUSH)
    return head + block * mebibytes


BROKEN: dict[str, Script] = {
    "closed": close_unanswered,
    "reset": reset_unanswered,
    "closed half way": close_half_way,
    "reset half way": reset_half_way,
    "too long": respond(http_response(zip_bomb(64), content_encoding="gzip")),
    "not gzip": respond(http_response(b"[]", content_encoding="gzip")),
    "unknown coding": respond(http_response(b"[]" * 100_000, content_encoding="br")),
    "too slow": drip_response(*DRIPS["a body of known length"]),
    "not HTTP": respond(b"hello?\r\n\r\n"),
}
"""Scripts that lead to a failure."""
