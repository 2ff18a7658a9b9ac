"""A relay of TCP connections to another port, which can break all of them off or lose replies."""

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
        self._is_mute = False
        self._is_shut = False
        self._sockets: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def mute(self) -> None:
        """Lose what the server sends, on connections that are there and on later ones."""
        self._is_mute = True

    def shut(self) -> None:
        """Reset all connections, and close each later one at once."""
        self._is_shut = True
        self.cut()

    def restore(self) -> None:
        """Relay connections as at first, but reset those from which something was lost."""
        if self._is_mute:
            self.cut()
        self._is_mute = self._is_shut = False

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
            if self._is_shut:
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                client.close()
                continue
            with self._lock:
                self._sockets |= {client, server}
            for ends in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._carry, args=ends, daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, is_reply: bool) -> None:
        with suppress(OSError):
            while data := source.recv(_BLOCK):
                if not (is_reply and self._is_mute):
                    sink.sendall(data)
        with self._lock:
            self._sockets -= {source, sink}
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
