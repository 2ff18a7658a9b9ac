"""The types of the public API, checked by mypy and pyright; never run."""

from collections.abc import AsyncGenerator, Generator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, assert_type
from uuid import UUID, uuid4

import reactivex
from reactivex import Observable
from reactivex import operators as ops

import rxflow
import rxflow.relay
from rxflow import sinks
from rxflow.operators import (
    bounded,
    conflate,
    for_task,
    in_order,
    level_at_least,
    matching,
    only,
    quiet_for,
    rate,
    tail,
    until_terminal,
)

stream = rxflow.watch_flow_run("9e6caafc-4ea1-4493-b0a9-122efba9eaaa")
assert_type(stream, rxflow.FlowRunStream)
# What people hold is accepted as it is.
run_id = UUID("9e6caafc-4ea1-4493-b0a9-122efba9eaaa")
rxflow.watch_flow_run(run_id, since=datetime(2026, 11, 22, tzinfo=UTC), level="WARNING")
journaled = rxflow.watch_flow_run(run_id, journal=Path("run"), replay=True, on_full="continue")
assert_type(journaled, rxflow.FlowRunStream)
journaled_runs = rxflow.watch_flow_runs([run_id], journal="runs", replay=True, on_full="error")
assert_type(journaled_runs, rxflow.FlowRunsStream)
checkpointed = rxflow.watch_flow_run(run_id, checkpoint=Path("run.ckpt"), acknowledge="manual")
assert_type(checkpointed, rxflow.FlowRunStream)
checkpointed_runs = rxflow.watch_flow_runs([run_id], checkpoint="runs", acknowledge="auto")
assert_type(checkpointed_runs, rxflow.FlowRunsStream)
rxflow.watch_flow_run(run_id, checkpoint="run", acknowledge="no")  # type: ignore[arg-type] # pyright: ignore # noqa: PGH003
rxflow.watch_flow_run(run_id, on_full="stop")  # type: ignore[arg-type] # pyright: ignore # noqa: PGH003
assert_type(rxflow.FlowRunView.from_flow_run_id(run_id), rxflow.FlowRunView)
assert_type(rxflow.TaskRunView.from_task_run_id(run_id), rxflow.TaskRunView)
assert_type(rxflow.FlowView.from_id(run_id), rxflow.FlowView)
assert_type(iter(stream), Generator[rxflow.FlowRunEvent])
assert_type(aiter(stream), AsyncGenerator[rxflow.FlowRunEvent])
assert_type(stream.logs, rxflow.Stream[rxflow.FlowRunLog])
assert_type(stream.states, rxflow.Stream[rxflow.StateChange | rxflow.RunChanged])
assert_type(stream.views(), rxflow.Stream[rxflow.FlowRunView])
assert_type(stream.pages(), rxflow.Stream[tuple[rxflow.FlowRunEvent, ...]])
assert_type(
    stream.logs.level_at_least("ERROR").pages(), rxflow.Stream[tuple[rxflow.FlowRunLog, ...]]
)

assert_type(stream[-1], rxflow.Stream[rxflow.FlowRunEvent])
assert_type(stream.logs[10:], rxflow.Stream[rxflow.FlowRunLog])
assert_type(rxflow.FlowRunFailed("").state, rxflow.State | None)

# Names are imported when they are first used; each has its type, and a misspelt one is an error.
assert_type(rxflow.fold(None, rxflow.decode_event(b"")), rxflow.Snapshot | None)
assert_type(stream.pipe(rxflow.operators.tail(2)), rxflow.Stream[tuple[rxflow.FlowRunEvent, ...]])
rxflow.watch_flow_rum  # type: ignore[attr-defined] # pyright: ignore # noqa: B018, PGH003

for line in stream.logs:
    assert_type(line.message, str)
    assert_type(line.level, int)

for view in stream.views():
    assert_type(view.state, rxflow.State | None)

taken = stream.logs.pipe(ops.take(2))
assert_type(taken, rxflow.Stream[rxflow.FlowRunLog])

assert_type(rxflow.wait_for_flow_run("9e6caafc", timeout=60), rxflow.FlowRunView)

assert_type(rxflow.check_for_compatible_agents(["gpu"], since_minutes=5), str)
rxflow.stream_flow_run_logs("9e6caafc", timedelta(hours=1))

