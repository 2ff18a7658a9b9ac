"""What the answers of all servers have in common: rows, JSON as it comes, times, and what to say.

A tolerant reader: unknown fields are passed over, and of a list in which one row cannot be read
the others are taken.
"""

from rxflow._backends.backend import HttpReply
from rxflow._backends.headers import is_json, retry_after
from rxflow._protocol.failures import Failure, FailureKind
from rxflow._protocol.queries import Query, RunQuery, StatesQuery, TaskRunsQuery

_QUOTED = 256  # characters of a server's own words that go into a message


def plain(text: str) -> str:
    """A server's own words, short and in one line."""
    shown = "".join(char if char.isprintable() else " " for char in text[:_QUOTED])
    return " ".join(shown.split())


def unreadable(query: Query, reason: str) -> Failure:
    """An answer that cannot be read."""
    return Failure(
        kind=FailureKind.UNREADABLE,
        text=f"The answer to {type(query).__name__}{_of_run(query)} cannot be read: "
        f"{plain(reason)}",
    )


def run_missing(flow_run_id: str) -> Failure:
    """The server says that there is no such run."""
    return Failure(
        kind=FailureKind.RUN_NOT_FOUND,
        text=f"The server knows no flow run {flow_run_id}; was it deleted, or does it "
        "belong to another server, workspace or tenant than the one that is asked?",
    )


def status_failure(query: Query, reply: HttpReply, said: str, advice: str) -> Failure:
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
            kind=FailureKind.BUSY,
            text=f"The server is busy (HTTP {status}{after_comma(said)})",
            retry_after=retry_after(reply),
        )
    if status >= 500 or status in {409, 410}:  # a read meets these two only on the way
        return Failure(
            kind=FailureKind.SERVER,
            text=f"The server failed (HTTP {status}{after_comma(said)})",
            retry_after=retry_after(reply),
        )
    if status in {404, 405} or status < 400 or not is_json(reply):
        return not_an_api(reply, advice)
    return rejected(query, status, said)


def rejected(query: Query, status: int, said: str) -> Failure:
    """The server does not take a question."""
    return Failure(
        kind=FailureKind.REJECTED,
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
        kind=FailureKind.NOT_AN_API,
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
