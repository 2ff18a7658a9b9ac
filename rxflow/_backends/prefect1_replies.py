"""Replies of Prefect 1's GraphQL API: pages and failures, as Prefect Server 1.4 sends them.

Every query names its table `rows`, so that all replies are read alike. Errors are often sent with
HTTP status 200, so the code of an error decides what it means.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from rxflow._backends.backend import HttpResponse
from rxflow._backends.headers import server_time
from rxflow._backends.json_bodies import DECODE_ERRORS, UnreadableBody, decode_body
from rxflow._backends.prefect1_rows import (
    AGENT,
    FLOW,
    FLOW_RUN,
    LOG,
    RESULT,
    STATE,
    TASK_RUN,
    TASK_RUN_STATE,
)
from rxflow._backends.reply_failures import (
    after_comma,
    not_an_api,
    printable,
    query_rejected,
    run_not_found,
    status_failure,
    unreadable_body,
)
from rxflow._backends.reply_identity import check_identity
from rxflow._backends.row_decoder import RowDecoder
from rxflow._models.entities import ChangeReply
from rxflow._protocol.failures import Failure, FailureKind, Reply
from rxflow._protocol.pages import Page
from rxflow._protocol.queries import (
    AgentsQuery,
    LogsQuery,
    Query,
    ResultQuery,
    ResultsQuery,
    RunCancellation,
    RunCreation,
    RunQuery,
    RunsQuery,
    StatesQuery,
    TaskRunQuery,
    TaskRunsQuery,
    TaskRunStatesQuery,
)

T = TypeVar("T")

_API_HINT = (
    "Prefect Server's API is at the root of port 4200; of a Prefect 3 the backend is prefect3"
)

# How the gateway replies, on every path, to what is no GraphQL.
_NO_GRAPHQL = (b"GET query missing", b"POST body missing")


class _Error(msgspec.Struct, frozen=True, kw_only=True):
    message: Any = None
    extensions: Any = None

    @property
    def text(self) -> str:
        return printable(self.message) if isinstance(self.message, str) else ""

    @property
    def code(self) -> str | None:
        match self.extensions:
            case {"code": str(code)}:
                return code
            case _:
                return None


class _Body(msgspec.Struct, frozen=True, kw_only=True):
    data: dict[str, msgspec.Raw] | None = None
    errors: tuple[_Error, ...] | None = None


class _CreatedRun(msgspec.Struct, frozen=True):
    id: str


_decode_created_run = msgspec.json.Decoder(_CreatedRun).decode
_decode_graphql = msgspec.json.Decoder(_Body).decode
_raw_rows = msgspec.json.Decoder(list[msgspec.Raw]).decode
_NO_ROWS = msgspec.Raw(b"null")

_LISTS: Mapping[type, RowDecoder] = {
    RunsQuery: FLOW_RUN,
    StatesQuery: STATE,
    LogsQuery: LOG,
    TaskRunsQuery: TASK_RUN,
    TaskRunStatesQuery: TASK_RUN_STATE,
    AgentsQuery: AGENT,
}


def read_reply(query: Query, reply: HttpResponse) -> Reply:
    """Read the reply to a query; never raises."""
    time = server_time(reply)
    page = _read(query, reply, lambda rows: _decode_page(query, rows, time))
    if isinstance(page, Page):
        return check_identity(query, page)
    if isinstance(query, RunCreation | RunCancellation) and _is_refusal(reply, page):
        return Page((ChangeReply(refusal=page.text),), time)
    return page


def read_row_count(query: Query, reply: HttpResponse) -> int | Failure:
    """Count the rows of a reply, whatever they hold; never raises."""
    return _read(query, reply, lambda rows: len(_raw_rows(rows)))


def is_graphql_reply(reply: HttpResponse) -> bool:
    """Whether a reply to `HELLO_CALL` is GraphQL's, good or bad."""
    try:
        body = _decode_graphql(reply.body)
    except DECODE_ERRORS:
        return False
    has_error = any(error.text for error in body.errors or ())
    return has_error or (body.data is not None and "hello" in body.data)


