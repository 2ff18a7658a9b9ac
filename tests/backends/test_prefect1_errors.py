"""Errors of Prefect 1, mapped to failures: recorded ones, and each status and code."""

from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from http_replies import json_reply
from prefect1_recordings import (
    ERRORS,
    KINDS,
    LOGS,
    NOON,
    QUERIES,
    log_row,
    read_failure,
    recording,
)

from rxflow._backends.backend import HttpResponse
from rxflow._backends.prefect1_queries import Prefect1Query
from rxflow._protocol.failures import FailureKind

FAILURES = {
    "apollo_bad_arg": (FailureKind.REJECTED, "_foo"),
    "apollo_syntax_error": (FailureKind.REJECTED, "Syntax Error"),
    "apollo_unknown_field": (FailureKind.REJECTED, "nope"),
    "depth_limit": (FailureKind.REJECTED, "depth"),
    "empty_body": (FailureKind.SERVER, "HTTP 500"),
    "hasura_bad_timestamp": (FailureKind.REJECTED, "yesterdayish"),
    "hasura_bad_uuid": (FailureKind.REJECTED, "uuid"),
    "hasura_down": (FailureKind.SERVER, "ECONNREFUSED"),
    "hasura_neg_limit": (FailureKind.REJECTED, "non-negative"),
    "partial_error": (FailureKind.REJECTED, "uuid"),
    "prefect_graphql_down": (FailureKind.SERVER, "ECONNREFUSED"),
    "prefect_server_hasura_down": (FailureKind.SERVER, "internal API error"),
    "prefect_server_value_error": (FailureKind.SERVER, "State update failed"),
}
"""The kind of failure that each recorded error leads to, and a part of its text."""

NO_ERRORS = {"flow_run_by_pk_missing", "not_found_empty", "variables_string_null"}
"""Recordings in the folder of errors that are none."""


def test_all_recorded_errors_are_checked() -> None:
    """Each recording is either an error or known not to be one."""
    assert sorted(FAILURES.keys() | NO_ERRORS) == ERRORS


def recorded_error(name: str) -> HttpResponse:
    """Build the reply of a recorded error."""
    exchange = recording(name, "errors")
    body, content_type = exchange["response"], "application/json; charset=utf-8"
    if isinstance(body, str):
        body, content_type = body.encode(), "text/html; charset=utf-8"
    return json_reply(body, exchange["status"], content_type=content_type)


@pytest.mark.parametrize("name", FAILURES)
@pytest.mark.parametrize("query", QUERIES, ids=KINDS)
def test_a_recorded_error_is_a_failure_of_its_kind(query: Prefect1Query, name: str) -> None:
    """Its text quotes the server."""
    kind, quote = FAILURES[name]
    failure = read_failure(query, recorded_error(name))
    assert failure.kind is kind
    assert quote in failure.text
    assert failure.text.isprintable()


@pytest.mark.parametrize("name", sorted(NO_ERRORS))
def test_a_recorded_reply_without_our_rows_is_unreadable(name: str) -> None:
    """Replies to other queries are no errors, but they have no rows of ours."""
    assert read_failure(LOGS, recorded_error(name)).kind is FailureKind.UNREADABLE


def error_reply(code: Any, message: Any = "words", status: int = 200) -> HttpResponse:
    """Build a GraphQL error."""
    error = {"message": message, "extensions": {"code": code}}
    return json_reply({"errors": [error], "data": None}, status)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("INTERNAL_SERVER_ERROR", FailureKind.SERVER),
        ("API_ERROR", FailureKind.SERVER),
        ("VERSION_LOCKING_ERROR", FailureKind.SERVER),
        ("postgres-error", FailureKind.SERVER),
        (None, FailureKind.SERVER),
        (5, FailureKind.SERVER),
        ("data-exception", FailureKind.REJECTED),
        ("validation-failed", FailureKind.REJECTED),
        ("GRAPHQL_PARSE_FAILED", FailureKind.REJECTED),
        ("GRAPHQL_VALIDATION_FAILED", FailureKind.REJECTED),
        ("UNAUTHENTICATED", FailureKind.AUTH),
        ("FORBIDDEN", FailureKind.AUTH),
    ],
)
def test_the_code_of_an_error_decides_its_kind(code: Any, kind: FailureKind) -> None:
    """With HTTP status 200, the code separates outages, rejected queries and refused access."""
    assert read_failure(LOGS, error_reply(code)).kind is kind


