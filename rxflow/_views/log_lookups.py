"""What views ask about a run, its flow and its log lines: polls."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from rxflow._logs.full_read import read_all_logs
from rxflow._protocol.pages import Poll
from rxflow.events import FlowRunLog


class LogSelection:
    """The log lines of a time, of a flow run or of one of its task runs."""

    def __init__(
        self,
        flow_run_id: str,
        start: datetime | None,
        end: datetime | None,
        task_run_id: str | None = None,
    ) -> None:
        """Ask nothing yet.

        Args:
            flow_run_id: The run.
            start: Only lines after this time.
            end: Only lines up to this time.
            task_run_id: Only lines of this task run.

        Raises:
            ValueError: A time has no offset from UTC.
        """
        for time in (start, end):
            if time is not None and time.tzinfo is None:
                raise ValueError(f"{time!r} has no time zone; pass an aware datetime")
        self._flow_run_id = flow_run_id
        self._start = start
        self._end = end
        self._task_run_id = task_run_id

    def poll(self, limit: int) -> Poll[Sequence[FlowRunLog]]:
        """Read the lines, and more."""
        return read_all_logs(self._flow_run_id, self._start, limit)

    def within(self, rows: Iterable[FlowRunLog]) -> list[FlowRunLog]:
        """Those of the rows that were asked for."""
        start, end, task = self._start, self._end, self._task_run_id
        return [
            row
            for row in rows
            if (start is None or row.timestamp > start)
            and (end is None or row.timestamp <= end)
            and (task is None or row.task_run_id == task)
        ]
