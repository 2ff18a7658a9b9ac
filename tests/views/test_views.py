"""Views: what is read of a run, blocking and on an event loop alike, and what a view shows."""

import asyncio
import inspect
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from virtual_world import BEGINNING, World

from rxflow import Client, FlowRunView, FlowView, InvalidRunId, RunNotFound, TaskRunView
from rxflow.errors import ConfigurationError
from rxflow.testing import FakePrefect3

GONE = "00000000-0000-4000-8000-000000000000"


class Blocking:
    """Reads as scripts do."""

    def view(self, run_id: str, client: Client | None, *, tasks: bool = False) -> FlowRunView:
        """Read a run."""
        return FlowRunView.from_flow_run_id(run_id, tasks, client=client)

    def latest(self, view: FlowRunView, *, tasks: bool = False) -> FlowRunView:
        """Read it again."""
        return view.get_latest(tasks)

    def logs(self, view: FlowRunView, *times: datetime | None) -> list[str]:
        """Read its log lines."""
        return [line.message for line in view.get_logs(*times)]


class Awaiting:
    """Reads as services do, each time on an event loop of its own."""

    def view(self, run_id: str, client: Client | None, *, tasks: bool = False) -> FlowRunView:
        """Read a run."""
        return asyncio.run(FlowRunView.afrom_flow_run_id(run_id, tasks, client=client))

    def latest(self, view: FlowRunView, *, tasks: bool = False) -> FlowRunView:
        """Read it again."""
        return asyncio.run(view.aget_latest(tasks))

    def logs(self, view: FlowRunView, *times: datetime | None) -> list[str]:
        """Read its log lines."""
        return [line.message for line in asyncio.run(view.aget_logs(*times))]


@pytest.fixture(params=[Blocking, Awaiting])
def reads(request: pytest.FixtureRequest) -> Blocking | Awaiting:
    """Read in one of the two ways."""
    way: Blocking | Awaiting = request.param()
    return way


@pytest.fixture
def run(world: World) -> str:
    """A run that lived for some seconds, with a line at each."""
    run_id = world.server.add_run(name="life", tags=["a"])
    for second in range(1, 6):
        world.at(second, lambda: world.server.log(run_id, f"{world.seconds:g}"))
    world.at(6, lambda: world.server.set_state(run_id, "COMPLETED"))
    world.run(until=10)
    return run_id


# -- what is read -------------------------------------------------------------------------------


def test_a_view_shows_the_run(reads: Blocking | Awaiting, world: World, run: str) -> None:
    """A view shows the run's row and its states, and knows no task runs that it was not to read."""
    world.server.set_task_state(run, None, "COMPLETED")
    view = reads.view(run, world.client)
    assert (view.flow_run_id, view.name, view.labels) == (run, "life", ("a",))
    assert view.state is not None
    assert view.state.type == "COMPLETED"
    assert [state.type for state in view.states] == ["SCHEDULED", "COMPLETED"]
    assert view.task_runs == ()
    (task_run,) = reads.view(run, world.client, tasks=True).task_runs
    assert task_run.state is not None
    assert task_run.state.type == "COMPLETED"


def test_both_ways_read_the_same(world: World, run: str) -> None:
    """A view that was awaited is the view that a script gets, field by field."""
    world.server.set_task_state(run, None, "RUNNING")
    for tasks in (False, True):
        ours, theirs = (
            way.view(run, world.client, tasks=tasks).snapshot for way in (Blocking(), Awaiting())
        )
        assert ours == theirs


def test_a_view_never_changes(reads: Blocking | Awaiting, world: World, run: str) -> None:
    """The latest view is a new one; the one that was asked for it is as it was."""
    view = reads.view(run, world.client)
    world.server.change_run(run, name="renamed")
    latest = reads.latest(view)
    assert (view.name, latest.name) == ("life", "renamed")
    assert latest != view
    assert latest == reads.latest(latest)


def test_the_latest_may_have_task_runs(reads: Blocking | Awaiting, world: World, run: str) -> None:
    """Task runs are read with the latest view when they are asked for."""
    world.server.set_task_state(run, None, "RUNNING")
    view = reads.view(run, world.client)
    assert len(reads.latest(view, tasks=True).task_runs) == 1
    assert reads.latest(view).task_runs == ()


@pytest.mark.parametrize(
    ("between", "expected"),
    [
        ((None, None), "12345"),
        ((2, None), "345"),
        ((None, 2), "12"),
        ((2, 4), "34"),
        ((4, 2), ""),
    ],
)
def test_log_lines_of_a_time(
    between: tuple[int | None, ...],
    expected: str,
    reads: Blocking | Awaiting,
    world: World,
    run: str,
) -> None:
    """Log lines come in order, those after the start and up to the end."""
    times = (None if at is None else BEGINNING + timedelta(seconds=at) for at in between)
    assert reads.logs(reads.view(run, world.client), *times) == [*expected]


