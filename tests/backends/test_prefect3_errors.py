"""Errors of Prefect 3, mapped to failures: recorded ones, and each status."""

from typing import Any

import pytest
from http_replies import json_reply
from prefect3_recordings import (
    LOGS,
    MISSING_RUN,
    RUN,
    TASK_RUNS,
    read_failure,
    recorded_reply,
)

from rxflow._backends.prefect3_queries import Prefect3Query
from rxflow._protocol.failures import FailureKind
from rxflow._protocol.queries import (
    RunQuery,
    ServerQuery,
    StatesQuery,
)


@pytest.mark.parametrize(
    ("name", "query", "kind", "quote"),
    [
        ("flow_run_read_404", RunQuery(MISSING_RUN), FailureKind.RUN_NOT_FOUND, MISSING_RUN),
        ("flow_run_read_422", RunQuery("not-a-uuid"), FailureKind.NOT_AN_API, "/api"),
        ("auth_no_auth", ServerQuery(), FailureKind.AUTH, "Unauthorized"),
        ("auth_bad_basic", ServerQuery(), FailureKind.AUTH, "PREFECT_API_AUTH_STRING"),
        ("auth_bearer", ServerQuery(), FailureKind.AUTH, "PREFECT_API_KEY"),
        ("auth_csrf_token_noauth", LOGS, FailureKind.AUTH, "HTTP 401"),
        ("auth_post_no_csrf", LOGS, FailureKind.AUTH, "Missing CSRF token."),
        ("logs_filter_limit_201", LOGS, FailureKind.PAGE_LIMIT, "200"),
        ("logs_filter_limit_neg", LOGS, FailureKind.REJECTED, "greater than"),
        ("logs_filter_bad_sort", LOGS, FailureKind.REJECTED, "query for log rows"),
        ("logs_filter_unknown_field", LOGS, FailureKind.REJECTED, "Invalid request received."),
        ("csrf_disabled", LOGS, FailureKind.REJECTED, "CSRF protection is disabled."),
    ],
)
def test_a_recorded_error_is_a_failure_of_its_kind(
    name: str, query: Prefect3Query, kind: FailureKind, quote: str
) -> None:
    """The text quotes the server, or names the setting to check."""
    failure = read_failure(query, recorded_reply(name))
    assert failure.kind is kind
    assert quote in failure.text
    assert failure.limit == (200 if kind is FailureKind.PAGE_LIMIT else None)


@pytest.mark.parametrize(
    "query", [StatesQuery(RUN), LOGS, TASK_RUNS], ids=lambda q: type(q).__name__
)
def test_only_the_run_query_shows_that_a_run_is_missing(query: Prefect3Query) -> None:
    """The same error in reply to another query does not mean that the run does not exist."""
    failure = read_failure(query, json_reply({"detail": "Flow run not found"}, 404))
    assert failure.kind is FailureKind.NOT_AN_API


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, FailureKind.BUSY) for status in (408, 425, 503)),
        (429, FailureKind.RATE_LIMITED),
        *((status, FailureKind.SERVER) for status in (409, 410, 500, 501, 502, 504, 507, 599)),
        *((status, FailureKind.AUTH) for status in (401, 403)),
        *((status, FailureKind.REJECTED) for status in (400, 406, 413, 415, 422)),
        *((status, FailureKind.NOT_AN_API) for status in (202, 204, 301, 304, 307, 404, 405)),
    ],
)
def test_each_status_leads_to_one_kind_of_failure(status: int, kind: FailureKind) -> None:
    """The kind follows from the HTTP status."""
    assert read_failure(LOGS, json_reply({"detail": "words"}, status)).kind is kind


def test_a_limit_of_something_else_is_no_page_limit() -> None:
    """Only a limit on the number of rows is a page limit."""
    words = {"detail": "Invalid offset: must be less than or equal to 10000."}
    assert read_failure(LOGS, json_reply(words, 422)).kind is FailureKind.REJECTED


@pytest.mark.parametrize("key", ["detail", "exception_message"])
@pytest.mark.parametrize("status", [400, 401, 403, 422, 500, 503])
def test_an_error_is_quoted_printable_and_short(status: int, key: str) -> None:
    """At most 256 printable characters of a server's text go into a message."""
    words = "\x1b[31m\u202e\n" + "blah " * 10_000
    failure = read_failure(
        LOGS, json_reply({key: words, "request_body": {"token": "canary"}}, status)
    )
    assert "blah" in failure.text
    assert len(failure.text) < 256 + 200
    assert failure.text.isprintable()
    assert "canary" not in failure.text


@pytest.mark.parametrize(
    "detail", [[{"msg": "canary", "input": "canary"}], {"a": "canary"}, 5, None]
)
def test_a_structured_error_is_not_quoted(detail: Any) -> None:
    """An error that repeats the request, as validation errors do, is not quoted."""
    for key in ("detail", "exception_detail", "exception_message"):
        failure = read_failure(LOGS, json_reply({key: detail, "request_body": "canary"}, 422))
        assert failure.kind is FailureKind.REJECTED
        assert "canary" not in failure.text


@pytest.mark.parametrize("status", [429, 503, 502])
def test_a_busy_or_failed_server_sets_the_time_to_wait(status: int) -> None:
    """The failure has the seconds of `Retry-After`, or none."""
    assert read_failure(LOGS, json_reply({}, status, retry_after="7")).retry_after == 7
    assert read_failure(LOGS, json_reply({}, status)).retry_after is None
