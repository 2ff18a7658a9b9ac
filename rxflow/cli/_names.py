"""The names of runs and task runs, for the lines that are about them.

The name of a run comes with its first event, that of a task run with its states. The states of a
task run that is over are emitted after the lines before them, so a name that is not known yet is
read from the server: by the first such line those of the run's task runs, later that of one. A name
that cannot be read is left out.
"""

from rxflow import FlowRunEvent, FlowRunLog, RunSeen, TaskRunStateChange
from rxflow._escapes import one_line
from rxflow._protocol.queries import TaskRunsQuery
from rxflow.cli._single_reads import SingleReads

__all__ = ["Names"]


class Names:
    """The names of runs and task runs, escaped, each read at most once."""

    def __init__(self, reads: SingleReads | None = None) -> None:
        """Start without a name.

        Args:
            reads: Reads the names of task runs that no event had; None to leave those out.
        """
        self._reads = reads
        self._runs: dict[str, str] = {}
        self._task_runs: dict[str, str | None] = {}
        self._read: set[str] = set()

    def receive(self, event: FlowRunEvent) -> None:
        """Record the names in an event."""
        if isinstance(event, RunSeen):
            self._runs[event.flow_run_id] = one_line(event.run.name)
        elif isinstance(event, TaskRunStateChange):
            self._task_runs[event.task_run.id] = one_line(event.task_run.name)

    def run(self, flow_run_id: str) -> str | None:
        """Return the name of a run; None if the run was not seen."""
        return self._runs.get(flow_run_id)

    def task_run(self, event: FlowRunEvent) -> str | None:
        """Return the name of the task run that logged a line; None for any other event."""
        if not isinstance(event, FlowRunLog) or event.task_run_id is None:
            return None
        if event.task_run_id not in self._task_runs:
            self._read_names(event.flow_run_id, event.task_run_id)
        return self._task_runs.setdefault(event.task_run_id, None)

    def lacking(self, event: FlowRunEvent) -> str | None:
        """Return the id of the task run that logged a line if its name is yet unknown; or None."""
        if not isinstance(event, FlowRunLog) or event.task_run_id in self._task_runs:
            return None
        return event.task_run_id

    def _read_names(self, run: str, task_run: str) -> None:
        if run not in self._read:
            self._read.add(run)
            self._query(TaskRunsQuery(flow_run_ids=(run,)))
        if task_run not in self._task_runs:
            self._query(TaskRunsQuery(flow_run_ids=(run,), task_run_ids=(task_run,), limit=1))

    def _query(self, query: TaskRunsQuery) -> None:
        rows = self._reads.rows(query) if self._reads is not None else None
        self._task_runs.update((row.id, one_line(row.name)) for row in rows or ())
