"""Watches of a real server's runs: what they tell is what the database holds, whatever happens."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import traceback
import uuid
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import reduce
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from reactivex import operators as ops
from stream_faces import collect_async
from virtual_world import Recording, identity

import rxflow
from rxflow.cli._prefect_server import PrefectServer

if TYPE_CHECKING:
    from tests.real.conftest import Hand, Truth, TwoWriters, Until

LONG = 200.0
"""Seconds after which a watch in a test gives up by itself: far more than any of them takes."""

BRIEF = 1.0
"""Seconds of drain where all rows are stored before the run ends."""

ENDLESS = 3600.0
"""Seconds of drain that no test lives to see the end of."""


@pytest.fixture(scope="module")
def client(server: PrefectServer) -> Iterator[rxflow.Client]:
    """A client of the server."""
    with rxflow.Client(api_url=server.url) as client:
        yield client


@pytest.fixture(scope="module")
def ended(hand: Hand) -> str:
    """A run that completed, with three states and five lines of three levels."""
    run = hand.new_run(name="amber-fox", tags=["b", "a"], parameters={"x": {"y": [1, None]}})
    hand.set_state(run, "RUNNING")
    levels = {"one": 10, "two": 20, "three": 30, "four": 20, "five": 40}
    hand.post_logs(run, [{"message": text, "level": level} for text, level in levels.items()])
    assert hand.set_state(run, "COMPLETED") == "ACCEPT"
    return run


def utc_now() -> datetime:
    """The writers' clock."""
    return datetime.now(UTC)  # noqa: TID251


def rows(events: Iterable[rxflow.FlowRunEvent]) -> list[tuple[str, str]]:
    """The (kind, id) of each state change and log line, sorted, repeats included."""
    wanted = rxflow.StateChange | rxflow.FlowRunLog
    return sorted(identity(event) for event in events if isinstance(event, wanted))


def stored(truth: Truth, run: str) -> list[tuple[str, str]]:
    """The same of what the server's tables hold."""
    states = [("state", row) for row in truth.state_ids(run)]
    return sorted([*states, *(("log", row) for row in truth.log_ids(run))])


def messages(events: Iterable[rxflow.FlowRunEvent]) -> list[str]:
    """The text of each log line."""
    return [event.message for event in events if isinstance(event, rxflow.FlowRunLog)]


def closed(events: Iterable[rxflow.FlowRunEvent]) -> rxflow.Closed:
    """The last event."""
    *_, last = events
    assert isinstance(last, rxflow.Closed)
    return last


def changed(events: Iterable[rxflow.FlowRunEvent]) -> list[rxflow.FlowRun]:
    """The run's rows after each change."""
    return [event.run for event in events if isinstance(event, rxflow.RunChanged)]


def codes(events: Iterable[rxflow.FlowRunEvent]) -> list[rxflow.NoticeCode]:
    """What the notices are about."""
    return [event.code for event in events if isinstance(event, rxflow.Notice)]


def folded(events: Iterable[rxflow.FlowRunEvent]) -> rxflow.Snapshot:
    """The fold of the events."""
    nothing: rxflow.Snapshot | None = None
    snapshot = reduce(rxflow.fold, events, nothing)
    assert snapshot is not None
    return snapshot


OF_PREFECT_1 = ("run_config", "task_id", "map_index", "version")
"""Fields that are None on Prefect 3."""


def differences(ours: object, theirs: Any, path: str = "") -> list[str]:
    """Where a value of ours is not what the API's JSON says, field by field."""
    match ours:
        case msgspec.Struct():
            assert isinstance(theirs, Mapping), path
            named = [(name, getattr(ours, name)) for name in ours.__struct_fields__]
            theirs = {**dict.fromkeys(OF_PREFECT_1), **theirs}
            found = (differences(value, theirs[name], f"{path}.{name}") for name, value in named)
            return [difference for each in found for difference in each]
        case tuple():
            assert len(ours) == len(theirs), path
            pairs = enumerate(zip(ours, theirs, strict=True))
            return [text for n, (a, b) in pairs for text in differences(a, b, f"{path}[{n}]")]
        case datetime():
            same = ours == datetime.fromisoformat(theirs)
        case _:
            same = ours == theirs
    return [] if same else [f"{path}: {ours!r} is not {theirs!r}"]


