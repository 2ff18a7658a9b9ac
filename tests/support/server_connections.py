"""How tests reach a fake Prefect 3 server: in process from a thread or a task, and over HTTP."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import httpx

from rxflow.testing import FakePrefect3

API_URL = "http://fake.invalid/api"
VERSION = "/admin/version"

Get = Callable[[str], httpx.Response]
Connect = Callable[[FakePrefect3], AbstractContextManager[Get]]


@contextmanager
def blocking(server: FakePrefect3) -> Iterator[Get]:
    """Send GET requests in process, from this thread."""
    with httpx.Client(base_url=API_URL, transport=server.transport()) as http:
        yield http.get


@contextmanager
def in_task(server: FakePrefect3) -> Iterator[Get]:
    """Send GET requests in process, from an asyncio task."""

    async def get(path: str) -> httpx.Response:
        async with httpx.AsyncClient(base_url=API_URL, transport=server.transport()) as http:
            return await http.get(path)

    yield lambda path: asyncio.run(get(path))


@contextmanager
def over_http(server: FakePrefect3) -> Iterator[Get]:
    """Send GET requests over HTTP."""
    with server.serve() as url, httpx.Client(base_url=url, trust_env=False) as http:
        yield http.get


IN_PROCESS = [blocking, in_task]
CONNECTIONS = [*IN_PROCESS, over_http]


def read_lines(server: FakePrefect3, run_id: str) -> list[str]:
    """Read the lines of a run with one request."""
    body = {"logs": {"flow_run_id": {"any_": [run_id]}}}
    response = server.handle(httpx.Request("POST", f"{API_URL}/logs/filter", json=body))
    return [row["message"] for row in response.json()]
