"""Rule: an observer is called by one thread at a time."""

from collections.abc import Callable
from typing import Any

import pytest
import reactivex as rx
from reactivex import Observable, abc
from reactivex import operators as ops
from reactivex.scheduler import (
    NewThreadScheduler,
    ThreadPoolScheduler,
    TimeoutScheduler,
)
from runtime_threads import JoinedEventLoopScheduler
from rx_subjects import OPERATORS, SINKS, Operator, add_past_run, quiet_client, watch
from virtual_world import OverlapRecording, World

from rxflow import operators


def event_loop_scheduler() -> tuple[abc.SchedulerBase, Callable[[], object]]:
    """Create a scheduler with one thread, and the function that ends it."""
    scheduler = JoinedEventLoopScheduler()
    return scheduler, scheduler.dispose


def pool_scheduler() -> tuple[abc.SchedulerBase, Callable[[], object]]:
    """Create a scheduler with four threads, and the function that ends them."""
    scheduler = ThreadPoolScheduler(4)
    return scheduler, scheduler.executor.shutdown


def do_nothing() -> None:
    """Do nothing: most schedulers end by themselves."""


SCHEDULERS: dict[str, Callable[[], tuple[abc.SchedulerBase | None, Callable[[], object]]]] = {
    "none": lambda: (None, do_nothing),
    "event loop": event_loop_scheduler,
    "pool": pool_scheduler,
    "new threads": lambda: (NewThreadScheduler(), do_nothing),
    "timeout": lambda: (TimeoutScheduler(), do_nothing),
}

# Short times: some schedulers of reactivex keep a thread for a cancelled timer until it is due.
SHORT_OPERATORS: dict[str, Operator] = (
    {"nothing": ops.map(lambda event: event)}
    | OPERATORS
    | SINKS
    | {
        "in_order": operators.in_order(0.05),
        "rate": operators.rate(0.05),
        "quiet_for": operators.quiet_for(0.05, quiet_client),
    }
)


@pytest.mark.parametrize("kind", SCHEDULERS)
@pytest.mark.parametrize("operator", SHORT_OPERATORS)
def test_calls_do_not_overlap(operator: str, kind: str, world: World) -> None:
    """Merged watches, each with fetches on other threads, call the observer one after the other."""
    run_ids = [add_past_run(world, lines=20), add_past_run(world, lines=20)]
    streams = [watch(world, run_id) for run_id in run_ids]
    merged: Observable[Any] = rx.merge(streams[0], streams[1].states, streams[1].logs)
    scheduler, shut = SCHEDULERS[kind]()
    recording = OverlapRecording()
    recording.subscribe_to(merged.pipe(SHORT_OPERATORS[operator]), scheduler)
    recording.wait()
    shut()
    assert (recording.overlaps, recording.error) == (0, None)
