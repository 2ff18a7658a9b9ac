"""A real Prefect server for the tests, a hand that acts on it, and what its database holds.

Whatever rxflow says of a run is judged by ``truth``, which reads the SQLite file behind the
server's back, never by another answer of the same API. A test that needs a type of this file
imports it under ``TYPE_CHECKING`` only.
"""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol, TypeVar

import httpx
import pytest

from rxflow.cli._prefect_server import PrefectServer

T = TypeVar("T")

LOCKED = {
    "PREFECT_SERVER_API_AUTH_STRING": "admin:open-sesame",
    "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true",
    "PREFECT_SERVER_API_DEFAULT_LIMIT": "50",
}

TWO_WRITERS = Path(__file__).with_name("two_writers.py")


class Until(Protocol):
    """The type of the fixture `until`."""

    def __call__(self, predicate: Callable[[], T], limit: float) -> T:
        """Wait until something is so."""
        ...


def wait_until(predicate: Callable[[], T], limit: float) -> T:
    """Ask until the answer is truthy, and return it; fail after `limit` seconds."""
    deadline = time.monotonic() + limit
    while not (answer := predicate()):
        assert time.monotonic() < deadline, f"not so within {limit:g} s: {predicate}"
        threading.Event().wait(0.05)
    return answer


class Truth:
    """What a server's SQLite file holds, read behind the server's back.

    Ids are text in the file as in the API's JSON: lower case, with dashes.

    Args:
        database: The file.
    """

    def __init__(self, database: Path) -> None:
        self._uri = f"{database.as_uri()}?mode=ro"

    def log_ids(self, flow_run_id: str) -> list[str]:
        """List the ids of a run's log rows, in the order of their insertion."""
        return self._ids("SELECT id FROM log WHERE flow_run_id = ? ORDER BY rowid", flow_run_id)

    def state_ids(self, flow_run_id: str) -> list[str]:
        """List the ids of a run's states, in the order of their insertion."""
        select = "SELECT id FROM flow_run_state WHERE flow_run_id = ? ORDER BY rowid"
        return self._ids(select, flow_run_id)

    def _ids(self, select: str, flow_run_id: str) -> list[str]:
        with closing(sqlite3.connect(self._uri, uri=True)) as database:
            rows = database.execute(select, (str(uuid.UUID(flow_run_id)),)).fetchall()
        return [str(uuid.UUID(found)) for (found,) in rows]


class Hand:
    """Create runs and write to them through a server's API, as workers and flows do.

    Args:
        server: A running server; a locked one's key is taken from its environment.
    """

    def __init__(self, server: PrefectServer) -> None:
        key = server.environment.get("PREFECT_API_AUTH_STRING")
        self.http = httpx.Client(
            base_url=server.url,
            auth=httpx.BasicAuth(*key.split(":")) if key else None,
            # A connection a request: after a 503 the server drops the connection without having
            # said so, which would make an innocent next request fail.
            limits=httpx.Limits(max_keepalive_connections=0),
            trust_env=False,
            timeout=60,
        )

    def new_run(
        self,
        *,
        flow: str = "tests",
        name: str | None = None,
        state: Mapping[str, Any] | None = None,
        scheduled: datetime | None = None,
        tags: Sequence[str] = (),
        parameters: Mapping[str, Any] | None = None,
    ) -> str:
        """Create a flow run that nothing executes.

        Args:
            flow: Its flow's name.
            name: Its own name; the server makes one up by default.
            state: Its first state as JSON, such as ``{"type": "RUNNING"}``; the server's default
                is PENDING.
            scheduled: When it is due, for a first state SCHEDULED.
            tags: Its tags.
            parameters: Its parameters.

        Returns:
            The flow run id.
        """
        if scheduled is not None:
            due = {"state_details": {"scheduled_time": scheduled.isoformat()}}
            state = {"type": "SCHEDULED"} | due | dict(state or {})
        run = {
            "flow_id": self.post("/flows/", {"name": flow})["id"],
            "name": name,
            "state": state,
            "tags": list(tags),
            "parameters": dict(parameters or {}),
        }
        created: str = self.post("/flow_runs/", {k: v for k, v in run.items() if v})["id"]
        return created

    def post_logs(self, flow_run_id: str, rows: Iterable[Mapping[str, Any] | str]) -> None:
        """Write log rows in one request, as a writer's batch.

        Args:
            flow_run_id: The run.
            rows: A message each, or a mapping with ``message`` and, if not as by default, ``name``,
                ``level``, ``task_run_id``, ``timestamp`` (a datetime or text; now by default).
        """
        batch = [self._log_row(flow_run_id, row) for row in rows]
        self.post("/logs/", batch)

    def set_state(
        self,
        flow_run_id: str,
        type: str,  # noqa: A002 - Prefect's own word
        name: str | None = None,
        *,
        force: bool = False,
    ) -> str:
        """Propose a state for a run.

        Args:
            flow_run_id: The run.
            type: The state's type, such as ``"COMPLETED"``.
            name: The state's name, if not the type's own.
            force: Past the server's rules.

        Returns:
            What the server made of it: ACCEPT, REJECT, ABORT or WAIT.
        """
        state = {"type": type} | ({"name": name} if name else {})
        body = {"state": state, "force": force}
        status: str = self.post(f"/flow_runs/{flow_run_id}/set_state", body)["status"]
        return status

    def post(self, path: str, body: object) -> Any:
        """Post JSON and return the JSON answer; a busy SQLite's 503 is tried again."""

        def attempt() -> httpx.Response | None:
            reply = self.http.post(path, json=body)
            return None if reply.status_code == HTTPStatus.SERVICE_UNAVAILABLE else reply

        reply = wait_until(attempt, limit=30)
        assert reply is not None
        reply.raise_for_status()
        return reply.json() if reply.content else None

    def get(self, path: str, **params: str) -> Any:
        """Get JSON."""
        return self.http.get(path, params=params).raise_for_status().json()

    def take_csrf_token(self) -> None:
        """Ask for the token that a locked server wants with each POST."""
        client = str(uuid.uuid4())
        token = self.get("/csrf-token", client=client)["token"]
        self.http.headers.update({"Prefect-Csrf-Client": client, "Prefect-Csrf-Token": token})

    def _log_row(self, flow_run_id: str, row: Mapping[str, Any] | str) -> Mapping[str, Any]:
        given = {"message": row} if isinstance(row, str) else dict(row)
        stamp = given.get("timestamp") or datetime.now(UTC)  # noqa: TID251 - a writer's own clock
        given["timestamp"] = stamp.isoformat() if isinstance(stamp, datetime) else stamp
        return {"name": "tests", "level": 20, "flow_run_id": flow_run_id} | given


