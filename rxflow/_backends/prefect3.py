"""Prefect 3's REST API: paths, filters, answers and errors, as Prefect 3.8.8 speaks them.

A tolerant reader: unknown fields are passed over, unknown state types are kept as text, and of a
list in which one row cannot be read the others are taken.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from hashlib import blake2b
from typing import Annotated, Any, assert_never
from urllib.parse import quote

import msgspec

from rxflow._backends import HttpCall, HttpReply
from rxflow._model import (
    Deployment,
    Flow,
    FlowRun,
    Instant,
    State,
    StoredResult,
    TaskRun,
    Worker,
    WorkPool,
)
from rxflow._polling import (
    DeploymentQuery,
    Failure,
    FlowQuery,
    FlowsQuery,
    LogsQuery,
    Malformed,
    Page,
    Query,
    ResultQuery,
    RunQuery,
    StatesQuery,
    TaskRunQuery,
    TaskRunsQuery,
    TaskRunStatesQuery,
    Trouble,
    VersionQuery,
    WorkersQuery,
    WorkPoolQuery,
)
from rxflow.events import FlowRunLog

_QUOTED = 256  # characters of a server's own words that go into a message

_JSON = (("Content-Type", "application/json"),)

_encode = msgspec.json.Encoder().encode


class _Error(msgspec.Struct, frozen=True):
    """The three keys under which Prefect 3 says what is wrong."""

    detail: Any = None
    exception_message: str | None = None
    exception_detail: Any = None

    @property
    def text(self) -> str:
        said = self.detail if isinstance(self.detail, str) else self.exception_message or ""
        return _plain(said)


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


_csrf = msgspec.json.Decoder(_Csrf).decode
_error = msgspec.json.Decoder(_Error).decode
_raw_rows = msgspec.json.Decoder(list[msgspec.Raw]).decode
_log_events = msgspec.json.Decoder(tuple[FlowRunLog, ...]).decode
_any_row = msgspec.json.Decoder(dict[str, Any]).decode


class _Rows:
    """Decoders of one kind of row, made once."""

    def __init__(self, row: Any) -> None:
        self.one = msgspec.json.Decoder(row).decode
        self.many = msgspec.json.Decoder(tuple[row, ...]).decode


_STATES = _Rows(State)
_LOGS = _Rows(_Log)
_TASK_RUNS = _Rows(TaskRun)
_WORKERS = _Rows(Worker)
_FLOW_RUN = _Rows(FlowRun)
_FLOW = _Rows(Flow)
_DEPLOYMENT = _Rows(Deployment)
_WORK_POOL = _Rows(WorkPool)
_VERSION = _Rows(str)
_RESULT = _Rows(_TaskRunOfResult)

_HASH = re.compile(r"-[0-9a-f]{8}$")


class Prefect3:
    """The codec."""

    def encode(self, query: Query) -> HttpCall:
        """Put a question into the server's words."""
        match query:
            case VersionQuery():
                return _get("/admin/version")
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
            case WorkPoolQuery(name):
                return _get(f"/work_pools/{_segment(name)}")
            case WorkersQuery(name):
                return _post(f"/work_pools/{_segment(name)}/workers/filter", {})
            case _:
                assert_never(query)

    def decode(self, query: Query, reply: HttpReply) -> Page[Any] | Failure:
        """Read the answer to a question; never raises."""
        if reply.status in {200, 201}:
            return _read(query, reply)
        if reply.status == 404 and _may_be_missing(query, reply):
            return Page((), _server_time(reply))
        return _failure(query, reply)

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
    return HttpCall(method="POST", path=path, headers=_JSON, body=_encode(body))


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


def _read(query: Query, reply: HttpReply) -> Page[Any] | Failure:
    body = reply.body
    try:
        return _page(query, reply, body)
    except msgspec.ValidationError as error:
        return _garbled(query, str(error))
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass  # not JSON as it stands
    except RecursionError:
        return _garbled(query, "it is nested too deep")
    try:
        return _page(query, reply, _mended(body))
    except (msgspec.DecodeError, RecursionError) as error:
        if isinstance(query, VersionQuery):
            return Page((), _server_time(reply))  # the next question will show what this is
        return _garbled(query, str(error)) if _is_json(reply) else _not_an_api(reply)


