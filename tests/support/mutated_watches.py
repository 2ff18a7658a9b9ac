"""Watches of which some replies are mutated: other types, extremes, other ids, odd bodies.

A seed determines a watch: the server, its ids, the run, what is streamed, each pause, and each
mutation. Time is virtual. A watch must end in one of two ways, well or with an `RxflowError`,
within an hour of virtual time and some thousand requests.
"""

import json
from collections.abc import Callable
from copy import deepcopy
from email.utils import format_datetime
from random import Random
from typing import Any, NamedTuple

import httpx
import msgspec
from altered_replies import AlteredRun

from rxflow.errors import RxflowError
from rxflow.events import FlowRunEvent
from rxflow.testing import Faults

HEALED = 120.0
"""Seconds after which replies are not mutated any more."""

HOUR = 3600.0
_MOST_REQUESTS = 6_000
_OTHER_ID = "6f9619ff-8b86-4011-b42d-00cf4fc964ff"

_TIMES = (
    *("0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999Z"),
    *("9999-12-31T23:59:59.999999-12:00", "1970-01-01T00:00:00Z", "2026-01-01T00:00:00"),
    *("2026-02-30T00:00:00Z", "2999-12-31T00:00:00Z", "2026-01-01T00:00:03Z", "2025-12-31T23:00Z"),
)
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 7, 10**30, -(10**30), 1e308, 0.5, "", "x", "\ud800", "\x00"),
    *("\x1b[31m", "None", "COMPLETED", "RUNNING", "Success", [], {}, [[]], {"": {}}, [None], ["x"]),
    *({"code": "FORBIDDEN"}, [{}], _OTHER_ID, *_TIMES),
)
_BODIES = (
    *(b"", b" ", b"null", b"[]", b"{}", b'""', b"0", b"true", b"[null]", b"[[]]", b"[{}]", b"NaN"),
    *(b"{", b"]", b'{"data": null}', b'{"data": {"rows": null}}', b'{"data": {"rows": [{}]}}'),
    *(b'{"errors": [{}]}', b'{"errors": []}', b"[" * 9_999, b'{"a":' * 9_999, b"9" * 9_999),
    *(b"\xff\xfe", b"<html>", b'{"detail":"Flow run not found"}', b'{"detail":"CSRF token"}'),
    *(b'{"detail":"limit must be less than or equal to 3."}', b'{"detail":[]}'),
    *(b'{"detail":"limit must be less than or equal to 0."}', b'{"exception_message":7}'),
)
_STATUSES = (
    *(200, 201, 202, 204, 206, 301, 302, 304, 307, 308, 400, 401, 402, 403, 404, 405, 408, 409),
    *(410, 413, 418, 422, 425, 429, 451, 499, 500, 501, 502, 503, 504, 599, 600, 999, 101),
)
_HEADERS = {
    "date": (
        *("Fri, 31 Dec 9999 23:59:59 GMT", "Mon, 01 Jan 0001 00:00:00 -1400", "", "now", "x" * 999),
        *("Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 -1200"),
        *("Thu, 01 Jan 2026 00:00:00 GMT", "Sat, 01 Jan 2000 00:00:00 GMT"),
        "Thu, 31 Dec 2999 23:59:59 GMT",
    ),
    "retry-after": (
        *("0", "1", "9" * 400, "-1", "nan", "1e9", "", "Fri, 31 Dec 9999 23:59:59 GMT"),
        *("Thu, 01 Jan 2026 00:00:05 GMT", "Mon, 01 Jan 0001 00:00:00 GMT"),
    ),
    "content-type": ("text/html", "", "application/json; charset=utf-16", "application/jsonx"),
    "content-encoding": ("gzip", "br", "identity", ""),
    "location": ("/", "/api", "//other.invalid/", "http://[", "x" * 99),
}
_ERRORS = (
    *(httpx.ConnectError, httpx.ReadError, httpx.ReadTimeout, httpx.RemoteProtocolError),
    *(httpx.ConnectTimeout, httpx.WriteError, httpx.ProxyError, httpx.DecodingError),
)


