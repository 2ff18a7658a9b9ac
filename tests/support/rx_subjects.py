"""What the rules of `tests/rx_contract` are checked on: subjects, faces, runs and observers.

A *subject* is an observable made of a watch: the watch itself, each of its parts, its views, its
pages, the watch as it is shared or divided by runs, each operator and each sink. A *face* is a way
to use it: subscribe, iterate, await.
"""

import asyncio
import io
import logging
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any

import loguru
import msgspec
import pytest
from reactivex import Observable, abc
from reactivex import operators as ops
from reactivex.scheduler.eventloop import AsyncIOScheduler
from sample_events import TASK
from virtual_world import BEGINNING, HOUR, TEST_TIMEOUT, Recording, World

import rxflow
from rxflow import (
    FlowRunEvent,
    FlowRunLog,
    FlowRunStream,
    Notice,
    NoticeCode,
    RunNotFound,
    operators,
    sinks,
    watch_flow_run,
    watch_flow_runs,
)
from rxflow.testing import FakePrefect3

LINES = 250
"""Log lines of a run that has ended: more than one page."""

Operator = Callable[[Observable[Any]], Observable[Any]]
SubjectOf = Callable[[FlowRunStream], Observable[Any]]

_server = FakePrefect3()
quiet_client = _server.client()
"""A client for `quiet_for`, of a server that has no run."""

_silent = logging.Logger("silent")  # noqa: LOG001 - neither handlers nor a parent's handlers
_silent.addHandler(logging.NullHandler())

PARTS: dict[str, SubjectOf] = {
    "the watch": lambda watch: watch,
    "states": attrgetter("states"),
    "logs": attrgetter("logs"),
    "tasks": attrgetter("tasks"),
    "notices": attrgetter("notices"),
    "views": lambda watch: watch.views(),
    "pages": lambda watch: watch.pages(),
}
SHARED: dict[str, SubjectOf] = {
    "shared": lambda watch: watch.shared(),
    "shared views": lambda watch: watch.shared().views(),
}


def by_run(watch: FlowRunStream) -> Observable[Any]:
    """Watch the run as one of many, and join the streams of all runs; without the run, fail."""
    runs = watch_flow_runs([watch.flow_run_id], stream_tasks=True, client=watch._client)
    return runs.by_run().flat_map(lambda run: run.do_action(_raise_if_not_found))


def _raise_if_not_found(event: FlowRunEvent) -> None:
    if isinstance(event, Notice) and event.code is NoticeCode.RUN_NOT_FOUND:
        raise RunNotFound(event.message)


OPERATORS: dict[str, Operator] = {
    "only": operators.only(FlowRunLog),
    "level_at_least": operators.level_at_least(20),
    "for_task": operators.for_task(TASK),
    "matching": operators.matching("line"),
    "until_terminal": operators.until_terminal(),
    "tail": operators.tail(3),
    "conflate": operators.conflate(id),
    "bounded": operators.bounded(1000),
    "in_order": operators.in_order(60),
    "rate": operators.rate(60),
    "quiet_for": operators.quiet_for(600, quiet_client),
}
SINKS: dict[str, Operator] = {
    "to_callable": sinks.to_callable(lambda _: None),
    "to_json_lines": sinks.to_json_lines(io.StringIO()),
    "to_loguru": sinks.to_loguru(loguru.logger.opt(capture=False)),
    "to_logging": sinks.to_logging(_silent),
}
SUBJECTS: dict[str, SubjectOf] = (
    PARTS
    | SHARED
    | {"by run": by_run}
    | {
        name: lambda watch, operator=operator: watch.pipe(operator)
        for name, operator in (OPERATORS | SINKS).items()
    }
)
# The items of these depend on the time at which an event arrived, so faces may differ.
TIME_DEPENDENT = {"rate"}
# These emit nothing for the runs below.
SILENT = {"quiet_for"}
EMITTING = {name: subject for name, subject in SUBJECTS.items() if name not in SILENT}

# One session of these is for all subscriptions, and runs on threads of rxflow or in virtual time.
COLD = [name for name in SUBJECTS if name not in SHARED]

each_cold_subject = pytest.mark.parametrize("name", COLD)
each_subject = pytest.mark.parametrize("name", SUBJECTS)
each_emitting_subject = pytest.mark.parametrize("name", EMITTING)


def subject(name: str, world: World, run_id: str) -> Observable[Any]:
    """Return a subject made of a watch of a run."""
    return SUBJECTS[name](watch(world, run_id))


def sessions_of(name: str, subscriptions: int) -> int:
    """Return how many sessions there are for a number of subscriptions at the same time."""
    return 1 if name in SHARED else subscriptions


def threads_of(name: str) -> set[str]:
    """Return the names of the threads that a subject may start where others start none."""
    names = {"rxflow-fetch", "rxflow-poll", "rxflow-worker"}
    return names if name in {*SHARED, "by run"} else set()


