"""Copies: values that users hold survive pickle, copy and deepcopy, and reveal no secret there."""

import copy
import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
import pytest
from event_strategies import events
from hypothesis import given
from sample_events import NOON, RUN, row, seen, state

import rxflow
from rxflow import (
    Client,
    FlowRunEvent,
    FlowRunView,
    FlowView,
    Quiet,
    Rate,
    RxflowError,
    Snapshot,
    TaskRunView,
    errors,
)
from rxflow._models.entities import Deployment, Flow, FlowRegistration
from rxflow._views.map_indexes import TaskRunRead
from rxflow.testing import FakePrefect3

T = TypeVar("T")


def pickled(value: T) -> T:
    """Send a value through pickle, as a process pool does."""
    back: T = pickle.loads(pickle.dumps(value))  # noqa: S301 - our own bytes
    return back


WAYS: dict[str, Callable[[Any], Any]] = {
    "pickle": pickled,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}

each_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


@each_way
@given(event=events())
def test_a_copied_event_equals_its_original(way: Callable[[Any], Any], event: FlowRunEvent) -> None:
    """Kind, fields and hash are those of the original."""
    back = way(event)
    assert type(back) is type(event)
    assert back == event
    assert hash(back) == hash(event)


VALUES = {
    "State": state("Running"),
    "FlowRun": row("Running"),
    "Snapshot": Snapshot(run=row("Running"), states=(state("Running"),)),
    "Quiet": Quiet(flow_run_id=RUN, since=NOON, run=row("Running"), timestamp=NOON),
    "Rate": Rate(since=NOON, seconds=5, count=3),
    "Flow": Flow(id="f", name="f", created=NOON, updated=NOON, labels={"a": 1}),
    "FlowRegistration": FlowRegistration(settings={"a": [1]}, storage={"type": "Local"}),
    "Deployment": Deployment(id="d", name="d", flow_id="f", pull_steps=[{"a": 1}]),
}


@each_way
@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_a_copied_value_equals_its_original(way: Callable[[Any], Any], value: object) -> None:
    """Entities and what operators emit can be copied and hashed, whatever mappings they hold."""
    back = way(value)
    assert type(back) is type(value)
    assert back == value
    assert hash(back) == hash(value)


def test_a_copied_state_keeps_its_type_and_predicates() -> None:
    """The type of a state is the same constant, and a predicate can still be called."""
    back = pickled(state("Failed"))
    assert back.type is rxflow.StateType.FAILED
    assert pickled(back.is_failed)() is True


ERRORS = [getattr(errors, name) for name in errors.__all__]


@each_way
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_a_copied_error_has_type_and_text(
    way: Callable[[Any], Any], error: type[RxflowError]
) -> None:
    """An error crosses a process boundary whatever builtin errors it derives from."""
    made = error("what happened; what to do")
    made.add_note("a note")
    back = way(made)
    assert type(back) is error
    assert str(back) == "what happened; what to do"
    assert back.args == made.args
    assert back.__notes__ == ["a note"]


@each_way
def test_a_copied_failure_has_its_run_and_state(way: Callable[[Any], Any]) -> None:
    """The attributes of `FlowRunFailed` survive; without a run they are None."""
    back = way(errors.FlowRunFailed("what happened", flow_run_id=RUN, state=state("Failed")))
    assert (back.flow_run_id, back.state) == (RUN, state("Failed"))
    about_several = way(errors.FlowRunFailed("what happened to several"))
    assert (about_several.flow_run_id, about_several.state) == (None, None)


def test_a_set_holds_equal_values_once() -> None:
    """Rows that were read twice are one in a set, and a changed row is another."""
    once = row("Running")
    again = msgspec.json.decode(msgspec.json.encode(once), type=rxflow.FlowRun)
    later = msgspec.structs.replace(once, updated=datetime(2026, 11, 23, tzinfo=UTC))
    assert {once, again, later} == {once, later}
    assert len({seen(), seen(), Snapshot(run=once), Snapshot(run=again)}) == 2


# -- views and clients --------------------------------------------------------------------------

KEY = "a-key-that-must-not-be-written"

Views = tuple[FlowRunView, TaskRunView, FlowView]


def views(server: FakePrefect3, client: Client) -> Views:
    """A view of each class, with all that a view reads."""
    run_id = server.add_run(state="RUNNING", parameters={"day": [1]})
    task_run_id = server.add_task_run(run_id, state="COMPLETED")
    flow_run = FlowRunView.from_flow_run_id(run_id, load_static_tasks=True, client=client)
    task_run = flow_run.get_task_run(task_run_id=task_run_id)
    return flow_run, task_run, flow_run.get_flow_metadata()


@pytest.fixture
def server() -> FakePrefect3:
    """A server in this process."""
    return FakePrefect3()


@each_way
@pytest.mark.parametrize("number", range(3), ids=["flow run", "task run", "flow"])
def test_a_copied_view_shows_the_same(
    way: Callable[[Any], Any], number: int, server: FakePrefect3
) -> None:
    """A view that has a client can be copied, pickled and hashed."""
    view = views(server, server.client())[number]
    back = way(view)
    assert type(back) is type(view)
    assert back == view
    assert hash(back) == hash(view)


def test_no_key_is_pickled(server: FakePrefect3) -> None:
    """The bytes of a pickled view have nothing of its client."""
    with Client(api_url="https://prefect.example/api", api_key=KEY) as client:
        run_view, task_view, _ = views(server, server.client())
        ours = FlowRunView.from_snapshot(run_view.snapshot, client=client)
        task = TaskRunView.of(TaskRunRead(row=task_view.task_run), client=client)
        for view in (ours, task):
            assert KEY.encode() not in pickle.dumps(view)
            assert b"prefect.example" not in pickle.dumps(view)


def test_a_pickled_view_reads_from_the_configured_server(
    server: FakePrefect3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a view is loaded, it reads with a client of its own."""
    view = views(server, server.client())[0]
    back = pickled(view)
    _ = server.set_state(view.flow_run_id, "COMPLETED")
    with server.serve() as url:
        monkeypatch.setenv("RXFLOW_API_URL", url)
        assert back.get_latest().state == view.get_latest().state != view.state


@each_way
def test_a_client_is_not_copied(way: Callable[[Any], Any], server: FakePrefect3) -> None:
    """A client, and a stream that has one, is refused with a text that says what to do."""
    client = server.client()
    stream = rxflow.watch_flow_run(RUN, client=client)
    with pytest.raises(TypeError, match=r"A Client cannot be copied or pickled.*make one with"):
        way(client)
    if way is not copy.copy:
        with pytest.raises(TypeError, match=r"cannot"):
            way(stream)
