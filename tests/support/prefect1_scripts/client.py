"""Print what the client of Prefect 1.4.1 reads from a server, as JSON; run by its Python 3.9.

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
    """Look up a run that does not exist; return the text of the error."""
    try:
        FlowRunView.from_flow_run_id(str(uuid.uuid4()))
    except ValueError as error:
        return str(error)
    return ""


def malformed() -> str:
    """Look up a run by a text that is not an id; return the name of the error."""
    try:
        FlowRunView.from_flow_run_id("abc")
    except ClientError as error:
        return type(error).__name__
    return ""


def create(flow_id: str) -> str:
    """Create a run, set its state and write a log line for it; return its id."""
    client = Client()
    run_id: str = client.create_flow_run(flow_id=flow_id, run_name="by-client")
    client.set_flow_run_state(flow_run_id=run_id, state=Running("go"))
    line = {"flow_run_id": run_id, "message": "by client", "level": "INFO", "name": "test"}
    client.write_run_logs([line])
    return run_id


def main(run_id: str, flow_id: str) -> None:
    """Send the queries of a watch and print what they return."""
    watched = [[line.level, line.message] for line in watch_flow_run(run_id)]
    run = FlowRunView.from_flow_run_id(run_id)
    tasks = [[t.task_slug, t.map_index, type(t.state).__name__] for t in run.get_all_task_runs()]
    found = {
        "name": run.name,
        "flow": FlowView.from_flow_id(flow_id).name,
        "watched": watched,
        "task_runs": sorted(tasks),
        "agents": check_for_compatible_agents(["vm"]),
        "missing": missing(),
        "malformed": malformed(),
        "created": create(flow_id),
    }
    print(json.dumps(found))  # noqa: T201 - its output


main(*sys.argv[1:])
