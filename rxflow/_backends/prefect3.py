"""Prefect 3's REST API: paths, filters, answers and errors, as Prefect 3.8.8 speaks them.

A tolerant reader: unknown fields are passed over, unknown state types are kept as text, and of a
list in which one row cannot be read the others are taken.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Any, assert_never
from urllib.parse import quote

import msgspec
from msgspec.structs import replace

from rxflow._backends.backend import Conversation, HttpCall, HttpReply
from rxflow._backends.bodies import JSON_HEADERS, encode_json, read_body
from rxflow._backends.headers import is_json, server_time
from rxflow._backends.rows import RowDecoder, page_of
from rxflow._backends.status_failures import (
    after_comma,
    not_an_api,
    plain,
    run_missing,
    status_failure,
    unreadable,
)
from rxflow._models.entities import (
    BackendName,
    Deployment,
    Flow,
    FlowRun,
    Server,
    StoredResult,
    TaskRun,
    Worker,
    WorkPool,
)
from rxflow._models.states import State
from rxflow._models.times import Instant
from rxflow._protocol.failures import Failure, FailureKind, Reply
from rxflow._protocol.pages import Page
from rxflow._protocol.queries import (
    AgentsQuery,
    DeploymentQuery,
    FlowQuery,
    FlowsQuery,
    LogsQuery,
    Query,
    ResultQuery,
    ResultsQuery,
    RunQuery,
    ServerQuery,
    StatesQuery,
    TaskRunQuery,
    TaskRunsQuery,
    TaskRunStatesQuery,
    WorkersQuery,
    WorkPoolQuery,
    WorkPoolsQuery,
)
from rxflow.events import FlowRunLog


class _Error(msgspec.Struct, frozen=True):
    """The three keys under which Prefect 3 says what is wrong."""

    detail: Any = None
    exception_message: str | None = None
    exception_detail: Any = None

    @property
    def text(self) -> str:
        said = self.detail if isinstance(self.detail, str) else self.exception_message or ""
        return plain(said)


class _Csrf(msgspec.Struct, frozen=True):
    token: Annotated[str, msgspec.Meta(pattern="^[!-~]+$")]  # goes into a header


class _Log(msgspec.Struct, frozen=True, kw_only=True):
    """A log row: an event's other fields are not for a server's keys to fill."""

    id: str
    flow_run_id: str
    timestamp: Instant
    created: Instant
    level: int
    name: str
    message: str
    task_run_id: str | None = None


class _Serializer(msgspec.Struct, frozen=True, kw_only=True):
    type: str | None = None


class _ResultMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """What a state has for ``data`` where its result was persisted."""

    storage_key: str | None = None
    storage_block_id: str | None = None
    serializer: _Serializer = _Serializer()


class _StateOfResult(msgspec.Struct, frozen=True, kw_only=True):
    data: Any = None


class _TaskRunOfResult(msgspec.Struct, frozen=True, kw_only=True):
    state: _StateOfResult | None = None

    def stored(self) -> StoredResult:
        data = self.state.data if self.state is not None else None
        if data is None:
            return StoredResult()
        metadata = msgspec.convert(data, _ResultMetadata)
        return StoredResult(
            location=metadata.storage_key,
            form=metadata.serializer.type,
            storage=metadata.storage_block_id and f"storage block {metadata.storage_block_id}",
        )


_csrf = msgspec.json.Decoder(_Csrf).decode
_error = msgspec.json.Decoder(_Error).decode
_log_events = msgspec.json.Decoder(tuple[FlowRunLog, ...]).decode


_LOGS = RowDecoder(_Log)
_STATE = RowDecoder(State)
_TASK_RUN = RowDecoder(TaskRun)
_FLOW = RowDecoder(Flow)
_WORK_POOL = RowDecoder(WorkPool)
_version = msgspec.json.Decoder(str).decode

_LISTS: Mapping[type, RowDecoder] = {
    StatesQuery: _STATE,
    TaskRunStatesQuery: _STATE,
    TaskRunsQuery: _TASK_RUN,
    FlowsQuery: _FLOW,
    WorkersQuery: RowDecoder(Worker),
}

_ONES: Mapping[type, RowDecoder] = {
    RunQuery: RowDecoder(FlowRun),
    TaskRunQuery: _TASK_RUN,
    ResultQuery: RowDecoder(_TaskRunOfResult, _TaskRunOfResult.stored),
    FlowQuery: _FLOW,
    DeploymentQuery: RowDecoder(Deployment),
    WorkPoolQuery: _WORK_POOL,
}

_ADVICE = "the URL of a self-hosted server's API ends in /api"

_HASH = re.compile(r"-[0-9a-f]{8}$")


class Prefect3:
    """The codec."""

    def __init__(self, server: Server | None = None) -> None:
        """Make a codec.

        Args:
            server: What is known of the server; if nothing is, it can be asked.
        """
        self._server = server

    def encode(self, query: Query) -> HttpCall | Reply:
        """Put a question into the server's words, or answer what the server has no word for."""
        match query:
            case ServerQuery():
                return Page((self._server,)) if self._server else WHO
            case AgentsQuery() | ResultsQuery():
                return Page(())  # it has workers instead, and no parents of mapped task runs
            case RunQuery(flow_run_id):
                return _get(f"/flow_runs/{_segment(flow_run_id)}")
            case StatesQuery(flow_run_id):
                return _get("/flow_run_states/", ("flow_run_id", flow_run_id))
            case LogsQuery():
                return _logs(query)
            case TaskRunsQuery() | TaskRunQuery() | TaskRunStatesQuery() | ResultQuery():
                return _of_task_runs(query)
            case FlowsQuery() | FlowQuery():
                return _of_flows(query)
            case DeploymentQuery(deployment_id):
                return _get(f"/deployments/{_segment(deployment_id)}")
            case WorkPoolQuery() | WorkPoolsQuery() | WorkersQuery():
                return _of_work_pools(query)
            case _:
                assert_never(query)

    def decode(self, query: Query, reply: HttpReply) -> Reply:
        """Read the answer to a question; never raises."""
        if reply.status in {200, 201}:
            return _read(query, reply)
        if reply.status == 404 and _may_be_missing(query, reply):
            missing = (_server(None),) if isinstance(query, ServerQuery) else ()
            return Page(missing, server_time(reply))
        return _failure(query, reply)

    def check(self, query: Query, page: Page[Any]) -> Conversation[Reply]:
        """Believe the answer."""
        del query
        yield from ()
        return page

    def task_names(self, task_key: str) -> tuple[str, ...]:
        """The key without the hash of the task's code, if it has one."""
        plain = _HASH.sub("", task_key)
        return (plain,) if plain not in {"", task_key} else ()

    def pass_call(self, reply: HttpReply, client: str) -> HttpCall | None:
        """The call for a CSRF token, if an answer says that it is missing or worn out."""
        if reply.status == 403 and "CSRF token" in _said(reply):
            return _get("/csrf-token", ("client", client))
        return None

    def pass_headers(self, reply: HttpReply, client: str) -> tuple[tuple[str, str], ...]:
        """The headers that show a CSRF token; none where the server gave none."""
        try:
            token = _csrf(reply.body).token
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return ()
        return (("Prefect-Csrf-Token", token), ("Prefect-Csrf-Client", client))


