"""What is watched, as a file of a watch says it: the arguments that decide on the events.

A file belongs to the watches with the same ones; limits and pauses may differ.
"""

from datetime import datetime

import msgspec

from rxflow._watching.watch_spec import EventSource, WatchSpec


class WatchedArguments(msgspec.Struct, frozen=True, kw_only=True):
    """What of a watch decides on its events, by the names of the arguments."""

    flow_run_id: str
    stream_states: bool
    stream_logs: bool
    stream_tasks: bool
    task_states: str
    since: datetime | None
    level: int


def arguments_of(spec: WatchSpec) -> WatchedArguments:
    """Return what decides on the events of a watch of one run."""
    return WatchedArguments(
        flow_run_id=spec.flow_run_id,
        stream_states=EventSource.STATES in spec.sources,
        stream_logs=EventSource.LOGS in spec.sources,
        stream_tasks=EventSource.TASKS in spec.sources,
        task_states="all" if spec.all_task_states else "latest",
        since=spec.since,
        level=spec.level,
    )


def difference_text(found: WatchedArguments, wanted: WatchedArguments) -> str:
    """Return which arguments differ, for an error; empty if none does."""
    return "; ".join(
        f"{name}={_shown(getattr(found, name))} and not {_shown(value)}"
        for name, value in msgspec.structs.asdict(wanted).items()
        if getattr(found, name) != value
    )


def _shown(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else repr(value)
