"""What to watch, from the arguments of the functions that users call.

Belongs here: checks of arguments that a watch of one run and a watch of many have in common. What
each of them means is said where the function is.
"""

from datetime import datetime, timedelta

from rxflow._models.arguments import (
    check_type,
    level_number,
    optional_seconds,
    optional_utc_time,
    positive_count,
)
from rxflow._watching.watch_spec import EventSource, WatchSpec


def spec_of_arguments(
    flow_run_id: str,
    *,
    stream_states: bool,
    stream_logs: bool,
    stream_tasks: bool,
    task_states: str,
    max_duration: timedelta | float | None,
    since: datetime | None,
    level: int | str,
    drain: timedelta | float | None,
    requests_per_minute: int | None,
    push: str | bool,
) -> WatchSpec:
    """Build the specification of a watch.

    Args:
        flow_run_id: The run; "" for a watch of many.
        stream_states: As in `rxflow.watch_flow_run`, and so are the others.
        stream_logs: The same.
        stream_tasks: The same.
        task_states: The same.
        max_duration: The same.
        since: The same.
        level: The same.
        drain: The same.
        requests_per_minute: The same.
        push: The same.

    Raises:
        TypeError: An argument is of another type.
        ValueError: ``task_states`` is neither "latest" nor "all", a duration is negative or not a
            number, ``since`` has no time zone, no level is named ``level``, ``requests_per_minute``
            is less than 1, or ``push`` is another value.
    """
    check_type("stream_states", stream_states, bool, "True or False")
    check_type("stream_logs", stream_logs, bool, "True or False")
    check_type("stream_tasks", stream_tasks, bool, "True or False")
    if task_states not in ("latest", "all"):
        raise ValueError(
            f'task_states={task_states!r} is neither "latest" nor "all"; pass one of them'
        )
    enabled = {
        EventSource.STATES: stream_states,
        EventSource.LOGS: stream_logs,
        EventSource.TASKS: stream_tasks,
        EventSource.NOTICES: True,
    }
    return WatchSpec(
        flow_run_id=flow_run_id,
        sources=frozenset(source for source, is_enabled in enabled.items() if is_enabled),
        all_task_states=task_states == "all",
        level=level_number("level", level),
        since=optional_utc_time("since", since),
        drain=optional_seconds("drain", drain),
        max_duration=optional_seconds("max_duration", max_duration),
        requests_per_minute=(
            None
            if requests_per_minute is None
            else positive_count("requests_per_minute", requests_per_minute)
        ),
        push=_is_push_wanted(push),
    )


def spec_of_wait(flow_run_id: str, timeout: timedelta | float | None) -> WatchSpec:
    """Build the specification of a watch that only waits for the end.

    Args:
        flow_run_id: The run; "" for a watch of many.
        timeout: As in `rxflow.wait_for_flow_run`.

    Raises:
        TypeError: The timeout is of another type.
        ValueError: It is negative or not a number.
    """
    return WatchSpec(
        flow_run_id=flow_run_id,
        sources=frozenset({EventSource.STATES, EventSource.NOTICES}),
        drain=0,
        awaits_retries=False,
        max_duration=optional_seconds("timeout", timeout),
        limit_name="timeout",
        end_grace=1.0,
    )


def _is_push_wanted(push: str | bool) -> bool:
    check_type("push", push, str | bool, "'auto' or False")
    if push not in ("auto", False):
        raise ValueError(f"push must be 'auto' or False, not {push!r}")
    return push == "auto"
