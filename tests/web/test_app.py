"""The app over HTTP: its pages, its streams of events, and how both respond to errors."""

import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import httpx
import pytest
from event_streams import event_stream, messages, until_message
from hostile_lines import CONTROLS, MARKUP, SCRIPTS
from starlette.applications import Starlette
from starlette.routing import Mount
from web_server import served

import rxflow
from rxflow.testing import FakePrefect3, VirtualTime
from rxflow.web import flow_run_app

UNKNOWN = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"

pytestmark = pytest.mark.timeout(60)


class Service:
    """The app, and the fake server that it reads from.

    The server's time stands still but for what a test lets pass.
    """

    def __init__(self) -> None:
        self.time = VirtualTime()
        self.prefect = FakePrefect3(clock=self.time)

    @contextmanager
    def serve(self, linger: float = 60.0, path: str = "") -> Generator[httpx.Client]:
        """Serve the app, below a path if one is given; yield a client at its root."""
        app = flow_run_app(client=self.prefect.client(), linger=linger)
        mounted = Starlette(routes=[Mount(path, app)]) if path else app
        with (
            served(mounted) as url,
            httpx.Client(base_url=url + path, trust_env=False, timeout=60) as http,
        ):
            yield http

    def close(self, run_id: str) -> None:
        """Complete a run, and let the drain's time pass."""
        self.prefect.set_state(run_id, "COMPLETED")
        self.time.wait(60)


@pytest.fixture
def service() -> Service:
    """Create a service that is not served yet."""
    return Service()


# -- events -------------------------------------------------------------------------------------


def test_a_run_is_streamed_live_to_its_end(service: Service) -> None:
    """A browser receives each event when it comes, from `RunSeen` to `Closed`, and then the end."""
    run_id = service.prefect.add_run(state="RUNNING")
    with service.serve() as http, event_stream(http, f"/{run_id}/events") as frames:
        received = until_message(frames, "Entered state Running")
        service.prefect.log(run_id, "one\ntwo \N{SNOWMAN}")
        received += until_message(frames, "one\ntwo \N{SNOWMAN}")
        service.close(run_id)
        received += frames
    events = [frame.event for frame in received]
    assert isinstance(events[0], rxflow.RunSeen)
    assert isinstance(events[-1], rxflow.Closed)
    assert events[-1].verified
    assert [int(frame.id.partition("-")[2]) for frame in received] == list(
        range(1, len(received) + 1)
    )


def test_task_runs_and_subflows_are_streamed(service: Service) -> None:
    """The states of task runs, and the lines of subflows, are in the stream of the run."""
    run_id = service.prefect.add_run(state="RUNNING")
    service.prefect.add_task_run(run_id, name="load-0", state="RUNNING")
    subflow = service.prefect.add_run(name="owl", flow="load", parent=run_id, state="RUNNING")
    service.prefect.log(subflow, "in the subflow")
    with service.serve() as http, event_stream(http, f"/{run_id}/events") as frames:
        events = [frame.event for frame in until_message(frames, "in the subflow")]
    tasks = {e.task_run.name for e in events if isinstance(e, rxflow.TaskRunStateChange)}
    assert "load-0" in tasks
    assert {event.root_flow_run_id for event in events} == {run_id}


def test_all_browsers_of_a_run_read_one_session(service: Service) -> None:
    """Two browsers receive equal frames, ids included, whenever they come."""
    run_id = service.prefect.add_run(state="RUNNING")
    service.prefect.log(run_id, "one")
    with service.serve() as http, event_stream(http, f"/{run_id}/events") as first:
        early = until_message(first, "one")
        with event_stream(http, f"/{run_id.upper()}/events") as second:
            late = until_message(second, "one")
    assert early == late


def test_a_reconnected_browser_goes_on_without_a_gap(service: Service) -> None:
    """With the id of its last event, a browser receives those after it and no other."""
    run_id = service.prefect.add_run(state="RUNNING")
    for number in range(5):
        service.prefect.log(run_id, f"before {number}")
    with service.serve() as http:
        with event_stream(http, f"/{run_id}/events") as frames:
            received = until_message(frames, "before 2")
        for number in range(3):
            service.prefect.log(run_id, f"meanwhile {number}")
        service.close(run_id)
        with event_stream(http, f"/{run_id}/events", received[-1].id) as frames:
            received += frames
    assert [frame.id.partition("-")[2] for frame in received] == [
        str(number + 1) for number in range(len(received))
    ]
    lines = [text for text in messages(received) if not text.startswith("Entered")]
    assert lines == [f"before {n}" for n in range(5)] + [f"meanwhile {n}" for n in range(3)]


