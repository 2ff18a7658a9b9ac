"""The routes of a Prefect 3 server: which rows a path returns, and the errors where there are none.

Paths, statuses and error bodies are those of 3.8.8. The routes are those that a watch uses, and
those of the scripts around a watch: finding runs, creating one of a deployment, and cancelling
one. Any other path gets 404, as a wrong path does. A refused body gets a shorter reply than from
the real server: ``exception_detail`` has one message, worded differently. Does not belong here:
which rows a body selects, which is in `filters.py`.
"""

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import httpx
import msgspec

from rxflow.testing._prefect3.filters import (
    InvalidLimit,
    read_creation,
    read_limit,
    read_proposal,
    select_flow_runs,
    select_flows,
    select_logs,
    select_pools,
    select_task_runs,
)
from rxflow.testing._prefect3.state_effects import transition, with_estimates
from rxflow.testing._prefect3.store import Prefect3Store
from rxflow.testing._rows import Row, Shuffle, encode_body

RouteReply = tuple[int, Any]
"""A status, and the body before it is encoded."""

_NOT_FOUND: RouteReply = (404, {"detail": "Not Found"})


class Routes:
    """Replies to requests from a store, without faults."""

    def __init__(self, store: Prefect3Store, *, page_limit: int, version: str) -> None:
        """Make the routes of a store; the arguments are those of `FakePrefect3`."""
        self._store = store
        self._page_limit = page_limit
        self._version = version

    def reply(
        self,
        request: httpx.Request,
        *,
        logs_as_of: datetime | None = None,
        shuffle: Shuffle | None = None,
    ) -> tuple[int, bytes]:
        """Reply to a request.

        Args:
            request: The request, with its body read.
            logs_as_of: The time as of which log rows are read; None: now.
            shuffle: Shuffles log rows before they are sorted; None: rows of one timestamp stay as
                they were stored.

        Returns:
            The status and the body.
        """
        try:
            status, body = self._route(request, logs_as_of, shuffle)
        except InvalidLimit as error:
            status, body = 422, {"detail": str(error)}
        except msgspec.ValidationError as error:
            status, body = 422, _invalid_request(str(error), request.content)
        return status, encode_body(body)

    def _route(
        self, request: httpx.Request, logs_as_of: datetime | None, shuffle: Shuffle | None
    ) -> RouteReply:
        route = [request.method, *path_of(request).strip("/").split("/")]
        match route:
            case ["GET", "admin", "version"]:
                return 200, self._version
            case ["POST", "logs", "filter"]:
                content, limit = self._body_and_limit(request)
                return 200, select_logs(content, self._store.logs_of(logs_as_of), shuffle)[:limit]
            case [_, "flow_runs" | "flow_run_states", *_]:
                return self._route_flow_runs(route, request)
            case [_, "task_runs" | "task_run_states", *_]:
                return self._route_task_runs(route, request)
            case [_, "flows", *_]:
                return self._route_flows(route, request)
            case [_, "deployments", *_]:
                return self._route_deployments(route, request)
            case [_, "work_pools", *_]:
                return self._route_work_pools(route, request)
            case _:
                return _NOT_FOUND

    def _route_flow_runs(self, route: list[str], request: httpx.Request) -> RouteReply:
        store = self._store
        match route:
            case ["GET", "flow_runs", run_id]:
                return self._row(store.runs, run_id, "Flow run not found")
            case ["GET", "flow_run_states"]:
                return 200, _state_history(store.states, request.url.params.get("flow_run_id"))
            case ["POST", "flow_runs", "filter"]:
                content, limit = self._body_and_limit(request)
                runs = select_flow_runs(
                    content,
                    store.runs.values(),
                    flows=store.flows,
                    deployments=store.deployments,
                    task_runs=store.task_runs,
                )
                return 200, [self._with_estimates(run) for run in runs[:limit]]
            case ["POST", "flow_runs", run_id, "set_state"]:
                return self._set_state(run_id, request.content or b"null")
            case _:
                return _NOT_FOUND

    def _route_task_runs(self, route: list[str], request: httpx.Request) -> RouteReply:
        store = self._store
        match route:
            case ["GET", "task_runs", task_run_id]:
                return self._row(store.task_runs, task_run_id, "Task not found")
            case ["GET", "task_run_states"]:
                run_id = request.url.params.get("task_run_id")
                return 200, _state_history(store.task_run_states, run_id)
            case ["POST", "task_runs", "filter"]:
                content, limit = self._body_and_limit(request)
                task_runs = select_task_runs(content, store.task_runs.values())[:limit]
                return 200, [self._with_estimates(task_run) for task_run in task_runs]
            case _:
                return _NOT_FOUND

    def _route_flows(self, route: list[str], request: httpx.Request) -> RouteReply:
        store = self._store
        match route:
            case ["GET", "flows", flow_id]:
                return self._row(store.flows, flow_id, "Flow not found")
            case ["POST", "flows", "filter"]:
                content, limit = self._body_and_limit(request)
                return 200, select_flows(content, store.flows.values())[:limit]
            case _:
                return _NOT_FOUND

    def _route_deployments(self, route: list[str], request: httpx.Request) -> RouteReply:
        match route:
            case ["GET", "deployments", deployment_id]:
                return self._row(self._store.deployments, deployment_id, "Deployment not found")
            case ["GET", "deployments", "name", flow, name]:
                return self._deployment_by_name(flow, name)
            case ["POST", "deployments", deployment_id, "create_flow_run"]:
                return self._create_run(deployment_id, request.content or b"null")
            case _:
                return _NOT_FOUND

    def _route_work_pools(self, route: list[str], request: httpx.Request) -> RouteReply:
        store = self._store
        match route:
            case ["GET", "work_pools", name]:
                return (200, store.pools[name]) if name in store.pools else _no_pool(name)
            case ["POST", "work_pools", "filter"]:
                content, limit = self._body_and_limit(request)
                return 200, select_pools(content, store.pools.values())[:limit]
            case ["POST", "work_pools", name, "workers", "filter"]:
                known = name in store.pools
                return (200, store.workers.get(name, [])) if known else _no_pool(name)
            case _:
                return _NOT_FOUND

    def _body_and_limit(self, request: httpx.Request) -> tuple[bytes, int]:
        """Return the body of a filter, and its limit, which is checked before the rest of it."""
        content = request.content or b"{}"
        return content, read_limit(content, self._page_limit)

    def _row(self, rows: Mapping[str, Row], row_id: str, missing: str) -> RouteReply:
        try:
            row = rows.get(str(uuid.UUID(row_id)))
        except ValueError:  # a path with a malformed id matches no route
            return _NOT_FOUND
        return (404, {"detail": missing}) if row is None else (200, self._with_estimates(row))

    def _deployment_by_name(self, flow: str, name: str) -> RouteReply:
        store = self._store
        for deployment in store.deployments.values():
            if (store.flows[deployment["flow_id"]]["name"], deployment["name"]) == (flow, name):
                return 200, deployment
        return 404, {"detail": "Deployment not found"}

    def _create_run(self, deployment_id: str, content: bytes) -> RouteReply:
        store, columns = self._store, read_creation(content)
        status, deployment = self._row(store.deployments, deployment_id, "Deployment not found")
        if status != 200:
            return status, deployment
        key = columns.get("idempotency_key")
        for run in store.runs.values():
            same_flow = run["flow_id"] == deployment["flow_id"]
            if key is not None and same_flow and run["idempotency_key"] == key:
                return 200, self._with_estimates(run)
        run_id = store.create_run(deployment["id"], **columns)
        return 201, self._with_estimates(store.runs[run_id])

    def _set_state(self, run_id: str, content: bytes) -> RouteReply:
        store, (proposed, name, message) = self._store, read_proposal(content)
        status, _ = self._row(store.runs, run_id, "")
        if status != 200:
            missing = {"exception_message": f"Flow run with id {run_id} not found"}
            return status, missing
        run = store.runs[str(uuid.UUID(run_id))]
        done = transition(run, proposed)
        if done.entered is not None:
            if done.entered != proposed:
                name = message = None
            store.set_state(run["id"], done.entered, name, message=message)
        kind = f"{done.status.lower()}_details"
        details = {"type": kind} | ({} if done.reason is None else {"reason": done.reason})
        body = {"state": run["state"], "status": done.status, "details": details}
        return (200 if done.entered is None else 201), body

    def _with_estimates(self, row: Row) -> Row:
        """Return a row as it is sent; only runs have estimates."""
        return with_estimates(row, self._store.now()) if "total_run_time" in row else row


def path_of(request: httpx.Request) -> str:
    """Return the path below the API's URL."""
    return request.url.path.removeprefix("/api")


def _state_history(states: Mapping[str, list[Row]], run_id: str | None) -> list[Row]:
    key = str(msgspec.convert(run_id, uuid.UUID))
    return sorted(states.get(key, []), key=lambda state: state["timestamp"])


def _no_pool(name: str) -> RouteReply:
    return 404, {"detail": f'Work pool "{name}" not found.'}


def _invalid_request(reason: str, content: bytes) -> Row:
    return {
        "exception_message": "Invalid request received.",
        "exception_detail": [{"msg": reason}],
        "request_body": msgspec.Raw(content) if content else None,
    }