def _page(query: Query, reply: HttpReply, body: bytes) -> Page[Any]:
    time = _server_time(reply)
    match query:
        case StatesQuery() | TaskRunStatesQuery():
            return _list(_STATES, body, time)
        case LogsQuery():
            return _log_page(body, time)
        case TaskRunsQuery() | TaskRunQuery() | ResultQuery():
            return _task_run_page(query, body, time)
        case WorkersQuery():
            return _list(_WORKERS, body, time)
        case RunQuery():
            return Page((_FLOW_RUN.one(body),), time)
        case FlowsQuery() | FlowQuery():
            many = isinstance(query, FlowsQuery)
            return _list(_FLOW, body, time) if many else Page((_FLOW.one(body),), time)
        case DeploymentQuery():
            return Page((_DEPLOYMENT.one(body),), time)
        case WorkPoolQuery():
            return Page((_WORK_POOL.one(body),), time)
        case VersionQuery():
            return Page((_VERSION.one(body),), time)
        case _:
            assert_never(query)


def _task_run_page(
    query: TaskRunsQuery | TaskRunQuery | ResultQuery, body: bytes, time: datetime | None
) -> Page[Any]:
    match query:
        case TaskRunsQuery():
            return _list(_TASK_RUNS, body, time)
        case TaskRunQuery():
            return Page((_TASK_RUNS.one(body),), time)
        case ResultQuery():
            return Page((_stored(_RESULT.one(body)),), time)
        case _:
            assert_never(query)


def _stored(row: _TaskRunOfResult) -> StoredResult:
    data = row.state.data if row.state is not None else None
    if data is None:
        return StoredResult()
    metadata = msgspec.convert(data, _ResultMetadata)
    return StoredResult(
        location=metadata.storage_key,
        form=metadata.serializer.type,
        storage=metadata.storage_block_id and f"storage block {metadata.storage_block_id}",
    )


def _log_page(body: bytes, time: datetime | None) -> Page[FlowRunLog]:
    """Decode rows straight into events, unless one has a key that is the event's own."""
    with suppress(msgspec.ValidationError):
        rows = _log_events(body)
        if not any(row.late or row.replayed for row in rows):
            return Page(rows, time)
    page: Page[_Log] = _list(_LOGS, body, time)
    events = tuple(FlowRunLog(**msgspec.structs.asdict(row)) for row in page.rows)
    return Page(events, time, page.malformed)


def _list(rows: _Rows, body: bytes, time: datetime | None) -> Page[Any]:
    try:
        return Page(rows.many(body), time)
    except msgspec.ValidationError:
        good: list[Any] = []
        bad: list[Malformed] = []
        for raw in _raw_rows(body):
            try:
                good.append(rows.one(raw))
            except msgspec.ValidationError as error:
                bad.append(_malformed(raw, str(error), good[-1] if good else None))
        return Page(tuple(good), time, tuple(bad))


def _malformed(raw: msgspec.Raw, reason: str, before: Any) -> Malformed:
    """What can be read of a row that cannot; a list's neighbours tell about where it lies."""
    try:
        row = _any_row(raw)
    except msgspec.ValidationError:
        row = {}
    read: dict[str, Any] = {"id": blake2b(bytes(raw), digest_size=16).hexdigest()}
    for field, kind in _PLACE.items():
        if field != "id" and hasattr(before, field):
            read[field] = getattr(before, field)
        with suppress(msgspec.ValidationError):
            read[field] = msgspec.convert(row.get(field), kind)
    return Malformed(reason=reason, **read)


_PLACE = {"id": str, "flow_run_id": str, "timestamp": Instant, "created": Instant}


_SURROGATES = re.compile(
    rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)


def _mended(body: bytes) -> bytes:
    """JSON as Python writes it may hold half a surrogate pair, or bytes that are not UTF-8."""
    text = body.decode("utf-8", "replace").encode()
    return _SURROGATES.sub(lambda match: match[0] if len(match[0]) != 6 else rb"\ufffd", text)


def _server_time(reply: HttpReply) -> datetime | None:
    return _http_date(reply.headers.get("date", ""))


@lru_cache(maxsize=16)  # a server says the same for a second
def _http_date(text: str) -> datetime | None:
    try:
        time = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