def test_a_resumed_stream_opens_before_its_next_event(service: Service) -> None:
    """A browser that has received all so far is connected at once, while nothing happens."""
    run_id = service.prefect.add_run(state="RUNNING")
    with service.serve() as http:
        with event_stream(http, f"/{run_id}/events") as frames:
            received = until_message(frames, "Entered state Running")
        with event_stream(http, f"/{run_id}/events", received[-1].id) as frames:
            service.prefect.log(run_id, "one")
            assert messages(until_message(frames, "one")) == ["one"]


def test_after_another_session_a_browser_receives_all(service: Service) -> None:
    """An id of a session that is over counts for nothing: the run comes from its beginning."""
    run_id = service.prefect.add_run(state="RUNNING")
    service.prefect.log(run_id, "one")
    with service.serve() as http, event_stream(http, f"/{run_id}/events") as frames:
        before = until_message(frames, "one")
    service.prefect.log(run_id, "two")
    with service.serve() as http, event_stream(http, f"/{run_id}/events", before[-1].id) as frames:
        after = until_message(frames, "two")
    assert messages(after) == ["Entered state Running", "one", "two"]
    assert {frame.id for frame in before} & {frame.id for frame in after} == set()


def test_a_browser_that_has_all_need_not_come_again(service: Service) -> None:
    """After the last event there is no content, which ends the reconnections of a browser."""
    run_id = service.prefect.add_run(state="RUNNING")
    service.close(run_id)
    with service.serve() as http:
        with event_stream(http, f"/{run_id}/events") as frames:
            *_, last = frames
        again = http.get(f"/{run_id}/events", headers={"Last-Event-ID": last.id})
    assert again.status_code == httpx.codes.NO_CONTENT


def test_a_disconnect_ends_the_watch(service: Service) -> None:
    """Without linger, a disconnect breaks off the request under way; other runs go on."""
    left, kept = (service.prefect.add_run(state="RUNNING") for _ in range(2))
    with service.serve(linger=0) as http, event_stream(http, f"/{kept}/events") as others:
        until_message(others, "Entered state Running")
        with event_stream(http, f"/{left}/events") as frames:
            until_message(frames, "Entered state Running")
            hold = service.prefect.hold(partial(_reads, left))
            hold.until_reached()
        hold.until_left()
        hold.release()
        service.prefect.log(kept, "still here")
        until_message(others, "still here")


def _reads(run_id: str, request: httpx.Request) -> bool:
    return run_id in request.url.path or run_id in request.content.decode()


def test_a_deleted_run_ends_its_stream(service: Service) -> None:
    """A run that is deleted while it is shown gives a notice, and its `Closed`."""
    run_id = service.prefect.add_run(state="RUNNING")
    with service.serve() as http, event_stream(http, f"/{run_id}/events") as frames:
        until_message(frames, "Entered state Running")
        service.prefect.delete_run(run_id)
        service.time.wait(60)
        notice, last = (frame.event for frame in frames)
    assert isinstance(notice, rxflow.Notice)
    assert notice.code is rxflow.NoticeCode.RUN_DELETED
    assert isinstance(last, rxflow.Closed)


def test_a_run_that_went_on_is_read_again(service: Service) -> None:
    """A new browser does not get the session of a run that was over, but one of its own."""
    run_id = service.prefect.add_run(state="RUNNING")
    service.close(run_id)
    with service.serve() as http:
        with event_stream(http, f"/{run_id}/events") as frames:
            assert isinstance(list(frames)[-1].event, rxflow.Closed)
        service.prefect.set_state(run_id, "RUNNING", "Retrying")
        with event_stream(http, f"/{run_id}/events") as frames:
            until_message(frames, "Entered state Retrying")


def test_a_head_request_opens_no_stream(service: Service) -> None:
    """HEAD gives the headers alone, and ends."""
    run_id = service.prefect.add_run(state="RUNNING")
    with service.serve(linger=0) as http:
        response = http.head(f"/{run_id}/events")
    assert response.status_code == httpx.codes.OK
    assert response.content == b""


# -- pages --------------------------------------------------------------------------------------


def test_the_first_page_lists_the_runs(service: Service) -> None:
    """It has the name, state and page of each run, the newest first."""
    runs = {name: service.prefect.add_run(name=name, state="RUNNING") for name in ("fox", "owl")}
    with service.serve() as http:
        html = http.get("/").text
    found = re.findall(r'<a href="([^"]+)"><bdi>(\w+)</bdi>', html)
    assert found == [(runs["owl"], "owl"), (runs["fox"], "fox")]
    assert html.count('data-state="RUNNING">Running<') == 2


