"""The promises on a real Prefect 3 server; `tests/support/promises` has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

import pytest
from promises import *  # noqa: F403
from reactivex import Observable
from reactivex import operators as ops
from servers_under_test import LogLine, RowIdentity, recorded_items
from virtual_world import Recording

import rxflow
from rxflow import StateType
from rxflow.cli._prefect_server import PrefectServer

if TYPE_CHECKING:
    from server_databases import DatabaseReader

    from tests.real.conftest import ApiWriter

T = TypeVar("T")


class RealServerUnderTest:
    """A running Prefect 3 server."""

    # A reaction writes before the watch goes on, so its rows are found without a drain.
    drain = 0

    def __init__(
        self, url: str, client: rxflow.Client, writer: ApiWriter, database: DatabaseReader
    ) -> None:
        self.client = client
        self._url = url
        self._writer = writer
        self._database = database

    def now(self) -> datetime:
        """The writers' time."""
        return datetime.now(UTC)  # noqa: TID251

    def add_run(self, name: str = "amber-fox", state: StateType = StateType.PENDING) -> str:
        """Create a run."""
        return self._writer.new_run(name=name, state={"type": state})

    def set_state(self, run_id: str, state: StateType) -> None:
        """Set the state of a run, past the server's orchestration rules."""
        assert self._writer.set_state(run_id, state, force=True) == "ACCEPT"

    def log(self, run_id: str, *lines: LogLine | str) -> None:
        """Store log lines in one request."""
        rows = [
            {"message": line.message, "level": line.level, "timestamp": line.timestamp}
            for line in map(LogLine.of, lines)
        ]
        self._writer.post_logs(run_id, rows)

    def add_task_run(self, run_id: str, task: str, index: int = -1) -> str:
        """Create a running task run; its map index is its position by creation."""
        task_run = {"flow_run_id": run_id, "task_key": task, "dynamic_key": str(index)}
        created: str = self._writer.post("/task_runs/", task_run | {"state": {"type": "RUNNING"}})[
            "id"
        ]
        return created

    def set_task_state(self, run_id: str, task_run_id: str, state: StateType) -> None:
        """Set the state of a task run."""
        del run_id
        body = {"state": {"type": state}, "force": True}
        assert self._writer.post(f"/task_runs/{task_run_id}/set_state", body)["status"] == "ACCEPT"

    def delete_run(self, run_id: str) -> None:
        """Delete a run."""
        self._writer.http.delete(f"/flow_runs/{run_id}").raise_for_status()

    def skip_an_hour(self) -> None:
        """Do nothing, since time is real."""

    def stored_rows(self, run_id: str) -> list[RowIdentity]:
        """List the rows in the tables."""
        states = [("state", row_id) for row_id in self._database.state_ids(run_id)]
        return sorted(states + [("log", row_id) for row_id in self._database.log_ids(run_id)])

    def serve(self) -> AbstractContextManager[str]:
        """Yield the URL of the running server."""
        return nullcontext(self._url)

    def record(self, stream: Observable[T], react: Callable[[T], None]) -> Recording[T]:
        """Subscribe; threads of rxflow deliver the items."""
        recording: Recording[T] = Recording()
        recording.subscribe_to(stream.pipe(ops.do_action(react)))
        return recording

    def wait_for_end(self, recording: Recording[T]) -> list[T]:
        """Wait for the end of the stream."""
        recording.wait()
        return recorded_items(recording)


@pytest.fixture(scope="module")
def client(server: PrefectServer) -> Iterator[rxflow.Client]:
    """A client that is configured for Prefect 3."""
    with rxflow.Client(api_url=server.url, backend="prefect3") as client:
        yield client


@pytest.fixture
def prefect(
    server: PrefectServer, client: rxflow.Client, writer: ApiWriter, database: DatabaseReader
) -> RealServerUnderTest:
    """The server of the session."""
    return RealServerUnderTest(server.url, client, writer, database)
