"""`watch_flow_runs` and its waits: many runs as one stream, on every face, on both servers."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import reactivex
from reactivex import operators as ops
from reactivex.subject import Subject
from stream_faces import collect_async

import rxflow
from rxflow import (
    AllClosed,
    Closed,
    FlowRunFailed,
    FlowRunLog,
    FlowRunView,
    InvalidRunId,
    Notice,
    NoticeCode,
    RunNotFound,
    RunSeen,
    WatchTimedOut,
    decode_event,
    encode_event,
    watch_flow_runs,
)
from rxflow.testing import FakePrefect1, FakePrefect3

UNKNOWN = "ca449f3a-c029-47d8-acb6-1db88b00c1f2"
LINES = 3

Fake = FakePrefect1 | FakePrefect3
Wait = Callable[..., list[FlowRunView]]


@pytest.fixture(params=["prefect3", "prefect1"])
def server(request: pytest.FixtureRequest) -> Fake:
    """Return a server of each kind."""
    return FakePrefect3() if request.param == "prefect3" else FakePrefect1()


def add_ended(server: Fake, *, well: bool = True) -> str:
    """Add a run that has ended, with some lines."""
    of_prefect3 = isinstance(server, FakePrefect3)
    good, bad = ("COMPLETED", "FAILED") if of_prefect3 else ("Success", "Failed")
    run_id = server.add_run(state="RUNNING" if of_prefect3 else "Running")
    for number in range(LINES):
        server.log(run_id, f"line {number}")
    server.set_state(run_id, good if well else bad)
    return run_id


def collect_blocking(stream: Any) -> list[Any]:
    """Return the items of a `for` loop."""
    return list(stream)


def collect_subscribed(stream: Any) -> list[Any]:
    """Return the items that a subscriber gets."""
    return list(stream.pipe(ops.to_list()).run())


FACES = [collect_blocking, collect_async, collect_subscribed]


@pytest.mark.parametrize("collect", FACES, ids=["for", "async for", "subscribe"])
def test_each_run_has_its_whole_stream(server: Fake, collect: Callable[[Any], list[Any]]) -> None:
    """Each face has all events of each run, and the outcome of all at the end."""
    ids = [add_ended(server, well=number != 1) for number in range(3)]
    events = collect(watch_flow_runs(ids, drain=0, client=server.client()))
    for run_id in ids:
        own = [event for event in events if event.flow_run_id == run_id]
        assert isinstance(own[0], RunSeen)
        assert isinstance(own[-1], Closed)
        assert [e.message for e in own if isinstance(e, FlowRunLog)] == [
            f"line {number}" for number in range(LINES)
        ]
        alone = list(rxflow.watch_flow_run(run_id, drain=0, client=server.client()))
        assert {event.kind for event in own} == {event.kind for event in alone}
        assert own[-1].view == alone[-1].view  # type: ignore[union-attr]
    last = events[-1]
    assert isinstance(last, AllClosed)
    assert {outcome.flow_run_id for outcome in last.runs} == set(ids)
    assert last.worst is not None
    assert last.worst.flow_run_id == ids[1]
    assert last.verified
    with pytest.raises(FlowRunFailed, match=f"1 of 3 flow runs .*{ids[1]}"):
        last.raise_for_state()


def test_all_closed_can_be_stored() -> None:
    """Its JSON has the outcomes, and reads back to an equal event."""
    server = FakePrefect3()
    ids = [add_ended(server) for _ in range(2)]
    last = watch_flow_runs(ids, drain=0, client=server.client()).run()
    assert isinstance(last, AllClosed)
    assert decode_event(encode_event(last)) == last
    assert rxflow.to_dict(last)["kind"] == "all-closed"
    last.raise_for_state()
    assert rxflow.fold(None, last) is None


@pytest.mark.parametrize("collect", FACES, ids=["for", "async for", "subscribe"])
def test_ids_can_be_an_observable(collect: Callable[[Any], list[Any]]) -> None:
    """The runs are those that it emits, each once."""
    server = FakePrefect3()
    ids = [add_ended(server) for _ in range(3)]
    stream = watch_flow_runs(reactivex.of(*ids, ids[0]), drain=0, client=server.client())
    events = collect(stream)
    assert isinstance(events[-1], AllClosed)
    assert {outcome.flow_run_id for outcome in events[-1].runs} == set(ids)
    assert "the runs of an observable" in repr(stream)


def test_runs_can_come_while_others_are_watched() -> None:
    """An id that is emitted later is watched from then on; the end is when none can come."""
    server = FakePrefect3()
    first, second = add_ended(server), add_ended(server)
    ids = Subject[str]()
    seen: list[str] = []

    def on_event(event: rxflow.FlowRunEvent) -> None:
        if isinstance(event, Closed):
            seen.append(event.flow_run_id)
            if event.flow_run_id == first:
                ids.on_next(second)
                ids.on_completed()

    stream = watch_flow_runs(ids.pipe(ops.start_with(first)), drain=0, client=server.client())
    last = stream.do_action(on_event).run()
    assert isinstance(last, AllClosed)
    assert seen == [first, second]


def test_an_error_of_the_ids_ends_the_watch() -> None:
    """It is the watch's own error."""
    ids = reactivex.throw(KeyError("no list"))
    with pytest.raises(KeyError, match="no list"):
        watch_flow_runs(ids, client=FakePrefect3().client()).run()


