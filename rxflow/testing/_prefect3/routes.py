"""Questions and answers: which path asks for which rows, and what is said where there are none.

Paths, statuses and error bodies are those of 3.8.8. It knows what a watch asks for, and what the
scripts around a watch do: find runs, and create one of a deployment. Anything else is answered with
404, as a wrong path is. Of a question that it does not take it says less than the real server does:
``exception_detail`` has one message, in other words.
"""

import uuid
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import httpx
import msgspec

from rxflow.testing._prefect3.filters import (
    LimitRefused,
    creation_of,
    flow_rows,
    flow_run_rows,
    limit_of,
    log_rows,
    pool_rows,
    task_run_rows,
)
from rxflow.testing._prefect3.rows import Row
from rxflow.testing._prefect3.state_effects import estimated
from rxflow.testing._prefect3.store import Prefect3Store

RouteReply = tuple[int, Any]

_NOT_FOUND = (404, {"detail": "Not Found"})


class Routes:
    """Answers questions about a store, without a word on what may go wrong."""

    def __init__(self, store: Prefect3Store, *, page_limit: int, version: str) -> None:
        """Make answers; the arguments are those of `FakePrefect3`."""
        self._store = store
        self._limit = page_limit
        self._version = version

    def to(
        self,
        request: httpx.Request,
        *,
        age: timedelta = timedelta(0),
        shuffle: Callable[[list[Row]], object] | None = None,
    ) -> tuple[int, bytes]:
        """Answer a request.

        Args:
            request: The request, read.
            age: By how much the log rows are out of date.
            shuffle: How log rows of one timestamp get another order; None: they have none.

        Returns:
            The status and the body.
        """
        then = self._store.now() - age if age else None
        try:
            status, found = self._route(request, then, shuffle)
        except LimitRefused as refused:
            status, found = 422, {"detail": str(refused)}
        except msgspec.ValidationError as error:
            status, found = 422, _refusal(str(error), request.content)
        return status, msgspec.json.encode(found)

    def _route(
        self,
        request: httpx.Request,
        then: datetime | None,
        shuffle: Callable[[list[Row]], object] | None,
    ) -> RouteReply:
        store, content = self._store, request.content or b"{}"
        match [request.method, *path_of(request).strip("/").split("/")]:
            case ["GET", "admin", "version"]:
                return 200, self._version
            case ["GET", "flow_runs", run_id]:
                return self._one(store.runs, run_id, "Flow run not found")
            case ["GET", "flow_run_states"]:
                return 200, _history(store.states, request.url.params.get("flow_run_id"))
            case ["POST", "logs", "filter"]:
                limit = limit_of(content, self._limit)
                return 200, log_rows(content, store.logs_of(then), shuffle)[:limit]
            case [_, "task_runs" | "task_run_states", *_]:
                return self._of_task_runs(request, content)
            case [_, "flows", *_]:
                return self._of_flows(request, content)
            case ["GET", "deployments", deployment_id]:
                return self._one(store.deployments, deployment_id, "Deployment not found")
            case [_, "work_pools", *_]:
                return self._of_work_pools(request, content)
            case asked:
                return self._route_of_script(asked, request.content)

    def _route_of_script(self, asked: list[str], content: bytes) -> RouteReply:
        """Answer what no watch asks."""
        store = self._store
        match asked:
            case ["POST", "flow_runs", "filter"]:
                limit = limit_of(content, self._limit)
                rows = flow_run_rows(content, store.runs.values(), store.flows)[:limit]
                return 200, [self._estimated(row) for row in rows]
            case ["GET", "deployments", "name", flow, name]:
                return self._named(flow, name)
            case ["POST", "deployments", deployment_id, "create_flow_run"]:
                return self._create(deployment_id, content or b"null")
            case _:
                return _NOT_FOUND

    def _of_task_runs(self, request: httpx.Request, content: bytes) -> RouteReply:
        store = self._store
        match [request.method, *path_of(request).strip("/").split("/")]:
            case ["POST", "task_runs", "filter"]:
                limit = limit_of(content, self._limit)
                rows = task_run_rows(content, store.task_runs.values())[:limit]
                return 200, [self._estimated(row) for row in rows]
            case ["GET", "task_runs", task_run_id]:
                return self._one(store.task_runs, task_run_id, "Task not found")
            case ["GET", "task_run_states"]:
                return 200, _history(store.task_run_states, request.url.params.get("task_run_id"))
            case _:
                return _NOT_FOUND

    def _of_flows(self, request: httpx.Request, content: bytes) -> RouteReply:
        store = self._store
        match [request.method, *path_of(request).strip("/").split("/")]:
            case ["POST", "flows", "filter"]:
                limit = limit_of(content, self._limit)
                return 200, flow_rows(content, store.flows.values())[:limit]
            case ["GET", "flows", flow_id]:
                return self._one(store.flows, flow_id, "Flow not found")
            case _:
                return _NOT_FOUND

    def _of_work_pools(self, request: httpx.Request, content: bytes) -> RouteReply:
        store = self._store
        match [request.method, *path_of(request).strip("/").split("/")]:
            case ["GET", "work_pools", name]:
                return (200, store.pools[name]) if name in store.pools else _no_pool(name)
            case ["POST", "work_pools", "filter"]:
                limit = limit_of(content, self._limit)
                return 200, pool_rows(content, store.pools.values())[:limit]
            case ["POST", "work_pools", name, "workers", "filter"]:
                known = name in store.pools
                return (200, store.workers.get(name, [])) if known else _no_pool(name)
            case _:
                return _NOT_FOUND

    def _one(self, rows: Mapping[str, Row], row_id: str, missing: str) -> RouteReply:
        try:
            row = rows.get(str(uuid.UUID(row_id)))
        except ValueError:  # then no route fits
            return _NOT_FOUND
        return (404, {"detail": missing}) if row is None else (200, self._estimated(row))

    def _named(self, flow: str, name: str) -> RouteReply:
        store = self._store
        for deployment in store.deployments.values():
            if (store.flows[deployment["flow_id"]]["name"], deployment["name"]) == (flow, name):
                return 200, deployment
        return 404, {"detail": "Deployment not found"}

    def _create(self, deployment_id: str, content: bytes) -> RouteReply:
        store, asked = self._store, creation_of(content)
        status, deployment = self._one(store.deployments, deployment_id, "Deployment not found")
        if status != 200:
            return status, deployment
        key = asked.get("idempotency_key")
        for run in store.runs.values():
            same_flow = run["flow_id"] == deployment["flow_id"]
            if key is not None and same_flow and run["idempotency_key"] == key:
                return 200, self._estimated(run)
        run_id = store.create_run(deployment["id"], **asked)
        return 201, self._estimated(store.runs[run_id])

    def _estimated(self, row: Row) -> Row:
        """A run as it is sent: with times that are worked out anew for each answer."""
        return estimated(row, self._store.now()) if "total_run_time" in row else row


def _history(states: Mapping[str, list[Row]], run_id: str | None) -> list[Row]:
    asked = msgspec.convert(run_id, uuid.UUID)
    return sorted(states.get(str(asked), []), key=lambda state: state["timestamp"])


def path_of(request: httpx.Request) -> str:
    """The path below the API's URL."""
    return request.url.path.removeprefix("/api")


def _no_pool(name: str) -> RouteReply:
    return 404, {"detail": f'Work pool "{name}" not found.'}


def _refusal(why: str, content: bytes) -> Row:
    return {
        "exception_message": "Invalid request received.",
        "exception_detail": [{"msg": why}],
        "request_body": msgspec.Raw(content) if content else None,
    }
