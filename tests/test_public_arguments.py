"""What people pass to the public functions: which values are taken, and how the others are refused.

A value that is refused is refused at the call, by an error that names the argument of that
function, before any request is sent. What each kind of value becomes is tested with the validators,
in `tests/models/test_arguments.py`.
"""

import asyncio
import inspect
import logging
import math
from collections.abc import Callable, Coroutine
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any, NamedTuple
from uuid import UUID

import httpx
import pendulum
import pytest
import reactivex
from foreign_values import (
    NOT_A_TIME,
    TIME,
    SubclassedDuration,
    SubclassedId,
    SubclassedTime,
    WholeNumber,
)
from freezegun.api import FakeDatetime

import rxflow
from rxflow import Client, FlowRunView, FlowView, TaskRunView, operators, sinks
from rxflow.errors import FlowNotFound, InvalidRunId, WatchTimedOut
from rxflow.testing import FakePrefect1, FakePrefect3, VirtualTime

MISSING = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"
TRUNCATED = "9e6caafc-4ea1-4493-b0…"
HOUR = timedelta(hours=1)


class Scene(NamedTuple):
    """A server with a run that ended a day ago, whose three lines were written an hour apart.

    Attributes:
        server: The server.
        client: Its client.
        run: The run's id.
        task_run: The id of its task run.
        flow: The id of its flow.
    """

    server: FakePrefect1 | FakePrefect3
    client: Client
    run: str
    task_run: str
    flow: str

    @property
    def view(self) -> FlowRunView:
        """The run as it is."""
        return FlowRunView.from_flow_run_id(self.run, client=self.client)

    @property
    def task_view(self) -> TaskRunView:
        """The task run as it is."""
        return TaskRunView.from_task_run_id(self.task_run, client=self.client)


@pytest.fixture(params=["prefect1", "prefect3"])
def scene(request: pytest.FixtureRequest) -> Scene:
    """Build the scene on a fake server of either kind."""
    time = VirtualTime(TIME + 2 * HOUR)
    server: FakePrefect1 | FakePrefect3
    if request.param == "prefect1":
        server = FakePrefect1(clock=time)
        run = server.add_run(state="Running")
        task_run = server.add_task_run(run, slug="load-1", state="Success")
        levels: tuple[Any, ...] = ("DEBUG", "INFO", "ERROR")
    else:
        server = FakePrefect3(clock=time)
        run = server.add_run(state="RUNNING")
        task_run = server.add_task_run(run, task_key="load-1", state="COMPLETED")
        levels = (logging.DEBUG, logging.INFO, logging.ERROR)
    for hour, level in enumerate(levels):
        stamp = TIME + hour * HOUR
        server.log(run, f"line {hour}", level=level, timestamp=stamp, task_run_id=task_run)
    server.set_state(run, "Success" if request.param == "prefect1" else "COMPLETED")
    time.wait(timedelta(days=1))
    return Scene(server, server.client(), run, task_run, server.runs[run]["flow_id"])


def finish(result: Any) -> Any:
    """Return the result of a call; await a coroutine, and collect a stream."""
    if inspect.iscoroutine(result):
        return asyncio.run(_awaited(result))
    if isinstance(result, reactivex.Observable):
        return list(rxflow.iterate(result))
    return result


