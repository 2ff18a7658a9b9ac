"""The events that a consumer has acknowledged, and when a checkpoint of them is written.

What is written is the state of each run of which events were acknowledged since its last one. Once
a second, and after a thousand events, that is done for up to 32 runs, those first whose news wait
longest: so the time that a disk takes, some 0.1 s, does not grow with the number of runs.

Belongs here: one second, one thousand events, and what follows from a disk that is full. Does not
belong here: when an event of a loop or an observer is acknowledged (`checkpointed_session`), and
which of those that were handed on wait for `ack` (`unacknowledged_events`).
"""

import math
import threading
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby, islice

from msgspec.structs import replace

from rxflow._forks import inherited_watch, register
from rxflow._models.times import Now
from rxflow._own_log import log
from rxflow._runtime.checkpoints import Checkpoints
from rxflow._runtime.unacknowledged_events import UnacknowledgedEvents
from rxflow._watching.emitted_state import EmittedState
from rxflow._watching.log_reader import RowLimit
from rxflow._watching.run_roots import root_of_events, without_roots
from rxflow._watching.run_watch import RunWatch
from rxflow._watching.watch_spec import WatchSpec
from rxflow.errors import CheckpointFailed
from rxflow.events import Closed, FlowRunEvent

_MOST_UNSAVED = 1000  # events
_LONGEST_UNSAVED = 1.0  # seconds
_MOST_SAVED = 32  # runs at once; a checkpoint takes some 4 ms, most of them on the disk
_RETRY_AFTER = 10.0  # seconds after a checkpoint could not be written


