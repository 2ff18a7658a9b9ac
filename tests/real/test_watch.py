"""Watches of runs on a real server: what they emit equals what the database holds."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from promises.shared import closed_event, fold_all, messages, notice_codes
from reactivex import operators as ops
from servers_under_test import emitted_rows
from stream_faces import collect_async
from virtual_world import Recording, identity

import rxflow
from rxflow.cli._prefect_server import PrefectServer

if TYPE_CHECKING:
    from server_databases import DatabaseReader

    from tests.real.conftest import ApiWriter, TwoWriters, Until

LONG = 200.0
"""Seconds after which a watch in a test times out: far more than any of them takes."""

BRIEF = 1.0
"""Seconds of drain where all rows are stored before the run ends."""

ENDLESS = 3600.0
"""Seconds of drain that no test waits for."""

PREFECT_1_FIELDS = ("run_config", "task_id", "map_index", "version")
"""Fields that are None on Prefect 3."""


def utc_now() -> datetime:
    """The writers' clock."""
    return datetime.now(UTC)  # noqa: TID251


def stored_rows(database: DatabaseReader, run: str) -> list[tuple[str, str]]:
    """The (kind, id) of each row in the server's tables, sorted."""
    states = [("state", row) for row in database.state_ids(run)]
    return sorted([*states, *(("log", row) for row in database.log_ids(run))])


def changed_rows(events: Iterable[rxflow.FlowRunEvent]) -> list[rxflow.FlowRun]:
    """The run's rows after each change."""
    return [event.run for event in events if isinstance(event, rxflow.RunChanged)]


def differences(ours: object, theirs: Any, path: str = "") -> list[str]:
    """List where a value differs from the API's JSON, field by field."""
    match ours:
        case msgspec.Struct():
            assert isinstance(theirs, Mapping), path
            named = [(name, getattr(ours, name)) for name in ours.__struct_fields__]
            theirs = {**dict.fromkeys(PREFECT_1_FIELDS), **theirs}
            found = (differences(value, theirs[name], f"{path}.{name}") for name, value in named)
            return [difference for each in found for difference in each]
        case tuple():
            assert len(ours) == len(theirs), path
            pairs = enumerate(zip(ours, theirs, strict=True))
            return [text for n, (a, b) in pairs for text in differences(a, b, f"{path}[{n}]")]
        case datetime():
            same = ours == datetime.fromisoformat(theirs)
        case _:
            same = ours == theirs
    return [] if same else [f"{path}: {ours!r} is not {theirs!r}"]


def assert_fold_equals_api(
    events: Iterable[rxflow.FlowRunEvent], writer: ApiWriter, run: str
) -> None:
    """Check that the row and the states of the fold equal those of the API, field by field."""
    snapshot = fold_all(events)
    assert differences(snapshot.run, writer.get(f"/flow_runs/{run}")) == []
    assert differences(snapshot.states, writer.get("/flow_run_states/", flow_run_id=run)) == []


# -- rows ---------------------------------------------------------------------------------------


def test_early_midway_and_late_watches_emit_the_same_rows(
    two_writers: TwoWriters,
    client: rxflow.Client,
    writer: ApiWriter,
    database: DatabaseReader,
    until: Until,
) -> None:
    """A watch emits each stored row once, whenever it begins and whatever its face."""
    run = two_writers.flow_run_id
    stream = rxflow.watch_flow_run(run, max_duration=LONG, client=client)
    early: Recording[rxflow.FlowRunEvent] = Recording()
    midway: Recording[rxflow.FlowRunEvent] = Recording()
    with ThreadPoolExecutor(2) as pool:
        iterated = pool.submit(list[rxflow.FlowRunEvent], stream)
        on_a_loop = pool.submit(collect_async, stream, LONG)
        early.subscribe_to(stream)
        until(lambda: len(messages(early.values)) >= 50)
        midway.subscribe_to(stream)
        two_writers.wait()
        blocking = iterated.result(LONG)
        awaited = on_a_loop.result(LONG)
    early.wait()
    midway.wait()
    expected = stored_rows(database, run)
    assert len(expected) > 200
    for events in (blocking, awaited, early.values, midway.values, list(stream)):
        assert emitted_rows(events) == expected
        assert closed_event(events).verified
        assert closed_event(events).log_count == len(database.log_ids(run))
        for prefix in ("flow ", "sidecar "):
            lines = [text for text in messages(events) if text.startswith(prefix)]
            assert lines == sorted(lines)
            assert len(lines) == 100
        assert_fold_equals_api(events, writer, run)


