"""Detects that a run which was over went on, and in which state.

Here is decided what counts as a reopening. What a reopening means for the end of the watch is up to
`lifecycle`, and the notice is worded in `run_notices`.
"""

from collections.abc import Iterable

from rxflow._models.states import State


class ReopeningDetector:
    """Finds each state by which a run left a terminal state, once.

    Attributes:
        latest: The state that the run entered last, as far as is known.
    """

    def __init__(self) -> None:
        """Start with no state received."""
        self.latest: State | None = None
        self._received: set[str] = set()
        self._began = False

    def load(self, received: Iterable[State], latest: State | None) -> None:
        """Go on after states that were received, and the last of which is known."""
        self.latest = latest
        self._received.update(state.id for state in received)
        self._began = latest is not None

    def receive(self, states: tuple[State, ...], current: State | None) -> tuple[State, ...]:
        """Receive what one tick read, and return the states that reopened the run.

        The row and the history are read one after the other, so each may be ahead of the other; a
        state counts as soon as either of them shows it. What the first tick reads is the past.

        Args:
            states: The states that are not recorded as delivered, sorted; none if states are not
                streamed.
            current: The state of the run's row, if it has one.
        """
        known = {state.id for state in states}
        if current is not None and current.id not in known:
            states = (*states, current)
        found = [state for state in states if self._is_reopening(state, current)]
        began, self._began = self._began, True
        return tuple(found) if began else ()

    def _is_reopening(self, state: State, current: State | None) -> bool:
        latest = self.latest
        if state.id in self._received:
            return False  # a replica that lags shows it again
        self._received.add(state.id)
        # A history that lagged behind the row may contain an earlier state only now. The state of
        # the row is the latest, whatever the clock of the process that set it.
        is_current = current is not None and state.id == current.id
        if latest is not None and state.order < latest.order and not is_current:
            return False
        self.latest = state
        return latest is not None and bool(latest.is_terminal) and not state.is_terminal
