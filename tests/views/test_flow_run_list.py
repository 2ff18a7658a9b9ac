"""Lists of flow runs: complete, each run once, the newest first, in few requests."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from loguru import logger
from twin_calls import Call

import rxflow
from rxflow import FlowRunView
from rxflow.errors import UnsupportedFilter
from rxflow.testing import FakePrefect1, FakePrefect3, VirtualTime

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)

Fake = FakePrefect1 | FakePrefect3


@pytest.fixture(params=["FakePrefect1", "FakePrefect3"])
def server(request: pytest.FixtureRequest) -> Fake:
    """An empty server of either kind."""
    kind = FakePrefect1 if request.param == "FakePrefect1" else FakePrefect3
    return kind(clock=VirtualTime())


def add(server: Fake, name: str, due: datetime) -> str:
    """Add a run with an expected start."""
    if isinstance(server, FakePrefect1):
        return server.add_run(name=name, scheduled_start_time=due)
    return server.add_run(name=name, expected_start_time=due)


def add_many(server: Fake, count: int, *, apart: timedelta = SECOND) -> list[str]:
    """Add runs, and return their names by descending expected start."""
    for number in range(count):
        add(server, str(number), NOON + number * apart)
    return [str(number) for number in reversed(range(count))]


def list_names(server: Fake, call: Call, **arguments: Any) -> list[str]:
    """List runs, and return their names."""
    views = call(rxflow, "list_flow_runs", client=server.client(), **arguments)
    assert len({view.flow_run_id for view in views}) == len(views)
    return [view.name for view in views]


@contextmanager
def before_request(server: Fake, number: int, action: Callable[[], object]) -> Iterator[None]:
    """Let something happen before the server handles a request."""
    seen = 0

    def intercept(_: httpx.Request) -> httpx.Response | None:
        nonlocal seen
        seen += 1
        if seen == number:
            action()
        return None

    server.intercept = intercept
    yield
    assert seen >= number


def test_twins_have_the_same_arguments() -> None:
    """`list_flow_runs` and its async twin differ by nothing else."""
    twins = (rxflow.list_flow_runs, rxflow.alist_flow_runs)
    first, second = (inspect.signature(each).parameters for each in twins)
    assert first == second
    assert all(each.kind is each.KEYWORD_ONLY for each in first.values())


def test_more_runs_than_a_page_are_listed_newest_first(server: Fake, call: Call) -> None:
    """450 runs are read by three requests, and none for each run."""
    names = add_many(server, 450)
    assert list_names(server, call) == names
    assert len(server.requests) == 3


@pytest.mark.parametrize(("limit", "requests"), [(1, 1), (7, 1), (200, 1), (201, 2), (999, 3)])
def test_a_limit_bounds_runs_and_requests(
    server: Fake, call: Call, limit: int, requests: int
) -> None:
    """As many runs are listed, the newest ones, by as few requests as that takes."""
    names = add_many(server, 450)
    assert list_names(server, call, limit=limit) == names[:limit]
    assert len(server.requests) == requests


@pytest.mark.parametrize("limit", [None, 430])
def test_runs_of_one_expected_start_are_all_listed(
    server: Fake, call: Call, limit: int | None
) -> None:
    """Ties that fill a page are read in an order without ties, and then the older runs."""
    add(server, "newest", NOON + SECOND)
    names = add_many(server, 420, apart=timedelta(0))
    older = [str(-number) for number in range(1, 230)]
    for name in older:
        add(server, name, NOON + int(name) * SECOND)
    listed = list_names(server, call, limit=limit)
    assert listed[0] == "newest"
    assert sorted(listed[1:421]) == sorted(names)
    assert listed[421:] == older[: None if limit is None else limit - 421]


def test_a_limit_may_end_within_ties(server: Fake, call: Call) -> None:
    """No page is read that is not needed."""
    add_many(server, 700, apart=timedelta(0))
    assert len(list_names(server, call, limit=300)) == 300
    assert len(server.requests) <= 3


def test_runs_that_appear_meanwhile_repeat_none(server: Fake, call: Call) -> None:
    """New runs shift the others by no place, wherever they sort; each run is listed once."""
    names = add_many(server, 450)

    def add_runs() -> None:
        for number in range(30):
            add(server, f"newer {number}", NOON + timedelta(days=1))
            add(server, f"older {number}", NOON - timedelta(days=1))

    with before_request(server, 2, add_runs):
        listed = list_names(server, call)
    assert [name for name in listed if name.isdecimal()] == names
    assert sum(name.startswith("older") for name in listed) == 30


def test_runs_that_disappear_meanwhile_hide_none(server: Fake, call: Call) -> None:
    """A run that leaves the filter after it was read moves no other run to a page before."""
    names = add_many(server, 450)
    newest = [run_id for run_id, row in server.runs.items() if int(row["name"]) >= 430]
    with before_request(server, 2, lambda: [server.delete_run(run) for run in newest]):
        assert list_names(server, call) == names


def test_runs_without_an_expected_start_are_listed_last(call: Call) -> None:
    """They are paged by offset, as no time bounds them."""
    server = FakePrefect3(clock=VirtualTime())
    for number in range(450):
        server.add_run(name=str(number), expected_start_time=None, state=None)
    assert sorted(list_names(server, call)) == sorted(map(str, range(450)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: FakePrefect1(clock=VirtualTime(), row_limit=50),
        lambda: FakePrefect3(clock=VirtualTime(), page_limit=50),
    ],
    ids=["silently", "with an error"],
)
def test_a_server_may_send_fewer_rows_at_once(make: Callable[[], Fake], call: Call) -> None:
    """The pages become as small as the server sends them, whether or not it says so."""
    server = make()
    names = add_many(server, 120)
    assert list_names(server, call) == names


def test_a_view_shows_the_row_and_the_current_state(server: Fake, call: Call) -> None:
    """It is what `from_flow_run_id` reads, but for the states before."""
    run = add(server, "nightly", NOON)
    server.set_state(run, "Running" if isinstance(server, FakePrefect1) else "RUNNING")
    client = server.client()
    (view,) = call(rxflow, "list_flow_runs", client=client)
    whole = FlowRunView.from_flow_run_id(run, client=client)
    assert view.snapshot.run == whole.snapshot.run
    assert view.states == whole.states[-1:]
    assert view.get_latest() == whole


def test_a_view_of_a_run_without_a_state_has_no_states(call: Call) -> None:
    """Its state is None."""
    server = FakePrefect3()
    server.add_run(state=None)
    (view,) = call(rxflow, "list_flow_runs", client=server.client())
    assert (view.state, view.states) == (None, ())


def test_runs_are_listed_by_each_filter(call: Call) -> None:
    """Every argument reaches the server."""
    server = FakePrefect3(clock=VirtualTime())
    deployment = server.add_deployment(name="nightly", flow="report")
    parent = server.add_run(name="parent", flow="main", state="RUNNING")
    wanted: dict[str, Any] = {
        "name": "wanted",
        "flow": "report",
        "deployment_id": deployment,
        "tags": ["prod", "eu"],
        "work_pool_name": "k8s",
        "parent": parent,
        "state": "FAILED",
        "start_time": NOON,
    }
    server.add_run(**wanted)
    for field, value in {
        "name": "other",
        "flow": "etl",
        "deployment_id": None,
        "tags": ["prod"],
        "work_pool_name": "docker",
        "parent": None,
        "state": "CRASHED",
        "start_time": NOON - SECOND,
    }.items():
        server.add_run(**(wanted | {field: value}))
    filters: dict[str, Any] = {
        "name": "wanted",
        "flow": "report",
        "deployment": "report/nightly",
        "tags": ["eu"],
        "work_pool": "k8s",
        "parent": parent,
        "states": "FAILED",
        "started_after": NOON,
    }
    assert list_names(server, call, **filters) == ["wanted"]
    for left_out in filters:
        fewer = {field: value for field, value in filters.items() if field != left_out}
        assert len(list_names(server, call, **fewer)) == 2, left_out


def test_prefect_1_refuses_what_it_cannot_filter_by(call: Call) -> None:
    """The error is one of the caller's argument, and a ValueError."""
    server = FakePrefect1()
    with pytest.raises(UnsupportedFilter, match="so deployment= cannot be used with this server"):
        call(rxflow, "list_flow_runs", deployment="report/nightly", client=server.client())
    assert issubclass(UnsupportedFilter, ValueError)


