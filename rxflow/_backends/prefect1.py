"""Prefect 1's GraphQL API: questions, answers and errors, as Prefect Server speaks them.

Lists are read in pages. A server may have a limit to its rows, of which it says nothing: it gives
fewer than it was asked for. So the first pages that are shorter than they may be are looked into.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from rxflow._backends.backend import Conversation, HttpCall, HttpReply
from rxflow._backends.bodies import read_body
from rxflow._backends.headers import is_json, server_time
from rxflow._backends.prefect1_queries import Listed, any_rows, call_of
from rxflow._backends.prefect1_rows import (
    AGENT,
    FLOW,
    FLOW_RUN,
    ID,
    LOG,
    RESULT,
    STATE,
    TASK_RUN,
    TASK_STATE,
)
from rxflow._backends.rows import RowDecoder, page_of
from rxflow._backends.status_failures import (
    after_comma,
    not_an_api,
    plain,
    rejected,
    run_missing,
    status_failure,
    unreadable,
)
from rxflow._models.entities import BackendName, Server
from rxflow._protocol.failures import Failure, FailureKind, Reply
from rxflow._protocol.pages import Page
from rxflow._protocol.queries import (
    PAGE_LIMIT,
    AgentsQuery,
    DeploymentQuery,
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

_ADVICE = "Prefect Server's API is at the root of port 4200"

_LEAST = 2  # rows that any server gives at once

# -- the codec ----------------------------------------------------------------------------------


class Prefect1:
    """The codec."""

    def __init__(self) -> None:
        """Make a codec that has yet to learn how many rows the server gives at once."""
        self._limits: dict[type, int] = {}
        self._most: dict[type, int] = {}
        self._measured: dict[type, int] = {}

    def encode(self, query: Query) -> HttpCall | Reply:
        """Put a question into the server's words, or answer what the server has no word for."""
        match query:
            case ServerQuery():
                return Page((Server(backend=BackendName.PREFECT_1),))
            case DeploymentQuery() | WorkPoolQuery() | WorkPoolsQuery() | WorkersQuery():
                return Page(())  # it has agents instead
            case LogsQuery() | TaskRunsQuery() if query.limit > self._limit(query):
                return _page_limit(self._limit(query))
            case _:
                return call_of(query, self._limit(query))

    def decode(self, query: Query, reply: HttpReply) -> Reply:
        """Read the answer to a question; never raises."""
        return _decoded(query, reply, lambda rows: _rows_of(query, rows, server_time(reply)))

    def check(self, query: Query, page: Page[Any]) -> Conversation[Reply]:
        """See whether a short page is all there is, unless the server has given longer ones."""
        if not isinstance(query, Listed):
            return page
        kind, count = type(query), page.count
        if self._longest(kind) <= count < self._wanted(query):
            cut_off = yield from self._is_cut_off(query, count)
            if isinstance(cut_off, Failure):
                return cut_off
            if cut_off:
                self._limits[kind] = count
                if isinstance(query, LogsQuery | TaskRunsQuery):
                    return _page_limit(count)
        self._most[kind] = max(self._longest(kind), count)
        if isinstance(query, StatesQuery | AgentsQuery) and count >= self._wanted(query):
            return replace(page, next_query=replace(query, offset=query.offset + count))
        return page

    def _is_cut_off(self, query: Listed, count: int) -> Conversation[bool | Failure]:
        """Whether a page of so many rows was cut off there.

        If there are more rows than that, and the page from the first row on has as many again, it
        is the most that the server gives. Rows that are stored in between make that page longer.
        """
        if (yield from self._gives_more(query, count)):
            return False
        if query.offset == 0:  # else there are more rows, those before it
            beyond = yield from self._count(replace(query, offset=count))
            if isinstance(beyond, Failure) or beyond == 0:
                return beyond if isinstance(beyond, Failure) else False
        again = yield from self._count(replace(query, offset=0))
        if isinstance(again, Failure):
            return again
        self._most[type(query)] = max(self._longest(type(query)), again)
        return again == count

    def _gives_more(self, query: Listed, count: int) -> Conversation[bool]:
        """Whether the server gives more rows of any runs, which it shows once for all.

        While it has hardly more than those that are asked for, that is tried as often as they
        double.
        """
        kind, call = type(query), any_rows(query)
        if call is None or count < 2 * self._measured.get(kind, 0):
            return False
        self._measured[kind] = count
        page: Page[Any] | HttpReply | Failure = yield call
        if isinstance(page, HttpReply):
            page = _decoded(query, page, lambda rows: page_of(ID, rows, None))
        # Where that cannot be had, there are other ways.
        most = page.count if isinstance(page, Page) else 0
        self._most[kind] = max(self._longest(kind), most)
        return most > count

    def _count(self, query: Listed) -> Conversation[int | Failure]:
        call = self.encode(query)
        reply = (yield call) if isinstance(call, HttpCall) else call
        page = self.decode(query, reply) if isinstance(reply, HttpReply) else reply
        return page if isinstance(page, Failure) else page.count

    def _wanted(self, query: Listed) -> int:
        """How many rows are asked for."""
        return min(query.limit, self._limit(query))

    def _limit(self, query: Query) -> int:
        """The most rows to ask for."""
        return self._limits.get(type(query), PAGE_LIMIT)

    def _longest(self, kind: type) -> int:
        """As many rows as were seen at once, which the server gives at the least."""
        return self._most.get(kind, _LEAST)

    def task_names(self, task_key: str) -> tuple[str, ...]:
        """What a task goes by beside its slug: the slug alone."""
        del task_key
        return ()

    def pass_call(self, reply: HttpReply, client: str) -> HttpCall | None:
        """No pass is ever needed."""
        del reply, client
        return None

    def pass_headers(self, reply: HttpReply, client: str) -> tuple[tuple[str, str], ...]:
        """No pass is ever given."""
        del reply, client
        return ()


