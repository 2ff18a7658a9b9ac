"""rxflow: a Prefect flow run as a stream of events, complete and without duplicates.

A watch emits every state change, every log line and every task run that the server has stored,
each exactly once, from the first state of the run to its last late log line. The stream is an
observable, a blocking iterator and an async iterator. The names in ``__all__`` are the public API;
all others may move.
"""

from typing import TYPE_CHECKING

from rxflow import _own_log

if TYPE_CHECKING:
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
        BrokerFailed,
        CheckpointFailed,
        ConfigurationError,
        DeploymentNotFound,
        EventsNotKept,
        FlowNotFound,
        FlowRunFailed,
        InvalidCheckpoint,
        InvalidEvent,
        InvalidJournal,
        InvalidRecording,
        InvalidRelayLog,
        InvalidRunId,
        JournalFailed,
        NotAPrefectApi,
        Overflow,
        RecordingFailed,
        RelayLogLost,
        RelayLogTrimmed,
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
        UnsupportedFilter,
        UnsupportedServer,
        WatchInherited,
        WatchTimedOut,
    )
    from rxflow.events import (
        AllClosed,
        Closed,
        FlowRunEvent,
        FlowRunLog,
        Notice,
        NoticeCode,
        RunChanged,
        RunOutcome,
        RunSeen,
        StateChange,
        TaskRunStateChange,
        decode_event,
        encode_event,
        to_dict,
    )
    from rxflow.printing import stream_flow_run_logs
    from rxflow.recordings import ReplayedStream, record, replay
    from rxflow.stream import Stream, aiterate, iterate
    from rxflow.views import (
        FlowRunView,
        FlowView,
        TaskRunView,
        Timeline,
        alist_flow_runs,
        list_flow_runs,
    )
    from rxflow.wait_runs import await_for_flow_runs, wait_for_flow_runs
    from rxflow.watch import (
        FlowRunStream,
        await_for_flow_run,
        wait_for_flow_run,
        watch_flow_run,
    )
    from rxflow.watch_runs import FlowRunsStream, watch_flow_runs

__version__ = "0.1.0"

__all__ = [
    "AllClosed",
    "AuthError",
    "BackendName",
    "BadResponse",
    "BrokerFailed",
    "CheckpointFailed",
    "Client",
    "Closed",
    "ConfigurationError",
    "DeploymentNotFound",
    "EventsNotKept",
    "FlowNotFound",
    "FlowRun",
    "FlowRunEvent",
    "FlowRunFailed",
    "FlowRunLog",
    "FlowRunStream",
    "FlowRunView",
    "FlowRunsStream",
    "FlowView",
    "InvalidCheckpoint",
    "InvalidEvent",
    "InvalidJournal",
    "InvalidRecording",
    "InvalidRelayLog",
    "InvalidRunId",
    "JournalFailed",
    "NotAPrefectApi",
    "Notice",
    "NoticeCode",
    "Overflow",
    "Quiet",
    "Rate",
    "RecordingFailed",
    "RelayLogLost",
    "RelayLogTrimmed",
    "ReplayedStream",
    "ResultFileNotFound",
    "ResultNotKept",
    "ResultUnavailable",
    "ResultUnreadable",
    "RunChanged",
    "RunNotFound",
    "RunOutcome",
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
    "Timeline",
    "Unreachable",
    "UnsupportedFilter",
    "UnsupportedServer",
    "WatchInherited",
    "WatchTimedOut",
    "acheck_for_compatible_agents",
    "aiterate",
    "alist_flow_runs",
    "await_for_flow_run",
    "await_for_flow_runs",
    "check_for_compatible_agents",
    "decode_event",
    "encode_event",
    "fold",
    "iterate",
    "list_flow_runs",
    "record",
    "replay",
    "stream_flow_run_logs",
    "to_dict",
    "wait_for_flow_run",
    "wait_for_flow_runs",
    "watch_flow_run",
    "watch_flow_runs",
]

