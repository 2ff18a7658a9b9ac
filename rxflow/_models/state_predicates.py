"""What a state says of its run: Prefect 1's predicates, for any server's states.

Tables only. What a state is called is up to whoever sets it, so a name counts only beside the type
that it goes with; a state of no known type says nothing.
"""

from functools import lru_cache

STATE_PREDICATES = (
    "is_cached",
    "is_failed",
    "is_finished",
    "is_looped",
    "is_mapped",
    "is_meta_state",
    "is_paused",
    "is_pending",
    "is_queued",
    "is_retrying",
    "is_running",
    "is_scheduled",
    "is_skipped",
    "is_submitted",
    "is_successful",
)


class CallableBool(int):
    """Yes or no, with or without being called: ``state.is_failed`` and ``state.is_failed()``.

    A method that someone forgets to call is always true; this is what it says.
    """

    __slots__ = ()

    def __call__(self) -> bool:
        """The same as a bool."""
        return bool(self)

    def __repr__(self) -> str:
        return repr(bool(self))


def _table(table: str) -> dict[str, frozenset[str]]:
    """Read ``name: what it is`` line by line."""
    parted = (line.partition(":") for line in table.strip().splitlines())
    return {
        name.strip(): frozenset(f"is_{word}" for word in words.split()) for name, _, words in parted
    }


# By the `type` of a state.
_BY_TYPE = _table(
    """
    SCHEDULED:  pending scheduled
    PENDING:    pending
    RUNNING:    running
    PAUSED:     pending scheduled paused
    CANCELLING: running
    COMPLETED:  finished successful
    FAILED:     finished failed
    CRASHED:    finished failed
    CANCELLED:  finished
"""
)

# By type and name, where the name says more than the type.
_BY_NAME = _table(
    """
    SCHEDULED AwaitingRetry:           pending scheduled retrying
    SCHEDULED AwaitingConcurrencySlot: pending scheduled queued
    PENDING Submitting:                pending submitted
    PENDING InfrastructurePending:     pending submitted
    RUNNING Retrying:                  running retrying
    COMPLETED Cached:                  finished successful cached
    COMPLETED Skipped:                 finished successful skipped
"""
)

# The same of Prefect 1, where a name stands for a class: as those of 1.4.1 answered.
_BY_CLASS = _table(
    """
    SCHEDULED Retrying:   pending scheduled retrying
    SCHEDULED Queued:     scheduled queued meta_state
    PENDING Submitted:    submitted meta_state
    PENDING ClientFailed: meta_state
    COMPLETED Cached:     finished successful cached
    COMPLETED Skipped:    finished successful skipped
    COMPLETED Finished:   finished
    COMPLETED Looped:     finished looped
    COMPLETED Mapped:     finished successful mapped
"""
)

_YES, _NO = CallableBool(True), CallableBool(False)


@lru_cache(maxsize=256)
def predicates_of(type: str, name: str, *, of_prefect1: bool = False) -> frozenset[str]:  # noqa: A002 - Prefect's own word
    """The predicates that hold for a state.

    Args:
        type: The state's type.
        name: The state's name.
        of_prefect1: Whether the name stands for one of Prefect 1's classes.

    Returns:
        Some of `VERDICTS`.
    """
    by_type = _BY_TYPE.get(type, frozenset())
    return (_BY_CLASS if of_prefect1 else _BY_NAME).get(f"{type} {name}", by_type)


def predicate_holds(type: str, name: str, predicate: str, *, of_prefect1: bool) -> CallableBool:  # noqa: A002
    """Whether a predicate holds for a state."""
    return _YES if predicate in predicates_of(type, name, of_prefect1=of_prefect1) else _NO
