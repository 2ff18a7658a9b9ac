"""A machine that decides when all runs of a stream are over."""

from collections.abc import Iterable
from datetime import datetime

from rxflow._operators.run_states import reported_state
from rxflow.events import Closed, FlowRunEvent, FlowRunLog, StateChange


class RunEnds:
    """Records which runs of a stream are over."""

    def __init__(self, expected: Iterable[str] = ()) -> None:
        """Create a machine that has received no event.

        Args:
            expected: The ids of the runs to wait for; if empty, those that have events.
        """
        self._expected = frozenset(expected)
        self._open = set(self._expected)
        self._seen: set[str] = set()
        self._newest: dict[str, datetime] = {}

    def receive(self, event: object) -> bool:
        """Record an event.

        Returns:
            Whether a run is not over yet, or none was seen.
        """
        # Most events are further log lines of a run, which change nothing: 1 us less for each.
        is_known_line = isinstance(event, FlowRunLog) and event.flow_run_id in self._seen
        if not is_known_line and isinstance(event, FlowRunEvent):
            self._record(event)
        return bool(self._open) or not self._seen

    def _record(self, event: FlowRunEvent) -> None:
        run_id = event.flow_run_id
        if not run_id:  # the event is about a watch over many runs
            return
        if self._expected and run_id not in self._expected:
            return
        if run_id not in self._seen:
            self._seen.add(run_id)
            self._open.add(run_id)
        state = reported_state(event)
        # A state change may be late; an older state is not the current one.
        if isinstance(event, StateChange) and self._is_outdated(event):
            return
        if isinstance(event, Closed) or (state is not None and state.is_terminal):
            self._open.discard(run_id)
        elif state is not None:
            self._open.add(run_id)

    def _is_outdated(self, event: StateChange) -> bool:
        newest = self._newest.get(event.flow_run_id)
        if newest is not None and event.timestamp < newest:
            return True
        self._newest[event.flow_run_id] = event.timestamp
        return False
