"""`FakePrefect3`: scripts of a run's life, and states that clients propose."""

import httpx

import rxflow
from rxflow import StateType
from rxflow.testing import FakePrefect3, VirtualTime

HOUR = 3600.0
UNKNOWN = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"


def test_a_watch_emits_a_script_in_its_order() -> None:
    """States and lines are emitted in order, with the times of the script as their timestamps."""
    time = VirtualTime()
    server = FakePrefect3(clock=time)
    run_id = server.add_run(state=None)
    server.script(
        run_id,
        [
            (0.0, StateType.PENDING),
            (10.0, StateType.RUNNING),
            (11.0, "half"),
            (HOUR, "whole"),
            (HOUR, StateType.COMPLETED),
        ],
    )
    events = time.collect(rxflow.watch_flow_run(run_id, client=server.client()))
    assert [
        (round((event.timestamp - time.beginning).total_seconds()), text_of(event))
        for event in events
        if isinstance(event, rxflow.StateChange | rxflow.FlowRunLog)
    ] == [(0, "Pending"), (10, "Running"), (11, "half"), (3600, "whole"), (3600, "Completed")]
    assert isinstance(events[-1], rxflow.Closed)
    assert events[-1].verified


def text_of(event: rxflow.StateChange | rxflow.FlowRunLog) -> str | None:
    """Return the name of a state, or a line."""
    return event.state.name if isinstance(event, rxflow.StateChange) else event.message


def test_a_client_proposes_a_state() -> None:
    """It is accepted with its name and message; a wrong one is refused, as is an unknown run."""
    server = FakePrefect3()
    run_id = server.add_run(state="RUNNING")
    with httpx.Client(base_url="http://fake.invalid/api", transport=server.transport()) as http:
        path = f"/flow_runs/{run_id}/set_state"
        proposed = {"type": "COMPLETED", "name": "Done", "message": "by hand"}
        accepted = http.post(path, json={"state": proposed})
        refused = http.post(path, json={"state": {"type": "DONE"}})
        unknown = http.post(f"/flow_runs/{UNKNOWN}/set_state", json={"state": proposed})
    assert (accepted.status_code, refused.status_code, unknown.status_code) == (201, 422, 404)
    assert (accepted.json()["status"], accepted.json()["state"]["name"]) == ("ACCEPT", "Done")
    state = server.runs[run_id]["state"]
    assert (state["type"], state["name"], state["message"]) == ("COMPLETED", "Done", "by hand")
