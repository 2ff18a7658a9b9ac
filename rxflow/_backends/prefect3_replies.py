"""Replies of Prefect 3's REST API: pages and failures, from the replies of version 3.8.8.

A tolerant reader: unknown fields are ignored, unknown state types are kept as text, and of a list
with a malformed row the other rows are kept.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec.structs import asdict, replace

from rxflow._backends.backend import HttpResponse
from rxflow._backends.headers import is_json, server_time
from rxflow._backends.json_bodies import DECODE_ERRORS, UnreadableBody, decode_body
from rxflow._backends.prefect1_replies import is_reply_to_another_api
from rxflow._backends.reply_failures import (
    after_comma,
    printable,
    run_not_found,
    status_failure,
    unreadable_body,
)
from rxflow._backends.reply_identity import about_another, check_identity
from rxflow._backends.row_decoder import RowDecoder
from rxflow._models.entities import (
    BackendName,
    ChangeReply,
    Deployment,
    Flow,
    FlowRun,
    Server,
    StoredResult,
    TaskRun,
    TaskRunState,
    Worker,
    WorkPool,
)
from rxflow._models.states import State
from rxflow._models.times import Instant
from rxflow._protocol.failures import Failure, FailureKind, Reply
from rxflow._protocol.pages import Page
from rxflow._protocol.queries import (
    DeploymentQuery,
    FlowQuery,
    FlowsQuery,
    LogsQuery,
    NamedDeploymentQuery,
    Query,
    ResultQuery,
    RunCancellation,
    RunCreation,
    RunQuery,
    RunsQuery,
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

_API_HINT = "the URL of a self-hosted server's API ends in /api"


class _Error(msgspec.Struct, frozen=True):
    """The two keys under which Prefect 3 explains an error."""

    detail: Any = None
    exception_message: str | None = None


class _CsrfToken(msgspec.Struct, frozen=True):
    token: Annotated[str, msgspec.Meta(pattern="^[!-~]+$")]  # it is sent in a header


class _LogRow(msgspec.Struct, frozen=True, kw_only=True):
    """A log row, without the fields of an event that a server's keys must not set."""

    id: str
    flow_run_id: str
    timestamp: Instant
    created: Instant
    level: int
    name: str
    message: str
    task_run_id: str | None = None


class _StateDetails(msgspec.Struct, frozen=True):
    flow_run_id: str | None = None
    task_run_id: str | None = None


class _StateOwner(msgspec.Struct, frozen=True):
    """A state, read for the run that it belongs to."""

    state_details: _StateDetails = _StateDetails()


class _Serializer(msgspec.Struct, frozen=True, kw_only=True):
    type: str | None = None


class _ResultMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """A state's ``data`` where its result was persisted."""

    storage_key: str | None = None
    storage_block_id: str | None = None
    serializer: _Serializer = _Serializer()


class _ResultState(msgspec.Struct, frozen=True, kw_only=True):
    data: Any = None


class _ResultRow(msgspec.Struct, frozen=True, kw_only=True):
    """A task run, read for its result."""

    state: _ResultState | None = None

    def to_stored_result(self) -> StoredResult:
        data = self.state.data if self.state is not None else None
        if data is None:
            return StoredResult()
        metadata = msgspec.convert(data, _ResultMetadata)
        return StoredResult(
            location=metadata.storage_key,
            form=metadata.serializer.type,
            storage=metadata.storage_block_id and f"storage block {metadata.storage_block_id}",
        )


class _CreatedRun(msgspec.Struct, frozen=True, kw_only=True):
    """A flow run, read for its id alone."""

    id: str

    def to_change_reply(self) -> ChangeReply:
        return ChangeReply(flow_run_id=self.id)


class _TransitionDetails(msgspec.Struct, frozen=True, kw_only=True):
    reason: str | None = None


class _Transition(msgspec.Struct, frozen=True, kw_only=True):
    """What the server did with a state that was proposed.

    It accepts the state, or puts the run in another (REJECT), or leaves the run as it is (ABORT,
    WAIT).
    """

    status: str
    details: _TransitionDetails = _TransitionDetails()

    def to_change_reply(self) -> ChangeReply:
        if self.status in {"ACCEPT", "REJECT"}:
            return ChangeReply()
        return ChangeReply(refusal=printable(self.details.reason or self.status))