def assert_folds_to_what_the_api_says(
    events: Iterable[rxflow.FlowRunEvent], hand: Hand, run: str
) -> None:
    """The fold's row and states are those that the API gives, field by field."""
    snapshot = folded(events)
    assert differences(snapshot.run, hand.get(f"/flow_runs/{run}")) == []
    assert differences(snapshot.states, hand.get("/flow_run_states/", flow_run_id=run)) == []


# -- a run that two processes write to ----------------------------------------------------------


def test_watchers_early_midway_and_late_are_told_the_same(
    two_writers: TwoWriters, client: rxflow.Client, hand: Hand, truth: Truth, until: Until
) -> None:
    """Whenever a watch begins and whatever its face, it tells each row of the tables once."""
    run = two_writers.flow_run_id
    stream = rxflow.watch_flow_run(run, max_duration=LONG, client=client)
    early: Recording[rxflow.FlowRunEvent] = Recording()
    midway: Recording[rxflow.FlowRunEvent] = Recording()
    with ThreadPoolExecutor(2) as pool:
        iterated = pool.submit(list[rxflow.FlowRunEvent], stream)
        on_a_loop = pool.submit(collect_async, stream, LONG)
        early.subscribe_to(stream)
        until(lambda: len(messages(early.values)) >= 50, limit=60)
        midway.subscribe_to(stream)
        two_writers.wait()
        blocking = iterated.result(LONG)
        awaited = on_a_loop.result(LONG)
    early.wait()
    midway.wait()
    there = stored(truth, run)
    assert len(there) > 200
    for events in (blocking, awaited, early.values, midway.values, list(stream)):
        assert rows(events) == there
        assert closed(events).verified
        assert closed(events).log_count == len(truth.log_ids(run))
        for writer in ("flow ", "sidecar "):
            lines = [text for text in messages(events) if text.startswith(writer)]
            assert lines == sorted(lines)
            assert len(lines) == 100
        assert_folds_to_what_the_api_says(events, hand, run)


def test_a_late_watcher_reads_in_order(
    ended: str, client: rxflow.Client, hand: Hand, truth: Truth
) -> None:
    """A run that is over is told from its first state to `Closed` by time, and nothing is late."""
    events = list(rxflow.watch_flow_run(ended, client=client))
    assert rows(events) == stored(truth, ended)
    assert [type(event) for event in (events[0], events[-1])] == [rxflow.RunSeen, rxflow.Closed]
    dated = [event for event in events if isinstance(event, rxflow.StateChange | rxflow.FlowRunLog)]
    assert [event.timestamp for event in dated] == sorted(event.timestamp for event in dated)
    assert messages(events) == ["one", "two", "three", "four", "five"]
    assert not any(event.late for event in events)
    assert_folds_to_what_the_api_says(events, hand, ended)


# -- task runs ----------------------------------------------------------------------------------


def test_task_runs_are_told_and_folded(
    client: rxflow.Client, hand: Hand, truth: Truth, until: Until
) -> None:
    """A task run's states are told as they are found, and the last view has its row as it is."""
    run = hand.new_run(state={"type": "RUNNING"})
    task_run = {"flow_run_id": run, "task_key": "sift", "state": {"type": "RUNNING"}}
    ids = [hand.post("/task_runs/", task_run | {"dynamic_key": key})["id"] for key in "ab"]
    told: Recording[rxflow.FlowRunEvent] = Recording()
    stream = rxflow.watch_flow_run(run, stream_tasks=True, drain=BRIEF, client=client)
    told.subscribe_to(stream)
    until(lambda: len(task_states(told.values)) == 2, limit=60)
    for each in ids:
        hand.post(f"/task_runs/{each}/set_state", {"state": {"type": "COMPLETED"}})
    hand.set_state(run, "COMPLETED")
    told.wait()
    assert sorted(task_states(told.values)) == sorted(
        (each, state) for each in ids for state in ("Running", "Completed")
    )
    assert sorted(task_states(stream.tasks)) == sorted((each, "Completed") for each in ids)
    assert rows(told.values) == stored(truth, run)
    view = closed(told.values).view
    assert view == folded(told.values)
    found = hand.post("/task_runs/filter", {"task_runs": {"flow_run_id": {"any_": [run]}}})
    in_order = tuple(sorted(found, key=lambda row: (row["created"], row["id"])))
    assert differences(folded(told.values).task_runs, in_order) == []
    read = rxflow.FlowRunView.from_flow_run_id(run, load_static_tasks=True, client=client)
    assert read.task_runs == folded(told.values).task_runs


