"""A log is read by all faces alike, and a reader goes on from any position."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import aclosing, closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import reactivex
from reactivex import operators as ops
from runtime_threads import join_runtime_threads
from sample_events import OTHER, RUN, closed, line
from stream_faces import collect_async
from virtual_world import TEST_TIMEOUT

import rxflow
import rxflow.relay
from rxflow import ConfigurationError, FlowRunEvent, InvalidRunId, RelayLogLost
from rxflow.relay import stream
from rxflow.relay._memory import MemoryBroker, MemoryFaults, MemoryStore
from rxflow.relay._pages import pages_of

_names = count()
LINES: list[Any] = [line(number) for number in range(12)]
EVENTS: list[Any] = [*LINES, closed(20)]


class Log:
    """The log of one run in a store of its own."""

    def __init__(self) -> None:
        """Begin a log without pages."""
        name = f"stream-{next(_names)}"
        self.url, self.store = f"memory://{name}", MemoryStore.named(name)
        self._end = self._number = 0
        self._page_id = ""

    def append(self, *events: FlowRunEvent) -> None:
        """Append events as one page."""
        for page in pages_of(events, first=self._number, previous_id=self._page_id):
            position = self.store.append(("default", RUN), page, self._end)
            assert position is not None
            self._end, self._page_id = position, page.page_id
        self._number += len(events)

    def lose_end(self, count: int) -> None:
        """Lose the last pages, whose positions the next ones get, as after a power failure."""
        pages = self.store.logs["default", RUN].pages
        self._number = pages[-count][1].first
        del pages[-count:]
        self._end, self._page_id = pages[-1][0], pages[-1][1].page_id
        self.store._position = self._end


@pytest.fixture
def log() -> Iterator[Log]:
    """Begin a log; at the end no thread of rxflow is left."""
    yield Log()
    join_runtime_threads()


@pytest.fixture
def finished(log: Log) -> Log:
    """Begin a log of three pages, the last of which has `Closed`."""
    log.append(*LINES[:5])
    log.append(*LINES[5:])
    log.append(EVENTS[-1])
    return log


def subscribe(source: Any) -> list[Any]:
    """Subscribe, and wait for the end."""
    items: list[Any] = []
    ended = threading.Event()
    errors: list[Exception] = []

    def fail(error: Exception) -> None:
        errors.append(error)
        ended.set()

    source.subscribe(items.append, fail, ended.set)
    assert ended.wait(TEST_TIMEOUT)
    if errors:
        raise errors[0]
    return items


FACES = {"loop": list, "async loop": collect_async, "subscription": subscribe}


@pytest.mark.parametrize("face", FACES.values(), ids=FACES)
def test_all_faces_give_the_events(finished: Log, face: Any) -> None:
    """They are those of the log, in order, as events and as pages."""
    assert face(stream(finished.url, RUN)) == EVENTS
    assert face(stream(finished.url, RUN).pages()) == [
        *(tuple(LINES[:5]), tuple(LINES[5:]), (EVENTS[-1],))
    ]


def test_await_and_run_give_closed(finished: Log) -> None:
    """As a watch does."""

    async def wait() -> FlowRunEvent:
        return await stream(finished.url, RUN)

    assert asyncio.run(wait()) == stream(finished.url, RUN).run() == EVENTS[-1]


@pytest.mark.parametrize("face", FACES.values(), ids=FACES)
def test_events_that_come_later_are_followed(log: Log, face: Any) -> None:
    """A reader waits for them, and gets each once."""
    log.append(LINES[0])

    def write() -> None:
        for event in EVENTS[1:]:
            threading.Event().wait(0.01)
            log.append(event)

    writer = threading.Thread(target=write)
    writer.start()
    assert face(stream(log.url, RUN)) == EVENTS
    writer.join()


@pytest.mark.parametrize("face", FACES.values(), ids=FACES)
def test_faults_lose_and_repeat_nothing(finished: Log, face: Any) -> None:
    """Requests that are lost are sent again."""
    finished.store.faults = MemoryFaults(delay=0.005, lost_requests=0.3, lost_replies=0.3)
    assert face(stream(finished.url, RUN)) == EVENTS


# -- positions ------------------------------------------------------------------------------------


def test_a_loop_that_is_left_goes_on_from_the_position(finished: Log) -> None:
    """The position is that of the event which the loop's body handles."""
    for number in range(1, len(EVENTS)):
        reading = stream(finished.url, RUN)
        assert reading.position is None
        for _, event in zip(range(number), reading, strict=False):
            assert event in EVENTS
        rest = stream(finished.url, RUN, after=reading.position)
        assert [*rest] == EVENTS[number:]


