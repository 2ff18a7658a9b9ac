"""The websockets of Prefect 3 that announce changes: their paths, messages and frames.

In version 3.8.8 a client opens a websocket with a subprotocol, sends its key, is sent that the key
was accepted, and sends a filter. Frames follow, one for each event or log line. Belongs here: what
is sent and what frames mean. The connection is `rxflow._net.push_channel`.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from rxflow._backends.json_bodies import DECODE_ERRORS
from rxflow._protocol.push import AnnouncedChange, Announcement, PushSubscription, PushTopic

SUBPROTOCOL: Final = "prefect"
"""What the websocket is opened with; without it a server that has a key refuses it."""

_PATHS: Final = {PushTopic.EVENTS: "/events/out", PushTopic.LOGS: "/logs/out"}

_FLOW_RUN: Final = "prefect.flow-run."
_TASK_RUN: Final = "prefect.task-run."
_HEARTBEAT: Final = f"{_FLOW_RUN}heartbeat"

# Without an end the server filters for events before the moment at which it got the filter, which
# are none. Its own client sends a year.
_FOLLOWED_FOR: Final = timedelta(days=365)


def path_of(subscription: PushSubscription) -> str:
    """Return the path of the websocket, below the API's URL."""
    return _PATHS[subscription.topic]


def auth_message(token: str | None) -> str:
    """Encode the first message.

    Args:
        token: The key or the auth string; None for none.
    """
    return _encode({"type": "auth", "token": token})


def filter_message(subscription: PushSubscription, now: datetime) -> str:
    """Encode the second message.

    Args:
        subscription: What the server is to announce.
        now: The time, aware.
    """
    if subscription.topic is PushTopic.LOGS:
        return _encode({"type": "filter", "filter": _log_filter(subscription)})
    message = {"type": "filter", "filter": _event_filter(subscription, now), "backfill": False}
    return _encode(message)


def is_accepted(frame: bytes) -> bool:
    """Whether a frame says that the key was accepted."""
    try:
        return _decode_head(frame).type == "auth_success"
    except DECODE_ERRORS:
        return False


def announcement_of(frame: bytes) -> Announcement | None:
    """Read a frame; None if it announces nothing, or cannot be read."""
    try:
        read = _decode_frame(frame)
    except DECODE_ERRORS:
        return None
    if read.log is not None:
        run_id = read.log.flow_run_id
        return (
            None
            if run_id is None
            else Announcement(flow_run_id=run_id, change=AnnouncedChange.LOG_LINE)
        )
    return None if read.event is None else _announcement_of_event(read.event)


class _Head(msgspec.Struct):
    type: str = ""


class _Log(msgspec.Struct):
    flow_run_id: str | None = None


class _Resource(msgspec.Struct):
    id: str = msgspec.field(default="", name="prefect.resource.id")


class _Event(msgspec.Struct):
    event: str
    resource: _Resource
    related: tuple[_Resource, ...] = ()


class _Frame(msgspec.Struct):
    event: _Event | None = None
    log: _Log | None = None


_decode_head = msgspec.json.Decoder(_Head).decode
_decode_frame = msgspec.json.Decoder(_Frame).decode


def _announcement_of_event(event: _Event) -> Announcement | None:
    # A flow run is also related to what it is not: events of a subflow's task are related to the
    # subflow, and those of workers to the runs that they start.
    if event.event.startswith(_TASK_RUN):
        candidates, change = event.related, AnnouncedChange.TASK_RUN
    elif event.event.startswith(_FLOW_RUN):
        is_alive = event.event == _HEARTBEAT
        change = AnnouncedChange.HEARTBEAT if is_alive else AnnouncedChange.STATE
        candidates = (event.resource,)
    else:
        return None
    for resource in candidates:
        if resource.id.startswith(_FLOW_RUN):
            return Announcement(flow_run_id=resource.id.removeprefix(_FLOW_RUN), change=change)
    return None


def _event_filter(subscription: PushSubscription, now: datetime) -> Mapping[str, Any]:
    prefixes = [_FLOW_RUN, _TASK_RUN] if subscription.task_runs else [_FLOW_RUN]
    wanted: dict[str, Any] = {
        "occurred": {"until": (now + _FOLLOWED_FOR).isoformat()},
        "event": {"prefix": prefixes},
    }
    if subscription.flow_run_ids:
        ids = [f"{_FLOW_RUN}{run_id}" for run_id in subscription.flow_run_ids]
        wanted["any_resource"] = {"id": ids}
    return wanted


def _log_filter(subscription: PushSubscription) -> Mapping[str, Any]:
    wanted: dict[str, Any] = {}
    if subscription.flow_run_ids:
        wanted["flow_run_id"] = {"any_": subscription.flow_run_ids}
    if subscription.level:
        wanted["level"] = {"ge_": subscription.level}
    return wanted


def _encode(message: Mapping[str, Any]) -> str:
    return msgspec.json.encode(message).decode()
