"""Watches in virtual time over runs that are found: by a filter, or as subflows."""

from collections.abc import Iterable
from functools import partial
from random import Random
from typing import Any

from simulated_world import SimulatedWatch, World

from rxflow._protocol.queries import RunsQuery
from rxflow._watching.run_tree_session import RunTreeSession
from rxflow._watching.runs_session import RunsSession
from rxflow._watching.watch_spec import EventSource, RunSelection, WatchSpec
from rxflow.events import AllClosed, Closed, FlowRunLog, StateChange

SOURCES = frozenset({EventSource.STATES, EventSource.LOGS, EventSource.NOTICES})


def spec_of(**options: Any) -> WatchSpec:
    """Build what is watched of each run."""
    return WatchSpec(**{"flow_run_id": "", "sources": SOURCES, "max_duration": None, **options})


class FoundRuns(SimulatedWatch):
    """A watch over some runs and those that are found.

    Attributes:
        ids: The ids of the runs that a test has added, by their names.
    """

    session: RunsSession

    def __init__(self, world: World, spec: WatchSpec, session: RunsSession) -> None:
        """Make a watch that has sent no query yet."""
        super().__init__(world, spec, session=session)
        self.ids: dict[str, str] = {}

    def of_run(self, name: str) -> list[Any]:
        """Return the events of one run, in order."""
        return [event for event in self.events if event.flow_run_id == self.ids[name]]

    def time_of(self, kind: type[Any], name: str) -> float:
        """Return when the first event of a kind was emitted of a run."""
        return next(
            at
            for at, event in self.emitted
            if isinstance(event, kind) and event.flow_run_id == self.ids[name]
        )

    def looks(self) -> list[tuple[float, RunsQuery]]:
        """Return the queries that look for runs, with their times."""
        return [
            (at, query)
            for at, query in self.sent
            if isinstance(query, RunsQuery) and not query.where.flow_run_ids
        ]

    def add(self, name: str) -> None:
        """Give a run to the watch, beside those that it finds."""
        self.session.add([self.ids[name]])

    def start(self, name: str, *, state: str = "RUNNING", parent: str = "", **row: Any) -> None:
        """Add a run now that logs a line, as a subflow if its parent is given by name."""
        if parent:
            row["parent"] = self.ids[parent]
        self.ids[name] = self.world.server.add_run(name=name, state=state, **row)
        self.world.server.log(self.ids[name], f"line of {name}")

    def start_at(self, seconds: float, name: str, **row: Any) -> None:
        """Add a run at a time."""
        self.world.at(seconds, partial(self.start, name, **row))

    def end_at(self, seconds: float, name: str, state: str = "COMPLETED") -> None:
        """Let a run end at a time."""
        self.world.at(seconds, lambda: self.world.server.set_state(self.ids[name], state))

    def check_each_row_once(self) -> None:
        """Check that each state and line of each run was emitted once, under its run."""
        server = self.world.server
        for name, run_id in self.ids.items():
            rows = [event for event in self.of_run(name) if isinstance(event, _Rows)]
            states = [state["id"] for state in server.states[run_id]]
            lines = [row["id"] for row in server.logs if row["flow_run_id"] == run_id]
            assert sorted(event.id for event in rows) == sorted([*states, *lines]), name
            assert isinstance(self.of_run(name)[-1], Closed), name


_Rows = (StateChange, FlowRunLog)


def tree_of(world: World, root: str, **options: Any) -> FoundRuns:
    """Watch a run and its subflows."""
    spec = spec_of(flow_run_id=root, **options)
    watched = FoundRuns(world, spec, RunTreeSession(spec, Random(0)))
    watched.ids["root"] = root
    return watched


def runs_of(world: World, ids: Iterable[str] = (), seed: int = 0, **options: Any) -> FoundRuns:
    """Watch some runs, and those that a selection finds.

    Args:
        world: Where they are.
        ids: The runs that are given.
        seed: That of the session's jitter.
        options: Those of `RunSelection` and of `WatchSpec`.
    """
    of_selection = {
        name: options.pop(name) for name in RunSelection.__struct_fields__ if name in options
    }
    spec = spec_of(**options)
    session = RunsSession(spec, Random(seed), RunSelection(**of_selection))
    session.add(ids)
    session.complete()
    return FoundRuns(world, spec, session)


def outcome_names(watched: FoundRuns) -> set[str | None]:
    """Return the names of the runs in the last event."""
    last = watched.events[-1]
    assert isinstance(last, AllClosed), last
    return {run.name for run in last.runs}