def test_the_position_holds_for_operators_in_a_loop(finished: Log) -> None:
    """A pipeline is not ahead of its loop."""
    reading = stream(finished.url, RUN)
    odd: Any = reading.pipe(ops.filter(lambda event: event in LINES[1::2]))
    with closing(iter(odd)) as events:
        assert [next(events), next(events)] == [LINES[1], LINES[3]]
        position = reading.position
    assert [*stream(finished.url, RUN, after=position)] == EVENTS[4:]


def test_the_position_of_an_async_loop(finished: Log) -> None:
    """It is that of the event which the loop's body handles."""

    async def read(number: int) -> str | None:
        reading = stream(finished.url, RUN)
        async with aclosing(aiter(reading)) as events:
            for _ in range(number):
                await anext(events)
            return reading.position

    for number in (1, 4, 5, 6, 12):
        assert [*stream(finished.url, RUN, after=asyncio.run(read(number)))] == EVENTS[number:]


def test_the_position_within_on_next(finished: Log) -> None:
    """It is that of the event which is passed to the observer."""
    reading = stream(finished.url, RUN)
    positions = subscribe(reading.pipe(ops.map(lambda _: reading.position)))
    for number, position in enumerate(positions[:-1], 1):
        assert [*stream(finished.url, RUN, after=position)] == EVENTS[number:]


def test_the_position_of_pages(finished: Log) -> None:
    """It is that of the last event of the page."""
    reading = stream(finished.url, RUN)
    with closing(iter(reading.pages())) as pages:
        next(pages)
        position = reading.position
    assert [*stream(finished.url, RUN, after=position)] == EVENTS[5:]


def test_a_log_made_anew_is_lost_for_a_reader_that_goes_on(finished: Log) -> None:
    """The error says to read without after=; and that gives the new log."""
    reading = stream(finished.url, RUN)
    next(iter(reading))
    finished.store.logs.clear()
    other = Log()
    other.url, other.store = finished.url, finished.store
    other.append(*EVENTS)
    with pytest.raises(RelayLogLost, match="without after="):
        [*stream(finished.url, RUN, after=reading.position)]
    assert [*stream(finished.url, RUN)] == EVENTS


@pytest.mark.parametrize("read", range(1, 8))
def test_another_end_of_a_log_is_not_read_on(log: Log, read: int) -> None:
    """A reader that was handed an event of an end that the broker lost gets an error."""
    for first, end in ((0, 3), (3, 6), (6, 7)):
        log.append(*LINES[first:end])
    reading = stream(log.url, RUN)
    for event in reading:
        if event == LINES[read - 1]:
            break
    log.lose_end(2)
    log.append(*LINES[3:6])
    log.append(LINES[6], closed(20))
    resumed = stream(log.url, RUN, after=reading.position)
    if read <= 3:
        assert [*resumed] == [*LINES[read:7], closed(20)]
    else:
        with pytest.raises(RelayLogLost, match="read the run from its beginning"):
            list(resumed)


def test_a_reader_that_waits_learns_that_the_end_is_another(log: Log) -> None:
    """Though the pages that come have the positions that would follow."""
    log.append(*LINES[:3])
    log.append(LINES[3])
    with closing(iter(stream(log.url, RUN))) as events:
        assert [next(events) for _ in range(4)] == LINES[:4]
        log.lose_end(1)
        log.append(LINES[3])
        log.append(LINES[4])
        with pytest.raises(RelayLogLost):
            next(events)


# -- how it is used -------------------------------------------------------------------------------


def test_nothing_is_read_before_a_face_is_used(finished: Log) -> None:
    """The stream is cold, and says so."""
    reading = stream(finished.url, RUN)
    assert repr(reading) == f"<RelayedStream of {RUN}, not subscribed to until it is used>"
    assert reading.flow_run_id == RUN
    assert finished.store.wants == {}


@pytest.mark.parametrize("wants", [True, False])
def test_a_run_is_wanted_while_it_is_read(log: Log, wants: bool) -> None:
    """Unless the reader says that it is not to be."""
    log.append(LINES[0])
    with closing(iter(stream(log.url, RUN, wants=wants))) as events:
        next(events)
        log.append(LINES[1])
        next(events)
    assert [run_id for _, run_id in log.store.wants] == [RUN] * wants


