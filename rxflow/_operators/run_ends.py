"""What a stream of events says of its runs: whether all are over, and which have fallen silent."""

from collections.abc import Iterable
from datetime import datetime

from rxflow._operators.run_states import state_of
from rxflow.events import Closed, FlowRunEvent, StateChange


class RunEnds:
    """Knows which runs of a stream are over."""

    def __init__(self, expected: Iterable[str] = ()) -> None:
        """Know of no run.

        Args:
            expected: Ids of the runs to wait for; those that events come of if empty.
        """
        self._expected = frozenset(expected)
        self._open = set(self._expected)
        self._seen: set[str] = set()
        self._newest: dict[str, datetime] = {}

    def goes_on(self, event: object) -> bool:
        """Take an event in.

        Returns:
            Whether there is still a run that is not over.
        """
        if isinstance(event, FlowRunEvent) and self._counts(event.flow_run_id):
            self._hear(event)
        return bool(self._open) or not self._seen

    def _counts(self, run_id: str) -> bool:
        return not self._expected or run_id in self._expected

    def _hear(self, event: FlowRunEvent) -> None:
        run_id = event.flow_run_id
        if run_id not in self._seen:
            self._seen.add(run_id)
            self._open.add(run_id)
        state = state_of(event)
        # States may be told late: an older one says nothing of what is.
        if isinstance(event, StateChange) and self._is_old(event):
            return
        if isinstance(event, Closed) or (state is not None and state.is_terminal):
            self._open.discard(run_id)
        elif state is not None:
            self._open.add(run_id)

    def _is_old(self, event: StateChange) -> bool:
        newest = self._newest.get(event.flow_run_id)
        if newest is not None and event.timestamp < newest:
            return True
        self._newest[event.flow_run_id] = event.timestamp
        return False
