"""Every error that rxflow raises, in one tree that says who can put it right.

    RxflowError
    ├── ConfigurationError     you: a setting is missing or cannot be read (also a ValueError)
    ├── InvalidRunId           you: the id is not a UUID (also a ValueError)
    ├── RunNotFound            you: the server has no such run (also a ValueError)
    ├── TaskRunNotFound        you: the flow run has no such task run (also a ValueError)
    ├── FlowNotFound           you: the server has no such flow (also a ValueError)
    ├── ResultUnavailable      you: there is no result, or not yet, or not here (also a ValueError)
    │   └── ResultNotKept      ... nobody told Prefect to keep it (also a TypeError)
    ├── ResultUnreadable       you: the result is there and in another form (also a TypeError)
    ├── WatchTimedOut          you: ``max_duration`` passed (also a RuntimeError, a TimeoutError)
    ├── InvalidEvent           you: a text is not the JSON of an event (also a ValueError)
    ├── FlowRunFailed          your flow: it ended in another state than Completed
    ├── Overflow               your pipeline: a thread of its own emitted faster than it was read
    ├── SinkFailed             your pipeline: what it writes to takes nothing (also an OSError)
    ├── ServerError            the server: it answered, but not with what was asked for
    │   ├── NotAPrefectApi     ... it is something else than a Prefect API
    │   ├── UnsupportedServer  ... it is a Prefect whose API is not spoken here
    │   ├── AuthError          ... it refused the key
    │   └── BadResponse        ... it answered what cannot be read
    └── Unreachable            the network: no answer at all (also a ConnectionError)

Errors of httpx, msgspec and the rest are mapped to these where they arise and never reach a user
bare. No message holds a secret or a whole response body.
"""

__all__ = [
    "AuthError",
    "BadResponse",
    "ConfigurationError",
    "FlowNotFound",
    "FlowRunFailed",
    "InvalidEvent",
    "InvalidRunId",
    "NotAPrefectApi",
    "Overflow",
    "ResultNotKept",
    "ResultUnavailable",
    "ResultUnreadable",
    "RunNotFound",
    "RxflowError",
    "ServerError",
    "SinkFailed",
    "TaskRunNotFound",
    "Unreachable",
    "UnsupportedServer",
    "WatchTimedOut",
]


class RxflowError(Exception):
    """Catch this to catch whatever rxflow raises."""


class ConfigurationError(RxflowError, ValueError):
    """A setting is missing or cannot be read; the message says where it was looked for."""


class InvalidRunId(RxflowError, ValueError):
    """A flow run id is not a UUID. Raised at the call, before any request."""


class RunNotFound(RxflowError, ValueError):
    """The server knows no run of this id."""


class TaskRunNotFound(RxflowError, ValueError):
    """A flow run has no task run that fits, or more than one; the message lists what it has."""


class FlowNotFound(RxflowError, ValueError):
    """The server knows no flow of this id or name."""


class ResultUnavailable(RxflowError, ValueError):
    """A task run has no result that can be got at from here; the message says why."""


class ResultNotKept(ResultUnavailable, TypeError):
    """The result of a task run was not kept; a TypeError, since Prefect 1 looked for its type."""


class ResultUnreadable(RxflowError, TypeError):
    """A result was stored in a form that is not read here; the message says where, and by what."""


class WatchTimedOut(RxflowError, RuntimeError, TimeoutError):
    """``max_duration`` (or ``timeout``) passed before the run reached a terminal state."""


class InvalidEvent(RxflowError, ValueError):
    """A text is not the JSON of an event, or of one of a kind that this version does not know."""


class FlowRunFailed(RxflowError):
    """The run ended in another state than Completed. Raised by ``Closed.raise_for_state``."""


class Overflow(RxflowError):
    """More was emitted than is held until it is read; the message says what to do."""


class SinkFailed(RxflowError, OSError):
    """What a pipeline writes its events to cannot be opened or written; the message names it."""


class ServerError(RxflowError):
    """The server answered, but not with what was asked for."""


class NotAPrefectApi(ServerError):
    """Something answers at this URL, and it is not a Prefect API."""


class UnsupportedServer(ServerError):
    """A Prefect server whose API is not spoken here, such as Prefect 2."""


class AuthError(ServerError):
    """The server refused the key, or asked for one."""


class BadResponse(ServerError):
    """The server's answer cannot be read as what its API says it is."""


class Unreachable(RxflowError, ConnectionError):
    """No answer came from the server."""
