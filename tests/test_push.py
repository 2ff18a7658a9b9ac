"""Push: a server announces changes, so that they are polled for at once, on every face."""

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("websockets")

from reactivex import operators as ops
from reactivex.scheduler.eventloop import AsyncIOScheduler
from runtime_threads import JoinedEventLoopScheduler, join_runtime_threads
from virtual_world import TEST_TIMEOUT, Recording

from rxflow import (
    Client,
    Closed,
    FlowRunEvent,
    FlowRunLog,
    Notice,
    NoticeCode,
    StateChange,
    watch_flow_run,
    watch_flow_runs,
)
from rxflow._protocol.intervals import PollInterval
from rxflow.stream import Stream
from rxflow.testing import FakePrefect3

pytestmark = pytest.mark.timeout(TEST_TIMEOUT)

HOUR = 3600.0
STEPS = ["Running", "Running", "Running", "Completed"]


def wait_until(predicate: Callable[[], object]) -> None:
    """Look again and again until a predicate is true; a test's time-out is the limit."""
    while not predicate():
        threading.Event().wait(0.01)


@pytest.fixture
def server() -> Iterator[FakePrefect3]:
    """Make a server, and check that no client and no thread is left at the end."""
    server = FakePrefect3()
    server.announces = {"events", "logs"}
    yield server
    wait_until(lambda: client_count(server) == 0)
    join_runtime_threads()


@pytest.fixture
def url(server: FakePrefect3) -> Iterator[str]:
    """Serve it."""
    with server.serve() as url:
        yield url


@pytest.fixture
def _rare_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Poll once an hour, unless something was announced."""
    monkeypatch.setattr(PollInterval, "next_delay", lambda *_, **__: HOUR)


def client_count(server: FakePrefect3) -> int:
    """Return how many clients are subscribed."""
    return len(server._announcer._queues)


class Life(threading.Thread):
    """Changes runs once they are subscribed to, each time when the change before was seen."""

    def __init__(self, server: FakePrefect3, *runs: str, topics: int = 2) -> None:
        """Start.

        Args:
            server: The server.
            runs: The runs.
            topics: How many websockets to wait for.
        """
        super().__init__()
        self._server, self._runs, self._topics = server, runs, topics
        self._seen: set[str] = set()
        self.stopped = False
        self.start()

    def see(self, event: FlowRunEvent) -> None:
        """Receive an event of the watch."""
        if isinstance(event, StateChange | FlowRunLog):
            self._seen.add(event.id)

    def run(self) -> None:
        """Change the runs."""
        wait_until(lambda: client_count(self._server) >= self._topics or self.stopped)
        for run in self._runs:
            for step in STEPS:
                line = self._server.log(run, "a line")
                state = self._server.set_state(run, step.upper())
                self._wait_for({line, state})

    def _wait_for(self, ids: set[str]) -> None:
        wait_until(lambda: ids <= self._seen or self.stopped)


def by_loop(stream: Stream[FlowRunEvent], see: Callable[[FlowRunEvent], None]) -> None:
    """Iterate."""
    for event in stream:
        see(event)


def by_async_loop(stream: Stream[FlowRunEvent], see: Callable[[FlowRunEvent], None]) -> None:
    """Iterate on an event loop, on which nothing is left."""

    async def run() -> None:
        async for event in stream:
            see(event)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())


def by_subscription(stream: Stream[FlowRunEvent], see: Callable[[FlowRunEvent], None]) -> None:
    """Subscribe."""
    recording: Recording[FlowRunEvent] = Recording()
    recording.subscribe_to(stream.pipe(ops.do_action(see)))
    recording.wait()


def by_own_thread(stream: Stream[FlowRunEvent], see: Callable[[FlowRunEvent], None]) -> None:
    """Subscribe with a scheduler that has a thread of its own."""
    recording: Recording[FlowRunEvent] = Recording()
    scheduler = JoinedEventLoopScheduler()
    recording.subscribe_to(stream.pipe(ops.do_action(see)), scheduler)
    recording.wait()
    scheduler.dispose()


def by_asyncio(stream: Stream[FlowRunEvent], see: Callable[[FlowRunEvent], None]) -> None:
    """Subscribe with the scheduler of an event loop."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        ended = loop.create_future()
        stream.subscribe(
            see,
            ended.set_exception,
            lambda: ended.set_result(None),
            scheduler=AsyncIOScheduler(loop),
        )
        await ended

    asyncio.run(run())


FACES = [by_loop, by_async_loop, by_subscription, by_own_thread, by_asyncio]


@pytest.mark.usefixtures("_rare_polls")
@pytest.mark.parametrize("has_journal", [False, True], ids=["", "journal"])
@pytest.mark.parametrize("face", FACES, ids=lambda face: face.__name__)
def test_changes_are_delivered_on_every_face(
    face: Callable[..., None], has_journal: bool, server: FakePrefect3, url: str, tmp_path: Path
) -> None:
    """Each state and line, where a poll is due once an hour; and the watch ends."""
    run_id = server.add_run(state="RUNNING")
    life = Life(server, run_id)
    events: list[Any] = []

    def see(event: FlowRunEvent) -> None:
        events.append(event)
        life.see(event)

    journal = tmp_path / "run.jsonl" if has_journal else None
    face(watch_flow_run(run_id, drain=0, journal=journal, client=Client(api_url=url)), see)
    life.join()
    states = [event.state.name for event in events if isinstance(event, StateChange)]
    assert states == ["Running", *STEPS]
    assert len([event for event in events if isinstance(event, FlowRunLog)]) == len(STEPS)
    assert isinstance(events[-1], Closed)
    assert events[-1].verified


