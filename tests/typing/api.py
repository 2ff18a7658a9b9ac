"""What users of the public API see, as the type checkers see it; never run."""

from collections.abc import Iterator
from typing import assert_type

from reactivex import operators as ops

import rxflow
from rxflow import sinks

stream = rxflow.watch_flow_run("9e6caafc-4ea1-4493-b0a9-122efba9eaaa")
assert_type(stream, rxflow.FlowRunStream)
assert_type(iter(stream), Iterator[rxflow.FlowRunEvent])
assert_type(stream.logs, rxflow.Stream[rxflow.FlowRunLog])
assert_type(stream.states, rxflow.Stream[rxflow.StateChange | rxflow.RunChanged])
assert_type(stream.views(), rxflow.Stream[rxflow.FlowRunView])

for line in stream.logs:
    assert_type(line.message, str)
    assert_type(line.level, int)

for view in stream.views():
    assert_type(view.state, rxflow.State | None)

taken = stream.logs.pipe(ops.take(2))
assert_type(taken, rxflow.Stream[rxflow.FlowRunLog])

assert_type(rxflow.wait_for_flow_run("9e6caafc", timeout=60), rxflow.FlowRunView)

written = stream.logs.pipe(sinks.to_json_lines("run.jsonl"))
assert_type(written, rxflow.Stream[rxflow.FlowRunLog])
assert_type(stream.pipe(sinks.to_loguru()), rxflow.Stream[rxflow.FlowRunEvent])
assert_type(stream.pipe(sinks.to_logging(), ops.take(1)), rxflow.Stream[rxflow.FlowRunEvent])
assert_type(stream.pipe(sinks.to_callable(print)), rxflow.Stream[rxflow.FlowRunEvent])
assert_type(stream.views().pipe(sinks.to_callable(print)), rxflow.Stream[rxflow.FlowRunView])
assert_type(rxflow.encode_event(rxflow.decode_event("{}")), bytes)
