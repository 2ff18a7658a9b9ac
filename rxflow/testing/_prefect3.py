"""A Prefect 3 server in memory: the rows, filters, sorts, limits and error answers of 3.8.8.

What it holds are rows as the real server sends them. It knows only what a watch asks for; anything
else is answered with 404, as a wrong path is. Of a question that it does not take it says less than
the real server does: ``exception_detail`` has one message, in other words.
"""

import threading
import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from email.utils import format_datetime
from random import Random
from typing import Annotated, Any, Literal

import httpx
import msgspec

from rxflow._schedulers import real_now
from rxflow.client import Client
from rxflow.testing import _rows, _serving
from rxflow.testing._rows import Row

_TERMINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
_MICROSECOND = timedelta(microseconds=1)

_NOT_FOUND = (404, {"detail": "Not Found"})


class _Strict(msgspec.Struct, forbid_unknown_fields=True):
    """A part of a filter; the server refuses keys that it does not know."""


class _Ids(_Strict):
    any_: list[uuid.UUID] | None = None


class _Level(_Strict):
    ge_: int | None = None
    le_: int | None = None


class _Time(_Strict):
    after_: datetime | None = None
    before_: datetime | None = None


class _LogFilter(_Strict):
    flow_run_id: _Ids | None = None
    level: _Level | None = None
    timestamp: _Time | None = None


class _TaskRunFilter(_Strict):
    flow_run_id: _Ids | None = None


class _Limited(msgspec.Struct):
    limit: int | None = None


class _LogsBody(msgspec.Struct):
    logs: _LogFilter | None = None
    sort: Literal["TIMESTAMP_ASC", "TIMESTAMP_DESC"] = "TIMESTAMP_ASC"
    offset: Annotated[int, msgspec.Meta(ge=0)] = 0


class _TaskRunsBody(msgspec.Struct):
    task_runs: _TaskRunFilter | None = None
    sort: Literal["ID_DESC"] = "ID_DESC"
    offset: Annotated[int, msgspec.Meta(ge=0)] = 0


_limited = msgspec.json.Decoder(_Limited).decode
_logs_body = msgspec.json.Decoder(_LogsBody).decode
_task_runs_body = msgspec.json.Decoder(_TaskRunsBody).decode