async def _awaited(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return await coroutine


def made_by_hand(scene: Scene, **arguments: Any) -> FlowRunView:
    """Make a view without a request."""
    fields: dict[str, Any] = {
        "flow_run_id": scene.run,
        "name": "amber-fox",
        "flow_id": scene.flow,
        "labels": (),
        "parameters": {},
        "context": {},
        "state": None,
        "states": (),
        "updated_at": TIME,
        "run_config": None,
    }
    return FlowRunView(**(fields | arguments))


def task_made_by_hand(scene: Scene, **arguments: Any) -> TaskRunView:
    """Make a view of a task run without a request."""
    fields: dict[str, Any] = {
        "task_run_id": scene.task_run,
        "task_id": None,
        "task_slug": "load-1",
        "name": "load",
        "state": None,
        "map_index": -1,
        "flow_run_id": scene.run,
    }
    return TaskRunView(**(fields | arguments))


def events_of(scene: Scene) -> rxflow.FlowRunStream:
    """Watch the run."""
    return rxflow.watch_flow_run(scene.run, stream_tasks=True, client=scene.client)


# -- ids ------------------------------------------------------------------------------------------


class IdCall(NamedTuple):
    """A function that takes an id.

    Attributes:
        function: Calls it with an id.
        argument: The name of the argument.
        of: The field of the scene that has a right id.
        error: The error for text that is no id.
        type_error: The error for a value of another type.
    """

    function: Callable[[Scene, Any], Any]
    argument: str = "flow_run_id"
    of: str = "run"
    error: type[Exception] = InvalidRunId
    type_error: type[Exception] = InvalidRunId


ID_CALLS = {
    "watch_flow_run": IdCall(lambda scene, id_: rxflow.watch_flow_run(id_, client=scene.client)),
    "wait_for_flow_run": IdCall(
        lambda scene, id_: rxflow.wait_for_flow_run(id_, client=scene.client)
    ),
    "await_for_flow_run": IdCall(
        lambda scene, id_: rxflow.await_for_flow_run(id_, client=scene.client)
    ),
    "stream_flow_run_logs": IdCall(
        lambda scene, id_: rxflow.stream_flow_run_logs(id_, client=scene.client)
    ),
    "FlowRunView": IdCall(lambda scene, id_: made_by_hand(scene, flow_run_id=id_)),
    "from_flow_run_id": IdCall(
        lambda scene, id_: FlowRunView.from_flow_run_id(id_, client=scene.client)
    ),
    "afrom_flow_run_id": IdCall(
        lambda scene, id_: FlowRunView.afrom_flow_run_id(id_, client=scene.client)
    ),
    "get_task_run": IdCall(
        lambda scene, id_: scene.view.get_task_run(task_run_id=id_),
        "task_run_id",
        "task_run",
        type_error=TypeError,
    ),
    "TaskRunView": IdCall(
        lambda scene, id_: task_made_by_hand(scene, task_run_id=id_), "task_run_id", "task_run"
    ),
    "from_task_run_id": IdCall(
        lambda scene, id_: TaskRunView.from_task_run_id(id_, client=scene.client),
        "task_run_id",
        "task_run",
        type_error=TypeError,
    ),
    "afrom_task_run_id": IdCall(
        lambda scene, id_: TaskRunView.afrom_task_run_id(id_, client=scene.client),
        "task_run_id",
        "task_run",
        type_error=TypeError,
    ),
    "from_task_slug": IdCall(
        lambda scene, id_: TaskRunView.from_task_slug("load-1", id_, client=scene.client)
    ),
    "afrom_task_slug": IdCall(
        lambda scene, id_: TaskRunView.afrom_task_slug("load-1", id_, client=scene.client)
    ),
    "FlowView.from_id": IdCall(
        lambda scene, id_: FlowView.from_id(id_, client=scene.client),
        "flow_id",
        "flow",
        FlowNotFound,
        TypeError,
    ),
    "FlowView.afrom_flow_id": IdCall(
        lambda scene, id_: FlowView.afrom_flow_id(id_, client=scene.client),
        "flow_id",
        "flow",
        FlowNotFound,
        TypeError,
    ),
    "FlowView.of_run": IdCall(
        lambda scene, id_: FlowView.of_run(id_, client=scene.client),
        "flow_id",
        "flow",
        FlowNotFound,
        TypeError,
    ),
    "for_task": IdCall(
        lambda scene, id_: events_of(scene).pipe(operators.for_task(id_)),
        "task_run_id",
        "task_run",
    ),
    "until_terminal": IdCall(
        lambda scene, id_: events_of(scene).pipe(operators.until_terminal(id_)), "flow_run_ids"
    ),
}

each_id_call = pytest.mark.parametrize("call", ID_CALLS.values(), ids=ID_CALLS)


@each_id_call
def test_an_id_may_be_a_uuid_or_any_text_of_one(
    call: IdCall, scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every function gives the same result for each spelling of an id."""
    right: str = getattr(scene, call.of)
    spellings: list[str | UUID] = [
        UUID(right),
        SubclassedId(right),
        right.upper(),
        right.replace("-", ""),
        f"urn:uuid:{right}",
        f"{{{right}}}",
        f" {right}\n",
    ]
    expected = finish(call.function(scene, right)), capsys.readouterr().out
    for spelling in spellings:
        result = finish(call.function(scene, spelling)), capsys.readouterr().out
        assert result == expected


@each_id_call
@pytest.mark.parametrize("value", ["amber-fox", TRUNCATED, "", 7, b"\x00" * 16, date(2026, 1, 1)])
def test_another_id_is_refused_at_the_call(call: IdCall, value: Any, scene: Scene) -> None:
    """The error names the argument and shows an id; a cut id is said to be cut."""
    expected = call.error if isinstance(value, str) else call.type_error
    with pytest.raises(expected) as raised:
        finish_only_coroutines(call.function(scene, value))
    assert str(raised.value).startswith(f"{call.argument}={value!r} is not a ")
    assert ("it is cut off" if value == TRUNCATED else MISSING) in str(raised.value)


def finish_only_coroutines(result: Any) -> None:
    """Await a coroutine; a stream must be refused before it is subscribed to."""
    if inspect.iscoroutine(result):
        asyncio.run(_awaited(result))


def test_a_flow_group_may_be_named_by_a_uuid() -> None:
    """`from_flow_group_id` takes a UUID, and its error names its own argument."""
    server = FakePrefect1()
    flow = server.flows[server.add_flow("report")]
    client = server.client()
    group = UUID(flow["flow_group_id"])
    assert FlowView.from_flow_group_id(group, client=client).name == "report"
    with pytest.raises(FlowNotFound, match="flow_group_id='report' is not a flow group id"):
        FlowView.from_flow_group_id("report", client=client)


def test_ids_of_views_made_by_hand_become_text() -> None:
    """The ids of the flow, the task and the flow run may be UUIDs."""
    scene = Scene(FakePrefect3(), FakePrefect3().client(), MISSING, MISSING, MISSING)
    known = UUID(MISSING)
    task_run = task_made_by_hand(scene, task_id=known, flow_run_id=known)
    assert made_by_hand(scene, flow_id=known).flow_id == MISSING
    assert (task_run.task_id, task_run.flow_run_id) == (MISSING, MISSING)
    assert FlowView(known).flow_id == MISSING


def test_a_deployment_id_is_checked() -> None:
    """`of_run` names the deployment's id in its error."""
    with pytest.raises(FlowNotFound, match="deployment_id='nightly' is not a deployment id"):
        FlowView.of_run(MISSING, "nightly", client=FakePrefect3().client())


# -- times ----------------------------------------------------------------------------------------

TIMES = {
    "datetime": TIME + HOUR,
    "in another zone": (TIME + HOUR).astimezone(timezone(-5 * HOUR)),
    "as of pandas": SubclassedTime(2026, 11, 22, 11, tzinfo=UTC),
    "pendulum": pendulum.datetime(2026, 11, 22, 11),
    "pendulum in another zone": pendulum.datetime(2026, 11, 22, 12, tz="Europe/Paris"),
    "freezegun": FakeDatetime(2026, 11, 22, 11, tzinfo=UTC),
}

NO_TIMES = {
    "naive": (datetime(2026, 11, 22), ValueError, "tzinfo=UTC"),  # noqa: DTZ001
    "NaT": (NOT_A_TIME, ValueError, "tzinfo=UTC"),
    "date": (date(2026, 11, 22), TypeError, "datetime(2026, 11, 22, tzinfo=UTC)"),
    "text": ("2026-11-22", TypeError, "datetime.fromisoformat('2026-11-22T00:00:00+00:00')"),
    "number": (1_795_341_600, TypeError, "datetime.fromtimestamp(1795341600, UTC)"),
}

LOG_CALLS: dict[str, Callable[..., Any]] = {
    "FlowRunView.get_logs": lambda scene, **times: scene.view.get_logs(**times),
    "FlowRunView.aget_logs": lambda scene, **times: scene.view.aget_logs(**times),
    "TaskRunView.get_logs": lambda scene, **times: scene.task_view.get_logs(**times),
    "TaskRunView.aget_logs": lambda scene, **times: scene.task_view.aget_logs(**times),
}


def lines_since(scene: Scene, since: Any) -> list[str]:
    """Watch the log lines from a time on."""
    stream = rxflow.watch_flow_run(scene.run, since=since, client=scene.client)
    return [line.message for line in stream.logs]


@pytest.mark.parametrize("time", TIMES.values(), ids=TIMES)
def test_since_may_be_any_aware_datetime(time: datetime, scene: Scene) -> None:
    """The lines of that time and later are emitted."""
    assert lines_since(scene, time) == ["line 1", "line 2"]


@pytest.mark.parametrize("call", LOG_CALLS.values(), ids=LOG_CALLS)
@pytest.mark.parametrize("time", TIMES.values(), ids=TIMES)
def test_start_and_end_may_be_any_aware_datetimes(
    time: datetime, call: Callable[..., Any], scene: Scene
) -> None:
    """The lines after the start, and up to the end, are returned."""
    after, until = finish(call(scene, start_time=time)), finish(call(scene, end_time=time))
    assert [line.message for line in after] == ["line 2"]
    assert [line.message for line in until] == ["line 0", "line 1"]


@pytest.mark.parametrize(
    ("since", "count"),
    [("0001-01-01T00:00:00+14:00", 3), ("9999-12-31T23:59:59-12:00", 0)],
)
def test_the_ends_of_time_do_not_overflow(since: str, count: int, scene: Scene) -> None:
    """A time that is outside of the years 1 to 9999 in UTC selects all lines, or none."""
    time = datetime.fromisoformat(since)
    assert len(lines_since(scene, time)) == count
    assert len(scene.view.get_logs(start_time=time)) == count
    assert len(scene.view.get_logs(end_time=time)) == 3 - count


@pytest.mark.parametrize(("value", "error", "advice"), NO_TIMES.values(), ids=NO_TIMES)
def test_another_time_is_refused_at_the_call(
    value: Any, error: type[Exception], advice: str, scene: Scene
) -> None:
    """The error names the argument of that function and shows an aware datetime."""
    with pytest.raises(error, match=r"^since=") as raised:
        rxflow.watch_flow_run(scene.run, since=value, client=scene.client)
    assert advice in str(raised.value)
    with pytest.raises(error, match=r"^updated_at="):
        made_by_hand(scene, updated_at=value)
    for call in LOG_CALLS.values():
        for argument in ("start_time", "end_time"):
            with pytest.raises(error, match=f"^{argument}=") as raised:
                finish(call(scene, **{argument: value}))
            assert advice in str(raised.value)


def test_the_time_of_a_view_made_by_hand_becomes_plain(scene: Scene) -> None:
    """Its snapshot can be encoded."""
    view = made_by_hand(scene, updated_at=TIMES["pendulum"])
    assert type(view.updated_at) is datetime


def test_an_event_with_a_time_of_a_subclass_is_encoded() -> None:
    """Events made by hand, such as in tests, may have times of freezegun."""
    plain = rxflow.Notice(
        flow_run_id=MISSING, code=rxflow.NoticeCode.RECOVERED, message="", timestamp=TIME
    )
    frozen = FakeDatetime(2026, 11, 22, 10, tzinfo=UTC)
    notice = rxflow.Notice(flow_run_id=MISSING, code=plain.code, message="", timestamp=frozen)
    assert rxflow.encode_event(notice) == rxflow.encode_event(plain)
    assert type(rxflow.to_dict(notice)["timestamp"]) is datetime


# -- levels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [40, 40.0, "ERROR", "error", WholeNumber(40), logging.ERROR])
def test_a_level_may_be_a_number_or_a_name(level: Any, scene: Scene) -> None:
    """Only lines of that level and above are emitted, by the watch and by the operator."""
    stream = rxflow.watch_flow_run(scene.run, level=level, client=scene.client)
    assert [line.message for line in stream.logs] == ["line 2"]
    errors = events_of(scene).logs.pipe(operators.level_at_least(level))
    assert [line.message for line in rxflow.iterate(errors)] == ["line 2"]


@pytest.mark.parametrize(
    ("level", "error"),
    [
        ("LOUD", ValueError),
        (10**30, ValueError),
        (20.5, TypeError),
        (math.nan, TypeError),
        (True, TypeError),
        (None, TypeError),
    ],
)
def test_another_level_is_refused_at_the_call(level: Any, error: type[Exception]) -> None:
    """The error shows a level, and lists the known names for an unknown one."""
    with pytest.raises(error, match=r"is not a level; pass .*ERROR") as by_watch:
        rxflow.watch_flow_run(MISSING, level=level, client=FakePrefect3().client())
    with pytest.raises(error, match=r"is not a level; pass .*ERROR") as by_operator:
        operators.level_at_least(level)
    assert str(by_watch.value) == str(by_operator.value)
    assert str(by_watch.value).startswith(f"level={level!r} ")


# -- durations ------------------------------------------------------------------------------------


class DurationCall(NamedTuple):
    """A function that takes a duration.

    Attributes:
        argument: The name of the argument.
        function: Calls it with a duration.
    """

    argument: str
    function: Callable[[Scene, Any], Any]


DURATION_CALLS = {
    "watch_flow_run": DurationCall(
        "max_duration",
        lambda scene, value: rxflow.watch_flow_run(
            scene.run, max_duration=value, client=scene.client
        ),
    ),
    "wait_for_flow_run": DurationCall(
        "timeout",
        lambda scene, value: rxflow.wait_for_flow_run(scene.run, value, client=scene.client),
    ),
    "await_for_flow_run": DurationCall(
        "timeout",
        lambda scene, value: rxflow.await_for_flow_run(scene.run, value, client=scene.client),
    ),
    "stream_flow_run_logs": DurationCall(
        "max_duration",
        lambda scene, value: rxflow.stream_flow_run_logs(scene.run, value, client=scene.client),
    ),
    "in_order": DurationCall(
        "lateness", lambda scene, value: events_of(scene).pipe(operators.in_order(value))
    ),
    "rate": DurationCall(
        "window", lambda scene, value: events_of(scene).pipe(operators.rate(value))
    ),
    "quiet_for": DurationCall(
        "seconds",
        lambda scene, value: events_of(scene).pipe(operators.quiet_for(value, scene.client)),
    ),
    "check_for_compatible_agents": DurationCall(
        "since_minutes",
        lambda scene, value: rxflow.check_for_compatible_agents([], value, client=scene.client),
    ),
    "acheck_for_compatible_agents": DurationCall(
        "since_minutes",
        lambda scene, value: rxflow.acheck_for_compatible_agents([], value, client=scene.client),
    ),
}

NO_DURATIONS = [
    (-1, ValueError),
    (timedelta(seconds=-1), ValueError),
    (math.nan, ValueError),
    (math.inf, ValueError),
    (True, ValueError),
    ("1h", TypeError),
    ("5", TypeError),
    (TIME, TypeError),
]

each_duration_call = pytest.mark.parametrize("call", DURATION_CALLS.values(), ids=DURATION_CALLS)


def result_types(call: DurationCall, scene: Scene, value: Any) -> list[type[Any]]:
    """Return the type of the result of a call, or the types of a stream's items."""
    result = finish(call.function(scene, value))
    return [type(item) for item in (result if isinstance(result, list) else [result])]


@each_duration_call
@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (timedelta.max, timedelta.max.total_seconds()),
        (1e300, timedelta.max.total_seconds()),
        (SubclassedDuration(1), 86_400),
        (pendulum.duration(hours=1), 3600),
        (WholeNumber(3600), 3600),
    ],
)
def test_a_duration_may_be_of_any_class(
    call: DurationCall, value: Any, seconds: float, scene: Scene
) -> None:
    """Timedeltas of any class and numbers of any type are taken, and none overflows a timer."""
    assert result_types(call, scene, value) == result_types(call, scene, seconds)


