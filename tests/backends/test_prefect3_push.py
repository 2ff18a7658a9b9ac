"""The websockets of Prefect 3: what is sent, and what frames announce."""

import json
from datetime import UTC, datetime

import pytest

from rxflow._backends.prefect3_push import (
    announcement_of,
    auth_message,
    filter_message,
    is_accepted,
    path_of,
)
from rxflow._protocol.push import AnnouncedChange, Announcement, PushSubscription, PushTopic

RUN = "5b39667f-7012-42be-a0e5-d0934354fa9b"
NOW = datetime(2026, 11, 28, 22, tzinfo=UTC)

EVENT = {
    "occurred": "2026-11-28T22:27:26.847769Z",
    "event": "prefect.flow-run.Running",
    "resource": {
        "prefect.resource.id": f"prefect.flow-run.{RUN}",
        "prefect.resource.name": "happy-frogmouth",
        "prefect.state-name": "Running",
    },
    "related": [
        {
            "prefect.resource.id": "prefect.flow.acf3555b-dc6d-4f71-a29a-33c2c9119a14",
            "prefect.resource.role": "flow",
        }
    ],
    "payload": {"intended": {"from": "PENDING", "to": "RUNNING"}},
    "id": "01a22445-3bff-775f-bfc9-28856ab3e036",
    "follows": None,
}
"""As version 3.8.8 sends it."""

LOG = {
    "id": "01a22445-3c53-7f02-9b91-470a8138b366",
    "created": None,
    "name": "x",
    "level": 20,
    "message": "hello",
    "timestamp": "2026-11-28T22:27:26.923905Z",
    "flow_run_id": RUN,
    "task_run_id": None,
}

TASK_EVENT = {
    **EVENT,
    "event": "prefect.task-run.Completed",
    "resource": {"prefect.resource.id": "prefect.task-run.0b6b8f3a-2f5c-4a39-a2a4-5a5b6b1d7d1e"},
    "related": [
        {"prefect.resource.id": "prefect.flow.acf3555b-dc6d-4f71-a29a-33c2c9119a14"},
        {"prefect.resource.id": f"prefect.flow-run.{RUN}", "prefect.resource.role": "flow-run"},
    ],
}

STATE = Announcement(flow_run_id=RUN, change=AnnouncedChange.STATE)

FRAMES = {
    "state": ({"type": "event", "event": EVENT}, STATE),
    "task": (
        {"type": "event", "event": TASK_EVENT},
        Announcement(flow_run_id=RUN, change=AnnouncedChange.TASK_RUN),
    ),
    "line": (
        {"type": "log", "log": LOG},
        Announcement(flow_run_id=RUN, change=AnnouncedChange.LOG_LINE),
    ),
    "heartbeat": (
        {"type": "event", "event": EVENT | {"event": "prefect.flow-run.heartbeat"}},
        Announcement(flow_run_id=RUN, change=AnnouncedChange.HEARTBEAT),
    ),
    "line of no flow run": ({"type": "log", "log": LOG | {"flow_run_id": None}}, None),
    "task of no flow run": ({"type": "event", "event": TASK_EVENT | {"related": []}}, None),
    "event of a worker": ({"type": "event", "event": EVENT | {"event": "prefect.worker.x"}}, None),
    "accepted": ({"type": "auth_success"}, None),
    "no event": ({"type": "event", "event": {"event": 3}}, None),
    "list": ([], None),
}


@pytest.mark.parametrize(("frame", "announced"), FRAMES.values(), ids=FRAMES)
def test_a_frame_announces_a_change_of_one_run(
    frame: object, announced: Announcement | None
) -> None:
    """States, task runs and lines are of the run that they belong to; all else is no change."""
    assert announcement_of(json.dumps(frame).encode()) == announced


@pytest.mark.parametrize("frame", [b"", b"{", b"\xff\x00", b'"text"', b'{"type":' + b"[" * 50_000])
def test_what_is_no_frame_announces_nothing(frame: bytes) -> None:
    """Anything may come over a websocket."""
    assert announcement_of(frame) is None
    assert not is_accepted(frame)


def test_the_key_is_accepted_by_one_frame_alone() -> None:
    """A filter is sent only after that."""
    assert is_accepted(b'{"type":"auth_success"}')
    assert not is_accepted(b'{"type":"auth_failure"}')
    assert auth_message("admin:pw") == '{"type":"auth","token":"admin:pw"}'
    assert auth_message(None) == '{"type":"auth","token":null}'


def test_events_of_some_runs_are_filtered_for() -> None:
    """The filter has the runs, the kinds of events, and an end that is far ahead."""
    events = PushSubscription(topic=PushTopic.EVENTS, flow_run_ids=(RUN,))
    assert path_of(events) == "/events/out"
    assert json.loads(filter_message(events, NOW)) == {
        "type": "filter",
        "filter": {
            "occurred": {"until": "2027-11-28T22:00:00+00:00"},
            "event": {"prefix": ["prefect.flow-run."]},
            "any_resource": {"id": [f"prefect.flow-run.{RUN}"]},
        },
        "backfill": False,
    }


def test_events_of_all_runs_are_filtered_for() -> None:
    """Then the filter has the kinds of events alone, those of task runs if they are of use."""
    events = PushSubscription(topic=PushTopic.EVENTS, task_runs=True)
    found = json.loads(filter_message(events, NOW))["filter"]
    assert found["event"] == {"prefix": ["prefect.flow-run.", "prefect.task-run."]}
    assert "any_resource" not in found


def test_lines_are_filtered_for() -> None:
    """By their runs and their level."""
    logs = PushSubscription(topic=PushTopic.LOGS, flow_run_ids=(RUN,), level=30)
    assert path_of(logs) == "/logs/out"
    assert json.loads(filter_message(logs, NOW)) == {
        "type": "filter",
        "filter": {"flow_run_id": {"any_": [RUN]}, "level": {"ge_": 30}},
    }
    everything = PushSubscription(topic=PushTopic.LOGS)
    assert json.loads(filter_message(everything, NOW)) == {"type": "filter", "filter": {}}
