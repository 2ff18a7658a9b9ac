"""All logs of a workspace are read as one stream, by all faces, and from any position."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import aclosing, closing
from itertools import count, islice
from typing import Any

import pytest
from reactivex import operators as ops
from runtime_threads import join_runtime_threads
from sample_events import OTHER, RUN, at, closed, line
from virtual_world import TEST_TIMEOUT

from rxflow import FlowRunEvent, FlowRunLog, Notice, NoticeCode
from rxflow._watching.watch_spec import EventSource
from rxflow.relay import RelayedStream, stream
from rxflow.relay._broker import RunPage, StoredPage
from rxflow.relay._memory import MemoryBroker, MemoryFaults, MemoryStore
from rxflow.relay._pages import MOST_BYTES, pages_of
from rxflow.relay._workspace_position import WorkspacePosition
from rxflow.relay._workspace_session import LogEnds, WorkspaceRead, WorkspaceSession

_names = count()
THIRD = "77d20c5e-54a7-4ff5-8e5f-1b0a0f6ad9f2"


def lines(run: str, *numbers: int) -> list[Any]:
    """Return lines of a run."""
    return [line(number, run=run) for number in numbers]


class Logs:
    """The logs of a workspace in a store of its own.

    Attributes:
        events: All events, in the order in which they were appended.
    """

    def __init__(self) -> None:
        """Begin without a log."""
        name = f"workspace-{next(_names)}"
        self.url, self.store = f"memory://{name}", MemoryStore.named(name)
        self.events: list[FlowRunEvent] = []
        self._ends: dict[str, tuple[int, int, str]] = {}  # position, number, page id

    def append(self, *events: FlowRunEvent, between: Callable[[], object] | None = None) -> None:
        """Append events of one run as one page, or as several; do something between two of them."""
        run = events[0].flow_run_id
        end, number, page_id = self._ends.get(run, (0, 0, ""))
        for index, page in enumerate(pages_of(events, first=number, previous_id=page_id)):
            if between is not None and index:
                between()
            position = self.store.append(("default", run), page, end)
            assert position is not None
            end, page_id = position, page.page_id
        self._ends[run] = end, number + len(events), page_id
        self.events += events

    def drop(self, run: str) -> None:
        """Drop the log of a run."""
        self.store.logs.pop(("default", run))
        del self._ends[run]

    def read(self, after: str | None = None) -> RelayedStream:
        """Return a stream of all runs."""
        return stream(self.url, "*", after=after)


@pytest.fixture
def logs() -> Iterator[Logs]:
    """Begin a workspace; at the end no thread of rxflow is left."""
    yield Logs()
    join_runtime_threads()


@pytest.fixture
def two(logs: Logs) -> Logs:
    """Begin with two runs, whose pages are mixed; one of them is over."""
    logs.append(*lines(RUN, 0, 1, 2))
    logs.append(*lines(OTHER, 0))
    logs.append(*lines(RUN, 3))
    logs.append(*lines(OTHER, 1, 2), closed(9, run=OTHER))
    return logs


def looped(source: Any, number: int) -> list[Any]:
    """Take items in a loop."""
    with closing(iter(source)) as items:
        return [*islice(items, number)]


def looped_async(source: Any, number: int) -> list[Any]:
    """Take items in an async loop."""

    async def collect() -> list[Any]:
        async with aclosing(aiter(source)) as items:
            return [await anext(items) for _ in range(number)]

    return asyncio.run(collect())


def subscribed(source: Any, number: int) -> list[Any]:
    """Take items by a subscription."""
    items: list[Any] = []
    ended = threading.Event()
    source.pipe(ops.take(number)).subscribe(items.append, print, ended.set)
    assert ended.wait(TEST_TIMEOUT)
    return items


FACES = {"loop": looped, "async loop": looped_async, "subscription": subscribed}

each_face = pytest.mark.parametrize("face", FACES.values(), ids=FACES)


@each_face
def test_all_faces_give_the_events_of_all_runs(two: Logs, face: Any) -> None:
    """They are in the order in which pages were stored, as events and as pages."""
    assert face(two.read(), 8) == two.events
    assert [len(page) for page in face(two.read().pages(), 4)] == [3, 1, 1, 3]


@each_face
def test_what_comes_later_is_followed(two: Logs, face: Any) -> None:
    """Runs that begin later are read as well, a run goes on after its `Closed`; nothing ends it."""

    def write() -> None:
        for number in range(10, 40):
            two.append(*lines((RUN, OTHER, THIRD)[number % 3], number))
            threading.Event().wait(0.002)

    writer = threading.Thread(target=write)
    writer.start()
    found = face(two.read(), 38)
    writer.join()
    assert found == two.events


def test_no_run_is_wanted(two: Logs) -> None:
    """A reader of all runs does not make a relay watch each."""
    assert looped(two.read(), 8) == two.events
    assert two.store.wants == {}


def test_faults_lose_and_repeat_nothing(two: Logs) -> None:
    """Requests that are lost are sent again."""
    two.store.faults = MemoryFaults(delay=0.005, lost_requests=0.3, lost_replies=0.3)
    assert looped(two.read(), 8) == two.events


# -- positions ------------------------------------------------------------------------------------


def test_a_reader_goes_on_after_any_event(two: Logs) -> None:
    """The position is that of the event which the loop's body handles."""
    for number in range(1, 8):
        reading = two.read()
        assert reading.position is None
        with closing(iter(reading)) as items:
            assert [*islice(items, number)] == two.events[:number]
            position = reading.position
        assert looped(two.read(position), 8 - number) == two.events[number:]
        assert looped_async(two.read(position), 8 - number) == two.events[number:]
        pages = looped(two.read(position).pages(), 1)
        assert [*pages[0]] == two.events[number : number + len(pages[0])]


