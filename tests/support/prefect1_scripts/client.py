"""What the client of Prefect 1.4.1 makes of a server, as JSON: run by its own Python 3.9.

Its arguments are the ids of a flow run and of a flow.
"""

import json
import sys
import uuid

from prefect import Client
from prefect.backend import FlowRunView, FlowView
from prefect.backend.flow_run import check_for_compatible_agents, watch_flow_run
from prefect.engine.state import Running
from prefect.exceptions import ClientError


def missing() -> str:
    """Ask for a run that is not there."""
    try:
        FlowRunView.from_flow_run_id(str(uuid.uuid4()))
    except ValueError as error:
        return str(error)
    return ""


def malformed() -> str:
    """Ask for a run by what is no id."""
    try:
        FlowRunView.from_flow_run_id("abc")
    except ClientError as error:
        return type(error).__name__
    return ""


def create(flow_id: str) -> str:
    """Create a run, put it in a state and write a line for it."""
    client = Client()
    run_id: str = client.create_flow_run(flow_id=flow_id, run_name="by-client")
    client.set_flow_run_state(flow_run_id=run_id, state=Running("go"))
    line = {"flow_run_id": run_id, "message": "by client", "level": "INFO", "name": "test"}
    client.write_run_logs([line])
    return run_id


def main(run_id: str, flow_id: str) -> None:
    """Ask whatever a watch asks, and print what came of it."""
    watched = [[line.level, line.message] for line in watch_flow_run(run_id)]
    run = FlowRunView.from_flow_run_id(run_id)
    tasks = [[t.task_slug, t.map_index, type(t.state).__name__] for t in run.get_all_task_runs()]
    told = {
        "name": run.name,
        "flow": FlowView.from_flow_id(flow_id).name,
        "watched": watched,
        "task_runs": sorted(tasks),
        "agents": check_for_compatible_agents(["vm"]),
        "missing": missing(),
        "malformed": malformed(),
        "created": create(flow_id),
    }
    print(json.dumps(told))  # noqa: T201 - its output


main(*sys.argv[1:])
