"""The last line that a run logs itself: whether it is still to come.

When a flow ends, Prefect 3's engine sets the terminal state and then logs ``Finished in state …``.
Its log handler sends that line behind all others, so while it is missing, others may be, too. A
server that is slow to store lines can take longer than the quiet time in which late rows are
awaited. Here is decided whether to wait for the line; for how long, in `lifecycle`.
"""

import logging
from collections.abc import Iterable, Sequence
from datetime import timedelta
from itertools import takewhile

from rxflow._models.entities import FlowRun
from rxflow._models.states import StateType
from rxflow._models.times import shifted
from rxflow._watching.watch_spec import EventSource, WatchSpec
from rxflow.events import FlowRunLog

_LOGGER = "prefect.flow_runs"
_TEXT = "Finished in state "
_LEVELS = {StateType.COMPLETED: logging.INFO, StateType.FAILED: logging.ERROR}
_SKEW = timedelta(minutes=1)
"""How much earlier the writer's clock may date the line than the server dated the state."""

_MOST_EMITTED = 10  # of a run that was over several times, such lines at its last ends


class LastLine:
    """Looks for the last line of one run."""

    def __init__(self, spec: WatchSpec) -> None:
        """Start with no line read.

        Args:
            spec: What is watched; a line that it filters out is not awaited.
        """
        self._spec = spec
        self._found_after: str | None = None  # the id of the state that the line followed
        self._emitted: list[FlowRunLog] = []  # by an earlier watch, such lines alone

    def record_emitted(self, rows: Iterable[FlowRunLog]) -> None:
        """Record log rows that an earlier watch emitted, maybe before the state they follow."""
        self._emitted = [*self._emitted, *filter(_is_last, rows)][-_MOST_EMITTED:]

    @property
    def emitted(self) -> tuple[FlowRunLog, ...]:
        """The rows that were recorded as emitted, as far as they are of use."""
        return tuple(self._emitted)

    def receive(self, run: FlowRun | None, rows: Sequence[FlowRunLog]) -> None:
        """Receive log rows that were read.

        Args:
            run: The run's row; None if it was not read yet.
            rows: The rows, sorted by time.
        """
        if run is None or not self.is_awaited(run) or run.state is None:
            return
        rows = (*self._emitted, *rows) if self._emitted else rows
        earliest = shifted(run.state.timestamp, -_SKEW)
        # From the end, so that of a long history only the last page is looked at.
        recent = takewhile(lambda row: row.timestamp >= earliest, reversed(rows))
        if any(map(_is_last, recent)):
            self._found_after = run.state_id

    def is_awaited(self, run: FlowRun) -> bool:
        """Whether the line is still to come, and would be read."""
        state, spec = run.state, self._spec
        if state is None or state.state_details is None or run.state_id == self._found_after:
            return False
        # A state that is set from outside, as by a person in the UI, has no transition.
        is_logged = state.state_details.transition_id is not None and state.type in _LEVELS
        return (
            is_logged
            and EventSource.LOGS in spec.sources
            and spec.level <= _LEVELS[StateType(state.type)]
            and (spec.since is None or spec.since <= state.timestamp)
        )


def _is_last(row: FlowRunLog) -> bool:
    return row.name == _LOGGER and row.message.startswith(_TEXT)