@pytest.mark.parametrize(
    "value", [0, SubclassedDuration(hours=2), pendulum.duration(hours=2), WholeNumber(7200)]
)
def test_a_drain_may_be_of_any_class(value: Any, scene: Scene) -> None:
    """A run that ended longer ago is not awaited."""
    stream = rxflow.watch_flow_run(scene.run, drain=value, client=scene.client)
    assert isinstance(list(stream)[-1], rxflow.Closed)


@each_duration_call
@pytest.mark.parametrize(("value", "error"), NO_DURATIONS)
def test_another_duration_is_refused_at_the_call(
    call: DurationCall, value: Any, error: type[Exception], scene: Scene
) -> None:
    """The error names the argument of that function and shows a duration."""
    with pytest.raises(error, match="is not a duration; pass a timedelta such as") as raised:
        finish_only_coroutines(call.function(scene, value))
    assert str(raised.value).startswith(f"{call.argument}={value!r} ")


@pytest.mark.parametrize(("value", "error"), NO_DURATIONS)
def test_another_drain_is_refused_at_the_call(value: Any, error: type[Exception]) -> None:
    """The error names the argument."""
    with pytest.raises(error, match=r"^drain=.* is not a duration; pass a timedelta such as"):
        rxflow.watch_flow_run(MISSING, drain=value, client=FakePrefect3().client())