# -- good answers -------------------------------------------------------------------------------


class _Error(msgspec.Struct, frozen=True, kw_only=True):
    message: Any = None
    extensions: Any = None

    @property
    def text(self) -> str:
        return plain(self.message) if isinstance(self.message, str) else ""

    @property
    def code(self) -> str | None:
        match self.extensions:
            case {"code": str(code)}:
                return code
            case _:
                return None


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    data: dict[str, msgspec.Raw] | None = None
    errors: tuple[_Error, ...] | None = None


_answer = msgspec.json.Decoder(_Answer).decode
_NOTHING = msgspec.Raw(b"null")


_Reader = Callable[[msgspec.Raw], Reply]


def _decoded(query: Query, reply: HttpReply, rows: _Reader) -> Reply:
    if (failure := _out_of_order(query, reply)) is not None:
        return failure

    def page(body: bytes) -> Reply:
        answer = _answer(body)
        if answer.errors:
            return _refused(query, reply, answer.errors)
        if answer.data is None:
            return not_an_api(reply, _ADVICE)
        return rows(answer.data.get("rows", _NOTHING))

    def otherwise(reason: str) -> Failure:
        return unreadable(query, reason) if is_json(reply) else not_an_api(reply, _ADVICE)

    return read_body(query, reply.body, page, otherwise)


def _rows_of(query: Query, rows: msgspec.Raw, time: datetime | None) -> Reply:
    if type(query) in _LISTS:
        return page_of(_LISTS[type(query)], rows, time)
    match query:
        case RunQuery(flow_run_id):
            runs = FLOW_RUN.many(rows)
            return Page(runs, time) if runs else run_missing(flow_run_id)
        case TaskRunStatesQuery():
            states = (state for state in TASK_STATE.many(rows) if state is not None)
            return Page(tuple(states), time)
        case TaskRunQuery():
            return Page(TASK_RUN.many(rows), time)
        case ResultQuery() | ResultsQuery():
            return Page(RESULT.many(rows), time)
        case _:
            return Page(FLOW.many(rows), time)


_LISTS: Mapping[type, RowDecoder] = {
    StatesQuery: STATE,
    LogsQuery: LOG,
    TaskRunsQuery: TASK_RUN,
    AgentsQuery: AGENT,
}


# -- bad answers --------------------------------------------------------------------------------

# Told with HTTP status 200 as often as not, so it is the code of an error that counts: of these the
# gateway has two, the database's API one each of the others.
_NOT_TAKEN = frozenset(
    {
        *("GRAPHQL_PARSE_FAILED", "GRAPHQL_VALIDATION_FAILED"),
        *("data-exception", "validation-failed"),
    }
)
_NOT_LET_IN = frozenset({"UNAUTHENTICATED", "FORBIDDEN"})
_MALFORMED_HEADER = "Malformed Authorization header"


def _page_limit(limit: int) -> Failure:
    text = f"The server gives {limit} rows at once"
    return Failure(kind=FailureKind.PAGE_LIMIT, text=text, limit=limit)


def _refused(query: Query, reply: HttpReply, errors: tuple[_Error, ...]) -> Failure:
    for error in errors:
        if error.code in _NOT_LET_IN or _MALFORMED_HEADER in error.text:
            return _no_access(reply, error.text)
    for error in errors:
        if error.code in _NOT_TAKEN or reply.status == 400:
            return rejected(query, reply.status, error.text)
    # INTERNAL_SERVER_ERROR while a service behind the gateway is down, API_ERROR for a time-out.
    code, said = errors[0].code or "no code", after_comma(errors[0].text)
    return Failure(kind=FailureKind.SERVER, text=f"The server failed ({plain(code)}{said})")


def _out_of_order(query: Query, reply: HttpReply) -> Failure | None:
    status = reply.status
    if status in {200, 400}:
        return None
    if status in {401, 403}:
        return _no_access(reply, "")
    return status_failure(query, reply, "", _ADVICE)


def _no_access(reply: HttpReply, said: str) -> Failure:
    return Failure(
        kind=FailureKind.AUTH,
        text=f"The server refused access (HTTP {reply.status}{after_comma(said)}); check the key: "
        "RXFLOW_API_KEY, PREFECT__CLOUD__API_KEY or `prefect auth login`",
    )


# -- getting to know a server -------------------------------------------------------------------


def is_greeting(reply: HttpReply) -> bool:
    """Whether that is an answer of GraphQL's, good or bad."""
    try:
        answer = _answer(reply.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    refused = any(error.text for error in answer.errors or ())
    return refused or (answer.data is not None and "hello" in answer.data)
