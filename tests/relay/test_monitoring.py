"""What monitors read of a relay: its health, and its figures in the format of Prometheus."""

import asyncio
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from rxflow import ConfigurationError
from rxflow._runtime.clocks import real_now
from rxflow.relay._figures import Figures
from rxflow.relay._health import SILENCE_LIMIT, Health
from rxflow.relay._memory import MemoryBroker, MemoryStore
from rxflow.relay._monitoring import Monitor


async def exchange(port: int, request: bytes) -> tuple[str, str]:
    """Send a request, and return the first line and the body of the reply."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return head.partition("\r\n")[0], body


def replies(
    requests: list[bytes], figures: Figures | None = None, broker: MemoryBroker | None = None
) -> list[tuple[str, str]]:
    """Return the replies of a monitor to some requests."""

    async def work() -> list[tuple[str, str]]:
        monitor = Monitor(figures or Figures(), broker or MemoryStore().connect())
        async with asyncio.timeout(60), monitor.serve("127.0.0.1", 0) as port:
            return [await exchange(port, request) for request in requests]

    return asyncio.run(work())


def get(path: str) -> bytes:
    """Return a request for a path."""
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def test_the_figures_are_in_the_format_of_prometheus() -> None:
    """Each has its value; ages are left out while nothing was polled or appended."""
    figures = Figures(pages=3, events=40, fenced=1, runs=2, leases=1, shards=4)
    figures.polled_at = real_now().mono
    ((status, body),) = replies([get("/metrics?x=1")], figures)
    assert status == "HTTP/1.1 200 OK"
    values = {
        sample.name: sample.value
        for family in text_string_to_metric_families(body)
        for sample in family.samples
    }
    age = values.pop("rxflow_relay_poll_age_seconds")
    assert age >= 0
    assert values == {
        "rxflow_relay_pages_total": 3,
        "rxflow_relay_events_total": 40,
        "rxflow_relay_fenced_total": 1,
        "rxflow_relay_dropped_total": 0,
        "rxflow_relay_broker_failures_total": 0,
        "rxflow_relay_runs": 2,
        "rxflow_relay_leases": 1,
        "rxflow_relay_shards": 4,
        "rxflow_relay_broker_full": 0,
    }


def test_a_relay_is_healthy_unless_it_cannot_work() -> None:
    """Not while the broker is full, or Prefect's server is away for long while runs are watched."""
    assert replies([get("/healthz")]) == [("HTTP/1.1 200 OK", "ok\n")]
    full = MemoryStore().connect()
    full.is_full = True
    assert replies([get("/healthz")], broker=full) == [
        ("HTTP/1.1 503 Service Unavailable", "the broker is full\n")
    ]
    full.refusal = "MISCONF No space"
    assert replies([get("/healthz")], broker=full) == [
        ("HTTP/1.1 503 Service Unavailable", "the broker stores nothing: MISCONF No space\n")
    ]


@pytest.mark.parametrize(
    ("figures", "text"),
    [
        (Figures(leases=1, polls_since=-1e6, polled_at=5, heard_at=5), None),
        (Figures(leases=1, polls_since=5, polled_at=-1e6, heard_at=5), None),
        (Figures(leases=1, polled_at=-1e6, heard_at=5), None),
        (Figures(leases=0, polls_since=-1e6, polled_at=-1e6, heard_at=5), None),
        (Figures(leases=1, polls_since=-1e6, heard_at=5), "no good reply for 1000"),
        (Figures(leases=0, heard_at=-1e6), "broker has not replied for 1000"),
    ],
)
def test_a_relay_that_hears_nothing_for_long_is_not_healthy(
    figures: Figures, text: str | None
) -> None:
    """Of Prefect's server that counts only while there is something to watch."""
    now = real_now().mono
    figures.polled_at += now
    figures.heard_at += now
    figures.polls_since += now
    health = Health(figures, MemoryStore().connect())
    health._began = now - 1e6
    wrong = health.wrong()
    assert wrong is None if text is None else text in (wrong or "")
    assert SILENCE_LIMIT < 1e6


@pytest.mark.parametrize(
    "request_sent", [get("/"), b"POST /metrics HTTP/1.1\r\n\r\n", b"\r\n\r\n", b"\xff\r\n\r\n"]
)
def test_anything_else_is_not_found(request_sent: bytes) -> None:
    """The reply says what there is."""
    assert replies([request_sent]) == [("HTTP/1.1 404 Not Found", "pass /healthz or /metrics\n")]


def test_a_port_that_is_taken_is_an_error() -> None:
    """The error names the address."""

    async def work() -> None:
        one, two = (Monitor(Figures(), MemoryStore().connect()) for _ in range(2))
        async with one.serve("127.0.0.1", 0) as port:
            with pytest.raises(ConfigurationError, match=f"127.0.0.1:{port}"):
                async with two.serve("127.0.0.1", port):
                    pass

    asyncio.run(work())


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra that has it."""
    modules: dict[str, Any] = {"prometheus_client": None}
    for name, module in modules.items():
        monkeypatch.setitem(__import__("sys").modules, name, module)
    with pytest.raises(ConfigurationError, match="extra 'metrics'"):
        Monitor(Figures(), MemoryStore().connect())
