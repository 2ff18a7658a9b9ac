"""The events that a consumer has acknowledged, and when a checkpoint of them is written.

Belongs here: one second, one thousand events, and what follows from a disk that is full. Does not
belong here: when an event is acknowledged (`checkpointed_session`).
"""

import math
import threading
from collections.abc import Sequence

from rxflow._forks import register
from rxflow._models.times import Now
from rxflow._own_log import log
from rxflow._runtime.checkpoint_file import CheckpointFile
from rxflow._watching.emitted_state import EmittedState
from rxflow._watching.log_reader import RowLimit
from rxflow._watching.run_watch import RunWatch
from rxflow._watching.watch_spec import WatchSpec
from rxflow.errors import CheckpointFailed
from rxflow.events import FlowRunEvent

_MOST_UNSAVED = 1000  # events
_LONGEST_UNSAVED = 1.0  # seconds
_RETRY_AFTER = 10.0  # seconds after a checkpoint could not be written


class AcknowledgedEvents:
    """What is known of the events that were acknowledged.

    `close` may be called by any thread.

    Attributes:
        is_closed: Whether nothing is acknowledged any more.
    """

    def __init__(self, spec: WatchSpec, file: CheckpointFile) -> None:
        """Start without an event.

        Args:
            spec: What is watched.
            file: The checkpoint, which is closed with this.
        """
        self._file = file
        self._known = RunWatch(spec, RowLimit())
        self._new: list[FlowRunEvent] = []  # that are not in `_known`
        self._save_at = math.inf  # in monotonic seconds; infinity if all is saved
        self._not_before = -math.inf
        self._fails = False
        self.is_closed = False
        self._lock = threading.RLock()
        register(self)

    def reset_after_fork(self) -> None:
        """Leave all to the parent."""
        self._lock = threading.RLock()
        self.is_closed = True

    def load(self, state: EmittedState) -> None:
        """Begin with those of a checkpoint."""
        self._known.load_emitted(state)

    def add(self, events: Sequence[FlowRunEvent], now: Now) -> str | None:
        """Add events; otherwise as `save_if_due`."""
        with self._lock:
            if self.is_closed:
                return None
            self._new += events
            if self._save_at == math.inf:
                self._save_at = max(now.mono, self._not_before)
            if len(self._new) >= _MOST_UNSAVED:
                self._fold()  # so that what cannot be saved takes no more room
                if not self._fails:
                    self._save_at = now.mono
            return self.save_if_due(now)

    def save_if_due(self, now: Now) -> str | None:
        """Write a checkpoint if it is time.

        Returns:
            Why it cannot be written, once until it can be again; else None.
        """
        with self._lock:
            return self.save(now) if self._save_at <= now.mono else None

    def save(self, now: Now) -> str | None:
        """Write a checkpoint now; otherwise as `save_if_due`."""
        with self._lock:
            if self.is_closed:
                return None
            self._fold()
            failed, self._save_at = self._fails, math.inf
            self._not_before = now.mono + _LONGEST_UNSAVED
            try:
                self._file.save(self._known.save_emitted())
            except CheckpointFailed as error:
                self._fails, self._save_at = True, now.mono + _RETRY_AFTER
                return None if failed else str(error)
            self._fails = False
            return None

    def due_in(self, now: Now) -> float | None:
        """Return the seconds until a checkpoint is to be written; None for never."""
        return None if self._save_at == math.inf else max(0.0, self._save_at - now.mono)

    def close(self) -> None:
        """Write the last checkpoint, and close the file. May be called twice."""
        with self._lock:
            if self.is_closed:
                return
            self.is_closed = True
            try:
                if self._save_at < math.inf:
                    self._fold()
                    self._file.save(self._known.save_emitted())
            except CheckpointFailed as error:
                log("WARNING", "The last events of a watch come again: {}", error)
            finally:
                self._file.close()

    def _fold(self) -> None:
        if self._new:
            self._known.record_emitted(self._new)
            self._new = []
