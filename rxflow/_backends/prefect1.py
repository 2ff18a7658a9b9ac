"""Prefect 1's GraphQL API: queries, answers and errors, as Prefect Server speaks them.

Each query is a text of its own, and what varies is in its variables. Lists are read in pages and in
orders without ties. A server may have a limit to its rows, of which it says nothing: it gives fewer
than it was asked for. So the first pages that are shorter than they may be are looked into.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, assert_never

import msgspec
from msgspec.structs import replace

from rxflow._backends import Exchange, HttpCall, HttpReply
from rxflow._backends._prefect1_rows import (
    AGENT,
    FLOW,
    FLOW_RUN,
    ID,
    LEVELS,
    LOG,
    RESULT,
    STATE,
    TASK_RUN,
    TASK_STATE,
    level_of,
)
from rxflow._backends._replies import (
    JSON,
    Rows,
    after_comma,
    encode_json,
    garbled,
    is_json,
    not_an_api,
    out_of_order,
    page_of,
    plain,
    read,
    rejected,
    run_missing,
    server_time,
)
from rxflow._model import BackendName, Server
from rxflow._polling import (
    PAGE_LIMIT,
    AgentsQuery,
    DeploymentQuery,
    Failure,
    FlowQuery,
    FlowsQuery,
    LogsQuery,
    Page,
    Query,
    ResultQuery,
    ResultsQuery,
    RunQuery,
    ServerQuery,
    StatesQuery,
    TaskRunQuery,
    TaskRunsQuery,
    TaskRunStatesQuery,
    Trouble,
    WorkersQuery,
    WorkPoolQuery,
    WorkPoolsQuery,
)

VERSION = "1.4.1"
"""The last version of Prefect 1, whose client's words these are."""

_HEADERS = (*JSON, ("X-PREFECT-CORE-VERSION", VERSION))

_LEAST = 2  # rows that any server gives at once

_Variables = Mapping[str, Any]
_Listed = LogsQuery | TaskRunsQuery | StatesQuery | AgentsQuery

# -- the queries --------------------------------------------------------------------------------

# All rows under one name, so that every answer is taken apart in the same way.

_FLOW_RUN = """
query FlowRun($id: uuid!) {
  rows: flow_run(where: {id: {_eq: $id}}) {
    id name flow_id created updated labels parameters context run_config
    scheduled_start_time start_time end_time
    states(order_by: [{version: desc}, {timestamp: desc}, {id: desc}], limit: 1) {
      id version timestamp state message serialized_state
    }
  }
}
"""

_STATES = """
query States($id: uuid!, $offset: Int!, $limit: Int!) {
  rows: flow_run_state(
    where: {flow_run_id: {_eq: $id}}
    order_by: [{version: asc}, {timestamp: asc}, {id: asc}]
    offset: $offset
    limit: $limit
  ) {
    id version timestamp state message serialized_state
  }
}
"""

_LOGS = """
query Logs($where: log_bool_exp!, $order: [log_order_by!]!, $offset: Int!, $limit: Int!) {
  rows: log(where: $where, order_by: $order, offset: $offset, limit: $limit) {
    id flow_run_id task_run_id timestamp created level name message
  }
}
"""

_TASK_RUN_FIELDS = """
    id name flow_run_id task { id slug name } map_index version state state_timestamp
    serialized_state created updated start_time end_time
"""

_TASK_RUNS = f"""
query TaskRuns($where: task_run_bool_exp!, $offset: Int!, $limit: Int!) {{
  rows: task_run(where: $where, order_by: [{{id: desc}}], offset: $offset, limit: $limit) {{
    {_TASK_RUN_FIELDS}
  }}
}}
"""

_RESULTS = """
query Results($ids: [uuid!]!) {
  rows: task_run(where: {id: {_in: $ids}}) { id serialized_state }
}
"""

_FLOWS = """
query Flows($where: flow_bool_exp!, $offset: Int!, $limit: Int!) {
  rows: flow(
    where: $where, order_by: [{created: desc}, {id: desc}], offset: $offset, limit: $limit
  ) {
    id name created updated version archived core_version settings run_config storage
    serialized_flow project { name } flow_group { labels }
  }
}
"""

_AGENTS = """
query Agents($offset: Int!, $limit: Int!) {
  rows: agent(order_by: [{id: asc}], offset: $offset, limit: $limit) {
    id name labels last_queried
  }
}
"""

_HELLO = "query Hello { hello }"

# Whichever rows a table has, without an order, so that the server need not look at more.
_ANY: Mapping[type, str] = {
    kind: f"query Any($limit: Int!) {{ rows: {table}(limit: $limit) {{ id }} }}"
    for kind, table in (
        (StatesQuery, "flow_run_state"),
        (LogsQuery, "log"),
        (TaskRunsQuery, "task_run"),
    )
}

QUERIES = (
    *(_FLOW_RUN, _STATES, _LOGS, _TASK_RUNS, _RESULTS, _FLOWS, _AGENTS, _HELLO),
    *_ANY.values(),
)
"""All texts that are ever sent."""


# -- the codec ----------------------------------------------------------------------------------


