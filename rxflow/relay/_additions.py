"""When runs that are wanted are added to a watch, and once more after they were closed.

A run that is over may go on, which nothing announces. So a closed run is looked at again when a
reader says that it is wanted; but not more often than every `LOOK_PAUSE`, however many readers do.

Belongs here: which runs are due. Does not belong here: the watch (`_relayed_watch`).
"""

from collections.abc import Callable

LOOK_PAUSE = 1.0
"""Seconds between two looks at a closed run; a reader waits `LOOK_SECONDS` for one."""


class Additions:
    """What was added to one watch."""

    def __init__(self, is_watched: Callable[[str], bool]) -> None:
        """Begin with a watch without runs.

        Args:
            is_watched: Whether the watch has a run that is not closed.
        """
        self._is_watched = is_watched
        self._added: dict[str, float] = {}  # when each run was, in monotonic seconds
        self._waiting: set[str] = set()  # closed runs that are to be looked at again

    def next_runs(self, wanted: set[str], said: set[str], now: float) -> set[str]:
        """Return the runs to add now, as if they had been.

        Args:
            wanted: The runs that are wanted.
            said: Those of which this was said since the last call.
            now: The time, in monotonic seconds.
        """
        self._added = {run_id: at for run_id, at in self._added.items() if run_id in wanted}
        again = (self._waiting | said) & self._added.keys()
        closed = {run_id for run_id in again if not self._is_watched(run_id)}
        due = {run_id for run_id in closed if now - self._added[run_id] >= LOOK_PAUSE}
        self._waiting = closed - due
        due |= wanted - self._added.keys()
        self._added |= dict.fromkeys(due, now)
        return due

    def due_in(self, now: float) -> float | None:
        """Return in how many seconds more runs are due; None if that needs another want."""
        times = (self._added[run_id] + LOOK_PAUSE - now for run_id in self._waiting)
        return min(times, default=None)
