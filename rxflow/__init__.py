"""rxflow: a Prefect flow run as a stream of events, complete and without duplicates.

A watch emits every state change, every log line and every task run that the server has stored,
each exactly once, from the first state of the run to its last late log line. The stream is an
observable, a blocking iterator and an async iterator. The names in ``__all__`` are the public API;
all others may move.
"""

from loguru import logger

from rxflow import operators as operators
from rxflow._models.entities import BackendName, FlowRun, Snapshot, TaskRun
from rxflow._models.states import State, StateType
from rxflow._operators.rates import Rate
from rxflow._operators.silence import Quiet
from rxflow._watching.fold import fold
from rxflow.agents import acheck_for_compatible_agents, check_for_compatible_agents
from rxflow.client import Client
from rxflow.errors import (
    AuthError,
    BadResponse,
    ConfigurationError,
    FlowNotFound,
    FlowRunFailed,
    InvalidEvent,
    InvalidRunId,
    NotAPrefectApi,
    Overflow,
    ResultFileNotFound,
    ResultNotKept,
    ResultUnavailable,
    ResultUnreadable,
    RunNotFound,
    RxflowError,
    ServerError,
    SinkFailed,
    TaskRunNotFound,
    Unreachable,
    UnsupportedServer,
    WatchInherited,
    WatchTimedOut,
)
from rxflow.events import (
    Closed,
    FlowRunEvent,
    FlowRunLog,
    Notice,
    NoticeCode,
    RunChanged,
    RunSeen,
    StateChange,
    TaskRunStateChange,
    decode_event,
    encode_event,
    to_dict,
)
from rxflow.printing import stream_flow_run_logs
from rxflow.stream import Stream, aiterate, iterate
from rxflow.views import FlowRunView, FlowView, TaskRunView
from rxflow.watch import (
    FlowRunStream,
    await_for_flow_run,
    wait_for_flow_run,
    watch_flow_run,
)

__version__ = "0.1.0"

__all__ = [
    "AuthError",
    "BackendName",
    "BadResponse",
    "Client",
    "Closed",
    "ConfigurationError",
    "FlowNotFound",
    "FlowRun",
    "FlowRunEvent",
    "FlowRunFailed",
    "FlowRunLog",
    "FlowRunStream",
    "FlowRunView",
    "FlowView",
    "InvalidEvent",
    "InvalidRunId",
    "NotAPrefectApi",
    "Notice",
    "NoticeCode",
    "Overflow",
    "Quiet",
    "Rate",
    "ResultFileNotFound",
    "ResultNotKept",
    "ResultUnavailable",
    "ResultUnreadable",
    "RunChanged",
    "RunNotFound",
    "RunSeen",
    "RxflowError",
    "ServerError",
    "SinkFailed",
    "Snapshot",
    "State",
    "StateChange",
    "StateType",
    "Stream",
    "TaskRun",
    "TaskRunNotFound",
    "TaskRunStateChange",
    "TaskRunView",
    "Unreachable",
    "UnsupportedServer",
    "WatchInherited",
    "WatchTimedOut",
    "acheck_for_compatible_agents",
    "aiterate",
    "await_for_flow_run",
    "check_for_compatible_agents",
    "decode_event",
    "encode_event",
    "fold",
    "iterate",
    "stream_flow_run_logs",
    "to_dict",
    "wait_for_flow_run",
    "watch_flow_run",
]

# Libraries do not log by default; `logger.enable("rxflow")` turns the log on.
logger.disable("rxflow")