# An operator's result has its type in `pipe`, whatever follows it.
assert_type(stream.pipe(only(rxflow.FlowRunLog)), rxflow.Stream[rxflow.FlowRunLog])
assert_type(
    stream.pipe(only(rxflow.StateChange, rxflow.Closed)),
    rxflow.Stream[rxflow.StateChange | rxflow.Closed],
)
assert_type(
    stream.pipe(only(rxflow.FlowRunLog), matching("x"), level_at_least("ERROR"), tail(20)),
    rxflow.Stream[tuple[rxflow.FlowRunLog, ...]],
)
assert_type(
    stream.pipe(for_task("9e6caafc-4ea1-4493-b0a9-122efba9eaaa")),
    rxflow.Stream[rxflow.FlowRunLog | rxflow.TaskRunStateChange],
)
assert_type(
    stream.pipe(until_terminal(), in_order(lateness=2), bounded(500, "drop_oldest")),
    rxflow.Stream[rxflow.FlowRunEvent],
)
assert_type(
    stream.views().pipe(conflate(lambda view: view.flow_run_id)),
    rxflow.Stream[rxflow.FlowRunView],
)
assert_type(stream.pipe(quiet_for(600)), rxflow.Stream[rxflow.Quiet])
assert_type(stream.pipe(quiet_for(600), level_at_least(30)), rxflow.Stream[rxflow.Quiet])
assert_type(stream.logs.pipe(rate(60)), rxflow.Stream[rxflow.Rate])
assert_type(reactivex.of(1, "one").pipe(rxflow.operators.only(int)), Observable[int])

# The operators are methods as well, of the same types.
assert_type(stream.only(rxflow.FlowRunLog), rxflow.Stream[rxflow.FlowRunLog])
assert_type(
    stream.only(rxflow.StateChange, rxflow.Closed),
    rxflow.Stream[rxflow.StateChange | rxflow.Closed],
)
assert_type(stream.level_at_least("ERROR").tail(20), rxflow.Stream[tuple[rxflow.FlowRunEvent, ...]])
assert_type(
    stream.logs.matching("x").in_order(2).until_terminal(), rxflow.Stream[rxflow.FlowRunLog]
)
assert_type(
    stream.for_task("9e6caafc-4ea1-4493-b0a9-122efba9eaaa").bounded(500, "drop_oldest"),
    rxflow.Stream[rxflow.FlowRunLog | rxflow.TaskRunStateChange],
)
assert_type(
    stream.views().conflate(lambda view: view.flow_run_id), rxflow.Stream[rxflow.FlowRunView]
)
assert_type(stream.quiet_for(600).level_at_least(30), rxflow.Stream[rxflow.Quiet])
assert_type(stream.logs.rate(60), rxflow.Stream[rxflow.Rate])

# A fluent call returns a stream, which can be iterated.
assert_type(stream.map(lambda event: event.message), rxflow.Stream[str])
assert_type(stream.logs.filter(lambda line: line.level >= 40), rxflow.Stream[rxflow.FlowRunLog])
assert_type(stream.scan(lambda number, _: number + 1, 0), rxflow.Stream[int])
assert_type(
    stream.logs.take(3).pairwise(), rxflow.Stream[tuple[rxflow.FlowRunLog, rxflow.FlowRunLog]]
)
assert_type(stream.logs.buffer_with_time(1.0), rxflow.Stream[list[rxflow.FlowRunLog]])
assert_type(stream.count(), rxflow.Stream[int])
assert_type(stream.logs.merge(stream.logs), rxflow.Stream[rxflow.FlowRunLog])
assert_type(stream.logs.default_if_empty(), rxflow.Stream[rxflow.FlowRunLog | None])
for message in stream.logs.filter(lambda line: line.level >= 40).map(lambda line: line.message):
    assert_type(message, str)
written = stream.logs.pipe(sinks.to_json_lines("run.jsonl"))
assert_type(written, rxflow.Stream[rxflow.FlowRunLog])
assert_type(stream.pipe(sinks.to_loguru()), rxflow.Stream[rxflow.FlowRunEvent])
assert_type(stream.pipe(sinks.to_logging(), ops.take(1)), rxflow.Stream[rxflow.FlowRunEvent])
assert_type(stream.pipe(sinks.to_callable(print)), rxflow.Stream[rxflow.FlowRunEvent])
assert_type(stream.views().pipe(sinks.to_callable(print)), rxflow.Stream[rxflow.FlowRunView])
assert_type(rxflow.encode_event(rxflow.decode_event("{}")), bytes)

assert_type(stream.logs.pipe(sinks.to_callable(print)).run_to_end(), int)
assert_type(stream.shared(), rxflow.FlowRunStream)
assert_type(stream.shared().logs, rxflow.Stream[rxflow.FlowRunLog])
many = rxflow.watch_flow_runs(["9e6caafc-4ea1-4493-b0a9-122efba9eaaa"])
assert_type(many.shared(), rxflow.FlowRunsStream)
for run in many.by_run():
    assert_type(run, rxflow.FlowRunStream)
    assert_type(run.flow_run_id, str)

# Type checkers know the class from the kind.
for event in stream:
    if event.kind == "log":
        assert_type(event, rxflow.FlowRunLog)
    assert_type(rxflow.to_dict(event)["kind"], Any)

