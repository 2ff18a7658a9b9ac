"""Response bodies: compression, and the longest body that is read."""

import gzip
import tracemalloc

import pytest
from broken_responses import MIB, zip_bomb
from http_calls import GET, ConnectTo, failure_of, reply_of
from wire_server import ServerConnection, WireServer, http_response, respond

from rxflow._net.response_bodies import MAX_BODY
from rxflow._protocol.failures import FailureKind

pytestmark = pytest.mark.timeout(60)


def test_only_gzip_is_accepted(connect_to: ConnectTo) -> None:
    """Only gzip is offered to the server, and it is decompressed."""
    response = http_response(gzip.compress(b"[1,2]"), content_encoding="gzip")
    with WireServer(respond(response)) as server, connect_to(server) as transport:
        assert reply_of(transport.send(GET)).body == b"[1,2]"
        assert server.requests[0].headers["accept-encoding"] == "gzip"


@pytest.mark.parametrize("size", [1, 100, 10**9], ids=["bytes", "pieces", "whole"])
def test_a_response_in_chunks_is_one_response(size: int, connect_to: ConnectTo) -> None:
    """A compressed body is put together, however it is divided into chunks."""
    body = gzip.compress(b'[{"id":"1"}]')
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
    with (
        WireServer(respond(head + chunks + b"0\r\n\r\n")) as server,
        connect_to(server) as transport,
    ):
        assert reply_of(transport.send(GET)).body == b'[{"id":"1"}]'


@pytest.mark.parametrize("coding", ["gzip", "identity"])
def test_a_body_of_the_greatest_length_is_read(coding: str, connect_to: ConnectTo) -> None:
    """A body of `MAX_BODY` bytes is read, compressed or not."""
    body = gzip.compress(bytes(MAX_BODY), 1) if coding == "gzip" else bytes(MAX_BODY)
    response = http_response(body, content_encoding=coding)
    with WireServer(respond(response)) as server, connect_to(server) as transport:
        assert len(reply_of(transport.send(GET)).body) == MAX_BODY


def test_a_longer_body_is_a_page_limit(connect_to: ConnectTo) -> None:
    """A body with one more byte is PAGE_LIMIT, so that fewer rows are requested."""
    with (
        WireServer(respond(http_response(bytes(MAX_BODY + 1)))) as server,
        connect_to(server) as transport,
    ):
        assert failure_of(transport.send(GET)).kind is FailureKind.PAGE_LIMIT


PACKED = gzip.compress(b"[1, 2, 3]")


@pytest.mark.parametrize(
    ("start", "tail"), [(zip_bomb(1024), 0), (PACKED, 100)], ids=["bomb", "tail"]
)
def test_no_more_than_the_greatest_length_is_held(
    start: bytes, tail: int, connect_to: ConnectTo
) -> None:
    """Of a body that inflates to a GiB, or has a long tail, no more is kept in memory."""
    length = len(start) + tail * MIB
    mebibyte = bytes(MIB)

    def script(connection: ServerConnection) -> None:
        connection.read()
        connection.send(http_response(start, content_encoding="gzip", content_length=str(length)))
        for _ in range(tail):
            connection.send(mebibyte)

    with WireServer(script) as server, connect_to(server) as transport:
        tracemalloc.start()
        try:
            transport.send(GET)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 2.5 * MAX_BODY


def test_a_zip_bomb_is_a_page_limit(connect_to: ConnectTo) -> None:
    """A short response that inflates beyond the greatest length is PAGE_LIMIT as well."""
    response = http_response(zip_bomb(64), content_encoding="gzip")
    with WireServer(respond(response)) as server, connect_to(server) as transport:
        assert failure_of(transport.send(GET)).kind is FailureKind.PAGE_LIMIT


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (b"[1, 2, 3]", "gzip"),
        (PACKED[:4] + b"\xff" * 20, "gzip"),
        (PACKED[:-6], "gzip"),
        (PACKED[:-8] + bytes(8), "gzip"),
        (b"\x00", "br"),
        (PACKED, "gzip, gzip"),
    ],
    # The bytes would be no ids: gzip writes the time into its header.
    ids=["plain", "broken data", "cut in the checksum", "wrong checksum", "brotli", "gzip in gzip"],
)
def test_a_body_that_cannot_be_decompressed_is_unreadable(
    body: bytes, coding: str, connect_to: ConnectTo
) -> None:
    """A response that is broken gzip, or in another coding, is UNREADABLE."""
    response = http_response(body, content_encoding=coding)
    with WireServer(respond(response)) as server, connect_to(server) as transport:
        assert failure_of(transport.send(GET)).kind is FailureKind.UNREADABLE


@pytest.mark.parametrize(
    ("body", "coding", "read"),
    [
        (b"", "gzip", b""),
        (PACKED + b"junk" * MIB, "gzip", b"[1, 2, 3]"),
        (PACKED, "GZip", b"[1, 2, 3]"),
        (b"[]", "identity", b"[]"),
    ],
    ids=["empty", "tail", "capitals", "identity"],
)
def test_harmless_oddities_of_compression(
    body: bytes, coding: str, read: bytes, connect_to: ConnectTo
) -> None:
    """An empty body is no broken gzip, and what follows a compressed body is ignored."""
    response = http_response(body, content_encoding=coding)
    with WireServer(respond(response)) as server, connect_to(server) as transport:
        assert reply_of(transport.send(GET)).body == read
