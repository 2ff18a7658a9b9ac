"""Measure the request of one page: rxflow's transport beside Python's own HTTP client.

``python tests/bench/page_requests.py`` (or ``tox -e bench``) reads one gzipped page of 200 log rows
again and again over loopback HTTP, on one kept connection, and parses nothing of it. The CPU of the
reader is counted, not the server's, which is another process. `README.md` beside this file keeps
the results. (A file named ``requests`` would hide the package of that name from other scripts.)
"""

import asyncio
import gc
import gzip
import http.client
import json
import multiprocessing
import platform
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from multiprocessing.connection import Connection
from time import process_time

import httpx

from rxflow._backends.backend import HttpCall, HttpResponse, HttpResult
from rxflow._config.settings import Settings
from rxflow._net.endpoint import Endpoint
from rxflow._net.transport import AsyncTransport, Transport

REQUESTS = 400
ROUNDS = 9
PATH = "/logs/filter"
BODY = b'{"logs":{"flow_run_id":{"any_":["9e6caafc-4ea1-4493-b0a9-122efba9eaaa"]}},"limit":200}'
HEADERS = {"content-type": "application/json", "accept-encoding": "gzip"}
PAGE = json.dumps(
    [
        {
            "id": f"{number * 7919:08x}-4ea1-7493-b0a9-{number * 104729:012x}",
            "name": "prefect.flow_runs",
            "level": 20,
            "message": f"Loaded partition {number} into the warehouse, 1284 rows",
            "timestamp": f"2026-11-22T12:00:{number % 60:02d}.{number:06d}Z",
        }
        for number in range(200)
    ]
).encode()

Pages = Generator[bytes, None, None]
Reader = Callable[[str], Pages]


def http_client(url: str) -> Pages:
    """Read pages with Python's own client, which does least; the measure of the others."""
    parts = httpx.URL(url)
    with closing(http.client.HTTPConnection(parts.host, parts.port)) as connection:
        while True:
            connection.request("POST", parts.path + PATH, BODY, HEADERS)
            yield gzip.decompress(connection.getresponse().read())


def httpx_transport(url: str) -> Pages:
    """Read pages with httpx, without a client."""
    with httpx.HTTPTransport() as transport:
        to = httpx.URL(url + PATH)
        while True:
            request = httpx.Request("POST", to, content=BODY, headers=HEADERS)
            yield transport.handle_request(request).read()


def httpx_client(url: str) -> Pages:
    """Read pages with a client of httpx."""
    with httpx.Client(base_url=url, trust_env=False) as client:
        while True:
            yield client.post(PATH, content=BODY, headers=HEADERS).content


def httpx_asyncio(url: str) -> Pages:
    """Read pages with httpx on an event loop, without a client."""

    async def read() -> bytes:
        request = httpx.Request("POST", to, content=BODY, headers=HEADERS)
        return await (await transport.handle_async_request(request)).aread()

    with asyncio.Runner() as runner:
        transport = httpx.AsyncHTTPTransport()
        to = httpx.URL(url + PATH)
        try:
            while True:
                yield runner.run(read())
        finally:
            runner.run(transport.aclose())


def rxflow_threads(url: str) -> Pages:
    """Read pages with the transport of blocking loops."""
    with closing(Transport(Endpoint(Settings(api_url=url), None))) as transport:
        while True:
            yield _body(transport.send(_CALL))


def rxflow_asyncio(url: str) -> Pages:
    """Read pages with the transport of event loops."""
    with asyncio.Runner() as runner:
        transport = AsyncTransport(Endpoint(Settings(api_url=url), None))
        try:
            while True:
                yield _body(runner.run(transport.send(_CALL)))
        finally:
            runner.run(transport.aclose())


_CALL = HttpCall(
    method="POST", path=PATH, headers=(("Content-Type", "application/json"),), body=BODY
)


def _body(result: HttpResult) -> bytes:
    assert isinstance(result, HttpResponse), result
    return result.body


def serve(port: Connection) -> None:
    """Respond to each request with the page, and send the port that requests go to."""
    page = gzip.compress(PAGE, 5)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one packet a response

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response_only(200)
            for name, value in (
                ("date", "Sun, 22 Nov 2026 14:00:00 GMT"),
                ("content-type", "application/json"),
                ("content-encoding", "gzip"),
                ("content-length", str(len(page))),
            ):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(page)

    server = HTTPServer(("127.0.0.1", 0), Handler)
    port.send(server.server_port)
    server.serve_forever()


def cpu(reader: Reader, url: str) -> float:
    """CPU seconds of one request, of those after the first ones."""
    pages = reader(url)
    for _ in range(20):
        assert next(pages) == PAGE
    gc.collect()
    began = process_time()
    for _ in range(REQUESTS):
        next(pages)
    spent = process_time() - began
    pages.close()  # the server has one connection at a time
    return spent / REQUESTS


def report(url: str) -> Iterator[str]:
    """Measure, and yield the report line by line."""
    readers: list[Reader] = [
        http_client,
        httpx_transport,
        httpx_client,
        rxflow_threads,
        httpx_asyncio,
        rxflow_asyncio,
    ]
    yield f"a page of 200 rows; Python {platform.python_version()}, httpx {version('httpx')}"
    # They take turns, so that a slow moment hits all.
    rounds = [[cpu(reader, url) for reader in readers] for _ in range(ROUNDS)]
    least = [min(spent) for spent in zip(*rounds, strict=True)]
    for reader, spent in zip(readers, least, strict=True):
        yield f"  {reader.__name__:16}{spent * 1e6:7.0f} us{spent / least[0]:7.2f} x"


def main() -> None:
    """Measure with a server in another process."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,))
    process.start()
    try:
        for line in report(f"http://127.0.0.1:{ours.recv()}/api"):
            print(line, flush=True)
    finally:
        process.terminate()
        process.join()


if __name__ == "__main__":
    main()