if not TYPE_CHECKING:  # with a `__getattr__`, type checkers would accept any name
    from importlib import import_module

    from rxflow._forks import no_fork

    _HOMES = {
        "AllClosed": "rxflow.events",
        "AuthError": "rxflow.errors",
        "BackendName": "rxflow._models.entities",
        "BadResponse": "rxflow.errors",
        "BrokerFailed": "rxflow.errors",
        "CheckpointFailed": "rxflow.errors",
        "Client": "rxflow.client",
        "Closed": "rxflow.events",
        "ConfigurationError": "rxflow.errors",
        "DeploymentNotFound": "rxflow.errors",
        "EventsNotKept": "rxflow.errors",
        "FlowNotFound": "rxflow.errors",
        "FlowRun": "rxflow._models.entities",
        "FlowRunEvent": "rxflow.events",
        "FlowRunFailed": "rxflow.errors",
        "FlowRunLog": "rxflow.events",
        "FlowRunStream": "rxflow.watch",
        "FlowRunView": "rxflow.views",
        "FlowRunsStream": "rxflow.watch_runs",
        "FlowView": "rxflow.views",
        "InvalidCheckpoint": "rxflow.errors",
        "InvalidEvent": "rxflow.errors",
        "InvalidJournal": "rxflow.errors",
        "InvalidRecording": "rxflow.errors",
        "InvalidRelayLog": "rxflow.errors",
        "InvalidRunId": "rxflow.errors",
        "JournalFailed": "rxflow.errors",
        "NotAPrefectApi": "rxflow.errors",
        "Notice": "rxflow.events",
        "NoticeCode": "rxflow.events",
        "Overflow": "rxflow.errors",
        "Quiet": "rxflow._operators.silence",
        "Rate": "rxflow._operators.rates",
        "RecordingFailed": "rxflow.errors",
        "RelayLogLost": "rxflow.errors",
        "RelayLogTrimmed": "rxflow.errors",
        "ReplayedStream": "rxflow.recordings",
        "ResultFileNotFound": "rxflow.errors",
        "ResultNotKept": "rxflow.errors",
        "ResultUnavailable": "rxflow.errors",
        "ResultUnreadable": "rxflow.errors",
        "RunChanged": "rxflow.events",
        "RunNotFound": "rxflow.errors",
        "RunOutcome": "rxflow.events",
        "RunSeen": "rxflow.events",
        "RxflowError": "rxflow.errors",
        "ServerError": "rxflow.errors",
        "SinkFailed": "rxflow.errors",
        "Snapshot": "rxflow._models.entities",
        "State": "rxflow._models.states",
        "StateChange": "rxflow.events",
        "StateType": "rxflow._models.states",
        "Stream": "rxflow.stream",
        "TaskRun": "rxflow._models.entities",
        "TaskRunNotFound": "rxflow.errors",
        "TaskRunStateChange": "rxflow.events",
        "TaskRunView": "rxflow.views",
        "Timeline": "rxflow.views",
        "Unreachable": "rxflow.errors",
        "UnsupportedFilter": "rxflow.errors",
        "UnsupportedServer": "rxflow.errors",
        "WatchInherited": "rxflow.errors",
        "WatchTimedOut": "rxflow.errors",
        "acheck_for_compatible_agents": "rxflow.agents",
        "aiterate": "rxflow.stream",
        "alist_flow_runs": "rxflow.views",
        "await_for_flow_run": "rxflow.watch",
        "await_for_flow_runs": "rxflow.wait_runs",
        "check_for_compatible_agents": "rxflow.agents",
        "decode_event": "rxflow.events",
        "encode_event": "rxflow.events",
        "fold": "rxflow._watching.fold",
        "iterate": "rxflow.stream",
        "list_flow_runs": "rxflow.views",
        "record": "rxflow.recordings",
        "replay": "rxflow.recordings",
        "stream_flow_run_logs": "rxflow.printing",
        "to_dict": "rxflow.events",
        "wait_for_flow_run": "rxflow.watch",
        "wait_for_flow_runs": "rxflow.wait_runs",
        "watch_flow_run": "rxflow.watch",
        "watch_flow_runs": "rxflow.watch_runs",
    }
    _MODULES = {
        "agents",
        "client",
        "errors",
        "events",
        "operators",
        "printing",
        "recordings",
        "stream",
        "views",
        "wait_runs",
        "watch",
        "watch_runs",
    }

    def __getattr__(name: str) -> object:
        """Import a public name, or a public module, when it is first used."""
        if name in _MODULES:
            with no_fork:
                return import_module(f"rxflow.{name}")
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        # One at a time: Python 3.12 may find a deadlock between threads that import one package.
        with no_fork:
            value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        """List all names, imported or not."""
        return sorted({*globals(), *_HOMES, *_MODULES})


_own_log.silence_by_default()
