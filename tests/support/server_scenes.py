"""A fake server of either kind with one running flow run, written to by the same methods.

States have the names of Prefect 3's types, tasks are named without the suffix of their slug.
"""

from datetime import datetime
from typing import Any

from rxflow import FlowRunView, TaskRunView
from rxflow.testing import FakePrefect1, FakePrefect3


class Scene3:
    """A Prefect 3 server that returns three rows at once."""

    def __init__(self) -> None:
        self.server = FakePrefect3(page_limit=3)
        self.client = self.server.client()
        self.run = self.server.add_run(
            name="nightly", state="RUNNING", tags=["prod"], parameters={"rows": [1, {"deep": 2}]}
        )

    def slug(self, task: str) -> str:
        """The slug of a task: its key with a hash."""
        return f"{task}-0489fc40"

    def add_stateless_run(self) -> str:
        """Add a flow run without a state."""
        return self.server.add_run(state=None)

    def set_state(self, state: str) -> str:
        """Set the run's state."""
        return self.server.set_state(self.run, state)

    def add_task_run(
        self, task: str, state: str = "COMPLETED", run: str | None = None, **row: Any
    ) -> str:
        """Add a run of a task."""
        key = self.slug(task)
        return self.server.add_task_run(run or self.run, state=state, task_key=key, **row)

    def set_task_state(self, task_run: str, state: str, **fields: Any) -> None:
        """Set the state of a task run."""
        self.server.set_task_state(self.run, task_run, state, **fields)

    def log(self, message: str, timestamp: datetime, task_run: str | None = None) -> str:
        """Store a log line."""
        return self.server.log(self.run, message, timestamp=timestamp, task_run_id=task_run)

    def flow_row(self) -> dict[str, Any]:
        """The row of the run's flow."""
        return self.server.flows[str(self.server.runs[self.run]["flow_id"])]

    def flow_request_count(self) -> int:
        """How many requests read a flow."""
        return sum("/flows/" in path for _, path in self.server.requests)

    def view(self, **options: Any) -> FlowRunView:
        """Read the run."""
        return FlowRunView.from_flow_run_id(self.run, client=self.client, **options)

    def task_run_view(self, task_run: str) -> TaskRunView:
        """Read a task run."""
        return TaskRunView.from_task_run_id(task_run, client=self.client)


class Scene1:
    """A Prefect 1 server that returns three rows at once, without saying that there are more."""

    STATES = {  # noqa: RUF012 - a constant
        "SCHEDULED": "Scheduled",
        "PENDING": "Pending",
        "RUNNING": "Running",
        "COMPLETED": "Success",
        "FAILED": "Failed",
    }

    def __init__(self) -> None:
        self.server = FakePrefect1(row_limit=3)
        self.client = self.server.client()
        self.run = self.server.add_run(
            name="nightly", state="Running", labels=["prod"], parameters={"rows": [1, {"deep": 2}]}
        )

    def slug(self, task: str) -> str:
        """The slug of a task: its name with a number."""
        return f"{task}-1"

    def add_stateless_run(self) -> str:
        """Add a flow run without a state."""
        return self.server.add_run(state=None)

    def set_state(self, state: str) -> str:
        """Set the run's state."""
        return self.server.set_state(self.run, self.STATES[state])

    def add_task_run(
        self, task: str, state: str = "COMPLETED", run: str | None = None, **row: Any
    ) -> str:
        """Add a run of a task."""
        kind, slug = self.STATES[state], self.slug(task)
        return self.server.add_task_run(run or self.run, state=kind, slug=slug, **row)

    def set_task_state(self, task_run: str, state: str, **fields: Any) -> None:
        """Set the state of a task run."""
        self.server.set_task_state(task_run, self.STATES[state], **fields)

    def log(self, message: str, timestamp: datetime, task_run: str | None = None) -> str:
        """Store a log line."""
        return self.server.log(self.run, message, timestamp=timestamp, task_run_id=task_run)

    def flow_row(self) -> dict[str, Any]:
        """The row of the run's flow."""
        return self.server.flows[self.server.runs[self.run]["flow_id"]]

    def flow_request_count(self) -> int:
        """How many requests read a flow."""
        return sum("rows: flow(" in query for query, _ in self.server.requests)

    def view(self, **options: Any) -> FlowRunView:
        """Read the run."""
        return FlowRunView.from_flow_run_id(self.run, client=self.client, **options)

    def task_run_view(self, task_run: str) -> TaskRunView:
        """Read a task run."""
        return TaskRunView.from_task_run_id(task_run, client=self.client)

    def add_mapped_parent(self, task: str, expected: int | None) -> str:
        """Add the parent of mapped task runs; ``expected`` is the number of children it names."""
        fields: dict[str, Any] = {} if expected is None else {"n_map_states": expected}
        parent = self.server.add_task_run(self.run, slug=self.slug(task))
        self.server.set_task_state(parent, "Mapped", "Ready to proceed with mapping.", **fields)
        return parent

    def add_mapped_child(self, task: str, map_index: int, value: str) -> str:
        """Add a finished child of a mapped task run; ``value`` is its result as JSON."""
        child = self.add_task_run(task, "RUNNING", map_index=map_index)
        self.set_task_state(child, "COMPLETED", _result=stored_value(value))
        return child


def stored_value(value: str) -> dict[str, Any]:
    """A result that Prefect 1 stores itself, as JSON."""
    return {"type": "PrefectResult", "location": value, "__version__": "1.4.1"}


Scene = Scene3 | Scene1

SCENES: dict[str, type[Scene3] | type[Scene1]] = {"prefect3": Scene3, "prefect1": Scene1}
