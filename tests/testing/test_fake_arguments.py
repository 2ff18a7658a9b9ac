"""What people pass to the fake servers: clocks, times, ids, levels and durations of any class."""

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pendulum
import pytest
from foreign_values import NOT_A_TIME, TIME, SubclassedId, SubclassedTime, WholeNumber
from freezegun import freeze_time
from freezegun.api import FakeDatetime

import rxflow
from rxflow import FlowRunView
from rxflow.testing import FakePrefect1, FakePrefect3, VirtualTime

Fake = FakePrefect1 | FakePrefect3

MISSING = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"

CLOCKS: dict[str, Callable[[], datetime]] = {
    "freezegun": lambda: FakeDatetime(2026, 11, 22, 10, tzinfo=UTC),
    "pendulum": lambda: pendulum.datetime(2026, 11, 22, 11, tz="Europe/Paris"),
    "pandas": lambda: SubclassedTime(2026, 11, 22, 10, tzinfo=UTC),
}

NO_TIMES = [
    (datetime(2026, 11, 22), ValueError),  # noqa: DTZ001
    (NOT_A_TIME, ValueError),
    (date(2026, 11, 22), TypeError),
    ("2026-11-22", TypeError),
]


@pytest.fixture(params=["FakePrefect1", "FakePrefect3"])
def fake(request: pytest.FixtureRequest) -> type[Fake]:
    """Return the class of a fake server."""
    return FakePrefect1 if request.param == "FakePrefect1" else FakePrefect3


def add_finished_run(server: Fake) -> str:
    """Add a run with a log line and a task run, all of which are over."""
    names = ("Running", "Success") if isinstance(server, FakePrefect1) else ("RUNNING", "COMPLETED")
    run = server.add_run(state=names[0])
    server.add_task_run(run, state=names[1])
    server.log(run, "hello")
    server.set_state(run, names[1])
    return run


def read_all(server: Fake, run: str) -> int:
    """Watch a run, encode its events and read its views; return the number of events."""
    client = server.client()
    stream = rxflow.watch_flow_run(run, stream_tasks=True, drain=0, client=client)
    events = list(stream)
    assert all(rxflow.encode_event(event) for event in events)
    view = FlowRunView.from_flow_run_id(run, load_static_tasks=True, client=client)
    assert [line.message for line in view.get_logs()] == ["hello"]
    return len(events)


# -- clocks and times -----------------------------------------------------------------------------


@pytest.mark.parametrize("clock", CLOCKS.values(), ids=CLOCKS)
def test_a_clock_may_give_any_aware_datetime(
    clock: Callable[[], datetime], fake: type[Fake]
) -> None:
    """The server's rows are sent, and their times are plain ones in UTC."""
    server = fake(clock=clock)
    run = add_finished_run(server)
    assert read_all(server, run) == 6
    assert type(server.runs[run]["created"]) is datetime
    assert server.runs[run]["created"].tzinfo is UTC


def test_a_server_works_under_freezegun(fake: type[Fake]) -> None:
    """Its clock, and those of a watch, stand still; a watch without a drain ends all the same."""
    with freeze_time(TIME):
        server = fake()
        run = add_finished_run(server)
        assert read_all(server, run) == 6
    assert server.runs[run]["created"] - TIME < timedelta(seconds=1)