def test_an_emitted_id_that_is_none_ends_the_watch() -> None:
    """It is as wrong as an id that is given at the call."""
    with pytest.raises(InvalidRunId, match="flow_run_ids='nonsense'"):
        watch_flow_runs(reactivex.of("nonsense"), client=FakePrefect3().client()).run()


@pytest.mark.parametrize(
    ("ids", "error", "text"),
    [
        (["nonsense"], InvalidRunId, "flow_run_ids='nonsense'"),
        (UNKNOWN, TypeError, "flow_run_ids is of the class str, .*watch_flow_run"),
        (7, TypeError, "flow_run_ids is of the class int"),
    ],
    ids=["no id", "one id", "a number"],
)
def test_what_is_not_a_list_of_ids_is_refused(ids: Any, error: type[Exception], text: str) -> None:
    """At the call, and with what to pass."""
    with pytest.raises(error, match=text):
        watch_flow_runs(ids, client=FakePrefect3().client())


def test_no_runs() -> None:
    """A watch of nothing ends at once."""
    (only,) = watch_flow_runs([], client=FakePrefect3().client())
    assert isinstance(only, AllClosed)
    assert only.message == "No flow runs were watched"
    only.raise_for_state()


def test_an_unknown_run_is_closed_with_a_notice() -> None:
    """The others are watched to their end."""
    server = FakePrefect3()
    known = add_ended(server)
    events = list(watch_flow_runs([UNKNOWN, known], drain=0, client=server.client()))
    codes = [(e.flow_run_id, e.code) for e in events if isinstance(e, Notice)]
    assert codes == [(UNKNOWN, NoticeCode.RUN_NOT_FOUND)]
    last = events[-1]
    assert isinstance(last, AllClosed)
    assert last.message == "2 flow runs closed: 1 Completed, 1 not found; not all verified"
    with pytest.raises(FlowRunFailed, match=f"1 of 2 .*: {UNKNOWN} was not found$"):
        last.raise_for_state()


def test_parts_of_the_stream() -> None:
    """Each part has one source of all runs, and a run can be selected."""
    server = FakePrefect3()
    ids = [add_ended(server) for _ in range(2)]
    server.add_task_run(ids[0], state="COMPLETED")
    stream = watch_flow_runs(ids, drain=0, client=server.client())
    assert "of 2 runs" in repr(stream)
    assert len(list(stream.logs)) == 2 * LINES
    assert {event.flow_run_id for event in stream.states} == set(ids)
    assert [event.flow_run_id for event in stream.tasks] == [ids[0]]
    assert [event.kind for event in stream.notices][-1] == "all-closed"
    own = list(stream.for_run(ids[1]))
    assert {event.flow_run_id for event in own} == {ids[1]}
    assert isinstance(own[-1], Closed)


def test_views_are_those_of_each_run() -> None:
    """Each change of a run emits the view of that run; the last one is its final view."""
    server = FakePrefect3()
    ids = [add_ended(server) for _ in range(2)]
    client = server.client()
    last = {view.flow_run_id: view for view in watch_flow_runs(ids, client=client, drain=0).views()}
    assert last == {run: FlowRunView.from_flow_run_id(run, client=client) for run in ids}


def test_the_operators_of_one_run_hold_for_each_of_many() -> None:
    """Events about the watch as a whole, which name no run, are no run to any of them."""
    server = FakePrefect3()
    ids = [add_ended(server), add_ended(server, well=False)]
    stream = watch_flow_runs(ids, drain=0, client=server.client())
    events = list(stream.in_order(0.0))
    assert isinstance(events[-1], AllClosed)
    until_over = list(stream.until_terminal(*ids))
    assert {event.kind for event in until_over} >= {"state", "log"}
    assert not any(isinstance(event, AllClosed) for event in until_over)
    lines = [event.message for event in stream.only(FlowRunLog).matching("line 2")]
    assert lines == ["line 2", "line 2"]


