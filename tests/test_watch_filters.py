"""Watches of the runs that match filters, and waits for them: on every face, on both servers."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
import reactivex
from foreign_values import TIME
from reactivex import operators as ops
from stream_faces import collect_async

import rxflow
from rxflow import AllClosed, Closed, RunSeen, UnsupportedFilter, watch_flow_runs
from rxflow.testing import FakePrefect1, FakePrefect3

ID = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"

Fake = FakePrefect1 | FakePrefect3

FILTERS = ("deployment", "flow", "tags", "name", "states", "work_pool", "started_after", "parent")


def add_ended(server: Fake, name: str, *tags: str) -> str:
    """Add a run that has ended, with a line."""
    if isinstance(server, FakePrefect3):
        run_id = server.add_run(name=name, tags=list(tags), state="RUNNING")
    else:
        run_id = server.add_run(name=name, labels=list(tags), state="Running")
    server.log(run_id, f"a line of {name}")
    end(server, run_id)
    return run_id


def end(server: Fake, run_id: str) -> None:
    """Let a run complete."""
    server.set_state(run_id, "COMPLETED" if isinstance(server, FakePrefect3) else "Success")


@pytest.fixture(params=["prefect3", "prefect1"])
def server(request: pytest.FixtureRequest) -> Fake:
    """A server of either kind, with a run that no filter of the tests matches."""
    server = FakePrefect3() if request.param == "prefect3" else FakePrefect1()
    add_ended(server, "other", "dev")
    return server


def collect_blocking(stream: Any) -> list[Any]:
    """Return the items of a `for` loop."""
    return list(stream)


def collect_subscribed(stream: Any) -> list[Any]:
    """Return the items that a subscriber gets."""
    return list(stream.pipe(ops.to_list()).run())


def outcomes(stream: rxflow.FlowRunsStream) -> tuple[rxflow.RunOutcome, ...]:
    """Watch runs to their end, and return the outcome of each."""
    last = stream.run()
    assert isinstance(last, AllClosed)
    return last.runs


FACES = [collect_blocking, collect_async, collect_subscribed]

each_face = pytest.mark.parametrize("collect", FACES, ids=["for", "async for", "subscribe"])


def wait_async(*args: Any, **kwargs: Any) -> list[rxflow.FlowRunView]:
    """Wait on an event loop."""
    return asyncio.run(rxflow.await_for_flow_runs(*args, **kwargs))


each_wait = pytest.mark.parametrize(
    "wait", [rxflow.wait_for_flow_runs, wait_async], ids=["blocking", "async"]
)


# -- watches --------------------------------------------------------------------------------------


@each_face
def test_the_runs_that_match_are_watched_to_their_end(
    server: Fake, collect: Callable[[Any], list[Any]]
) -> None:
    """Each has its whole stream, and no other run has an event."""
    wanted = {add_ended(server, name, "prod", "eu") for name in ("first", "second")}
    add_ended(server, "third", "prod")
    events = collect(watch_flow_runs(tags=["eu", "prod"], drain=0, client=server.client()))
    assert {event.flow_run_id for event in events[:-1]} == wanted
    for run_id in wanted:
        own = [event for event in events if event.flow_run_id == run_id]
        assert isinstance(own[0], RunSeen)
        assert isinstance(own[-1], Closed)
        assert own[-1].log_count == 1
    assert isinstance(events[-1], AllClosed)
    assert {run.name for run in events[-1].runs} == {"first", "second"}
    assert events[-1].verified


def test_more_runs_than_a_page_are_found() -> None:
    """All of them are watched, each once."""
    server = FakePrefect3()
    ids = {server.add_run(flow="many", state="COMPLETED") for _ in range(230)}
    stream = watch_flow_runs(flow="many", stream_logs=False, drain=0, client=server.client())
    found = outcomes(stream)
    assert len(found) == len(ids)
    assert {run.flow_run_id for run in found} == ids


def test_each_subscription_finds_the_runs_anew(server: Fake) -> None:
    """A run that was added since is watched by the next subscription, which reads all of them."""
    stream = watch_flow_runs(tags=["prod"], drain=0, client=server.client())
    assert server.requests == []
    assert outcomes(stream) == ()
    first = add_ended(server, "first", "prod")
    assert [run.flow_run_id for run in outcomes(stream)] == [first]
    second = add_ended(server, "second", "prod")
    assert {run.flow_run_id for run in outcomes(stream)} == {first, second}


@each_face
def test_without_a_match_the_watch_ends_at_once(
    server: Fake, collect: Callable[[Any], list[Any]]
) -> None:
    """Its only event is the outcome of no runs."""
    (last,) = collect(watch_flow_runs(name="no such", client=server.client()))
    assert isinstance(last, AllClosed)
    assert (last.runs, last.verified, last.worst) == ((), True, None)
    assert last.message == "No flow runs were watched"


def test_a_run_that_no_longer_matches_is_watched_to_its_end(server: Fake) -> None:
    """Runs are looked for at the beginning: a run that was found in a state may leave it."""
    of_prefect3 = isinstance(server, FakePrefect3)
    run_id = server.add_run(name="going on", state="RUNNING" if of_prefect3 else "Running")
    kinds: list[str] = []
    stream = watch_flow_runs(states="RUNNING", drain=0, client=server.client())
    for event in stream:
        kinds.append(event.kind)
        if event.kind == "state" and event.state.name == "Running":
            end(server, run_id)
    assert kinds.count("state") == 2
    assert kinds[-2:] == ["closed", "all-closed"]


def test_the_parts_of_a_watch_with_filters_have_its_runs(server: Fake) -> None:
    """Parts, views and the stream of one run are of the runs that match."""
    run_id = add_ended(server, "wanted", "prod")
    stream = watch_flow_runs(tags=["prod"], drain=0, client=server.client())
    assert [line.message for line in stream.logs] == ["a line of wanted"]
    assert {view.name for view in stream.views()} == {"wanted"}
    assert [type(event) for event in stream.for_run(run_id)][-1] is Closed
    assert [event.kind for event in stream.for_run(UUID(ID))] == []
    assert [run.flow_run_id for run in stream.by_run()] == [run_id]
    assert [line.message for line in stream.shared().logs] == ["a line of wanted"]


def test_a_stream_says_which_runs_it_is_of(server: Fake) -> None:
    """Its text says how the runs are found, as their number is not known."""
    client = server.client()
    assert "of 2 runs," in repr(watch_flow_runs([ID, ID.upper(), UUID(int=7)], client=client))
    assert "of the runs of an observable," in repr(watch_flow_runs(reactivex.of(ID), client=client))
    stream = watch_flow_runs(tags=["prod"], client=client)
    assert "of the runs that match filters, not" in repr(stream)
    assert "of the runs that match filters, from a session" in repr(stream.shared())


@each_face
def test_a_filter_that_the_server_does_not_have_is_an_error(
    collect: Callable[[Any], list[Any]],
) -> None:
    """Nothing is watched without the filter; the error names the argument."""
    server = FakePrefect1()
    add_ended(server, "other")
    stream = watch_flow_runs(deployment="report/nightly", client=server.client())
    with pytest.raises(UnsupportedFilter, match="so deployment= cannot be used with this server"):
        collect(stream)


# -- waits ----------------------------------------------------------------------------------------


@each_wait
def test_the_runs_that_match_are_waited_for(
    server: Fake, wait: Callable[..., list[rxflow.FlowRunView]]
) -> None:
    """Their final views come newest first, as a list has them."""
    for name in ("first", "second", "third"):
        add_ended(server, name, "prod")
    client = server.client()
    views = wait(tags=["prod"], timeout=60, client=client)
    assert [view.name for view in views] == ["third", "second", "first"]
    listed = rxflow.list_flow_runs(tags=["prod"], client=client)
    assert [view.flow_run_id for view in views] == [view.flow_run_id for view in listed]
    assert all(view.state is not None and view.state.is_completed() for view in views)


@each_wait
def test_no_run_is_not_waited_for(
    server: Fake, wait: Callable[..., list[rxflow.FlowRunView]]
) -> None:
    """The wait returns an empty list at once, which is no failure."""
    found = wait(flow="no such", timeout=60, raise_final_state=True, client=server.client())
    assert found == []


@each_wait
def test_a_run_that_failed_is_raised_for(wait: Callable[..., list[rxflow.FlowRunView]]) -> None:
    """`raise_final_state` is about all runs that match."""
    server = FakePrefect3()
    server.add_run(flow="report", state="COMPLETED")
    server.add_run(flow="report", state="FAILED")
    server.add_run(flow="other", state="CRASHED")
    with pytest.raises(rxflow.FlowRunFailed, match="1 of 2 flow runs did not complete"):
        wait(flow="report", raise_final_state=True, client=server.client())


# -- arguments ------------------------------------------------------------------------------------

CALLS: dict[str, Callable[..., object]] = {
    "watch_flow_runs": watch_flow_runs,
    "wait_for_flow_runs": rxflow.wait_for_flow_runs,
    "await_for_flow_runs": lambda *args, **kwargs: rxflow.await_for_flow_runs(*args, **kwargs).send(
        None
    ),
}

each_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


@each_call
@pytest.mark.parametrize("name", FILTERS)
def test_ids_and_filters_exclude_each_other(call: Callable[..., object], name: str) -> None:
    """It would not be clear whether both must hold, or one of them."""
    values: dict[str, Any] = {
        "deployment": "report/nightly",
        "tags": ["prod"],
        "started_after": TIME,
        "parent": ID,
    }
    server = FakePrefect3()
    with pytest.raises(ValueError, match=r"^flow_run_ids and filters such as deployment= are both"):
        call([ID], **{name: values.get(name, "some")}, client=server.client())
    assert server.requests == []


@each_call
@pytest.mark.parametrize("arguments", [{}, {"flow_run_ids": None}, {"tags": []}])
def test_all_runs_of_a_server_are_not_watched_by_mistake(
    call: Callable[..., object], arguments: dict[str, Any]
) -> None:
    """Neither ids nor a filter is an error, which says what to pass."""
    server = FakePrefect3()
    with pytest.raises(
        ValueError, match="pass ids, or filters such as deployment='report/nightly'"
    ):
        call(**arguments, client=server.client())
    assert server.requests == []


@each_call
@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"tags": "prod"}, TypeError, "tags='prod' is text; pass a list of tags"),
        ({"deployment": "nightly"}, ValueError, "deployment='nightly' is neither an id"),
        ({"states": "CANCELED"}, ValueError, "states='CANCELED' is neither a type"),
        ({"parent": "amber-fox"}, rxflow.InvalidRunId, "parent='amber-fox' is not a parent id"),
    ],
)
def test_a_wrong_filter_is_refused_at_the_call(
    call: Callable[..., object], arguments: dict[str, Any], error: type[Exception], text: str
) -> None:
    """By the same rules as in a list of runs."""
    server = FakePrefect3()
    with pytest.raises(error) as raised:
        call(**arguments, client=server.client())
    assert text in str(raised.value)
    assert server.requests == []


def test_filters_are_the_same_everywhere() -> None:
    """Lists, watches and waits have the same filters, with the same types and defaults."""
    functions = (rxflow.list_flow_runs, rxflow.alist_flow_runs, watch_flow_runs)
    waits = (rxflow.wait_for_flow_runs, rxflow.await_for_flow_runs)
    signatures = [inspect.signature(each).parameters for each in (*functions, *waits)]
    filters = [[parameters[name] for name in FILTERS] for parameters in signatures]
    assert all(each == filters[0] for each in filters)
    twins = [inspect.signature(each).parameters for each in waits]
    assert twins[0] == twins[1]
