"""The text of the error that ends a watch at its limit.

Belongs here: words. Does not belong here: when the limit is reached (`session`).
"""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import TypeGuard

from rxflow._models.durations import short_duration
from rxflow._models.entities import FlowRun
from rxflow._protocol.failures import Failure
from rxflow._watching.watch_spec import WatchSpec

_MOST_NAMED = 5  # runs
_NOTABLE = 1.0  # seconds without a reply that are worth a word


def limit_text(
    spec: WatchSpec, row: FlowRun | None, failure: Failure | None, unanswered: float | None
) -> str:
    """Say how long a run was watched, what is known of it, and why no more is.

    Args:
        spec: What was watched.
        row: The run as read last; None if it was never read.
        failure: The last failure, unless a poll has succeeded since.
        unanswered: Seconds since the query in flight was sent; None if there is none.
    """
    watched = short_duration(timedelta(seconds=spec.max_duration or 0))
    known = "its state was never read" if row is None else _state_of(row)
    text = f"Flow run {spec.flow_run_id} was watched for {watched} and {known}"
    return f"{text}{_why(failure, unanswered)}; {_advice(spec)}"


def runs_limit_text(
    spec: WatchSpec,
    rows: Mapping[str, FlowRun | None],
    failure: Failure | None,
    unanswered: float | None,
    *,
    has_looked: bool,
    closed_count: int,
) -> str:
    """Say how long some runs were watched, and which of them are not over.

    Args:
        spec: What was watched of each run.
        rows: The runs that are not closed, as read last; None for those that were never read.
        failure: The last failure, unless a poll has succeeded since.
        unanswered: Seconds since the query in flight was sent; None if there is none.
        has_looked: Whether the runs that match filters were read, if there are filters.
        closed_count: The number of runs that are closed.
    """
    watched = short_duration(timedelta(seconds=spec.max_duration or 0))
    still = [f"{run} ({_state_name(row)})" for run, row in rows.items() if _goes_on(row)]
    unread = [run for run, row in rows.items() if row is None]
    facts = [
        *_listed("not over", still),
        *_listed("not read yet", unread),
        *([] if has_looked else ["which runs match was not read"]),
    ] or [f"all {len(rows) + closed_count} are over" if rows or closed_count else "there was none"]
    text = f"Flow runs were watched for {watched}; {'; '.join(facts)}"
    return f"{text}{_why(failure, unanswered)}; {_advice(spec)}"


def _goes_on(row: FlowRun | None) -> TypeGuard[FlowRun]:
    return row is not None and not row.is_terminal


def _listed(what: str, runs: list[str]) -> Iterator[str]:
    if runs:
        more = f" and {len(runs) - _MOST_NAMED} more" if len(runs) > _MOST_NAMED else ""
        yield f"{len(runs)} {what}: {', '.join(runs[:_MOST_NAMED])}{more}"


def _why(failure: Failure | None, unanswered: float | None) -> str:
    if failure is not None:
        return f" (the last request failed: {failure.text})"
    if unanswered is not None and unanswered >= _NOTABLE:
        return f" (the server has sent no complete response for {unanswered:.1f} s)"
    return ""


def _advice(spec: WatchSpec) -> str:
    return f"pass a longer {spec.limit_name}, or None for no limit"


def _state_name(row: FlowRun) -> str:
    return row.state.name if row.state else "unknown"


def _state_of(row: FlowRun) -> str:
    state = _state_name(row)
    if row.is_terminal:
        return f"is in state {state}, but could not be read to its end"
    return f"is still in state {state}"