def test_the_error_of_a_limit_names_the_argument_that_was_given() -> None:
    """`wait_for_flow_run` names its timeout, and `watch_flow_run` its ``max_duration``."""
    server = FakePrefect3()
    run = server.add_run(state="RUNNING")
    client = server.client()
    with pytest.raises(WatchTimedOut, match=r"; pass a longer timeout, or None for no limit$"):
        rxflow.wait_for_flow_run(run, timeout=0, client=client)
    with pytest.raises(WatchTimedOut, match=r"; pass a longer timeout, or None for no limit$"):
        finish(rxflow.await_for_flow_run(run, timeout=0, client=client))
    with pytest.raises(WatchTimedOut, match=r"; pass a longer max_duration, or None"):
        list(rxflow.watch_flow_run(run, max_duration=0, client=client))


# -- clients --------------------------------------------------------------------------------------

CLIENT_CALLS: dict[str, Callable[[Scene, Any], Any]] = {
    "watch_flow_run": lambda scene, client: rxflow.watch_flow_run(scene.run, client=client),
    "wait_for_flow_run": lambda scene, client: rxflow.wait_for_flow_run(scene.run, client=client),
    "await_for_flow_run": lambda scene, client: rxflow.await_for_flow_run(scene.run, client=client),
    "stream_flow_run_logs": lambda scene, client: rxflow.stream_flow_run_logs(
        scene.run, client=client
    ),
    "check_for_compatible_agents": lambda _, client: rxflow.check_for_compatible_agents(
        [], client=client
    ),
    "acheck_for_compatible_agents": lambda _, client: rxflow.acheck_for_compatible_agents(
        [], client=client
    ),
    "quiet_for": lambda _, client: operators.quiet_for(60, client),
    "FlowRunView": lambda scene, client: made_by_hand(scene, client=client),
    "from_snapshot": lambda scene, client: FlowRunView.from_snapshot(
        scene.view.snapshot, client=client
    ),
    "from_flow_run_id": lambda scene, client: FlowRunView.from_flow_run_id(
        scene.run, client=client
    ),
    "afrom_flow_run_id": lambda scene, client: FlowRunView.afrom_flow_run_id(
        scene.run, client=client
    ),
    "TaskRunView": lambda scene, client: task_made_by_hand(scene, client=client),
    "from_task_run_id": lambda scene, client: TaskRunView.from_task_run_id(
        scene.task_run, client=client
    ),
    "from_task_slug": lambda scene, client: TaskRunView.from_task_slug(
        "load-1", scene.run, client=client
    ),
    "FlowView.from_id": lambda scene, client: FlowView.from_id(scene.flow, client=client),
    "FlowView.from_flow_name": lambda _, client: FlowView.from_flow_name("report", client=client),
    "FlowView.afrom_flow_name": lambda _, client: FlowView.afrom_flow_name("report", client=client),
}


