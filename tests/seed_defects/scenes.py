"""Scenes: a run on a server of either kind, in virtual time, told in one set of words.

    scene = new(limit=10)
    scene.at(5, lambda: scene.line("hello"))
    scene.at(9, scene.end)
    assert lines(scene.watch()) == ["hello"]

States are named by Prefect 3's types, levels are numbers, and task runs are those of one task.
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

Server: TypeAlias = FakePrefect1 | FakePrefect3

_CALM = Faults()
_DAY, _TEN_MINUTES = timedelta(days=1), timedelta(minutes=10)


class Asked(NamedTuple):
    """A request, and what was answered.

    Attributes:
        seconds: When it was sent, in seconds of virtual time.
        noun: What it asks about, such as ``flow_run``, in words that both servers share.
        question: The path and the body.
        answer: The body of the answer.
    """

    seconds: float
    noun: str
    question: str
    answer: str


class Scene(ABC):
    """A server in virtual time, a run on it, and a client that is overheard.

    Attributes:
        time: The watcher's time.
        server: The server, whose clock may be off.
        client: The client.
        run: The run.
        asked: What the client asked, in order.
    """

    backend: ClassVar[BackendName]
    path: ClassVar[str]
    slug: ClassVar[str]
    late_by: ClassVar[float]
    """Seconds after the end of a run in which its last lines come, as was measured."""
    due: ClassVar[str]
    """The column that says when a run is to start."""
    tags: ClassVar[str]
    """The column of a run's labels."""

    def __init__(
        self,
        *,
        limit: int | None = None,
        skew: timedelta = timedelta(0),
        faults: Faults = _CALM,
        state: str | None = "RUNNING",
    ) -> None:
        """Begin.

        Args:
            limit: The most rows that the server gives at once; None: as many as it does by itself.
            skew: By how much the server's clock is ahead of the watcher's.
            faults: What goes wrong with requests.
            state: The run's first state.
        """
        self.time = VirtualTime()
        self.asked: list[Asked] = []
        self.server = self.make(lambda: self.time() + skew, self.time.wait, limit)
        self.server.faults = faults
        self.client = self.client_at(f"http://fake.invalid{self.path}", _Overheard(self))
        self.run = self.add_run(state)

    # -- what differs ---------------------------------------------------------------------------

    @abstractmethod
    def make(
        self, clock: Callable[[], datetime], wait: Callable[[float], object], limit: int | None
    ) -> Server:
        """Make a server."""

    @abstractmethod
    def noun(self, request: httpx.Request) -> str:
        """What a request asks about."""

    @abstractmethod
    def name(self, state: str) -> str:
        """What a state is called."""

    @abstractmethod
    def enter(self, state: str, run: str | None = None, **how: Any) -> str:
        """Put the run in a state, and give the state's id."""

    @abstractmethod
    def line(self, text: str = "a line", *, level: int = 20, **how: Any) -> str:
        """Store a log line of the run, and give its id."""

    @abstractmethod
    def add_task_run(self, state: str, run: str | None = None, *, index: int | None = None) -> str:
        """Add a run of a task, and give its id."""

    @abstractmethod
    def set_task_state(self, task_run: str, state: str) -> None:
        """Put a task run in a state."""

    @abstractmethod
    def reverse_states(self) -> None:
        """Have the server give states in another order, where it may choose."""

    @abstractmethod
    def refusal(self) -> httpx.Response:
        """What the server answers to a question that it does not take."""

    @abstractmethod
    def wait_rightly(self) -> Iterator[str]:
        """Have the run wait in one way after the other that is not late, and say which it is."""

    # -- what happens ---------------------------------------------------------------------------

    def add_run(self, state: str | None = "RUNNING", **row: Any) -> str:
        """Add a run, and give its id."""
        run = self.server.add_run(state=None, **row)
        if state is not None:
            self.enter(state, run)
        return run

    def at(self, seconds: float, action: Callable[[], object]) -> None:
        """Have something happen, in seconds from now."""
        self.server.at(seconds, action)

    def line_at(self, seconds: float, text: str, **how: Any) -> None:
        """Have a log line stored, in seconds from now."""
        self.at(seconds, lambda: self.line(text, **how))

    def end(self) -> None:
        """Have the run complete."""
        self.enter("COMPLETED")

    def break_down(self) -> None:
        """Have no question answered well."""
        self.server.faults = Faults(errors=1.0)

    def heal(self) -> None:
        """Have all questions answered well again."""
        self.server.faults = _CALM

    # -- what is seen of it ---------------------------------------------------------------------

    def client_at(self, url: str, transport: httpx.BaseTransport | None = None) -> Client:
        """A client of this kind of server."""
        return Client(api_url=url, backend=self.backend, transport=transport)

    def stream(self, run: str | None = None, **how: Any) -> rxflow.FlowRunStream:
        """Watch a run; nothing is asked yet."""
        return rxflow.watch_flow_run(run or self.run, client=self.client, **how)

    def watch(
        self, run: str | None = None, *, seconds: float = 86_400.0, **how: Any
    ) -> list[FlowRunEvent]:
        """Watch a run to its end, or for some seconds."""
        return self.time.collect(self.stream(run, **how), seconds=seconds)

    def hear(self, **how: Any) -> list[tuple[float, FlowRunEvent]]:
        """Watch the run to its end: each event with the second at which it was told."""
        heard: Observable[tuple[float, FlowRunEvent]] = self.stream(**how).pipe(
            ops.map(lambda event: (self.time.seconds, event))
        )
        return self.time.collect(heard)

    def view(self, **how: Any) -> FlowRunView:
        """Ask for the run."""
        return FlowRunView.from_flow_run_id(self.run, client=self.client, **how)

    def questions(self, noun: str) -> list[Asked]:
        """What was asked about something."""
        return [asked for asked in self.asked if asked.noun == noun]


