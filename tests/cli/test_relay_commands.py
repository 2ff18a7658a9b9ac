"""`rxflow relay` as a program, and `rxflow watch --relay` in this process."""

import asyncio
import re
import signal
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from urllib.request import urlopen

import pytest
from click.testing import CliRunner, Result
from command_line import LIMIT, run_program, started_program
from msgspec.structs import replace
from relays import Relays, relays
from sample_events import RUN, TASK, line, seen, task_entered
from sample_events import closed as closed_at

import rxflow
from rxflow import FlowRunEvent
from rxflow._runtime.clocks import real_now
from rxflow.cli._commands.group import commands
from rxflow.cli._live_order import ordered
from rxflow.errors import BrokerFailed
from rxflow.relay import stream
from rxflow.relay._broker import Broker
from rxflow.relay._connect import open_broker
from rxflow.relay._memory import MemoryBroker, MemoryStore
from rxflow.relay._pages import pages_of
from rxflow.relay._service import Relay
from rxflow.testing import FakePrefect3

UNKNOWN = "00000000-0000-4000-8000-000000000004"

_names = count()


@pytest.fixture
def server() -> FakePrefect3:
    """Create a server with a run that is over."""
    return FakePrefect3()


@pytest.fixture
def running(server: FakePrefect3) -> Iterator[Relays]:
    """Start a broker without relays."""
    with relays(server) as started:
        yield started


def add_run(server: FakePrefect3, state: str = "FAILED") -> str:
    """Add a run that is over."""
    run_id = server.add_run(name="amber-fox", state="RUNNING")
    server.log(run_id, "120 orders read")
    server.log(run_id, "no price", level=30)
    server.set_state(run_id, state)
    return run_id


def watch(*arguments: str) -> Result:
    """Run ``rxflow watch`` in this process, without settings of a server."""
    return CliRunner(env={"PREFECT_API_URL": None}).invoke(commands, ["watch", *arguments])


def test_a_run_is_watched_by_its_log(running: Relays, server: FakePrefect3) -> None:
    """It is shown as by a watch of the server, and so is the status; no server is needed.

    That a report could be made is left out: it is read from the server.
    """
    run_id = add_run(server)
    running.start()
    done = watch("--relay", running.url, run_id)
    assert done.exit_code == 1, done.output
    assert "120 orders read" in done.stdout
    assert "Flow run 'amber-fox'" in done.stdout
    assert "rxflow report" not in done.stdout
    assert watch("--relay", running.url, run_id, "--exit-zero", "-q").exit_code == 0


def logged(*pages: list[FlowRunEvent]) -> str:
    """Store pages of a run's log, and return the URL of their broker."""
    name = f"commands-{next(_names)}"
    end, first, page_id = 0, 0, ""
    for events in pages:
        for page in pages_of(events, first=first, previous_id=page_id):
            position = MemoryStore.named(name).append(("default", RUN), page, end)
            assert position is not None
            end, first, page_id = position, first + page.count, page.page_id
    return f"memory://{name}"


TEMPLATE = ("-o", "template", "--template", "{{ task_name }}: {{ message }}")


@pytest.mark.parametrize("arguments", [(), TEMPLATE], ids=["text", "template"])
def test_lines_of_a_log_have_the_names_that_follow_them(arguments: tuple[str, ...]) -> None:
    """The states of a task run that is over are after its lines, perhaps in another page."""
    lines = [line(1, "2 orders have no price", task=TASK), line(2, "half done", task=TASK)]
    url = logged([seen(), *lines], [task_entered("Completed", 3), closed_at(4)])
    done = watch("--relay", url, RUN, *arguments)
    assert done.exit_code == 0, done.output
    assert "load-0: 2 orders have no price" in done.stdout
    assert "load-0: half done" in done.stdout


@pytest.mark.timeout(60)
def test_a_line_is_shown_without_a_further_event() -> None:
    """What is held to be in order is shown after some time, while the run logs nothing more."""
    now = real_now().utc
    url = logged([seen(), replace(line(message="alive"), timestamp=now, created=now)])
    with closing(rxflow.iterate(stream(url, RUN).pipe(ordered()))) as events:
        assert [next(events).kind, next(events).kind] == ["run-seen", "log"]


def test_lines_are_selected_from_a_log(running: Relays, server: FakePrefect3) -> None:
    """By their level, as of a recording; in any format."""
    run_id = add_run(server)
    running.start()
    done = watch("--relay", running.url, run_id, "--level", "warning", "-o", "raw")
    assert "no price" in done.stdout
    assert "orders" not in done.stdout


def test_a_log_that_does_not_end_is_left_at_the_time_limit(running: Relays) -> None:
    """The status is that of a time limit, and a sentence names the run."""
    done = watch("--relay", running.url, UNKNOWN, "--timeout", "0.3s", "-o", "raw")
    assert done.exit_code == 124, done.output
    back = f"rxflow watch {UNKNOWN} --relay {running.url} --workspace default --output raw"
    assert done.stderr.endswith(f"to come back: {back}\n")


def test_the_password_of_a_broker_is_not_shown(running: Relays) -> None:
    """Neither is its user; they are in the URL that was passed."""
    url = running.url.replace("//", "//reader:s3cret@")
    done = watch("--relay", url, UNKNOWN, "--timeout", "0.3s")
    assert f"--relay {running.url} " in done.stderr
    assert "s3cret" not in done.output