@pytest.mark.parametrize("call", CLIENT_CALLS.values(), ids=CLIENT_CALLS)
@pytest.mark.parametrize(
    ("client", "shown"),
    [
        (httpx.Client, "the class httpx.Client itself"),
        ("https://me:secret@prefect.example/api", "of the class str"),
        (Client, "the class rxflow.Client itself"),
        (FakePrefect3, "the class rxflow.FakePrefect3 itself"),
        (0, "of the class int"),
    ],
)
def test_another_client_is_refused_at_the_call(
    call: Callable[[Scene, Any], Any], client: Any, shown: str, scene: Scene
) -> None:
    """The error says what to pass, and does not show the object, which may have a secret."""
    with pytest.raises(TypeError, match=r"; pass rxflow\.Client") as raised:
        finish_only_coroutines(call(scene, client))
    assert str(raised.value).startswith(f"client is {shown}, not rxflow.Client; ")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("argument", "value"),
    [("settings", {}), ("settings", "http://x"), ("transport", "http://x"), ("transport", Client)],
)
def test_another_part_of_a_client_is_refused_at_the_call(argument: str, value: Any) -> None:
    """`Client` names the argument and the class that is needed."""
    with pytest.raises(TypeError, match=f"^{argument} is .*, not .*; pass "):
        Client(**{"api_url": "http://127.0.0.1:4200/api", argument: value})