class TwoWriters:
    """A run that two processes write to, which has begun.

    Args:
        process: The flow's process, whose first line of output is the run's id.
        log: The file that takes what it and the sidecar say on stderr.
    """

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        assert process.stdout is not None
        self._process = process
        self._log = log
        self.flow_run_id = process.stdout.readline().strip()
        assert self.flow_run_id, log.read_text()

    def wait(self, limit: float = 120.0) -> None:
        """Wait until both have ended and uploaded all their lines, at most `limit` seconds."""
        assert self._process.wait(limit) == 0, self._log.read_text()


@pytest.fixture(scope="session")
def until() -> Until:
    """``until(predicate, limit)``: wait for what is not there yet, at most `limit` seconds."""
    return wait_until


@pytest.fixture(scope="session")
def server() -> Iterator[PrefectServer]:
    """The one server of the session, with default settings."""
    with PrefectServer() as running:
        yield running


@pytest.fixture(scope="session")
def locked_server() -> Iterator[PrefectServer]:
    """A second server that wants a key and a CSRF token and has pages of 50."""
    with PrefectServer(settings=LOCKED) as running:
        yield running


@pytest.fixture(scope="session")
def hand_of() -> Iterator[Callable[[PrefectServer], Hand]]:
    """``hand_of(server)``: a hand that acts on a server which a test starts for itself."""
    with ExitStack() as hands:

        def take(server: PrefectServer) -> Hand:
            hand = Hand(server)
            hands.callback(hand.http.close)
            return hand

        yield take


@pytest.fixture(scope="session")
def hand(server: PrefectServer, hand_of: Callable[[PrefectServer], Hand]) -> Hand:
    """A hand that acts on the server."""
    return hand_of(server)


@pytest.fixture(scope="session")
def locked_hand(locked_server: PrefectServer, hand_of: Callable[[PrefectServer], Hand]) -> Hand:
    """A hand that acts on the locked server, with its key and a CSRF token."""
    hand = hand_of(locked_server)
    hand.take_csrf_token()
    return hand


@pytest.fixture(scope="session")
def truth_of() -> Callable[[PrefectServer], Truth]:
    """``truth_of(server)``: what the database of such a server holds."""
    return lambda server: Truth(server.database)


@pytest.fixture(scope="session")
def truth(server: PrefectServer) -> Truth:
    """What the server's database holds."""
    return Truth(server.database)


@pytest.fixture(scope="session")
def locked_truth(locked_server: PrefectServer) -> Truth:
    """What the locked server's database holds."""
    return Truth(locked_server.database)


@pytest.fixture
def two_writers(server: PrefectServer, tmp_path: Path) -> Iterator[TwoWriters]:
    """A run of about 6 s that two processes write 100 lines each to."""
    log = tmp_path / "two_writers.log"
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            [sys.executable, "-P", str(TWO_WRITERS)],
            env=server.environment,
            cwd=server.home,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield TwoWriters(process, log)
        finally:
            # A zombie that leads the group keeps its number ours until it is reaped; one that was
            # reaped by `wait` has ended with all of its group.
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
