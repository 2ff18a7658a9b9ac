"""Do what scripts that run flows do, with the client of Prefect 1.4.1; run by its Python 3.9.

Prints what each step returned, or the error that it raised, as JSON.
"""

import json
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from prefect import Client, Flow, Parameter, task
from prefect.engine.state import Running, Success
from prefect.exceptions import ClientError
from prefect.run_configs import LocalRun
from prefect.storage import Local
from prefect.tasks.prefect import (
    CancelFlowRun,
    RenameFlowRun,
    StartFlowRun,
    create_flow_run,
    wait_for_flow_run,
)

DUE = datetime.fromisoformat("2030-01-02T03:04:05+00:00")
UNKNOWN = "00000000-0000-4000-8000-000000000000"

client = Client()


@task(max_retries=2, retry_delay=timedelta(seconds=5))
def double(x: Any) -> Any:
    """Return twice a number."""
    return 2 * x


def make_flow(name: str) -> Flow:
    """Make a flow with a parameter, a mapped task and labels."""
    with Flow(name, run_config=LocalRun(labels=["vm"]), storage=Local()) as flow:
        double.map([1, 2])
        double(Parameter("n", default=1))
    return flow


def register() -> dict[str, Any]:
    """Register flows in a project that is made twice."""
    project_id = client.create_project("p", "of tests")
    flow = make_flow("etl")
    first = flow.register("p", no_url=False)
    plain = client.register(make_flow("other"), "p", compressed=False, no_url=True)
    second = flow.register("p", no_url=True, idempotency_key="k")
    return {
        "same project": client.create_project("p") == project_id,
        "flow_ids": [first, second],
        "other_id": plain,
        "unchanged": flow.register("p", no_url=True, idempotency_key="k") == second,
    }


def create(flow_id: str) -> dict[str, Any]:
    """Create runs in every way."""
    given = client.create_flow_run(
        flow_id=flow_id,
        context={"a": 1},
        parameters={"n": 2},
        run_config=LocalRun(env={"A": "1"}),
        labels=["given"],
        scheduled_start_time=DUE,
        idempotency_key="once",
        run_name="given",
    )
    group = {"query": {"flow": {"id", "version_group_id"}}}
    groups = {flow.id: flow.version_group_id for flow in client.graphql(group).data.flow}
    by_group = client.create_flow_run(version_group_id=groups[flow_id])
    by_task = create_flow_run.run(flow_name="etl", project_name="p", run_name="child")
    started = StartFlowRun(flow_name="etl", project_name="p", scheduled_start_time=DUE)
    return {
        "given": given,
        "once": client.create_flow_run(flow_id=flow_id, idempotency_key="once") == given,
        "by_group": by_group,
        "by_task": by_task,
        "started": started.run(run_name="started", idempotency_key="s"),
    }


def change(scheduled: str, running: str, child: str) -> dict[str, Any]:
    """Rename and cancel runs, put them and their task runs into states."""
    client.set_flow_run_state(running, Running("go"))
    client.update_flow_run_heartbeat(running)
    info = client.get_flow_run_info(running)
    task_run = client.get_task_run_info(running, info.task_runs[0].task_id, map_index=3)
    client.set_task_run_state(task_run.id, Success("ok", result=1), version=task_run.version)
    child_states = [CancelFlowRun().run(flow_run_id=child)]
    child_states.append(type(wait_for_flow_run.run(child).state).__name__)
    return {
        "named": client.set_flow_run_name(scheduled, "renamed"),
        "cancelled": [client.cancel_flow_run(scheduled), client.cancel_flow_run(running)],
        "state": type(client.get_flow_run_state(running)).__name__,
        "task_runs": sorted((run.task_slug, str(run.state)) for run in info.task_runs),
        "same task run": task_run.id == client.get_task_run_info(running, task_run.task_id, 3).id,
        "task named": client.set_task_run_name(task_run.id, "fourth"),
        "task state": str(client.get_task_run_state(task_run.id)),
        "cached": client.get_latest_cached_states(task_run.task_id, "key", DUE),
        "child renamed": RenameFlowRun().run(flow_run_id=child, flow_run_name="kid"),
        "child": child_states,
    }


def set_two_states(*run_ids: str) -> list[str]:
    """Put two runs into a state by one mutation, as a script may by GraphQL."""
    states = [{"flow_run_id": run_id, "state": Running().serialize()} for run_id in run_ids]
    mutation = {
        "mutation($input: set_flow_run_states_input!)": {
            "set_flow_run_states(input: $input)": {"states": {"status"}}
        }
    }
    result = client.graphql(mutation, variables={"input": {"states": states}})
    return [each.status for each in result.data.set_flow_run_states.states]


def refused() -> dict[str, str]:
    """Return the errors of calls that the server refuses."""
    calls: list[tuple[str, Callable[[], Any]]] = [
        ("no such flow", lambda: client.create_flow_run(flow_id=UNKNOWN)),
        ("no such group", lambda: client.create_flow_run(version_group_id=str(uuid.uuid4()))),
        ("no such run", lambda: client.cancel_flow_run(UNKNOWN)),
        ("no such task run", lambda: client.get_task_run_state(UNKNOWN)),
        ("secret", lambda: client.set_secret("a", "b")),
        ("limit", lambda: client.get_task_tag_limit("a")),
        ("agent", lambda: client.register_agent("LocalAgent", "a")),
        ("artifact", lambda: client.create_task_run_artifact(UNKNOWN, "link", {})),
    ]
    errors = {}
    for name, do in calls:
        try:
            do()
        except ClientError as error:
            errors[name] = " ".join(str(error).split())
    return errors


def main() -> None:
    """Take the steps and print what they returned."""
    registered = register()
    created = create(registered["flow_ids"][1])
    changed = change(created["given"], created["by_group"], created["by_task"])
    changed["both"] = set_two_states(created["given"], created["started"])
    report = {"registered": registered, "created": created, "changed": changed}
    report["refused"] = refused()
    print(json.dumps(report))  # noqa: T201 - its output


main()
