"""One run's phases, and the only place that decides that a run is over or was deleted.

    LISTING ──── all rows that were there at the start are emitted ───> WATCHING
    LISTING, WATCHING ─── the run is in a terminal state ─────────────> DRAINING
    DRAINING ─── the run entered a state that is not terminal ────────> WATCHING
    DRAINING ─── no news for long enough, and a proof ────────────────> ENDED
    any ──────── the run was deleted ─────────────────────────────────> ENDED

The last log rows reach a server after the terminal state does (0.02 to 3.9 s after it, measured
with Prefect 3.8.8), so a terminal run is drained: its stream ends once nothing new was stored for a
while. That time is measured by the server's clock, so that a run which ended long ago is closed at
once; where the server does not send its time, by the watcher's monotonic clock.

Reading the run and emitting events do not belong here.
"""

import math
from datetime import datetime
from enum import Enum

from rxflow._models.entities import BackendName, FlowRun
from rxflow._models.times import Now
from rxflow._protocol.retry import Outage

DRAINS = {BackendName.PREFECT_3: 5.0, BackendName.PREFECT_1: 10.0}
"""Seconds without a new row or state before a terminal run is closed, unless the user sets them.

Each process of Prefect 1 stores its log rows every 5 s, up to 5.1 s late as measured with 1.4.1.
"""

LAST_LINE_WAIT = 30.0
"""Seconds without news before a run whose last own line has not come is closed.

A server with little time to spare stored the lines of a run 6 to 16 s after its end.
"""

NOT_FOUND_REPLIES = 3
NOT_FOUND_SECONDS = 5.0
"""A run is deleted after that many "not found" replies in a row over at least that many seconds.

One such reply may come from a replica that lags behind.
"""

# Prefect's log handler retries after 2, 4, 8, 16 and 32 s: at 2, 6, 14, 30 and 62 s. The next
# try after an outage of d seconds comes at most d + 2 seconds later, and never after 62 s.
_RETRY_GROWTH = 1.3
_RETRY_SLACK = 4.0
_RETRY_LONGEST = 75.0

_PROOF_ATTEMPTS = 3


class Phase(Enum):
    """A phase of a watched run; the module's docstring has the transitions."""

    LISTING = "listing"
    WATCHING = "watching"
    DRAINING = "draining"
    ENDED = "ended"


class Lifecycle:
    """Decides that the watch of one run is over."""

    def __init__(self, *, drain: float | None = None) -> None:
        """Start in LISTING.

        Args:
            drain: Seconds without news before a terminal run is closed; those of `DRAINS` if None.
        """
        self.phase = Phase.LISTING
        self._given_drain = drain
        self._drain = DRAINS[BackendName.PREFECT_3] if drain is None else drain
        self._last_news: datetime | None = None  # by the server's clock
        self._last_news_read: float | None = None  # by the watcher's monotonic clock
        self._not_before = -math.inf
        self._proof_attempts = 0
        self._not_found: list[float] = []

    def set_backend(self, backend: BackendName) -> None:
        """Use the drain of this kind of server, unless the user set one."""
        if self._given_drain is None:
            self._drain = DRAINS[backend]

    def observe(
        self, run: FlowRun, newest_stored: datetime | None, *, caught_up: bool, now: Now
    ) -> None:
        """Apply what a poll read of the run.

        Args:
            run: The run's row.
            newest_stored: When the newest known log row or task run was stored, by the server's
                clock.
            caught_up: Whether all rows that the server had were read.
            now: The time.
        """
        # The row's own time is the server's; a state's time is that of the process that set it.
        news = run.updated if newest_stored is None else max(newest_stored, run.updated)
        if self._last_news_read is None or news != self._last_news:
            self._last_news, self._last_news_read = news, now.mono
        if not caught_up or self.phase is Phase.ENDED:
            return
        self.phase = Phase.DRAINING if run.is_terminal else Phase.WATCHING
        if self.phase is Phase.WATCHING:
            self._proof_attempts = 0

    def apply_outage(self, outage: Outage) -> None:
        """Give writers time to send what they could not send during an outage that has ended."""
        lasted = outage.ended - outage.began
        extra = min(_RETRY_LONGEST, _RETRY_GROWTH * lasted + _RETRY_SLACK)
        until = outage.ended + self._drain + extra
        self._not_before = max(self._not_before, until)

    def drained_in(
        self, server_time: datetime | None, now: Now, *, awaits_last_line: bool = False
    ) -> float:
        """Return the seconds until the run may be closed if no news comes; 0 if it may be now.

        Args:
            server_time: The server's time, as far as it is known.
            now: The time.
            awaits_last_line: Whether the run's own last line is still to come. It is not awaited
                where the user set the drain.
        """
        drain = self._drain
        if awaits_last_line and self._given_drain is None:
            drain = max(drain, LAST_LINE_WAIT)
        read = now.mono if self._last_news_read is None else self._last_news_read
        ours = theirs = read + drain - now.mono
        if server_time is not None and self._last_news is not None:
            theirs = drain - (server_time - self._last_news).total_seconds()
        if theirs <= -_RETRY_LONGEST:
            return 0.0  # ended so long ago that no writer is still retrying
        return max(0.0, min(ours, theirs), self._not_before - now.mono)

    def receive_proof(self, *, proven: bool, provable: bool = True) -> bool:
        """Receive the result of a check that no row is missing.

        Args:
            proven: Whether the check succeeded.
            provable: Whether the server supports the queries that the check needs.

        Returns:
            Whether the watch is over: at once if the rows are proven or not provable, else after
            three attempts, since a table whose rows keep vanishing can never be proven.
        """
        self._proof_attempts += 1
        if proven or not provable or self._proof_attempts >= _PROOF_ATTEMPTS:
            self.phase = Phase.ENDED
        return self.phase is Phase.ENDED

    def receive_found(self) -> None:
        """Receive that a whole poll of the run succeeded, so that it is not deleted."""
        self._not_found.clear()

    def receive_not_found(self, now: Now) -> float | None:
        """Receive a reply that a run which was read before does not exist.

        Returns:
            Seconds until the next query for the run, or None if the run is deleted.
        """
        self._not_found.append(now.mono)
        if (
            len(self._not_found) < NOT_FOUND_REPLIES
            or now.mono - self._not_found[0] < NOT_FOUND_SECONDS
        ):
            return NOT_FOUND_SECONDS / (NOT_FOUND_REPLIES - 1)
        self.phase = Phase.ENDED
        return None