# -- bad answers --------------------------------------------------------------------------------

_LIMIT = re.compile(r"\blimit\b.* less than or equal to ([0-9]+)", re.IGNORECASE)


def _failure(query: Query, reply: HttpReply) -> Failure:
    status, said = reply.status, _said(reply)
    if status == 404 and isinstance(query, RunQuery) and said == "Flow run not found":
        return Failure(
            trouble=Trouble.RUN_MISSING,
            text=f"The server knows no flow run {query.flow_run_id}; was it deleted, or does it "
            "belong to another server or workspace than the active profile's?",
        )
    if status in {401, 403}:
        return _refused(status, said)
    if status == 422 and (limit := _LIMIT.search(said)):
        return Failure(trouble=Trouble.PAGE_LIMIT, text=said, limit=int(limit[1]))
    if status in {408, 425, 429, 503}:
        return Failure(
            trouble=Trouble.BUSY,
            text=f"The server is busy (HTTP {status}{_after_comma(said)})",
            retry_after=_retry_after(reply),
        )
    if status >= 500 or status in {409, 410}:  # a read meets these two only on the way
        return Failure(
            trouble=Trouble.SERVER,
            text=f"The server failed (HTTP {status}{_after_comma(said)})",
            retry_after=_retry_after(reply),
        )
    if status in {404, 405} or status < 400 or not _is_json(reply):
        return _not_an_api(reply)
    return Failure(
        trouble=Trouble.REJECTED,
        text=f"The server does not take the question {type(query).__name__} "
        f"(HTTP {status}{_after_comma(said)})",
    )


def _refused(status: int, said: str) -> Failure:
    return Failure(
        trouble=Trouble.AUTH,
        text=f"The server refused access (HTTP {status}{_after_comma(said)}); check "
        "PREFECT_API_KEY, or PREFECT_API_AUTH_STRING for a self-hosted server",
    )


def _not_an_api(reply: HttpReply) -> Failure:
    kind = reply.headers.get("content-type", "no content type").partition(";")[0]
    to = reply.headers.get("location")
    # A query string may hold what is nobody else's business.
    hint = f" and leads to {_plain(to.partition('?')[0])}" if to and reply.status < 400 else ""
    return Failure(
        trouble=Trouble.NOT_AN_API,
        text=f"What answers is not a Prefect API (HTTP {reply.status}, {_plain(kind)}){hint}; "
        "the URL of a self-hosted server's API ends in /api",
    )


def _garbled(query: Query, reason: str) -> Failure:
    return Failure(
        trouble=Trouble.GARBLED,
        text=f"The answer to {type(query).__name__}{_of_run(query)} cannot be read: "
        f"{_plain(reason)}",
    )


def _of_run(query: Query) -> str:
    match query:
        case RunQuery(run_id) | StatesQuery(run_id) | TaskRunsQuery(flow_run_id=run_id):
            return f" of flow run {run_id}"
        case _:
            return ""


def _said(reply: HttpReply) -> str:
    try:
        return _error(reply.body).text
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""


def _after_comma(said: str) -> str:
    return f", {said!r}" if said else ""


def _plain(text: str) -> str:
    shown = "".join(char if char.isprintable() else " " for char in text[:_QUOTED])
    return " ".join(shown.split())


def _is_json(reply: HttpReply) -> bool:
    return "json" in reply.headers.get("content-type", "").lower()


def _retry_after(reply: HttpReply) -> float | None:
    """Seconds to wait by ``Retry-After``, which counts seconds or names a date."""
    value = reply.headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]+", value):
        return min(float(value), _LONGEST_RETRY_AFTER)
    now, then = _server_time(reply), _http_date(value)
    if now is None or then is None:
        return None
    return min(max(0.0, (then - now).total_seconds()), _LONGEST_RETRY_AFTER)


_LONGEST_RETRY_AFTER = 300.0


def _may_be_missing(query: Query, reply: HttpReply) -> bool:
    """Whether 404 is an answer: of all that is asked for, only the run itself must be there."""
    match query:
        case RunQuery() | StatesQuery() | LogsQuery() | TaskRunsQuery():
            return False
        case TaskRunStatesQuery() | FlowsQuery():
            return False
        case VersionQuery():
            return True  # the next question will show what this is
        case _:
            return _is_json(reply)