# -- questions ----------------------------------------------------------------------------------


def _get(path: str, *params: tuple[str, str]) -> HttpCall:
    return HttpCall(method="GET", path=path, params=params)


def _post(path: str, body: Mapping[str, Any]) -> HttpCall:
    return HttpCall(method="POST", path=path, headers=JSON_HEADERS, body=encode_json(body))


WHO = _get("/admin/version")
"""The call that shows whether it is a Prefect 3 that answers, and which."""


def _segment(name: str) -> str:
    return quote(name, safe="")


def _logs(query: LogsQuery) -> HttpCall:
    where: dict[str, Any] = {"flow_run_id": {"any_": query.flow_run_ids}}
    if query.level:
        where["level"] = {"ge_": query.level}
    bounds = {"after_": query.after, "before_": query.before}  # both inclusive
    if time := {name: bound for name, bound in bounds.items() if bound is not None}:
        where["timestamp"] = time
    return _post(
        "/logs/filter",
        {
            "logs": where,
            "sort": "TIMESTAMP_DESC" if query.descending else "TIMESTAMP_ASC",
            "offset": query.offset,
            "limit": query.limit,
        },
    )


def _of_task_runs(
    query: TaskRunsQuery | TaskRunQuery | TaskRunStatesQuery | ResultQuery,
) -> HttpCall:
    match query:
        case TaskRunsQuery():
            return _task_runs(query)
        case TaskRunStatesQuery(task_run_id):
            return _get("/task_run_states/", ("task_run_id", task_run_id))
        case TaskRunQuery(task_run_id) | ResultQuery(task_run_id):
            return _get(f"/task_runs/{_segment(task_run_id)}")
        case _:
            assert_never(query)


