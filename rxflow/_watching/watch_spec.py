"""What a user watches: the sources, the filters on log rows, and the time limits.

Belongs here: plain data, which `spec_arguments` builds and a session reads. Does not belong here:
decisions (`session`, `run_watch`, `lifecycle`).
"""

from datetime import datetime
from enum import StrEnum

import msgspec

from rxflow._protocol.queries import RunFilter


class EventSource(StrEnum):
    """The sources that a watch merges."""

    STATES = "states"
    """`StateChange` and `RunChanged`."""
    LOGS = "logs"
    """`FlowRunLog`."""
    TASKS = "tasks"
    """`TaskRunStateChange`."""
    NOTICES = "notices"
    """`RunSeen`, `Notice` and `Closed`: events that the watch itself makes."""


class RunSelection(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs to watch, beside those that are given by their ids.

    Attributes:
        where: Those that match this filter; None for no others.
        discover: Whether to look for them again and again, and not only at the start.
        forever: Whether to look for them even if all that were found are over.
        subflows: Whether to watch the subflows of all runs, to any depth.
    """

    where: RunFilter | None = None
    discover: bool = False
    forever: bool = False
    subflows: bool = False


GIVEN_RUNS = RunSelection()
"""No runs but those that are given."""


class WatchSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What to watch, and for how long.

    Attributes:
        flow_run_id: The run.
        sources: The sources whose events are emitted.
        level: The lowest level of the log rows to read.
        since: The earliest time of the log rows to read, by the writers' clocks; None for all.
        drain: Seconds without news before a terminal run is closed; None for the default of the
            server's kind (`lifecycle.DRAINS`).
        all_task_states: Whether all states of the task runs are emitted, and not only those in
            which they are found.
        awaits_retries: Whether writers get time after an outage to send what they could not send
            during it.
        max_duration: Seconds until the watch of a run that is not terminal times out; None for no
            limit.
        requests_per_minute: The most requests to send in any minute; None for no limit.
        limit_name: The name of the argument that set ``max_duration``, for the error.
        end_grace: Seconds that a query may go without a reply after ``max_duration``, once the run
            is terminal.
        push: Whether the server is to announce changes, where it can.
    """

    flow_run_id: str
    sources: frozenset[EventSource] = frozenset(EventSource)
    level: int = 0
    since: datetime | None = None
    drain: float | None = None
    all_task_states: bool = False
    awaits_retries: bool = True
    max_duration: float | None = None
    requests_per_minute: float | None = None
    limit_name: str = "max_duration"
    end_grace: float = 10.0
    push: bool = True