def test_the_position_of_pages(two: Logs) -> None:
    """It is that of the last event of the page."""
    reading = two.read()
    with closing(iter(reading.pages())) as pages:
        next(pages)
        position = reading.position
    assert looped(two.read(position), 5) == two.events[3:]


def test_a_position_does_not_grow(logs: Logs) -> None:
    """It is a short text, whatever the number of runs."""
    for number in range(300):
        run = f"9e6caafc-4ea1-4493-b0a9-{number:012}"
        logs.append(*lines(run, 0, 1))
    reading = logs.read()
    with closing(iter(reading)) as items:
        assert [*islice(items, 599)] == logs.events[:599]
        assert len(str(reading.position)) < 80


def test_a_position_of_one_run_is_refused(two: Logs) -> None:
    """And that of all runs is refused for one."""
    reading = two.read()
    with closing(iter(reading)) as items:
        next(items)
    with pytest.raises(ValueError, match="not a position; pass the position of a stream of all"):
        stream(two.url, "*", after="abc.1.2")
    with pytest.raises(ValueError, match="not a position; pass the position of a stream of the"):
        stream(two.url, RUN, after=reading.position)


# -- logs that are dropped, made anew or lost -----------------------------------------------------


def test_a_log_that_is_dropped_is_left_out(two: Logs) -> None:
    """The stream goes on with the others, without an error; a position in it stays valid."""
    reading = two.read()
    with closing(iter(reading)) as items:
        next(items)
        position = reading.position
    two.drop(RUN)
    rest = [event for event in two.events if event.flow_run_id == OTHER]
    assert looped(two.read(position), 4) == rest
    assert looped(two.read(), 4) == rest


def test_a_log_that_is_made_anew_is_read_from_its_first_event(two: Logs) -> None:
    """No notice is needed, since its first event is `RunSeen` again."""
    with closing(iter(two.read())) as items:
        assert [*islice(items, 8)] == two.events
        two.drop(RUN)
        two.append(*lines(RUN, 0, 1))
        assert [next(items), next(items)] == lines(RUN, 0, 1)


