"""Which log rows a view returns: those of a time range, of a flow run or of one task run.

The rows are read by `_logs.full_read`, which counts all rows of the flow run; the end time and the
task run are applied afterwards, since the server's count can only prove the unfiltered rows.
"""

from datetime import datetime

from rxflow._logs.full_read import FullRead, read_all_logs
from rxflow._models.arguments import optional_utc_time
from rxflow._own_log import log
from rxflow._protocol.pages import Poll
from rxflow.events import FlowRunLog


class LogSelection:
    """A time range of a flow run's log, optionally of one task run."""

    def __init__(
        self,
        flow_run_id: str,
        start: datetime | None,
        end: datetime | None,
        task_run_id: str | None = None,
    ) -> None:
        """Check the times; nothing is requested yet.

        Args:
            flow_run_id: The flow run.
            start: Only rows after this time.
            end: Only rows up to this time.
            task_run_id: Only rows of this task run.

        Raises:
            TypeError: A time is not a datetime.
            ValueError: A time has no time zone.
        """
        self._flow_run_id = flow_run_id
        self._start = optional_utc_time("start_time", start)
        self._end = optional_utc_time("end_time", end)
        self._task_run_id = task_run_id

    def poll(self, limit: int) -> Poll[FullRead]:
        """Read the flow run's rows from the start time on, a superset of the selected ones."""
        return read_all_logs(self._flow_run_id, self._start, limit)

    def select(self, read: FullRead) -> list[FlowRunLog]:
        """Return the selected rows, and log a warning if rows of the run are missing.

        A row that cannot be read is missing, whatever was selected: its fields are not known.
        """
        if read.malformed:
            reason = read.malformed[0].reason
            text = "{} log rows of flow run {} cannot be read and are left out; the first: {}"
            log("WARNING", text, len(read.malformed), self._flow_run_id, reason)
        if not read.proven:
            text = "Log rows of flow run {} may be missing: the server's count never agreed"
            log("WARNING", text, self._flow_run_id)
        start, end, task = self._start, self._end, self._task_run_id
        if start is None and end is None and task is None:
            return read.rows
        return [
            row
            for row in read.rows
            if (start is None or row.timestamp > start)
            and (end is None or row.timestamp <= end)
            and (task is None or row.task_run_id == task)
        ]