def test_the_stream_of_one_run_ends_with_it() -> None:
    """Other runs may go on; a run that is not watched is refused at the call."""
    server = FakePrefect3()
    ended, going_on = add_ended(server), server.add_run(state="RUNNING")
    stream = watch_flow_runs([ended, going_on], drain=0, client=server.client())
    for events in (list(stream.for_run(ended)), collect_async(stream.for_run(ended))):
        assert {event.flow_run_id for event in events} == {ended}
        assert [isinstance(event, Closed) for event in events].index(True) == len(events) - 1
    with pytest.raises(ValueError, match=f"{UNKNOWN} is not among"):
        stream.for_run(UNKNOWN)


def test_one_look_at_many_runs() -> None:
    """A limit of 0 reads each run once; what is over is watched to its end, the rest is named."""
    server = FakePrefect3()
    ended = [add_ended(server) for _ in range(3)]
    client = server.client()
    assert len(rxflow.wait_for_flow_runs(ended, timeout=0, client=client)) == 3
    last = watch_flow_runs(ended, max_duration=0, drain=0, client=client).run()
    assert isinstance(last, AllClosed)
    going_on = server.add_run(state="RUNNING")
    with pytest.raises(WatchTimedOut, match=rf"0 ms; 1 not over: {going_on} \(Running\); pass"):
        rxflow.wait_for_flow_runs([*ended, going_on], timeout=0, client=client)


# -- waiting ---------------------------------------------------------------------------------------


def wait_on_loop(*arguments: Any, **options: Any) -> list[FlowRunView]:
    """Call `await_for_flow_runs` on a new event loop."""
    return asyncio.run(rxflow.await_for_flow_runs(*arguments, **options))


@pytest.fixture(params=[rxflow.wait_for_flow_runs, wait_on_loop], ids=["wait", "await"])
def wait(request: pytest.FixtureRequest) -> Wait:
    """Return the blocking or the async function that waits for runs."""
    wait: Wait = request.param
    return wait


def test_waiting_returns_all_final_views(server: Fake, wait: Wait) -> None:
    """In the order of the ids, also of one that comes twice."""
    ids = [add_ended(server, well=number != 1) for number in range(3)]
    views = wait([*ids, ids[0]], timeout=60, client=server.client())
    assert [view.flow_run_id for view in views] == [*ids, ids[0]]
    assert [bool(view.state.is_failed) for view in views if view.state] == [
        *(False, True, False, False),
    ]


def test_waiting_can_raise_for_a_run_that_failed(server: Fake, wait: Wait) -> None:
    """The error names the run."""
    ids = [add_ended(server, well=number != 1) for number in range(3)]
    with pytest.raises(FlowRunFailed, match=ids[1]):
        wait(ids, raise_final_state=True, client=server.client())
    assert len(wait([ids[0]], raise_final_state=True, client=server.client())) == 1


def test_waiting_for_an_unknown_run_raises(wait: Wait) -> None:
    """It is named, and nothing else is waited for."""
    server = FakePrefect3()
    with pytest.raises(RunNotFound, match=UNKNOWN):
        wait([UNKNOWN], client=server.client())


def test_waiting_has_a_limit(wait: Wait) -> None:
    """The error names the argument and the runs that are not over."""
    server = FakePrefect3()
    run_id = server.add_run(state="RUNNING")
    with pytest.raises(WatchTimedOut, match=rf"{run_id} \(Running\); pass a longer timeout"):
        wait([run_id], timeout=0, client=server.client())


@pytest.mark.parametrize("on_loop", [False, True], ids=["wait", "await"])
def test_waiting_for_one_run_can_raise_too(server: Fake, on_loop: bool) -> None:
    """`raise_final_state` is the same for one run."""
    good, bad = add_ended(server), add_ended(server, well=False)

    def wait(run_id: str) -> FlowRunView:
        options: dict[str, Any] = {"raise_final_state": True, "client": server.client()}
        if on_loop:
            return asyncio.run(rxflow.await_for_flow_run(run_id, **options))
        return rxflow.wait_for_flow_run(run_id, **options)

    assert wait(good).flow_run_id == good
    with pytest.raises(FlowRunFailed, match=bad):
        wait(bad)
