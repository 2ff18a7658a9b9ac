"""The nouns: runs, states, task runs, pools and workers as plain frozen data.

Nothing here knows a server. A backend decodes its answers into these structs, the events carry
them and the fold puts them together. Every datetime is aware; ids are lower-case strings.
"""

from datetime import datetime
from enum import StrEnum

import msgspec

from rxflow._models.state_predicates import CallableBool, predicate_holds
from rxflow._models.times import Instant


class StateType(StrEnum):
    """The state types that are known here; a server may send others, which are kept as text."""

    SCHEDULED = "SCHEDULED"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    CANCELLING = "CANCELLING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CRASHED = "CRASHED"
    CANCELLED = "CANCELLED"


TERMINAL_TYPES = frozenset(
    {StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED}
)


class State(msgspec.Struct, frozen=True, kw_only=True):
    """One state that a flow run or a task run was put in.

    Two states are the same when their ids are: a run can be set to Running twice.

    Attributes:
        id: The state's id.
        type: One of `StateType`, or the text of a type that is not known here.
        name: What people call it, such as ``Late`` for a ``SCHEDULED`` state.
        timestamp: When the state was set, by the clock of whoever set it.
        message: What was said when it was set, if anything.
        version: Which of its run's states it is, where the server counts them, as Prefect 1 does.
    """

    id: str
    type: str
    name: str
    timestamp: Instant
    message: str | None = None
    version: int | None = None

    @property
    def order(self) -> tuple[datetime, int, str]:
        """What states are sorted by."""
        return self.timestamp, self.version or 0, self.id

    @property
    def is_terminal(self) -> bool:
        """Whether a run in this state is over, unless it is opened again."""
        return self.type in TERMINAL_TYPES

    @property
    def is_completed(self) -> bool:
        """Whether this is how a run ends that did what it was for."""
        return self.type == StateType.COMPLETED

    def _verdict(self, predicate: str) -> CallableBool:
        of_prefect1 = self.version is not None  # where a name is no free text, but a class
        return predicate_holds(self.type, self.name, predicate, of_prefect1=of_prefect1)

    # What Prefect 1's states answered: `state.is_failed()`, or without the call.

    @property
    def is_successful(self) -> CallableBool:
        """Whether it is an end as hoped for; of Prefect 1 that is Success."""
        return self._verdict("is_successful")

    @property
    def is_failed(self) -> CallableBool:
        """Whether it is an end by failure, such as Failed, Crashed or TimedOut."""
        return self._verdict("is_failed")

    @property
    def is_finished(self) -> CallableBool:
        """Whether it is an end, of whatever kind."""
        return self._verdict("is_finished")

    @property
    def is_running(self) -> CallableBool:
        """Whether the run is running; Cancelling and Prefect 3's Retrying are."""
        return self._verdict("is_running")

    @property
    def is_pending(self) -> CallableBool:
        """Whether the run has yet to begin, or to go on."""
        return self._verdict("is_pending")

    @property
    def is_scheduled(self) -> CallableBool:
        """Whether the run waits for its time; of Prefect 1, Queued too."""
        return self._verdict("is_scheduled")

    @property
    def is_retrying(self) -> CallableBool:
        """Whether this is another attempt, or the wait for it."""
        return self._verdict("is_retrying")

    @property
    def is_paused(self) -> CallableBool:
        """Whether someone must resume the run."""
        return self._verdict("is_paused")

    @property
    def is_submitted(self) -> CallableBool:
        """Whether the run was handed to what is to start it."""
        return self._verdict("is_submitted")

    @property
    def is_queued(self) -> CallableBool:
        """Whether the run waits for a free slot."""
        return self._verdict("is_queued")

    @property
    def is_cached(self) -> CallableBool:
        """Whether an earlier result stands in for the run."""
        return self._verdict("is_cached")

    @property
    def is_skipped(self) -> CallableBool:
        """Whether the run was left out, which counts as success."""
        return self._verdict("is_skipped")

    @property
    def is_mapped(self) -> CallableBool:
        """Whether this is Prefect 1's parent of mapped task runs."""
        return self._verdict("is_mapped")

    @property
    def is_looped(self) -> CallableBool:
        """Whether this is the end of one turn of Prefect 1's loops."""
        return self._verdict("is_looped")

    @property
    def is_meta_state(self) -> CallableBool:
        """Whether this is one of Prefect 1's states about states."""
        return self._verdict("is_meta_state")