_decode_csrf_token = msgspec.json.Decoder(_CsrfToken).decode
_decode_error = msgspec.json.Decoder(_Error).decode
_decode_log_events = msgspec.json.Decoder(tuple[FlowRunLog, ...]).decode
_decode_owners = msgspec.json.Decoder(tuple[_StateOwner, ...]).decode
_decode_version = msgspec.json.Decoder(str).decode

_DEPLOYMENT = RowDecoder(Deployment)
_FLOW = RowDecoder(Flow)
_FLOW_RUN = RowDecoder(FlowRun)
_LOG = RowDecoder(_LogRow)
_STATE = RowDecoder(State)
_TASK_RUN = RowDecoder(TaskRun)
_WORK_POOL = RowDecoder(WorkPool)

_LISTS: Mapping[type, RowDecoder] = {
    RunsQuery: _FLOW_RUN,
    StatesQuery: _STATE,
    TaskRunsQuery: _TASK_RUN,
    FlowsQuery: _FLOW,
    WorkersQuery: RowDecoder(Worker),
}

_SINGLE_ROWS: Mapping[type, RowDecoder] = {
    RunQuery: _FLOW_RUN,
    TaskRunQuery: _TASK_RUN,
    ResultQuery: RowDecoder(_ResultRow, _ResultRow.to_stored_result),
    FlowQuery: _FLOW,
    DeploymentQuery: _DEPLOYMENT,
    NamedDeploymentQuery: _DEPLOYMENT,
    WorkPoolQuery: _WORK_POOL,
    RunCreation: RowDecoder(_CreatedRun, _CreatedRun.to_change_reply),
    RunCancellation: RowDecoder(_Transition, _Transition.to_change_reply),
}


def read_reply(query: Query, reply: HttpResponse) -> Reply:
    """Read the reply to a query; never raises."""
    if reply.status in {200, 201}:
        return _read_good_reply(query, reply)
    if reply.status == 404 and _may_be_missing(query, reply):
        rows = (_server(None),) if isinstance(query, ServerQuery) else ()
        return Page(rows, server_time(reply))
    if isinstance(query, RunCreation) and reply.status in {400, 409, 422} and is_json(reply):
        refusal = _error_text(reply) or f"HTTP {reply.status}"
        return Page((ChangeReply(refusal=refusal),), server_time(reply))
    return _read_failure(query, reply)


def needs_csrf_token(reply: HttpResponse) -> bool:
    """Whether the server refused a call because its CSRF token is missing, unknown or expired."""
    return reply.status == 403 and "CSRF token" in _error_text(reply)


def read_csrf_headers(reply: HttpResponse, client_id: str) -> tuple[tuple[str, str], ...]:
    """Read a CSRF token, and build the headers that send it; none if the server gave no token."""
    try:
        token = _decode_csrf_token(reply.body).token
    except DECODE_ERRORS:
        return ()
    return (("Prefect-Csrf-Token", token), ("Prefect-Csrf-Client", client_id))


# -- good replies ---------------------------------------------------------------------------------


def _read_good_reply(query: Query, reply: HttpResponse) -> Reply:
    time = server_time(reply)
    try:
        page = decode_body(reply.body, lambda body: _decode_page(query, body, time))
    except UnreadableBody as error:
        if isinstance(query, ServerQuery) and not error.is_json:
            return Page((_server(None),), time)  # the next query shows whether it is a Prefect 3
        return unreadable_body(query, reply, error, _API_HINT)
    wanted = _run_of(query)
    if wanted is not None and (run := _run_of_states(reply.body, wanted, query)):
        return about_another(query, wanted, run)
    return check_identity(query, page)


def _run_of(query: Query) -> str | None:
    """Return the flow run or the task run whose states are queried."""
    match query:
        case StatesQuery(wanted) | TaskRunStatesQuery((wanted, *_)):
            return wanted
        case _:
            return None