def test_a_finished_run_is_emitted_in_order(
    finished_run: str, client: rxflow.Client, writer: ApiWriter, database: DatabaseReader
) -> None:
    """A finished run is emitted from its first state to `Closed` by time, with no late event."""
    events = list(rxflow.watch_flow_run(finished_run, client=client))
    assert emitted_rows(events) == stored_rows(database, finished_run)
    assert [type(event) for event in (events[0], events[-1])] == [rxflow.RunSeen, rxflow.Closed]
    dated = [event for event in events if isinstance(event, rxflow.StateChange | rxflow.FlowRunLog)]
    assert [event.timestamp for event in dated] == sorted(event.timestamp for event in dated)
    assert messages(events) == ["one", "two", "three", "four", "five"]
    assert not any(event.late for event in events)
    assert_fold_equals_api(events, writer, finished_run)


# -- task runs ----------------------------------------------------------------------------------


def test_task_run_states_are_emitted_and_folded(
    client: rxflow.Client, writer: ApiWriter, database: DatabaseReader, until: Until
) -> None:
    """Each state of a task run is emitted, and the last snapshot has the task run's row."""
    run = writer.new_run(state={"type": "RUNNING"})
    task_run = {"flow_run_id": run, "task_key": "sift", "state": {"type": "RUNNING"}}
    ids = [writer.post("/task_runs/", task_run | {"dynamic_key": key})["id"] for key in "ab"]
    recording: Recording[rxflow.FlowRunEvent] = Recording()
    stream = rxflow.watch_flow_run(run, stream_tasks=True, drain=BRIEF, client=client)
    recording.subscribe_to(stream)
    until(lambda: len(task_run_states(recording.values)) == 2)
    for each in ids:
        writer.post(f"/task_runs/{each}/set_state", {"state": {"type": "COMPLETED"}})
    writer.set_state(run, "COMPLETED")
    recording.wait()
    assert sorted(task_run_states(recording.values)) == sorted(
        (each, state) for each in ids for state in ("Running", "Completed")
    )
    assert sorted(task_run_states(stream.tasks)) == sorted((each, "Completed") for each in ids)
    assert emitted_rows(recording.values) == stored_rows(database, run)
    view = closed_event(recording.values).view
    assert view == fold_all(recording.values)
    found = writer.post("/task_runs/filter", {"task_runs": {"flow_run_id": {"any_": [run]}}})
    in_order = tuple(sorted(found, key=lambda row: (row["created"], row["id"])))
    assert differences(fold_all(recording.values).task_runs, in_order) == []
    read = rxflow.FlowRunView.from_flow_run_id(run, load_static_tasks=True, client=client)
    assert read.task_runs == fold_all(recording.values).task_runs


def task_run_states(events: Iterable[rxflow.FlowRunEvent]) -> list[tuple[str, str]]:
    """The task run and the state name of each task run state."""
    kind = rxflow.TaskRunStateChange
    return [(e.task_run.id, e.state.name) for e in events if isinstance(e, kind)]


# -- other servers ------------------------------------------------------------------------------


def test_a_watch_of_a_locked_server_is_complete(
    locked_server: PrefectServer, locked_writer: ApiWriter, locked_database: DatabaseReader
) -> None:
    """With a key, a CSRF token and pages of 50 a run of 230 lines is emitted completely."""
    run = locked_writer.new_run(state={"type": "RUNNING"})
    for batch in range(0, 230, 46):
        locked_writer.post_logs(run, [f"line {number}" for number in range(batch, batch + 46)])
    locked_writer.set_state(run, "COMPLETED")
    with rxflow.Client(api_url=locked_server.url, auth_string="admin:open-sesame") as client:
        events = list(rxflow.watch_flow_run(run, drain=BRIEF, client=client))
        logs = rxflow.FlowRunView.from_flow_run_id(run, client=client).get_logs()
    assert emitted_rows(events) == stored_rows(locked_database, run)
    assert closed_event(events).verified
    assert messages(events) == [log.message for log in logs] == [f"line {n}" for n in range(230)]
    assert_fold_equals_api(events, locked_writer, run)


