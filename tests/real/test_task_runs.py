"""Task runs that Prefect executed: all that the database holds are emitted before the close."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from promises.shared import closed_event, fold_all
from virtual_world import Recording

import rxflow
from rxflow import StateType

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from server_databases import DatabaseReader

    from rxflow.cli._prefect_server import PrefectServer

MAPPED = 300

HEAD = """
from prefect import flow, task
from prefect.runtime import flow_run
"""

MANY = f"""{HEAD}
@task
def double(number):
    return 2 * number

@flow(name="mapped")
def mapped():
    print(flow_run.get_id(), flush=True)
    double.map(range({MAPPED})).wait()

mapped()
"""

RETRIES = f"""{HEAD}
attempts = {{}}

@task(retries=3, retry_delay_seconds=0)
def flaky(number):
    attempts[number] = attempts.get(number, 0) + 1
    if attempts[number] <= number % 4:
        raise ValueError("not yet")

@flow(name="retries")
def retries():
    print(flow_run.get_id(), flush=True)
    flaky.map(range(24)).wait()

retries()
"""


@contextmanager
def executing(server: PrefectServer, folder: Path, script: str) -> Iterator[str]:
    """Execute a flow in a process of its own, and return the id of its run at once."""
    path, log = folder / "flow.py", folder / "flow.log"
    path.write_text(script)
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            [sys.executable, "-P", str(path)],
            env=server.environment,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            run_id = process.stdout.readline().strip()
            assert run_id, log.read_text()
            yield run_id
            assert process.wait(300) == 0, log.read_text()
        finally:
            process.kill()


def emitted(events: list[rxflow.FlowRunEvent]) -> Counter[tuple[str, str]]:
    """Count the states of task runs that were emitted, as (task run id, state id)."""
    return Counter(
        (event.task_run.id, event.id)
        for event in events
        if isinstance(event, rxflow.TaskRunStateChange)
    )


def test_all_mapped_task_runs_end_before_the_close(
    server: PrefectServer, client: rxflow.Client, database: DatabaseReader, tmp_path: Path
) -> None:
    """The last state of each of 300 mapped task runs is emitted, live and in hindsight."""
    with executing(server, tmp_path, MANY) as run_id:
        events = list(rxflow.watch_flow_run(run_id, stream_tasks=True, client=client))
    for found in (events, list(rxflow.watch_flow_run(run_id, stream_tasks=True, client=client))):
        ended = [
            event.task_run.id
            for event in found
            if isinstance(event, rxflow.TaskRunStateChange) and event.state.is_terminal
        ]
        assert sorted(ended) == sorted(database.task_run_ids(run_id))
        assert len(ended) == MAPPED
        closed = closed_event(found)
        assert closed.unsettled == ()
        assert closed.verified
        view = rxflow.FlowRunView.from_snapshot(fold_all(found))
        assert view.task_run_counts == {StateType.COMPLETED: MAPPED}
        assert view.progress == 1.0


def test_all_states_are_those_of_the_database(
    server: PrefectServer, client: rxflow.Client, database: DatabaseReader, tmp_path: Path
) -> None:
    """Each state of task runs that were retried is emitted once, in order, alone and in a group."""
    recording: Recording[rxflow.FlowRunEvent] = Recording()
    with executing(server, tmp_path, RETRIES) as run_id:
        options: dict[str, Any] = {"stream_tasks": True, "task_states": "all", "client": client}
        recording.subscribe_to(rxflow.watch_flow_runs([run_id], **options))
        events = list(rxflow.watch_flow_run(run_id, **options))
        recording.wait()
    stored = database.task_run_state_ids(run_id)
    assert len(stored) > 24 * 3
    for found in (events, recording.values, list(rxflow.watch_flow_run(run_id, **options))):
        assert emitted(found) == Counter(stored)
        of_task: dict[str, list[rxflow.TaskRunStateChange]] = {}
        for event in found:
            if isinstance(event, rxflow.TaskRunStateChange):
                of_task.setdefault(event.task_run.id, []).append(event)
        for changes in of_task.values():
            assert [change.state.name for change in changes[:2]] == ["Pending", "Running"]
            assert changes == sorted(changes, key=lambda change: change.timestamp)
            assert changes[-1].state.is_completed
