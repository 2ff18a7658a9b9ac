"""Relays and readers as processes, over a real broker, while all of them are stopped and killed."""

import signal
import threading
from pathlib import Path

from broker_logs import set_up
from broker_servers import BrokerServer
from command_line import LIMIT
from relay_processes import check_sequences, started

from rxflow import FlowRunEvent
from rxflow.relay import stream
from rxflow.testing import FakePrefect3

LINES = 240
PAUSE = 0.04  # seconds between two lines


def test_nothing_is_lost_or_repeated_while_everything_is_killed(
    own_server: BrokerServer, workspace: str, tmp_path: Path
) -> None:
    """Three readers get the same events: one early, one killed and resumed, and one at the end."""
    prefect = FakePrefect3()
    run_id = prefect.add_run(state="RUNNING")
    early: list[FlowRunEvent] = []
    pause = threading.Event()
    set_up(own_server.url(), workspace)
    with started(own_server.url(), prefect, workspace) as processes:
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
    check_sequences(prefect, run_id, path, early, late)


def test_a_relay_that_is_stopped_is_taken_over_from_at_once(
    server: BrokerServer, workspace: str
) -> None:
    """SIGTERM hands its share over, before its lease would run out."""
    prefect = FakePrefect3()
    run_id = prefect.add_run(state="RUNNING")
    set_up(server.url(), workspace)
    with started(server.url(), prefect, workspace) as processes:
        first = processes.relay()
        events = iter(stream(processes.url, run_id, workspace=workspace))
        assert next(events).kind == "run-seen"
        processes.relay()
        first.terminate()
        assert first.wait(LIMIT) == 0
        prefect.log(run_id, "after it")
        prefect.set_state(run_id, "COMPLETED")
        assert [event.kind for event in events][-1] == "closed"