def test_a_killed_server_loses_nothing(
    writer_of: Callable[[PrefectServer], ApiWriter],
    database_of: Callable[[PrefectServer], DatabaseReader],
    until: Until,
) -> None:
    """A watch continues after a kill -9 of its server, and emits each row once."""
    with PrefectServer() as server, rxflow.Client(api_url=server.url) as client:
        writer, database = writer_of(server), database_of(server)
        run = writer.new_run(state={"type": "RUNNING"})
        writer.post_logs(run, [f"before {number}" for number in range(20)])
        stream = rxflow.watch_flow_run(run, max_duration=LONG, client=client)
        subscribed: Recording[rxflow.FlowRunEvent] = Recording()
        with ThreadPoolExecutor(2) as pool:
            iterated = pool.submit(list[rxflow.FlowRunEvent], stream)
            on_a_loop = pool.submit(collect_async, stream, LONG)
            subscribed.subscribe_to(stream)
            until(lambda: messages(subscribed.values))
            writer.post_logs(run, [f"last words {number}" for number in range(20)])
            server.stop(kill=True)
            server.start()
            writer.post_logs(run, [f"after {number}" for number in range(20)])
            writer.set_state(run, "COMPLETED")
            blocking = iterated.result(LONG)
            awaited = on_a_loop.result(LONG)
        until(lambda: subscribed.ended is not None)
        for events in (blocking, awaited, subscribed.values):
            assert emitted_rows(events) == stored_rows(database, run)
            assert len(messages(events)) == 60
            assert closed_event(events).verified
            assert {*notice_codes(events)} <= {
                rxflow.NoticeCode.DEGRADED,
                rxflow.NoticeCode.RECOVERED,
                rxflow.NoticeCode.PUSH_UNAVAILABLE,
            }
            assert_fold_equals_api(events, writer, run)


# -- late starts, deletion, reopening -----------------------------------------------------------


def add_run_in_pool(writer: ApiWriter, due: datetime) -> tuple[str, str]:
    """Schedule a run in a work pool without a worker; return the run's id and the pool's name."""
    pool = f"pool {uuid.uuid4().hex[:6]}"
    writer.post("/work_pools/", {"name": pool, "type": "process"})
    flow = writer.post("/flows/", {"name": "pooled"})["id"]
    deployment = {"name": pool, "flow_id": flow, "work_pool_name": pool}
    path = f"/deployments/{writer.post('/deployments/', deployment)['id']}/create_flow_run"
    details = {"state_details": {"scheduled_time": due.isoformat()}}
    run: str = writer.post(path, {"state": {"type": "SCHEDULED"} | details})["id"]
    return run, pool


def is_late_start(event: rxflow.FlowRunEvent) -> bool:
    """Whether an event is the notice of a late start."""
    return rxflow.NoticeCode.LATE_START in notice_codes([event])


def test_a_run_that_no_worker_takes_is_late(client: rxflow.Client, writer: ApiWriter) -> None:
    """An overdue run gets a notice that names its pool and says that no worker is online."""
    run, pool = add_run_in_pool(writer, utc_now() - timedelta(minutes=1))
    notices = rxflow.watch_flow_run(run, max_duration=LONG, client=client).notices
    (notice,) = notices.pipe(ops.filter(is_late_start), ops.take(1))
    assert f"no worker of its work pool {pool!r} is online" in notice.message


def test_a_run_due_tomorrow_is_not_late(client: rxflow.Client, writer: ApiWriter) -> None:
    """A run that is scheduled for later gets no notice until the watch times out."""
    run, _ = add_run_in_pool(writer, utc_now() + timedelta(days=1))
    events: list[rxflow.FlowRunEvent] = []
    stream = rxflow.watch_flow_run(run, max_duration=BRIEF, client=client)
    with pytest.raises(rxflow.WatchTimedOut, match="Scheduled"):
        list(stream.pipe(ops.do_action(events.append)))
    assert [identity(event)[0] for event in events] == ["run-seen", "state"]


def test_a_deleted_run_ends_its_watch(
    client: rxflow.Client, writer: ApiWriter, until: Until
) -> None:
    """A run that is deleted completes its stream with a notice, unverified."""
    run = writer.new_run(state={"type": "RUNNING"})
    writer.post_logs(run, ["one"])
    recording: Recording[rxflow.FlowRunEvent] = Recording()
    recording.subscribe_to(rxflow.watch_flow_run(run, max_duration=LONG, client=client))
    until(lambda: messages(recording.values))
    until(lambda: writer.http.delete(f"/flow_runs/{run}").status_code in {204, 404})
    recording.wait()
    assert recording.completed
    assert notice_codes(recording.values) == [rxflow.NoticeCode.RUN_DELETED]
    assert not closed_event(recording.values).verified
    assert closed_event(recording.values).state is not None


