"""Which log rows a view returns: those of a time range, of a flow run or of one task run.

The rows are read by `_logs.full_read`, which counts all rows of the flow run; the end time and the
task run are applied afterwards, since the server's count can only prove the unfiltered rows.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from rxflow._logs.full_read import read_all_logs
from rxflow._models.arguments import optional_utc_time
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

    def poll(self, limit: int) -> Poll[Sequence[FlowRunLog]]:
        """Read the flow run's rows from the start time on, a superset of the selected ones."""
        return read_all_logs(self._flow_run_id, self._start, limit)

    def filter(self, rows: Iterable[FlowRunLog]) -> list[FlowRunLog]:
        """Return the selected rows."""
        start, end, task = self._start, self._end, self._task_run_id
        return [
            row
            for row in rows
            if (start is None or row.timestamp > start)
            and (end is None or row.timestamp <= end)
            and (task is None or row.task_run_id == task)
        ]
