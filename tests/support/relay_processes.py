"""Relays and readers as processes over a real broker, and the events that they are to have."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import relay_consumer
from command_line import environment

from rxflow import Closed, FlowRunEvent, FlowRunLog, Notice, StateChange, decode_event
from rxflow.testing import FakePrefect3


class Processes:
    """The processes of a test; at its end all are killed.

    Attributes:
        url: The broker's URL.
        workspace: The workspace.
    """

    def __init__(self, stack: ExitStack, url: str, workspace: str, api: str) -> None:
        """Start without any.

        Args:
            stack: Where they are ended.
            url: The broker's URL.
            workspace: The workspace.
            api: The URL of Prefect's API.
        """
        self._stack = stack
        self.url = url
        self.workspace = workspace
        self._api = api

    def relay(self, *options: str) -> "subprocess.Popen[bytes]":
        """Start a relay."""
        options = ("--workspace", self.workspace, "--lease", "1s", *options)
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
def started(url: str, prefect: FakePrefect3, workspace: str) -> Iterator[Processes]:
    """Serve Prefect's API, and kill all processes at the end."""
    with prefect.serve() as api, ExitStack() as stack:
        yield Processes(stack, url, workspace, api)


def check_sequences(
    prefect: FakePrefect3,
    run_id: str,
    path: Path,
    early: list[FlowRunEvent],
    late: list[FlowRunEvent],
) -> None:
    """Check that three readers have the same events, which are all rows of the server, each once.

    Args:
        prefect: The server.
        run_id: The run, the only one with log lines.
        path: The file of a consumer, whose process has ended.
        early: What a reader has that was there from the beginning.
        late: What a reader has that came at the end.
    """
    kept = [decode_event(event) for _, event in relay_consumer.kept(path)]
    assert _without_notices(early) == _without_notices(late) == kept
    assert isinstance(kept[-1], Closed)
    assert kept[-1].verified
    ids = [event.id for event in kept if isinstance(event, StateChange | FlowRunLog)]
    lines = [row["id"] for row in prefect.logs]
    assert Counter(ids) == Counter([*lines, *(state["id"] for state in prefect.states[run_id])])


def _without_notices(events: list[FlowRunEvent]) -> list[FlowRunEvent]:
    """Return the events without the notices of readers."""
    return [event for event in events if not isinstance(event, Notice)]
