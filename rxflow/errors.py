r"""All errors that rxflow raises, in one tree that says who can fix them.

    RxflowError
    ├── ConfigurationError     you: a setting is missing or malformed (also a ValueError)
    ├── InvalidRunId           you: the id is not a UUID (also a ValueError)
    ├── RunNotFound            you: the server has no such run (also a ValueError)
    ├── TaskRunNotFound        you: the flow run has no such task run (also a ValueError)
    ├── FlowNotFound           you: the server has no such flow (also a ValueError)
    ├── DeploymentNotFound     you: the server has no such deployment (also a ValueError)
    ├── ResultUnavailable      you: there is no result, or not yet, or not here (also a ValueError)
    │   ├── ResultFileNotFound ... its file is not on this machine (also a FileNotFoundError)
    │   └── ResultNotKept      ... Prefect was not set to store it (also a TypeError)
    ├── ResultUnreadable       you: the result is stored in another format (also a TypeError)
    ├── UnsupportedFilter      you: the server cannot filter runs by that (also a ValueError)
    ├── WatchTimedOut          you: ``max_duration`` passed (also a RuntimeError, a TimeoutError)
    ├── WatchInherited         you: a forked child continued a watch (also a RuntimeError)
    ├── EventsNotKept          you: a run's stream of by_run() was used twice (also a RuntimeError)
    ├── InvalidCheckpoint      you: a file is not the checkpoint of this watch (also a ValueError)
    ├── InvalidEvent           you: a text is not the JSON of an event (also a ValueError)
    ├── InvalidJournal         you: a file is not the journal of this watch (also a ValueError)
    ├── InvalidRecording       you: a file cannot be replayed (also a ValueError)
    ├── FlowRunFailed          your flow: it ended in another state than Completed
    ├── Overflow               your pipeline: a source with its own thread outran the consumer
    ├── SinkFailed             your pipeline: the target of a sink failed (also an OSError)
    ├── CheckpointFailed       your pipeline: a checkpoint is in use or unreadable (also an OSError)
    ├── JournalFailed          your pipeline: a journal is in use or unwritable (also an OSError)
    ├── RecordingFailed        your pipeline: a file cannot be recorded or read (also an OSError)
    ├── ServerError            the server: it responded, but not with what was requested
    │   ├── NotAPrefectApi     ... it is not a Prefect API
    │   ├── UnsupportedServer  ... it is a Prefect whose API is not supported
    │   ├── AuthError          ... it refused the credentials
    │   └── BadResponse        ... its response cannot be decoded
    ├── BrokerFailed           the broker: it is not there or refuses (also a ConnectionError)
    ├── RelayLogLost           the broker: it lost what was read of a log (also a LookupError)
    ├── RelayLogTrimmed        the broker: it deleted the start of a log (also a LookupError)
    ├── InvalidRelayLog        the broker: a log has what no relay wrote (also a ValueError)
    └── Unreachable            the network: no response at all (also a ConnectionError)

Errors of httpx, msgspec and other libraries are mapped to these where they arise and never reach a
user bare. No message has a secret or a whole response body, and what a server wrote into one moves
no cursor: control characters are shown as ``\x1b``. An error that is also a builtin one is
caught by scripts that do not know rxflow, or that were written for Prefect 1.
"""

from typing import TYPE_CHECKING

from rxflow._escapes import safe_text

if TYPE_CHECKING:
    from rxflow._models.states import State

__all__ = [
    "AuthError",
    "BadResponse",
    "BrokerFailed",
    "CheckpointFailed",
    "ConfigurationError",
    "DeploymentNotFound",
    "EventsNotKept",
    "FlowNotFound",
    "FlowRunFailed",
    "InvalidCheckpoint",
    "InvalidEvent",
    "InvalidJournal",
    "InvalidRecording",
    "InvalidRelayLog",
    "InvalidRunId",
    "JournalFailed",
    "NotAPrefectApi",
    "Overflow",
    "RecordingFailed",
    "RelayLogLost",
    "RelayLogTrimmed",
    "ResultFileNotFound",
    "ResultNotKept",
    "ResultUnavailable",
    "ResultUnreadable",
    "RunNotFound",
    "RxflowError",
    "ServerError",
    "SinkFailed",
    "TaskRunNotFound",
    "Unreachable",
    "UnsupportedFilter",
    "UnsupportedServer",
    "WatchInherited",
    "WatchTimedOut",
]


class RxflowError(Exception):
    """The root of all errors: catch it to catch any of them."""

    def __str__(self) -> str:
        """Return the message with all control characters but newlines and tabs escaped."""
        return safe_text(super().__str__())


class ConfigurationError(RxflowError, ValueError):
    """A setting is missing or malformed; the message says where it was searched for."""


class InvalidRunId(RxflowError, ValueError):
    """An id is not a UUID; raised by the call, before any request is sent."""


class RunNotFound(RxflowError, ValueError):
    """The server has no run of this id."""


class TaskRunNotFound(RxflowError, ValueError):
    """A flow run has no matching task run, or several; the message lists its task runs."""


class FlowNotFound(RxflowError, ValueError):
    """The server has no flow of this id or name."""


class DeploymentNotFound(RxflowError, ValueError):
    """The server has no deployment of this id or name."""


class ResultUnavailable(RxflowError, ValueError):
    """The result of a task run cannot be read from this machine; the message says why."""