class _Overheard(httpx.BaseTransport):
    """Carries requests to the server of a scene, and notes them."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._carry = scene.server.transport().handle_request

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Carry a request."""
        sent = self._scene.time.seconds
        response = self._carry(request)
        question = f"{request.url.path} {request.content.decode()}"
        noun, answer = self._scene.noun(request), response.content.decode()
        self._scene.asked.append(Asked(sent, noun, question, answer))
        return response


class OnPrefect1(Scene):
    """A scene on Prefect 1."""

    backend = BackendName.PREFECT_1
    path = ""
    slug = "load-1"
    late_by = 5.1
    due = "scheduled_start_time"
    tags = "labels"
    server: FakePrefect1

    _NAMES: ClassVar[dict[str, str]] = {
        "SCHEDULED": "Scheduled",
        "PENDING": "Submitted",
        "RUNNING": "Running",
        "COMPLETED": "Success",
        "FAILED": "Failed",
        "DREAMING": "Dreaming",
    }
    _LEVELS: ClassVar[dict[int, str]] = {5: "TRACE", 10: "DEBUG", 20: "INFO", 30: "WARNING"}

    def make(
        self, clock: Callable[[], datetime], wait: Callable[[float], object], limit: int | None
    ) -> FakePrefect1:
        """Rows that are too many are left out silently."""
        return FakePrefect1(clock=clock, wait=wait, row_limit=limit)

    def noun(self, request: httpx.Request) -> str:
        """By the table in the query, since all go to one path."""
        text = request.content.decode()
        tables = ("flow_run_state", "flow_run", "task_run", "log", "agent", "flow")
        return next((table for table in tables if f"rows: {table}(" in text), "")

    def name(self, state: str) -> str:
        """The class of the state."""
        return self._NAMES[state]

    def enter(self, state: str, run: str | None = None, **how: Any) -> str:
        """By a class of states, where the scene has no word for it."""
        return self.server.set_state(run or self.run, self._NAMES.get(state, state), **how)

    def line(self, text: str | None = "a line", *, level: int = 20, **how: Any) -> str:
        """With the name of the level, and maybe without a message."""
        return self.server.log(self.run, text, level=self._LEVELS[level], **how)

    def add_task_run(self, state: str, run: str | None = None, *, index: int | None = None) -> str:
        """By the slug of its task; without an index it is the only one."""
        return self.server.add_task_run(
            run or self.run,
            slug=self.slug,
            state=self._NAMES.get(state, state),
            map_index=-1 if index is None else index,
        )

    def set_task_state(self, task_run: str, state: str) -> None:
        """By a class of states."""
        self.server.set_task_state(task_run, self._NAMES[state])

    def reverse_states(self) -> None:
        """It sends them as they lie, unless it is told to sort."""
        self.server.states = dict(reversed(self.server.states.items()))

    def refusal(self) -> httpx.Response:
        """As a query that does not fit the schema."""
        error = {"message": "no", "extensions": {"code": "GRAPHQL_VALIDATION_FAILED"}}
        return httpx.Response(400, json={"errors": [error]})

    def break_down(self) -> None:
        """As it was with 1.4.1: errors are told with HTTP status 200."""
        self.server.outage = "hasura_down"

    def heal(self) -> None:
        """All services are up."""
        self.server.outage = None

    def wait_rightly(self) -> Iterator[str]:
        """In the states that 1.4.1 warned of."""
        for state, pause in (
            ("Scheduled", _DAY),
            ("Paused", None),
            ("Retrying", _TEN_MINUTES),
            ("Resume", _TEN_MINUTES),
        ):
            start = pause and self.server.now() + pause
            self.run = self.add_run(None, scheduled_start_time=start or self.server.now())
            self.enter(state, start_time=start and start.isoformat())
            yield state


