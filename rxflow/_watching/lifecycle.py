"""One run's phases, and the only place that decides that a watch is over.

    LISTING ──── all that was there at the start is told ───> WATCHING
    LISTING, WATCHING ─── the run is in a terminal state ───> DRAINING
    DRAINING ─── the run was put into another state ────────> WATCHING
    DRAINING ─── quiet for long enough, and proven ─────────> ENDED
    any ──────── the run is gone ───────────────────────────> ENDED

Last lines reach a server after the terminal state does (0.02 to 3.9 s after, as measured with
Prefect 3.8.8), so a run is drained: its stream ends when nothing new was stored for a while.
"Nothing new" is measured in the server's clock, so that a run which ended long ago ends at once;
where the server does not tell its time, in the watcher's monotonic one.
"""

import math
from datetime import datetime
from enum import Enum

from rxflow._models.entities import BackendName, FlowRun
from rxflow._models.times import Now
from rxflow._protocol.retry import Outage

DRAINS = {BackendName.PREFECT_3: 5.0, BackendName.PREFECT_1: 10.0}
"""Seconds without a new row or state before a run that is over is closed, unless they are given.

Each process of Prefect 1 stores its lines every 5 s, up to 5.1 s late as measured with 1.4.1.
"""

# Prefect's log handler tries again after 2, 4, 8, 16 and 32 s: at 2, 6, 14, 30 and 62 s. The next
# try after an outage of d seconds comes at most d + 2 seconds later, and never after 62 s.
_RETRY_GROWTH = 1.3
_RETRY_SLACK = 4.0
_RETRY_LONGEST = 75.0

_PROOFS = 3


class Phase(Enum):
    """Where in its life a watched run is; the module's docstring has the transitions."""

    LISTING = "listing"
    WATCHING = "watching"
    DRAINING = "draining"
    ENDED = "ended"


class Lifecycle:
    """Decides that a watch over one run is over."""

    def __init__(self, *, drain: float | None = None) -> None:
        """Start in LISTING.

        Args:
            drain: Seconds without news before a run that is over is closed; by `DRAINS` if None.
        """
        self.phase = Phase.LISTING
        self._given_drain = drain
        self._drain = DRAINS[BackendName.PREFECT_3] if drain is None else drain
        self._news: datetime | None = None  # by the server's clock
        self._news_seen: float | None = None  # by ours
        self._not_before = -math.inf
        self._proofs = 0

    def meet(self, backend: BackendName) -> None:
        """Take in what the server is."""
        if self._given_drain is None:
            self._drain = DRAINS[backend]

    def saw(self, run: FlowRun, stored: datetime | None, *, caught_up: bool, now: Now) -> bool:
        """Take in what a poll found.

        Args:
            run: The run's row.
            stored: When the newest log row known was stored, by the server's clock.
            caught_up: Whether all rows that the server had were read.
            now: The time.

        Returns:
            Whether the run was over before, and is no longer.
        """
        # The row's own time is the server's; a state's may be that of whoever set it.
        news = run.updated if stored is None else max(stored, run.updated)
        if self._news_seen is None or news != self._news:
            self._news, self._news_seen = news, now.mono
        if not caught_up or self.phase is Phase.ENDED:
            return False
        was, self.phase = self.phase, Phase.DRAINING if run.is_terminal else Phase.WATCHING
        reopened = was is Phase.DRAINING and self.phase is Phase.WATCHING
        self._proofs = 0 if reopened else self._proofs
        return reopened

    def recovered(self, outage: Outage) -> None:
        """Take in that the server answers again, after no good answer for a while."""
        lasted = outage.ended - outage.began
        extra = min(_RETRY_LONGEST, _RETRY_GROWTH * lasted + _RETRY_SLACK)
        until = outage.ended + self._drain + extra
        self._not_before = max(self._not_before, until)

    def quiet_in(self, server_time: datetime | None, now: Now) -> float:
        """Seconds until the run may be closed if nothing new comes; 0 if it may be now."""
        seen = now.mono if self._news_seen is None else self._news_seen
        ours = theirs = seen + self._drain - now.mono
        if server_time is not None and self._news is not None:
            theirs = self._drain - (server_time - self._news).total_seconds()
        if theirs <= -_RETRY_LONGEST:
            return 0.0  # so long over that no writer can still be trying
        return max(0.0, min(ours, theirs), self._not_before - now.mono)

    def end(self, *, proven: bool, provable: bool = True) -> bool:
        """Take in the outcome of a proof that nothing is missing.

        Args:
            proven: Whether it succeeded.
            provable: Whether the server takes the questions that it needs.

        Returns:
            Whether the watch is over: at once with a proof or where there can be none, else after
            three tries, since a table whose rows go on vanishing never gives one.
        """
        self._proofs += 1
        if proven or not provable or self._proofs >= _PROOFS:
            self.phase = Phase.ENDED
        return self.phase is Phase.ENDED

    def vanish(self) -> None:
        """Take in that the run is gone from the server."""
        self.phase = Phase.ENDED
