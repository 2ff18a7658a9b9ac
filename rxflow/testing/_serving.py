"""A fake server over real HTTP: a free loopback port, a thread for each connection, none left.

What is answered is decided elsewhere; here are only sockets and threads.
"""

import socket
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

import httpx

LOOPBACK = "127.0.0.1"

_LOOK_UP = 0.02  # seconds until the accepting thread sees that it is to stop


@contextmanager
def serve(handle: Callable[[httpx.Request], httpx.Response]) -> Generator[str]:
    """Answer HTTP requests while the block lasts.

    Args:
        handle: Answers one request; called from many threads. An httpx error that it raises breaks
            off the connection without an answer.

    Yields:
        The URL of the API, which ends in ``/api``.
    """
    server = _Server(handle)
    thread = threading.Thread(target=server.serve_forever, args=(_LOOK_UP,), name="rxflow-fake")
    thread.start()
    try:
        yield f"http://{LOOPBACK}:{server.server_port}/api"
    finally:
        server.shutdown()
        server.break_off()
        server.server_close()  # waits for the threads of the connections
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # those would not be waited for
    request_queue_size = 64

    def __init__(self, handle: Callable[[httpx.Request], httpx.Response]) -> None:
        self.handle_one = handle
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

    def break_off(self) -> None:
        """End the connections that clients keep alive, so that their threads end."""
        with self._lock:
            for connection in self._open:
                with suppress(OSError):  # gone by itself
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report what `handle` raised, on stderr; that a client has gone is no news."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # header and body are two writes

    def do_GET(self) -> None:
        server = cast("_Server", self.server)
        content = self.rfile.read(int(self.headers.get("content-length", 0)))
        url = f"http://{LOOPBACK}:{server.server_port}{self.path}"
        headers = list(self.headers.items())
        request = httpx.Request(self.command, url, headers=headers, content=content)
        try:
            response = server.handle_one(request)
        except httpx.HTTPError:
            self.close_connection = True
            return
        assert isinstance(response.stream, httpx.SyncByteStream)  # noqa: S101 - the handler is sync
        body = b"".join(response.stream)
        self.send_response_only(response.status_code)
        for name, value in response.headers.multi_items():
            if name not in {"content-length", "transfer-encoding"}:
                self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - the base class finds methods by these names

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing: whoever tests a pipeline looks at `FakePrefect3.requests`."""