def test_readers_of_a_loop_share_a_connection(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the runs, there is one for each URL and workspace, until the last has ended."""
    log.append(*EVENTS)
    opened: list[str] = []
    connect = log.store.connect

    def count_and_connect(workspace: str) -> MemoryBroker:
        opened.append(workspace)
        return connect(workspace)

    monkeypatch.setattr(log.store, "connect", count_and_connect)

    async def read() -> list[list[FlowRunEvent]]:
        streams = [stream(log.url, RUN) for _ in range(5)]
        return await asyncio.gather(*(_collect(each) for each in streams))

    assert asyncio.run(read()) == [EVENTS] * 5
    assert opened == ["default"]
    assert asyncio.run(read()) == [EVENTS] * 5
    assert opened == ["default"] * 2


async def _collect(source: Any) -> list[FlowRunEvent]:
    return [event async for event in source]


def test_a_cancelled_loop_releases_its_connection(log: Log) -> None:
    """No task is left."""
    log.append(LINES[0])

    async def read() -> None:
        reading = asyncio.create_task(_collect(stream(log.url, RUN)))
        await asyncio.sleep(0.05)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(read())


def test_a_timer_of_a_blocking_pipeline_ends_a_read(log: Log) -> None:
    """What is due while nothing comes happens."""
    log.append(LINES[0])
    assert [*stream(log.url, RUN).pipe(ops.take_until(reactivex.timer(0.2)))] == [LINES[0]]


@pytest.mark.timeout(60)
def test_a_loop_gets_what_an_operator_emits_while_nothing_comes(log: Log) -> None:
    """An operator that holds events for some time emits them without a further event of the run."""
    log.append(*LINES[:2])
    held = stream(log.url, RUN).pipe(ops.delay(0.2))
    with closing(rxflow.iterate(held)) as events:
        assert [next(events), next(events)] == LINES[:2]
        log.append(closed(20))
        assert [*events] == [closed(20)]


FORK = """
import os, sys
sys.path.insert(0, "tests/support")
from sample_events import RUN, closed, line
from rxflow import WatchInherited
from rxflow.relay import stream
from rxflow.relay._memory import MemoryStore
from rxflow.relay._pages import pages_of

all_events = [line(0), line(1), closed(2)]
end = 0
for page in pages_of(all_events, first=0):
    end = MemoryStore.named("fork").append(("default", RUN), page, end)
events = iter(stream("memory://fork", RUN))
first = next(events)
child = os.fork()
if child == 0:
    status = 1
    try:
        assert [*stream("memory://fork", RUN)] == all_events
        next(events)
    except WatchInherited:
        status = 0
    finally:
        os._exit(status)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert [first, *events] == all_events
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_begins_anew() -> None:
    """An inherited loop raises there, a new one reads, and the parent's goes on."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=TEST_TIMEOUT,
    )
    assert done.returncode == 0, done.stderr


def test_a_url_of_no_broker_is_the_first_error() -> None:
    """The error shows the URL's scheme, and what to pass; the rest may have a password."""
    with pytest.raises(ConfigurationError, match="begins with http://; pass one such as nats://"):
        [*stream("http://localhost", OTHER)]
    join_runtime_threads()


WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "url": ({"url": 7}, TypeError, "url"),
    "run": ({"flow_run_id": "nightly"}, InvalidRunId, "nightly"),
    "workspace": ({"workspace": None}, TypeError, "workspace"),
    "wants": ({"wants": "yes"}, TypeError, "wants"),
    "tls": ({"tls": True}, TypeError, r"tls is .*bool, not .*SSLContext.*create_default_context"),
    "after": ({"after": "yesterday"}, ValueError, "after"),
}


@pytest.mark.parametrize(("given", "error", "name"), WRONG.values(), ids=WRONG)
def test_arguments_are_checked_at_the_call(
    given: dict[str, Any], error: type[Exception], name: str
) -> None:
    """The error names the argument."""
    with pytest.raises(error, match=name):
        stream(**{"url": "memory://x", "flow_run_id": RUN, **given})


def test_the_package_is_lazy() -> None:
    """Its names are listed, and another is an error."""
    assert {"stream", "RelayedStream"} <= {*dir(rxflow.relay)}
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        rxflow.relay.nothing  # type: ignore[attr-defined] # noqa: B018


def test_another_thread_may_end_a_loop(log: Log) -> None:
    """As `take_until` does: the loop ends, and no error of a read that was broken off is raised."""
    log.append(*LINES)
    ended: reactivex.Subject[None] = reactivex.Subject()
    for event in stream(log.url, RUN).take_until(ended):
        if event == LINES[-1]:
            threading.Timer(0.05, ended.on_next, [None]).start()