def task_states(events: Iterable[rxflow.FlowRunEvent]) -> list[tuple[str, str]]:
    """The task run and the name of each state that a task run was found in."""
    kind = rxflow.TaskRunStateChange
    return [(e.task_run.id, e.state.name) for e in events if isinstance(e, kind)]


# -- a locked server ----------------------------------------------------------------------------


def test_a_locked_server_is_told_whole(
    locked_server: PrefectServer, locked_hand: Hand, locked_truth: Truth
) -> None:
    """With a key, a CSRF token and pages of 50, a run of 230 lines is told like any other."""
    run = locked_hand.new_run(state={"type": "RUNNING"})
    for batch in range(0, 230, 46):
        locked_hand.post_logs(run, [f"line {number}" for number in range(batch, batch + 46)])
    locked_hand.set_state(run, "COMPLETED")
    with rxflow.Client(api_url=locked_server.url, auth_string="admin:open-sesame") as client:
        events = list(rxflow.watch_flow_run(run, drain=BRIEF, client=client))
        logs = rxflow.FlowRunView.from_flow_run_id(run, client=client).get_logs()
    assert rows(events) == stored(locked_truth, run)
    assert closed(events).verified
    assert messages(events) == [log.message for log in logs] == [f"line {n}" for n in range(230)]
    assert_folds_to_what_the_api_says(events, locked_hand, run)


@pytest.mark.parametrize(
    ("auth", "key"),
    [(None, None), ("admin:shut-sesame", None), (None, "pnu_1")],
    ids=["no-key", "wrong-auth-string", "a-key-of-the-cloud"],
)
def test_a_wrong_key_is_refused_at_once(
    locked_server: PrefectServer, locked_hand: Hand, auth: str | None, key: str | None
) -> None:
    """Without a key, or with another than the server's, each face says which settings to check."""
    run = locked_hand.new_run()
    with rxflow.Client(api_url=locked_server.url, auth_string=auth, api_key=key) as client:
        stream = rxflow.watch_flow_run(run, client=client)
        subscribed: Recording[rxflow.FlowRunEvent] = Recording()
        subscribed.subscribe_to(stream)
        subscribed.wait()
        assert isinstance(subscribed.error, rxflow.AuthError)
        with pytest.raises(rxflow.AuthError, match="PREFECT_API_AUTH_STRING"):
            list(stream)
        with pytest.raises(rxflow.AuthError):
            rxflow.FlowRunView.from_flow_run_id(run, client=client)


def locals_of(error: BaseException) -> list[str]:
    """What a collector of crash reports sees of an error, but for the test's own frame."""
    inner = error.__traceback__ and error.__traceback__.tb_next
    report = traceback.TracebackException(type(error), error, inner, capture_locals=True)
    return list(report.format())


