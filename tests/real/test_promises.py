"""What a user is promised, on a real server: the promises that the fakes keep, word for word."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

import pytest
from promises import *  # noqa: F403
from reactivex import Observable
from reactivex import operators as ops
from servers_under_test import Line, Row, outcome
from virtual_world import Recording

import rxflow
from rxflow import StateType
from rxflow.cli._prefect_server import PrefectServer

if TYPE_CHECKING:
    from tests.real.conftest import Hand, Truth

T = TypeVar("T")


class Prefect3:
    """A running server."""

    # What is done in answer to an event is done before the watch goes on, which then finds it.
    drain = 0

    def __init__(self, url: str, client: rxflow.Client, hand: Hand, truth: Truth) -> None:
        self.client = client
        self._url = url
        self._hand = hand
        self._truth = truth

    def now(self) -> datetime:
        """Tell the writers' time."""
        return datetime.now(UTC)  # noqa: TID251

    def add_run(self, name: str = "amber-fox", state: StateType = StateType.PENDING) -> str:
        """Create a run."""
        return self._hand.new_run(name=name, state={"type": state})

    def enter(self, run_id: str, state: StateType) -> None:
        """Put it in a state, past the server's rules."""
        assert self._hand.set_state(run_id, state, force=True) == "ACCEPT"

    def log(self, run_id: str, *lines: Line | str) -> None:
        """Store log lines in one request."""
        given = (Line(line) if isinstance(line, str) else line for line in lines)
        rows = [
            {"message": line.message, "level": line.level, "timestamp": line.timestamp}
            for line in given
        ]
        self._hand.post_logs(run_id, rows)

    def add_task_run(self, run_id: str, task: str, index: int = -1) -> str:
        """Create a task run, which is numbered by its creation here."""
        named = {"flow_run_id": run_id, "task_key": task, "dynamic_key": str(index)}
        created: str = self._hand.post("/task_runs/", named | {"state": {"type": "RUNNING"}})["id"]
        return created

    def enter_task(self, run_id: str, task_run_id: str, state: StateType) -> None:
        """Put it in a state."""
        del run_id
        body = {"state": {"type": state}, "force": True}
        assert self._hand.post(f"/task_runs/{task_run_id}/set_state", body)["status"] == "ACCEPT"

    def delete_run(self, run_id: str) -> None:
        """Delete a run."""
        self._hand.http.delete(f"/flow_runs/{run_id}").raise_for_status()

    def let_time_pass(self) -> None:
        """Do without: here it passes by itself."""

    def stored(self, run_id: str) -> list[Row]:
        """List what is in the tables."""
        states = [("state", row_id) for row_id in self._truth.state_ids(run_id)]
        return sorted(states + [("log", row_id) for row_id in self._truth.log_ids(run_id)])

    def serve(self) -> AbstractContextManager[str]:
        """Say where it is."""
        return nullcontext(self._url)

    def begin(self, stream: Observable[T], react: Callable[[T], None]) -> Recording[T]:
        """Subscribe on threads of rxflow's own."""
        told: Recording[T] = Recording()
        told.subscribe_to(stream.pipe(ops.do_action(react)))
        return told

    def finish(self, told: Recording[T]) -> list[T]:
        """Wait for its end."""
        told.wait()
        return outcome(told)


@pytest.fixture(scope="module")
def client(server: PrefectServer) -> Iterator[rxflow.Client]:
    """A client that was told what the server is."""
    with rxflow.Client(api_url=server.url, backend="prefect3") as client:
        yield client


@pytest.fixture
def prefect(server: PrefectServer, client: rxflow.Client, hand: Hand, truth: Truth) -> Prefect3:
    """The server of the session."""
    return Prefect3(server.url, client, hand, truth)
