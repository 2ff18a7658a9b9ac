"""What monitors read of a relay, over HTTP: whether it is healthy, and its figures.

    GET /healthz    200 "ok", or 503 and what is wrong
    GET /metrics    the figures, in the text format of Prometheus

Belongs here: which figures there are, and the replies. Does not belong here: where the figures come
from (`_figures`), and what is healthy (`_health`).
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, suppress
from importlib import import_module
from math import isinf
from typing import TYPE_CHECKING

from rxflow._forks import no_fork
from rxflow._runtime.clocks import real_now
from rxflow.errors import ConfigurationError
from rxflow.relay._broker import Broker
from rxflow.relay._figures import Figures
from rxflow.relay._health import Health

if TYPE_CHECKING:
    from prometheus_client import Metric

_REQUEST_TIMEOUT = 10.0  # seconds until a request must be there
_MOST_LINES = 100  # of the head of a request


class Monitor:
    """Replies to monitors about one relay."""

    def __init__(self, figures: Figures, broker: Broker) -> None:
        """Create it.

        Args:
            figures: What the relay has done and is doing.
            broker: Its connection to the broker.

        Raises:
            ConfigurationError: The package prometheus-client is missing.
        """
        try:
            with no_fork:
                import_module("prometheus_client")
        except ImportError:
            raise ConfigurationError(
                "The metrics of a relay need the extra 'metrics' (from a checkout: pip install "
                "'.[metrics]')"
            ) from None
        self._figures = figures
        self._broker = broker
        self._health = Health(figures, broker)

    @asynccontextmanager
    async def serve(self, host: str, port: int) -> AsyncGenerator[int]:
        """Serve while the block lasts.

        Args:
            host: The address to listen at.
            port: The port; 0 for any that is free.

        Yields:
            The port.

        Raises:
            ConfigurationError: Nothing can listen there.
        """
        try:
            server = await asyncio.start_server(self._reply, host, port)
        except OSError as error:
            raise ConfigurationError(
                f"The metrics cannot be served at {host}:{port}: {error.strerror or error}"
            ) from error
        async with server:
            yield server.sockets[0].getsockname()[1]

    async def _reply(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_REQUEST_TIMEOUT):
                path = await _path_of(reader)
                status, kind, body = self._response(path)
                head = (
                    f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n"
                    f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                )
                writer.write(head.encode() + body)
                await writer.drain()
        except (TimeoutError, ConnectionError, ValueError):  # a client that sends something else
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    def _response(self, path: str) -> tuple[str, str, bytes]:
        if path == "/metrics":
            from prometheus_client import CONTENT_TYPE_LATEST, generate_latest  # noqa: PLC0415

            return "200 OK", CONTENT_TYPE_LATEST, generate_latest(self)
        if path != "/healthz":
            return "404 Not Found", "text/plain", b"pass /healthz or /metrics\n"
        wrong = self._health.wrong()
        status = "503 Service Unavailable" if wrong else "200 OK"
        return status, "text/plain; charset=utf-8", f"{wrong or 'ok'}\n".encode()

    def collect(self) -> Iterator["Metric"]:
        """Return the figures; prometheus_client calls this."""
        from prometheus_client.metrics_core import (  # noqa: PLC0415 - an extra
            CounterMetricFamily,
            GaugeMetricFamily,
        )

        figures, now = self._figures, real_now().mono
        for name, text, number in (
            ("pages", "Pages appended to logs", figures.pages),
            ("events", "Events appended to logs", figures.events),
            ("fenced", "Pages refused since another relay had appended", figures.fenced),
            ("dropped", "Logs dropped, since they are old or the broker was full", figures.dropped),
            ("broker_failures", "Requests to the broker that failed", self._broker.failures),
        ):
            yield CounterMetricFamily(f"rxflow_relay_{name}", text, number)
        for name, text, value in (
            ("runs", "Runs that are watched", figures.runs),
            ("leases", "Leases that are held", figures.leases),
            ("shards", "Shards that are watched", figures.shards),
            ("broker_full", "Whether the broker has no room", self._broker.is_full),
            ("poll_age_seconds", "Seconds since the last good reply", now - figures.polled_at),
            ("broker_age_seconds", "Seconds since the broker's last reply", now - figures.heard_at),
            ("append_age_seconds", "Seconds since the last page", now - figures.appended_at),
        ):
            if not isinf(value):  # nothing was polled or appended yet
                yield GaugeMetricFamily(f"rxflow_relay_{name}", text, value)


async def _path_of(reader: asyncio.StreamReader) -> str:
    """Read the head of a request, and return the path of a GET; "" for anything else."""
    line = (await reader.readline()).decode("latin-1").split()
    for _ in range(_MOST_LINES):
        if not (await reader.readline()).strip():
            break
    if len(line) != 3 or line[0] != "GET":
        return ""
    return line[1].partition("?")[0]
