"""The server's side of a websocket, over the connection of a request that a fake server received.

Imports websockets, an extra. Belongs here: opening, reading and sending. Does not belong here: what
is said, which is in `_prefect3/announcer.py`.
"""

import select
import socket
from collections.abc import Iterable

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

_RECEIVED = 65_536


class Websocket:
    """A websocket to one client, used by one thread."""

    def __init__(
        self, connection: socket.socket, path: str, headers: Iterable[tuple[str, str]]
    ) -> None:
        """Accept the client's request.

        Args:
            connection: The connection that the request came over.
            path: The request's path.
            headers: The request's headers.
        """
        self._connection = connection
        self._protocol = ServerProtocol(subprotocols=[Subprotocol("prefect")])
        self._messages: list[bytes] = []
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers)
        self._protocol.receive_data(f"GET {path} HTTP/1.1\r\n{fields}\r\n".encode("latin-1"))
        for request in self._protocol.events_received():
            if isinstance(request, Request):
                self._protocol.send_response(self._protocol.accept(request))
        self._flush()

    @property
    def is_open(self) -> bool:
        """Whether neither side has closed it."""
        return self._protocol.state is State.OPEN

    def receive(self) -> bytes | None:
        """Wait for a message; None if the client closes."""
        while self.is_open and not self._messages:
            self.wait(None)
        return self._messages.pop(0) if self._messages else None

    def wait(self, seconds: float | None) -> None:
        """Wait until the client sends something, for some seconds at most."""
        readable, _, _ = select.select([self._connection], [], [], seconds)
        if not readable:
            return
        received = self._connection.recv(_RECEIVED)
        if received:
            self._protocol.receive_data(received)
        else:
            self._protocol.receive_eof()
        for event in self._protocol.events_received():
            if isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                self._messages.append(bytes(event.data))
        self._flush()

    def send(self, text: bytes) -> None:
        """Send a message."""
        self._protocol.send_text(text)
        self._flush()

    def close(self, code: int, reason: str) -> None:
        """Close it."""
        self._protocol.send_close(code, reason)
        self._flush()

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._connection.sendall(data)
            else:
                self._connection.shutdown(socket.SHUT_WR)
