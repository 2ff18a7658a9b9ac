"""Recorded exchanges of the Prefect 1.4.1 client with a Prefect Server, and rows built from them.

The client's queries request fewer columns than ours, so the builders add the missing columns to the
recorded ones.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from http_replies import json_reply

from rxflow._backends.backend import HttpResponse
from rxflow._backends.prefect1_queries import Prefect1Query
from rxflow._backends.prefect1_replies import read_reply
from rxflow._protocol.failures import Failure
from rxflow._protocol.pages import Page
from rxflow._protocol.queries import (
    AgentsQuery,
    FlowQuery,
    FlowsQuery,
    LogsQuery,
    ResultQuery,
    ResultsQuery,
    RunFilter,
    RunQuery,
    RunsQuery,
    StatesQuery,
    TaskRunQuery,
    TaskRunsQuery,
    TaskRunStatesQuery,
)

_FOLDER = Path(__file__).parents[1] / "recorded" / "prefect1"

STATES = json.loads((_FOLDER / "states.json").read_text("utf-8"))
"""Serialized states of all classes, by name."""
PREDICATES = json.loads((_FOLDER / "state_predicates.json").read_text("utf-8"))
"""What the predicates of each of `STATES` return, by the same names."""
EXCHANGES = sorted(path.stem for path in (_FOLDER / "wire").glob("*.json"))
"""The names of recorded exchanges."""
ERRORS = sorted(path.stem for path in (_FOLDER / "errors").glob("*.json"))
"""The names of recorded errors."""

RUN = "4edbba39-67c2-4746-b176-eb7641704653"
TASK_RUN = "906fafc8-2c08-47c1-abdc-27cd0ae2d0fc"
FLOW = "b9fab646-837d-49ba-8082-b5c7e9836793"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)

LOGS = LogsQuery(flow_run_ids=(RUN,))
TASK_RUNS = TaskRunsQuery(flow_run_ids=(RUN,))

QUERIES: tuple[Prefect1Query, ...] = (
    RunQuery(RUN),
    RunsQuery(where=RunFilter(flow_run_ids=(RUN,))),
    StatesQuery(RUN),
    LOGS,
    TASK_RUNS,
    TaskRunQuery(TASK_RUN),
    TaskRunStatesQuery((TASK_RUN,)),
    ResultQuery(TASK_RUN),
    ResultsQuery((TASK_RUN, RUN)),
    FlowsQuery("demo"),
    FlowQuery(FLOW),
    AgentsQuery(),
)
"""One query of each kind that is sent."""
KINDS = [type(query).__name__ for query in QUERIES]
"""Their names, as ids of test cases."""


def recording(name: str, folder: str = "wire") -> Any:
    """Load a recorded exchange."""
    return json.loads((_FOLDER / folder / f"{name}.json").read_text("utf-8"))


def recorded_rows(name: str) -> list[dict[str, Any]]:
    """Load the rows of the one table that a recorded exchange is about."""
    (rows,) = recording(name)["response"]["data"].values()
    found: list[dict[str, Any]] = rows
    return found


def rows_reply(*rows: Any) -> HttpResponse:
    """Build a good reply of some rows."""
    return json_reply({"data": {"rows": rows}})


def read_page(query: Prefect1Query, reply: HttpResponse) -> Page[Any]:
    """Read a reply that must be a page."""
    page = read_reply(query, reply)
    assert isinstance(page, Page), page
    return page


def read_failure(query: Prefect1Query, reply: HttpResponse) -> Failure:
    """Read a reply that must be a failure."""
    failure = read_reply(query, reply)
    assert isinstance(failure, Failure), failure
    return failure


# -- rows with all columns that our queries request ----------------------------------------------

TIMES = {"created": "2026-11-22T14:34:05.5+00:00", "updated": "2026-11-22T14:34:20+00:00"}
"""The times of a row, as they are sent."""
READ_TIMES: Any = {name: datetime.fromisoformat(text) for name, text in TIMES.items()}
"""The same times, as they are read."""


def state_row(serialized: Any, **columns: Any) -> dict[str, Any]:
    """Build a row of a flow run's states from a serialized state."""
    return {
        "id": "0b3e1a52-8c26-4f4c-8d51-27a4f5d5a1c0",
        "version": 3,
        "timestamp": "2026-11-22T14:34:20.083+00:00",
        "state": serialized["type"],
        "message": serialized["message"],
        "serialized_state": serialized,
        **columns,
    }


