"""States of flow runs and task runs, and the types that are known here.

States of all servers are of this one class; backends map what they read to it. What the predicates
of a state say is in `rxflow._models.state_predicates`.
"""

from datetime import datetime
from enum import StrEnum

import msgspec

from rxflow._models.state_predicates import (
    CallableBool,
    callable_bool,
    predicate_holds,
)
from rxflow._models.times import Instant


class StateType(StrEnum):
    """The state types that are known here; others that a server sends are kept as text."""

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
"""The types in which a run is over; a type that is not known here is not terminal."""


_KNOWN_TYPES = {str(known): known for known in StateType}


class StateDetails(msgspec.Struct, frozen=True, kw_only=True):
    """What Prefect 3 records of a state beside its type, name and time.

    Attributes:
        transition_id: Identifies the transition that the process of the run proposed; None for a
            state that was set from outside, as by a person in the UI.
    """

    transition_id: str | None = None


class State(msgspec.Struct, frozen=True, kw_only=True):
    """One state of a flow run or a task run.

    The id identifies a state: a run can be set to Running twice, which makes two states.

    Attributes:
        id: The state's id.
        type: A `StateType`, or the text of a type that is not known here.
        name: The state's display name, such as ``Late`` for a ``SCHEDULED`` state.
        timestamp: When the state was set, by the clock of the process that set it.
        message: The message that was set with the state, if any.
        version: The number of the state among its run's states, on servers that count them, as
            Prefect 1 does.
        state_details: What is known beside that; None on Prefect 1.
    """

    id: str
    type: str
    name: str
    timestamp: Instant
    message: str | None = None
    version: int | None = None
    state_details: StateDetails | None = None

    def __post_init__(self) -> None:
        known = _KNOWN_TYPES.get(self.type)
        if known is not None:
            msgspec.structs.force_setattr(self, "type", known)

    @property
    def order(self) -> tuple[datetime, int, str]:
        """The key that states are sorted by, which is timestamp, version and id."""
        return self.timestamp, self.version or 0, self.id

    # The predicates hold with or without a call, as those of Prefect 1 and of Prefect 3 are
    # methods: `state.is_failed()`.

    @property
    def is_terminal(self) -> CallableBool:
        """Whether a run in this state is over; a retry may open it again."""
        return callable_bool(self.type in TERMINAL_TYPES)

    @property
    def is_completed(self) -> CallableBool:
        """Whether the run succeeded, which is the type ``COMPLETED``."""
        return callable_bool(self.type == StateType.COMPLETED)

    def _holds(self, predicate: str) -> CallableBool:
        of_prefect1 = self.version is not None  # Prefect 3 does not count states
        return predicate_holds(predicate, self.type, self.name, of_prefect1=of_prefect1)

    @property
    def is_successful(self) -> CallableBool:
        """Whether the run ended successfully; on Prefect 1 the state is a Success."""
        return self._holds("is_successful")

    @property
    def is_failed(self) -> CallableBool:
        """Whether the run failed, as Failed, Crashed, TimedOut and the like."""
        return self._holds("is_failed")

    @property
    def is_finished(self) -> CallableBool:
        """Whether the run is over, with whatever result."""
        return self._holds("is_finished")

    @property
    def is_running(self) -> CallableBool:
        """Whether the run is running; Cancelling and Prefect 3's Retrying are included."""
        return self._holds("is_running")

    @property
    def is_pending(self) -> CallableBool:
        """Whether the run has yet to start, or to go on."""
        return self._holds("is_pending")

    @property
    def is_scheduled(self) -> CallableBool:
        """Whether the run waits for its scheduled time; on Prefect 1 Queued is included."""
        return self._holds("is_scheduled")

    @property
    def is_retrying(self) -> CallableBool:
        """Whether the run is retried, or waits for its retry."""
        return self._holds("is_retrying")

    @property
    def is_paused(self) -> CallableBool:
        """Whether the run waits until a person resumes it."""
        return self._holds("is_paused")

    @property
    def is_submitted(self) -> CallableBool:
        """Whether the run was submitted to the infrastructure that starts it."""
        return self._holds("is_submitted")

    @property
    def is_queued(self) -> CallableBool:
        """Whether the run waits for a concurrency slot."""
        return self._holds("is_queued")

    @property
    def is_cached(self) -> CallableBool:
        """Whether a cached result was used in place of a run."""
        return self._holds("is_cached")

    @property
    def is_skipped(self) -> CallableBool:
        """Whether the run was skipped, which counts as successful."""
        return self._holds("is_skipped")

    @property
    def is_mapped(self) -> CallableBool:
        """Whether the task run is Prefect 1's parent of mapped task runs."""
        return self._holds("is_mapped")

    @property
    def is_looped(self) -> CallableBool:
        """Whether the task run ended one iteration of a Prefect 1 loop."""
        return self._holds("is_looped")

    @property
    def is_meta_state(self) -> CallableBool:
        """Whether the state is one of Prefect 1's states that wrap another."""
        return self._holds("is_meta_state")