def test_a_log_that_lost_pages_is_a_notice() -> None:
    """The notice names the run, and the events that are there follow."""
    (page,) = pages_of(lines(RUN, 3), first=3, previous_id="abc")
    stored = StoredPage(9, 7, page, None)
    session = WorkspaceSession("default", WorkspacePosition(), print, keeps_pages=False)
    read = WorkspaceRead(run_pages=(RunPage(RUN, stored, ""),))
    ((_, (notice,)),) = session.receive(read.as_reply(), at(0))
    assert isinstance(notice, Notice)
    assert (notice.flow_run_id, notice.code) == (RUN, NoticeCode.LOG_LOST)
    assert session.wake(at(0)) == ((EventSource.NOTICES, tuple(lines(RUN, 3))),)


@pytest.mark.parametrize(("previous", "follows"), [(0, True), (5, True), (3, False), (7, False)])
def test_which_page_follows(previous: int, follows: object) -> None:
    """After page 5 comes one that names it, or the first of a log made anew."""
    store = MemoryStore()
    (page,) = pages_of(lines(RUN, 0), first=0)
    store.append(("default", RUN), page, 0)
    (stored,) = store.read(("default", RUN), 0, 1)
    ends = LogEnds(4)
    assert ends.follows(RUN, stored._replace(position=5, previous=4))
    assert ends.follows(RUN, stored._replace(position=9, previous=previous)) == follows


def test_a_log_that_was_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the most recent logs the ends are known; of others, no page is called lost."""
    monkeypatch.setattr("rxflow.relay._workspace_session._MOST_ENDS", 1)
    store = MemoryStore()
    (page,) = pages_of(lines(RUN, 0), first=0)
    store.append(("default", RUN), page, 0)
    (stored,) = store.read(("default", RUN), 0, 1)
    ends = LogEnds(0)
    assert not ends.follows(RUN, stored._replace(position=5, previous=4))
    assert ends.follows(OTHER, stored._replace(position=6, previous=0))
    assert ends.follows(RUN, stored._replace(position=7, previous=5))
    assert not ends.follows(THIRD, stored._replace(position=9, previous=8))


# -- events that are too large for a page ---------------------------------------------------------


def test_an_event_in_parts_is_whole(logs: Logs) -> None:
    """Pages of other runs may come between its parts, and a reader may go on between them."""
    large = line(1, "x" * (2 * MOST_BYTES + 9))
    others: list[Any] = []

    def other() -> None:
        others.extend(lines(OTHER, len(others)))
        logs.append(others[-1])

    logs.append(*lines(RUN, 0))
    logs.append(large, between=other)
    logs.append(*lines(RUN, 2))
    first, last = lines(RUN, 0), lines(RUN, 2)
    expected = [*first, *others, large, *last]
    count = len(expected)
    assert looped(logs.read(), count) == expected
    for number in range(1, count):
        reading = logs.read()
        with closing(iter(reading)) as items:
            assert [*islice(items, number)] == expected[:number]
            position = reading.position
        assert looped(logs.read(position), count - number) == expected[number:]


def test_the_log_of_an_event_in_parts_is_dropped(
    logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a part before is gone, the event is left out."""

    async def gone(*_: object) -> None:
        return None

    monkeypatch.setattr(MemoryBroker, "page_at", gone)
    logs.append(line(1, "x" * (MOST_BYTES + 9)))
    logs.append(*lines(OTHER, 0))
    (event,) = looped(logs.read(), 1)
    assert isinstance(event, FlowRunLog)
    assert event.flow_run_id == OTHER


# -- how it is used -------------------------------------------------------------------------------


def test_a_stream_of_all_runs_says_so(two: Logs) -> None:
    """Its id is the one that was passed."""
    assert two.read().flow_run_id == "*"
    assert repr(two.read()).startswith("<RelayedStream of all runs")