class FakePrefect3:
    """The server. Many threads may ask it and write to it by its methods.

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
        self._lock = threading.RLock()
        self.runs: dict[str, Row] = {}
        self.states: dict[str, list[Row]] = {}
        self.flows: dict[str, Row] = {}
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

    def serve(self) -> AbstractContextManager[str]:
        """Serve it over real HTTP, on a free port of this machine, while a ``with`` block lasts.

        Returns:
            A context manager that gives the API's URL, for ``PREFECT_API_URL`` or a `Client`, and
            leaves neither a thread nor a connection.

        Example:
            >>> import rxflow
            >>> from rxflow.testing import FakePrefect3
            >>> server = FakePrefect3()
            >>> with server.serve() as api_url, rxflow.Client(api_url=api_url) as client:
            ...     rxflow.FlowRunView.from_flow_run_id(server.add_run(), client=client).name
            'fake-run'
        """
        return _serving.serve(self.handle)

    def handle(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        path = request.url.path.removeprefix("/api")
        self.requests.append((request.method, path))
        answer = self.intercept(request) if self.intercept is not None else None
        if answer is not None:
            return answer
        with self._lock:
            try:
                status, found = self._route(request, path)
            except msgspec.ValidationError as error:
                status, found = 422, _refusal(str(error), request.content)
            body = msgspec.json.encode(found)
        return httpx.Response(
            status,
            content=body,
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
        with self._lock:
            now = self._write()
            flow = _rows.flow(now, name="fake-flow")
            self.flows[flow["id"]] = flow
            run = _rows.flow_run(now, name=name, flow_id=flow["id"]) | row
            run_id = str(run["id"])
            self.runs[run_id] = run
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
        with self._lock:
            now = self._write()
            run = self.runs[run_id]
            scheduled = None
            if type == "SCHEDULED":
                scheduled = run["next_scheduled_start_time"] or run["expected_start_time"]
            details = {"flow_run_id": run_id, "scheduled_time": scheduled}
            state = _rows.state(now, type=type, name=name, **details)
            state["id"] = _rows.uuid7(now, self._random)
            state |= {"timestamp": timestamp or now, "message": message}
            state["id"] = _rows.uuid7(now, self._random)
            self.states[run_id].append(state)
            run["next_scheduled_start_time"] = scheduled
            _enter(run, state, now)
        return str(state["id"])

    def change_run(self, run_id: str, **fields: Any) -> None:
        """Change fields of a run's row."""
        with self._lock:
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
        with self._lock:
            now = created or self._write()
            row = {
                "id": _rows.uuid7(now, self._random),
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
        with self._lock:
            now = self._write()
            task_run_id = task_run_id or _rows.uuid7(now)
            run = self.runs[run_id]
            new = _rows.task_run(now, task_run_id=task_run_id, run=run)
            row = self.task_runs.setdefault(task_run_id, new)
            details = {"flow_run_id": run_id, "task_run_id": task_run_id}
            _enter(row, _rows.state(now, type=type, name=None, **details), now)
        return task_run_id

    def delete_run(self, run_id: str) -> None:
        """Delete a run with its states; its logs go later, as on the real server."""
        with self._lock:
            del self.runs[run_id], self.states[run_id]

    def _write(self) -> datetime:
        """The time of a write: later than that of the one before, as in one transaction each."""
        now = self.clock()
        if self._written is not None and now <= self._written:
            now = self._written + _MICROSECOND
        self._written = now
        return now

    # -- what it answers ------------------------------------------------------------------------

    def _route(self, request: httpx.Request, path: str) -> tuple[int, Any]:
        content = request.content or b"{}"
        match [request.method, *path.strip("/").split("/")]:
            case ["GET", "admin", "version"]:
                return 200, self._version
            case ["GET", "flow_runs", run_id]:
                return self._one(self.runs, run_id, "Flow run not found")
            case ["GET", "flow_run_states"]:
                asked = msgspec.convert(request.url.params.get("flow_run_id"), uuid.UUID)
                states = self.states.get(str(asked), [])
                return 200, sorted(states, key=lambda state: state["timestamp"])
            case ["POST", "logs", "filter"]:
                return self._page(self._logs, content)
            case ["POST", "task_runs", "filter"]:
                return self._page(self._task_runs, content)
            case ["GET", "flows", flow_id]:
                return self._one(self.flows, flow_id, "Flow not found")
            case ["GET", "deployments", deployment_id]:
                return self._one(self.deployments, deployment_id, "Deployment not found")
            case ["GET", "work_pools", name]:
                return (200, self.pools[name]) if name in self.pools else _no_pool(name)
            case ["POST", "work_pools", name, "workers", "filter"]:
                known = name in self.pools
                return (200, self.workers.get(name, [])) if known else _no_pool(name)
            case _:
                return _NOT_FOUND

    def _one(self, rows: Mapping[str, Row], row_id: str, missing: str) -> tuple[int, Any]:
        try:
            row = rows.get(str(uuid.UUID(row_id)))
        except ValueError:  # then no route fits
            return _NOT_FOUND
        return (404, {"detail": missing}) if row is None else (200, self._estimated(row))

    def _page(self, read: Callable[[bytes], list[Row]], content: bytes) -> tuple[int, Any]:
        limit = _limited(content).limit
        limit = self._limit if limit is None else limit
        if not 0 <= limit <= self._limit:
            bound = f"less than or equal to {self._limit}" if limit > 0 else _NOT_NEGATIVE
            return 422, {"detail": f"Invalid limit: must be {bound}."}
        return 200, read(content)[:limit]

    def _logs(self, content: bytes) -> list[Row]:
        asked = _logs_body(content)
        where = asked.logs or _LogFilter()
        runs = _wanted(where.flow_run_id)
        level, time = where.level or _Level(), where.timestamp or _Time()
        rows = [
            row
            for row in self.logs
            if (runs is None or row["flow_run_id"] in runs)
            and (level.ge_ is None or (row["level"] or 0) >= level.ge_)
            and (level.le_ is None or (row["level"] or 0) <= level.le_)
            and (time.after_ is None or row["timestamp"] >= time.after_)
            and (time.before_ is None or row["timestamp"] <= time.before_)
        ]
        if self._random is not None:
            self._random.shuffle(rows)
        rows.sort(key=lambda row: row["timestamp"])
        if asked.sort == "TIMESTAMP_DESC":
            rows.reverse()
        return rows[asked.offset :]

    def _task_runs(self, content: bytes) -> list[Row]:
        asked = _task_runs_body(content)
        runs = _wanted((asked.task_runs or _TaskRunFilter()).flow_run_id)
        rows = [
            row for row in self.task_runs.values() if runs is None or row["flow_run_id"] in runs
        ]
        rows.sort(key=lambda row: row["id"], reverse=True)
        return [self._estimated(row) for row in rows[asked.offset :]]

    def _estimated(self, row: Row) -> Row:
        """A run as it is sent: with times that are worked out anew for each answer."""
        if "total_run_time" not in row:
            return row
        now = self.clock()
        run_time = row["total_run_time"]
        if row["state_type"] == "RUNNING":
            run_time += _seconds(row["state"]["timestamp"], now)
        waited = _seconds(row["expected_start_time"], row["start_time"] or now)
        return row | {"estimated_run_time": run_time, "estimated_start_time_delta": waited}


_NOT_NEGATIVE = "greater than or equal to 0"


def _enter(row: Row, state: Row, now: datetime) -> None:
    """Put a row of a flow run or a task run in a state."""
    before = row["state"]
    if before is not None and before["type"] == "RUNNING":
        row["total_run_time"] += _seconds(before["timestamp"], state["timestamp"])
    if state["type"] == "RUNNING":
        row["run_count"] += 1
        row["start_time"] = row["start_time"] or state["timestamp"]
    row |= {
        "end_time": state["timestamp"] if state["type"] in _TERMINAL else None,
        "state": state,
        "state_id": state["id"],
        "state_type": state["type"],
        "state_name": state["name"],
        "updated": now,
    }


def _seconds(since: datetime, until: datetime) -> float:
    return max(0.0, (until - since).total_seconds())


def _wanted(ids: _Ids | None) -> set[str] | None:
    return None if ids is None or ids.any_ is None else {str(wanted) for wanted in ids.any_}


def _no_pool(name: str) -> tuple[int, Any]:
    return 404, {"detail": f'Work pool "{name}" not found.'}


def _refusal(why: str, content: bytes) -> Row:
    return {
        "exception_message": "Invalid request received.",
        "exception_detail": [{"msg": why}],
        "request_body": msgspec.Raw(content) if content else None,
    }
