"""Texts of failures: without the secrets that a server repeats, and with the proxy's name."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest
from twin_calls import TWINS, Call
from wire_server import (
    Script,
    ServerConnection,
    WireServer,
    http_response,
    respond_always,
)

import rxflow
from rxflow._config.secrets import Secret
from rxflow._config.settings import Settings
from rxflow._net.endpoint import Endpoint
from rxflow._net.failure_texts import FailureTexts
from rxflow._protocol.failures import Failure, FailureKind
from rxflow._protocol.pages import MalformedRow, Page
from rxflow._protocol.queries import RunQuery

pytestmark = pytest.mark.timeout(60)

RUN = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"
KEY = "pnu_canary0123456789"
USER_INFO = "ada:canary 0123'456789"


@pytest.fixture(params=TWINS)
def call(request: pytest.FixtureRequest) -> Call:
    """Call a method, or its async twin."""
    return TWINS[request.param]


def echo(status: str, encode: Callable[[str], str], kind: str = "application/json") -> Script:
    """Make a script whose responses repeat the secret that it received."""

    def script(connection: ServerConnection) -> None:
        while True:
            header = connection.read().headers["authorization"]
            body = json.dumps({"detail": f"Refused: {encode(header)}"}).encode()
            connection.send(http_response(body, status, Content_Type=kind, Location=header))

    return script


ENCODINGS: dict[str, Callable[[str], str]] = {
    "whole": str,
    "the token": lambda header: header.partition(" ")[2],
    "percent-encoded": lambda header: quote(header, safe=""),
    "base64": lambda header: base64.b64encode(header.encode()).decode(),
    "decoded": lambda header: base64.b64decode(header.partition(" ")[2] + "==").decode("latin-1"),
    "cut off": lambda header: "-" * 230 + header,
}
STATUSES = ["401 Unauthorized", "403 Forbidden", "422 Unprocessable", "400 Bad Request"]


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("credential", ["key", "auth string"])
def test_a_secret_that_a_server_repeats_is_in_no_error_or_log_line(
    call: Call, logged: list[str], credential: str, encoding: str, status: str
) -> None:
    """The errors of both twins and the log have no part of the credential."""
    with WireServer(*[echo(status, ENCODINGS[encoding])] * 9) as server:
        given: Any = {"api_key": KEY} if credential == "key" else {"auth_string": USER_INFO}
        client = rxflow.Client(api_url=server.url, backend="prefect3", **given)
        with pytest.raises(rxflow.RxflowError) as error:
            call(rxflow.FlowRunView, "from_flow_run_id", RUN, client=client)
        client.close()
    shown = f"{error.value} {error.value!r} {logged}"
    secret = base64.b64encode(USER_INFO.encode()).decode()
    for part in (KEY[:8], "canary", "0123", secret[:8], quote("canary 0123")):
        assert part not in shown


@pytest.mark.parametrize("status", ["404 Not Found", "407 Proxy", "502 Bad"])
def test_the_proxy_is_named_when_it_may_have_replied(
    monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    """An error by a reply names the proxy that it may come from, without its password."""
    for name in ("HTTP_PROXY", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    page = http_response(b"<p>user:canary17</p>", status, Content_Type="text/html")
    with WireServer(*[respond_always(page)] * 9) as proxy:
        monkeypatch.setenv("http_proxy", f"http://user:canary17@{proxy.address}")
        client = rxflow.Client(api_url="http://prefect.invalid/api", backend="prefect3")
        texts = FailureTexts(Endpoint(Settings(api_url="http://prefect.invalid/api"), None))
        channel = client.open_channel()
        failure = channel.send(RunQuery(RUN))
        channel.close()
        assert isinstance(failure, Failure)
        assert f"requests go through the proxy {proxy.address}" in failure.text
        assert "canary17" not in failure.text
        quoted = Failure(kind=FailureKind.SERVER, text="got 'user:canary17'")
        completed = texts.complete(quoted)
        assert isinstance(completed, Failure)
        assert completed.text.startswith("got '***'; requests go through the proxy")
        closed = Failure(kind=FailureKind.NETWORK, text="The connection was closed")
        assert texts.complete(closed) == closed


def test_rows_are_left_as_they_were_written() -> None:
    """Only the reason of a row that cannot be read is masked."""
    texts = FailureTexts(Endpoint(Settings(api_url="http://127.0.0.1/api", origin="a test"), None))
    page: Page[str] = Page(("canary",))
    assert texts.complete(page) is page
    settings = Settings(api_url="http://127.0.0.1/api", api_key=Secret(KEY))
    malformed = Page((KEY,), datetime(2026, 1, 1, tzinfo=UTC), (MalformedRow("1", f"got {KEY!r}"),))
    completed = FailureTexts(Endpoint(settings, None)).complete(malformed)
    assert isinstance(completed, Page)
    assert (completed.rows, completed.malformed[0].reason) == ((KEY,), "got '***'")
