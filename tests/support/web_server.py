"""An ASGI app served by uvicorn in a thread."""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import uvicorn
from sse_starlette.sse import AppStatus


@contextmanager
def served(app: Callable[..., Any], port: int = 0) -> Generator[str]:
    """Serve an app while the block lasts; streams that are open at its end are ended.

    Args:
        app: The app.
        port: The port; 0 for a free one.

    Yields:
        Its URL, without a slash at the end.
    """
    server = _Server(uvicorn.Config(app, port=port, log_level="warning", lifespan="on", ws="none"))
    thread = threading.Thread(target=server.run, name="web server")
    thread.start()
    try:
        server.is_ready.wait()
        (listener,) = server.servers
        bound = listener.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{bound}"
    finally:
        # A signal does both in a process of its own.
        AppStatus.should_exit = server.should_exit = True
        thread.join()
        AppStatus.should_exit = False


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_ready = threading.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.is_ready.set()
