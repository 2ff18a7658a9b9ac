"""`FakePrefect3` compared with a real server.

The same writes and requests go to both. The responses must be equal, except for ids, which are
compared by the order of their first occurrence, for times and estimates that a server sets, and for
the wording of a rejection.
"""

from __future__ import annotations

import re
import threading
import uuid
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from rxflow.testing import FakePrefect3

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.real.conftest import ApiWriter

START = datetime(2026, 11, 22, 12, tzinfo=UTC)
"""When the first line was written, by its writer's clock."""

LINES = [
    # (run, seconds after START, level, message), in the order of their writing
    *((0, second, 20, f"line {second}") for second in range(5)),
    *((0, 5, 20, f"tie {number}") for number in range(4)),
    (0, 2.5, 30, "late"),
    (0, -3600, 20, "from a slow clock"),
    (0, 3600, 20, "from a fast clock"),
    (0, 6.000001, 10, "a microsecond"),
    (0, 7, 40, "error \N{SNOWMAN} \x1b[31m\n\t"),
    (0, 8, 20, ""),
    *((1, second + 0.1, 50, f"other {second}") for second in range(3)),
]

TASK = {"name": "load", "task_key": "load-0489fc40", "dynamic_key": "0"}

DEPLOYMENT: dict[str, Any] = {
    "name": "nightly",
    "flow": "differences",
    "parameters": {"n": 1, "of": "all"},
    "tags": ["a", "b"],
    "version": "v1",
}

SERVER_TIMES = {
    "created",
    "updated",
    "expected_start_time",
    "next_scheduled_start_time",
    "scheduled_time",
    "start_time",
    "end_time",
}
ESTIMATES = {"total_run_time", "estimated_run_time", "estimated_start_time_delta"}
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class FakeWrites:
    """The writes of the script, made to the fake."""

    def __init__(self) -> None:
        self._server = FakePrefect3()
        transport = self._server.transport()
        self.http = httpx.Client(base_url="http://fake.invalid/api", transport=transport)

    def add_run(self, name: str) -> str:
        """Create a run that is scheduled for now."""
        return self._server.add_run(name=name)

    def set_state(self, flow_run_id: str, state: str) -> None:
        """Put a run in a state."""
        self._server.set_state(flow_run_id, state)

    def log(self, flow_run_id: str, message: str, level: int, timestamp: datetime) -> None:
        """Store a line."""
        self._server.log(flow_run_id, message, level=level, timestamp=timestamp, name="tests")

    def add_task_run(self, flow_run_id: str) -> None:
        """Create a task run that is running."""
        self._server.add_task_run(flow_run_id, state="RUNNING", **TASK)

    def add_deployment(self) -> str:
        """Create a deployment."""
        return self._server.add_deployment(**DEPLOYMENT)


class RealWrites:
    """The writes of the script, made to the real server."""

    def __init__(self, writer: ApiWriter) -> None:
        self._writer = writer
        self.http = writer.http

    def add_run(self, name: str) -> str:
        """Create a run that is scheduled for now."""
        return self._writer.new_run(name=name, state={"type": "SCHEDULED"})

    def set_state(self, flow_run_id: str, state: str) -> None:
        """Put a run in a state; the server's rules are bypassed."""
        assert self._writer.set_state(flow_run_id, state, force=True) == "ACCEPT"

    def log(self, flow_run_id: str, message: str, level: int, timestamp: datetime) -> None:
        """Store a line."""
        row = {"message": message, "level": level, "timestamp": timestamp}
        self._writer.post_logs(flow_run_id, [row])

    def add_task_run(self, flow_run_id: str) -> None:
        """Create a task run that is running."""
        state = {"flow_run_id": flow_run_id, "state": {"type": "RUNNING"}}
        self._writer.post("/task_runs/", TASK | state)

    def add_deployment(self) -> str:
        """Create a deployment."""
        flow = self._writer.post("/flows/", {"name": DEPLOYMENT["flow"]})
        row = DEPLOYMENT | {"flow_id": flow["id"]}
        del row["flow"]
        created: str = self._writer.post("/deployments/", row)["id"]
        return created