# -- names and indexes ----------------------------------------------------------------------------


def test_a_map_index_may_be_of_any_whole_number_type(scene: Scene) -> None:
    """It is sent as an int."""
    index = WholeNumber(-1)
    by_slug = scene.view.get_task_run("load-1", map_index=index)  # type: ignore[arg-type]
    assert by_slug.task_run_id == scene.task_run
    assert task_made_by_hand(scene, map_index=index).map_index == -1


@pytest.mark.parametrize("index", ["0", 0.0, True])
def test_another_map_index_is_refused_at_the_call(index: Any, scene: Scene) -> None:
    """The error names the argument."""
    refused = f"^map_index={index!r} is not a whole number"
    with pytest.raises(TypeError, match=refused):
        scene.view.get_task_run("load-1", map_index=index)
    with pytest.raises(TypeError, match=refused):
        TaskRunView.from_task_slug("load-1", scene.run, index, client=scene.client)
    with pytest.raises(TypeError, match=refused):
        task_made_by_hand(scene, map_index=index)


def test_a_name_that_is_not_text_is_refused_at_the_call(scene: Scene) -> None:
    """The error names the argument; nothing is sent that JSON has no value for."""
    wrong: Any = object()
    with pytest.raises(TypeError, match=r"^task_slug=.* is not text; pass text such as"):
        scene.view.get_task_run(wrong)
    with pytest.raises(TypeError, match=r"^flow_name=.* is not text; pass text such as"):
        FlowView.from_flow_name(wrong, client=scene.client)
    with pytest.raises(TypeError, match=r"^project_name=.* is not text; pass text such as"):
        finish(FlowView.afrom_flow_name("report", wrong, client=scene.client))
    with pytest.raises(TypeError, match=r"^labels is of the class int, not "):
        rxflow.check_for_compatible_agents(7, client=scene.client)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="labels contains "):
        rxflow.check_for_compatible_agents([{}], client=scene.client)  # type: ignore[list-item]


