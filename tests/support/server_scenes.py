"""A server of either kind with a run that is running, spoken of in the same words."""

from datetime import datetime
from typing import Any

from rxflow import FlowRunView, TaskRunView
from rxflow.testing import FakePrefect1, FakePrefect3


class Scene3:
    """A Prefect 3 that gives three rows at once."""

    def __init__(self) -> None:
        self.server = FakePrefect3(page_limit=3)
        self.client = self.server.client()
        self.run = self.server.add_run(
            name="nightly", state="RUNNING", tags=["prod"], parameters={"rows": [1, {"deep": 2}]}
        )

    def slug(self, task: str) -> str:
        """What a task goes by."""
        return f"{task}-0489fc40"

    def another_run(self) -> str:
        """Add a run that has no state."""
        return self.server.add_run(state=None)

    def set_state(self, state: str) -> str:
        """Put the run in a state, named as Prefect 3 names its type."""
        return self.server.set_state(self.run, state)

    def task(self, task: str, state: str = "COMPLETED", run: str | None = None, **row: Any) -> str:
        """Add a run of a task."""
        key = self.slug(task)
        return self.server.add_task_run(run or self.run, state=state, task_key=key, **row)

    def set_task(self, task_run: str, state: str) -> None:
        """Put a task run in a state."""
        self.server.set_task_state(self.run, task_run, state)

    def line(self, message: str, timestamp: datetime, task_run: str | None = None) -> str:
        """Store a log line."""
        return self.server.log(self.run, message, timestamp=timestamp, task_run_id=task_run)

    def flow(self) -> dict[str, Any]:
        """The row of the run's flow."""
        return self.server.flows[str(self.server.runs[self.run]["flow_id"])]

    def asked_for_flows(self) -> int:
        """How often a flow was asked for."""
        return sum("/flows/" in path for _, path in self.server.requests)

    def view(self, **how: Any) -> FlowRunView:
        """Ask for the run."""
        return FlowRunView.from_flow_run_id(self.run, client=self.client, **how)

    def task_view(self, task_run: str) -> TaskRunView:
        """Ask for a task run."""
        return TaskRunView.from_task_run_id(task_run, client=self.client)


class Scene1:
    """A Prefect 1 that gives three rows at once, and does not say so."""

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
        """What a task goes by."""
        return f"{task}-1"

    def another_run(self) -> str:
        """Add a run that has no state."""
        return self.server.add_run(state=None)

    def set_state(self, state: str) -> str:
        """Put the run in a state, named as Prefect 3 names its type."""
        return self.server.set_state(self.run, self.STATES[state])

    def task(self, task: str, state: str = "COMPLETED", run: str | None = None, **row: Any) -> str:
        """Add a run of a task."""
        kind, slug = self.STATES[state], self.slug(task)
        return self.server.add_task_run(run or self.run, state=kind, slug=slug, **row)

    def set_task(self, task_run: str, state: str, **fields: Any) -> None:
        """Put a task run in a state."""
        self.server.set_task_state(task_run, self.STATES[state], **fields)

    def line(self, message: str, timestamp: datetime, task_run: str | None = None) -> str:
        """Store a log line."""
        return self.server.log(self.run, message, timestamp=timestamp, task_run_id=task_run)

    def flow(self) -> dict[str, Any]:
        """The row of the run's flow."""
        return self.server.flows[self.server.runs[self.run]["flow_id"]]

    def asked_for_flows(self) -> int:
        """How often a flow was asked for."""
        return sum("rows: flow(" in query for query, _ in self.server.requests)

    def view(self, **how: Any) -> FlowRunView:
        """Ask for the run."""
        return FlowRunView.from_flow_run_id(self.run, client=self.client, **how)

    def task_view(self, task_run: str) -> TaskRunView:
        """Ask for a task run."""
        return TaskRunView.from_task_run_id(task_run, client=self.client)

    # -- mapped task runs -----------------------------------------------------------------------

    def parent(self, task: str, expected: int | None) -> str:
        """Add the parent of mapped task runs, which says how many there are to be."""
        fields: dict[str, Any] = {} if expected is None else {"n_map_states": expected}
        parent = self.server.add_task_run(self.run, slug=self.slug(task))
        self.server.set_task_state(parent, "Mapped", "Ready to proceed with mapping.", **fields)
        return parent

    def child(self, task: str, map_index: int, value: str | None = None) -> str:
        """Add a mapped task run, with its result as JSON if it is finished."""
        state = "RUNNING" if value is None else "COMPLETED"
        child = self.task(task, "RUNNING", map_index=map_index)
        self.set_task(child, state, **({} if value is None else {"_result": kept(value)}))
        return child


def kept(value: str) -> dict[str, Any]:
    """A result that Prefect 1 keeps itself, as JSON."""
    return {"type": "PrefectResult", "location": value, "__version__": "1.4.1"}


Scene = Scene3 | Scene1
"""One of the two."""

SCENES: dict[str, type[Scene3] | type[Scene1]] = {"prefect3": Scene3, "prefect1": Scene1}