def watch(world: World, run_id: str) -> FlowRunStream:
    """Watch all parts of a run."""
    return watch_flow_run(run_id, stream_tasks=True, client=world.client)


# -- runs ---------------------------------------------------------------------------------------


def add_past_run(world: World, lines: int = LINES) -> str:
    """Add a run that ended an hour ago; return its id."""
    run_id = world.add_finished_run(lines=lines)
    world.server.set_task_state(run_id, TASK, "COMPLETED")
    world.server.log(run_id, "a line of a task", task_run_id=TASK)
    world.run(until=world.seconds + HOUR)
    return run_id


def add_live_run(world: World) -> str:
    """Add a run that starts at second 10, fails at 30, is rerun and ends at 50; return its id."""
    server, run_id = world.server, world.server.add_run(state="PENDING")
    world.at(10, lambda: server.set_state(run_id, "RUNNING"))
    for second in range(12, 30, 3):
        world.at(second, lambda: server.log(run_id, "line", task_run_id=TASK))
    world.at(20, lambda: server.set_task_state(run_id, TASK, "RUNNING"))
    world.at(30, lambda: server.set_state(run_id, "FAILED"))
    world.at(32, lambda: server.set_state(run_id, "RUNNING"))
    world.at(50, lambda: server.set_state(run_id, "COMPLETED"))
    world.at(52, lambda: server.log(run_id, "the last line"))
    return run_id


# -- faces --------------------------------------------------------------------------------------


def record(observable: Observable[Any], scheduler: abc.SchedulerBase | None) -> Recording[Any]:
    """Subscribe and wait for the end."""
    recording: Recording[Any] = Recording()
    recording.subscribe_to(observable, scheduler)
    recording.wait()
    return recording


async def record_on_loop(observable: Observable[Any]) -> Recording[Any]:
    """Subscribe on the running event loop and wait for the end."""
    over = asyncio.Event()
    recording: Recording[Any] = Recording()
    scheduler = AsyncIOScheduler(asyncio.get_running_loop())
    recording.subscribe_to(observable.pipe(ops.finally_action(over.set)), scheduler)
    async with asyncio.timeout(TEST_TIMEOUT):
        await over.wait()
    return recording


def items_of(recording: Recording[Any]) -> list[Any]:
    """Return the items of a stream that has completed; raise the error of one that failed."""
    if recording.error is not None:
        raise recording.error
    assert recording.completed
    return recording.values


async def collect(observable: Observable[Any]) -> list[Any]:
    """Return the items of an `async for` loop."""
    return [item async for item in rxflow.aiterate(observable)]


async def await_last(observable: Observable[Any]) -> list[Any]:
    """Return the last item, the only one that `await` returns."""
    return [await rxflow.Stream.of(observable)]


Face = Callable[[Observable[Any], World], list[Any]]

FACES: dict[str, Face] = {
    "subscribe": lambda observable, _: items_of(record(observable, None)),
    "virtual": lambda observable, world: items_of(world.watch(observable)),
    "asyncio": lambda observable, _: items_of(asyncio.run(record_on_loop(observable))),
    "for": lambda observable, _: list(rxflow.iterate(observable)),
    "async for": lambda observable, _: asyncio.run(collect(observable)),
    "await": lambda observable, _: asyncio.run(await_last(observable)),
}
each_face = pytest.mark.parametrize("face", FACES)


def without_close_times(values: Iterable[Any]) -> list[Any]:
    """Return items with the same timestamp in each `Closed`: the real one is the watch's."""
    return list(map(_without_close_time, values))


def _without_close_time(value: Any) -> Any:
    match value:
        case tuple():
            return tuple(map(_without_close_time, value))
        case rxflow.Closed():
            return msgspec.structs.replace(value, timestamp=BEGINNING)
        case _:
            return value


# -- observers ----------------------------------------------------------------------------------


class ObserverError(Exception):
    """Raised by the observers of these tests."""


class GrammarRecording(Recording[Any]):
    """A recording of the calls as letters: N for an item, E for the error, C for the completion.

    Attributes:
        calls: The letters, in order.
    """

    def __init__(self, raises_in: str = "") -> None:
        """Create an observer that has recorded nothing.

        Args:
            raises_in: The letter of the call that raises `ObserverError`; empty for none.
        """
        super().__init__()
        self.calls = ""
        self.raises_in = raises_in

    def on_next(self, value: Any) -> None:
        """Record an item."""
        super().on_next(value)
        self._record("N")

    def on_error(self, error: Exception) -> None:
        """Record the error."""
        super().on_error(error)
        self._record("E")

    def on_completed(self) -> None:
        """Record the completion."""
        super().on_completed()
        self._record("C")

    def _record(self, letter: str) -> None:
        self.calls += letter
        if letter == self.raises_in:
            raise ObserverError(letter)
