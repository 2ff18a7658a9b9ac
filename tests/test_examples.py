"""The scripts in examples/, each as a process of its own that watches a fake server over HTTP.

A test is a story: it waits until the script has printed what happened so far, and then has the next
thing happen on the server. Two of the scripts meet a real server too, in `tests/docs`.
"""

import ast
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import httpx
import psutil
import pytest
from event_streams import event_stream, until_message

import rxflow
from rxflow.testing import FakePrefect3, VirtualTime

EXAMPLES = Path(__file__).parents[1] / "examples"

UNKNOWN = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(120),
    pytest.mark.usefixtures("interruptible"),
]


class Script:
    """A running example.

    Args:
        process: Its process, whose errors come with its output.
    """

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.output = ""

    def until(self, text: str) -> str:
        """Read until a line contains a text, and return the line."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
            if text in line:
                return line.rstrip("\n")
        pytest.fail(f"it ended without {text!r}:\n{self.output}")

    def end(self) -> int:
        """Read to the end, and return the exit status."""
        assert self.process.stdout is not None
        self.output += self.process.stdout.read()
        status = self.process.wait()
        assert "Traceback" not in self.output
        return status


class Stage:
    """A fake server, and the examples started against it.

    Its time stands still but for what a test lets pass, so that nothing is waited for.
    """

    def __init__(self, home: Path, processes: ExitStack) -> None:
        self.time = VirtualTime()
        self.server = FakePrefect3(clock=self.time)
        self.home = home
        self._processes = processes
        self._api_url = processes.enter_context(self.server.serve())

    def start(self, name: str, *arguments: object, api_url: str | None = None) -> Script:
        """Start an example.

        Args:
            name: The file.
            arguments: What stands behind it.
            api_url: Where it looks for the server; "" is nowhere.
        """
        # Unbuffered, output would come in time whether or not a script sees to that.
        foreign = ("PREFECT_", "RXFLOW_", "PYTHONUNBUFFERED")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
        url = self._api_url if api_url is None else api_url
        found = {"PREFECT_API_URL": url} if url else {}
        process = subprocess.Popen(
            [sys.executable, "-W", "error", EXAMPLES / name, *map(str, arguments)],
            env=inherited | {"PREFECT_HOME": str(self.home)} | found,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        self._processes.enter_context(_ended(process))
        return Script(process)

    def close(self, run_id: str, state: str = "COMPLETED") -> None:
        """Put a run into a terminal state, and let the drain's time pass."""
        self.server.set_state(run_id, state)
        self.time.wait(60)


@contextmanager
def _ended(process: "subprocess.Popen[str]") -> Iterator[None]:
    with process:
        try:
            yield
        finally:
            process.kill()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """Yield a stage; at its end no process is left."""
    with ExitStack() as processes:
        yield Stage(tmp_path, processes)


def promised(name: str) -> list[str]:
    """Return the lines that an example's docstring promises."""
    docstring = ast.get_docstring(ast.parse((EXAMPLES / name).read_text("utf-8"))) or ""
    return re.findall(r"(?m)^Expected: (.+)$", docstring)


def broken(name: str, script: Script) -> list[str]:
    """Return the promised lines that were not printed."""
    return [line for line in promised(name) if line not in script.output]


# -- what holds for all of them -----------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_each_example_is_documented_and_tested(path: Path) -> None:
    """Each example's docstring shows its command and its output, and this file tests it."""
    docstring = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    assert f"\n    python examples/{path.name}" in docstring
    assert promised(path.name)
    assert f'"{path.name}"' in Path(__file__).read_text("utf-8")


OF_A_RUN: dict[str, list[str]] = {
    "follow_and_exit.py": ["{run}"],
    "alert_with_context.py": ["{run}"],
    "merge_with_a_file_and_a_timer.py": ["{run}", "{file}"],
}
WITHOUT_A_RUN: dict[str, list[str]] = {
    "follow_deployment.py": ["report/nightly"],
    "failed_three_times.py": ["report"],
    "find_zombies.py": [],
    "serve_events.py": ["--port=0"],
}


def arguments(name: str, stage: Stage, run_id: str) -> list[str]:
    """Fill in an example's arguments."""
    file = stage.home / "some.log"
    file.touch()
    return [text.format(run=run_id, file=file) for text in (OF_A_RUN | WITHOUT_A_RUN)[name]]