class ResultFileNotFound(ResultUnavailable, FileNotFoundError):
    """The file of a task run's result is not on this machine; the message names it."""


class ResultNotKept(ResultUnavailable, TypeError):
    """The result of a task run was not stored; a TypeError, as in Prefect 1."""


class ResultUnreadable(RxflowError, TypeError):
    """A result is stored in a format that rxflow does not read; the message says where it is."""


class UnsupportedFilter(RxflowError, ValueError):
    """The server cannot filter flow runs in this way, such as Prefect 1 by deployment."""


class WatchTimedOut(RxflowError, RuntimeError, TimeoutError):
    """``max_duration`` (or ``timeout``) passed before the run reached a terminal state.

    Attributes:
        flow_run_ids: The runs that were not seen over, as far as they were known.
    """

    def __init__(self, message: str, *, flow_run_ids: tuple[str, ...] = ()) -> None:
        """Make an error of its message, and of the runs that were not seen over."""
        super().__init__(message)
        self.flow_run_ids = flow_run_ids


class WatchInherited(RxflowError, RuntimeError):
    """A loop or subscription that was started before a fork was continued in the child."""


class EventsNotKept(RxflowError, RuntimeError):
    """A run's stream of ``by_run()`` was subscribed to twice; its events are not kept."""


class InvalidCheckpoint(RxflowError, ValueError):
    """A file is not a checkpoint, or one of another watch, or damaged; it was left as it is."""


class InvalidEvent(RxflowError, ValueError):
    """A text is not the JSON of an event, or of a kind that this version does not know."""


class InvalidJournal(RxflowError, ValueError):
    """A file is not a journal, or one of another watch, or damaged; it was left as it is."""


class InvalidRecording(RxflowError, ValueError):
    """A file is neither a recording nor a journal, or damaged; the message names the line."""


class FlowRunFailed(RxflowError):
    """The run ended in another state than Completed; raised by ``Closed.raise_for_state``.

    Attributes:
        flow_run_id: The run; None if the error is about several.
        state: The state in which the run ended; None if it had none, or if the error is about
            several runs.
        flow_run_ids: All runs that did not complete, of one or of several.
    """

    def __init__(
        self,
        message: str,
        *,
        flow_run_id: str | None = None,
        state: "State | None" = None,
        flow_run_ids: tuple[str, ...] = (),
    ) -> None:
        """Make an error of its message, and of the runs that it is about."""
        super().__init__(message)
        self.flow_run_id = flow_run_id
        self.state = state
        self.flow_run_ids = flow_run_ids


class Overflow(RxflowError):
    """A buffer is full, since items arrive faster than they are consumed; see the message."""


class SinkFailed(RxflowError, OSError):
    """The target of a sink cannot be opened or written; the message names it."""


class CheckpointFailed(RxflowError, OSError):
    """A checkpoint cannot be locked or read, or another watch has it; the message names it."""


class JournalFailed(RxflowError, OSError):
    """A journal cannot be opened or written, or another watch writes it; the message names it.

    Attributes:
        is_full: Whether the disk, the quota or the largest size of a file leaves no room.
    """

    def __init__(self, message: str, *, is_full: bool = False) -> None:
        """Make an error of its message, and of whether there is no room."""
        super().__init__(message)
        self.is_full = is_full


class RecordingFailed(RxflowError, OSError):
    """A recording cannot be created, written or read; the message names it.

    Attributes:
        is_full: Whether the disk, the quota or the largest size of a file leaves no room.
    """

    def __init__(self, message: str, *, is_full: bool = False) -> None:
        """Make an error of its message, and of whether there is no room."""
        super().__init__(message)
        self.is_full = is_full


class ServerError(RxflowError):
    """The server responded, but not with what was requested."""


class NotAPrefectApi(ServerError):
    """The server at this URL is not a Prefect API."""


class UnsupportedServer(ServerError):
    """A Prefect server whose API is not supported, such as Prefect 2."""


class AuthError(ServerError):
    """The server refused the credentials, or requires some."""


class BadResponse(ServerError):
    """A response of the server cannot be decoded, or its API rejects a request."""


class BrokerFailed(RxflowError, ConnectionError):
    """A relay's broker cannot be reached, or refuses a request; the message says which and why.

    Attributes:
        is_away: Whether it accepted no connection in time, so that it may do so later.
        is_auth_refused: Whether it refused the credentials, or requires some.
        is_ended: Whether it has ended an open connection, which is not made again.
    """

    def __init__(
        self,
        message: str,
        *,
        is_away: bool = False,
        is_auth_refused: bool = False,
        is_ended: bool = False,
    ) -> None:
        """Make an error of its message, and of the kind of failure."""
        super().__init__(message)
        self.is_away = is_away
        self.is_auth_refused = is_auth_refused
        self.is_ended = is_ended


class RelayLogLost(RxflowError, LookupError):
    """The broker lost events of a run that were read, or its log was replaced: read it anew."""


class RelayLogTrimmed(RxflowError, LookupError):
    """The broker no longer has the first events of a run, and those after them do not suffice."""


class InvalidRelayLog(RxflowError, ValueError):
    """The log of a run has an entry that no relay wrote, or one of a later version of rxflow."""


class Unreachable(RxflowError, ConnectionError):
    """No response was received from the server."""
