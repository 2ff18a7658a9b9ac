"""Prefect 1's predicates of states, such as ``is_failed``, for the states of any server.

Tables only: `rxflow._models.states.State` has a property for each predicate. Names of states are
free text, so a name counts only together with the type that it belongs to; for a type that is not
known here every predicate is false.
"""

from functools import lru_cache


class CallableBool(int):
    """A bool that may also be called: ``state.is_failed`` and ``state.is_failed()`` are equal.

    Prefect 1 had methods. ``if state.is_failed:`` on a method is always true, so a script that
    leaves out the call would go wrong without an error.
    """

    __slots__ = ()

    def __call__(self) -> bool:
        """Return the value as a plain bool."""
        return bool(self)

    def __repr__(self) -> str:
        return repr(bool(self))


def _table(text: str) -> dict[str, frozenset[str]]:
    """Parse lines of ``key: predicate predicate``, whose predicates lack their ``is_``."""
    lines = (line.partition(":") for line in text.strip().splitlines())
    return {
        key.strip(): frozenset(f"is_{word}" for word in words.split()) for key, _, words in lines
    }


# Keyed by the state's type.
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

# Keyed by type and name; these names of Prefect 3 say more than the type.
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

# Keyed by type and name; a name of Prefect 1 is a class, and these are the values of its
# predicates in prefect 1.4.1.
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

_TRUE, _FALSE = CallableBool(True), CallableBool(False)


def callable_bool(value: bool) -> CallableBool:
    """Return a bool as one that may also be called."""
    return _TRUE if value else _FALSE


def predicate_holds(predicate: str, type: str, name: str, *, of_prefect1: bool) -> CallableBool:  # noqa: A002 - Prefect's own word
    """Return the value of a predicate.

    Args:
        predicate: The predicate, such as ``is_failed``.
        type: The state's type.
        name: The state's name.
        of_prefect1: Whether the name is one of Prefect 1's classes and not free text.
    """
    return callable_bool(predicate in _true_predicates(type, name, of_prefect1))


@lru_cache(maxsize=256)
def _true_predicates(type: str, name: str, of_prefect1: bool) -> frozenset[str]:  # noqa: A002
    by_type = _BY_TYPE.get(type, frozenset())
    return (_BY_CLASS if of_prefect1 else _BY_NAME).get(f"{type} {name}", by_type)