@pytest.mark.parametrize("name", OF_A_RUN)
def test_an_unknown_run_is_reported(name: str, stage: Stage) -> None:
    """Without such a run on the server, the script prints the error and exits with 2."""
    script = stage.start(name, *arguments(name, stage, UNKNOWN))
    assert script.end() == 2
    assert UNKNOWN in script.output


@pytest.mark.parametrize("name", OF_A_RUN)
def test_a_malformed_id_is_reported(name: str, stage: Stage) -> None:
    """With a malformed id, the script prints the error and exits with 2."""
    script = stage.start(name, *arguments(name, stage, "amber-fox"))
    assert script.end() == 2
    assert "amber-fox" in script.output
    assert stage.server.requests == []


@pytest.mark.parametrize("name", OF_A_RUN | WITHOUT_A_RUN)
def test_a_missing_server_setting_is_reported(name: str, stage: Stage) -> None:
    """Without a configured server, the script says how to configure one and exits with 2."""
    script = stage.start(name, *arguments(name, stage, UNKNOWN), api_url="")
    assert script.end() == 2
    assert "PREFECT_API_URL" in script.output


@pytest.mark.parametrize("name", [*OF_A_RUN, "follow_deployment.py", "find_zombies.py"])
def test_ctrl_c_ends_it(name: str, stage: Stage) -> None:
    """An interrupt in the middle of a live run ends the script without a traceback."""
    run_id = stage.server.add_run(state="RUNNING")
    stage.server.add_deployment(flow="report", name="nightly")
    hold = stage.server.hold(lambda request: request.url.path.endswith("/logs/filter"))
    script = stage.start(name, *arguments(name, stage, run_id))
    hold.until_reached()
    script.process.send_signal(signal.SIGINT)
    assert script.end() == 130
    hold.until_left()


# -- each by itself -----------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "status"), [("COMPLETED", 0), ("FAILED", 1), ("CANCELLED", 1)])
def test_follow_and_exit(state: str, status: int, stage: Stage) -> None:
    """It prints a live run, and exits by its outcome."""
    run_id = stage.server.add_run()
    script = stage.start("follow_and_exit.py", run_id)
    script.until("Entered state Scheduled")
    stage.server.set_state(run_id, "RUNNING")
    script.until("Entered state Running")
    stage.server.log(run_id, "not for everybody", level=10)
    stage.server.log(run_id, "120 orders read")
    script.until("120 orders read")
    stage.close(run_id, state)
    assert script.end() == status
    assert f"Entered state {state.capitalize()}" in script.output
    assert "not for everybody" not in script.output
    assert state != "COMPLETED" or broken("follow_and_exit.py", script) == []


def test_follow_a_run_that_is_deleted(stage: Stage) -> None:
    """A run that is deleted while it is followed gives exit status 1."""
    run_id = stage.server.add_run(state="RUNNING")
    script = stage.start("follow_and_exit.py", run_id)
    script.until("Entered state Running")
    stage.server.delete_run(run_id)
    assert script.end() == 1


@pytest.mark.parametrize(("state", "status"), [("COMPLETED", 0), ("CRASHED", 1)])
def test_follow_deployment(state: str, status: int, stage: Stage) -> None:
    """It starts one run, prints it live, and exits by its outcome."""
    started: list[str] = []
    stage.server.add_deployment(flow="my report", name="nightly", on_run=started.append)
    script = stage.start("follow_deployment.py", "my report/nightly")
    line = script.until("Started flow run")
    (run_id,) = started
    assert run_id in line
    script.until("Entered state Scheduled")
    stage.server.set_state(run_id, "RUNNING")
    script.until("Entered state Running")
    stage.close(run_id, state)
    assert script.end() == status
    assert started == [run_id]
    assert state != "COMPLETED" or broken("follow_deployment.py", script) == []


@pytest.mark.parametrize("name", ["report/none", "none/nightly", "nightly"])
def test_follow_an_unknown_deployment(name: str, stage: Stage) -> None:
    """An unknown deployment is reported in a sentence, and the exit status is 2."""
    stage.server.add_deployment(flow="report", name="nightly")
    script = stage.start("follow_deployment.py", name)
    assert script.end() == 2
    assert f"no deployment {name!r}" in script.output
    assert stage.server.runs == {}