WRONG = {
    "two runs": ([UNKNOWN, UNKNOWN], "reads one run"),
    "none": ([], "reads one run"),
    "a name": (["amber-fox"], "neither the whole id of a run nor the URL"),
    "another page": ([f"https://prefect.example/flows/{UNKNOWN}"], "neither the whole id of"),
    "filters": (["--tag", "prod"], "without filters"),
    "tail": ([UNKNOWN, "--tail", "3"], "without --tail"),
    "a journal": ([UNKNOWN, "--journal", "nightly"], "without --journal"),
    "cancel": ([UNKNOWN, "--cancel-on-interrupt"], "without --cancel-on-interrupt"),
    "a server": ([UNKNOWN, "--api-url", "http://127.0.0.1:4200/api"], "--api-url names the server"),
    "a profile": ([UNKNOWN, "--profile", "prod"], "--profile names the server"),
}


@pytest.mark.parametrize(("arguments", "text"), WRONG.values(), ids=WRONG)
def test_what_a_log_cannot_give_is_refused(arguments: list[str], text: str) -> None:
    """The sentence says why."""
    done = watch("--relay", "memory://none", *arguments)
    assert done.exit_code == 2, done.output
    assert text in done.stderr


def test_a_workspace_without_a_relay_is_refused() -> None:
    """It would have no effect."""
    done = watch("--workspace", "prod", UNKNOWN)
    assert done.exit_code == 2
    assert "--relay" in done.stderr


def test_a_url_of_no_broker_is_refused() -> None:
    """By its status, as any wrong setting."""
    done = watch("--relay", "http://localhost", UNKNOWN)
    assert done.exit_code == 2, done.output
    assert "http://" in done.stderr


def test_a_relay_runs_until_it_is_stopped(server: FakePrefect3) -> None:
    """It serves its figures, says what it watches, and ends well by SIGTERM."""
    run_id = add_run(server)
    served = ["--metrics", "127.0.0.1:0"]
    with (
        server.serve() as url,
        started_program("relay", "memory://a", "--all", *served, PREFECT_API_URL=url) as relay,
    ):
        assert relay.stderr is not None
        first = relay.stderr.readline()
        address = re.search(r"http://[\d.:]+", first)
        assert address is not None, first
        assert "watches shards 0, 1, 2, 3, 4, 5, 6, 7 of 8" in relay.stderr.readline()
        with urlopen(f"{address[0]}/healthz", timeout=LIMIT) as reply:  # noqa: S310
            assert reply.read() == b"ok\n"
        text = ""
        while "rxflow_relay_events_total 0.0" in text or not text:
            with urlopen(f"{address[0]}/metrics", timeout=LIMIT) as reply:  # noqa: S310
                text = reply.read().decode()
        assert run_id
        relay.send_signal(signal.SIGTERM)
        rest = relay.stderr.read()
        assert relay.wait(LIMIT) == 0
        assert rest.endswith("rxflow: relay has stopped\n")


REFUSED = {
    "all and filters": (["memory://a", "--all", "--tag", "x"], "--all and filters"),
    "a short lease": (["memory://a", "--lease", "1ms"], "--lease is at least"),
    "a wrong address": (["memory://a", "--metrics", "9100"], "is not HOST:PORT"),
    "no broker": (["ftp://a"], "ftp://"),
    "a malformed filter": (["memory://a", "--deployment", ""], "--deployment"),
}


@pytest.mark.parametrize(("arguments", "text"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_command_line_of_a_relay_is_refused(arguments: list[str], text: str) -> None:
    """Before it does anything, with the status of a wrong use."""
    done = run_program("relay", *arguments, PREFECT_API_URL="http://fake.invalid/api")
    assert done.returncode == 2, done.stderr
    assert text in done.stderr


def test_a_relay_says_once_that_it_waits_for_its_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Again if the reason is another one, and then that it has reached the broker."""
    reasons = ["no reply", "no reply", "refused", "refused"]

    async def open_later(url: str, workspace: str) -> Broker:
        if reasons:
            raise BrokerFailed(reasons.pop(), is_away=True)
        return await open_broker(url, workspace)

    async def start(_: Relay, stop: asyncio.Event) -> None:
        stop.set()

    monkeypatch.setattr("rxflow.cli._relay._CONNECT_PAUSE", 0.0)
    monkeypatch.setattr("rxflow.cli._relay.open_broker", open_later)
    monkeypatch.setattr(Relay, "run", start)
    arguments = ["relay", "memory://later", "--api-url", "http://127.0.0.1:9/api"]
    done = CliRunner().invoke(commands, arguments)
    assert done.exit_code == 0, done.output
    assert done.stderr.splitlines() == [
        "rxflow: relay waits for its broker: refused",
        "rxflow: relay waits for its broker: no reply",
        "rxflow: relay has reached its broker",
        "rxflow: relay has stopped",
    ]


def test_a_relay_says_how_its_broker_may_lose_logs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a broker says when it is set up is in the output, before anything else."""

    async def set_up(_: MemoryBroker, **__: object) -> list[str]:
        return ["may lose logs: it evicts keys"]

    async def start(relay: Relay, stop: asyncio.Event) -> None:
        assert isinstance(relay.broker, MemoryBroker)
        stop.set()

    monkeypatch.setattr(MemoryBroker, "setup", set_up)
    monkeypatch.setattr(Relay, "run", start)
    arguments = ["relay", "memory://evicting", "--api-url", "http://127.0.0.1:9/api"]
    done = CliRunner().invoke(commands, arguments)
    assert done.exit_code == 0, done.output
    assert done.stderr.startswith("rxflow: relay may lose logs: it evicts keys\n")
