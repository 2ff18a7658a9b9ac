"""`subflows=True`: a run and all that it starts, as one stream, on every face."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from reactivex import operators as ops
from stream_faces import collect_async

import rxflow
from rxflow import Closed, FlowRunLog, Notice, NoticeCode, RunNotFound, RunSeen
from rxflow.testing import FakePrefect1, FakePrefect3

UNKNOWN = "ca449f3a-c029-47d8-acb6-1db88b00c1f2"


def collect_blocking(stream: Any) -> list[Any]:
    """Return the items of a `for` loop."""
    return list(stream)


def collect_subscribed(stream: Any) -> list[Any]:
    """Return the items that a subscriber gets."""
    return list(stream.pipe(ops.to_list()).run())


def collect_shared(stream: Any) -> list[Any]:
    """Return the items of a session that is shared."""
    return list(stream.shared())


FACES = [collect_blocking, collect_async, collect_subscribed, collect_shared]
NAMES = ["for", "async for", "subscribe", "shared"]


@pytest.fixture
def server() -> FakePrefect3:
    """Return an empty server."""
    return FakePrefect3()


def add_line_of_runs(server: FakePrefect3, depth: int) -> list[str]:
    """Add runs that have ended, each a subflow of the one before, with a line of its own."""
    ids: list[str] = []
    for level in range(depth):
        parent = ids[-1] if ids else None
        ids.append(server.add_run(name=f"level {level}", parent=parent, state="RUNNING"))
        server.log(ids[-1], f"line of level {level}")
    for run_id in reversed(ids):
        server.set_state(run_id, "COMPLETED")
    return ids


def lines_of(events: list[Any], run_id: str) -> list[str]:
    """Return the log lines of a run."""
    return [e.message for e in events if isinstance(e, FlowRunLog) and e.flow_run_id == run_id]


@pytest.mark.parametrize("collect", FACES, ids=NAMES)
def test_subflows_are_in_the_stream(
    server: FakePrefect3, collect: Callable[[Any], list[Any]]
) -> None:
    """Three deep: each line is under its run, each event has the root, and the root ends last."""
    ids = add_line_of_runs(server, 3)
    events = collect(rxflow.watch_flow_run(ids[0], drain=0, subflows=True, client=server.client()))
    assert isinstance(events[0], RunSeen)
    assert events[0].flow_run_id == ids[0]
    assert {event.root_flow_run_id for event in events} == {ids[0]}
    for level, run_id in enumerate(ids):
        assert lines_of(events, run_id) == [f"line of level {level}"]
    closed = [event.flow_run_id for event in events if isinstance(event, Closed)]
    assert sorted(closed) == sorted(ids)
    assert events[-1].kind == "closed"
    assert closed[-1] == ids[0]
    assert events[-1].verified


def test_parts_have_the_events_of_subflows(server: FakePrefect3) -> None:
    """Logs, states and notices are those of all runs; of a shared stream, too."""
    ids = add_line_of_runs(server, 2)
    stream = rxflow.watch_flow_run(ids[0], drain=0, subflows=True, client=server.client())
    for each in (stream, stream.shared()):
        assert {event.flow_run_id for event in each.logs} == {*ids}
        assert {event.flow_run_id for event in each.states} == {*ids}
        assert {event.root_flow_run_id for event in each.logs} == {ids[0]}
        assert [e.flow_run_id for e in each.notices if isinstance(e, Closed)][-1] == ids[0]


def test_views_are_those_of_the_root(server: FakePrefect3) -> None:
    """A snapshot is of one run; what happens in subflows changes none of the root's."""
    ids = add_line_of_runs(server, 2)
    stream = rxflow.watch_flow_run(ids[0], drain=0, subflows=True, client=server.client())
    alone = rxflow.watch_flow_run(ids[0], drain=0, client=server.client())
    assert [view.states for view in stream.views()] == [view.states for view in alone.views()]
    assert {view.flow_run_id for view in stream.views()} == {ids[0]}
    last = stream.run()
    assert isinstance(last, Closed)
    assert last.view == alone.run().view  # type: ignore[union-attr]


def test_without_subflows_a_run_has_its_own_events_only(server: FakePrefect3) -> None:
    """That is the default."""
    ids = add_line_of_runs(server, 2)
    events = list(rxflow.watch_flow_run(ids[0], drain=0, client=server.client()))
    assert {event.flow_run_id for event in events} == {ids[0]}


def test_an_unknown_run_is_not_found(server: FakePrefect3) -> None:
    """The error is that of a watch over the run alone."""
    stream = rxflow.watch_flow_run(UNKNOWN, subflows=True, client=server.client())
    with pytest.raises(RunNotFound, match=UNKNOWN):
        stream.run()


def test_prefect_1_says_that_it_knows_no_subflows() -> None:
    """The run itself is watched as ever."""
    server = FakePrefect1()
    run_id = server.add_run(state="Success")
    server.log(run_id, "a line")
    stream = rxflow.watch_flow_run(run_id, drain=0, subflows=True, client=server.client())
    events = list(stream)
    assert [e.code for e in events if isinstance(e, Notice)] == [NoticeCode.UNSUPPORTED]
    assert lines_of(events, run_id) == ["a line"]
    assert isinstance(events[-1], Closed)


@pytest.mark.parametrize("file", ["journal", "checkpoint"])
def test_prefect_1_says_it_once_in_watches_that_go_on(file: str, tmp_path: Path) -> None:
    """Nothing is new in the second one."""
    server = FakePrefect1()
    run_id = server.add_run(state="Success")

    def codes() -> list[NoticeCode]:
        options: dict[str, Any] = {file: tmp_path / "nightly", "drain": 0, "subflows": True}
        stream = rxflow.watch_flow_run(run_id, client=server.client(), **options)
        return [event.code for event in stream if isinstance(event, Notice)]

    assert [codes(), codes()] == [[NoticeCode.UNSUPPORTED], []]


@pytest.mark.parametrize("value", ["yes", 1, None])
def test_subflows_is_a_flag(server: FakePrefect3, value: Any) -> None:
    """Another value is refused at the call."""
    with pytest.raises(TypeError, match="subflows"):
        rxflow.watch_flow_run(UNKNOWN, subflows=value, client=server.client())