@pytest.mark.parametrize("as_userinfo", [False, True], ids=["auth-string", "in-the-url"])
def test_a_key_shows_nowhere(
    locked_server: PrefectServer,
    locked_hand: Hand,
    logged: list[str],
    caplog: pytest.LogCaptureFixture,
    *,
    as_userinfo: bool,
) -> None:
    """Neither an error with its whole traceback nor any log has the key, plain or encoded."""
    caplog.set_level("DEBUG")
    canary = "canary-5b1e77"
    url, auth = locked_server.url, f"admin:{canary}"
    run = locked_hand.new_run()
    with rxflow.Client(
        api_url=url.replace("//", f"//{auth}@") if as_userinfo else url,
        auth_string=None if as_userinfo else auth,
    ) as client:
        with pytest.raises(rxflow.AuthError) as caught:
            list(rxflow.watch_flow_run(run, client=client))
        said = [repr(client), repr(vars(client)), *locals_of(caught.value), *logged, caplog.text]
    assert logged
    encoded = b64encode(auth.encode()).decode()
    assert [text for text in said if canary in text or encoded in text] == []


# -- errors -------------------------------------------------------------------------------------


def test_an_unknown_run_is_not_found(client: rxflow.Client) -> None:
    """A run that the server does not have is an error of each face, and a `ValueError`."""
    nobody = str(uuid.uuid4())
    stream = rxflow.watch_flow_run(nobody, client=client)
    subscribed: Recording[rxflow.FlowRunEvent] = Recording()
    subscribed.subscribe_to(stream)
    subscribed.wait()
    assert (subscribed.values, type(subscribed.error)) == ([], rxflow.RunNotFound)
    with pytest.raises(rxflow.RunNotFound, match=nobody) as caught:
        list(stream)
    assert isinstance(caught.value, ValueError)
    with pytest.raises(rxflow.RunNotFound, match=nobody):
        rxflow.wait_for_flow_run(nobody, client=client)
    with pytest.raises(rxflow.RunNotFound, match=nobody):
        rxflow.FlowRunView.from_flow_run_id(nobody, client=client)


@pytest.mark.parametrize("text", ["", "amber-fox", "9e6caafc-4ea1-4493-b0a9"])
def test_a_malformed_id_is_refused_at_the_call(client: rxflow.Client, text: str) -> None:
    """What is no UUID is refused before anything is asked."""
    with pytest.raises(rxflow.InvalidRunId):
        rxflow.watch_flow_run(text, client=client)


def test_an_id_may_be_spelled_in_any_way(ended: str, client: rxflow.Client) -> None:
    """An id in upper case without dashes is the same run's, and comes back as the server has it."""
    spelled = ended.replace("-", "").upper()
    view = rxflow.wait_for_flow_run(spelled, client=client)
    assert view.flow_run_id == ended


@pytest.mark.parametrize("path", ["", "/apis", "/api/flows"])
def test_a_wrong_path_of_a_prefect_server_is_not_its_api(
    server: PrefectServer, ended: str, path: str
) -> None:
    """A URL that does not end in the API's path is an error that says how it ends."""
    url = server.url.removesuffix("/api") + path
    with rxflow.Client(api_url=url) as client, pytest.raises(rxflow.NotAPrefectApi, match="/api"):
        list(rxflow.watch_flow_run(ended, client=client))


class Page(BaseHTTPRequestHandler):
    """Answers any question with a web page."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>Sign in</title>")

    do_POST = do_GET  # noqa: N815 - the base class's word

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def web_server() -> Iterator[str]:
    """A server of web pages; yields its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as web:
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{web.server_port}/api"
        finally:
            web.shutdown()
            thread.join()


def test_a_web_page_is_not_an_api(ended: str) -> None:
    """Something that answers HTML is told apart from a Prefect server, by each face."""
    with web_server() as url, rxflow.Client(api_url=url) as client:
        with pytest.raises(rxflow.NotAPrefectApi, match="text/html"):
            list(rxflow.watch_flow_run(ended, client=client))
        with pytest.raises(rxflow.NotAPrefectApi, match="text/html"):
            rxflow.FlowRunView.from_flow_run_id(ended, client=client)


# -- trouble on the way -------------------------------------------------------------------------


