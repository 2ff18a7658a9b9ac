"""A server on loopback that plays a script for each connection, down to single bytes and resets.

A script is a function of a `Talk`: it reads requests and sends whatever bytes it likes; when it
returns, the connection is closed. Nothing here sleeps to be right: a script that waits, waits until
its peer is gone or the server is released.
"""

import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import chain, repeat
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeAlias

_BEAT = 0.01  # seconds between two dripped bytes, or between two looks whether the peer is gone


class Request(NamedTuple):
    """A request as it came.

    Attributes:
        target: As in the request line.
        headers: By lower-case name.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


class Talk:
    """One connection, from the server's side."""

    def __init__(self, server: "WireServer", connection: socket.socket) -> None:
        self._server = server
        self._connection = connection
        self._received = b""

    def read(self) -> Request:
        """Read a whole request; the peer's leaving ends the script."""
        while b"\r\n\r\n" not in self._received:
            self._receive()
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        line, *fields = head.decode("latin-1").split("\r\n")
        method, target, _ = line.split(" ")
        pairs = (field.partition(":") for field in fields)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        length = int(headers.get("content-length", "0"))
        while len(self._received) < length:
            self._receive()
        body, self._received = self._received[:length], self._received[length:]
        self._server.requests.append(Request(method, target, headers, body))
        return self._server.requests[-1]

    def send(self, text: bytes) -> None:
        """Send bytes."""
        self._connection.sendall(text)

    def drip(self, text: bytes) -> None:
        """Send bytes one by one."""
        for byte in text:
            self._connection.sendall(bytes([byte]))
            self._server.released.wait(_BEAT)

    def stall(self) -> None:
        """Do nothing until the peer leaves or the server is released."""
        self._server.stalling.set()
        self._connection.setblocking(False)
        while not self._server.released.wait(_BEAT):
            with suppress(BlockingIOError, ssl.SSLWantReadError):
                if not self._connection.recv(4096):
                    return
        self._connection.setblocking(True)

    def reset(self) -> None:
        """Close the connection by RST, without a word of farewell."""
        linger = struct.pack("ii", 1, 0)
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._connection.close()

    def _receive(self) -> None:
        received = self._connection.recv(65536)
        if not received:
            raise ConnectionAbortedError
        self._received += received


Script: TypeAlias = Callable[[Talk], None]


def answer(body: Any = b"[]", status: str = "200 OK", **headers: str) -> bytes:
    """Write a whole answer: bytes as they are, anything else as JSON.

    Args:
        body: The body.
        status: The status line without the version.
        headers: Header fields, with "_" for "-"; an empty one is left out.
    """
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"content_type": "application/json", "content_length": str(len(raw)), **headers}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in fields.items() if value]
    return "\r\n".join((f"HTTP/1.1 {status}", *lines, "", "")).encode("latin-1") + raw


def answering(*answers: bytes) -> Script:
    """Make a script that reads a request before each answer, and closes after the last."""

    def script(talk: Talk) -> None:
        for text in answers:
            talk.read()
            talk.send(text)

    return script


def forever(text: bytes) -> Script:
    """Make a script that gives one answer to each request."""

    def script(talk: Talk) -> None:
        while True:
            talk.read()
            talk.send(text)

    return script


def leave(talk: Talk) -> None:
    """Read a request and close the connection without a word."""
    talk.read()


def slam(talk: Talk) -> None:
    """Read a request and reset the connection."""
    talk.read()
    talk.reset()


def kept(then: Script) -> Script:
    """Answer one request, and only then do something."""

    def script(talk: Talk) -> None:
        talk.read()
        talk.send(answer(b"[0]"))
        then(talk)

    return script


def dripping(start: bytes, text: bytes) -> Script:
    """Make a script that begins an answer and goes on with it for ever, byte by byte."""

    def script(talk: Talk) -> None:
        talk.read()
        talk.send(start)
        for piece in repeat(text):
            talk.drip(piece)

    return script


def stall(talk: Talk) -> None:
    """Stall before the answer."""
    talk.read()
    talk.stall()


class WireServer:
    """The server.

    Attributes:
        requests: What was asked, in order.
        connections: How many connections came.
        stalling: Set when a script stalls.
        released: Set it to end all stalling.
    """

    def __init__(self, *scripts: Script, tls: ssl.SSLContext | None = None) -> None:
        """Listen on a free port.

        Args:
            scripts: One for each connection; further connections are closed at once.
            tls: How to speak TLS; None to speak plainly.
        """
        self.requests: list[Request] = []
        self.connections = 0
        self.stalling = threading.Event()
        self.released = threading.Event()
        self._scripts: Iterator[Script] = chain(scripts, repeat(lambda _: None))
        self._tls = tls
        self._waker = socket.socket()
        self._waker.bind(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._serve, name="wire-server")]
        self._threads[0].start()

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def url(self) -> str:
        """The base URL of an API."""
        return f"http{'s' if self._tls else ''}://{self.address}/api"

    def close(self) -> None:
        """Release whoever waits, and end all connections."""
        self.released.set()
        self._waker.connect(self._listener.getsockname())
        self._threads[0].join()
        self._waker.close()
        for connection in self._open:
            with suppress(OSError):  # its script is over
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def __enter__(self) -> Self:
        """Return the server."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def _serve(self) -> None:
        while True:
            connection, peer = self._listener.accept()
            if peer == self._waker.getsockname():
                connection.close()
                return
            self.connections += 1
            play = (connection, next(self._scripts))
            thread = threading.Thread(target=self._play, args=play, name="wire-connection")
            self._threads.append(thread)
            thread.start()

    def _play(self, connection: socket.socket, script: Script) -> None:
        with suppress(OSError):  # the peer left, before the handshake was over or after
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            self._open.append(connection)
            with connection:
                script(Talk(self, connection))
