"""The text of the error that ends a watch at its limit.

Belongs here: words. Does not belong here: when the limit is reached (`session`).
"""

from datetime import timedelta

from rxflow._models.entities import FlowRun
from rxflow._protocol.failures import Failure
from rxflow._watching.watch_spec import WatchSpec

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
    watched = timedelta(seconds=spec.max_duration or 0)
    known = "its state was never read" if row is None else _state_of(row)
    text = f"Flow run {spec.flow_run_id} was watched for {watched} and {known}"
    if failure is not None:
        text += f" (the last request failed: {failure.text})"
    elif unanswered is not None and unanswered >= _NOTABLE:
        text += f" (the server has sent no complete response for {unanswered:.1f} s)"
    return f"{text}; pass a longer {spec.limit_name}, or None for no limit"


def _state_of(row: FlowRun) -> str:
    state = row.state.name if row.state else "unknown"
    if row.is_terminal:
        return f"is in state {state}, but could not be read to its end"
    return f"is still in state {state}"