def flow_run_row(**columns: Any) -> dict[str, Any]:
    """Build the row of the recorded flow run, with its last state."""
    (row,) = recorded_rows("flow_run_Success")
    last = row["states"][-1]
    state = state_row(last["serialized_state"], timestamp=last["timestamp"], version=4)
    times = {
        "scheduled_start_time": "2026-11-22T14:34:05.12951+00:00",
        "start_time": "2026-11-22T14:34:13+00:00",
        "end_time": None,
    }
    more = {"states": [state], "created": TIMES["created"], **times}
    return {**row, **more, **columns}


def log_row(number: int = 0, **columns: Any) -> dict[str, Any]:
    """Build the row of a recorded log line."""
    return {
        **recorded_rows("flow_run_logs_initial")[0]["logs"][number],
        "id": f"00000000-0000-4000-8000-{number:012}",
        "flow_run_id": RUN,
        "task_run_id": None,
        "created": "2026-11-22T14:34:21.25+00:00",
        "name": "prefect.noisy",
        **columns,
    }


def task_run_row(number: int = 0, **columns: Any) -> dict[str, Any]:
    """Build the row of a recorded task run."""
    row = recorded_rows("task_run_all")[number]
    return {
        **row,
        **TIMES,
        "task": {**row["task"], "name": row["task"]["slug"].removesuffix("-1")},
        "version": 3,
        "state": row["serialized_state"]["type"],
        "state_timestamp": "2026-11-22T14:34:16.9+00:00",
        "start_time": "2026-11-22T14:34:15+00:00",
        "end_time": None,
        **columns,
    }


def flow_row(**columns: Any) -> dict[str, Any]:
    """Build the row of the recorded flow."""
    return {**recorded_rows("flow")[0], **TIMES, "version": 2, **columns}


def agent_row(**columns: Any) -> dict[str, Any]:
    """Build the row of the recorded agent, which has all requested columns."""
    return {**recorded_rows("agent")[0], **columns}


ROWS: Mapping[type, dict[str, Any]] = {
    RunQuery: flow_run_row(),
    RunsQuery: flow_run_row(),
    StatesQuery: state_row(STATES["Running"]),
    LogsQuery: log_row(),
    TaskRunsQuery: task_run_row(),
    TaskRunQuery: task_run_row(),
    TaskRunStatesQuery: state_row(STATES["Running"], task_run_id=TASK_RUN),
    ResultsQuery: {"id": TASK_RUN, "serialized_state": STATES["Mapped"]},
    ResultQuery: {"id": TASK_RUN, "serialized_state": STATES["Success_LocalResult"]},
    FlowsQuery: flow_row(),
    FlowQuery: flow_row(),
    AgentsQuery: agent_row(),
}
"""A row of the reply to each kind of query."""

NEEDED_COLUMNS: Mapping[type, set[str]] = {
    RunQuery: {"id", "created", "updated"},
    RunsQuery: {"id", "created", "updated"},
    StatesQuery: {"id", "timestamp"},
    LogsQuery: {"id", "flow_run_id", "timestamp", "created"},
    TaskRunsQuery: {"id", "created", "updated"},
    FlowsQuery: {"id", "created", "updated"},
    AgentsQuery: {"id"},
}
"""The columns without which a row cannot be read; they are not null in the server's tables."""


def query_of(kind: type) -> Prefect1Query:
    """Return the one of `QUERIES` that is of a type."""
    return next(query for query in QUERIES if type(query) is kind)
