"""A Prefect 3 server in memory: the rows, filters, sorts, limits and error answers of 3.8.8.

What it holds are rows as the real server sends them. It knows only what a watch asks for; anything
else is answered with 404, as a wrong path is.
"""

import uuid
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from email.utils import format_datetime
from random import Random
from typing import Any

import httpx
import msgspec

from rxflow._schedulers import real_now
from rxflow.client import Client

Row = dict[str, Any]

_TERMINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
_MICROSECOND = timedelta(microseconds=1)


class FakePrefect3:
    """The server.

    Attributes:
        clock: The server's time.
        requests: The method and path of each request that came, in order.
        intercept: Called with each request first: it may return a response in place of the
            server's, or raise an httpx error in place of any.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], datetime] | None = None,
        page_limit: int = 200,
        version: str = "3.8.8",
        random: Random | None = None,
    ) -> None:
        """Make a server without rows.

        Args:
            clock: The server's time, aware; the real one if None.
            page_limit: The most rows that it gives at once.
            version: What it says its version is.
            random: Rows with one timestamp come in another order each time; None: as inserted.
        """
        self.clock = clock or (lambda: real_now().utc)
        self._limit = page_limit
        self._version = version
        self._random = random
        self._written: datetime | None = None
        self.runs: dict[str, Row] = {}
        self.states: dict[str, list[Row]] = {}
        self.logs: list[Row] = []
        self.task_runs: dict[str, Row] = {}
        self.deployments: dict[str, Row] = {}
        self.pools: dict[str, Row] = {}
        self.workers: dict[str, list[Row]] = {}
        self.requests: list[tuple[str, str]] = []
        self.intercept: Callable[[httpx.Request], httpx.Response | None] | None = None

    # -- how to reach it ------------------------------------------------------------------------

    def client(self) -> Client:
        """A client that asks this server, without a network."""
        return Client(api_url="http://fake.invalid/api", transport=self.transport())

    def transport(self) -> httpx.MockTransport:
        """An httpx transport that ends in this server."""
        return httpx.MockTransport(self.handle)

    def handle(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        path = request.url.path.removeprefix("/api")
        self.requests.append((request.method, path))
        answer = self.intercept(request) if self.intercept is not None else None
        if answer is not None:
            return answer
        body: Any = msgspec.json.decode(request.content) if request.content else {}
        status, found = self._route(request.method, path, request.url.params, body)
        return httpx.Response(
            status,
            content=msgspec.json.encode(found),
            headers={
                "content-type": "application/json",
                "date": format_datetime(self.clock(), usegmt=True),
            },
        )

    # -- what happens on it ---------------------------------------------------------------------

    def add_run(
        self, *, name: str = "fake-run", state: str | None = "SCHEDULED", **row: Any
    ) -> str:
        """Add a flow run.

        Args:
            name: Its name.
            state: The type of its first state; None for a run without one.
            row: Fields of its row that are to be different from a new row's.

        Returns:
            Its id.
        """
        now = self._write()
        run_id = str(uuid.uuid4())
        self.runs[run_id] = {
            "id": run_id,
            "created": now,
            "updated": now,
            "name": name,
            "flow_id": str(uuid.uuid4()),
            "state_id": None,
            "deployment_id": None,
            "deployment_version": None,
            "work_queue_id": None,
            "work_queue_name": None,
            "flow_version": None,
            "parameters": {},
            "idempotency_key": None,
            "context": {},
            "empirical_policy": {"retries": None, "retry_delay": None},
            "tags": [],
            "labels": {},
            "parent_task_run_id": None,
            "state_type": None,
            "state_name": None,
            "run_count": 0,
            "expected_start_time": now,
            "next_scheduled_start_time": None,
            "start_time": None,
            "end_time": None,
            "total_run_time": 0.0,
            "auto_scheduled": False,
            "infrastructure_document_id": None,
            "infrastructure_pid": None,
            "created_by": None,
            "work_pool_id": None,
            "work_pool_name": None,
            "state": None,
            "job_variables": {},
            **row,
        }
        self.states[run_id] = []
        if state is not None:
            self.set_state(run_id, state)
        return run_id

    def set_state(
        self,
        run_id: str,
        type: str,  # noqa: A002 - the server's own word
        name: str | None = None,
        *,
        message: str | None = None,
        timestamp: datetime | None = None,
    ) -> str:
        """Put a run in a state, whatever state it is in.

        Args:
            run_id: The run.
            type: The state's type.
            name: The state's name; the type's own if None.
            message: What is said about it.
            timestamp: When it is set; the server's time if None.

        Returns:
            The state's id.
        """
        now = self._write()
        state = {
            "id": _uuid7(now),
            "type": type,
            "name": name or type.capitalize(),
            "timestamp": timestamp or now,
            "message": message,
            "data": None,
            "state_details": {"flow_run_id": run_id},
        }
        self.states[run_id].append(state)
        run = self.runs[run_id]
        self._run_times(run, state)
        run |= {
            "state": state,
            "state_id": state["id"],
            "state_type": type,
            "state_name": state["name"],
            "updated": now,
        }
        return str(state["id"])

    def _run_times(self, run: Row, state: Row) -> None:
        if state["type"] == "RUNNING":
            run["run_count"] += 1
            run["start_time"] = run["start_time"] or state["timestamp"]
        if state["type"] in _TERMINAL:
            run["end_time"] = state["timestamp"]
            if run["start_time"] is not None:
                run["total_run_time"] = (run["end_time"] - run["start_time"]).total_seconds()
        elif run["end_time"] is not None:
            run["end_time"] = None

    def change_run(self, run_id: str, **fields: Any) -> None:
        """Change fields of a run's row."""
        self.runs[run_id] |= {**fields, "updated": self._write()}

    def log(
        self,
        run_id: str,
        message: str = "a line",
        *,
        level: int = 20,
        timestamp: datetime | None = None,
        created: datetime | None = None,
        name: str = "prefect.flow_runs",
        task_run_id: str | None = None,
    ) -> str:
        """Store a log line.

        Args:
            run_id: The run that wrote it.
            message: The line.
            level: As in `logging`.
            timestamp: When it was written, by the writer's clock; the server's time if None.
            created: When the server stored it, if its commit took until now; now if None.
            name: The logger's name.
            task_run_id: The task run that wrote it.

        Returns:
            The row's id.
        """
        now = created or self._write()
        row = {
            "id": _uuid7(now),
            "created": now,
            "updated": now,
            "name": name,
            "level": level,
            "message": message,
            "timestamp": timestamp or now,
            "flow_run_id": run_id,
            "task_run_id": task_run_id,
        }
        self.logs.append(row)
        return str(row["id"])

    def set_task_state(self, run_id: str, task_run_id: str | None, type: str) -> str:  # noqa: A002
        """Put a task run in a state; a new one if its id is None.

        Returns:
            The task run's id.
        """
        now = self._write()
        task_run_id = task_run_id or _uuid7(now)
        state = {"id": _uuid7(now), "type": type, "name": type.capitalize(), "timestamp": now}
        row = self.task_runs.setdefault(
            task_run_id,
            {
                "id": task_run_id,
                "created": now,
                "name": f"task-{task_run_id[:3]}",
                "flow_run_id": run_id,
                "task_key": "task-0489fc40",
                "dynamic_key": str(uuid.uuid4()),
                "tags": [],
                "run_count": 0,
            },
        )
        row |= {"state": state, "state_id": state["id"], "updated": now}
        return task_run_id

    def delete_run(self, run_id: str) -> None:
        """Delete a run with its states; its logs go later, as on the real server."""
        del self.runs[run_id], self.states[run_id]

    def _write(self) -> datetime:
        """The time of a write: later than that of the one before, as in one transaction each."""
        now = self.clock()
        if self._written is not None and now <= self._written:
            now = self._written + _MICROSECOND
        self._written = now
        return now

    # -- what it answers ------------------------------------------------------------------------

    def _route(
        self, method: str, path: str, params: Mapping[str, str], body: Any
    ) -> tuple[int, Any]:
        match [method, *path.strip("/").split("/")]:
            case ["GET", "admin", "version"]:
                return 200, self._version
            case ["GET", "flow_runs", run_id]:
                return _one(self.runs.get(run_id), "Flow run not found")
            case ["GET", "flow_run_states"]:
                states = self.states.get(params.get("flow_run_id", ""), [])
                return 200, sorted(states, key=lambda state: state["timestamp"])
            case ["POST", "logs", "filter"]:
                return self._page(self._filtered_logs(body), body)
            case ["POST", "task_runs", "filter"]:
                wanted = body["task_runs"]["flow_run_id"]["any_"]
                rows = [row for row in self.task_runs.values() if row["flow_run_id"] in wanted]
                return self._page(sorted(rows, key=lambda row: row["id"], reverse=True), body)
            case ["GET", "deployments", deployment_id]:
                return _one(self.deployments.get(deployment_id), "Deployment not found")
            case ["GET", "work_pools", name]:
                return _one(self.pools.get(name), f"Work pool {name!r} not found.")
            case ["POST", "work_pools", name, "workers", "filter"]:
                return 200, self.workers.get(name, [])
            case _:
                return 404, {"detail": "Not Found"}

    def _filtered_logs(self, body: Any) -> list[Row]:
        where = body["logs"]
        runs = set(where["flow_run_id"]["any_"])
        least = where.get("level", {}).get("ge_", 0)
        time = where.get("timestamp", {})
        after, before = (_time(time.get(bound)) for bound in ("after_", "before_"))
        rows = [
            row
            for row in self.logs
            if row["flow_run_id"] in runs
            and row["level"] >= least
            and (after is None or row["timestamp"] >= after)
            and (before is None or row["timestamp"] <= before)
        ]
        if self._random is not None:
            self._random.shuffle(rows)
        descending = body.get("sort") == "TIMESTAMP_DESC"
        return sorted(rows, key=lambda row: row["timestamp"], reverse=descending)

    def _page(self, rows: list[Row], body: Any) -> tuple[int, Any]:
        limit = body.get("limit", self._limit)
        if limit > self._limit:
            text = f"Invalid limit: must be less than or equal to {self._limit}."
            return 422, {"detail": text}
        offset = body.get("offset", 0)
        return 200, rows[offset : offset + limit]


def _one(row: Row | None, missing: str) -> tuple[int, Any]:
    return (404, {"detail": missing}) if row is None else (200, row)


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _uuid7(now: datetime) -> str:
    """A UUID whose first bits are the time in ms, so that ids go by time, to the ms."""
    ms = int(now.timestamp() * 1000) & ((1 << 48) - 1)
    tail = uuid.uuid4().int & ((1 << 80) - 1)
    value = (ms << 80) | tail
    value = (value & ~(0xF << 76)) | (7 << 76)
    return str(uuid.UUID(int=(value & ~(0x3 << 62)) | (0x2 << 62)))