@pytest.mark.parametrize("n", [WholeNumber(2), 2])
def test_a_count_may_be_of_any_whole_number_type(n: Any) -> None:
    """`tail` and `bounded` take whole numbers of numpy."""
    numbers = reactivex.of(1, 2, 3)
    assert list(rxflow.iterate(numbers.pipe(operators.tail(n))))[-1] == (2, 3)
    assert list(rxflow.iterate(numbers.pipe(operators.bounded(n, "drop_oldest")))) == [2, 3]


# -- objects --------------------------------------------------------------------------------------


def refused_objects() -> dict[str, tuple[Callable[[], Any], str]]:
    """Return calls with an object of another class, and the beginning of their errors."""
    scene = Scene(FakePrefect3(), FakePrefect3().client(), MISSING, MISSING, MISSING)
    wrong: Any = "Running"
    nothing: Any = None
    return {
        "iterate": (lambda: rxflow.iterate(wrong), "observable is of the class str, not "),
        "aiterate": (lambda: rxflow.aiterate(wrong), "observable is of the class str, not "),
        "from_snapshot": (
            lambda: FlowRunView.from_snapshot(nothing, client=scene.client),
            "snapshot is of the class NoneType, not rxflow.Snapshot; pass",
        ),
        "state": (lambda: made_by_hand(scene, state=wrong), "state is of the class str, not "),
        "states": (lambda: made_by_hand(scene, states=[wrong]), "states is of the class str, not"),
        "labels": (lambda: made_by_hand(scene, labels="gpu"), "labels='gpu' is text; pass a list"),
        "key": (lambda: operators.conflate(wrong), "key='Running' cannot be called; pass a func"),
        "faults": (lambda: FakePrefect3(faults=wrong), "faults is of the class str, not rxflow.F"),
    }