class ScriptedServer:
    """A server to which the script's writes were made.

    Attributes:
        ids: The ids of its two runs, and of its deployment.
        rows: The row of the first run and its states, after each state that the run entered.
    """

    def __init__(self, writes: FakeWrites | RealWrites) -> None:
        self._http = writes.http
        self.ids = (writes.add_run("one"), writes.add_run("two"), writes.add_deployment())
        run = self.ids[0]
        self.rows = [self._read_run(run)]
        for state in ("RUNNING", "RUNNING", "COMPLETED", "RUNNING", "FAILED"):
            writes.set_state(run, state)
            self.rows.append(self._read_run(run))
        for number, second, level, message in LINES:
            writes.log(self.ids[number], message, level, START + timedelta(seconds=second))
        writes.add_task_run(run)

    def send(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Send a request, with ``{0}`` and so on for the ids; return the comparable response."""
        where, content = _with_ids(path, self.ids), _with_ids(body, self.ids)
        response = self._http.request(method, where, json=content)
        while response.status_code == HTTPStatus.SERVICE_UNAVAILABLE:  # as a busy SQLite replies
            threading.Event().wait(0.25)
            response = self._http.request(method, where, json=content)
        return response.status_code, comparable(response.json())

    def read_task_run(self) -> Any:
        """Read the one task run, its states, and the flow by its name."""
        where = {"task_runs": {"flow_run_id": {"any_": [self.ids[0]]}}}
        (row,) = self._http.post("/task_runs/filter", json=where).json()
        where["task_runs"]["id"] = {"any_": [row["id"]]}
        flow = self._http.get(
            f"/flows/{self._http.get(f'/flow_runs/{self.ids[0]}').json()['flow_id']}"
        )
        named = {"flows": {"name": {"any_": [flow.json()["name"]]}}}
        (found,) = self._http.post("/flows/filter", json=named).json()
        return comparable(
            [
                row,
                self._http.get(f"/task_runs/{row['id']}").json(),
                self._http.post("/task_runs/filter", json=where).json(),
                self._http.get("/task_run_states/", params={"task_run_id": row["id"]}).json(),
                flow.json() | {"name": "a flow"},
                found == flow.json(),
            ]
        )

    def _read_run(self, run: str) -> Any:
        row = self._http.get(f"/flow_runs/{run}")
        states = self._http.get("/flow_run_states/", params={"flow_run_id": run})
        return comparable([row.json(), states.json()])


def comparable(body: Any) -> Any:
    """Replace what differs between two servers in a response's body."""
    names: dict[str, str] = {}

    def plain(value: Any, key: str = "", kind: str = "") -> Any:
        match value:
            case [{"msg": str()}] if key == "exception_detail":
                return "a message"
            case dict():
                kind = str(value.get("type", ""))
                return {key: plain(inner, key, kind) for key, inner in value.items()}
            case list():
                # Tags are a set on the server.
                return [plain(inner) for inner in (sorted(value) if key == "tags" else value)]
            case float() if key in ESTIMATES:
                return "seconds"
            case str() if key in SERVER_TIMES or (key == "timestamp" and kind):
                return datetime.fromisoformat(value).tzinfo
            case str() if UUID.fullmatch(value):
                return names.setdefault(value, f"id {len(names)}")
            case _:
                return value

    return plain(body)


def _with_ids(value: Any, ids: tuple[str, ...]) -> Any:
    match value:
        case str():
            for number, row_id in enumerate(ids):
                value = value.replace(f"{{{number}}}", row_id)
            return value
        case dict():
            return {key: _with_ids(inner, ids) for key, inner in value.items()}
        case list():
            return [_with_ids(inner, ids) for inner in value]
        case _:
            return value


def _at(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).isoformat()


def _logs(where: Mapping[str, Any] | None = None, /, **body: Any) -> tuple[str, str, Any]:
    one_run = {"flow_run_id": {"any_": ["{0}"]}}
    return "POST", "/logs/filter", {"logs": one_run | dict(where or {}), **body}


def _runs(where: Mapping[str, Any] | None = None, /, **body: Any) -> tuple[str, str, Any]:
    these = {"id": {"any_": ["{0}", "{1}"]}}
    return "POST", "/flow_runs/filter", {"flow_runs": these | dict(where or {}), **body}


def _create(**body: Any) -> tuple[str, str, Any]:
    return "POST", "/deployments/{2}/create_flow_run", body


def _time(**bounds: float) -> dict[str, Any]:
    return {"timestamp": {name: _at(seconds) for name, seconds in bounds.items()}}


UNKNOWN_ID = str(uuid.uuid4())

REQUESTS: dict[str, tuple[str, str, Any]] = {
    "version": ("GET", "/admin/version", None),
    "run": ("GET", "/flow_runs/{0}", None),
    "another-run": ("GET", "/flow_runs/{1}", None),
    "run-unknown": ("GET", f"/flow_runs/{UNKNOWN_ID}", None),
    "run-malformed": ("GET", "/flow_runs/not-a-uuid", None),
    "run-without-dashes": ("GET", f"/flow_runs/{UNKNOWN_ID.replace('-', '')}", None),
    "states": ("GET", "/flow_run_states/?flow_run_id={0}", None),
    "states-of-unknown": ("GET", f"/flow_run_states/?flow_run_id={UNKNOWN_ID}", None),
    "states-of-malformed-id": ("GET", "/flow_run_states/?flow_run_id=not-a-uuid", None),
    "states-without-run-id": ("GET", "/flow_run_states/", None),
    "flow-unknown": ("GET", f"/flows/{UNKNOWN_ID}", None),
    "deployment-unknown": ("GET", f"/deployments/{UNKNOWN_ID}", None),
    "deployment-malformed": ("GET", "/deployments/not-a-uuid", None),
    "deployment": ("GET", "/deployments/{2}", None),
    "deployment-by-name": ("GET", "/deployments/name/differences/nightly", None),
    "deployment-by-unknown-name": ("GET", "/deployments/name/differences/none", None),
    "deployment-by-unknown-flow": ("GET", "/deployments/name/none/nightly", None),
    "deployment-by-flow-name-only": ("GET", "/deployments/name/differences", None),
    "create": _create(name="by hand"),
    "create-with-all-fields": _create(
        name="by hand",
        parameters={"n": 2, "more": [None]},
        tags=["b", "c"],
        context={"by": "hand"},
        labels={"by": "hand"},
        idempotency_key="with more",
    ),
    "create-with-unknown-key": _create(name="by hand", bogus=1),
    "create-without-a-body": ("POST", "/deployments/{2}/create_flow_run", None),
    "create-of-unknown": ("POST", f"/deployments/{UNKNOWN_ID}/create_flow_run", {}),
    "create-of-malformed": ("POST", "/deployments/not-a-uuid/create_flow_run", {}),
    "runs-by-ended": _runs(sort="END_TIME_DESC"),
    "runs-by-start": _runs(sort="START_TIME_ASC"),
    "runs-by-start-descending": _runs(sort="START_TIME_DESC"),
    "runs-by-unknown-sort": _runs(sort="ODDLY"),
    "runs-limited": _runs(sort="END_TIME_DESC", limit=1),
    "runs-offset": _runs(sort="END_TIME_DESC", offset=1),
    "runs-offset-negative": _runs(offset=-1),
    "runs-limit-201": _runs(limit=201),
    "runs-of-a-type": _runs({"state": {"type": {"any_": ["FAILED", "RUNNING"]}}}),
    "runs-of-no-type": _runs({"state": {"type": {"any_": []}}}),
    "runs-of-unknown-type": _runs({"state": {"type": {"any_": ["BOGUS"]}}}),
    "runs-of-a-state": _runs({"state": {"name": {"any_": ["Scheduled"]}}}),
    "runs-of-unknown": _runs({"id": {"any_": [UNKNOWN_ID]}}),
    "runs-of-no-deployment": _runs({"deployment_id": {"any_": ["{2}"]}}),
    "runs-of-unknown-flow": _runs(flows={"name": {"any_": ["none"]}}),
    "runs-of-the-deployments-flow": _runs(flows={"name": {"any_": ["differences"]}}),
    "runs-of-a-flow-or-another": _runs(
        flows={"operator": "or_", "name": {"any_": ["differences"]}, "id": {"any_": [UNKNOWN_ID]}}
    ),
    "runs-of-a-name": _runs({"name": {"any_": ["two", "none"]}}),
    "runs-of-all-tags": _runs({"tags": {"all_": ["none"]}}),
    "runs-of-no-tags": _runs({"tags": {"all_": []}}, sort="END_TIME_DESC"),
    "runs-of-any-of-no-tags": _runs({"tags": {"any_": []}}),
    "runs-of-a-type-or-a-name": _runs(
        {
            "state": {
                "operator": "or_",
                "type": {"any_": ["FAILED"]},
                "name": {"any_": ["Scheduled"]},
            }
        },
        sort="END_TIME_DESC",
    ),
    "runs-of-a-type-and-a-name": _runs(
        {"state": {"type": {"any_": ["FAILED"]}, "name": {"any_": ["Scheduled"]}}}
    ),
    "runs-by-unknown-operator": _runs({"operator": "xor_"}),
    "runs-started-before": _runs({"start_time": {"before_": _at(0)}}),
    "runs-started-after": _runs({"start_time": {"after_": _at(0)}}, sort="END_TIME_DESC"),
    "runs-expected-before": _runs({"expected_start_time": {"before_": _at(0)}}),
    "runs-expected-after": _runs(
        {"expected_start_time": {"after_": _at(0)}}, sort="EXPECTED_START_TIME_DESC"
    ),
    "runs-by-expected-start": _runs(sort="EXPECTED_START_TIME_ASC"),
    "runs-of-a-parent": _runs({"parent_flow_run_id": {"any_": ["{0}"]}}),
    "runs-of-any-parent": _runs({"parent_flow_run_id": {}}, sort="END_TIME_DESC"),
    "runs-of-a-deployment": _runs(deployments={"name": {"any_": ["nightly"]}}),
    "runs-of-any-deployment": _runs(deployments={}),
    "runs-of-a-pool": _runs(work_pools={"name": {"any_": ["none"]}}),
    "runs-of-any-pool": _runs(work_pools={}),
    "runs-by-unknown-key-of-pools": _runs(work_pools={"bogus": 1}),
    "runs-by-unknown-key": _runs({"bogus": 1}),
    "pool-unknown": ("GET", "/work_pools/no%20such", None),
    "workers-of-unknown-pool": ("POST", "/work_pools/no%20such/workers/filter", {}),
    "no-such-path": ("GET", "/no/such/path", None),
    "logs": _logs(),
    "logs-ascending": _logs(sort="TIMESTAMP_ASC"),
    "logs-descending": _logs(sort="TIMESTAMP_DESC"),
    "logs-by-unknown-sort": _logs(sort="ID_ASC"),
    "logs-limited": _logs(limit=3),
    "logs-limit-0": _logs(limit=0),
    "logs-limit-200": _logs(limit=200),
    "logs-limit-201": _logs(limit=201),
    "logs-limit-negative": _logs(limit=-1),
    "logs-limit-201-and-other-errors": _logs({"bogus": 1}, limit=201, offset=-1),
    "logs-offset": _logs(offset=4, limit=2),
    "logs-offset-descending": _logs(offset=4, limit=2, sort="TIMESTAMP_DESC"),
    "logs-offset-at-the-end": _logs(offset=14, limit=2),
    "logs-offset-past-the-end": _logs(offset=15, limit=2),
    "logs-offset-far-past-the-end": _logs(offset=10**9),
    "logs-offset-negative": _logs(offset=-1),
    "logs-after": _logs(_time(after_=5)),
    "logs-before": _logs(_time(before_=2)),
    "logs-between": _logs(_time(after_=2, before_=5)),
    "logs-of-an-instant": _logs(_time(after_=5, before_=5)),
    "logs-of-an-instant-paged": _logs(_time(after_=5, before_=5), offset=1, limit=2),
    "logs-of-a-microsecond": _logs(_time(after_=6.000001, before_=6.000001)),
    "logs-of-no-time": _logs(_time(after_=5, before_=2)),
    "logs-ge": _logs({"level": {"ge_": 30}}),
    "logs-le": _logs({"level": {"le_": 10}}),
    "logs-ge-descending": _logs({"level": {"ge_": 30}}, sort="TIMESTAMP_DESC"),
    "logs-level-malformed": _logs({"level": {"ge_": "loud"}}),
    "logs-of-two-runs": _logs({"flow_run_id": {"any_": ["{0}", "{1}"]}} | _time(before_=4)),
    "logs-of-no-run": _logs({"flow_run_id": {"any_": []}}),
    "logs-of-unknown": _logs({"flow_run_id": {"any_": [UNKNOWN_ID]}}),
    "logs-of-malformed": _logs({"flow_run_id": {"any_": ["not-a-uuid"]}}),
    "logs-by-unknown-key": _logs({"bogus": 1}),
    "logs-by-unknown-key-inside": _logs({"flow_run_id": {"any_": ["{0}"], "bogus": 1}}),
    "logs-with-unknown-body-key": _logs(bogus=1, limit=1),
    "task-runs": ("POST", "/task_runs/filter", {"task_runs": {"flow_run_id": {"any_": ["{0}"]}}}),
    "task-runs-paged": (
        "POST",
        "/task_runs/filter",
        {"task_runs": {"flow_run_id": {"any_": ["{0}"]}}, "sort": "ID_DESC", "offset": 1},
    ),
    "task-runs-of-unknown": (
        "POST",
        "/task_runs/filter",
        {"task_runs": {"flow_run_id": {"any_": [UNKNOWN_ID]}}},
    ),
    "task-run-unknown": ("GET", f"/task_runs/{UNKNOWN_ID}", None),
    "task-run-malformed": ("GET", "/task_runs/not-a-uuid", None),
    "task-runs-by-id": (
        "POST",
        "/task_runs/filter",
        {"task_runs": {"flow_run_id": {"any_": ["{0}"]}, "id": {"any_": [UNKNOWN_ID]}}},
    ),
    "states-of-unknown-task-run": ("GET", f"/task_run_states/?task_run_id={UNKNOWN_ID}", None),
    "states-of-malformed-task-run": ("GET", "/task_run_states/?task_run_id=not-a-uuid", None),
    "flows-by-unknown-name": ("POST", "/flows/filter", {"flows": {"name": {"any_": ["none"]}}}),
    "flows-by-unknown-id": ("POST", "/flows/filter", {"flows": {"id": {"any_": [UNKNOWN_ID]}}}),
    "flows-by-unknown-key": ("POST", "/flows/filter", {"flows": {"bogus": 1}}),
    "flows-limit-201": ("POST", "/flows/filter", {"limit": 201}),
    "task-runs-limit-201": ("POST", "/task_runs/filter", {"limit": 201}),
    "task-runs-by-unknown-key": ("POST", "/task_runs/filter", {"task_runs": {"bogus": 1}}),
}


@pytest.fixture(scope="module")
def fake() -> Iterator[ScriptedServer]:
    """Run the script on the fake."""
    writes = FakeWrites()
    with writes.http:
        yield ScriptedServer(writes)


@pytest.fixture(scope="module")
def real(writer: ApiWriter) -> ScriptedServer:
    """Run the script on the real server."""
    return ScriptedServer(RealWrites(writer))


@pytest.mark.parametrize("name", REQUESTS)
def test_responses_of_the_fake_equal_the_real_ones(
    name: str, fake: ScriptedServer, real: ScriptedServer
) -> None:
    """Status and body are those of Prefect."""
    assert fake.send(*REQUESTS[name]) == real.send(*REQUESTS[name])


def test_a_task_run_is_the_same_on_both(fake: ScriptedServer, real: ScriptedServer) -> None:
    """A task run read by its id and by a filter, its states and its flow are equal."""
    assert fake.read_task_run() == real.read_task_run()


def test_a_run_is_the_same_on_both_after_each_state(
    fake: ScriptedServer, real: ScriptedServer
) -> None:
    """Row and states are equal, also after a second RUNNING and after a terminal state."""
    assert fake.rows == real.rows


@pytest.mark.parametrize("limit", [1, 3, 7])
@pytest.mark.parametrize("sort", ["TIMESTAMP_ASC", "TIMESTAMP_DESC"])
def test_paging_by_offset_gives_the_same_pages(
    limit: int, sort: str, fake: ScriptedServer, real: ScriptedServer
) -> None:
    """Pages are equal, ties included: in SQLite's order, which nothing promises."""
    for offset in range(0, len(LINES) + limit, limit):
        request = _logs(sort=sort, limit=limit, offset=offset)
        assert fake.send(*request) == real.send(*request)


def test_an_idempotency_key_creates_one_run(fake: ScriptedServer, real: ScriptedServer) -> None:
    """A second request with the same key gets the existing run, with status 200."""
    request = _create(name="once", idempotency_key="once")
    for server in (fake, real):
        (created, run), (status, again) = server.send(*request), server.send(*request)
        assert (created, status) == (201, 200)
        assert run == again


def test_both_send_their_time(writer: ApiWriter) -> None:
    """A response is JSON and has a Date header."""
    for http in (FakeWrites().http, writer.http):
        headers = http.get("/admin/version").headers
        assert headers["date"].endswith(" GMT")
        assert headers["content-type"] == "application/json"