def test_rxflow_may_be_imported_under_freezegun() -> None:
    """Its structs have times of the class `datetime` itself, although the name means another."""
    script = """
from freezegun import freeze_time
with freeze_time("2026-11-22"):
    import rxflow
    from rxflow.testing import FakePrefect3
    server = FakePrefect3()
    run = server.add_run(state="COMPLETED")
    server.log(run)
    stream = rxflow.watch_flow_run(run, drain=0, client=server.client())
    print(*(rxflow.encode_event(event)[:24] for event in stream))
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "closed" in run.stdout.split()[-1]


@pytest.mark.parametrize("clock", [TIME, "now"])
def test_a_clock_that_cannot_be_called_is_refused(clock: Any, fake: type[Fake]) -> None:
    """The error shows what to pass."""
    with pytest.raises(TypeError, match=r"^clock=.* cannot be called; pass a function"):
        fake(clock=clock)


@pytest.mark.parametrize(("value", "error"), NO_TIMES)
def test_a_clock_that_gives_no_time_is_refused(
    value: Any, error: type[Exception], fake: type[Fake]
) -> None:
    """The error names the clock, at the first write, which may be that of the constructor."""
    with pytest.raises(error, match=r"^clock\(\)="):
        fake(clock=lambda: value).add_run()


@pytest.mark.parametrize("clock", CLOCKS.values(), ids=CLOCKS)
def test_times_of_rows_may_be_any_aware_datetimes(
    clock: Callable[[], datetime], fake: type[Fake]
) -> None:
    """They are stored as plain ones in UTC, whatever method takes them."""
    server, time = fake(), clock()
    run = server.add_run(state=None, created=time)
    server.log(run, timestamp=time, created=time)
    running, due = ("Running", "scheduled") if fake is FakePrefect1 else ("RUNNING", "expected")
    server.set_state(run, running, timestamp=time)
    server.change_run(run, **{f"{due}_start_time": time})
    task_run = server.add_task_run(run, start_time=time)
    row = server.runs[run]
    log = next(iter(server.logs.values() if isinstance(server, FakePrefect1) else server.logs))
    stored = [
        *(row["created"], row["start_time"], row[f"{due}_start_time"]),
        *(log["timestamp"], log["created"], server.task_runs[task_run]["start_time"]),
    ]
    assert [(type(each), each) for each in stored] == [(datetime, TIME)] * 6


@pytest.mark.parametrize(("value", "error"), NO_TIMES)
def test_another_time_is_refused_at_the_call(
    value: Any, error: type[Exception], fake: type[Fake]
) -> None:
    """The error names the argument, and nothing is stored."""
    server = fake()
    run = add_finished_run(server)
    with pytest.raises(error, match=r"^timestamp="):
        server.log(run, timestamp=value)
    with pytest.raises(error, match=r"^created="):
        server.log(run, created=value)
    with pytest.raises(error, match=r"^timestamp="):
        server.set_state(run, "Running" if fake is FakePrefect1 else "RUNNING", timestamp=value)
    with pytest.raises(error, match=r"^then="):
        server.restore_logs(value)
    with pytest.raises(error, match=r"^beginning="):
        VirtualTime(value)
    assert read_all(server, run) == 6


def test_a_time_that_a_test_puts_into_a_table_is_sent(fake: type[Fake]) -> None:
    """Rows may be changed directly, with times of any class."""
    server = fake()
    run = add_finished_run(server)
    server.runs[run]["created"] = pendulum.datetime(2026, 11, 22, 11, tz="Europe/Paris")
    view = FlowRunView.from_flow_run_id(run, client=server.client())
    assert view.snapshot.run.created == TIME


def test_an_agent_may_have_queried_at_any_aware_datetime() -> None:
    """`add_agent` takes any class, and refuses text."""
    server = FakePrefect1()
    agent = server.add_agent(last_queried=pendulum.datetime(2026, 11, 22, 10))
    assert type(server.agents[agent]["last_queried"]) is datetime
    wrong: Any = "2026-11-22"
    with pytest.raises(TypeError, match=r"^last_queried="):
        server.add_agent(last_queried=wrong)


def test_a_state_of_prefect_1_may_have_datetimes() -> None:
    """The fields of a serialized state are texts, as the client writes them."""
    server = FakePrefect1()
    run = server.add_run()
    server.set_state(run, "Scheduled", start_time=pendulum.datetime(2026, 11, 22, 10))
    assert server.runs[run]["serialized_state"]["start_time"] == TIME.isoformat()
    assert [row["start_time"] for row in server.states.values()][-1] == TIME


# -- schedules ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "when",
    [
        60,
        WholeNumber(60),
        timedelta(minutes=1),
        pendulum.duration(minutes=1),
        pendulum.datetime(2026, 1, 1, 0, 1),
        SubclassedTime(2026, 1, 1, 0, 1, tzinfo=UTC),
    ],
)
def test_an_action_may_be_scheduled_by_any_time_or_duration(when: Any, fake: type[Fake]) -> None:
    """It runs at that time."""
    time = VirtualTime()
    server = fake(clock=time)
    times: list[datetime] = []
    server.at(when, lambda: times.append(server.now()))
    time.wait(timedelta(hours=1))
    server.catch_up()
    assert times == [time.beginning + timedelta(minutes=1)]


@pytest.mark.parametrize(
    ("when", "error"),
    [(datetime(2026, 1, 1), ValueError), ("5s", TypeError), (-1, ValueError), (True, ValueError)],  # noqa: DTZ001
)
def test_an_action_at_no_time_is_refused(
    when: Any, error: type[Exception], fake: type[Fake]
) -> None:
    """The error names the argument."""
    with pytest.raises(error, match=r"^when="):
        fake().at(when, lambda: None)


def test_an_action_that_cannot_be_called_is_refused(fake: type[Fake]) -> None:
    """The error comes at the call, not when it is due."""
    wrong: Any = "CRASHED"
    with pytest.raises(TypeError, match=r"^action='CRASHED' cannot be called"):
        fake().at(5, wrong)


def test_virtual_time_takes_durations_of_any_class() -> None:
    """`wait` and `collect` take timedeltas, and name their argument otherwise."""
    time = VirtualTime(pendulum.datetime(2026, 11, 22, 11, tz="Europe/Paris"))
    assert (type(time.beginning), time.beginning) == (datetime, TIME)
    time.wait(pendulum.duration(minutes=1))
    assert time.seconds == 60
    server = FakePrefect3(clock=time)
    stream = rxflow.watch_flow_run(server.add_run(), client=server.client())
    assert len(time.collect(stream, seconds=timedelta(seconds=5))) == 2
    wrong: Any = "1h"
    with pytest.raises(TypeError, match=r"^seconds='1h' is not a duration"):
        time.wait(wrong)
    with pytest.raises(TypeError, match=r"^seconds='1h' is not a duration"):
        time.collect(stream, seconds=wrong)


def test_a_gate_takes_timeouts_of_any_class() -> None:
    """`until_reached` and `until_left` take timedeltas, and name their argument otherwise."""
    with FakePrefect3().hold() as hold:
        with pytest.raises(TimeoutError):
            hold.until_reached(timeout=timedelta(0))
        wrong: Any = "1h"
        with pytest.raises(TypeError, match=r"^timeout='1h' is not a duration"):
            hold.until_left(timeout=wrong)


# -- ids and levels -------------------------------------------------------------------------------


@pytest.mark.parametrize("spell", [UUID, SubclassedId, str.upper, "urn:uuid:{}".format])
def test_an_id_may_be_a_uuid_or_any_text_of_one(
    spell: Callable[[str], Any], fake: type[Fake]
) -> None:
    """Every method finds the row."""
    server = fake()
    run = server.add_run(id=spell(MISSING))
    assert run == MISSING
    given = spell(run)
    server.set_state(given, "Running" if fake is FakePrefect1 else "RUNNING")
    server.change_run(given, name="nightly")
    task_run = server.add_task_run(given)
    line = server.log(given, "hello", task_run_id=spell(task_run))
    view = FlowRunView.from_flow_run_id(run, client=server.client())
    assert (view.name, [row.task_run_id for row in view.get_logs()]) == ("nightly", [task_run])
    server.delete_logs([spell(line)])
    assert view.get_logs() == []
    server.delete_run(given)
    assert not server.runs


def test_ids_of_other_rows_may_be_uuids() -> None:
    """Those of task runs, flows and deployments."""
    one = FakePrefect1()
    flow = one.add_flow()
    run = one.add_run(flow_id=UUID(flow))
    assert one.runs[run]["flow_id"] == flow
    task_run = one.add_task_run(run)
    one.set_task_state(UUID(task_run), "Success")
    assert one.task_runs[task_run]["state"] == "Success"
    three = FakePrefect3()
    run = three.create_run(UUID(three.add_deployment()))
    task_run = three.add_task_run(run)
    three.script(UUID(run), [(timedelta(0), "hello")])
    assert three.set_task_state(UUID(run), UUID(task_run), "COMPLETED") == task_run


def test_an_id_of_no_row_is_refused(fake: type[Fake]) -> None:
    """The error names the argument and says which ids there are."""
    server = fake()
    refused = pytest.raises(ValueError, match=f"^run_id='{MISSING}' is no row of the fake server")
    with refused:
        server.set_state(MISSING, "RUNNING")
    with refused:
        server.change_run(MISSING, name="nightly")
    with refused:
        server.add_task_run(MISSING)
    with refused:
        server.delete_run(MISSING)


@pytest.mark.parametrize("level", [30, "WARNING", WholeNumber(30)])
def test_a_level_may_be_a_number_or_a_name(level: Any, fake: type[Fake]) -> None:
    """It is stored as the server stores levels."""
    server = fake()
    run = server.add_run()
    server.log(run, level=level)
    (line,) = FlowRunView.from_flow_run_id(run, client=server.client()).get_logs()
    assert line.level == 30
    with pytest.raises(TypeError, match=r"^level=None is not a level"):
        server.log(run, level=None)  # type: ignore[arg-type]


# -- misspelt names -------------------------------------------------------------------------------

MISSPELT: dict[str, tuple[type[Fake], Callable[[Any, str], object], str]] = {
    "a run": (FakePrefect3, lambda s, _: s.add_run(flow_nmae="f"), "'flow_nmae' is .* flow run"),
    "a change": (FakePrefect3, lambda s, r: s.change_run(r, nmae="n"), "'nmae' is .* flow run"),
    "a task run": (
        FakePrefect3,
        lambda s, r: s.add_task_run(r, task_slug="t"),
        "'task_slug' is .* task run; its fields are .*task_key",
    ),
    "a deployment": (
        FakePrefect3,
        lambda s, _: s.add_deployment(work_pool="p"),
        "'work_pool' is .* deployment; its fields are .*work_pool_name",
    ),
    "a run of Prefect 1": (FakePrefect1, lambda s, _: s.add_run(flow="f"), "'flow' is .* flow run"),
    "a change of Prefect 1": (FakePrefect1, lambda s, r: s.change_run(r, nmae="n"), "'nmae' is"),
    "a task run of Prefect 1": (
        FakePrefect1,
        lambda s, r: s.add_task_run(r, task_slug="t"),
        "'task_slug' is neither an argument of this method nor a field of a task run",
    ),
    "a flow of Prefect 1": (FakePrefect1, lambda s, _: s.add_flow(group="g"), "'group' is .* flow"),
    "a task of Prefect 1": (
        FakePrefect1,
        lambda s, _: s.add_task(s.add_flow(), max_retry=1),
        "'max_retry' is .* task; its fields are .*max_retries",
    ),
    "a project of Prefect 1": (
        FakePrefect1,
        lambda s, _: s.add_project(tenant="t"),
        "'tenant' is .* project",
    ),
    "a state of Prefect 1": (
        FakePrefect1,
        lambda s, r: s.set_state(r, "Retrying", run_cuont=2),
        "'run_cuont' is .* Retrying state; its fields are .*run_count",
    ),
}


@pytest.mark.parametrize(("fake", "write", "text"), MISSPELT.values(), ids=MISSPELT)
def test_a_field_that_rows_do_not_have_is_refused(
    fake: type[Fake], write: Callable[[Any, str], object], text: str
) -> None:
    """The error names the field, and those that there are."""
    server = fake()
    run = server.add_run()
    with pytest.raises(TypeError, match=f"^{text}"):
        write(server, run)


UNKNOWN_TYPES = {
    "a misspelt one": "Sucess",
    "one in lower case": "completed",
    "one of the other server": ("Success", "COMPLETED"),
    "no text": 1,
}


@pytest.mark.parametrize("given", UNKNOWN_TYPES.values(), ids=UNKNOWN_TYPES)
def test_a_state_that_the_server_does_not_know_is_refused(given: Any, fake: type[Fake]) -> None:
    """The error shows all types as this server spells them, and nothing is stored."""
    prefect1 = fake is FakePrefect1
    known = "Scheduled, .*Success" if prefect1 else "SCHEDULED, .*COMPLETED"
    value = given[prefect1] if isinstance(given, tuple) else given
    server: Any = fake()
    run = add_finished_run(server)
    task_run = next(iter(server.task_runs))
    same_run = () if prefect1 else (run,)
    with pytest.raises(ValueError, match=rf"^state={value!r} is not .* pass one of .*{known}"):
        server.add_run(state=value)
    with pytest.raises(ValueError, match=rf"^state={value!r} is not"):
        server.add_task_run(run, state=value)
    with pytest.raises(ValueError, match=rf"^type={value!r} is not"):
        server.set_state(run, value)
    with pytest.raises(ValueError, match=rf"^type={value!r} is not"):
        server.set_task_state(*same_run, task_run, value)
    assert len(server.runs) == len(server.task_runs) == 1
    assert read_all(server, run) == 6


def test_a_line_of_a_run_that_never_was_is_refused(fake: type[Fake]) -> None:
    """The error names the argument; a run that was deleted may still have writers."""
    server = fake()
    run = add_finished_run(server)
    with pytest.raises(ValueError, match=rf"^run_id='{MISSING}' is no row"):
        server.log(MISSING)
    server.delete_run(run)
    row_id = server.log(run, "too late")
    logs = server.logs.values() if isinstance(server, FakePrefect1) else server.logs
    assert row_id in {row["id"] for row in logs}
