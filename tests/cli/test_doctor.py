"""``rxflow doctor`` as a program: what it finds on servers of all kinds, and what it says to do."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest
from command_line import run_program

from rxflow.cli._finding_lines import finding_lines
from rxflow.cli._findings import Finding, Grade
from rxflow.testing import FakePrefect1, FakePrefect3

needs_websockets = pytest.mark.skipif(
    find_spec("websockets") is None, reason="websockets, an extra, is not installed"
)

NO_URL = "http://127.0.0.1:9/api"


def findings(*arguments: str, **environment: str) -> tuple[int, dict[str, str]]:
    """Run the command; return its status, and the text of each finding by its subject."""
    done = run_program("doctor", *arguments, **environment)
    assert (done.stderr, "Traceback" in done.stdout) == ("", False)
    found: dict[str, str] = {}
    subject = ""
    for line in done.stdout.splitlines():
        mark, own, text = line[:9].strip(), line[9:20].strip(), line[20:]
        if own:
            subject = own
            found[subject] = f"{mark}: {text}"
        else:
            found[subject] += f"\n{text}"
    return done.returncode, found


def later(minutes: int) -> Callable[[], datetime]:
    """A clock that is ahead."""
    return lambda: datetime.now(UTC) + timedelta(minutes=minutes)  # noqa: TID251 - of a server


@needs_websockets
def test_a_server_that_is_well_has_no_problem() -> None:
    """Each finding is shown with what it is about."""
    server = FakePrefect3()
    server.announces = {"events", "logs"}
    run_id = server.add_run(state="RUNNING")

    def change() -> None:
        server.set_state(run_id, "RUNNING")
        server.log(run_id)

    for tenth in range(1, 600):
        server.at(tenth / 10, change)
    with server.serve() as url:
        status, found = findings("--api-url", url)
    assert status == 0
    assert found.pop("program").startswith("ok: rxflow ")
    assert found.pop("reachable").startswith("ok: the API replies after ")
    assert found == {
        "settings": f"ok: {url}, from --api-url",
        "profile": "ok: none is read, since the URL is from --api-url",
        "version": "ok: Prefect 3.8.8",
        "auth": "ok: the API needs no key, and none is sent",
        "clock": "ok: the server's clock and this machine's agree to two seconds",
        "page size": "ok: up to 200 rows",
        "websocket": "ok: states are announced",
        "log push": "ok: log lines are announced",
    }


@needs_websockets
def test_what_could_be_better_is_a_note() -> None:
    """A clock that differs, a small page, and websockets that are silent or refused."""
    server = FakePrefect3(clock=later(minutes=180), page_limit=50)
    run_id = server.add_run(state="RUNNING")

    def change_silently() -> None:
        server.change_run(run_id, state_id=str(uuid.uuid4()))

    for tenth in range(1, 600):
        server.at(tenth / 10, change_silently)
    with server.serve() as url:
        status, found = findings("--api-url", url)
    assert status == 0
    assert found["clock"].startswith("note: the server's clock is 3 h 00 min ahead of this")
    assert "to do: synchronise the clocks" in found["clock"]
    assert found["page size"].startswith("note: up to 50 rows\nto do: set PREFECT_SERVER_API_")
    assert found["websocket"].startswith("note: it is open and silent: states came meanwhile")
    assert "PREFECT_SERVER_EVENTS_STREAM_OUT_ENABLED=true" in found["websocket"]
    assert found["log push"].startswith(f"note: The websocket of {url} (from --api-url) cannot be")
    assert "log lines are polled for, and none is lost" in found["log push"]


@needs_websockets
def test_an_open_websocket_of_an_idle_server_is_no_note() -> None:
    """What is not seen is said."""
    with FakePrefect3().serve() as url:
        _, found = findings("--api-url", url)
    assert found["websocket"] == (
        "ok: it is open; no states came in 3 s that could have been announced"
    )


def test_a_prefect_1_is_checked_too() -> None:
    """As far as it has what is checked."""
    with FakePrefect1().serve() as url:
        status, found = findings("--api-url", url)
    assert status == 0
    assert found["version"] == "ok: Prefect 1, whose API does not say its version"
    assert found["websocket"] == "ok: a Prefect 1 has none; changes are polled for"


def test_an_old_version_is_a_problem() -> None:
    """And a version that is hidden a note."""
    with FakePrefect3(version="2.20.1").serve() as url:
        status, found = findings("--api-url", url)
    assert status == 6
    assert found["version"].startswith("problem: Prefect 2.20.1, which is not supported\nto do: ")
    assert "clock" not in found


def refused(_: httpx.Request) -> httpx.Response:
    """Refuse a request."""
    return httpx.Response(401, json={"detail": "Unauthorized"})


def page_of_a_proxy(_: httpx.Request) -> httpx.Response:
    """Reply as a proxy does."""
    return httpx.Response(200, html="<html>Sign in</html>")


FAILING = {
    "key": (refused, 4, "auth", "set PREFECT_API_KEY for Prefect Cloud"),
    "no API": (page_of_a_proxy, 6, "reachable", "that of a self-hosted server ends in /api"),
}


@pytest.mark.parametrize(("reply", "status", "subject", "advice"), FAILING.values(), ids=FAILING)
def test_a_server_that_refuses_is_a_problem(
    reply: Callable[[httpx.Request], httpx.Response], status: int, subject: str, advice: str
) -> None:
    """The status is that of a watch, and the key is not shown."""
    server = FakePrefect3()
    server.intercept = reply
    with server.serve() as url:
        ended, found = findings(PREFECT_API_URL=url, PREFECT_API_KEY="pnu_s3cret")
    assert ended == status
    assert found[subject].startswith("problem: ")
    assert advice in found[subject]
    assert "s3cret" not in str(found)


NOT_REFUSED = "ok: the key from PREFECT_API_KEY in the environment is not refused"
AUTHORISED = {
    "needed": (401, "ok: the API accepts the key from PREFECT_API_KEY in the environment"),
    "not needed": (
        None,
        f"{NOT_REFUSED}; the API accepts requests without it, too",
    ),
    "not known": (503, NOT_REFUSED),
}


@pytest.mark.parametrize(("status", "text"), AUTHORISED.values(), ids=AUTHORISED)
def test_a_key_is_accepted_where_requests_without_it_are_not(status: int | None, text: str) -> None:
    """One request without it shows that; no more is said than it has shown."""
    server = FakePrefect3()

    def reply(request: httpx.Request) -> httpx.Response | None:
        if status is None or request.headers.get("authorization") == "Bearer pnu_s3cret":
            return None
        return httpx.Response(status, json={"detail": "without a key"})

    server.intercept = reply
    with server.serve() as url:
        ended, found = findings(PREFECT_API_URL=url, PREFECT_API_KEY="pnu_s3cret")
    assert (ended, found["auth"]) == (0, text)


def test_a_server_that_is_not_there_is_a_problem() -> None:
    """The advice is to start it."""
    status, found = findings("--api-url", NO_URL)
    assert status == 6
    assert found["reachable"].startswith(f"problem: No process listens at {NO_URL} (from --api-")
    assert "`prefect server start`" in found["reachable"]


PROFILES = """
active = "here"
[profiles.here]
PREFECT_API_URL = "{url}"
PREFECT_API_KEY = "pnu_s3cret"
[profiles.idle]
"""


def test_the_profile_that_counts_is_named(tmp_path: Path) -> None:
    """Or hidden, or without a URL."""
    file = tmp_path / "profiles.toml"
    where = f"profile 'here' of {file}"
    with FakePrefect1().serve() as url:
        file.write_text(PROFILES.format(url=url), encoding="utf-8")
        home = {"PREFECT_HOME": str(tmp_path)}
        _, active = findings("--backend", "prefect3", **home)
        _, hidden = findings(**home, PREFECT_API_URL=NO_URL)
        _, idle = findings(**home, PREFECT_API_URL=NO_URL, PREFECT_PROFILE="idle")
        status, none = findings(**home, PREFECT_PROFILE="idle")
        wrong, unknown = findings("--profile", "there", **home)
    assert active["settings"] == f"ok: {url}, from PREFECT_API_URL in {where}"
    assert active["profile"] == f"ok: the URL is that of {where}"
    assert active["reachable"].startswith("problem: The server is not a Prefect 3")
    assert hidden["profile"].startswith(f"note: the URL of {where} is hidden by PREFECT_API_URL in")
    assert idle["profile"] == f"ok: profile 'idle' of {file}: not set"
    assert (status, wrong) == (2, 2)
    assert none["settings"].startswith("problem: No URL of a Prefect API was found")
    assert "--api-url: not given" in none["settings"]
    assert unknown["settings"].startswith("problem: --profile names the profile 'there'")


def test_a_finding_is_wrapped_and_escaped() -> None:
    """Text of a server moves no cursor, and words are not cut."""
    finding = Finding("version", Grade.NOTE, "one two three\x1b[2J four", "do this and that")
    lines = [
        line.replace("\x1b[33m", "").replace("\x1b[0m", "") for line in finding_lines(finding, 40)
    ]
    assert lines == [
        "note     version    one two three\\x1b[2J",
        "                    four",
        "                    to do: do this and",
        "                    that",
    ]
    (whole, advice) = finding_lines(finding, None)
    assert whole.endswith("one two three\\x1b[2J four")
    assert advice.endswith("to do: do this and that")
