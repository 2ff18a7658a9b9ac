"""Push on a real server: what it announces is delivered, though it is polled once an hour."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

import pytest
from promises.shared import closed_event
from servers_under_test import emitted_rows
from virtual_world import Recording

import rxflow
from rxflow._protocol.intervals import PollInterval
from rxflow._runtime.push_reader import PushReader

if TYPE_CHECKING:
    from server_databases import DatabaseReader

    from tests.real.conftest import ApiWriter, Until

CHANGES = 5


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Poll only what was announced, and notice the first announcement."""
    monkeypatch.setattr(PollInterval, "next_delay", lambda *_, **__: 3600.0)
    received = threading.Event()
    receive = PushReader._receive

    def record(self: PushReader, announcement: object) -> None:
        received.set()
        receive(self, announcement)  # type: ignore[arg-type]

    monkeypatch.setattr(PushReader, "_receive", record)
    return received


@pytest.mark.parametrize("runs", [1, 3])
def test_announced_states_are_delivered(
    runs: int,
    *,
    connected: threading.Event,
    client: rxflow.Client,
    writer: ApiWriter,
    database: DatabaseReader,
    until: Until,
) -> None:
    """Each state that is set, in order, to the end of the runs."""
    ids = [writer.new_run(state={"type": "RUNNING"}) for _ in range(runs)]
    watch = (
        rxflow.watch_flow_run(ids[0], drain=0, stream_logs=False, client=client)
        if runs == 1
        else rxflow.watch_flow_runs(ids, drain=0, stream_logs=False, client=client)
    )
    recording: Recording[rxflow.FlowRunEvent] = Recording()
    recording.subscribe_to(watch)

    def states_of(run: str) -> list[str]:
        return [
            event.id
            for event in recording.values
            if isinstance(event, rxflow.StateChange) and event.flow_run_id == run
        ]

    until(lambda: all(map(states_of, ids)))

    def is_announced() -> bool:
        writer.set_state(ids[0], "RUNNING")
        return connected.wait(1)

    def is_delivered(run: str) -> bool:
        return states_of(run)[-1] == database.state_ids(run)[-1]

    until(is_announced)
    for run in ids:
        for number in range(CHANGES):
            writer.set_state(run, "COMPLETED" if number == CHANGES - 1 else "RUNNING")
            until(partial(is_delivered, run))
    recording.wait()
    assert recording.error is None
    for run in ids:
        own = [event for event in recording.values if event.flow_run_id == run]
        assert closed_event(own).verified
        assert [row for _, row in emitted_rows(own)] == sorted(database.state_ids(run))