def test_alert_with_context(stage: Stage) -> None:
    """A burst of errors is one alert, with the 20 lines before the last of them."""
    run_id = stage.server.add_run(state="RUNNING")
    for number in range(30):
        stage.server.log(run_id, f"order {number}")
    stage.server.log(run_id, "2 orders have no price", level=30)
    stage.server.log(run_id, "the first try failed", level=40)
    stage.server.log(run_id, "not for everybody", level=10)
    stage.server.log(run_id, " ")
    stage.server.log(run_id, "the mail was not sent", level=40)
    script = stage.start("alert_with_context.py", run_id)
    script.until("ALERT: the mail was not sent")
    script.until("the first try failed")
    stage.close(run_id, "FAILED")
    script.until("ALERT: Entered state Failed")
    assert script.end() == 0
    first, second = script.output.split("ALERT: ")[1:]
    assert [line[13:] for line in first.splitlines()[1:]] == [
        *(f"order {number}" for number in range(12, 30)),
        "2 orders have no price",
        "the first try failed",
    ]
    assert second.splitlines()[-1].endswith("the mail was not sent")
    assert broken("alert_with_context.py", script) == []


def test_merge_with_a_file_and_a_timer(stage: Stage) -> None:
    """Each of the three is printed as it happens, half a line of the file only when it is whole."""
    run_id = stage.server.add_run(state="RUNNING")
    path = stage.home / "loader.log"
    path.write_text("from yesterday\n")
    name = "merge_with_a_file_and_a_timer.py"
    script = stage.start(name, run_id, path, "--every", 0.6)
    script.until("run:  Entered state Running")
    with path.open("a", encoding="utf-8") as file:
        file.write("120 rows loa")
        file.flush()
        # One of these may be from before. Between two of them the script looks at the file.
        for _ in range(3):
            script.until("still running")
        file.write("ded\nand ☃\n")
        file.flush()
        script.until("file: 120 rows loaded")
        script.until("file: and ☃")
        stage.server.log(run_id, "that will do")
        script.until("run:  that will do")
    stage.close(run_id)
    assert script.end() == 0
    assert "from yesterday" not in script.output
    assert broken(name, script) == []


def test_merge_starts_no_thread(stage: Stage) -> None:
    """All three sources run in the thread of the loop."""
    run_id = stage.server.add_run(state="RUNNING")
    name = "merge_with_a_file_and_a_timer.py"
    script = stage.start(name, *arguments(name, stage, run_id), "--every=0.1")
    script.until("still running")
    assert psutil.Process(script.process.pid).num_threads() == 1
    stage.close(run_id)
    assert script.end() == 0


def test_merge_with_a_missing_file(stage: Stage) -> None:
    """An unreadable file is reported in a sentence, and the exit status is 2."""
    script = stage.start("merge_with_a_file_and_a_timer.py", UNKNOWN, stage.home / "none.log")
    assert script.end() == 2
    assert "none.log" in script.output


def _fails_at(stage: Stage, *minutes: float, flow: str = "report", state: str = "FAILED") -> None:
    """Add a run of a flow that fails, for each of some minutes from now."""
    for minute in minutes:
        run_id = stage.server.add_run(flow=flow)
        stage.server.at(minute * 60 - 30, partial(stage.server.set_state, run_id, "RUNNING"))
        stage.server.at(minute * 60, partial(stage.server.set_state, run_id, state))


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [
        ((10, 40, 69), ["3 failures within 1:00:00: 2026-01-01, 00:10, 00:40, 01:09"]),
        ((10, 40, 71), []),
        ((10, 20), []),
        ((), []),
        (
            (300, 10, 310, 20, 320, 30, 330),
            [
                "3 failures within 1:00:00: 2026-01-01, 00:10, 00:20, 00:30",
                "3 failures within 1:00:00: 2026-01-01, 05:00, 05:10, 05:20",
                "4 failures within 1:00:00: 2026-01-01, 05:00, 05:10, 05:20, 05:30",
            ],
        ),
    ],
    ids=["within", "apart", "two", "none", "twice"],
)
def test_failed_three_times(minutes: tuple[int, ...], expected: list[str], stage: Stage) -> None:
    """Failures count by their times, whichever run's history comes first."""
    _fails_at(stage, *minutes)
    _fails_at(stage, 15, 25, 305, flow="another")
    _fails_at(stage, 15, 25, 305, state="COMPLETED")
    stage.time.wait(86_400)
    script = stage.start("failed_three_times.py", "report")
    assert script.end() == (1 if expected else 0)
    assert script.output.splitlines() == expected
    assert not expected or broken("failed_three_times.py", script) == []


