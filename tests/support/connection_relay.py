"""A relay of TCP connections to another port, which can break all of them off."""

import socket
import struct
import threading
from contextlib import suppress

_BLOCK = 65_536
_RESET = struct.pack("ii", 1, 0)  # for SO_LINGER: close with RST


class ConnectionRelay:
    """Relays connections on a port of its own to another one of this machine.

    A client connects to it as to the server; while the server is down, its connections break.

    Attributes:
        port: The port to connect to.
    """

    def __init__(self, target: int) -> None:
        """Listen on a free port.

        Args:
            target: The port of the server.
        """
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> int:
        """Reset all connections, in the middle of whatever they carry; return how many."""
        with self._lock:
            cut = list(self._sockets)
            self._sockets.clear()
        for each in cut:
            with suppress(OSError):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        return len(cut) // 2

    def close(self) -> None:
        """Listen no longer, and reset all connections."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                client.close()
                continue
            with self._lock:
                self._sockets |= {client, server}
            for ends in ((client, server), (server, client)):
                threading.Thread(target=self._carry, args=ends, daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(_BLOCK):
                sink.sendall(data)
        with self._lock:
            self._sockets -= {source, sink}
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
