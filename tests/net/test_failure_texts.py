"""Texts of failures: without the secrets that a server repeats, and with the proxy's name."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
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
from rxflow._config.settings import Settings, load_settings
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


URL = "http://prefect.test/api"

SENT: dict[str, tuple[dict[str, str], dict[str, Any], str]] = {
    "no key for a URL that was passed": (
        {},
        {"api_url": URL},
        (
            "no key was sent: for a URL from the argument api_url profiles and other files are not "
            "read; pass api_key=..., or set RXFLOW_API_KEY or PREFECT_API_KEY; "
            f"the URL {URL} is from the argument api_url"
        ),
    ),
    "no key anywhere": (
        {"PREFECT_API_URL": URL},
        {},
        (
            "no key was sent, since none was found; the URL "
            f"{URL} is from PREFECT_API_URL in the environment"
        ),
    ),
    "a key that was passed": ({}, {"api_url": URL, "api_key": KEY}, "the key from the argument"),
    "a key of the environment": (
        {"PREFECT_API_KEY": KEY},
        {"api_url": URL},
        "the key from PREFECT_API_KEY in the environment was sent; the URL",
    ),
    "an auth string": (
        {"RXFLOW_API_AUTH_STRING": USER_INFO},
        {"api_url": URL},
        "the auth string from RXFLOW_API_AUTH_STRING in the environment was sent",
    ),
    "a header": (
        {},
        {"api_url": URL, "headers": {"Authorization": f"Bearer {KEY}"}},
        "the Authorization header among the custom headers was sent",
    ),
}


@pytest.mark.parametrize(("environ", "arguments", "text"), SENT.values(), ids=SENT)
def test_a_refusal_names_the_url_and_the_credential_by_their_origins(
    environ: dict[str, str], arguments: dict[str, Any], text: str, tmp_path: Path
) -> None:
    """It says what was sent where, and has no secret."""
    settings = load_settings(**arguments, environ=environ, cwd=tmp_path, home=tmp_path)
    refused = Failure(kind=FailureKind.AUTH, text="The server refused access (HTTP 401)")
    completed = FailureTexts(Endpoint(settings, None)).complete(refused)
    assert isinstance(completed, Failure)
    assert completed.text.startswith(f"The server refused access (HTTP 401); {text}")
    assert KEY not in completed.text
    assert "canary" not in completed.text


def test_settings_made_by_hand_have_a_credential_without_an_origin() -> None:
    """Then the text says that one was sent."""
    settings = Settings(api_url=URL, api_key=Secret(KEY))
    completed = FailureTexts(Endpoint(settings, None)).complete(
        Failure(kind=FailureKind.AUTH, text="No")
    )
    assert isinstance(completed, Failure)
    assert completed.text.startswith("No; the credential in the settings was sent; the URL")


def test_another_api_is_named_by_its_url() -> None:
    """The text says where the URL was found, without a word on credentials."""
    failure = Failure(kind=FailureKind.NOT_AN_API, text="It is none")
    completed = FailureTexts(Endpoint(Settings(api_url=URL, origin="a test"), None)).complete(
        failure
    )
    assert isinstance(completed, Failure)
    assert completed.text == f"It is none; the URL {URL} is from a test"


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
