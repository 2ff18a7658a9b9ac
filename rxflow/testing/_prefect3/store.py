"""The tables of a Prefect 3 server, and the writes to them.

Rows are dicts as the server sends them; tests may change them directly. Does not belong here: the
initial values of rows (`rows.py`) and what requests read (`routes.py`, `filters.py`).
"""

from collections.abc import Callable, Collection
from datetime import datetime
from random import Random
from typing import Any
from uuid import UUID

from rxflow._models.arguments import level_number, optional_utc_time, stored_id, utc_time
from rxflow._models.states import StateType
from rxflow.testing._prefect3 import rows
from rxflow.testing._prefect3.announcer import Announcer
from rxflow.testing._prefect3.state_effects import enter
from rxflow.testing._rows import Row, known_id, known_type, uuid4, uuid7, with_columns
from rxflow.testing._timeline import Timeline

_STATE_TYPES = tuple(str(known) for known in StateType)


class Prefect3Store(Timeline):
    """The tables of a Prefect 3 server; many threads may write to them by its methods."""

    def __init__(self, clock: Callable[[], datetime], random: Random | None) -> None:
        """Make empty tables.

        Args:
            clock: The server's time, aware.
            random: Draws the ids; None: unpredictable ids.
        """
        super().__init__(clock, random)
        self.runs: dict[str, Row] = {}
        self.states: dict[str, list[Row]] = {}
        self.flows: dict[str, Row] = {}
        self.logs: list[Row] = []
        self.task_runs: dict[str, Row] = {}
        self.task_run_states: dict[str, list[Row]] = {}
        self.deployments: dict[str, Row] = {}
        self.pools: dict[str, Row] = {}
        self.workers: dict[str, list[Row]] = {}
        self._on_run: dict[str, Callable[[str], object]] = {}
        self._landed: dict[str, datetime] = {}
        self._deleted_runs: set[str] = set()
        self._announcer = Announcer()

    # -- writes ---------------------------------------------------------------------------------

    def add_run(
        self,
        *,
        name: str = "fake-run",
        state: str | None = "SCHEDULED",
        flow: str = "fake-flow",
        parent: str | UUID | None = None,
        **row: Any,
    ) -> str:
        """Add a flow run.

        Args:
            name: Its name.
            state: The type of its first state; None for a run without one.
            flow: The name of its flow, which is added if it does not exist.
            parent: The flow run that it is a subflow of, to which a task run is added that stands
                for it and follows its states; None: of none.
            row: Fields of its row that differ from those of a new row, such as ``tags``,
                ``deployment_id``, ``work_pool_name`` and ``expected_start_time``.

        Returns:
            Its id.

        Example:
            >>> import rxflow
            >>> from rxflow.testing import FakePrefect3
            >>> server = FakePrefect3()
            >>> run_id = server.add_run(name="nightly", state="RUNNING", tags=["etl"])
            >>> _ = server.add_run(name="load", flow="load", parent=run_id, state="COMPLETED")
            >>> [(row["name"], row["state_type"]) for row in server.task_runs.values()]
            [('load-0', 'COMPLETED')]
        """
        with self._lock:
            if parent is not None:
                row["parent_task_run_id"] = self._stand_in(
                    known_id("parent", parent, self.runs), flow
                )
            if state is not None:
                state = known_type("state", state, _STATE_TYPES)
            now = self._write_time()
            flow_id = self._flow_id(now, flow)
            run_id = uuid4(self._id_random)
            new = rows.flow_run(now, run_id=run_id, name=name, flow_id=flow_id)
            run = with_columns("flow run", new, row)
            run_id = str(run["id"])
            self.runs[run_id] = run
            self.states[run_id] = []
            if state is not None:
                self.set_state(run_id, state)
        return run_id

    def add_deployment(
        self,
        *,
        name: str = "fake-deployment",
        flow: str = "fake-flow",
        on_run: Callable[[str], object] | None = None,
        **row: Any,
    ) -> str:
        """Add a deployment that clients can create runs of.

        Args:
            name: Its name.
            flow: The name of its flow, which is added if it does not exist.
            on_run: Called with the id of each run that is created of it, in place of a worker.
            row: Fields of its row that differ from those of a new row.

        Returns:
            Its id.

        Example:
            >>> import httpx
            >>> from rxflow import StateType
            >>> from rxflow.testing import FakePrefect3
            >>> server = FakePrefect3()
            >>> deployment_id = server.add_deployment(
            ...     name="nightly",
            ...     flow="report",
            ...     on_run=lambda run_id: server.script(run_id, [(5, StateType.RUNNING)]),
            ... )
            >>> api = "http://fake.invalid/api"
            >>> with httpx.Client(base_url=api, transport=server.transport()) as http:
            ...     found = http.get("/deployments/name/report/nightly").json()
            ...     path = f"/deployments/{found['id']}/create_flow_run"
            ...     run = http.post(path, json={"name": "by hand"}).json()
            >>> found["id"] == run["deployment_id"] == deployment_id
            True
        """
        with self._lock:
            now = self._write_time()
            flow_id, deployment_id = self._flow_id(now, flow), uuid4(self._id_random)
            new = rows.deployment(now, deployment_id=deployment_id, name=name, flow_id=flow_id)
            deployment = with_columns("deployment", new, row)
            deployment_id = str(deployment["id"])
            self.deployments[deployment_id] = deployment
            if on_run is not None:
                self._on_run[deployment_id] = on_run
        return deployment_id

    def create_run(self, deployment_id: str | UUID, **row: Any) -> str:
        """Create a run of a deployment, scheduled for now, as a client does.

        Args:
            deployment_id: The deployment.
            row: Fields of the run's row that differ from those of the deployment; ``parameters``,
                ``labels`` and ``tags`` are added to the deployment's own.

        Returns:
            The run's id.
        """
        with self._lock:
            deployment_id = known_id("deployment_id", deployment_id, self.deployments)
            deployment = self.deployments[deployment_id]
            labels = deployment["labels"] | {"prefect.deployment.id": deployment_id}
            fields: Row = {
                "deployment_id": deployment_id,
                "deployment_version": deployment["version"],
                "work_queue_name": deployment["work_queue_name"],
                "work_queue_id": deployment["work_queue_id"],
                "work_pool_name": deployment["work_pool_name"],
                **row,
                "parameters": deployment["parameters"] | row.get("parameters", {}),
                "labels": labels | row.get("labels", {}),
                "tags": sorted({*deployment["tags"], *row.get("tags", ())}),
            }
            run_id = self.add_run(flow=self.flows[deployment["flow_id"]]["name"], **fields)
            if deployment_id in self._on_run:
                self._on_run[deployment_id](run_id)
        return run_id

    def set_state(
        self,
        run_id: str | UUID,
        type: str,  # noqa: A002 - the server's name for it
        name: str | None = None,
        *,
        message: str | None = None,
        timestamp: datetime | None = None,
        transition_id: str | None = None,
    ) -> str:
        """Put a run in a state; every transition is allowed.

        Args:
            run_id: The run.
            type: The state's type.
            name: The state's name; None: the type's own.
            message: The state's message.
            timestamp: The state's time; None: the server's time.
            transition_id: The transition that the process of the run proposed; None: the state is
                set from outside.

        Returns:
            The state's id.
        """
        with self._lock:
            run_id = known_id("run_id", run_id, self.runs)
            type = known_type("type", type, _STATE_TYPES)  # noqa: A001
            stamp = optional_utc_time("timestamp", timestamp)
            now = self._write_time()
            run = self.runs[run_id]
            scheduled = None
            if type == StateType.SCHEDULED:
                scheduled = run["next_scheduled_start_time"] or run["expected_start_time"]
            details = {"scheduled_time": scheduled, "transition_id": transition_id}
            state = self._new_state(now, type, name, flow_run_id=run_id, **details)
            state |= {"timestamp": stamp or now, "message": message}
            self.states[run_id].append(state)
            run["next_scheduled_start_time"] = scheduled
            enter(run, state, now)
            stand_in = self.task_runs.get(run["parent_task_run_id"])
            if stand_in is not None and stand_in["flow_run_id"] in self.runs:
                parent_id, task_run_id = stand_in["flow_run_id"], stand_in["id"]
                self.set_task_state(parent_id, task_run_id, type, name)
            self._announcer.announce_state(run_id, state)
        return str(state["id"])

    def change_run(self, run_id: str | UUID, **fields: Any) -> None:
        """Change fields of a run's row."""
        with self._lock:
            run = self.runs[known_id("run_id", run_id, self.runs)]
            run |= with_columns("flow run", run, fields) | {"updated": self._write_time()}

    def log(
        self,
        run_id: str | UUID,
        message: str = "a line",
        *,
        level: int | str = 20,
        timestamp: datetime | None = None,
        created: datetime | None = None,
        name: str = "prefect.flow_runs",
        task_run_id: str | UUID | None = None,
    ) -> str:
        """Store a log line.

        Args:
            run_id: The run that wrote it, which may have been deleted since.
            message: The line.
            level: A number as in `logging`, or a name such as ``"WARNING"``.
            timestamp: When it was written, by the writer's clock; None: the server's time.
            created: When the server inserted it, if its commit took until now; None: now.
            name: The logger's name.
            task_run_id: The task run that wrote it.

        Returns:
            The row's id.
        """
        with self._lock:
            self.catch_up()
            if stored_id(run_id) not in self._deleted_runs:
                run_id = known_id("run_id", run_id, self.runs)
            now = optional_utc_time("created", created) or self._write_time()
            row = rows.log(
                now,
                row_id=uuid7(now, self._id_random),
                name=name,
                level=level_number("level", level),
                message=message,
                timestamp=optional_utc_time("timestamp", timestamp) or now,
                flow_run_id=stored_id(run_id),
                task_run_id=None if task_run_id is None else stored_id(task_run_id),
            )
            self.logs.append(row)
            self._landed[row["id"]] = self.now()
            self._announcer.announce_line(row)
        return str(row["id"])

    def add_task_run(self, run_id: str | UUID, *, state: str = "PENDING", **row: Any) -> str:
        """Add a task run.

        Args:
            run_id: The flow run that it belongs to.
            state: The type of its first state.
            row: Fields of its row that differ from those of a new row, such as ``name`` and
                ``task_key``.

        Returns:
            Its id.

        Example:
            >>> import rxflow
            >>> from rxflow.testing import FakePrefect3
            >>> server = FakePrefect3()
            >>> run_id = server.add_run(state="RUNNING")
            >>> task_run_id = server.add_task_run(run_id, name="load-0", state="RUNNING")
            >>> _ = server.log(run_id, "17 rows", task_run_id=task_run_id)
            >>> _ = server.set_task_state(run_id, task_run_id, "COMPLETED")
            >>> _ = server.set_state(run_id, "COMPLETED")
            >>> client = server.client()
            >>> stream = rxflow.watch_flow_run(run_id, stream_tasks=True, drain=0, client=client)
            >>> [(event.task_run.name, event.state.name) for event in stream.tasks]
            [('load-0', 'Completed')]
        """
        with self._lock:
            state = known_type("state", state, _STATE_TYPES)
            task_run_id = self.set_task_state(run_id, None, state)
            new = self.task_runs[task_run_id]
            new |= with_columns("task run", new, row)
        return task_run_id

    def set_task_state(
        self,
        run_id: str | UUID,
        task_run_id: str | UUID | None,
        type: str,  # noqa: A002 - the server's name for it
        name: str | None = None,
        *,
        data: Row | None = None,
    ) -> str:
        """Put a task run in a state, and add the task run if its id is None.

        Args:
            run_id: The flow run that it belongs to.
            task_run_id: The task run; None: a new one.
            type: The state's type.
            name: The state's name; None: the type's own.
            data: Where its result is stored, as Prefect writes it into a state.

        Returns:
            The task run's id.
        """
        with self._lock:
            now = self._write_time()
            run_id = known_id("run_id", run_id, self.runs)
            type = known_type("type", type, _STATE_TYPES)  # noqa: A001
            task_run_id = (
                uuid7(now, self._id_random) if task_run_id is None else stored_id(task_run_id)
            )
            if task_run_id not in self.task_runs:
                self.task_runs[task_run_id] = rows.task_run(
                    now,
                    task_run_id=task_run_id,
                    dynamic_key=uuid4(self._id_random),
                    run=self.runs[run_id],
                )
            state = self._new_state(now, type, name, flow_run_id=run_id, task_run_id=task_run_id)
            state["data"] = data
            self.task_run_states.setdefault(task_run_id, []).append(state)
            enter(self.task_runs[task_run_id], state, now)
            self._announcer.announce_task_state(run_id, task_run_id, state)
        return task_run_id

    # -- deletions ------------------------------------------------------------------------------

    def delete_run(self, run_id: str | UUID) -> None:
        """Delete a run with its states; its log rows stay, which the real server deletes later."""
        with self._lock:
            self.catch_up()
            run_id = known_id("run_id", run_id, self.runs)
            del self.runs[run_id], self.states[run_id]
            self._deleted_runs.add(run_id)

    def delete_logs(self, row_ids: Collection[str | UUID]) -> None:
        """Delete log rows.

        Args:
            row_ids: Their ids.
        """
        with self._lock:
            self.catch_up()
            gone = {stored_id(row_id) for row_id in row_ids}
            self.logs = [row for row in self.logs if row["id"] not in gone]

    def restore_logs(self, then: datetime) -> None:
        """Remove the log rows that were stored after a time, as restoring a backup does."""
        with self._lock:
            self.catch_up()
            self.logs = self.logs_of(utc_time("then", then))

    # -- reads ----------------------------------------------------------------------------------

    def logs_of(self, then: datetime | None) -> list[Row]:
        """Return the log rows; with a time, those that could already be read then."""
        if then is None:
            return self.logs
        landed = self._landed  # rows that a test put into the table directly are not in it
        return [row for row in self.logs if landed.get(row["id"], then) <= then]

    def _flow_id(self, now: datetime, name: str) -> str:
        """Return the id of the flow with a name, which is unique; add the flow if it is missing."""
        known = (flow_id for flow_id, flow in self.flows.items() if flow["name"] == name)
        flow_id = next(known, None)
        if flow_id is None:
            flow_id = uuid4(self._id_random)
            self.flows[flow_id] = rows.flow(now, flow_id=flow_id, name=name)
        return flow_id

    def _stand_in(self, run_id: str, flow: str) -> str:
        """Add a task run to a flow run that stands for its next subflow of a flow."""
        others = (row for row in self.task_runs.values() if row["flow_run_id"] == run_id)
        number = sum(row["name"].rpartition("-")[0] == flow for row in others)
        return self.add_task_run(
            run_id, name=f"{flow}-{number}", task_key=f"{flow}-0489fc40", dynamic_key=str(number)
        )

    def _new_state(self, now: datetime, type: str, name: str | None, **details: Any) -> Row:  # noqa: A002
        state_id = uuid7(now, self._id_random)
        return rows.state(now, state_id=state_id, type=type, name=name, **details)