def _of_flows(query: FlowsQuery | FlowQuery) -> HttpCall:
    match query:
        case FlowsQuery(name):
            return _post("/flows/filter", {"flows": {"name": {"any_": [name]}}})
        case FlowQuery(flow_id):
            return _get(f"/flows/{_segment(flow_id)}")
        case _:
            assert_never(query)


def _of_work_pools(query: WorkPoolQuery | WorkPoolsQuery | WorkersQuery) -> HttpCall:
    match query:
        case WorkPoolQuery(name):
            return _get(f"/work_pools/{_segment(name)}")
        case WorkPoolsQuery():
            return _post("/work_pools/filter", {"offset": query.offset})
        case WorkersQuery(name):
            return _post(f"/work_pools/{_segment(name)}/workers/filter", {})
        case _:
            assert_never(query)


def _task_runs(query: TaskRunsQuery) -> HttpCall:
    where: dict[str, Any] = {"flow_run_id": {"any_": [query.flow_run_id]}}
    if query.task_run_ids:
        where["id"] = {"any_": query.task_run_ids}
    return _post(
        "/task_runs/filter",
        {
            "task_runs": where,
            # The one order without ties: a row that is there is then on one of the pages, however
            # many others come in between.
            "sort": "ID_DESC",
            "offset": query.offset,
            "limit": query.limit,
        },
    )


# -- good answers -------------------------------------------------------------------------------


def _read(query: Query, reply: HttpReply) -> Reply:
    def otherwise(reason: str) -> Reply:
        if isinstance(query, ServerQuery):
            return Page((_server(None),), server_time(reply))  # the next question will show it
        return unreadable(query, reason) if is_json(reply) else not_an_api(reply, _ADVICE)

    return read_body(query, reply.body, lambda body: _page(query, reply, body), otherwise)


def _server(version: str | None) -> Server:
    return Server(backend=BackendName.PREFECT_3, version=version)


def _page(query: Query, reply: HttpReply, body: bytes) -> Page[Any]:
    time = server_time(reply)
    match query:
        case ServerQuery():
            return Page((_server(_version(body)),), time)
        case AgentsQuery() | ResultsQuery():
            return Page((), time)
        case LogsQuery():
            return _log_page(body, time)
        case WorkPoolsQuery(offset):
            page = page_of(_WORK_POOL, body, time)
            # As many as the server likes to give, so the last page is an empty one.
            rest = WorkPoolsQuery(offset + page.count) if page.count else None
            return replace(page, next_query=rest)
        case _ if type(query) in _LISTS:
            return page_of(_LISTS[type(query)], body, time)
        case _:
            return Page((_ONES[type(query)].one(body),), time)


def _log_page(body: bytes, time: datetime | None) -> Page[FlowRunLog]:
    """Decode rows straight into events, unless one has a key that is the event's own."""
    with suppress(msgspec.ValidationError):
        rows = _log_events(body)
        if not any(row.late or row.replayed for row in rows):
            return Page(rows, time)
    page: Page[_Log] = page_of(_LOGS, body, time)
    events = tuple(FlowRunLog(**msgspec.structs.asdict(row)) for row in page.rows)
    return Page(events, time, page.malformed)


# -- bad answers --------------------------------------------------------------------------------

_LIMIT = re.compile(r"\blimit\b.* less than or equal to ([0-9]+)", re.IGNORECASE)


def _failure(query: Query, reply: HttpReply) -> Failure:
    status, said = reply.status, _said(reply)
    if status == 404 and isinstance(query, RunQuery) and said == "Flow run not found":
        return run_missing(query.flow_run_id)
    if status in {401, 403}:
        return _refused(status, said)
    if status == 422 and (limit := _LIMIT.search(said)):
        return Failure(kind=FailureKind.PAGE_LIMIT, text=said, limit=int(limit[1]))
    return status_failure(query, reply, said, _ADVICE)


def _refused(status: int, said: str) -> Failure:
    return Failure(
        kind=FailureKind.AUTH,
        text=f"The server refused access (HTTP {status}{after_comma(said)}); check "
        "PREFECT_API_KEY, or PREFECT_API_AUTH_STRING for a self-hosted server",
    )


def _said(reply: HttpReply) -> str:
    try:
        return _error(reply.body).text
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""


def _may_be_missing(query: Query, reply: HttpReply) -> bool:
    """Whether 404 is an answer: of all that is asked for, only the run itself must be there."""
    match query:
        case RunQuery() | StatesQuery() | LogsQuery() | TaskRunsQuery():
            return False
        case TaskRunStatesQuery() | FlowsQuery() | WorkPoolsQuery():
            return False
        case ServerQuery():
            return True  # the next question will show what this is
        case _:
            return is_json(reply)