def test_the_text_of_an_error_is_used() -> None:
    """A time-out is quoted; a malformed header is recognised by its text, since it has no code."""
    timed_out = read_failure(LOGS, error_reply("API_ERROR", "Operation timed out"))
    assert "API_ERROR" in timed_out.text
    assert "Operation timed out" in timed_out.text
    header = json_reply({"errors": [{"message": "Malformed Authorization header"}], "data": None})
    assert read_failure(LOGS, header).kind is FailureKind.AUTH
    assert "RXFLOW_API_KEY" in read_failure(LOGS, header).text


def test_status_400_is_a_rejected_query() -> None:
    """Status 400 means that the query is rejected, whatever the code, unless access is refused."""
    assert (
        read_failure(LOGS, error_reply("INTERNAL_SERVER_ERROR", status=400)).kind
        is FailureKind.REJECTED
    )
    assert read_failure(LOGS, error_reply("UNAUTHENTICATED", status=400)).kind is FailureKind.AUTH


@pytest.mark.parametrize("first", [0, 1])
def test_of_several_errors_a_rejection_decides(first: int) -> None:
    """A rejected query is not sent again because another error is temporary."""
    errors = [
        {"message": "down", "extensions": {"code": "INTERNAL_SERVER_ERROR"}},
        {"message": "bad", "extensions": {"code": "data-exception"}},
    ]
    both = {"errors": errors if first == 0 else errors[::-1], "data": {"rows": []}}
    assert read_failure(LOGS, json_reply(both)).kind is FailureKind.REJECTED


def test_rows_beside_errors_are_ignored() -> None:
    """A reply with errors may lack some rows."""
    both = {"errors": [{"message": "oops"}], "data": {"rows": [log_row()]}}
    assert read_failure(LOGS, json_reply(both)).kind is FailureKind.SERVER


@pytest.mark.parametrize("errors", ["words", {"message": "words"}, [5], ["words"], [None], 5, [[]]])
def test_errors_of_another_shape_are_unreadable(errors: Any) -> None:
    """Errors that are not in the format of GraphQL are a failure of their own."""
    assert (
        read_failure(LOGS, json_reply({"errors": errors, "data": None})).kind
        is FailureKind.UNREADABLE
    )


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, FailureKind.BUSY) for status in (408, 425, 503)),
        (429, FailureKind.RATE_LIMITED),
        *((status, FailureKind.SERVER) for status in (409, 410, 500, 501, 502, 504, 507, 599)),
        *((status, FailureKind.AUTH) for status in (401, 403)),
        *((status, FailureKind.REJECTED) for status in (406, 413, 415, 422)),
        *((status, FailureKind.NOT_AN_API) for status in (201, 204, 301, 304, 307, 404, 405)),
    ],
)
def test_each_status_leads_to_one_kind_of_failure(status: int, kind: FailureKind) -> None:
    """The kind follows from the HTTP status, whatever the body has."""
    for body in ({"message": "words"}, {"data": {"rows": [log_row()]}}):
        assert read_failure(LOGS, json_reply(body, status)).kind is kind


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_sets_the_time_to_wait(status: int) -> None:
    """`Retry-After` has seconds, or a date by the clock of the server."""
    assert read_failure(LOGS, json_reply({}, status, retry_after="7")).retry_after == 7
    then = format_datetime(NOON + timedelta(seconds=20), usegmt=True)
    date = format_datetime(NOON, usegmt=True)
    assert read_failure(LOGS, json_reply({}, status, retry_after=then, date=date)).retry_after == 20
    assert read_failure(LOGS, json_reply({}, status)).retry_after is None


@pytest.mark.parametrize(
    "code", ["API_ERROR", "data-exception", "UNAUTHENTICATED", "\x1b[31m" * 99]
)
def test_an_error_is_quoted_printable_and_short(code: str) -> None:
    """At most 256 printable characters of a server's text go into a message."""
    failure = read_failure(LOGS, error_reply(code, "\x1b[31m\u202e\n" + "blah " * 10_000))
    assert "blah" in failure.text
    assert len(failure.text) < 2 * 256 + 200
    assert failure.text.isprintable()


@pytest.mark.parametrize("message", [[{"input": "canary"}], {"a": "canary"}, 5, None])
def test_a_structured_error_is_not_quoted(message: Any) -> None:
    """The message of an error is quoted only if it is a text."""
    failure = read_failure(LOGS, error_reply("API_ERROR", message))
    assert failure.kind is FailureKind.SERVER
    assert "canary" not in failure.text