def test_a_server_killed_in_between_loses_nothing(
    hand_of: Callable[[PrefectServer], Hand],
    truth_of: Callable[[PrefectServer], Truth],
    until: Until,
) -> None:
    """A watch outlasts a kill -9 of its server, and tells each row once, before it and after."""
    with PrefectServer() as server, rxflow.Client(api_url=server.url) as client:
        hand, truth = hand_of(server), truth_of(server)
        run = hand.new_run(state={"type": "RUNNING"})
        hand.post_logs(run, [f"before {number}" for number in range(20)])
        stream = rxflow.watch_flow_run(run, max_duration=LONG, client=client)
        subscribed: Recording[rxflow.FlowRunEvent] = Recording()
        with ThreadPoolExecutor(2) as pool:
            iterated = pool.submit(list[rxflow.FlowRunEvent], stream)
            on_a_loop = pool.submit(collect_async, stream, LONG)
            subscribed.subscribe_to(stream)
            until(lambda: messages(subscribed.values), limit=60)
            hand.post_logs(run, [f"last words {number}" for number in range(20)])
            server.stop(kill=True)
            server.start()
            hand.post_logs(run, [f"after {number}" for number in range(20)])
            hand.set_state(run, "COMPLETED")
            blocking = iterated.result(LONG)
            awaited = on_a_loop.result(LONG)
        until(lambda: subscribed.ended is not None, limit=LONG)
        for events in (blocking, awaited, subscribed.values):
            assert rows(events) == stored(truth, run)
            assert len(messages(events)) == 60
            assert closed(events).verified
            assert {*codes(events)} <= {rxflow.NoticeCode.DEGRADED, rxflow.NoticeCode.RECOVERED}
            assert_folds_to_what_the_api_says(events, hand, run)


def new_run_in_pool(hand: Hand, due: datetime) -> tuple[str, str]:
    """Schedule a run in a work pool without a worker; return the run's id and the pool's name."""
    pool = f"pool {uuid.uuid4().hex[:6]}"
    hand.post("/work_pools/", {"name": pool, "type": "process"})
    flow = hand.post("/flows/", {"name": "pooled"})["id"]
    deployment = {"name": pool, "flow_id": flow, "work_pool_name": pool}
    where = f"/deployments/{hand.post('/deployments/', deployment)['id']}/create_flow_run"
    details = {"state_details": {"scheduled_time": due.isoformat()}}
    run: str = hand.post(where, {"state": {"type": "SCHEDULED"} | details})["id"]
    return run, pool


def is_late_start(event: rxflow.FlowRunEvent) -> bool:
    """Whether an event says that its run is late."""
    return rxflow.NoticeCode.LATE_START in codes([event])


def test_a_run_that_no_worker_takes_is_late(client: rxflow.Client, hand: Hand) -> None:
    """A run that was due a minute ago gets a notice that names its pool and what is missing."""
    run, pool = new_run_in_pool(hand, utc_now() - timedelta(minutes=1))
    notices = rxflow.watch_flow_run(run, max_duration=LONG, client=client).notices
    (notice,) = notices.pipe(ops.filter(is_late_start), ops.take(1))
    assert f"no worker of its work pool {pool!r} is online" in notice.message


def test_a_run_due_tomorrow_is_not_late(client: rxflow.Client, hand: Hand) -> None:
    """A run that is merely scheduled is watched without a word, until the watch times out."""
    run, _ = new_run_in_pool(hand, utc_now() + timedelta(days=1))
    told: list[rxflow.FlowRunEvent] = []
    stream = rxflow.watch_flow_run(run, max_duration=BRIEF, client=client)
    with pytest.raises(rxflow.WatchTimedOut, match="Scheduled"):
        list(stream.pipe(ops.do_action(told.append)))
    assert [identity(event)[0] for event in told] == ["run-seen", "state"]


def test_a_run_deleted_is_a_notice_and_the_end(
    client: rxflow.Client, hand: Hand, until: Until
) -> None:
    """A run that is deleted while it is watched ends its stream well, and not verified."""
    run = hand.new_run(state={"type": "RUNNING"})
    hand.post_logs(run, ["one"])
    told: Recording[rxflow.FlowRunEvent] = Recording()
    told.subscribe_to(rxflow.watch_flow_run(run, max_duration=LONG, client=client))
    until(lambda: messages(told.values), limit=60)
    until(lambda: hand.http.delete(f"/flow_runs/{run}").status_code in {204, 404}, limit=30)
    told.wait()
    assert told.completed
    assert codes(told.values) == [rxflow.NoticeCode.RUN_DELETED]
    assert not closed(told.values).verified
    assert closed(told.values).state is not None


