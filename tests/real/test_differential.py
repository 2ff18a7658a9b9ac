"""The fake server that rxflow ships, held against the real one.

One script of writes and questions goes to both; the answers must be equal but for ids, which are
compared by when they first come up, for times that a server makes, and for how a server words that
it does not take a question.
"""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from rxflow.testing import FakePrefect3

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.real.conftest import Hand

START = datetime(2026, 11, 22, 12, tzinfo=UTC)
"""When the first line was written, by its writer's clock."""

LINES = [
    # (run, seconds after START, level, message), in the order in which they are stored
    *((0, second, 20, f"line {second}") for second in range(5)),
    *((0, 5, 20, f"tie {number}") for number in range(4)),
    (0, 2.5, 30, "late"),
    (0, -3600, 20, "by a slow clock"),
    (0, 3600, 20, "by a fast clock"),
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


class Fake:
    """The fake, to be written to."""

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


class Real:
    """The real server, in the same way."""

    def __init__(self, hand: Hand) -> None:
        self._hand = hand
        self.http = hand.http

    def add_run(self, name: str) -> str:
        """Create a run that is scheduled for now."""
        return self._hand.new_run(name=name, state={"type": "SCHEDULED"})

    def set_state(self, flow_run_id: str, state: str) -> None:
        """Put a run in a state, past the server's rules."""
        assert self._hand.set_state(flow_run_id, state, force=True) == "ACCEPT"

    def log(self, flow_run_id: str, message: str, level: int, timestamp: datetime) -> None:
        """Store a line."""
        row = {"message": message, "level": level, "timestamp": timestamp}
        self._hand.post_logs(flow_run_id, [row])

    def add_task_run(self, flow_run_id: str) -> None:
        """Create a task run that is running."""
        state = {"flow_run_id": flow_run_id, "state": {"type": "RUNNING"}}
        self._hand.post("/task_runs/", TASK | state)

    def add_deployment(self) -> str:
        """Create a deployment."""
        flow = self._hand.post("/flows/", {"name": DEPLOYMENT["flow"]})
        row = DEPLOYMENT | {"flow_id": flow["id"]}
        del row["flow"]
        created: str = self._hand.post("/deployments/", row)["id"]
        return created


class Played:
    """A place on which the script's writes were made.

    Attributes:
        ids: The ids of its two runs, and of its deployment.
        rows: The row of the first run and its states, after each state that it was put in.
    """

    def __init__(self, place: Fake | Real) -> None:
        self._http = place.http
        self.ids = (place.add_run("one"), place.add_run("two"), place.add_deployment())
        run = self.ids[0]
        self.rows = [self._life(run)]
        for state in ("RUNNING", "RUNNING", "COMPLETED", "RUNNING", "FAILED"):
            place.set_state(run, state)
            self.rows.append(self._life(run))
        for number, second, level, message in LINES:
            place.log(self.ids[number], message, level, START + timedelta(seconds=second))
        place.add_task_run(run)

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Ask, with ``{0}`` and so on for the ids; the answer, without what may differ."""
        answer = self._http.request(
            method, _with_ids(path, self.ids), json=_with_ids(body, self.ids)
        )
        return answer.status_code, comparable(answer.json())

    def task_run(self) -> Any:
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

    def _life(self, run: str) -> Any:
        row = self._http.get(f"/flow_runs/{run}")
        states = self._http.get("/flow_run_states/", params={"flow_run_id": run})
        return comparable([row.json(), states.json()])


def comparable(answer: Any) -> Any:
    """An answer without what differs between two servers."""
    names: dict[str, str] = {}

    def plain(value: Any, key: str = "", kind: str = "") -> Any:
        match value:
            case [{"msg": str()}] if key == "exception_detail":
                return "in other words"
            case dict():
                kind = str(value.get("type", ""))
                return {key: plain(inner, key, kind) for key, inner in value.items()}
            case list():
                # The server keeps tags as a set.
                return [plain(inner) for inner in (sorted(value) if key == "tags" else value)]
            case float() if key in ESTIMATES:
                return "seconds"
            case str() if key in SERVER_TIMES or (key == "timestamp" and kind):
                return datetime.fromisoformat(value).tzinfo
            case str() if UUID.fullmatch(value):
                return names.setdefault(value, f"id {len(names)}")
            case _:
                return value

    return plain(answer)


def _with_ids(value: Any, ids: tuple[str, ...]) -> Any:
    match value:
        case str():
            for number, known in enumerate(ids):
                value = value.replace(f"{{{number}}}", known)
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


NOBODY = str(uuid.uuid4())

QUESTIONS: dict[str, tuple[str, str, Any]] = {
    "version": ("GET", "/admin/version", None),
    "run": ("GET", "/flow_runs/{0}", None),
    "another-run": ("GET", "/flow_runs/{1}", None),
    "run-unknown": ("GET", f"/flow_runs/{NOBODY}", None),
    "run-malformed": ("GET", "/flow_runs/not-a-uuid", None),
    "run-without-dashes": ("GET", f"/flow_runs/{NOBODY.replace('-', '')}", None),
    "states": ("GET", "/flow_run_states/?flow_run_id={0}", None),
    "states-of-unknown": ("GET", f"/flow_run_states/?flow_run_id={NOBODY}", None),
    "states-of-malformed": ("GET", "/flow_run_states/?flow_run_id=not-a-uuid", None),
    "states-of-nothing": ("GET", "/flow_run_states/", None),
    "flow-unknown": ("GET", f"/flows/{NOBODY}", None),
    "deployment-unknown": ("GET", f"/deployments/{NOBODY}", None),
    "deployment-malformed": ("GET", "/deployments/not-a-uuid", None),
    "deployment": ("GET", "/deployments/{2}", None),
    "deployment-by-name": ("GET", "/deployments/name/differences/nightly", None),
    "deployment-by-unknown-name": ("GET", "/deployments/name/differences/none", None),
    "deployment-by-unknown-flow": ("GET", "/deployments/name/none/nightly", None),
    "deployment-by-half-a-name": ("GET", "/deployments/name/differences", None),
    "create": _create(name="by hand"),
    "create-with-more": _create(
        name="by hand",
        parameters={"n": 2, "more": [None]},
        tags=["b", "c"],
        context={"by": "hand"},
        labels={"by": "hand"},
        idempotency_key="with more",
    ),
    "create-with-unknown-key": _create(name="by hand", bogus=1),
    "create-without-a-body": ("POST", "/deployments/{2}/create_flow_run", None),
    "create-of-unknown": ("POST", f"/deployments/{NOBODY}/create_flow_run", {}),
    "create-of-malformed": ("POST", "/deployments/not-a-uuid/create_flow_run", {}),
    "runs-by-ended": _runs(sort="END_TIME_DESC"),
    "runs-by-start": _runs(sort="START_TIME_ASC"),
    "runs-by-start-descending": _runs(sort="START_TIME_DESC"),
    "runs-sorted-oddly": _runs(sort="ODDLY"),
    "runs-limited": _runs(sort="END_TIME_DESC", limit=1),
    "runs-offset": _runs(sort="END_TIME_DESC", offset=1),
    "runs-offset-negative": _runs(offset=-1),
    "runs-limit-201": _runs(limit=201),
    "runs-of-a-type": _runs({"state": {"type": {"any_": ["FAILED", "RUNNING"]}}}),
    "runs-of-no-type": _runs({"state": {"type": {"any_": []}}}),
    "runs-of-unknown-type": _runs({"state": {"type": {"any_": ["BOGUS"]}}}),
    "runs-of-a-state": _runs({"state": {"name": {"any_": ["Scheduled"]}}}),
    "runs-of-unknown": _runs({"id": {"any_": [NOBODY]}}),
    "runs-of-no-deployment": _runs({"deployment_id": {"any_": ["{2}"]}}),
    "runs-of-unknown-flow": _runs(flows={"name": {"any_": ["none"]}}),
    "runs-of-another-flow": _runs(flows={"name": {"any_": ["differences"]}}),
    "runs-by-unknown-key": _runs({"bogus": 1}),
    "pool-unknown": ("GET", "/work_pools/no%20such", None),
    "workers-of-unknown-pool": ("POST", "/work_pools/no%20such/workers/filter", {}),
    "no-such-path": ("GET", "/no/such/path", None),
    "logs": _logs(),
    "logs-ascending": _logs(sort="TIMESTAMP_ASC"),
    "logs-descending": _logs(sort="TIMESTAMP_DESC"),
    "logs-sorted-oddly": _logs(sort="ID_ASC"),
    "logs-limited": _logs(limit=3),
    "logs-limit-0": _logs(limit=0),
    "logs-limit-200": _logs(limit=200),
    "logs-limit-201": _logs(limit=201),
    "logs-limit-negative": _logs(limit=-1),
    "logs-limit-201-and-worse": _logs({"bogus": 1}, limit=201, offset=-1),
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
    "logs-of-unknown": _logs({"flow_run_id": {"any_": [NOBODY]}}),
    "logs-of-malformed": _logs({"flow_run_id": {"any_": ["not-a-uuid"]}}),
    "logs-by-unknown-key": _logs({"bogus": 1}),
    "logs-by-unknown-key-inside": _logs({"flow_run_id": {"any_": ["{0}"], "bogus": 1}}),
    "logs-with-more-in-the-body": _logs(bogus=1, limit=1),
    "task-runs": ("POST", "/task_runs/filter", {"task_runs": {"flow_run_id": {"any_": ["{0}"]}}}),
    "task-runs-paged": (
        "POST",
        "/task_runs/filter",
        {"task_runs": {"flow_run_id": {"any_": ["{0}"]}}, "sort": "ID_DESC", "offset": 1},
    ),
    "task-runs-of-unknown": (
        "POST",
        "/task_runs/filter",
        {"task_runs": {"flow_run_id": {"any_": [NOBODY]}}},
    ),
    "task-run-unknown": ("GET", f"/task_runs/{NOBODY}", None),
    "task-run-malformed": ("GET", "/task_runs/not-a-uuid", None),
    "task-runs-by-id": (
        "POST",
        "/task_runs/filter",
        {"task_runs": {"flow_run_id": {"any_": ["{0}"]}, "id": {"any_": [NOBODY]}}},
    ),
    "states-of-unknown-task-run": ("GET", f"/task_run_states/?task_run_id={NOBODY}", None),
    "states-of-malformed-task-run": ("GET", "/task_run_states/?task_run_id=not-a-uuid", None),
    "flows-by-unknown-name": ("POST", "/flows/filter", {"flows": {"name": {"any_": ["nobody"]}}}),
    "flows-by-unknown-id": ("POST", "/flows/filter", {"flows": {"id": {"any_": [NOBODY]}}}),
    "flows-by-unknown-key": ("POST", "/flows/filter", {"flows": {"bogus": 1}}),
    "flows-limit-201": ("POST", "/flows/filter", {"limit": 201}),
    "task-runs-limit-201": ("POST", "/task_runs/filter", {"limit": 201}),
    "task-runs-by-unknown-key": ("POST", "/task_runs/filter", {"task_runs": {"bogus": 1}}),
}


@pytest.fixture(scope="module")
def fake() -> Iterator[Played]:
    """Play the script on the fake."""
    place = Fake()
    with place.http:
        yield Played(place)


@pytest.fixture(scope="module")
def real(hand: Hand) -> Played:
    """Play the script on the real server."""
    return Played(Real(hand))


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_fake_answers_as_the_real_server(question: str, fake: Played, real: Played) -> None:
    """Status and body are those of Prefect."""
    assert fake.ask(*QUESTIONS[question]) == real.ask(*QUESTIONS[question])


def test_a_task_run_is_the_same_on_both(fake: Played, real: Played) -> None:
    """A task run read by its id, and by its id among others, its history and its flow are equal."""
    assert fake.task_run() == real.task_run()


def test_a_runs_life_is_the_same_on_both(fake: Played, real: Played) -> None:
    """After each state, RUNNING twice and after the end among them, row and history are equal."""
    assert fake.rows == real.rows


@pytest.mark.parametrize("limit", [1, 3, 7])
@pytest.mark.parametrize("sort", ["TIMESTAMP_ASC", "TIMESTAMP_DESC"])
def test_paging_by_offset_gives_the_same_pages(
    limit: int, sort: str, fake: Played, real: Played
) -> None:
    """Page by page, ties included: as SQLite orders them, which nothing promises."""
    for offset in range(0, len(LINES) + limit, limit):
        question = _logs(sort=sort, limit=limit, offset=offset)
        assert fake.ask(*question) == real.ask(*question)


def test_a_run_of_one_key_is_created_once(fake: Played, real: Played) -> None:
    """Who asks again with the same idempotency key is given the run that there is, and a 200."""
    question = _create(name="once", idempotency_key="once")
    for played in (fake, real):
        (created, run), (status, again) = played.ask(*question), played.ask(*question)
        assert (created, status) == (201, 200)
        assert run == again


def test_both_tell_their_time(hand: Hand) -> None:
    """An answer has a Date header, to the second, and is JSON."""
    for http in (Fake().http, hand.http):
        headers = http.get("/admin/version").headers
        assert headers["date"].endswith(" GMT")
        assert headers["content-type"] == "application/json"
