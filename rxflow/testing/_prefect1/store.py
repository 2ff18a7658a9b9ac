"""The tables of a Prefect 1 server, and the writes to them.

Rows are dicts with the columns of Prefect Server; tests may change them directly. Ids are strings,
times are aware. Does not belong here: the initial values of rows (`rows.py`) and queries
(`hasura.py`, `gateway.py`).
"""

import logging
from collections.abc import Callable, Collection
from datetime import datetime
from random import Random
from typing import Any
from uuid import UUID

from rxflow._models.arguments import level_number, optional_utc_time, stored_id, utc_time
from rxflow.testing._prefect1 import rows
from rxflow.testing._prefect1.hasura import Tables
from rxflow.testing._rows import Row, columns, known_id, known_type, uuid4, with_columns
from rxflow.testing._timeline import Timeline

Table = dict[str, Row]


class Prefect1Store(Timeline):
    """The tables of a Prefect 1 server; many threads may write to them by its methods."""

    def __init__(self, clock: Callable[[], datetime], random: Random | None) -> None:
        """Make tables that are empty except for one tenant.

        Args:
            clock: The server's time, aware.
            random: Draws the ids; None: unpredictable ids.
        """
        super().__init__(clock, random)
        self.tenants: Table = {}
        self.projects: Table = {}
        self.flow_groups: Table = {}
        self.flows: Table = {}
        self.tasks: Table = {}
        self.runs: Table = {}
        self.states: Table = {}
        self.task_runs: Table = {}
        self.task_run_states: Table = {}
        self.logs: Table = {}
        self.agents: Table = {}
        self._landed: dict[str, datetime] = {}
        self._deleted_runs: set[str] = set()
        self._insert(self.tenants, name="default", slug="default")

    # -- writes ---------------------------------------------------------------------------------

    def add_project(self, name: str = "fake-project", **row: Any) -> str:
        """Add a project.

        Args:
            name: Its name.
            row: Columns of its row that differ from those of a new row.

        Returns:
            Its id.
        """
        with self._lock:
            tenant = next(iter(self.tenants))
            now, project_id = self._write_time(), uuid4(self._id_random)
            new = rows.project(now, row_id=project_id, name=name, tenant_id=tenant)
            project = with_columns("project", new, row)
            self.projects[str(project["id"])] = project
        return str(project["id"])

    def add_flow(
        self, name: str = "fake-flow", *, project: str = "fake-project", **row: Any
    ) -> str:
        """Add a flow.

        Args:
            name: Its name.
            project: The name of its project, which is added if it does not exist.
            row: Columns of its row that differ from those of a new row. With ``flow_group_id`` it
                is another version of the group's flow; else it gets a group of its own.

        Returns:
            Its id.
        """
        with self._lock:
            tenant = next(iter(self.tenants))
            existing = (row["id"] for row in self.projects.values() if row["name"] == project)
            project_id = next(existing, None) or self.add_project(project)
            group_id = columns(row).get("flow_group_id")
            if group_id is None:
                group = self._insert(self.flow_groups, name=name, labels=None, tenant_id=tenant)
                group_id = group["id"]
            ids = {"project_id": project_id, "flow_group_id": group_id, "tenant_id": tenant}
            now, flow_id = self._write_time(), uuid4(self._id_random)
            flow = with_columns("flow", rows.flow(now, row_id=flow_id, name=name, **ids), row)
            self.flows[flow["id"]] = flow
        return str(flow["id"])

    def add_task(self, flow_id: str | UUID, slug: str = "task-1", **row: Any) -> str:
        """Add a task to a flow.

        Args:
            flow_id: The flow.
            slug: Its slug; its name is the slug without the number at its end.
            row: Columns of its row that differ from those of a new row.

        Returns:
            Its id.
        """
        with self._lock:
            flow_id = known_id("flow_id", flow_id, self.flows)
            now, task_id = self._write_time(), uuid4(self._id_random)
            derived = {
                "name": slug.rpartition("-")[0] or slug,
                "flow_id": flow_id,
                "tenant_id": self.flows[flow_id]["tenant_id"],
            }
            new = rows.task(now, row_id=task_id, slug=slug, **derived)
            task = with_columns("task", new, row)
            self.tasks[str(task["id"])] = task
        return str(task["id"])

    def add_run(
        self,
        *,
        name: str = "fake-run",
        state: str | None = "Scheduled",
        flow_id: str | UUID | None = None,
        **row: Any,
    ) -> str:
        """Add a flow run.

        Args:
            name: Its name.
            state: The type of its first state; None for a run without one.
            flow_id: Its flow; None: a new flow.
            row: Columns of its row that differ from those of a new row.

        Returns:
            Its id.
        """
        with self._lock:
            if state is not None:
                state = known_type("state", state, rows.STATE_TYPES)
            flow_id = self.add_flow() if flow_id is None else flow_id
            flow_id = known_id("flow_id", flow_id, self.flows)
            tenant = self.flows[flow_id]["tenant_id"]
            now, run_id = self._write_time(), uuid4(self._id_random)
            new = rows.flow_run(now, row_id=run_id, name=name, flow_id=flow_id, tenant_id=tenant)
            run = with_columns("flow run", new, row)
            run_id = str(run["id"])
            self.runs[run_id] = run
            if state is not None:
                self.set_state(run_id, state)
        return run_id

    def set_state(
        self,
        run_id: str | UUID,
        type: str,  # noqa: A002 - the server's name for it
        message: str | None = None,
        *,
        timestamp: datetime | None = None,
        **fields: Any,
    ) -> str:
        """Put a run in a state; every transition is allowed.

        Args:
            run_id: The run.
            type: The state's type, such as ``Running``.
            message: The state's message.
            timestamp: The state's time, by the API's clock; None: the server's time.
            fields: Other fields of the serialized state, as in JSON or datetimes. By default a
                scheduled state has a ``start_time``, and a submitted one has the previous state as
                ``state``.

        Returns:
            The state's id.

        Example:
            >>> from rxflow.testing import FakePrefect1
            >>> server = FakePrefect1()
            >>> run_id = server.add_run()
            >>> _ = server.set_state(run_id, "Submitted", "Submitted for execution")
            >>> state = server.runs[run_id]["serialized_state"]
            >>> state["message"], state["state"]["type"]
            ('Submitted for execution', 'Scheduled')
        """
        with self._lock:
            run = self.runs[known_id("run_id", run_id, self.runs)]
            stamp = optional_utc_time("timestamp", timestamp)
            state = _serialized(run, type, message, fields)
            return self._enter_state(run, state, stamp)

    def change_run(self, run_id: str | UUID, **fields: Any) -> None:
        """Change columns of a run's row."""
        with self._lock:
            run = self.runs[known_id("run_id", run_id, self.runs)]
            run |= with_columns("flow run", run, fields) | {"updated": self._write_time()}

    def log(
        self,
        run_id: str | UUID,
        message: str | None = "a line",
        *,
        level: str | int = "INFO",
        timestamp: datetime | None = None,
        created: datetime | None = None,
        name: str = "prefect.flow",
        task_run_id: str | UUID | None = None,
        info: Any = None,
    ) -> str:
        """Store a log line.

        Args:
            run_id: The run that wrote it, which may have been deleted since.
            message: The line.
            level: The name of its level, or its number as in `logging`.
            timestamp: When it was written, by the writer's clock; None: the server's time.
            created: When the server inserted it, if its commit took until now; None: now.
            name: The logger's name.
            task_run_id: The task run that wrote it.
            info: The log record's other fields, as the writer sent them.

        Returns:
            The row's id.
        """
        with self._lock:
            self.catch_up()
            if stored_id(run_id) not in self._deleted_runs:
                run_id = known_id("run_id", run_id, self.runs)
            now = optional_utc_time("created", created) or self._write_time()
            row_id, run_id = uuid4(self._id_random), stored_id(run_id)
            self.logs[row_id] = rows.new(
                now,
                row_id=row_id,
                flow_run_id=run_id,
                task_run_id=None if task_run_id is None else stored_id(task_run_id),
                timestamp=optional_utc_time("timestamp", timestamp) or now,
                name=name,
                level=_level_name(level),
                message=message,
                info={} if info is None else info,
                tenant_id=self.runs[run_id]["tenant_id"] if run_id in self.runs else None,
            )
            self._landed[row_id] = self.now()
        return row_id

    def add_task_run(
        self,
        run_id: str | UUID,
        *,
        slug: str = "task-1",
        map_index: int = -1,
        state: str | None = "Pending",
        **row: Any,
    ) -> str:
        """Add a task run.

        Args:
            run_id: The flow run that it belongs to.
            slug: The slug of its task, which is added if the flow has no such task.
            map_index: Its index among the children of a mapped task run; -1: it is no child.
            state: The type of its first state; None for a task run without one.
            row: Columns of its row that differ from those of a new row.

        Returns:
            Its id.
        """
        with self._lock:
            run_id = known_id("run_id", run_id, self.runs)
            if state is not None:
                state = known_type("state", state, rows.STATE_TYPES)
            task_id = self._task_id(self.runs[run_id]["flow_id"], slug)
            now, new_id = self._write_time(), uuid4(self._id_random)
            new = rows.task_run(
                now, row_id=new_id, flow_run_id=run_id, task_id=task_id, map_index=map_index
            )
            task_run = with_columns("task run", new, row)
            task_run_id = str(task_run["id"])
            self.task_runs[task_run_id] = task_run
            if state is not None:
                self.set_task_state(task_run_id, state)
        return task_run_id

    def set_task_state(
        self,
        task_run_id: str | UUID,
        type: str,  # noqa: A002 - the server's name for it
        message: str | None = None,
        *,
        timestamp: datetime | None = None,
        **fields: Any,
    ) -> None:
        """Put a task run in a state; the arguments are those of `set_state`."""
        with self._lock:
            task_run = self.task_runs[known_id("task_run_id", task_run_id, self.task_runs)]
            now, stamp = self._write_time(), optional_utc_time("timestamp", timestamp)
            state = _serialized(task_run, type, message, fields)
            rows.enter(task_run, state, stamp or now, now)
            self._insert_state(self.task_run_states, task_run, state, task_run_id=task_run["id"])

    def add_agent(
        self,
        name: str = "fake-agent",
        *,
        labels: Collection[str] = (),
        last_queried: datetime | None = None,
    ) -> str:
        """Add an agent.

        Args:
            name: Its name.
            labels: Its labels.
            last_queried: When it last queried for runs; None: the server's time.

        Returns:
            Its id.
        """
        with self._lock:
            agent = self._insert(self.agents, name=name, labels=list(labels))
            queried = optional_utc_time("last_queried", last_queried)
            agent["last_queried"] = queried or agent["created"]
            agent["tenant_id"] = next(iter(self.tenants))
        return str(agent["id"])

    # -- deletions ------------------------------------------------------------------------------

    def delete_run(self, run_id: str | UUID) -> None:
        """Delete a run with its states, task runs and log rows."""
        with self._lock:
            self.catch_up()
            run_id = known_id("run_id", run_id, self.runs)
            del self.runs[run_id]
            self._deleted_runs.add(run_id)
            self.states, self.task_runs, self.logs = (
                {row_id: row for row_id, row in table.items() if row["flow_run_id"] != run_id}
                for table in (self.states, self.task_runs, self.logs)
            )
            self.task_run_states = {
                row_id: row
                for row_id, row in self.task_run_states.items()
                if row["task_run_id"] in self.task_runs
            }

    def delete_project(self, project_id: str | UUID) -> None:
        """Delete a project with its flows, their tasks and their runs."""
        with self._lock:
            self.catch_up()
            project_id = known_id("project_id", project_id, self.projects)
            del self.projects[project_id]
            gone = {row["id"] for row in self.flows.values() if row["project_id"] == project_id}
            for run_id in [row["id"] for row in self.runs.values() if row["flow_id"] in gone]:
                self.delete_run(run_id)
            self.tasks = {
                row_id: row for row_id, row in self.tasks.items() if row["flow_id"] not in gone
            }
            self.flows = {row_id: row for row_id, row in self.flows.items() if row_id not in gone}

    def delete_logs(self, row_ids: Collection[str | UUID]) -> None:
        """Delete log rows.

        Args:
            row_ids: Their ids.
        """
        with self._lock:
            self.catch_up()
            gone = {stored_id(row_id) for row_id in row_ids}
            self.logs = {row_id: row for row_id, row in self.logs.items() if row_id not in gone}

    def restore_logs(self, then: datetime) -> None:
        """Remove the log rows that were stored after a time, as restoring a backup does."""
        with self._lock:
            self.catch_up()
            self.logs = self._logs_of(utc_time("then", then))

    # -- reads ----------------------------------------------------------------------------------

    def tables(self, then: datetime | None = None) -> Tables:
        """Return all tables by their names in the API.

        Args:
            then: The time as of which log rows are read; None: now.
        """
        return {
            "tenant": self.tenants,
            "project": self.projects,
            "flow_group": self.flow_groups,
            "flow": self.flows,
            "task": self.tasks,
            "flow_run": self.runs,
            "flow_run_state": self.states,
            "task_run": self.task_runs,
            "task_run_state": self.task_run_states,
            "log": self.logs if then is None else self._logs_of(then),
            "agent": self.agents,
        }

    def _logs_of(self, then: datetime) -> Table:
        landed = self._landed  # rows that a test put into the table directly are not in it
        return {
            row_id: row for row_id, row in self.logs.items() if landed.get(row_id, then) <= then
        }

    def _task_id(self, flow_id: str, slug: str) -> str:
        for task in self.tasks.values():
            if (task["flow_id"], task["slug"]) == (flow_id, slug):
                return str(task["id"])
        return self.add_task(flow_id, slug)

    def _enter_state(self, run: Row, state: Row, timestamp: datetime | None = None) -> str:
        now = self._write_time()
        rows.enter(run, state, timestamp or now, now)
        return self._insert_state(self.states, run, state, flow_run_id=run["id"])

    def _insert_state(self, table: Table, run: Row, state: Row, **owner: str) -> str:
        """Insert the state that a flow run or a task run has entered; return its id."""
        row = self._insert(
            table,
            **owner,
            version=run["version"],
            state=state["type"],
            message=state.get("message"),
            timestamp=run["state_timestamp"],
            start_time=run["state_start_time"],
            serialized_state=state,
            tenant_id=run["tenant_id"],
        )
        return str(row["id"])

    def _insert(self, table: Table, **columns: Any) -> Row:
        row_id = uuid4(self._id_random)
        table[row_id] = rows.new(self._write_time(), row_id=row_id, **columns)
        return table[row_id]


def _serialized(run: Row, type: str, message: str | None, given: Row) -> Row:  # noqa: A002 - as above
    """Serialize a state that a run enters, with datetimes as texts.

    Args:
        run: The run.
        type: The state's type.
        message: The state's message.
        given: Fields that replace those that the state has by itself, and those from the run.
    """
    type = known_type("type", type, rows.STATE_TYPES)  # noqa: A001
    own = rows.serialized(type, message, **_fields_from(run, type))
    fields = with_columns(f"{type} state", own, given)
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in fields.items()
    }


def _level_name(level: object) -> str:
    """Return the name of a level; a writer may have names of its own."""
    if isinstance(level, str):
        return level
    return logging.getLevelName(level_number("level", level))


def _fields_from(run: Row, type: str) -> Row:  # noqa: A002 - as above
    """Return the fields of a state that come from the run that enters it."""
    match type:
        case "Scheduled":
            due = run.get("scheduled_start_time")
            return {"start_time": due and due.isoformat()}
        case "Submitted" | "Queued" | "ClientFailed":
            return {"state": run["serialized_state"]}
        case _:
            return {}