def test_a_run_opened_again_is_watched_on(
    client: rxflow.Client, hand: Hand, truth: Truth, until: Until
) -> None:
    """A run that is put back to Running while it drains is told on, with a notice."""
    run = hand.new_run(state={"type": "RUNNING"})
    told: Recording[rxflow.FlowRunEvent] = Recording()
    told.subscribe_to(rxflow.watch_flow_run(run, drain=ENDLESS, client=client))
    until(lambda: rows(told.values), limit=60)
    hand.set_state(run, "FAILED")
    until(lambda: [row for row in changed(told.values) if row.is_terminal], limit=60)
    hand.set_state(run, "RUNNING", force=True)
    until(lambda: rxflow.NoticeCode.REOPENED in codes(told.values), limit=60)
    hand.post_logs(run, ["again"])
    hand.set_state(run, "COMPLETED")
    until(lambda: rows(told.values) == stored(truth, run), limit=60)
    told.dispose()
    states = ["Running", "Failed", "Running", "Completed"]
    assert [state.name for state in folded(told.values).states] == states
    assert not told.completed


# -- lines out of their time --------------------------------------------------------------------


def test_a_line_stored_after_the_end_is_told(
    client: rxflow.Client, hand: Hand, truth: Truth, until: Until
) -> None:
    """A line that reaches the server after the run's last state is told while the run drains."""
    run = hand.new_run(state={"type": "RUNNING"})
    told: Recording[rxflow.FlowRunEvent] = Recording()
    told.subscribe_to(rxflow.watch_flow_run(run, drain=ENDLESS, client=client))
    hand.set_state(run, "COMPLETED")
    until(lambda: "Entered state Completed" in [event.message for event in told.values], limit=60)
    before = utc_now() - timedelta(seconds=1)
    hand.post_logs(run, ["afterwards", {"message": "before", "timestamp": before}])
    until(lambda: len(messages(told.values)) == 2, limit=60)
    told.dispose()
    assert rows(told.values) == stored(truth, run)
    assert messages(told.values) == ["before", "afterwards"]
    assert not told.completed


def ten_minutes_old() -> list[dict[str, object]]:
    """Three lines of a writer that was cut off for long."""
    stamp = utc_now() - timedelta(minutes=10)
    return [{"message": f"old {n}", "timestamp": stamp + timedelta(seconds=n)} for n in range(3)]


def all_at_once() -> list[dict[str, object]]:
    """450 lines of one timestamp: more than two pages."""
    stamp = utc_now()
    return [{"message": f"tie {number}", "timestamp": stamp} for number in range(450)]


def ahead() -> list[dict[str, object]]:
    """Lines of a writer whose clock is half an hour ahead."""
    stamp = utc_now() + timedelta(minutes=30)
    return [{"message": f"ahead {n}", "timestamp": stamp + timedelta(seconds=n)} for n in range(3)]


@pytest.mark.parametrize("odd", [ten_minutes_old, all_at_once, ahead])
def test_lines_out_of_their_time_are_told_once(
    client: rxflow.Client,
    hand: Hand,
    truth: Truth,
    until: Until,
    odd: Callable[[], list[dict[str, object]]],
) -> None:
    """Lines that are old, tied or ahead of time are told once, to a watcher then and to one later.

    What came in below a line that was told before is flagged late.
    """
    run = hand.new_run(state={"type": "RUNNING"})
    told: Recording[rxflow.FlowRunEvent] = Recording()
    stream = rxflow.watch_flow_run(run, drain=BRIEF, max_duration=LONG, client=client)
    told.subscribe_to(stream)
    hand.post_logs(run, ["first"])
    until(lambda: messages(told.values), limit=60)
    batch = odd()
    for start in range(0, len(batch), 150):
        hand.post_logs(run, batch[start : start + 150])
    hand.post_logs(run, [f"usual {number}" for number in range(5)])
    hand.set_state(run, "COMPLETED")
    until(lambda: told.ended is not None, limit=LONG)
    for events in (told.values, list(stream)):
        assert rows(events) == stored(truth, run)
        assert closed(events).verified
        usual = [text for text in messages(events) if text.startswith("usual")]
        assert usual == sorted(usual)
    flagged = {event.message for event in told.values if event.late}
    assert flagged >= {str(row["message"]) for row in batch if odd is ten_minutes_old}


