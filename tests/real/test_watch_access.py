"""Watches of a real server that refuses access, of unknown runs, and of URLs that are no API."""

from __future__ import annotations

import threading
import traceback
import uuid
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from virtual_world import Recording

import rxflow
from rxflow.cli._prefect_server import PrefectServer

if TYPE_CHECKING:
    from tests.real.conftest import ApiWriter


@pytest.mark.parametrize(
    ("auth", "key"),
    [(None, None), ("admin:shut-sesame", None), (None, "pnu_1")],
    ids=["no-key", "wrong-auth-string", "cloud-key"],
)
def test_a_wrong_key_is_refused_at_once(
    locked_server: PrefectServer, locked_writer: ApiWriter, auth: str | None, key: str | None
) -> None:
    """Without the right key each face raises an AuthError that names the settings to check."""
    run = locked_writer.new_run()
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
    """The traceback with local variables, as crash reporters collect it, below the test's frame."""
    inner = error.__traceback__ and error.__traceback__.tb_next
    report = traceback.TracebackException(type(error), error, inner, capture_locals=True)
    return list(report.format())


@pytest.mark.parametrize("as_userinfo", [False, True], ids=["auth-string", "in-the-url"])
def test_a_key_is_never_shown(
    locked_server: PrefectServer,
    locked_writer: ApiWriter,
    logged: list[str],
    caplog: pytest.LogCaptureFixture,
    *,
    as_userinfo: bool,
) -> None:
    """Neither an error with its traceback nor a log has the key, plain or encoded."""
    caplog.set_level("DEBUG")
    canary = "canary-5b1e77"
    url, auth = locked_server.url, f"admin:{canary}"
    run = locked_writer.new_run()
    with rxflow.Client(
        api_url=url.replace("//", f"//{auth}@") if as_userinfo else url,
        auth_string=None if as_userinfo else auth,
    ) as client:
        with pytest.raises(rxflow.AuthError) as caught:
            list(rxflow.watch_flow_run(run, client=client))
        shown = [repr(client), repr(vars(client)), *locals_of(caught.value), *logged, caplog.text]
    assert logged
    encoded = b64encode(auth.encode()).decode()
    assert [text for text in shown if canary in text or encoded in text] == []


def test_an_unknown_run_is_not_found(client: rxflow.Client) -> None:
    """A run that the server does not have is a RunNotFound of each face, and a ValueError."""
    unknown_id = str(uuid.uuid4())
    stream = rxflow.watch_flow_run(unknown_id, client=client)
    subscribed: Recording[rxflow.FlowRunEvent] = Recording()
    subscribed.subscribe_to(stream)
    subscribed.wait()
    assert (subscribed.values, type(subscribed.error)) == ([], rxflow.RunNotFound)
    with pytest.raises(rxflow.RunNotFound, match=unknown_id) as caught:
        list(stream)
    assert isinstance(caught.value, ValueError)
    with pytest.raises(rxflow.RunNotFound, match=unknown_id):
        rxflow.wait_for_flow_run(unknown_id, client=client)
    with pytest.raises(rxflow.RunNotFound, match=unknown_id):
        rxflow.FlowRunView.from_flow_run_id(unknown_id, client=client)


@pytest.mark.parametrize("text", ["", "amber-fox", "9e6caafc-4ea1-4493-b0a9"])
def test_a_malformed_id_is_refused_at_the_call(client: rxflow.Client, text: str) -> None:
    """An id that is not a UUID is refused before any request."""
    with pytest.raises(rxflow.InvalidRunId):
        rxflow.watch_flow_run(text, client=client)


def test_an_id_may_have_any_form_of_a_uuid(finished_run: str, client: rxflow.Client) -> None:
    """An id in upper case without dashes names the run, and the view has the server's form."""
    other_form = finished_run.replace("-", "").upper()
    view = rxflow.wait_for_flow_run(other_form, client=client)
    assert view.flow_run_id == finished_run


@pytest.mark.parametrize("path", ["", "/apis", "/api/flows"])
def test_a_wrong_path_of_a_prefect_server_is_not_its_api(
    server: PrefectServer, finished_run: str, path: str
) -> None:
    """A URL without the API's path is an error that shows the path."""
    url = server.url.removesuffix("/api") + path
    with rxflow.Client(api_url=url) as client, pytest.raises(rxflow.NotAPrefectApi, match="/api"):
        list(rxflow.watch_flow_run(finished_run, client=client))


class WebPage(BaseHTTPRequestHandler):
    """Responds to any request with a web page."""

    def do_GET(self) -> None:
        """Send the page."""
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>Sign in</title>")

    do_POST = do_GET  # noqa: N815 - as in the base class

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def web_server() -> Iterator[str]:
    """Serve web pages; yields the URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), WebPage) as web:
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{web.server_port}/api"
        finally:
            web.shutdown()
            thread.join()


def test_a_web_page_is_not_a_prefect_api(finished_run: str) -> None:
    """A server of HTML is a NotAPrefectApi of each face."""
    with web_server() as url, rxflow.Client(api_url=url) as client:
        with pytest.raises(rxflow.NotAPrefectApi, match="text/html"):
            list(rxflow.watch_flow_run(finished_run, client=client))
        with pytest.raises(rxflow.NotAPrefectApi, match="text/html"):
            rxflow.FlowRunView.from_flow_run_id(finished_run, client=client)