def _run_of_states(body: bytes, wanted: str, query: Query) -> str | None:
    """Read which other run all states of a page are of; None if one may be of the run wanted."""
    try:
        owners = [row.state_details for row in _decode_owners(body)]
    except DECODE_ERRORS:  # a page with malformed rows
        return None
    of_task_runs = isinstance(query, TaskRunStatesQuery)
    runs = {owner.task_run_id if of_task_runs else owner.flow_run_id for owner in owners}
    return next(iter(runs)) if runs and runs.isdisjoint({None, wanted}) else None


def _decode_page(query: Query, body: bytes, time: datetime | None) -> Page[Any]:
    match query:
        case LogsQuery():
            return _decode_log_page(body, time)
        case ServerQuery():
            return Page((_server(_decode_version(body)),), time)
        case WorkPoolsQuery(offset):
            page = _WORK_POOL.decode_page(body, time)
            # The server chooses how many rows a page has, so only an empty page is the last one.
            rest = WorkPoolsQuery(offset + page.count) if page.count else None
            return replace(page, next_query=rest)
        case TaskRunStatesQuery((task_run_id, *others)):
            states = _STATE.decode_page(body, time)
            rows = tuple(TaskRunState(task_run_id, state) for state in states.rows)
            following = replace(query, task_run_ids=tuple(others)) if others else None
            return replace(states, rows=rows, next_query=following)
        case _ if type(query) in _LISTS:
            return _LISTS[type(query)].decode_page(body, time)
        case _:
            return Page((_SINGLE_ROWS[type(query)].decode_row(body),), time)


def _decode_log_page(body: bytes, time: datetime | None) -> Page[FlowRunLog]:
    """Decode rows straight into events, unless one has a key that only an event may have."""
    with suppress(msgspec.ValidationError):
        events = _decode_log_events(body)
        unset = msgspec.UNSET
        if not any(event.late or event.replayed or event.root is not unset for event in events):
            return Page(events, time)
    page: Page[_LogRow] = _LOG.decode_page(body, time)
    return Page(tuple(FlowRunLog(**asdict(row)) for row in page.rows), time, page.malformed)


def _server(version: str | None) -> Server:
    return Server(backend=BackendName.PREFECT_3, version=version)


# -- failures -------------------------------------------------------------------------------------

_LIMIT = re.compile(r"\blimit\b.* less than or equal to ([0-9]+)", re.IGNORECASE)


def _read_failure(query: Query, reply: HttpResponse) -> Failure:
    status, error_text = reply.status, _error_text(reply)
    if status == 404 and (missing := _missing_run(query, error_text)):
        return run_not_found(missing)
    if status in {401, 403}:
        return Failure(
            kind=FailureKind.AUTH,
            text=f"The server refused access (HTTP {status}{after_comma(error_text)}); check "
            "PREFECT_API_KEY, or PREFECT_API_AUTH_STRING for a self-hosted server",
        )
    if is_reply_to_another_api(reply):
        return Failure(
            kind=FailureKind.NOT_AN_API,
            text=f"The server is not a Prefect 3: it replies with HTTP {status} as a Prefect 1 "
            "does; set the backend to prefect1, or leave it out to detect it",
        )
    if status == 422 and (limit := _LIMIT.search(error_text)):
        return Failure(kind=FailureKind.PAGE_LIMIT, text=error_text, limit=int(limit[1]))
    return status_failure(query, reply, error_text, _API_HINT)


def _missing_run(query: Query, error_text: str) -> str | None:
    match query:
        case RunQuery(wanted) if error_text == "Flow run not found":
            return wanted
        case RunCancellation(wanted) if error_text == f"Flow run with id {wanted} not found":
            return wanted
        case _:
            return None


def _error_text(reply: HttpResponse) -> str:
    try:
        error = _decode_error(reply.body)
    except DECODE_ERRORS:
        return ""
    text = error.detail if isinstance(error.detail, str) else error.exception_message
    return printable(text or "")


def _may_be_missing(query: Query, reply: HttpResponse) -> bool:
    """Whether status 404 is a page without rows: of all entities, only the run must exist."""
    match query:
        case RunQuery() | RunsQuery() | StatesQuery() | LogsQuery() | TaskRunsQuery():
            return False
        case TaskRunStatesQuery() | FlowsQuery() | WorkPoolsQuery() | RunCancellation():
            return False
        case ServerQuery():
            return True  # the next query shows whether it is a Prefect 3
        case _:
            return is_json(reply)