def test_find_zombies(stage: Stage) -> None:
    """A silent run is reported; active runs and ended runs are not."""
    zombie = stage.server.add_run(name="zombie", state="RUNNING")
    stage.server.log(zombie, "the last that was heard of it")
    alive = stage.server.add_run(name="alive", state="RUNNING")
    ended = stage.server.add_run(name="ended", state="RUNNING")
    stage.server.set_state(ended, "COMPLETED")
    stage.server.add_run(name="not yet")

    def live(request: httpx.Request) -> None:
        if request.url.path.endswith(f"/flow_runs/{alive}"):
            stage.server.log(alive)

    stage.server.intercept = live
    script = stage.start("find_zombies.py", "--silence", 3)
    script.until("Listening to 2 running flow runs")
    assert script.end() == 1
    reported = [line for line in script.output.splitlines() if "No event" in line]
    assert len(reported) == 1
    assert "'zombie'" in reported[0]
    assert zombie in reported[0]
    assert broken("find_zombies.py", script) == []


def test_no_zombies(stage: Stage) -> None:
    """Without running runs it ends at once, with exit status 0."""
    stage.server.add_run(name="not yet")
    script = stage.start("find_zombies.py", "--silence", 3600)
    assert script.end() == 0
    assert "Listening to 0 running flow runs" in script.output


# -- the service --------------------------------------------------------------------------------


@pytest.fixture
def service(stage: Stage) -> Script:
    """Yield the running service."""
    script = stage.start("serve_events.py", "--port=0")
    script.until("Uvicorn running on")
    return script


@pytest.fixture
def browser(service: Script) -> Iterator[httpx.Client]:
    """Yield a browser at the service's address."""
    (url,) = re.findall(r"http://127\.0\.0\.1:\d+", service.output)
    with httpx.Client(base_url=url, trust_env=False, timeout=60, follow_redirects=True) as http:
        yield http


def stop(service: Script) -> None:
    """Stop the service as Ctrl-C does."""
    service.process.send_signal(signal.SIGINT)
    assert service.end() == 0


def test_serve_events(stage: Stage, service: Script, browser: httpx.Client) -> None:
    """A browser finds a run from the first page on, and receives it live, from first to last."""
    run_id = stage.server.add_run(state="RUNNING")
    runs = browser.get("/")
    assert str(runs.url).endswith("/flow-runs/")
    assert f'href="{run_id}"' in runs.text
    with event_stream(browser, f"/flow-runs/{run_id}/events") as frames:
        received = until_message(frames, "Entered state Running")
        stage.server.log(run_id, "one\ntwo \N{SNOWMAN}")
        received += until_message(frames, "one\ntwo \N{SNOWMAN}")
        stage.close(run_id)
        received += frames
    assert isinstance(received[0].event, rxflow.RunSeen)
    assert isinstance(received[-1].event, rxflow.Closed)
    stop(service)
    assert broken("serve_events.py", service) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["int", "term"])
def test_a_signal_stops_the_service_during_a_stream(
    number: signal.Signals, stage: Stage, service: Script, browser: httpx.Client
) -> None:
    """Under plain uvicorn a live stream ends at shutdown, and does not keep the service running."""
    run_id = stage.server.add_run(state="RUNNING")
    with event_stream(browser, f"/flow-runs/{run_id}/events") as frames:
        until_message(frames, "Entered state Running")
        service.process.send_signal(number)
        assert not any(isinstance(frame.event, rxflow.Closed) for frame in frames)
    assert service.end() == {signal.SIGINT: 0, signal.SIGTERM: -signal.SIGTERM}[number]
    assert "ERROR" not in service.output
