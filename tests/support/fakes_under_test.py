"""Both fake servers as servers under test, in virtual time that passes without waiting."""

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeAlias, TypeVar

from reactivex import Observable
from reactivex import operators as ops
from servers_under_test import LogLine, RowIdentity, recorded_items
from virtual_world import HOUR, Recording

from rxflow import Client, StateType
from rxflow.testing import FakePrefect1, FakePrefect3, VirtualTime

T = TypeVar("T")

PREFECT_1_STATES = {
    StateType.SCHEDULED: "Scheduled",
    StateType.PENDING: "Pending",
    StateType.RUNNING: "Running",
    StateType.PAUSED: "Paused",
    StateType.CANCELLING: "Cancelling",
    StateType.COMPLETED: "Success",
    StateType.FAILED: "Failed",
    StateType.CANCELLED: "Cancelled",
}
"""The class of a state of Prefect 1, by the type that rxflow gives it."""

_DAY = 86_400.0


class FakeUnderTest:
    """What both have in common: virtual time and its scheduled writes."""

    drain: float | None = None
    fake: FakePrefect1 | FakePrefect3
    path: str

    def __init__(self, fake: FakePrefect1 | FakePrefect3, time: VirtualTime) -> None:
        self.fake = fake
        self._time = time
        self.client = fake.client()
        self.now = fake.now
        self.at = fake.at
        self.delete_run = fake.delete_run
        self.serve = fake.serve

    def skip_an_hour(self) -> None:
        """Skip an hour, in which no watch polls."""
        self._time.wait(HOUR)

    def advance(self, seconds: float) -> None:
        """Let time pass, in which watches poll."""
        self._time.advance_to(self._time.now + timedelta(seconds=seconds))

    def client_with(self, **options: Any) -> Client:
        """Make a client with the URL and the given options only."""
        url = "http://fake.invalid" + self.path
        return Client(api_url=url, transport=self.fake.transport(), **options)

    def record(self, stream: Observable[T], react: Callable[[T], None]) -> Recording[T]:
        """Subscribe in virtual time."""
        recording: Recording[T] = Recording(lambda: self._time.seconds)
        recording.subscribe_to(stream.pipe(ops.do_action(react)), self._time)
        return recording

    def wait_for_end(self, recording: Recording[T]) -> list[T]:
        """Let up to a day pass until the stream ends."""
        until = self._time.seconds + _DAY
        while recording.ended is None:
            assert self._time.seconds < until, f"the stream does not end: {recording.values}"
            self._time.advance_to(self._time.now + timedelta(seconds=1))
        return recorded_items(recording)


class Prefect1UnderTest(FakeUnderTest):
    """The fake Prefect 1 server."""

    fake: FakePrefect1
    path = ""

    def __init__(self, **options: Any) -> None:
        time = VirtualTime()
        super().__init__(FakePrefect1(clock=time, **options), time)

    def add_run(self, name: str = "amber-fox", state: StateType = StateType.PENDING) -> str:
        """Create a run."""
        return self.fake.add_run(name=name, state=PREFECT_1_STATES[state])

    def set_state(self, run_id: str, state: StateType) -> None:
        """Set the state of a run."""
        self.fake.set_state(run_id, PREFECT_1_STATES[state])

    def log(self, run_id: str, *lines: LogLine | str) -> None:
        """Store log lines, with the names of their levels."""
        for line in map(LogLine.of, lines):
            level = logging.getLevelName(line.level)
            self.fake.log(run_id, line.message, level=level, timestamp=line.timestamp)

    def add_task_run(self, run_id: str, task: str, index: int = -1) -> str:
        """Create a running task run."""
        return self.fake.add_task_run(run_id, slug=task, map_index=index, state="Running")

    def set_task_state(self, run_id: str, task_run_id: str, state: StateType) -> None:
        """Set the state of a task run."""
        del run_id
        self.fake.set_task_state(task_run_id, PREFECT_1_STATES[state])

    def stored_rows(self, run_id: str) -> list[RowIdentity]:
        """List the rows in the tables."""
        tables = {"state": self.fake.states, "log": self.fake.logs}
        return sorted(
            (kind, row["id"])
            for kind, table in tables.items()
            for row in table.values()
            if row["flow_run_id"] == run_id
        )


class Prefect3UnderTest(FakeUnderTest):
    """The fake Prefect 3 server."""

    fake: FakePrefect3
    path = "/api"

    def __init__(self, **options: Any) -> None:
        time = VirtualTime()
        super().__init__(FakePrefect3(clock=time, **options), time)

    def add_run(self, name: str = "amber-fox", state: StateType = StateType.PENDING) -> str:
        """Create a run."""
        return self.fake.add_run(name=name, state=state)

    def set_state(self, run_id: str, state: StateType) -> None:
        """Set the state of a run."""
        self.fake.set_state(run_id, state)

    def log(self, run_id: str, *lines: LogLine | str) -> None:
        """Store log lines."""
        for line in map(LogLine.of, lines):
            self.fake.log(run_id, line.message, level=line.level, timestamp=line.timestamp)

    def add_task_run(self, run_id: str, task: str, index: int = -1) -> str:
        """Create a running task run; its map index is its position by creation."""
        del index
        return self.fake.add_task_run(run_id, state="RUNNING", name=task, task_key=task)

    def set_task_state(self, run_id: str, task_run_id: str, state: StateType) -> None:
        """Set the state of a task run."""
        self.fake.set_task_state(run_id, task_run_id, state)

    def stored_rows(self, run_id: str) -> list[RowIdentity]:
        """List the rows in the tables."""
        states = [("state", row["id"]) for row in self.fake.states[run_id]]
        logs = [("log", row["id"]) for row in self.fake.logs if row["flow_run_id"] == run_id]
        return sorted(states + logs)


AnyFakeUnderTest: TypeAlias = Prefect1UnderTest | Prefect3UnderTest

FAKES: dict[str, Callable[..., AnyFakeUnderTest]] = {
    "prefect1": Prefect1UnderTest,
    "prefect3": Prefect3UnderTest,
}
