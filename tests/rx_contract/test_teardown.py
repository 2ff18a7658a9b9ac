"""Rule: the resources of a subscription are released exactly once, however it ends."""

import gc
import io
from typing import Any

import pytest
from reactivex import operators as ops
from rx_subjects import (
    GrammarRecording,
    add_live_run,
    each_emitting_subject,
    subject,
    watch,
)
from virtual_world import HOUR, MISSING_RUN, World

from rxflow import sinks


@each_emitting_subject
@pytest.mark.parametrize(
    "end", ["completed", "failed", "disposed", "disposed within", "disposed twice"]
)
def test_teardown_happens_once(name: str, end: str, world: World) -> None:
    """The channel is closed once, however the subscription ends and however often."""

    class MayDispose(GrammarRecording):
        def _record(self, letter: str) -> None:
            super()._record(letter)
            if end == "disposed within":
                self.dispose()
                self.dispose()

    stream = subject(name, world, MISSING_RUN if end == "failed" else add_live_run(world))
    recording = MayDispose()
    ends: list[str] = []
    ending = stream.pipe(ops.finally_action(lambda: ends.append(end)))
    recording.subscribe_to(ending, world.scheduler)
    world.run(until=20 if end.startswith("disposed") else HOUR)
    for _ in range(2 if end == "disposed twice" else 1):
        recording.dispose()
    world.run(until=2 * HOUR)
    assert (world.close_counts(), ends) == ([1], [end])


class CountingFile(io.StringIO):
    """A file that counts how often it is closed."""

    close_count = 0

    def close(self) -> None:
        """Count the call, then close."""
        self.close_count += 1
        super().close()


@pytest.mark.parametrize("end", ["completed", "failed", "disposed"])
def test_a_sink_closes_only_the_file_that_it_opened(end: str, world: World, tmp_path: Any) -> None:
    """The file of a path is closed at any end; a file that was passed in stays open."""
    path, given = tmp_path / "events.jsonl", CountingFile()
    stream = watch(world, MISSING_RUN if end == "failed" else add_live_run(world))
    recording = world.subscribe(
        stream.pipe(sinks.to_json_lines(path), sinks.to_json_lines(given)),
    )
    world.run(until=20 if end == "disposed" else HOUR)
    recording.dispose()
    gc.collect()  # a file left open causes a warning, and warnings are errors
    assert path.read_text() == given.getvalue()
    assert given.close_count == 0