@pytest.mark.parametrize(("limit", "error"), [(0, ValueError), (-1, ValueError), ("7", TypeError)])
def test_a_limit_is_a_number_above_zero(call: Call, limit: Any, error: type[Exception]) -> None:
    """Another one is refused before anything is requested."""
    server = FakePrefect3()
    with pytest.raises(error, match=r"^limit="):
        call(rxflow, "list_flow_runs", limit=limit, client=server.client())
    assert server.requests == []


def test_runs_that_cannot_be_read_are_left_out_and_logged(call: Call) -> None:
    """The list has the others; a warning counts those that are missing."""
    server = FakePrefect3(clock=VirtualTime())
    names = add_many(server, 450)
    for number in range(3):
        run = next(run for run, row in server.runs.items() if row["name"] == names[number])
        server.runs[run]["created"] = "yesterday"
    messages: list[str] = []
    sink = logger.add(lambda message: messages.append(message.record["message"]), level="WARNING")
    logger.enable("rxflow")
    try:
        assert list_names(server, call) == names[3:]
    finally:
        logger.disable("rxflow")
        logger.remove(sink)
    (warning,) = messages
    assert warning.startswith("3 flow runs cannot be read and are left out of a list; the first: ")


def test_a_page_of_which_no_row_can_be_read_is_passed(call: Call) -> None:
    """The rows after it are listed."""
    server = FakePrefect3(clock=VirtualTime())
    names = add_many(server, 250)
    for row in server.runs.values():
        if row["name"] in names[:200]:
            row["created"] = "yesterday"
    assert list_names(server, call) == names[200:]
