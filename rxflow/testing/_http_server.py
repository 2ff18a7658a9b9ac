"""A fake server over real HTTP: a free loopback port, a thread for each connection, none left.

What is answered is decided elsewhere; here are only sockets and threads.
"""

import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

import httpx

from rxflow._runtime.clocks import pause
from rxflow.testing._exchange import CutShort, Handler, carry_out
from rxflow.testing._hold import Hold

LOOPBACK = "127.0.0.1"

_LOOK_UP = 0.02  # seconds until the accepting thread sees that it is to stop
_BEAT = 0.01  # seconds between two looks whether a client that waits is still there


@contextmanager
def serve(
    handler: Handler, wait: Callable[[float], object] | None, *, path: str = "/api"
) -> Generator[str]:
    """Answer HTTP requests while the block lasts.

    Args:
        handler: What a request leads to; called from many threads. An httpx error that it raises
            breaks off the connection without an answer.
        wait: Lets seconds pass, at once; None: they are really waited for, and a client that goes
            meanwhile breaks the request off.
        path: Where on the server the API is.

    Yields:
        The URL of the API, which ends in that path.
    """
    server = _Server(handler, wait)
    thread = threading.Thread(target=server.serve_forever, args=(_LOOK_UP,), name="rxflow-fake")
    thread.start()
    try:
        yield f"http://{LOOPBACK}:{server.server_port}{path}"
    finally:
        server.shutdown()
        server.break_off()
        server.server_close()  # waits for the threads of the connections
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # those would not be waited for
    request_queue_size = 64

    def __init__(self, handler: Handler, wait: Callable[[float], object] | None) -> None:
        self.handler = handler
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

    def break_off(self) -> None:
        """End the connections that clients keep alive, so that their threads end."""
        with self._lock:
            for connection in self._open:
                with suppress(OSError):  # gone by itself
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report what the handler raised, on stderr; that a client has gone is no news."""
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
            response = carry_out(server.handler(request), self._wait)
        except CutShort as short:
            self.close_connection = True
            body = _body(short.response)
            self._send(short.response, body, length=len(body) // 2)
        except httpx.HTTPError:
            self.close_connection = True
        else:
            body = _body(response)
            self._send(response, body, length=len(body))

    do_POST = do_GET  # noqa: N815 - the base class finds methods by these names

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing: whoever tests a pipeline looks at `FakePrefect3.requests`."""

    def _send(self, response: httpx.Response, body: bytes, *, length: int) -> None:
        self.send_response_only(response.status_code)
        for name, value in response.headers.multi_items():
            if name not in {"content-length", "transfer-encoding"}:
                self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:length])

    def _wait(self, step: float | Hold) -> None:
        """Wait as long as the client does."""
        wait = cast("_Server", self.server).wait
        if isinstance(step, Hold):
            while not step.wait(_BEAT):
                self._look()
        elif wait is not None:
            wait(step)
        else:
            until = time.monotonic() + step
            while (left := until - time.monotonic()) > 0:
                pause(min(left, _BEAT))
                self._look()

    def _look(self) -> None:
        """See whether the client has gone.

        Raises:
            ConnectionAbortedError: It has, or the server is to stop.
        """
        readable, _, _ = select.select([self.connection], [], [], 0)
        if readable and not self.connection.recv(1, socket.MSG_PEEK):
            raise ConnectionAbortedError


def _body(response: httpx.Response) -> bytes:
    assert isinstance(response.stream, httpx.SyncByteStream)  # noqa: S101 - handlers are sync
    return b"".join(response.stream)
