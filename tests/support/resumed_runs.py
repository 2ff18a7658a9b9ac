"""Runs that are over, and watches of many runs that go on from one directory."""

from collections import defaultdict
from pathlib import Path
from typing import Any, ClassVar

from interrupted_watches import Key, keys

from rxflow import FlowRunEvent, FlowRunsStream, watch_flow_runs
from rxflow.testing import FakePrefect3


class ResumedRuns:
    """A server in real time with runs that are over, and watches of them with one directory.

    Attributes:
        path: The directory.
        server: The server.
        runs: The ids of the runs.
    """

    argument: ClassVar[str]
    """The argument of a watch that takes the directory."""

    def __init__(self, path: Path, *, runs: int = 3, lines: int = 3) -> None:
        """Add the runs."""
        self.path = path
        self.server = FakePrefect3()
        self.runs = [self.add_run(lines) for _ in range(runs)]

    def add_run(self, lines: int = 3, **options: Any) -> str:
        """Add a run that is over."""
        run = self.server.add_run(state="RUNNING", **options)
        for number in range(lines):
            self.server.log(run, f"line {number}")
        self.server.set_state(run, "COMPLETED")
        return run

    def watch(self, ids: Any = None, **options: Any) -> FlowRunsStream:
        """Return a watch that goes on from the directory."""
        options = {self.argument: self.path, "drain": 0, **options}
        return watch_flow_runs(ids or self.runs, client=self.server.client(), **options)

    def found(self) -> FlowRunsStream:
        """Return a watch of the runs that have a tag, which goes on from the directory."""
        options: dict[str, Any] = {self.argument: self.path}
        return watch_flow_runs(
            tags=["nightly"],
            discover=True,
            until="done",
            drain=0,
            client=self.server.client(),
            **options,
        )

    def whole(self) -> list[FlowRunEvent]:
        """Return the events of a watch that begins anew."""
        return list(watch_flow_runs(self.runs, drain=0, client=self.server.client()))


def add_family(server: FakePrefect3) -> list[str]:
    """Add a run that is over, with a subflow that has one; return their ids."""
    runs = [server.add_run(state="RUNNING", name="parent")]
    for name in ("child", "grandchild"):
        runs.append(server.add_run(state="RUNNING", name=name, parent=runs[-1]))
    for run in runs:
        server.log(run, "line")
        server.set_state(run, "COMPLETED")
    return runs


def by_run(events: list[FlowRunEvent]) -> dict[str, list[FlowRunEvent]]:
    """Return events that name a run, by their runs."""
    own: defaultdict[str, list[FlowRunEvent]] = defaultdict(list)
    for event in events:
        if event.flow_run_id:
            own[event.flow_run_id].append(event)
    return dict(own)


def keys_by_run(events: list[FlowRunEvent]) -> dict[str, list[Key]]:
    """Return the kinds and ids of events that name a run, by their runs."""
    return {run: keys(own) for run, own in by_run(events).items()}