@pytest.mark.parametrize(("call", "text"), refused_objects().values(), ids=list(refused_objects()))
def test_another_object_is_refused_at_the_call(call: Callable[[], Any], text: str) -> None:
    """The error names the argument and the class that is needed."""
    with pytest.raises(TypeError) as raised:
        call()
    assert str(raised.value).startswith(text)


# -- sinks ----------------------------------------------------------------------------------------


class AsyncFunction:
    """An object whose call is a coroutine."""

    async def __call__(self, item: object) -> None:
        """Do nothing."""


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: sinks.to_json_lines(None), "target.write=None cannot be called; pass a path"),  # type: ignore[arg-type]
        (lambda: sinks.to_json_lines(b"run.jsonl"), "target.write=None cannot be called"),  # type: ignore[arg-type]
        (lambda: sinks.to_logging("flows"), "logger is of the class str, not logging.Logger"),  # type: ignore[arg-type]
        (lambda: sinks.to_loguru("flows"), "logger is of the class str, not loguru.Logger"),  # type: ignore[arg-type]
        (
            lambda: sinks.to_loguru(logging.getLogger("flows")),  # type: ignore[arg-type]
            "logger is of the class logging.Logger, not loguru.Logger; pass loguru.logger",
        ),
        (lambda: sinks.to_callable(None), "function=None cannot be called; pass a function"),  # type: ignore[arg-type]
        (lambda: sinks.to_callable(AsyncFunction()), "is a coroutine function"),
    ],
)
def test_another_target_of_a_sink_is_refused_at_the_call(
    call: Callable[[], object], text: str
) -> None:
    """The error says what to pass, and does not wait for the first event."""
    with pytest.raises(TypeError, match=text):
        call()