def test_many_log_lines(reads: Blocking | Awaiting) -> None:
    """Of more lines than the server gives at once all are read."""
    server = FakePrefect3(page_limit=7)
    run_id = server.add_run()
    for number in range(50):
        server.log(run_id, str(number))
    view = reads.view(run_id, server.client())
    assert reads.logs(view) == [str(number) for number in range(50)]


# -- what is an error ---------------------------------------------------------------------------


def test_an_unknown_run(reads: Blocking | Awaiting, world: World) -> None:
    """A run that the server does not know is an error, a `ValueError` too."""
    with pytest.raises(RunNotFound) as caught:
        reads.view(GONE, world.client)
    assert isinstance(caught.value, ValueError)


def test_a_run_that_was_deleted(reads: Blocking | Awaiting, world: World, run: str) -> None:
    """The latest view of a run that is no more is an error."""
    view = reads.view(run, world.client)
    world.server.delete_run(run)
    with pytest.raises(RunNotFound):
        reads.latest(view)


def test_a_malformed_id(reads: Blocking | Awaiting, world: World) -> None:
    """What is no UUID is refused before anything is asked."""
    with pytest.raises(InvalidRunId):
        reads.view("no-id", world.client)
    assert world.server.requests == []


def test_a_time_without_a_zone(reads: Blocking | Awaiting, world: World, run: str) -> None:
    """A naive time is refused, and nothing is asked."""
    view = reads.view(run, world.client)
    asked = len(world.server.requests)
    with pytest.raises(ValueError, match="time zone"):
        reads.logs(view, datetime(2026, 1, 1))  # noqa: DTZ001 - the point of it
    assert len(world.server.requests) == asked


# -- twins --------------------------------------------------------------------------------------


def signature(method: Any) -> str:
    """The names and defaults of a method, without types and without its object."""
    parameters = inspect.signature(method).parameters.values()
    return ", ".join(str(each.replace(annotation=each.empty)) for each in parameters)


@pytest.mark.parametrize("view", [FlowRunView, TaskRunView, FlowView])
def test_each_method_that_asks_has_a_twin_of_the_same_arguments(view: type) -> None:
    """`x` and `ax` differ in the `a` only."""
    asking = ("get_", "iter_", "of_run", "from_id", "from_flow", "from_task")
    names = {name for name in dir(view) if name.startswith(asking)}
    assert len(names) > 4
    for name in names:
        assert signature(getattr(view, f"a{name}")) == signature(getattr(view, name))


# -- whose client -------------------------------------------------------------------------------


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[FakePrefect3, str]]:
    """A server that the environment names, and a run on it."""
    server = FakePrefect3()
    run_id = server.add_run()
    server.log(run_id, "line")
    with server.serve() as url:
        monkeypatch.setenv("PREFECT_API_URL", url)
        yield server, run_id


def test_without_a_client_the_environment_says(
    reads: Blocking | Awaiting, served: tuple[FakePrefect3, str]
) -> None:
    """Without a client each read opens a connection of its own, and closes it."""
    _, run_id = served
    view = reads.view(run_id, None)
    assert reads.logs(view) == ["line"]
    assert reads.latest(view) == view


def test_without_a_server_there_is_nothing_to_read(
    reads: Blocking | Awaiting, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """Without a client, and without a server in the environment, reading is an error."""
    for name in ("PREFECT_API_URL", "RXFLOW_API_URL", "PREFECT_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    with pytest.raises(ConfigurationError):
        reads.view(GONE, None)


def test_a_view_keeps_its_client(reads: Blocking | Awaiting, world: World, run: str) -> None:
    """What is read of a view is asked of the client that it was read with."""
    view = reads.view(run, world.client)
    asked = len(world.server.requests)
    reads.logs(reads.latest(view))
    assert len(world.server.requests) > asked


def test_many_views_at_once(world: World) -> None:
    """Views that many tasks read with one client are each of its own run."""
    runs = [world.server.add_run(name=str(number)) for number in range(20)]

    async def read() -> list[FlowRunView]:
        async with world.client as client:
            reading = (FlowRunView.afrom_flow_run_id(run, client=client) for run in runs)
            return list(await asyncio.gather(*reading))

    views = asyncio.run(read())
    assert [view.flow_run_id for view in views] == runs
    assert [view.name for view in views] == [str(number) for number in range(20)]
