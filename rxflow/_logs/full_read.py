"""The full read: all log rows of a run at once, by a cursor of its own."""

from datetime import datetime

from rxflow._logs.cursor import LogCursor
from rxflow._logs.log_read import LOG_ORDER, LogRead
from rxflow._protocol.pages import Poll
from rxflow.events import FlowRunLog

_MAX_PROOFS = 40  # polls that try to prove a table that is written to meanwhile


def read_all_logs(
    flow_run_id: str, since: datetime | None, limit: int
) -> Poll[tuple[FlowRunLog, ...]]:
    """Read all log rows of a run from a time on, and prove by a count that none is missing.

    On a server without offsets, or when no count agrees, they are not proven.

    Args:
        flow_run_id: The run.
        since: Only rows of this time and later.
        limit: The most rows of a page.
    """
    cursor = LogCursor(flow_run_id, since=since)
    rows: dict[str, FlowRunLog] = {}
    read = LogRead()
    proofs_left = _MAX_PROOFS
    while proofs_left:
        read = yield from cursor.poll(limit, last=not read.provable)
        cursor.commit(read)
        rows.update((row.id, row) for row in read.rows)
        if read.proven or not read.provable:
            break
        # A page of a backfill tries to prove nothing, and a history may have any number of them.
        proofs_left -= read.backfill_position is None
    return tuple(sorted(rows.values(), key=LOG_ORDER))
