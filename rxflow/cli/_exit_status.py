"""Exit statuses of the commands, and which one wins where many runs are followed.

They are documented in ``docs/command-line.md``. Scripts depend on the numbers, so none changes.
"""

from collections.abc import Iterable
from enum import IntEnum
from typing import TYPE_CHECKING

from rxflow import (
    AuthError,
    BrokerFailed,
    ConfigurationError,
    DeploymentNotFound,
    FlowNotFound,
    InvalidJournal,
    InvalidRecording,
    InvalidRunId,
    JournalFailed,
    RecordingFailed,
    RelayLogLost,
    RelayLogTrimmed,
    RunNotFound,
    RxflowError,
    ServerError,
    Unreachable,
    UnsupportedFilter,
    WatchTimedOut,
)

if TYPE_CHECKING:
    from rxflow import State

__all__ = ["ExitStatus", "status_of_error", "status_of_state", "worst"]


class ExitStatus(IntEnum):
    """What a command ends with; the numbers above 64 are those of other programs."""

    COMPLETED = 0
    FAILED = 1
    USAGE = 2
    CRASHED = 3
    AUTH_REFUSED = 4
    CANCELLED = 5
    UNREACHABLE = 6
    """No response, or one that is not of a Prefect API which is supported."""
    NOT_FOUND = 7
    """No such run, flow or deployment; or a run that was deleted while it was watched."""
    OUTPUT_ERROR = 74
    """As ``EX_IOERR`` of sysexits.h."""
    TIMEOUT = 124
    """As of timeout(1)."""
    INTERRUPTED = 130
    """128 and SIGINT, as a shell reports it."""
    PIPE_CLOSED = 141
    """128 and SIGPIPE."""
    TERMINATED = 143
    """128 and SIGTERM."""


_ERRORS: tuple[tuple[type[Exception], ExitStatus], ...] = (
    (AuthError, ExitStatus.AUTH_REFUSED),
    (RunNotFound, ExitStatus.NOT_FOUND),
    (FlowNotFound, ExitStatus.NOT_FOUND),
    (DeploymentNotFound, ExitStatus.NOT_FOUND),
    (WatchTimedOut, ExitStatus.TIMEOUT),
    (Unreachable, ExitStatus.UNREACHABLE),
    (ServerError, ExitStatus.UNREACHABLE),
    (ConfigurationError, ExitStatus.USAGE),
    (InvalidRunId, ExitStatus.USAGE),
    (UnsupportedFilter, ExitStatus.USAGE),
    (InvalidJournal, ExitStatus.USAGE),
    (InvalidRecording, ExitStatus.USAGE),
    (JournalFailed, ExitStatus.OUTPUT_ERROR),
    (RecordingFailed, ExitStatus.OUTPUT_ERROR),
    (BrokerFailed, ExitStatus.UNREACHABLE),
    (RelayLogLost, ExitStatus.NOT_FOUND),
    (RelayLogTrimmed, ExitStatus.NOT_FOUND),
)
"""The first class that matches counts."""

_STATES = {
    "COMPLETED": ExitStatus.COMPLETED,
    "FAILED": ExitStatus.FAILED,
    "CRASHED": ExitStatus.CRASHED,
    "CANCELLED": ExitStatus.CANCELLED,
}

_BEST_TO_WORST = (
    ExitStatus.COMPLETED,
    ExitStatus.CANCELLED,
    ExitStatus.FAILED,
    ExitStatus.CRASHED,
    ExitStatus.NOT_FOUND,
)


def status_of_error(error: RxflowError) -> ExitStatus:
    """Return the status of a command that an error ends."""
    if isinstance(error, BrokerFailed) and error.is_auth_refused:
        return ExitStatus.AUTH_REFUSED
    return next((status for kind, status in _ERRORS if isinstance(error, kind)), ExitStatus.FAILED)


def status_of_state(state: "State | None") -> ExitStatus:
    """Return the status of a run that was closed in a state.

    Args:
        state: The state; one that is not terminal, or None, means that the run was deleted.
    """
    return ExitStatus.NOT_FOUND if state is None else _STATES.get(state.type, ExitStatus.NOT_FOUND)


def worst(statuses: Iterable[ExitStatus]) -> ExitStatus:
    """Return the worst of the statuses of runs; COMPLETED if there is none."""
    return max(statuses, key=_BEST_TO_WORST.index, default=ExitStatus.COMPLETED)