class OnPrefect3(Scene):
    """A scene on Prefect 3."""

    backend = BackendName.PREFECT_3
    path = "/api"
    slug = "load"
    late_by = 3.9
    due = "expected_start_time"
    tags = "tags"
    server: FakePrefect3

    _KEY = "load-0489fc40"

    def make(
        self, clock: Callable[[], datetime], wait: Callable[[float], object], limit: int | None
    ) -> FakePrefect3:
        """A page of 200 rows is what the real one gives."""
        return FakePrefect3(clock=clock, wait=wait, page_limit=limit or 200)

    def noun(self, request: httpx.Request) -> str:
        """By the path; workers are what agents were."""
        nouns = {
            "/flow_run_states": "flow_run_state",
            "/flow_runs": "flow_run",
            "/task_runs": "task_run",
            "/logs": "log",
            "/work_pools": "agent",
            "/flows": "flow",
        }
        path = request.url.path.removeprefix("/api")
        return next((noun for start, noun in nouns.items() if path.startswith(start)), "")

    def name(self, state: str) -> str:
        """The name that goes with the type."""
        return state.title()

    def enter(self, state: str, run: str | None = None, **how: Any) -> str:
        """By the type."""
        return self.server.set_state(run or self.run, state, **how)

    def line(self, text: str = "a line", *, level: int = 20, **how: Any) -> str:
        """With the number of the level."""
        return self.server.log(self.run, text, level=level, **how)

    def add_task_run(self, state: str, run: str | None = None, *, index: int | None = None) -> str:
        """By the key of its task; its runs are told apart by their creation."""
        del index
        return self.server.add_task_run(run or self.run, task_key=self._KEY, state=state)

    def set_task_state(self, task_run: str, state: str) -> None:
        """By the type."""
        run = self.server.task_runs[task_run]["flow_run_id"]
        self.server.set_task_state(run, task_run, state)

    def reverse_states(self) -> None:
        """It sends them as they lie."""
        self.server.states[self.run].reverse()

    def refusal(self) -> httpx.Response:
        """As a body that does not fit the schema."""
        return httpx.Response(422, json={"exception_message": "no", "exception_detail": []})

    def wait_rightly(self) -> Iterator[str]:
        """In the states that correspond."""
        for state, name, pause in (
            ("SCHEDULED", "Scheduled", _DAY),
            ("PAUSED", "Paused", None),
            ("SCHEDULED", "AwaitingRetry", _TEN_MINUTES),
        ):
            start = pause and self.server.now() + pause
            self.run = self.add_run(None, next_scheduled_start_time=start)
            self.enter(state, name=name)
            yield name


New: TypeAlias = Callable[..., Scene]
"""Makes a scene on the server that is asked for, with the arguments of `Scene`."""


# -- what was told ------------------------------------------------------------------------------


def lines(events: Iterable[FlowRunEvent]) -> list[str]:
    """The texts of the log lines, in the order in which they were told."""
    return [event.message for event in events if isinstance(event, FlowRunLog)]


def states(events: Iterable[FlowRunEvent]) -> list[str]:
    """The names of the states, in the order in which they were told."""
    return [event.state.name for event in events if isinstance(event, StateChange)]


def notices(events: Iterable[FlowRunEvent]) -> list[str]:
    """The codes of the notices."""
    return [event.code.value for event in events if isinstance(event, Notice)]


def is_verified(events: list[FlowRunEvent]) -> bool:
    """Whether the watch came to its end, and the server's count is the number of lines told."""
    return isinstance(events[-1], Closed) and events[-1].verified
