"""`watch_row`: one row, with its state, by the requests for that row alone."""

from reactivex import operators as ops

from rxflow import RunSeen, StateType, iterate
from rxflow._runtime.row_watch import watch_row
from rxflow.testing import FakePrefect3


def test_the_row_is_read_without_states_and_lines() -> None:
    """The first event has the row and its state; neither history nor log is read."""
    server = FakePrefect3()
    run_id = server.add_run(state="RUNNING")
    server.log(run_id, "a line")
    (event,) = iterate(watch_row(run_id, server.client()).pipe(ops.take(1)))
    assert isinstance(event, RunSeen)
    assert event.run.state is not None
    assert event.run.state.type is StateType.RUNNING
    assert not any("logs" in path or "states" in path for _, path in server.requests)