def test_the_page_of_a_run_names_it_and_its_flow(service: Service) -> None:
    """The run's name, its flow's and its tags are in the page before any script runs."""
    run_id = service.prefect.add_run(name="amber-fox", flow="report", tags=["prod"])
    with service.serve() as http:
        html = http.get(f"/{run_id}").text
    assert f'data-run="{run_id}"' in html
    assert all(f"<bdi>{text}</bdi>" in html for text in ("report", "prod"))
    assert '<bdi id="name">amber-fox</bdi>' in html


@pytest.mark.parametrize("name", MARKUP | CONTROLS | SCRIPTS)
def test_names_are_data(name: str, service: Service) -> None:
    """A hostile name of a run, a flow and a tag is escaped on both pages."""
    text = (MARKUP | CONTROLS | SCRIPTS)[name]
    run_id = service.prefect.add_run(name=text, flow=text, tags=[text], state="RUNNING")
    with service.serve() as http:
        pages = [http.get("/").text, http.get(f"/{run_id}").text]
    for html in pages:
        assert name not in MARKUP or text not in html
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", html)
        assert html.count("<script") == 1


def test_all_that_a_page_loads_is_there(service: Service) -> None:
    """Each file that a page names, or a script imports, is served with its type."""
    run_id = service.prefect.add_run()
    with service.serve(path="/below/this") as http:
        html = http.get("/").text + http.get(f"/{run_id}").text
        files = set(re.findall(r'(?:href|src)="(static/[^"]+)"', html))
        assert {file.partition("?")[0] for file in files} == {
            *("static/icon.svg", "static/style.css", "static/times.js", "static/run.js")
        }
        scripts = [http.get(f"/{file}") for file in files if ".js" in file]
        imported = {
            name for script in scripts for name in re.findall(r'"\./(\w+\.js)"', script.text)
        }
        loaded = [http.get(f"/{file}") for file in files]
        loaded += [http.get(f"/static/{name}") for name in imported]
    assert {response.status_code for response in loaded} == {httpx.codes.OK}
    types = {response.headers["content-type"].partition(";")[0] for response in loaded}
    assert types <= {"text/javascript", "application/javascript", "text/css", "image/svg+xml"}


@pytest.mark.parametrize("path", ["/", "/{run}", "/amber-fox"])
def test_a_page_lets_nothing_else_run(path: str, service: Service) -> None:
    """Its content security policy allows the app's own files only, and no script in a page."""
    run_id = service.prefect.add_run()
    with service.serve() as http:
        response = http.get(path.format(run=run_id))
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy
    assert response.headers["x-content-type-options"] == "nosniff"
    assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=", response.text)


# -- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize("run_id", [UNKNOWN, "amber-fox", "<b>"])
def test_an_unknown_run_is_not_found(run_id: str, service: Service) -> None:
    """The page is an escaped sentence with status 404, and so are the events without HTML."""
    with service.serve() as http:
        page, events = http.get(f"/{run_id}"), http.get(f"/{run_id}/events")
    assert page.status_code == events.status_code == httpx.codes.NOT_FOUND
    assert run_id.replace("<", "&lt;").replace(">", "&gt;") in page.text
    assert run_id in events.text
    assert events.headers["content-type"].startswith("text/plain")


def test_a_refused_key_is_a_bad_gateway(service: Service) -> None:
    """What Prefect refuses has status 502 and a sentence."""
    refused = httpx.Response(401, json={"detail": "Unauthorized"})
    service.prefect.intercept = lambda _: refused
    run_id = service.prefect.add_run()
    with service.serve() as http:
        responses = [http.get(path) for path in ("/", f"/{run_id}", f"/{run_id}/events")]
    assert {response.status_code for response in responses} == {httpx.codes.BAD_GATEWAY}
    assert all("refused" in response.text for response in responses)


def test_a_missing_setting_is_found_when_the_app_is_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without a configured server the app is not made; visitors would find out otherwise."""
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with pytest.raises(rxflow.ConfigurationError, match="PREFECT_API_URL"):
        flow_run_app()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: flow_run_app(client="http://x/api"), TypeError, "client"),  # type: ignore[arg-type]
        (lambda: flow_run_app(linger=-1), ValueError, "linger=-1"),
        (lambda: flow_run_app(linger="5"), TypeError, "linger='5'"),  # type: ignore[arg-type]
    ],
    ids=["client", "negative", "text"],
)
def test_arguments_are_checked(
    make: Callable[[], object],
    error: type[Exception],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is not taken is refused at the call, with the argument's name."""
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:4200/api")
    with pytest.raises(error, match=re.escape(message)):
        make()


def test_linger_is_a_duration() -> None:
    """A timedelta is taken as well as seconds."""
    client = FakePrefect3().client()
    assert isinstance(flow_run_app(client=client, linger=timedelta(minutes=1)), Starlette)
