"""Response bodies: read and decompress them up to a maximum length.

Belongs here: bytes. Does not belong here: JSON (`_backends`).
"""

import re
import zlib

import httpx

from rxflow._backends.backend import HttpResponse, HttpResult
from rxflow._protocol.failures import Failure, FailureKind

MAX_BODY = 32 * 1024 * 1024
"""Bytes of the longest decompressed body; a longer one is a page limit: request fewer rows."""


class BodyReader:
    """Reads a response to its end, or until its decompressed body is too long.

    Decompresses by itself: httpx decompresses each chunk whole, and a chunk may be a zip bomb.
    """

    def __init__(self, response: httpx.Response) -> None:
        """Start with the head of a response.

        Args:
            response: A response whose body was not read yet.
        """
        self._response = response
        coding = response.headers.get("content-encoding", "identity").lower()
        self._gunzip = zlib.decompressobj(16 + zlib.MAX_WBITS) if coding == "gzip" else None
        self._body = bytearray()
        self._failure: Failure | None = None
        if coding not in {"identity", "gzip"}:
            self._failure = _unreadable("The response is compressed, but not by gzip")

    def add(self, chunk: bytes) -> bool:
        """Add a chunk of the body.

        Returns:
            Whether to read on; False once the response is known to be a failure.
        """
        if self._gunzip is None:
            self._body += chunk
        elif not self._gunzip.eof:  # after its end it would keep every chunk in memory
            try:
                self._body += self._gunzip.decompress(chunk, MAX_BODY + 1 - len(self._body))
            except zlib.error:
                self._failure = _unreadable("The response cannot be decompressed")
        if len(self._body) > MAX_BODY:
            self._failure = Failure(kind=FailureKind.PAGE_LIMIT, text=_TOO_LONG)
        return self._failure is None

    def end(self) -> HttpResult:
        """Return what the response is, once `add` returned False or there are no more chunks."""
        if self._gunzip is not None and self._body and not self._gunzip.eof:
            self._failure = self._failure or _unreadable("The response was cut short")
        if self._failure is not None:
            return self._failure
        if self._response.status_code == 400 and _HTTP_TO_TLS.search(self._body[:_ERROR_PAGE]):
            return _WRONG_SCHEME
        return HttpResponse(
            status=self._response.status_code,
            headers=dict(self._response.headers.items()),  # httpx has lower-cased the names
            body=bytes(self._body),
        )


# What nginx, the server of Go and Apache reply to plain HTTP on a port that expects TLS.
_HTTP_TO_TLS = re.compile(
    rb"plain HTTP request was sent to HTTPS port|HTTP request to an HTTPS server"
    rb"|speaking plain HTTP to an SSL-enabled",
    re.IGNORECASE,
)
_ERROR_PAGE = 4096  # bytes that are searched
_WRONG_SCHEME = Failure(
    kind=FailureKind.WRONG_SCHEME,
    text="The server speaks TLS; use a URL that begins with https://",
)


def _unreadable(text: str) -> Failure:
    return Failure(kind=FailureKind.UNREADABLE, text=text)


# The text is shown when even one row is too long: until then fewer rows are requested.
_TOO_LONG = f"A response with one row is longer than {MAX_BODY // 1024 // 1024} MiB"