class EndlessWatchError(BaseException):
    """A watch sends requests without end; no handler of exceptions may hold it back."""


class Result(NamedTuple):
    """How a watch ended.

    Attributes:
        seed: Its seed.
        error: What it ended with, if not well.
        is_good: Whether it ended as a watch may end.
        mutations: How many replies were mutated.
        events: What was emitted.
    """

    seed: int
    error: BaseException | None
    is_good: bool
    mutations: int
    events: list[FlowRunEvent]


class MutatedWatch:
    """One watch, drawn from a seed."""

    def __init__(self, seed: int) -> None:
        """Draw a watch that has not begun."""
        self.seed = seed
        self._random = random = Random(seed)
        backend = random.choice(("prefect3", "prefect1"))
        # The server's ids and the watch's pauses are drawn apart from the mutations.
        self._jitter = Random(f"jitter {seed}")
        options: dict[str, Any] = {
            "faults": Faults(latency=0.02),
            "random": Random(f"ids {seed}"),
        }
        if backend == "prefect3":
            options["page_limit"] = random.choice((2, 3, 7, 200))
        self._run = AlteredRun(backend, lifetime=random.choice((4, 8, 16)), **options)
        self._options: dict[str, Any] = {
            "stream_states": random.random() < 0.9,
            "stream_logs": random.random() < 0.9,
            "stream_tasks": random.random() < 0.5,
            "task_states": random.choice(("latest", "all")),
            "max_duration": random.choice((20, 300, None)),
        }
        self._rate = random.choice((0.02, 0.1, 0.3, 0.8))
        self._begins = random.choice((0.0, 2.0, 6.0))
        self._healed = random.choice((8.0, 30.0, HEALED))
        self._requests = self._mutations = 0
        self._earlier: list[httpx.Response] = []

    def watch(self) -> Result:
        """Watch to the end."""
        error: BaseException | None = None
        try:
            self._run.watch(self._alter, seconds=HOUR, jitter=self._jitter, **self._options)
            error = self._run.error
        except BaseException as raised:
            if isinstance(raised, KeyboardInterrupt):
                raise
            error = raised
        for event in self._run.events:
            _check_usable(event)
        is_good = self._run.completed if error is None else isinstance(error, RxflowError)
        return Result(self.seed, error, is_good, self._mutations, self._run.events)

    def _alter(self, request: httpx.Request, response: httpx.Response) -> httpx.Response:
        self._requests += 1
        if self._requests > _MOST_REQUESTS:
            raise EndlessWatchError
        self._earlier.append(response)
        now = self._run.time.seconds
        if not self._begins <= now < self._healed or self._random.random() >= self._rate:
            return response
        self._mutations += 1
        mutate: Callable[[httpx.Request, httpx.Response], httpx.Response] = self._random.choice(
            (*(self._mutated_rows,) * 8, *_simple_mutations(self))
        )
        return mutate(request, response)

    def _mutated_rows(self, __: httpx.Request, response: httpx.Response) -> httpx.Response:
        """Mutate some values of a JSON body."""
        try:
            document: Any = json.loads(response.content)
        except ValueError:
            return response
        holder = [document]
        for _ in range(self._random.choice((1, 1, 1, 2, 5))):
            self._mutate_value(holder)
        return _response(response, content=json.dumps(holder[0]).encode())

    def _mutate_value(self, holder: Any) -> None:
        places = list(_places(holder))
        container, key = self._random.choice(places)
        value = container[key]
        match self._random.randrange(6):
            case 0 if isinstance(container, dict):
                del container[key]
            case 1 if isinstance(container, list) and len(places) > 1:
                container.append(deepcopy(value))
            case 2 if isinstance(value, list) and value:
                del value[self._random.randrange(len(value))]
            case 3:
                other, at = self._random.choice(places)
                container[key] = deepcopy(other[at])
            case 4 if isinstance(value, str):
                container[key] = self._random.choice((*_TIMES, _OTHER_ID, value + "x"))
            case _:
                container[key] = deepcopy(self._random.choice(_VALUES))

    def mutated_status(self, _: httpx.Request, response: httpx.Response) -> httpx.Response:
        """Change the status, and perhaps the body."""
        status = self._random.choice(_STATUSES)
        if self._random.random() < 0.5:
            return _response(response, status=status)
        return _response(response, status=status, content=self._random.choice(_BODIES))

    def mutated_headers(self, _: httpx.Request, response: httpx.Response) -> httpx.Response:
        """Change a header, and perhaps the status."""
        status = self._random.choice((response.status_code, response.status_code, 429, 503))
        altered = _response(response, status=status)
        name = self._random.choice(tuple(_HEADERS))
        value = self._random.choice((None, *_HEADERS[name]))
        altered.headers.pop(name, None)
        if value is not None:
            altered.headers[name] = value
        if self._random.random() < 0.5:
            altered.headers.pop("date", None)
        return altered

    def mutated_body(self, __: httpx.Request, response: httpx.Response) -> httpx.Response:
        """Cut the body, add to it, or change some bytes."""
        body = bytearray(response.content or b" ")
        match self._random.randrange(4):
            case 0:
                del body[self._random.randrange(len(body)) :]
            case 1:
                body += self._random.choice(_BODIES)
            case 2:
                for _ in range(3):
                    body[self._random.randrange(len(body))] = self._random.randrange(256)
            case _:
                body = bytearray(self._random.choice(_BODIES))
        return _response(response, content=bytes(body))

    def earlier_reply(self, _: httpx.Request, response: httpx.Response) -> httpx.Response:
        """Reply as to an earlier request."""
        earlier = self._random.choice(self._earlier)
        return _response(earlier, content=earlier.content or response.content)

    def broken(self, request: httpx.Request, _: httpx.Response) -> httpx.Response:
        """Fail without a reply."""
        raise self._random.choice(_ERRORS)("broken", request=request)

    def late_reply(self, _: httpx.Request, response: httpx.Response) -> httpx.Response:
        """Reply after some seconds."""
        self._run.time.wait(self._random.choice((1.0, 9.0, 29.0)))
        response.headers["date"] = format_datetime(self._run.time.now, usegmt=True)
        return response


