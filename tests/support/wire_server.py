"""A server on loopback that runs a script per connection, down to single bytes and resets.

A script is a function of a `ServerConnection`: it reads requests and sends any bytes; when it
returns, the connection is closed. No script sleeps: one that waits does so until the client has
disconnected or the server is released.
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

_POLL_INTERVAL = 0.01  # seconds between two dripped bytes, and between two checks of the client


class Request(NamedTuple):
    """A request as it was received.

    Attributes:
        target: The target of the request line.
        headers: Keyed by lower-cased name.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


class ServerConnection:
    """The server's side of one connection."""

    def __init__(self, server: "WireServer", connected: socket.socket) -> None:
        self._server = server
        self._socket = connected
        self._received = b""

    def read(self) -> Request:
        """Read a whole request; the script ends if the client disconnects."""
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
        self._socket.sendall(text)

    def drip(self, text: bytes) -> None:
        """Send bytes one by one."""
        for byte in text:
            self._socket.sendall(bytes([byte]))
            self._server.released.wait(_POLL_INTERVAL)

    def stall(self) -> None:
        """Wait until the client disconnects or the server is released."""
        self._server.stalling.set()
        self._socket.setblocking(False)
        while not self._server.released.wait(_POLL_INTERVAL):
            with suppress(BlockingIOError, ssl.SSLWantReadError):
                if not self._socket.recv(4096):
                    return
        self._socket.setblocking(True)

    def reset(self) -> None:
        """Close the connection by RST."""
        linger = struct.pack("ii", 1, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._socket.close()

    def start_tls(self, context: ssl.SSLContext) -> None:
        """Continue over TLS."""
        self._socket = context.wrap_socket(self._socket.dup(), server_side=True)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _receive(self) -> None:
        received = self._socket.recv(65536)
        if not received:
            raise ConnectionAbortedError
        self._received += received


Script: TypeAlias = Callable[[ServerConnection], None]


def http_response(body: Any = b"[]", status: str = "200 OK", **headers: str) -> bytes:
    """Format a complete response.

    Args:
        body: The body; bytes are sent as they are, anything else as JSON.
        status: The status line without the version.
        headers: Header fields, with "_" for "-"; an empty one is left out.
    """
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"content_type": "application/json", "content_length": str(len(raw)), **headers}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in fields.items() if value]
    return "\r\n".join((f"HTTP/1.1 {status}", *lines, "", "")).encode("latin-1") + raw


def respond(*responses: bytes) -> Script:
    """Make a script that reads a request before each response, and closes after the last one."""

    def script(connection: ServerConnection) -> None:
        for text in responses:
            connection.read()
            connection.send(text)

    return script


def respond_always(response: bytes) -> Script:
    """Make a script that sends the same response to each request."""

    def script(connection: ServerConnection) -> None:
        while True:
            connection.read()
            connection.send(response)

    return script


def respond_then(script: Script) -> Script:
    """Make a script that sends the response ``[0]`` before another script."""

    def after_response(connection: ServerConnection) -> None:
        connection.read()
        connection.send(http_response(b"[0]"))
        script(connection)

    return after_response


def drip_response(start: bytes, text: bytes) -> Script:
    """Make a script that sends the start of a response, and then a text for ever, byte by byte."""

    def script(connection: ServerConnection) -> None:
        connection.read()
        connection.send(start)
        for piece in repeat(text):
            connection.drip(piece)

    return script


def close_unanswered(connection: ServerConnection) -> None:
    """Read a request and close the connection."""
    connection.read()


def reset_unanswered(connection: ServerConnection) -> None:
    """Read a request and reset the connection."""
    connection.read()
    connection.reset()


def stall_response(connection: ServerConnection) -> None:
    """Read a request and stall before the response."""
    connection.read()
    connection.stall()


class WireServer:
    """The server.

    Attributes:
        requests: The requests that were received, in order.
        connections: How many connections were accepted.
        stalling: Set when a script stalls.
        released: Set it to end all stalling.
    """

    def __init__(self, *scripts: Script, tls: ssl.SSLContext | None = None) -> None:
        """Listen on a free port.

        Args:
            scripts: One for each connection; further connections are closed at once.
            tls: The server's TLS context; None for plain HTTP.
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
        """Release stalling scripts, and close all connections."""
        self.released.set()
        self._waker.connect(self._listener.getsockname())
        self._threads[0].join()
        self._waker.close()
        for connected in self._open:
            with suppress(OSError):  # its script has ended
                socket.socket.shutdown(connected, socket.SHUT_RDWR)
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
            connected, client = self._listener.accept()
            if client == self._waker.getsockname():
                connected.close()
                return
            self.connections += 1
            arguments = (connected, next(self._scripts))
            thread = threading.Thread(target=self._run, args=arguments, name="wire-connection")
            self._threads.append(thread)
            thread.start()

    def _run(self, connected: socket.socket, script: Script) -> None:
        with suppress(OSError):  # the client disconnected, possibly during the handshake
            if self._tls is not None:
                connected = self._tls.wrap_socket(connected, server_side=True)
            self._open.append(connected)
            with connected:
                script(ServerConnection(self, connected))