@pytest.mark.usefixtures("_rare_polls")
def test_changes_of_many_runs_are_delivered(server: FakePrefect3, url: str) -> None:
    """Of each of them."""
    runs = [server.add_run(state="RUNNING") for _ in range(3)]
    life = Life(server, *runs)
    stream = watch_flow_runs(runs, drain=0, client=Client(api_url=url))
    events = []
    for event in stream:
        events.append(event)
        life.see(event)
    life.join()
    for run in runs:
        own = [event for event in events if event.flow_run_id == run]
        states = [event.state.name for event in own if isinstance(event, StateChange)]
        assert states == ["Running", *STEPS]


@pytest.mark.parametrize("has_journal", [False, True], ids=["", "journal"])
def test_where_nothing_is_announced_the_watch_polls(
    has_journal: bool, server: FakePrefect3, url: str, tmp_path: Path
) -> None:
    """A notice says so, once, and all is delivered."""
    server.announces = ()
    run_id = server.add_run(state="RUNNING")
    life = Life(server, run_id, topics=0)
    journal = tmp_path / "run.jsonl" if has_journal else None
    events = []
    for event in watch_flow_run(run_id, drain=0, journal=journal, client=Client(api_url=url)):
        events.append(event)
        life.see(event)
    life.join()
    notices = [event for event in events if isinstance(event, Notice)]
    assert [notice.code for notice in notices] == [NoticeCode.PUSH_UNAVAILABLE]
    states = [event.state.name for event in events if isinstance(event, StateChange)]
    assert states == ["Running", *STEPS]


def test_nothing_is_connected_if_push_is_off(server: FakePrefect3, url: str) -> None:
    """The watch polls, and says nothing of it."""
    run_id = server.add_run(state="RUNNING")
    life = Life(server, run_id, topics=0)
    counts = set()
    for event in watch_flow_run(run_id, drain=0, push=False, client=Client(api_url=url)):
        assert not isinstance(event, Notice)
        counts.add(client_count(server))
        life.see(event)
    life.join()
    assert counts == {0}


def test_a_dispose_closes_the_websockets(server: FakePrefect3, url: str) -> None:
    """From another thread, while nothing happens; the fixture checks what is left."""
    run_id = server.add_run(state="RUNNING")
    recording: Recording[FlowRunEvent] = Recording()
    recording.subscribe_to(watch_flow_run(run_id, client=Client(api_url=url)))
    wait_until(lambda: client_count(server) == 2)
    recording.dispose()
    wait_until(lambda: client_count(server) == 0)
    assert not recording.completed


def test_a_loop_that_is_left_closes_the_websockets(server: FakePrefect3, url: str) -> None:
    """As soon as its generator is closed."""
    run_id = server.add_run(state="RUNNING")
    events = iter(watch_flow_run(run_id, client=Client(api_url=url)))

    def log_once_they_are_open() -> None:  # which they are while the loop waits
        wait_until(lambda: client_count(server) == 2)
        server.log(run_id, "a line")

    thread = threading.Thread(target=log_once_they_are_open)
    thread.start()
    while not isinstance(next(events), FlowRunLog):
        pass
    thread.join()
    events.close()
    wait_until(lambda: client_count(server) == 0)
    assert list(events) == []


def test_a_cancelled_task_closes_the_websockets(server: FakePrefect3, url: str) -> None:
    """Those of a watch on an event loop."""
    run_id = server.add_run(state="RUNNING")

    async def run() -> None:
        async def watch() -> None:
            async for _ in watch_flow_run(run_id, client=Client(api_url=url)):
                pass

        task = asyncio.create_task(watch())
        await asyncio.to_thread(wait_until, lambda: client_count(server) == 2)
        task.cancel()
        await asyncio.wait([task])
        await asyncio.to_thread(wait_until, lambda: client_count(server) == 0)
        assert task.cancelled()

    asyncio.run(run())


@pytest.mark.usefixtures("_rare_polls")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_leaves_the_websockets_alone(server: FakePrefect3, url: str) -> None:
    """The parent's go on, while the child lives and after it has ended."""
    run_id = server.add_run(state="RUNNING")
    recording: Recording[FlowRunEvent] = Recording()
    life = Life(server, run_id, topics=3)
    stream = watch_flow_run(run_id, drain=0, client=Client(api_url=url))
    recording.subscribe_to(stream.pipe(ops.do_action(life.see)))
    wait_until(lambda: client_count(server) == 2)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    life._topics = 2
    recording.wait()
    life.join()
    os.close(writer)
    os.close(reader)
    os.waitpid(child, 0)
    assert isinstance(recording.values[-1], Closed)


def test_other_values_of_push_are_refused() -> None:
    """At the call, with the values that there are."""
    run_id = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"
    for value in (True, "off"):
        with pytest.raises(ValueError, match="push must be 'auto' or False"):
            watch_flow_run(run_id, push=value)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="push"):
        watch_flow_runs([run_id], push=None)  # type: ignore[arg-type]