def is_reply_to_another_api(reply: HttpResponse) -> bool:
    """Whether a reply is that of a Prefect 1 to a request that is no GraphQL."""
    return reply.status in {400, 500} and any(text in reply.body for text in _NO_GRAPHQL)


# -- good replies ---------------------------------------------------------------------------------


def _read(
    query: Query, reply: HttpResponse, decode_rows: Callable[[msgspec.Raw], T | Failure]
) -> T | Failure:
    if reply.status in {401, 403}:
        return _access_refused(reply, "")
    if reply.status not in {200, 400}:
        return status_failure(query, reply, "", _API_HINT)

    def decode(raw: bytes) -> T | Failure:
        body = _decode_graphql(raw)
        if body.errors:
            return _failure_of(query, reply, body.errors)
        if body.data is None:
            return not_an_api(reply, _API_HINT)
        return decode_rows(body.data.get("rows", _NO_ROWS))

    try:
        return decode_body(reply.body, decode)
    except UnreadableBody as error:
        return unreadable_body(query, reply, error, _API_HINT)


def _decode_page(query: Query, rows: msgspec.Raw, time: datetime | None) -> Reply:
    if type(query) in _LISTS:
        return _LISTS[type(query)].decode_page(rows, time)
    match query:
        case RunQuery(flow_run_id):
            runs = FLOW_RUN.decode_rows(rows)
            return Page(runs, time) if runs else run_not_found(flow_run_id)
        case RunCreation():
            return Page((ChangeReply(flow_run_id=_decode_created_run(rows).id),), time)
        case RunCancellation():
            return Page((ChangeReply(),), time)  # of the run that is over, too
        case TaskRunQuery():
            return Page(TASK_RUN.decode_rows(rows), time)
        case ResultQuery() | ResultsQuery():
            return Page(RESULT.decode_rows(rows), time)
        case _:
            return Page(FLOW.decode_rows(rows), time)


# -- failures -------------------------------------------------------------------------------------

_ACCESS_CODES = frozenset({"UNAUTHENTICATED", "FORBIDDEN"})
_MALFORMED_HEADER = "Malformed Authorization header"  # it has no code of its own

# The gateway's two codes, and those of the database's API.
_REJECTION_CODES = frozenset(
    {
        *("GRAPHQL_PARSE_FAILED", "GRAPHQL_VALIDATION_FAILED"),
        *("data-exception", "validation-failed"),
    }
)


def _failure_of(query: Query, reply: HttpResponse, errors: tuple[_Error, ...]) -> Failure:
    for error in errors:
        if error.code in _ACCESS_CODES or _MALFORMED_HEADER in error.text:
            return _access_refused(reply, error.text)
    for error in errors:
        if error.code in _REJECTION_CODES or reply.status == 400:
            return query_rejected(query, reply.status, error.text)
    # INTERNAL_SERVER_ERROR while a service behind the gateway is down, API_ERROR for a time-out.
    code, error_text = errors[0].code or "no code", after_comma(errors[0].text)
    return Failure(
        kind=FailureKind.SERVER, text=f"The server failed ({printable(code)}{error_text})"
    )


def _is_refusal(reply: HttpResponse, failure: Failure) -> bool:
    """Whether the service that makes changes has replied, with an error about this one."""
    return reply.status == 200 and failure.kind is FailureKind.SERVER


def _access_refused(reply: HttpResponse, error_text: str) -> Failure:
    return Failure(
        kind=FailureKind.AUTH,
        text=f"The server refused access (HTTP {reply.status}{after_comma(error_text)}); check "
        "the key: RXFLOW_API_KEY, PREFECT__CLOUD__API_KEY or `prefect auth login`",
    )