class AcknowledgedEvents:
    """What is known of the events that were acknowledged, of each run.

    `acknowledge_to` and `close` may be called by any thread.

    Attributes:
        is_closed: Whether the watch has ended, so that only `acknowledge_to` has an effect.
    """

    def __init__(self, spec: WatchSpec, files: Checkpoints, clock: Callable[[], Now]) -> None:
        """Start without an event.

        Args:
            spec: What is watched; of each run, if there are several.
            files: The checkpoints, which are closed with this.
            clock: Reads the time. Callable from any thread.
        """
        self._spec = spec
        self._files = files
        self._clock = clock
        self._runs: dict[str, _KnownRun] = {}
        self._new: list[FlowRunEvent] = []  # that are in none of them
        self._unsaved: dict[str, _KnownRun] = {}  # those with news, in the order of these
        self._save_at = math.inf  # in monotonic seconds; infinity if all is saved
        self._not_before = -math.inf
        self._fails = False
        self._failure: str | None = None  # that was not taken yet
        self._waiting = UnacknowledgedEvents()
        self._is_inherited = False
        self.is_closed = False
        self._lock = threading.RLock()
        register(self)

    def reset_after_fork(self) -> None:
        """Leave all to the parent."""
        self._lock = threading.RLock()
        self._is_inherited = self.is_closed = True

    def load(self, flow_run_id: str, state: EmittedState) -> None:
        """Begin with the events of a run that its checkpoint has."""
        with self._lock:
            self._runs[flow_run_id] = _KnownRun(replace(self._spec, flow_run_id=flow_run_id))
            self._runs[flow_run_id].load(state)

    # -- events that wait for `ack` -------------------------------------------------------------

    @property
    def waiting_count(self) -> int:
        """How many events were handed on and wait until they are acknowledged."""
        return len(self._waiting)

    def add_waiting(self, events: Sequence[FlowRunEvent]) -> None:
        """Add events that are handed on, and will be acknowledged later."""
        with self._lock:
            self._waiting.add(events)

    def add_known(self, events: Iterable[FlowRunEvent]) -> None:
        """Add events that are handed on, and were acknowledged in an earlier watch."""
        with self._lock:
            self._waiting.add_past(events)

    def acknowledge_to(self, last: FlowRunEvent) -> None:
        """Acknowledge the events that wait, up to one of them, which is included.

        Once the watch has ended, a checkpoint is written at once.

        Raises:
            ValueError: The event was not handed on.
            CheckpointFailed: The watch has ended, and no checkpoint can be written.
            WatchInherited: The watch is that of the process from which this one was forked.
        """
        with self._lock:
            if self._is_inherited:
                raise inherited_watch()
            events = self._waiting.take(last)
            if not self.is_closed:
                self.add(events, self._clock())
            elif events or self._unsaved:
                self._new += events
                self._save_late()

    # -- events that were acknowledged ----------------------------------------------------------

    def add(self, events: Sequence[FlowRunEvent], now: Now) -> None:
        """Add events, and write a checkpoint if it is time."""
        with self._lock:
            if self.is_closed:
                return
            self._new += events
            if events and self._save_at == math.inf:
                self._save_at = max(now.mono, self._not_before)
            if len(self._new) >= _MOST_UNSAVED:
                self._fold()  # so that what cannot be saved takes no more room
                if not self._fails:
                    self._save_at = now.mono
            self.save_if_due(now)

    def save_if_due(self, now: Now) -> None:
        """Write a checkpoint if it is time."""
        with self._lock:
            if self._save_at <= now.mono:
                self._save(now, most=_MOST_SAVED)

    def save(self, now: Now) -> None:
        """Write a checkpoint of all events now."""
        with self._lock:
            self._save(now)

    def take_failure(self) -> str | None:
        """Return why a checkpoint cannot be written, once until it can be again."""
        with self._lock:
            failure, self._failure = self._failure, None
            return failure

    def due_in(self, now: Now) -> float | None:
        """Return the seconds until a checkpoint is to be written; None for never."""
        return None if self._save_at == math.inf else max(0.0, self._save_at - now.mono)

    def close(self) -> None:
        """Write the last checkpoint, and close the files. May be called twice."""
        with self._lock:
            if self.is_closed:
                return
            self.is_closed = True
            try:
                self._write()
            except CheckpointFailed as error:
                log("WARNING", "The last events of a watch come again: {}", error)
            finally:
                self._files.close()

    def _save(self, now: Now, *, most: int | None = None) -> None:
        if self.is_closed:
            return
        failed, self._save_at = self._fails, math.inf
        self._not_before = now.mono + _LONGEST_UNSAVED
        try:
            self._write(most)
        except CheckpointFailed as error:
            self._fails, self._save_at = True, now.mono + _RETRY_AFTER
            if not failed:
                self._failure = str(error)
            return
        self._fails = False
        if self._unsaved:
            self._save_at = self._not_before

    def _write(self, most: int | None = None) -> None:
        """Write the checkpoints of the runs that have news, of some or of all."""
        self._fold()
        saved = dict(islice(self._unsaved.items(), most))
        if saved:
            self._files.save({run_id: run.state for run_id, run in saved.items()})
            self._drop_unsaved(saved)

    def _save_late(self) -> None:
        self._fold()
        self._files.save_late({run_id: run.state for run_id, run in self._unsaved.items()})
        self._drop_unsaved(self._unsaved)

    def _drop_unsaved(self, saved: Iterable[str]) -> None:
        for run_id in [*saved]:
            if self._unsaved.pop(run_id).is_closed:  # nothing follows it in this watch
                self._runs.pop(run_id)
                self._files.forget(run_id)

    def _fold(self) -> None:
        """Record the new events; those that name no run are not."""
        new, self._new = self._new, []
        for run_id, events in groupby(new, lambda event: event.flow_run_id):
            if run_id:
                run = self._runs.get(run_id)
                if run is None:
                    spec = replace(self._spec, flow_run_id=run_id)
                    run = self._runs[run_id] = _KnownRun(spec)
                run.record([*events])
                self._unsaved.setdefault(run_id, run)


class _KnownRun:
    """What is known of the events of one run.

    Attributes:
        is_closed: Whether the last of them is `Closed`.
    """

    def __init__(self, spec: WatchSpec) -> None:
        self._watch = RunWatch(spec, RowLimit())
        self._root: str | None = None
        self.is_closed = False

    def load(self, state: EmittedState) -> None:
        self._watch.load_emitted(state)
        self._root, self.is_closed = state.root, state.closed is not None

    def record(self, events: Sequence[FlowRunEvent]) -> None:
        self._watch.record_emitted(without_roots(events))
        self._root, self.is_closed = root_of_events(events), isinstance(events[-1], Closed)

    @property
    def state(self) -> EmittedState:
        return replace(self._watch.save_emitted(), root=self._root)