# The views, as Prefect 1 had them.
flow_run = rxflow.FlowRunView.from_flow_run_id("9e6caafc-4ea1-4493-b0a9-122efba9eaaa")
assert_type(flow_run, rxflow.FlowRunView)
assert_type(flow_run.get_latest(), rxflow.FlowRunView)
assert_type(flow_run.duration, timedelta | None)
assert_type(flow_run.progress, float | None)
assert_type(flow_run.task_run_counts["COMPLETED"], int)
assert_type(flow_run.get_logs(), list[rxflow.FlowRunLog])
assert_type(flow_run.get_task_run("load", map_index=0), rxflow.TaskRunView)
assert_type(flow_run.get_all_task_runs(), list[rxflow.TaskRunView])
assert_type(flow_run.get_task_run_ids(), list[str])
assert_type(flow_run.get_flow_metadata(), rxflow.FlowView)
assert_type(flow_run.timeline(subflows=False), rxflow.Timeline)
assert_type(flow_run.timeline().svg, str)
assert_type(flow_run.get_task_run("load").states, tuple[rxflow.State, ...])
assert_type(rxflow.TaskRunView.from_task_slug("load", "9e6caafc"), rxflow.TaskRunView)
assert_type(flow_run.get_task_run("load").iter_mapped(), Iterator[rxflow.TaskRunView])
assert_type(rxflow.FlowView.from_flow_name("orders").version, str | None)
assert_type(rxflow.FlowView.from_id("9e6caafc"), rxflow.FlowView)
assert_type(rxflow.FlowView.from_flow_group_id("9e6caafc"), rxflow.FlowView)


async def read(view: rxflow.FlowRunView) -> None:
    """The async twins return the same types."""
    assert_type(await stream.logs.arun_to_end(), int)
    assert_type(await view.aget_task_run("load"), rxflow.TaskRunView)
    assert_type(await rxflow.acheck_for_compatible_agents(view.labels), str)
    assert_type(await view.aget_all_task_runs(), list[rxflow.TaskRunView])
    assert_type(await view.aget_flow_metadata(), rxflow.FlowView)
    assert_type(await view.atimeline(), rxflow.Timeline)
    assert_type(await rxflow.alist_flow_runs(), list[rxflow.FlowRunView])
    assert_type(await rxflow.FlowView.afrom_id("9e6caafc"), rxflow.FlowView)
    async for task_run in view.get_task_run("load").aiter_mapped():
        assert_type(task_run, rxflow.TaskRunView)


# A recording has events; its replay is used as a watch of many runs is.
assert_type(rxflow.record(stream, "night.jsonl"), rxflow.Stream[rxflow.FlowRunEvent])
assert_type(stream.logs.record(Path("a.gz"), overwrite=True), rxflow.Stream[rxflow.FlowRunLog])
assert_type(rxflow.replay(Path("night.jsonl"), speed=None), rxflow.ReplayedStream)
assert_type(rxflow.replay("night.jsonl", 60).logs, rxflow.Stream[rxflow.FlowRunLog])
reactivex.of(1).pipe(ops.map(str)).record("a")  # type: ignore[attr-defined] # pyright: ignore # noqa: PGH003

# Lists of runs, by one value or several of each filter.
assert_type(rxflow.list_flow_runs(), list[rxflow.FlowRunView])
rxflow.list_flow_runs(deployment="report/nightly", states="FAILED", tags=["prod"], limit=7)
rxflow.list_flow_runs(flow=["report", uuid4()], states=[rxflow.StateType.FAILED, "Late"])
rxflow.list_flow_runs(parent=uuid4(), name=("a", "b"), work_pool="kubernetes")


assert_type(rxflow.watch_flow_runs(tags=["prod"], states="RUNNING"), rxflow.FlowRunsStream)
assert_type(rxflow.wait_for_flow_runs(deployment="a/b", timeout=60), list[rxflow.FlowRunView])


# A predicate of a state is a bool, with or without a call.
if flow_run.state is not None and flow_run.state.is_finished:
    assert_type(flow_run.state.is_failed(), bool)
assert_type(sorted(flow_run.get_logs()), list[rxflow.FlowRunLog])

relayed = rxflow.relay.stream("nats://localhost:4222", run_id, workspace="prod", after=None)
assert_type(relayed, rxflow.relay.RelayedStream)
assert_type(relayed.position, str | None)
assert_type(iter(relayed), Generator[rxflow.FlowRunEvent])
assert_type(rxflow.relay.consume("nats://localhost:4222", "alerts"), rxflow.relay.GroupStream)
assert_type(relayed.pages(), rxflow.Stream[tuple[rxflow.FlowRunEvent, ...]])