class Prefect1:
    """The codec."""

    def __init__(self) -> None:
        """Make a codec that has yet to learn how many rows the server gives at once."""
        self._limits: dict[type, int] = {}
        self._most: dict[type, int] = {}
        self._measured: dict[type, int] = {}

    def encode(self, query: Query) -> HttpCall | Page[Any] | Failure:
        """Put a question into the server's words, or answer what the server has no word for."""
        match query:
            case ServerQuery():
                return Page((Server(backend=BackendName.PREFECT_1),))
            case RunQuery(flow_run_id):
                return _call(_FLOW_RUN, id=flow_run_id)
            case StatesQuery() | LogsQuery() | TaskRunsQuery() | AgentsQuery():
                return _list(query, self._limit(query))
            case TaskRunQuery() | TaskRunStatesQuery() | ResultQuery() | ResultsQuery():
                return _of_task_runs(query)
            case FlowsQuery() | FlowQuery():
                return _of_flows(query)
            case DeploymentQuery() | WorkPoolQuery() | WorkPoolsQuery() | WorkersQuery():
                return Page(())  # it has agents instead
            case _:
                assert_never(query)

    def decode(self, query: Query, reply: HttpReply) -> Page[Any] | Failure:
        """Read the answer to a question; never raises."""
        return _decoded(query, reply, lambda rows: _rows_of(query, rows, server_time(reply)))

    def check(self, query: Query, page: Page[Any]) -> Exchange[Page[Any] | Failure]:
        """See whether a short page is all there is, unless the server has given longer ones."""
        if not isinstance(query, _Listed):
            return page
        kind, count = type(query), page.count
        if self._longest(kind) <= count < _wanted(query, self._limit(query)):
            cut_off = yield from self._is_cut_off(query, count)
            if isinstance(cut_off, Failure):
                return cut_off
            if cut_off:
                self._limits[kind] = count
                if isinstance(query, LogsQuery | TaskRunsQuery):
                    return _page_limit(count)
        self._most[kind] = max(self._longest(kind), count)
        if isinstance(query, StatesQuery | AgentsQuery) and count >= self._limit(query):
            return replace(page, rest=replace(query, offset=query.offset + count))
        return page

    def _is_cut_off(self, query: _Listed, count: int) -> Exchange[bool | Failure]:
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

    def _gives_more(self, query: _Listed, count: int) -> Exchange[bool]:
        """Whether the server gives more rows of any runs, which it shows once for all.

        While it has hardly more than those that are asked for, that is tried as often as they
        double.
        """
        kind = type(query)
        if kind not in _ANY or count < 2 * self._measured.get(kind, 0):
            return False
        self._measured[kind] = count
        page: Page[Any] | HttpReply | Failure = yield _call(_ANY[kind], limit=PAGE_LIMIT)
        if isinstance(page, HttpReply):
            page = _decoded(query, page, lambda rows: page_of(ID, rows, None))
        # Where that cannot be had, there are other ways.
        most = page.count if isinstance(page, Page) else 0
        self._most[kind] = max(self._longest(kind), most)
        return most > count

    def _count(self, query: _Listed) -> Exchange[int | Failure]:
        call = self.encode(query)
        reply = (yield call) if isinstance(call, HttpCall) else call
        page = self.decode(query, reply) if isinstance(reply, HttpReply) else reply
        return page if isinstance(page, Failure) else page.count

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


# -- questions ----------------------------------------------------------------------------------


def _call(text: str, **variables: Any) -> HttpCall:
    body = encode_json({"query": text, "variables": variables})
    return HttpCall(method="POST", path="", headers=_HEADERS, body=body)


def _wanted(query: _Listed, limit: int) -> int:
    """How many rows are asked for."""
    return query.limit if isinstance(query, LogsQuery | TaskRunsQuery) else limit


def _is(value: str) -> _Variables:
    return {"_eq": value}


def _list(query: _Listed, limit: int) -> HttpCall | Failure:
    if _wanted(query, limit) > limit:
        return _page_limit(limit)
    match query:
        case StatesQuery(flow_run_id, offset):
            return _call(_STATES, id=flow_run_id, offset=offset, limit=limit)
        case LogsQuery():
            return _logs(query)
        case TaskRunsQuery():
            return _task_runs(query)
        case AgentsQuery(offset):
            return _call(_AGENTS, offset=offset, limit=limit)
        case _:
            assert_never(query)


def _logs(query: LogsQuery) -> HttpCall:
    where: dict[str, Any] = {"flow_run_id": {"_in": query.flow_run_ids}}
    bounds = {"_gte": query.after, "_lte": query.before}
    if time := {name: bound for name, bound in bounds.items() if bound is not None}:
        where["timestamp"] = time
    if query.level:
        where |= _levels(query.level)
    way = "desc" if query.descending else "asc"
    order = [{column: way} for column in ("timestamp", "created", "id")]
    return _call(_LOGS, where=where, order=order, offset=query.offset, limit=query.limit)


