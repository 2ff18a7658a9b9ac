"""When runs that are not wanted any more leave a watch.

A reader that comes back soon costs nothing if its run is still watched. One that does not must not
keep a relay polling for a run that goes on for weeks.

Belongs here: which runs are due. Does not belong here: the watch (`_relayed_watch`).
"""

LEAVE_SECONDS = 300.0
"""Seconds without a want after which a run is left."""


class Departures:
    """The runs of one watch that are to leave it."""

    def __init__(self) -> None:
        """Begin with a watch without runs."""
        self._wanted: set[str] = set()
        self._wanted_at: dict[str, float] = {}  # when each run last was, in monotonic seconds

    def next_runs(self, wanted: set[str], now: float) -> set[str]:
        """Return the runs to leave now, as if they had been left.

        Args:
            wanted: The runs that are wanted.
            now: The time, in monotonic seconds.
        """
        self._wanted_at |= dict.fromkeys(wanted | self._wanted, now)
        self._wanted = wanted
        due = {run_id for run_id, at in self._wanted_at.items() if now - at >= LEAVE_SECONDS}
        for run_id in due:
            del self._wanted_at[run_id]
        return due

    def due_in(self, now: float) -> float | None:
        """Return in how many seconds more runs are due; None if all runs are wanted."""
        unwanted = self._wanted_at.keys() - self._wanted
        ends = (self._wanted_at[run_id] + LEAVE_SECONDS - now for run_id in unwanted)
        return min(ends, default=None)
