"""Leaving a watch of a live run: Ctrl-C, the end of a script, `dispose` and `take`."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from promises.shared import messages
from reactivex import operators as ops
from virtual_world import Recording, identity

import rxflow
from rxflow.cli._prefect_server import PrefectServer

if TYPE_CHECKING:
    from tests.real.conftest import ApiWriter, Until


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
    print("remaining:", [thread for thread in others if thread.is_alive()], flush=True)
    raise
"""


SUBSCRIBE = """
import sys, threading
import rxflow
emitted = threading.Event()
rxflow.watch_flow_run(sys.argv[1]).subscribe(lambda event: emitted.set())
assert emitted.wait(60)
"""


@contextmanager
def script(server: PrefectServer, text: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a script with the server's environment, as a user's program."""
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


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_ends_an_iteration(server: PrefectServer, writer: ApiWriter) -> None:
    """SIGINT raises KeyboardInterrupt out of the loop, and leaves no thread."""
    run = writer.new_run(state={"type": "RUNNING"})
    with script(server, ITERATE, run) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if "Running" in line)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert output.splitlines()[-1] == "remaining: []"
    assert errors.splitlines()[-1] == "KeyboardInterrupt"
    assert "Exception ignored" not in errors
    assert process.returncode == -signal.SIGINT


def test_a_script_ends_with_a_live_subscription(server: PrefectServer, writer: ApiWriter) -> None:
    """A program whose main thread ends exits at once and silently, whatever its subscriptions."""
    run = writer.new_run(state={"type": "RUNNING"})
    with script(server, SUBSCRIBE, run) as process:
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, output, errors) == (0, "", "")


def test_a_disposed_subscription_emits_nothing(
    client: rxflow.Client, writer: ApiWriter, until: Until
) -> None:
    """Nothing is emitted after `dispose`, and the threads end."""
    run = writer.new_run(state={"type": "RUNNING"})
    before = {*threading.enumerate()}
    recording: Recording[rxflow.FlowRunEvent] = Recording()
    recording.subscribe_to(rxflow.watch_flow_run(run, client=client))
    until(lambda: recording.values)
    recording.dispose()
    until(lambda: {*threading.enumerate()} <= before)
    count = len(recording.values)
    writer.post_logs(run, ["after dispose"])
    other = rxflow.watch_flow_run(run, client=client).logs.pipe(ops.take(1))
    assert messages(other) == ["after dispose"]
    assert (len(recording.values), recording.ended) == (count, None)


def test_take_completes_a_blocking_stream(client: rxflow.Client, writer: ApiWriter) -> None:
    """`take` completes a blocking stream of a live run in the caller's thread."""
    run = writer.new_run(state={"type": "RUNNING"})
    before = {*threading.enumerate()}
    first = list(rxflow.watch_flow_run(run, client=client).pipe(ops.take(2)))
    assert [identity(event)[0] for event in first] == ["run-seen", "state"]
    assert {*threading.enumerate()} <= before