def _levels(least: int) -> _Variables:
    """Levels have no order on the server: those to take by name, or those to leave out."""
    if level_of(None) < least:
        return {"level": {"_in": [name for name, level in LEVELS.items() if level >= least]}}
    others = [name for name, level in LEVELS.items() if level < least]
    return {"_or": [{"level": {"_nin": others}}, {"level": {"_is_null": True}}]}


def _task_runs(query: TaskRunsQuery) -> HttpCall:
    where: dict[str, Any] = {"flow_run_id": _is(query.flow_run_id)}
    if query.task_run_ids:
        where["id"] = {"_in": query.task_run_ids}
    if query.task_key:
        where["task"] = {"slug": _is(query.task_key)}
    if query.unmapped:
        where["map_index"] = {"_eq": -1}
    return _call(_TASK_RUNS, where=where, offset=query.offset, limit=query.limit)


def _of_task_runs(
    query: TaskRunQuery | TaskRunStatesQuery | ResultQuery | ResultsQuery,
) -> HttpCall:
    match query:
        case TaskRunQuery(task_run_id) | TaskRunStatesQuery(task_run_id):
            return _call(_TASK_RUNS, where={"id": _is(task_run_id)}, offset=0, limit=1)
        case ResultQuery(task_run_id):
            return _call(_RESULTS, ids=[task_run_id])
        case ResultsQuery(task_run_ids):
            return _call(_RESULTS, ids=task_run_ids)
        case _:
            assert_never(query)


def _of_flows(query: FlowsQuery | FlowQuery) -> HttpCall:
    match query:
        case FlowsQuery():
            return _call(_FLOWS, where=_flows(query), offset=0, limit=PAGE_LIMIT)
        case FlowQuery(flow_id):
            return _call(_FLOWS, where={"id": _is(flow_id)}, offset=0, limit=1)
        case _:
            assert_never(query)


def _flows(query: FlowsQuery) -> _Variables:
    where: dict[str, Any] = {}
    if query.name:
        where |= {"name": _is(query.name), "archived": {"_eq": False}}
    if query.project_name is None:
        where["project_id"] = {"_is_null": True}
    elif query.project_name:
        where["project"] = {"name": _is(query.project_name)}
    if query.flow_group_id:
        where["flow_group_id"] = _is(query.flow_group_id)
    return where


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


_Reader = Callable[[msgspec.Raw], Page[Any] | Failure]


def _decoded(query: Query, reply: HttpReply, rows: _Reader) -> Page[Any] | Failure:
    if (failure := _out_of_order(query, reply)) is not None:
        return failure

    def page(body: bytes) -> Page[Any] | Failure:
        answer = _answer(body)
        if answer.errors:
            return _refused(query, reply, answer.errors)
        if answer.data is None:
            return _not_an_api(reply)
        return rows(answer.data.get("rows", _NOTHING))

    def otherwise(reason: str) -> Failure:
        return garbled(query, reason) if is_json(reply) else _not_an_api(reply)

    return read(query, reply.body, page, otherwise)


def _rows_of(query: Query, rows: msgspec.Raw, time: datetime | None) -> Page[Any] | Failure:
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


_LISTS: Mapping[type, Rows] = {
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
    return Failure(trouble=Trouble.PAGE_LIMIT, text=text, limit=limit)


def _refused(query: Query, reply: HttpReply, errors: tuple[_Error, ...]) -> Failure:
    for error in errors:
        if error.code in _NOT_LET_IN or _MALFORMED_HEADER in error.text:
            return _no_access(reply, error.text)
    for error in errors:
        if error.code in _NOT_TAKEN or reply.status == 400:
            return rejected(query, reply.status, error.text)
    # INTERNAL_SERVER_ERROR while a service behind the gateway is down, API_ERROR for a time-out.
    code, said = errors[0].code or "no code", after_comma(errors[0].text)
    return Failure(trouble=Trouble.SERVER, text=f"The server failed ({plain(code)}{said})")


def _out_of_order(query: Query, reply: HttpReply) -> Failure | None:
    status = reply.status
    if status in {200, 400}:
        return None
    if status in {401, 403}:
        return _no_access(reply, "")
    if (failure := out_of_order(reply, "")) is not None:
        return failure
    if status in {404, 405} or status < 400 or not is_json(reply):
        return _not_an_api(reply)
    return rejected(query, status, "")


def _no_access(reply: HttpReply, said: str) -> Failure:
    return Failure(
        trouble=Trouble.AUTH,
        text=f"The server refused access (HTTP {reply.status}{after_comma(said)}); check the key: "
        "RXFLOW_API_KEY, PREFECT__CLOUD__API_KEY or `prefect auth login`",
    )


def _not_an_api(reply: HttpReply) -> Failure:
    return not_an_api(reply, "Prefect Server's API is at the root of port 4200")


# -- getting to know a server -------------------------------------------------------------------


def say_hello() -> HttpCall:
    """The call that shows whether it is a Prefect 1 that answers."""
    return _call(_HELLO)


def is_greeting(reply: HttpReply) -> bool:
    """Whether that is an answer of GraphQL's, good or bad."""
    try:
        answer = _answer(reply.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    refused = any(error.text for error in answer.errors or ())
    return refused or (answer.data is not None and "hello" in answer.data)