def test_a_reopened_run_is_watched_further(
    client: rxflow.Client, writer: ApiWriter, database: DatabaseReader, until: Until
) -> None:
    """A run that runs again while it drains is watched further, with a notice."""
    run = writer.new_run(state={"type": "RUNNING"})
    recording: Recording[rxflow.FlowRunEvent] = Recording()
    recording.subscribe_to(rxflow.watch_flow_run(run, drain=ENDLESS, client=client))
    until(lambda: emitted_rows(recording.values))
    writer.set_state(run, "FAILED")
    until(lambda: [row for row in changed_rows(recording.values) if row.is_terminal])
    writer.set_state(run, "RUNNING", force=True)
    until(lambda: rxflow.NoticeCode.REOPENED in notice_codes(recording.values))
    writer.post_logs(run, ["again"])
    writer.set_state(run, "COMPLETED")
    until(lambda: emitted_rows(recording.values) == stored_rows(database, run))
    recording.dispose()
    states = ["Running", "Failed", "Running", "Completed"]
    assert [state.name for state in fold_all(recording.values).states] == states
    assert not recording.completed


# -- lines with unusual times -------------------------------------------------------------------


def test_a_line_stored_after_the_end_is_emitted(
    client: rxflow.Client, writer: ApiWriter, database: DatabaseReader, until: Until
) -> None:
    """A line that is stored after the run's last state is emitted during the drain."""
    run = writer.new_run(state={"type": "RUNNING"})
    recording: Recording[rxflow.FlowRunEvent] = Recording()
    recording.subscribe_to(rxflow.watch_flow_run(run, drain=ENDLESS, client=client))
    writer.set_state(run, "COMPLETED")
    until(lambda: "Entered state Completed" in [event.message for event in recording.values])
    before = utc_now() - timedelta(seconds=1)
    writer.post_logs(run, ["afterwards", {"message": "before", "timestamp": before}])
    until(lambda: len(messages(recording.values)) == 2)
    recording.dispose()
    assert emitted_rows(recording.values) == stored_rows(database, run)
    assert messages(recording.values) == ["before", "afterwards"]
    assert not recording.completed


def ten_minutes_old() -> list[dict[str, object]]:
    """Three lines of a writer that was disconnected for ten minutes."""
    stamp = utc_now() - timedelta(minutes=10)
    return [{"message": f"old {n}", "timestamp": stamp + timedelta(seconds=n)} for n in range(3)]


def of_equal_times() -> list[dict[str, object]]:
    """450 lines of one timestamp, more than two pages."""
    stamp = utc_now()
    return [{"message": f"tie {number}", "timestamp": stamp} for number in range(450)]


def half_an_hour_ahead() -> list[dict[str, object]]:
    """Lines of a writer whose clock is half an hour ahead."""
    stamp = utc_now() + timedelta(minutes=30)
    return [{"message": f"ahead {n}", "timestamp": stamp + timedelta(seconds=n)} for n in range(3)]


@pytest.mark.parametrize("lines_of", [ten_minutes_old, of_equal_times, half_an_hour_ahead])
def test_lines_with_unusual_times_are_emitted_once(
    client: rxflow.Client,
    writer: ApiWriter,
    database: DatabaseReader,
    until: Until,
    lines_of: Callable[[], list[dict[str, object]]],
) -> None:
    """Old, equal and future lines are emitted once, live and after the end.

    A line below one that was emitted before is flagged late.
    """
    run = writer.new_run(state={"type": "RUNNING"})
    recording: Recording[rxflow.FlowRunEvent] = Recording()
    stream = rxflow.watch_flow_run(run, drain=BRIEF, max_duration=LONG, client=client)
    recording.subscribe_to(stream)
    writer.post_logs(run, ["first"])
    until(lambda: messages(recording.values))
    batch = lines_of()
    for start in range(0, len(batch), 150):
        writer.post_logs(run, batch[start : start + 150])
    writer.post_logs(run, [f"usual {number}" for number in range(5)])
    writer.set_state(run, "COMPLETED")
    until(lambda: recording.ended is not None)
    for events in (recording.values, list(stream)):
        assert emitted_rows(events) == stored_rows(database, run)
        assert closed_event(events).verified
        usual = [text for text in messages(events) if text.startswith("usual")]
        assert usual == sorted(usual)
    flagged = {event.message for event in recording.values if event.late}
    assert flagged >= {str(row["message"]) for row in batch if lines_of is ten_minutes_old}
