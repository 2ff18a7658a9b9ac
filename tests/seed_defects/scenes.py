"""A run on a server of either kind, in virtual time, written to and watched by the same methods.

    scene = new(limit=10)
    scene.at(5, lambda: scene.log("hello"))
    scene.at(9, scene.complete)
    assert messages(scene.watch()) == ["hello"]

States have the names of Prefect 3's types, levels are numbers, and task runs are those of one task.
The checks of this package use it, and `tests/test_seed_signatures.py`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any, ClassVar, NamedTuple, TypeAlias

import httpx
from reactivex import Observable
from reactivex import operators as ops

import rxflow
from rxflow import Client, Closed, FlowRunEvent, FlowRunLog, FlowRunView, Notice, StateChange
from rxflow._models.entities import BackendName
from rxflow.testing import FakePrefect1, FakePrefect3, Faults, VirtualTime

AnyFakeServer: TypeAlias = FakePrefect1 | FakePrefect3

_NO_FAULTS = Faults()
_DAY, _TEN_MINUTES = timedelta(days=1), timedelta(minutes=10)


class Exchange(NamedTuple):
    """A request and its response.

    Attributes:
        seconds: When the request was sent, in seconds of virtual time.
        resource: What it reads, such as ``flow_run``, by one name for both servers.
        request: The path and the body.
        response: The body of the response.
    """

    seconds: float
    resource: str
    request: str
    response: str


class DefectScene(ABC):
    """A server in virtual time, a run on it, and a client whose requests are recorded.

    Attributes:
        time: The watcher's time.
        server: The server, whose clock may differ.
        client: The client.
        run: The run.
        exchanges: The client's requests with their responses, in order.
    """

    backend: ClassVar[BackendName]
    path: ClassVar[str]
    slug: ClassVar[str]
    upload_delay: ClassVar[float]
    """Seconds from the end of a run to the upload of its last lines, as measured."""
    start_column: ClassVar[str]
    """The column with the time at which a run is to start."""
    label_column: ClassVar[str]
    """The column with a run's labels."""
    unknown_state: ClassVar[str] = "Dreaming"
    """The name of a state whose type only a later server knows."""

    def __init__(
        self,
        *,
        limit: int | None = None,
        skew: timedelta = timedelta(0),
        faults: Faults = _NO_FAULTS,
        state: str | None = "RUNNING",
    ) -> None:
        """Start a server and add a run.

        Args:
            limit: The most rows that the server returns at once; None for the server's own limit.
            skew: How far the server's clock is ahead of the watcher's.
            faults: The faults of requests.
            state: The run's first state.
        """
        self.time = VirtualTime()
        self.exchanges: list[Exchange] = []
        self.server = self.make_server(lambda: self.time() + skew, self.time.wait, limit)
        self.server.faults = faults
        self.client = self.client_at(f"http://fake.invalid{self.path}", _RecordingTransport(self))
        self.run = self.add_run(state)

    # -- what differs between the servers -------------------------------------------------------

    @abstractmethod
    def make_server(
        self, clock: Callable[[], datetime], wait: Callable[[float], object], limit: int | None
    ) -> AnyFakeServer:
        """Make a server."""

    @abstractmethod
    def resource_of(self, request: httpx.Request) -> str:
        """Name what a request reads."""

    @abstractmethod
    def state_name(self, state: str) -> str:
        """Return the server's name for a state."""

    @abstractmethod
    def set_state(self, state: str, run: str | None = None, **fields: Any) -> str:
        """Set the run's state, and return the state's id."""

    @abstractmethod
    def set_unknown_state(self) -> None:
        """Put the run in the unknown state, which the fake refuses, by its rows."""

    @abstractmethod
    def log(self, text: str = "a line", *, level: int = 20, **fields: Any) -> str:
        """Store a log line of the run, and return its id."""

    @abstractmethod
    def add_task_run(self, state: str, run: str | None = None, *, index: int | None = None) -> str:
        """Add a task run, and return its id."""

    @abstractmethod
    def set_task_state(self, task_run: str, state: str) -> None:
        """Set the state of a task run."""

    @abstractmethod
    def reverse_states(self) -> None:
        """Reverse the stored states, which changes their order where the query does not sort."""

    @abstractmethod
    def rejection(self) -> httpx.Response:
        """The server's response to a query that it does not support."""

    @abstractmethod
    def waiting_runs(self) -> Iterator[str]:
        """Replace the run by one that waits as intended, in each way, and yield its state."""

    # -- writing --------------------------------------------------------------------------------

    def add_run(self, state: str | None = "RUNNING", **row: Any) -> str:
        """Add a run, and return its id."""
        run = self.server.add_run(state=None, **row)
        if state is not None:
            self.set_state(state, run)
        return run

    def at(self, seconds: float, action: Callable[[], object]) -> None:
        """Schedule an action, in seconds from now."""
        self.server.at(seconds, action)

    def log_at(self, seconds: float, text: str, **fields: Any) -> None:
        """Schedule a log line, in seconds from now."""
        self.at(seconds, lambda: self.log(text, **fields))

    def complete(self) -> None:
        """Complete the run."""
        self.set_state("COMPLETED")

    def start_outage(self) -> None:
        """Fail all requests."""
        self.server.faults = Faults(errors=1.0)

    def end_outage(self) -> None:
        """Fail no more requests."""
        self.server.faults = _NO_FAULTS

    # -- watching and reading -------------------------------------------------------------------

    def client_at(self, url: str, transport: httpx.BaseTransport | None = None) -> Client:
        """Make a client for this kind of server."""
        return Client(api_url=url, backend=self.backend, transport=transport)

    def stream(self, run: str | None = None, **options: Any) -> rxflow.FlowRunStream:
        """Describe a watch of a run; no request is sent yet."""
        return rxflow.watch_flow_run(run or self.run, client=self.client, **options)

    def watch(
        self, run: str | None = None, *, seconds: float = 86_400.0, **options: Any
    ) -> list[FlowRunEvent]:
        """Watch a run to its end, or for some seconds."""
        return self.time.collect(self.stream(run, **options), seconds=seconds)

    def watch_timed(self, **options: Any) -> list[tuple[float, FlowRunEvent]]:
        """Watch the run to its end; return each event with the second at which it was emitted."""
        timed: Observable[tuple[float, FlowRunEvent]] = self.stream(**options).pipe(
            ops.map(lambda event: (self.time.seconds, event))
        )
        return self.time.collect(timed)

    def view(self, **options: Any) -> FlowRunView:
        """Read the run."""
        return FlowRunView.from_flow_run_id(self.run, client=self.client, **options)

    def exchanges_about(self, resource: str) -> list[Exchange]:
        """Return the exchanges that read a resource."""
        return [exchange for exchange in self.exchanges if exchange.resource == resource]


