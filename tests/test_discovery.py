"""`discover=True`, `until=` and `subflows=True` of `watch_flow_runs`, on every face."""

from collections.abc import Callable
from datetime import timedelta
from itertools import takewhile
from typing import Any

import pytest
import reactivex
from reactivex import operators as ops
from stream_faces import collect_async

import rxflow
from rxflow import AllClosed, Closed, FlowRunLog, Notice, NoticeCode, WatchTimedOut, watch_flow_runs
from rxflow.testing import FakePrefect1, FakePrefect3, VirtualTime

Fake = FakePrefect1 | FakePrefect3

UNKNOWN = "ca449f3a-c029-47d8-acb6-1db88b00c1f2"


@pytest.fixture(params=["prefect3", "prefect1"])
def server(request: pytest.FixtureRequest) -> Fake:
    """Return a server of each kind."""
    return FakePrefect3() if request.param == "prefect3" else FakePrefect1()


def add_ended(server: Fake, name: str) -> str:
    """Add a run with the tag ``report`` that has ended, with a line."""
    if isinstance(server, FakePrefect3):
        run_id = server.add_run(name=name, tags=["report"], state="RUNNING")
    else:
        run_id = server.add_run(name=name, labels=["report"], state="Running")
    server.log(run_id, f"line of {name}")
    server.set_state(run_id, "COMPLETED" if isinstance(server, FakePrefect3) else "Success")
    return run_id


def collect_blocking(stream: Any) -> list[Any]:
    """Return the items of a `for` loop."""
    return list(stream)


def collect_subscribed(stream: Any) -> list[Any]:
    """Return the items that a subscriber gets."""
    return list(stream.pipe(ops.to_list()).run())


FACES = [collect_blocking, collect_async, collect_subscribed]


@pytest.mark.parametrize("collect", FACES, ids=["for", "async for", "subscribe"])
def test_a_run_that_comes_while_others_are_watched_is_found(
    server: Fake, collect: Callable[[Any], list[Any]]
) -> None:
    """Each of three runs starts the next when it is closed; the watch ends after the last."""
    add_ended(server, "run 1")
    count = 1

    def on_event(event: rxflow.FlowRunEvent) -> None:
        nonlocal count
        if isinstance(event, Closed) and count < 3:
            count += 1
            add_ended(server, f"run {count}")

    stream = watch_flow_runs(
        tags=["report"], discover=True, until="done", drain=0, client=server.client()
    )
    events = collect(stream.do_action(on_event))
    last = events[-1]
    assert isinstance(last, AllClosed)
    assert [run.name for run in last.runs] == ["run 1", "run 2", "run 3"]
    assert sorted(e.message for e in events if isinstance(e, FlowRunLog)) == [
        f"line of run {number}" for number in (1, 2, 3)
    ]


def test_a_watch_that_discovers_goes_on_for_ever(server: Fake) -> None:
    """By default it ends neither when all runs are over nor after twelve hours."""
    add_ended(server, "run 1")
    stream = watch_flow_runs(tags=["report"], discover=True, drain=0, client=server.client())
    with pytest.raises(WatchTimedOut, match="until='done'"):
        watch_flow_runs(
            tags=["report"], discover=True, max_duration=0.5, drain=0, client=server.client()
        ).run()
    first = list(takewhile(lambda event: not isinstance(event, Closed), stream))
    assert [event.message for event in first if isinstance(event, FlowRunLog)] == ["line of run 1"]


@pytest.mark.parametrize(
    ("options", "lasts"), [({"discover": True}, True), ({"discover": True, "until": "done"}, False)]
)
def test_the_limit_of_a_watch_for_ever_is_none(options: dict[str, Any], lasts: bool) -> None:
    """The default of twelve hours is that of a watch which ends by itself."""
    time = VirtualTime()
    server = FakePrefect3(clock=time)
    server.add_run(tags=["report"], state="RUNNING")
    # Few requests, since they are what twelve hours take.
    options |= {"requests_per_minute": 1, "client": server.client()}
    stream = watch_flow_runs(tags=["report"], **options)
    seen = 0

    def count(_: object) -> None:
        nonlocal seen
        seen += 1

    errors: list[Exception] = []
    stream.subscribe(count, errors.append, scheduler=time)
    time.advance_to(time.now + timedelta(hours=12, seconds=10))
    assert seen
    assert [type(error) for error in errors] == ([] if lasts else [WatchTimedOut])


@pytest.mark.parametrize("collect", FACES, ids=["for", "async for", "subscribe"])
def test_subflows_of_many_runs(collect: Callable[[Any], list[Any]]) -> None:
    """Each subflow has the root that started it, and its parent in its outcome."""
    server = FakePrefect3()
    ids = [server.add_run(name=f"root {number}", state="RUNNING") for number in range(2)]
    children = [server.add_run(name=f"child {n}", parent=ids[n], state="RUNNING") for n in range(2)]
    for run_id in [*children, *ids]:
        server.log(run_id, "a line")
        server.set_state(run_id, "COMPLETED")
    events = collect(watch_flow_runs(ids, subflows=True, drain=0, client=server.client()))
    roots = {event.flow_run_id: event.root_flow_run_id for event in events}
    assert roots == dict(zip([*ids, *children, ""], [*ids, *ids, ""], strict=True))
    parents = {run.flow_run_id: run.parent_flow_run_id for run in events[-1].runs}
    assert parents == dict(zip([*ids, *children], [None, None, *ids], strict=True))


def test_for_run_selects_a_subflow() -> None:
    """Any run may be among those that are found."""
    server = FakePrefect3()
    root = server.add_run(state="RUNNING")
    child = server.add_run(parent=root, state="RUNNING")
    server.log(child, "a line")
    server.set_state(child, "COMPLETED")
    server.set_state(root, "COMPLETED")
    stream = watch_flow_runs([root], subflows=True, drain=0, client=server.client())
    own = list(stream.for_run(child))
    assert [event.message for event in own if isinstance(event, FlowRunLog)] == ["a line"]
    assert isinstance(own[-1], Closed)


def test_prefect_1_knows_no_subflows() -> None:
    """The notice is about the watch as a whole."""
    server = FakePrefect1()
    ids = [add_ended(server, f"run {number}") for number in range(2)]
    events = list(watch_flow_runs(ids, subflows=True, drain=0, client=server.client()))
    (notice,) = (event for event in events if isinstance(event, Notice))
    assert (notice.code, notice.flow_run_id) == (NoticeCode.UNSUPPORTED, "")


BAD: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "ids": ({"flow_run_ids": [UNKNOWN], "discover": True}, ValueError, "filters such as"),
    "observable": (
        {"flow_run_ids": reactivex.of(UNKNOWN), "discover": True},
        ValueError,
        "discover=True",
    ),
    "no filter": ({"discover": True}, ValueError, "no filter is given"),
    "once for ever": ({"flow": "a", "until": "forever"}, ValueError, "pass discover=True"),
    "until": ({"flow": "a", "until": "dawn"}, ValueError, "until='dawn'"),
    "until a list": ({"flow": "a", "until": ["done"]}, ValueError, "pass 'done' or 'forever'"),
    "discover": ({"flow": "a", "discover": 1}, TypeError, "discover"),
    "subflows": ({"flow": "a", "subflows": "yes"}, TypeError, "subflows"),
}


@pytest.mark.parametrize(("options", "error", "text"), BAD.values(), ids=BAD)
def test_arguments_are_checked(options: dict[str, Any], error: type[Exception], text: str) -> None:
    """The message names the argument and shows a right value."""
    with pytest.raises(error, match=text):
        watch_flow_runs(**options, client=FakePrefect3().client())