# -- leaving ------------------------------------------------------------------------------------

ITERATE = """
import sys, threading
import rxflow
try:
    for event in rxflow.watch_flow_run(sys.argv[1]):
        print(event.message, flush=True)
except KeyboardInterrupt:
    others = [thread for thread in threading.enumerate() if thread.name != "MainThread"]
    for thread in others:
        thread.join(30)
    print("left:", [thread for thread in others if thread.is_alive()], flush=True)
    raise
"""

SUBSCRIBE = """
import sys, threading
import rxflow
begun = threading.Event()
rxflow.watch_flow_run(sys.argv[1]).subscribe(lambda event: begun.set())
assert begun.wait(60)
"""


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """A pytest that was started in the background ignores SIGINT, and its children would too."""
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, usual)


@contextmanager
def script(server: PrefectServer, text: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a script that finds the server as any program of a user does."""
    with subprocess.Popen(
        [sys.executable, "-P", "-c", text, *arguments],
        env=server.environment,
        cwd=server.home,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.usefixtures("_interruptible")
def test_ctrl_c_ends_an_iteration(server: PrefectServer, hand: Hand) -> None:
    """SIGINT raises KeyboardInterrupt out of the loop, and leaves no thread."""
    run = hand.new_run(state={"type": "RUNNING"})
    with script(server, ITERATE, run) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if "Running" in line)
        process.send_signal(signal.SIGINT)
        told, errors = process.communicate(timeout=60)
    assert told.splitlines()[-1] == "left: []"
    assert errors.splitlines()[-1] == "KeyboardInterrupt"
    assert "Exception ignored" not in errors
    assert process.returncode == -signal.SIGINT


def test_a_script_ends_with_a_live_subscription(server: PrefectServer, hand: Hand) -> None:
    """A program whose main thread is done exits at once and quietly, whatever it subscribed to."""
    run = hand.new_run(state={"type": "RUNNING"})
    with script(server, SUBSCRIBE, run) as process:
        told, errors = process.communicate(timeout=60)
    assert (process.returncode, told, errors) == (0, "", "")


def test_a_subscription_disposed_of_is_over(
    client: rxflow.Client, hand: Hand, until: Until
) -> None:
    """Nothing is told any more after `dispose`, and the threads go."""
    run = hand.new_run(state={"type": "RUNNING"})
    before = {*threading.enumerate()}
    told: Recording[rxflow.FlowRunEvent] = Recording()
    told.subscribe_to(rxflow.watch_flow_run(run, client=client))
    until(lambda: told.values, limit=60)
    told.dispose()
    until(lambda: {*threading.enumerate()} <= before, limit=60)
    number = len(told.values)
    hand.post_logs(run, ["unheard"])
    other = rxflow.watch_flow_run(run, client=client).logs.pipe(ops.take(1))
    assert messages(other) == ["unheard"]
    assert (len(told.values), told.ended) == (number, None)


def test_leaving_a_loop_stops_the_asking(client: rxflow.Client, hand: Hand) -> None:
    """`take` completes a blocking stream of a live run in the caller's own thread."""
    run = hand.new_run(state={"type": "RUNNING"})
    before = {*threading.enumerate()}
    first = list(rxflow.watch_flow_run(run, client=client).pipe(ops.take(2)))
    assert [identity(event)[0] for event in first] == ["run-seen", "state"]
    assert {*threading.enumerate()} <= before