class _RecordingTransport(httpx.BaseTransport):
    """Passes requests to the server of a scene, and records the exchanges."""

    def __init__(self, scene: DefectScene) -> None:
        self._scene = scene
        self._handle = scene.server.transport().handle_request

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Pass a request to the server."""
        sent = self._scene.time.seconds
        response = self._handle(request)
        text = f"{request.url.path} {request.content.decode()}"
        resource, body = self._scene.resource_of(request), response.content.decode()
        self._scene.exchanges.append(Exchange(sent, resource, text, body))
        return response


class OnPrefect1(DefectScene):
    """A scene on Prefect 1."""

    backend = BackendName.PREFECT_1
    path = ""
    slug = "load-1"
    upload_delay = 5.1
    start_column = "scheduled_start_time"
    label_column = "labels"
    server: FakePrefect1

    _NAMES: ClassVar[dict[str, str]] = {
        "SCHEDULED": "Scheduled",
        "PENDING": "Submitted",
        "RUNNING": "Running",
        "COMPLETED": "Success",
        "FAILED": "Failed",
    }
    _LEVELS: ClassVar[dict[int, str]] = {5: "TRACE", 10: "DEBUG", 20: "INFO", 30: "WARNING"}

    def make_server(
        self, clock: Callable[[], datetime], wait: Callable[[float], object], limit: int | None
    ) -> FakePrefect1:
        """Make a server that silently leaves out rows beyond the limit."""
        return FakePrefect1(clock=clock, wait=wait, row_limit=limit)

    def resource_of(self, request: httpx.Request) -> str:
        """Name the table in the query, since all requests have one path."""
        text = request.content.decode()
        tables = ("flow_run_state", "flow_run", "task_run", "log", "agent", "flow")
        return next((table for table in tables if f"rows: {table}(" in text), "")

    def state_name(self, state: str) -> str:
        """Return the class of the state."""
        return self._NAMES[state]

    def set_state(self, state: str, run: str | None = None, **fields: Any) -> str:
        """Set a state by the scene's name or, if it has none, by its class."""
        return self.server.set_state(run or self.run, self._NAMES.get(state, state), **fields)

    def set_unknown_state(self) -> None:
        """Set a state, and change its type in all rows."""
        row = self.server.states[self.set_state("PENDING")]
        run = self.server.runs[self.run]
        run["state"] = row["state"] = run["serialized_state"]["type"] = self.unknown_state

    def log(self, text: str | None = "a line", *, level: int = 20, **fields: Any) -> str:
        """Store a line with the name of the level, with a message or without."""
        return self.server.log(self.run, text, level=self._LEVELS[level], **fields)

    def add_task_run(self, state: str, run: str | None = None, *, index: int | None = None) -> str:
        """Add a task run by the slug of its task; without an index it is the only one."""
        return self.server.add_task_run(
            run or self.run,
            slug=self.slug,
            state=self._NAMES.get(state, state),
            map_index=-1 if index is None else index,
        )

    def set_task_state(self, task_run: str, state: str) -> None:
        """Set a state by its class."""
        self.server.set_task_state(task_run, self._NAMES[state])

    def reverse_states(self) -> None:
        """Reverse the table; an unsorted query returns rows as they are stored."""
        self.server.states = dict(reversed(self.server.states.items()))

    def rejection(self) -> httpx.Response:
        """A GraphQL validation error."""
        error = {"message": "no", "extensions": {"code": "GRAPHQL_VALIDATION_FAILED"}}
        return httpx.Response(400, json={"errors": [error]})

    def start_outage(self) -> None:
        """Fail as in the experiments with 1.4.1: with errors in responses of HTTP status 200."""
        self.server.outage = "hasura_down"

    def end_outage(self) -> None:
        """End the outage of Hasura."""
        self.server.outage = None

    def waiting_runs(self) -> Iterator[str]:
        """Use the states that 1.4.1 warned of."""
        for state, pause in (
            ("Scheduled", _DAY),
            ("Paused", None),
            ("Retrying", _TEN_MINUTES),
            ("Resume", _TEN_MINUTES),
        ):
            start = pause and self.server.now() + pause
            self.run = self.add_run(None, scheduled_start_time=start or self.server.now())
            self.set_state(state, start_time=start and start.isoformat())
            yield state