def _simple_mutations(
    watch: MutatedWatch,
) -> tuple[Callable[[httpx.Request, httpx.Response], httpx.Response], ...]:
    return (
        *(watch.mutated_status, watch.mutated_headers, watch.mutated_body),
        *(watch.earlier_reply, watch.broken, watch.late_reply),
    )


def _places(value: Any) -> list[tuple[Any, Any]]:
    """List all places of values: the container and the key or index."""
    found: list[tuple[Any, Any]] = []
    keys: Any = ()
    if isinstance(value, dict):
        keys = list(value)
    elif isinstance(value, list):
        keys = range(len(value))
    for key in keys:
        found.append((value, key))
        found += _places(value[key])
    return found


def _response(
    response: httpx.Response, *, status: int | None = None, content: bytes | None = None
) -> httpx.Response:
    """Copy a response with other parts."""
    headers = {name: value for name, value in response.headers.items() if name != "content-length"}
    return httpx.Response(
        response.status_code if status is None else status,
        headers=headers,
        content=response.content if content is None else content,
    )


def _check_usable(event: Any) -> None:
    """Use an event as consumers do: no event may raise on its fields, as text, or as JSON."""
    assert event.timestamp.tzinfo is not None
    assert isinstance(event.message, str)
    assert isinstance(event.level, int)
    str(event)
    msgspec.json.encode(event)
