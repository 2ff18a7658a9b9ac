"""Every sink passes on what it has written, and its failure is the pipeline's error."""

import asyncio
import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import reactivex as rx
from hypothesis import given
from hypothesis import strategies as st
from reactivex import operators as ops
from reactivex.subject import Subject
from sink_pipelines import (
    LINES,
    STATE_CHANGE,
    Broken,
    EagerSource,
    Operator,
    failing_at,
    recording_of,
)
from virtual_world import TEST_TIMEOUT, Recording, World

from rxflow import Closed, FlowRunEvent, Stream, sinks, watch_flow_run

SINKS: dict[str, Callable[[Path], Operator]] = {
    "callable": lambda _: sinks.to_callable(repr),
    "path": sinks.to_json_lines,
    "stream": lambda _: sinks.to_json_lines(io.BytesIO()),
    "loguru": lambda _: sinks.to_loguru(),
    "logging": lambda _: sinks.to_logging(),
}

each_sink = pytest.mark.parametrize("sink", SINKS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of a file that does not exist yet."""
    return tmp_path / "run.jsonl"


@each_sink
def test_every_event_is_passed_on(sink: str, path: Path) -> None:
    """A sink passes on the same objects in the same order, and the completion."""
    recording = recording_of(rx.of(*LINES, STATE_CHANGE).pipe(SINKS[sink](path)))
    assert [*map(id, recording.values)] == [*map(id, [*LINES, STATE_CHANGE])]
    assert recording.completed


async def await_stream(stream: Stream[FlowRunEvent]) -> object:
    """Await a stream."""
    return await stream


RUNS: dict[str, Callable[[Stream[FlowRunEvent]], object]] = {
    "run": lambda stream: stream.run(),
    "await": lambda stream: asyncio.run(await_stream(stream)),
}


@each_sink
@pytest.mark.parametrize("way", RUNS)
def test_a_pipeline_that_had_nothing_to_write_gives_none(sink: str, way: str, path: Path) -> None:
    """`run` and `await` of a pipeline that ends in a sink need no item."""
    events: Stream[FlowRunEvent] = Stream.of(rx.of(*LINES))
    nothing = events.filter(lambda _: False).pipe(SINKS[sink](path))
    assert RUNS[way](nothing) is None
    assert RUNS[way](events.pipe(SINKS[sink](path))) == LINES[-1]
    failing: Stream[FlowRunEvent] = Stream.of(rx.throw(Broken()))
    with pytest.raises(Broken):
        RUNS[way](failing.pipe(SINKS[sink](path)))


@each_sink
def test_an_error_of_the_source_is_passed_on(sink: str, path: Path) -> None:
    """A sink passes an error on unchanged, after the events before it."""
    error = Broken()
    recording = recording_of(rx.concat(rx.of(*LINES), rx.throw(error)).pipe(SINKS[sink](path)))
    assert (recording.values, recording.error) == (LINES, error)


@each_sink
def test_nothing_happens_before_a_subscription(sink: str, path: Path) -> None:
    """Without a subscription neither the source nor the target is opened."""
    source = EagerSource(*LINES)
    source.pipe(SINKS[sink](path))
    assert source.subscribed == 0
    assert not path.exists()


@each_sink
def test_the_scheduler_is_passed_on(sink: str, path: Path, world: World) -> None:
    """A pipeline with a sink runs on the scheduler that it is subscribed with."""
    recording = world.watch(rx.timer(5.0).pipe(ops.map(lambda _: STATE_CHANGE), SINKS[sink](path)))
    assert recording.events == [(5, STATE_CHANGE)]


@each_sink
def test_a_stream_stays_a_stream(sink: str, path: Path) -> None:
    """A stream piped into a sink can be iterated, several times."""
    stream = Stream.of(rx.of(*LINES)).pipe(SINKS[sink](path))
    assert isinstance(stream, Stream)
    assert [*stream, *stream] == LINES * 2


@each_sink
def test_awaiting_drives_a_sink(sink: str, path: Path) -> None:
    """A pipeline with a sink can be awaited."""

    async def last() -> object:
        return await rx.of(*LINES).pipe(SINKS[sink](path))

    assert asyncio.run(last()) == LINES[-1]


# -- failures -----------------------------------------------------------------------------------


@given(length=st.integers(0, 6), number=st.integers(1, 6))
def test_all_items_passed_on_were_written(length: int, number: int) -> None:
    """A sink passes on all items before its failure, and writes none after it."""
    calls: list[object] = []
    source = EagerSource(*range(length))
    recording = recording_of(source.pipe(sinks.to_callable(failing_at(number, calls))))
    failed = number <= length
    assert calls == list(range(min(length, number)))
    assert recording.values == list(range(number - 1 if failed else length))
    assert isinstance(recording.error, Broken) is failed
    assert source.disposed == failed


def test_a_failure_is_emitted_once() -> None:
    """However much a source emits after a failure, there is one error and nothing else."""
    subject: Subject[int] = Subject()
    errors: list[Exception] = []
    completed: list[bool] = []
    subject.pipe(sinks.to_callable(failing_at(1, []))).subscribe(
        on_error=errors.append, on_completed=lambda: completed.append(True)
    )
    assert subject.observers
    subject.on_next(1)
    assert not subject.observers
    subject.on_next(2)
    subject.on_completed()
    assert [type(error) for error in errors] == [Broken]
    assert not completed


def test_a_failure_ends_only_its_own_watch(world: World) -> None:
    """A sink that fails ends its watch at that event, and no other watch."""
    run_id = world.add_finished_run(lines=5)
    stream = watch_flow_run(run_id, client=world.client)
    broken = world.subscribe(stream.pipe(sinks.to_callable(failing_at(4, []))))
    healthy = world.subscribe(stream.pipe(sinks.to_callable(repr)))
    world.run(until=60)
    assert isinstance(broken.error, Broken)
    assert len(broken.values) == 3
    assert [channel.close_count for channel in world.channels] == [1, 1]
    assert healthy.completed
    assert isinstance(healthy.values[-1], Closed)


def test_a_failure_ends_only_its_own_pipeline(
    world: World, reported: list[BaseException | None]
) -> None:
    """On rxflow's threads a failure is an error of its pipeline; a busy one beside it goes on."""
    run_id = world.add_finished_run()
    world.run(until=3600)
    stream = watch_flow_run(run_id, client=world.client)
    release = threading.Event()

    def hold(_: object) -> None:
        assert release.wait(TEST_TIMEOUT)

    healthy: Recording[FlowRunEvent] = Recording()
    healthy.subscribe_to(stream.pipe(sinks.to_callable(hold)))
    broken: Recording[FlowRunEvent] = Recording()
    broken.subscribe_to(stream.pipe(sinks.to_callable(failing_at(2, []))))
    release.set()
    broken.wait()
    healthy.wait()
    assert isinstance(broken.error, Broken)
    assert healthy.completed
    assert reported == []


def test_a_loop_raises_the_error_of_a_sink(world: World) -> None:
    """A loop over a pipeline whose sink fails yields the events written, then raises."""
    stream = watch_flow_run(world.add_finished_run(), client=world.client)
    seen: list[FlowRunEvent] = []
    with pytest.raises(Broken):
        seen.extend(iter_into(seen, stream.pipe(sinks.to_callable(failing_at(3, [])))))
    assert len(seen) == 2
    assert [channel.close_count for channel in world.channels] == [1]


def iter_into(seen: list[FlowRunEvent], stream: Stream[FlowRunEvent]) -> Iterator[FlowRunEvent]:
    """Append each event to a list, and yield none."""
    for event in stream:
        seen.append(event)  # noqa: PERF402 - they must be there when it raises
    yield from ()


@contextmanager
def unclosable_target() -> Iterator[Callable[[object], None]]:
    """Open a target that accepts every item and fails to close, as on a network disk."""
    yield lambda _: None
    raise Broken


def test_a_failure_to_close_is_an_error() -> None:
    """If the target fails to close, the pipeline does not complete but fails."""
    recording = recording_of(rx.of(1).pipe(sinks._sink(unclosable_target)))
    assert (recording.values, recording.completed) == ([1], False)
    assert isinstance(recording.error, Broken)


def test_the_first_error_is_emitted() -> None:
    """If the source fails and then the target fails to close, the error is the source's."""
    recording = recording_of(rx.throw(ValueError("first")).pipe(sinks._sink(unclosable_target)))
    assert str(recording.error) == "first"


def test_disposing_raises_a_failure_to_close() -> None:
    """If the target fails to close at disposal, disposing raises."""
    subscription = rx.never().pipe(sinks._sink(unclosable_target)).subscribe()
    with pytest.raises(Broken):
        subscription.dispose()


def test_disposing_during_a_write_does_not_wait(reported: list[BaseException | None]) -> None:
    """Disposing in the middle of a write, from another thread, neither waits nor fails."""
    writing, go_on = threading.Event(), threading.Event()

    def write(_: object) -> None:
        writing.set()
        assert go_on.wait(TEST_TIMEOUT)

    subject: Subject[int] = Subject()
    recording: Recording[int] = Recording()
    recording.subscribe_to(subject.pipe(sinks.to_callable(write)))
    writer = threading.Thread(target=lambda: subject.on_next(1))
    writer.start()
    assert writing.wait(TEST_TIMEOUT)
    recording.dispose()
    go_on.set()
    writer.join(TEST_TIMEOUT)
    assert (recording.values, recording.error, reported) == ([], None, [])


def test_retry_begins_anew() -> None:
    """After a failure a pipeline can be subscribed to again, by `retry` for instance."""
    calls: list[object] = []
    source = EagerSource(1, 2)
    recording = recording_of(source.pipe(sinks.to_callable(failing_at(2, calls)), ops.retry(2)))
    assert recording.values == [1, 1, 2]
    assert (source.subscribed, source.disposed) == (2, 1)


def test_a_coroutine_function_is_rejected() -> None:
    """A coroutine function is rejected at the call, since no code would await it."""

    async def store(_: object) -> None:
        """Never run."""

    with pytest.raises(TypeError, match="async for"):
        sinks.to_callable(store)