class OnPrefect3(DefectScene):
    """A scene on Prefect 3."""

    backend = BackendName.PREFECT_3
    path = "/api"
    slug = "load"
    upload_delay = 3.9
    start_column = "expected_start_time"
    label_column = "tags"
    server: FakePrefect3

    _KEY = "load-0489fc40"

    def make_server(
        self, clock: Callable[[], datetime], wait: Callable[[float], object], limit: int | None
    ) -> FakePrefect3:
        """Make a server whose pages have 200 rows, as the real one, unless a limit is given."""
        return FakePrefect3(clock=clock, wait=wait, page_limit=limit or 200)

    def resource_of(self, request: httpx.Request) -> str:
        """Name the resource of the path; work pools are ``agent``, since workers replace agents."""
        resources = {
            "/flow_run_states": "flow_run_state",
            "/flow_runs": "flow_run",
            "/task_runs": "task_run",
            "/logs": "log",
            "/work_pools": "agent",
            "/flows": "flow",
        }
        path = request.url.path.removeprefix("/api")
        return next((name for start, name in resources.items() if path.startswith(start)), "")

    def state_name(self, state: str) -> str:
        """Return the default name of the type."""
        return state.title()

    def set_state(self, state: str, run: str | None = None, **fields: Any) -> str:
        """Set a state by its type."""
        return self.server.set_state(run or self.run, state, **fields)

    def set_unknown_state(self) -> None:
        """Set a state, and change its type and name in all rows."""
        self.set_state("PENDING")
        run, state = self.server.runs[self.run], self.server.states[self.run][-1]
        state["type"] = run["state_type"] = self.unknown_state.upper()
        state["name"] = run["state_name"] = self.unknown_state

    def log(self, text: str = "a line", *, level: int = 20, **fields: Any) -> str:
        """Store a line with the number of the level."""
        return self.server.log(self.run, text, level=level, **fields)

    def add_task_run(self, state: str, run: str | None = None, *, index: int | None = None) -> str:
        """Add a task run by the key of its task; there are no map indexes."""
        del index
        return self.server.add_task_run(run or self.run, task_key=self._KEY, state=state)

    def set_task_state(self, task_run: str, state: str) -> None:
        """Set a state by its type."""
        run = self.server.task_runs[task_run]["flow_run_id"]
        self.server.set_task_state(run, task_run, state)

    def reverse_states(self) -> None:
        """Reverse the states of the run; they are returned as they are stored."""
        self.server.states[self.run].reverse()

    def rejection(self) -> httpx.Response:
        """A validation error of the body."""
        return httpx.Response(422, json={"exception_message": "no", "exception_detail": []})

    def waiting_runs(self) -> Iterator[str]:
        """Use the states that correspond to those that 1.4.1 warned of."""
        for state, name, pause in (
            ("SCHEDULED", "Scheduled", _DAY),
            ("PAUSED", "Paused", None),
            ("SCHEDULED", "AwaitingRetry", _TEN_MINUTES),
        ):
            start = pause and self.server.now() + pause
            self.run = self.add_run(None, next_scheduled_start_time=start)
            self.set_state(state, name=name)
            yield name


NewScene: TypeAlias = Callable[..., DefectScene]
"""Makes a scene on one kind of server, with the arguments of `DefectScene`."""


# -- parts of emitted events --------------------------------------------------------------------


def messages(events: Iterable[FlowRunEvent]) -> list[str]:
    """The texts of the log lines, in the order of the events."""
    return [event.message for event in events if isinstance(event, FlowRunLog)]


def state_names(events: Iterable[FlowRunEvent]) -> list[str]:
    """The names of the states, in the order of the events."""
    return [event.state.name for event in events if isinstance(event, StateChange)]


def notice_codes(events: Iterable[FlowRunEvent]) -> list[str]:
    """The codes of the notices, in the order of the events."""
    return [event.code.value for event in events if isinstance(event, Notice)]


def is_verified(events: list[FlowRunEvent]) -> bool:
    """Whether the watch ended, and the server's count equals the number of lines emitted."""
    return isinstance(events[-1], Closed) and events[-1].verified
