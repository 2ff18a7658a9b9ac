"""Failures that mean the same on every server."""

from typing import Any, get_args

import pytest
from http_replies import json_reply

from rxflow._backends import prefect1_replies, prefect3_replies
from rxflow._backends.backend import HttpResponse
from rxflow._backends.json_bodies import UnreadableBody
from rxflow._backends.reply_failures import printable, unreadable_body
from rxflow._protocol.failures import Failure, FailureKind
from rxflow._protocol.queries import (
    SUBJECTS,
    LogsQuery,
    Query,
    RunQuery,
    StatesQuery,
    TaskRunsQuery,
    subject_of,
)

RUN = "4edbba39-67c2-4746-b176-eb7641704653"


@pytest.mark.parametrize(
    "read_reply",
    [prefect1_replies.read_reply, prefect3_replies.read_reply],
    ids=["prefect1", "prefect3"],
)
def test_a_redirect_is_not_an_api(read_reply: Any) -> None:
    """The failure for a redirect names its target, without the query string."""
    location = "https://sso.example/in?state=canary"
    reply = json_reply(b"", 302, content_type="text/html", location=location)
    failure = read_reply(RunQuery(RUN), reply)
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.NOT_AN_API
    assert "https://sso.example/in" in failure.text
    assert "canary" not in failure.text


@pytest.mark.parametrize(
    "query",
    [RunQuery(RUN), StatesQuery(RUN), TaskRunsQuery(flow_run_ids=(RUN,))],
    ids=lambda query: type(query).__name__,
)
def test_an_unreadable_reply_about_a_run_names_the_run(query: Query) -> None:
    """The text has the query, the run and the reason."""
    error = UnreadableBody("Expected `str` - at `$.name`", is_json=True)
    text = unreadable_body(query, json_reply({}), error, "").text
    assert subject_of(query) in text
    assert type(query).__name__ not in text
    assert RUN in text
    assert "$.name" in text


@pytest.mark.parametrize(
    ("is_json", "content_type", "kind"),
    [
        (True, "text/html", FailureKind.UNREADABLE),
        (False, "application/json", FailureKind.UNREADABLE),
        (False, "text/html", FailureKind.NOT_AN_API),
    ],
)
def test_a_body_that_is_no_json_is_not_an_api(
    is_json: bool, content_type: str, kind: FailureKind
) -> None:
    """Unless the reply is declared to be JSON: then it is a broken reply of the API."""
    reply = HttpResponse(status=200, headers={"content-type": content_type}, body=b"")
    error = UnreadableBody("wrong", is_json=is_json)
    query = LogsQuery(flow_run_ids=(RUN,))
    assert unreadable_body(query, reply, error, "the API is elsewhere").kind is kind


def test_a_quoted_text_is_printable_and_short() -> None:
    """It is on one line, and has at most 256 characters."""
    assert printable("one\n\x1b[31mtwo\u202e ") == "one [31mtwo"
    assert len(printable("x" * 1000)) == 256


def test_each_query_has_a_subject_in_words() -> None:
    """Texts for people name what was to be read, whatever kind of query reads it."""
    assert set(SUBJECTS) == set(get_args(Query))
    assert all(subject == subject.lower() for subject in SUBJECTS.values())


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, b"GET query missing."),
        (500, b"POST body missing. Did you forget use body-parser middleware?"),
    ],
)
def test_a_prefect_1_in_place_of_a_prefect_3_is_named(status: int, body: bytes) -> None:
    """The failure says what replied and which backend to set."""
    failure = prefect3_replies.read_reply(RunQuery(RUN), json_reply(body, status))
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.NOT_AN_API
    assert failure.text.startswith("The server is not a Prefect 3: it replies")
    assert "set the backend to prefect1" in failure.text
