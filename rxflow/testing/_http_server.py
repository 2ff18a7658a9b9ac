"""A fake server over real HTTP: a free loopback port, and a thread for each connection.

Belongs here: sockets and threads, all of which end with the server. Does not belong here: what a
request leads to, which is in `_fake_server.py`.
"""

import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, cast

import httpx

from rxflow._runtime.clocks import pause
from rxflow.testing._exchange import Handler, TruncatedResponse, run_steps
from rxflow.testing._hold import Hold

if TYPE_CHECKING:
    from rxflow.testing._websocket import Websocket

LOOPBACK = "127.0.0.1"

AnnounceTo = Callable[[str], "Callable[[Websocket], None] | None"]
"""Returns what talks to the client of a websocket, given its path."""

_STOP_INTERVAL = 0.02  # seconds until the accepting thread sees that it must stop
_CONNECTION_INTERVAL = 0.01  # seconds between two checks whether a waiting client is still there


@contextmanager
def serve(
    handler: Handler,
    wait: Callable[[float], object] | None,
    *,
    path: str = "/api",
    announce_to: AnnounceTo = lambda _: None,
) -> Generator[str]:
    """Serve HTTP requests while the block lasts.

    Args:
        handler: Starts the steps of a request; called from many threads. An httpx error that they
            raise closes the connection without a response.
        wait: Lets seconds of virtual time pass; None: the server waits in real time, and a client
            that disconnects meanwhile breaks the request off.
        path: The API's path on the server.
        announce_to: Returns, for the path of a websocket, what talks to its client; None to handle
            it as any request.

    Yields:
        The URL of the API, which ends in that path.
    """
    server = _Server(handler, wait, announce_to)
    thread = threading.Thread(
        target=server.serve_forever, args=(_STOP_INTERVAL,), name="rxflow-fake"
    )
    thread.start()
    try:
        yield f"http://{LOOPBACK}:{server.server_port}{path}"
    finally:
        server.shutdown()
        server.close_connections()
        server.server_close()  # waits for the threads of the connections
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # server_close() does not wait for daemon threads
    request_queue_size = 64

    def __init__(
        self,
        handler: Handler,
        wait: Callable[[float], object] | None,
        announce_to: AnnounceTo,
    ) -> None:
        self.handler = handler
        self.announce_to = announce_to
        self.wait = wait
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__((LOOPBACK, 0), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        """Close the connections that clients keep alive, so that their threads end."""
        with self._lock:
            for connection in self._open:
                with suppress(OSError):  # already closed
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report an error of the handler on stderr; ignore clients that have disconnected."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # header and body are two writes

    def do_GET(self) -> None:
        server = cast("_Server", self.server)
        if self.headers.get("upgrade", "").lower() == "websocket":
            talk = server.announce_to(self.path)
            if talk is not None:
                return self._open_websocket(talk)
        content = self.rfile.read(int(self.headers.get("content-length", 0)))
        url = f"http://{LOOPBACK}:{server.server_port}{self.path}"
        headers = list(self.headers.items())
        request = httpx.Request(self.command, url, headers=headers, content=content)
        try:
            response = run_steps(server.handler(request), self._wait)
        except TruncatedResponse as truncated:
            self.close_connection = True
            body = _body(truncated.response)
            self._send(truncated.response, body, length=len(body) // 2)
        except httpx.HTTPError:
            self.close_connection = True
        else:
            body = _body(response)
            self._send(response, body, length=len(body))
        return None

    do_POST = do_GET  # noqa: N815 - the base class finds methods by these names

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Log nothing; `FakePrefect3.requests` records the requests."""

    def _open_websocket(self, talk: "Callable[[Websocket], None]") -> None:
        from rxflow.testing._websocket import Websocket  # noqa: PLC0415 - needs an extra

        self.close_connection = True
        talk(Websocket(self.connection, self.path, self.headers.items()))

    def _send(self, response: httpx.Response, body: bytes, *, length: int) -> None:
        self.send_response_only(response.status_code)
        for name, value in response.headers.multi_items():
            if name not in {"content-length", "transfer-encoding"}:
                self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:length])

    def _wait(self, step: float | Hold) -> None:
        """Wait for a step, as long as the client stays connected."""
        wait = cast("_Server", self.server).wait
        if isinstance(step, Hold):
            while not step.wait(_CONNECTION_INTERVAL):
                self._require_connected()
        elif wait is not None:
            wait(step)
        else:
            until = time.monotonic() + step
            while (left := until - time.monotonic()) > 0:
                pause(min(left, _CONNECTION_INTERVAL))
                self._require_connected()

    def _require_connected(self) -> None:
        """Check that the client is still connected.

        Raises:
            ConnectionAbortedError: The client has disconnected, or the server is stopping.
        """
        readable, _, _ = select.select([self.connection], [], [], 0)
        if readable and not self.connection.recv(1, socket.MSG_PEEK):
            raise ConnectionAbortedError


def _body(response: httpx.Response) -> bytes:
    assert isinstance(response.stream, httpx.SyncByteStream)  # noqa: S101 - handlers are sync
    return b"".join(response.stream)
