"""Relays and readers as processes, over a real broker, while all of them are stopped and killed."""

import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import relay_consumer
from broker_servers import BrokerServer
from command_line import LIMIT, environment

from rxflow import Closed, FlowRunEvent, FlowRunLog, Notice, StateChange, decode_event
from rxflow.relay import stream
from rxflow.testing import FakePrefect3

LINES = 240
PAUSE = 0.04  # seconds between two lines


class Processes:
    """The processes of a test; at its end all are killed."""

    def __init__(self, stack: ExitStack, server: BrokerServer, workspace: str, api: str) -> None:
        self._stack = stack
        self.url = server.url()
        self.workspace = workspace
        self._api = api

    def relay(self) -> "subprocess.Popen[bytes]":
        """Start a relay."""
        options = ["--workspace", self.workspace, "--lease", "1s"]
        return self._start("-m", "rxflow", "relay", self.url, *options, PREFECT_API_URL=self._api)

    def consumer(self, run_id: str, path: Path) -> "subprocess.Popen[bytes]":
        """Start a program that keeps the events of a run."""
        return self._start(relay_consumer.__file__, self.url, self.workspace, run_id, str(path))

    def _start(self, *arguments: str, **more: str) -> "subprocess.Popen[bytes]":
        process = self._stack.enter_context(
            subprocess.Popen([sys.executable, *arguments], env=environment(**more))
        )
        self._stack.callback(process.kill)
        return process


@contextmanager
def started(server: BrokerServer, prefect: FakePrefect3, workspace: str) -> Iterator[Processes]:
    """Serve Prefect's API, and kill all processes at the end."""
    with prefect.serve() as api, ExitStack() as stack:
        yield Processes(stack, server, workspace, api)


def rows_of(events: list[FlowRunEvent]) -> list[FlowRunEvent]:
    """Return the events without the notices of readers."""
    return [event for event in events if not isinstance(event, Notice)]


def test_nothing_is_lost_or_repeated_while_everything_is_killed(
    own_server: BrokerServer, workspace: str, tmp_path: Path
) -> None:
    """Three readers get the same events: one early, one killed and resumed, and one at the end."""
    prefect = FakePrefect3()
    run_id = prefect.add_run(state="RUNNING")
    early: list[FlowRunEvent] = []
    pause = threading.Event()
    with started(own_server, prefect, workspace) as processes:
        relays = [processes.relay(), processes.relay()]
        path = tmp_path / "events"
        consumer = processes.consumer(run_id, path)
        reader = threading.Thread(
            target=lambda: early.extend(stream(processes.url, run_id, workspace=workspace))
        )
        reader.start()
        for number in range(LINES):
            prefect.log(run_id, f"line {number}")
            match number:
                case 40 | 150:
                    consumer.kill()
                    consumer.wait()
                    consumer = processes.consumer(run_id, path)
                case 60:
                    relays[0].send_signal(signal.SIGSTOP)
                case 120:
                    relays[0].send_signal(signal.SIGCONT)
                    relays[1].kill()
                case 170:
                    relays.append(processes.relay())
                    relays[0].send_signal(signal.SIGSTOP)
                case 200:
                    own_server.kill()
                    relays[0].send_signal(signal.SIGCONT)
                case 215:
                    own_server.start()
                case _:
                    pass
            pause.wait(PAUSE)
        prefect.set_state(run_id, "COMPLETED")
        assert consumer.wait(LIMIT) == 0
        reader.join(LIMIT)
        assert not reader.is_alive()
        late = [*stream(processes.url, run_id, workspace=workspace)]
        for each in (relays[0], relays[-1]):
            each.terminate()
            assert each.wait(LIMIT) == 0
    kept = [decode_event(event) for _, event in relay_consumer.kept(path)]
    assert rows_of(early) == rows_of(late) == kept
    assert isinstance(kept[-1], Closed)
    assert kept[-1].verified
    ids = [event.id for event in kept if isinstance(event, StateChange | FlowRunLog)]
    lines = [row["id"] for row in prefect.logs]
    assert Counter(ids) == Counter([*lines, *(state["id"] for state in prefect.states[run_id])])


def test_a_relay_that_is_stopped_is_taken_over_from_at_once(
    server: BrokerServer, workspace: str
) -> None:
    """SIGTERM hands its share over, before its lease would run out."""
    prefect = FakePrefect3()
    run_id = prefect.add_run(state="RUNNING")
    with started(server, prefect, workspace) as processes:
        first = processes.relay()
        events = iter(stream(processes.url, run_id, workspace=workspace))
        assert next(events).kind == "run-seen"
        processes.relay()
        first.terminate()
        assert first.wait(LIMIT) == 0
        prefect.log(run_id, "after it")
        prefect.set_state(run_id, "COMPLETED")
        assert [event.kind for event in events][-1] == "closed"
