"""What the answers of all servers have in common: rows, JSON as it comes, times, and what to say.

A tolerant reader: unknown fields are passed over, and of a list in which one row cannot be read
the others are taken.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import msgspec

from rxflow._backends import HttpReply
from rxflow._model import Instant
from rxflow._polling import (
    Failure,
    Malformed,
    Page,
    Query,
    RunQuery,
    StatesQuery,
    TaskRunsQuery,
    Trouble,
)

JSON = (("Content-Type", "application/json"),)
"""The headers of a request whose body is JSON."""

encode_json = msgspec.json.Encoder().encode

_QUOTED = 256  # characters of a server's own words that go into a message

_raw_rows = msgspec.json.Decoder(list[msgspec.Raw]).decode
_any_row = msgspec.json.Decoder(dict[str, Any]).decode


class Rows:
    """Decoders of one kind of row, made once.

    Attributes:
        one: Reads a row.
        many: Reads a list of rows.
    """

    def __init__(self, row: Any, read: Callable[[Any], Any] | None = None) -> None:
        """Make them.

        Args:
            row: The type of the rows.
            read: What a row is in the words of all backends; the row itself if None.
        """
        one = msgspec.json.Decoder(row).decode
        many = msgspec.json.Decoder(tuple[row, ...]).decode
        self.one: Callable[[bytes | msgspec.Raw], Any] = one
        self.many: Callable[[bytes | msgspec.Raw], tuple[Any, ...]] = many
        if read is not None:
            self.one = lambda raw: read(one(raw))
            self.many = lambda raw: tuple(read(row) for row in many(raw))


def page_of(rows: Rows, body: bytes | msgspec.Raw, time: datetime | None) -> Page[Any]:
    """Read a list of rows, and say of those that cannot be read what can."""
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


# -- bodies -------------------------------------------------------------------------------------


def read(
    query: Query,
    body: bytes,
    page: Callable[[bytes], Page[Any] | Failure],
    otherwise: Callable[[str], Page[Any] | Failure],
) -> Page[Any] | Failure:
    """Read an answer, mended if it is not quite JSON.

    Args:
        query: What it answers.
        body: The answer.
        page: Reads it; may raise what msgspec raises.
        otherwise: Says what an answer means that is no JSON at all, given what is wrong with it.
    """
    try:
        return page(body)
    except msgspec.ValidationError as error:
        return garbled(query, str(error))
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass  # not JSON as it stands
    except RecursionError:
        return garbled(query, "it is nested too deep")
    try:
        return page(_mended(body))
    except (msgspec.DecodeError, RecursionError) as error:
        return otherwise(str(error))


_SURROGATES = re.compile(
    rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)


def _mended(body: bytes) -> bytes:
    """JSON as Python writes it may hold half a surrogate pair, or bytes that are not UTF-8."""
    text = body.decode("utf-8", "replace").encode()
    return _SURROGATES.sub(lambda match: match[0] if len(match[0]) != 6 else rb"\ufffd", text)


def is_json(reply: HttpReply) -> bool:
    """Whether an answer says that it is JSON."""
    return "json" in reply.headers.get("content-type", "").lower()


# -- times --------------------------------------------------------------------------------------

_LONGEST_RETRY_AFTER = 300.0


def server_time(reply: HttpReply) -> datetime | None:
    """When the server answered, by its own clock."""
    return _http_date(reply.headers.get("date", ""))


def retry_after(reply: HttpReply) -> float | None:
    """Seconds to wait by ``Retry-After``, which counts seconds or names a date."""
    value = reply.headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]+", value):
        return min(float(value), _LONGEST_RETRY_AFTER)
    now, then = server_time(reply), _http_date(value)
    if now is None or then is None:
        return None
    return min(max(0.0, (then - now).total_seconds()), _LONGEST_RETRY_AFTER)


@lru_cache(maxsize=16)  # a server says the same for a second
def _http_date(text: str) -> datetime | None:
    try:
        time = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


# -- what to say --------------------------------------------------------------------------------


def plain(text: str) -> str:
    """A server's own words, short and in one line."""
    shown = "".join(char if char.isprintable() else " " for char in text[:_QUOTED])
    return " ".join(shown.split())


def garbled(query: Query, reason: str) -> Failure:
    """An answer that cannot be read."""
    return Failure(
        trouble=Trouble.GARBLED,
        text=f"The answer to {type(query).__name__}{_of_run(query)} cannot be read: "
        f"{plain(reason)}",
    )


def run_missing(flow_run_id: str) -> Failure:
    """The server says that there is no such run."""
    return Failure(
        trouble=Trouble.RUN_MISSING,
        text=f"The server knows no flow run {flow_run_id}; was it deleted, or does it "
        "belong to another server, workspace or tenant than the one that is asked?",
    )


def failed(query: Query, reply: HttpReply, said: str, advice: str) -> Failure:
    """What a bad status means that is the same for all servers.

    Args:
        query: The question.
        reply: The answer.
        said: What the server said to it, if anything.
        advice: Where the API is to be found.
    """
    status = reply.status
    if status in {408, 425, 429, 503}:
        return Failure(
            trouble=Trouble.BUSY,
            text=f"The server is busy (HTTP {status}{after_comma(said)})",
            retry_after=retry_after(reply),
        )
    if status >= 500 or status in {409, 410}:  # a read meets these two only on the way
        return Failure(
            trouble=Trouble.SERVER,
            text=f"The server failed (HTTP {status}{after_comma(said)})",
            retry_after=retry_after(reply),
        )
    if status in {404, 405} or status < 400 or not is_json(reply):
        return not_an_api(reply, advice)
    return rejected(query, status, said)


def rejected(query: Query, status: int, said: str) -> Failure:
    """The server does not take a question."""
    return Failure(
        trouble=Trouble.REJECTED,
        text=f"The server does not take the question {type(query).__name__} "
        f"(HTTP {status}{after_comma(said)})",
    )


def not_an_api(reply: HttpReply, advice: str) -> Failure:
    """Something else than a Prefect API answered."""
    kind = reply.headers.get("content-type", "no content type").partition(";")[0]
    to = reply.headers.get("location")
    # A query string may hold what is nobody else's business.
    hint = f" and leads to {plain(to.partition('?')[0])}" if to and reply.status < 400 else ""
    return Failure(
        trouble=Trouble.NOT_AN_API,
        text=f"What answers is not a Prefect API (HTTP {reply.status}, {plain(kind)}){hint}; "
        f"{advice}",
    )


def after_comma(said: str) -> str:
    """What the server said, to go on a sentence with."""
    return f", {said!r}" if said else ""


def _of_run(query: Query) -> str:
    match query:
        case RunQuery(run_id) | StatesQuery(run_id) | TaskRunsQuery(flow_run_id=run_id):
            return f" of flow run {run_id}"
        case _:
            return ""
