"""Failures that the replies of any server lead to, and their texts.

Belongs here: what a status or an unreadable body means, whichever server sent it. Does not belong
here: error codes and error texts of one server.
"""

from datetime import datetime

from rxflow._backends.backend import HttpResponse
from rxflow._backends.headers import is_json, retry_after
from rxflow._backends.json_bodies import UnreadableBody
from rxflow._protocol.failures import Failure, FailureKind
from rxflow._protocol.queries import (
    Query,
    RunQuery,
    StatesQuery,
    TaskRunsQuery,
    subject_of,
)

_LONGEST_QUOTE = 256  # characters of a server's text that go into a message


def printable(text: str) -> str:
    """Shorten a server's text and put it on one line, for a message."""
    shown = "".join(char if char.isprintable() else " " for char in text[:_LONGEST_QUOTE])
    return " ".join(shown.split())


def after_comma(error_text: str) -> str:
    """Quote a server's error text, if there is one, as the continuation of a sentence."""
    return f", {error_text!r}" if error_text else ""


def unreadable_body(
    query: Query, reply: HttpResponse, error: UnreadableBody, api_hint: str
) -> Failure:
    """Build the failure for a good status with a body that cannot be decoded.

    Args:
        query: The query that was sent.
        reply: The reply with that body.
        error: What is wrong with the body.
        api_hint: Where the server's API is usually found.
    """
    if error.is_json or is_json(reply):
        return Failure(
            kind=FailureKind.UNREADABLE,
            text=f"The reply to the query for {subject_of(query)}{_run_of(query)} cannot be read: "
            f"{printable(error.reason)}",
        )
    return not_an_api(reply, api_hint)


def run_not_found(flow_run_id: str) -> Failure:
    """Build the failure for a run that the server does not have."""
    return Failure(
        kind=FailureKind.RUN_NOT_FOUND,
        text=f"The server has no flow run {flow_run_id}; was it deleted, or does it belong to "
        "another server, workspace or tenant than the one that is queried?",
    )


def status_failure(query: Query, reply: HttpResponse, error_text: str, api_hint: str) -> Failure:
    """Build the failure for a bad status, as far as it means the same on all servers.

    Args:
        query: The query that was sent.
        reply: The reply with that status.
        error_text: The server's own explanation, if it gave one.
        api_hint: Where the server's API is usually found.
    """
    status = reply.status
    if status == 429:
        text = f"The server limits the rate of requests (HTTP 429{after_comma(error_text)})"
        return _with_retry_after(reply, FailureKind.RATE_LIMITED, text)
    if status in {408, 425, 503}:
        return _with_retry_after(
            reply, FailureKind.BUSY, f"The server is busy (HTTP {status}{after_comma(error_text)})"
        )
    # To a read, 409 and 410 are sent only by something in between.
    if status >= 500 or status in {409, 410}:
        return _with_retry_after(
            reply, FailureKind.SERVER, f"The server failed (HTTP {status}{after_comma(error_text)})"
        )
    if status in {404, 405} or status < 400 or not is_json(reply):
        return not_an_api(reply, api_hint)
    return query_rejected(query, status, error_text)


def query_rejected(query: Query, status: int, error_text: str) -> Failure:
    """Build the failure for a query that the server does not accept."""
    return Failure(
        kind=FailureKind.REJECTED,
        text=f"The server rejected the query for {subject_of(query)} "
        f"(HTTP {status}{after_comma(error_text)})",
    )


def not_an_api(reply: HttpResponse, api_hint: str) -> Failure:
    """Build the failure for a reply of something other than a Prefect API."""
    content_type = reply.headers.get("content-type", "no content type").partition(";")[0]
    location = reply.headers.get("location")
    # The query string of a redirect may hold a secret.
    redirect = (
        f" and redirects to {printable(location.partition('?')[0])}"
        if location and reply.status < 400
        else ""
    )
    return Failure(
        kind=FailureKind.NOT_AN_API,
        text=f"The URL is not that of a Prefect API: it replies with HTTP {reply.status} "
        f"({printable(content_type)}){redirect}; {api_hint}",
    )


def _with_retry_after(reply: HttpResponse, kind: FailureKind, text: str) -> Failure:
    wait = retry_after(reply)
    if isinstance(wait, datetime):
        return Failure(kind=kind, text=text, retry_at=wait)
    return Failure(kind=kind, text=text, retry_after=wait)


def _run_of(query: Query) -> str:
    match query:
        case RunQuery(run_id) | StatesQuery(run_id) | TaskRunsQuery(flow_run_ids=(run_id,)):
            return f" (flow run {run_id})"
        case _:
            return ""
