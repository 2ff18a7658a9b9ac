"""Creating and cancelling flow runs: what is sent to both kinds of server, and what they reply."""

import json
from typing import Any

import pytest
from http_replies import HTML, json_reply

from rxflow._backends import prefect1_queries, prefect1_replies, prefect3_queries, prefect3_replies
from rxflow._models.entities import ChangeReply
from rxflow._protocol.failures import Failure, FailureKind
from rxflow._protocol.pages import Page
from rxflow._protocol.queries import Query, RunCancellation, RunCreation

RUN = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"
SOURCE = "1a2b3c4d-0000-4000-8000-000000000001"
CREATION = RunCreation(source_id=SOURCE, idempotency_key="k")
WHOLE_CREATION = RunCreation(
    source_id=SOURCE, idempotency_key="k", parameters={"day": 3}, name="by hand", tags=("a",)
)
CANCELLATION = RunCancellation(RUN)


def row_of(reply: Any) -> Any:
    """Return the one row of a page, None if it has no row."""
    assert isinstance(reply, Page), reply
    assert reply.count <= 1
    return reply.rows[0] if reply.rows else None


# -- Prefect 3 ------------------------------------------------------------------------------------


def test_prefect_3_is_sent_what_is_set() -> None:
    """What is not set is left to the deployment."""
    path = f"/deployments/{SOURCE}/create_flow_run"
    sent = [prefect3_queries.call_of(query) for query in (CREATION, WHOLE_CREATION)]
    assert [(call.method, call.path) for call in sent] == [("POST", path)] * 2
    assert [json.loads(call.body or b"") for call in sent] == [
        {"idempotency_key": "k"},
        {"idempotency_key": "k", "parameters": {"day": 3}, "name": "by hand", "tags": ["a"]},
    ]


def test_prefect_3_is_sent_the_state_of_a_run_that_is_cancelled() -> None:
    """As the real client proposes it."""
    call = prefect3_queries.call_of(CANCELLATION)
    assert (call.method, call.path) == ("POST", f"/flow_runs/{RUN}/set_state")
    assert json.loads(call.body or b"") == {"state": {"type": "CANCELLING", "name": "Cancelling"}}


WRONG_TYPE = (
    "Error creating flow run: Validation failed for field 'x'. Failure reason: 'a' is not of type "
    "'integer'"
)
ENDED = "Run is already in terminal state COMPLETED."

# Statuses and bodies of a 3.8.8.
PREFECT_3_REPLIES: dict[str, tuple[Query, int, Any, ChangeReply | None]] = {
    "created": (CREATION, 201, {"id": RUN, "name": "a"}, ChangeReply(flow_run_id=RUN)),
    "found by its key": (CREATION, 200, {"id": RUN}, ChangeReply(flow_run_id=RUN)),
    "wrong parameter": (CREATION, 409, {"detail": WRONG_TYPE}, ChangeReply(refusal=WRONG_TYPE)),
    "no deployment": (CREATION, 404, {"detail": "Deployment not found"}, None),
    "refused without a text": (CREATION, 400, {"detail": []}, ChangeReply(refusal="HTTP 400")),
    "cancelling": (CANCELLATION, 201, {"status": "ACCEPT", "details": {}}, ChangeReply()),
    "cancelled at once": (
        CANCELLATION,
        201,
        {"status": "REJECT", "details": {"reason": "Scheduled flow run has no infrastructure."}},
        ChangeReply(),
    ),
    "over": (
        CANCELLATION,
        200,
        {"status": "ABORT", "details": {"reason": ENDED}},
        ChangeReply(refusal=ENDED),
    ),
    "refused without a reason": (
        CANCELLATION,
        200,
        {"status": "WAIT"},
        ChangeReply(refusal="WAIT"),
    ),
}


@pytest.mark.parametrize(
    ("query", "status", "body", "row"), PREFECT_3_REPLIES.values(), ids=PREFECT_3_REPLIES
)
def test_a_reply_of_prefect_3_says_whether_the_change_was_made(
    query: Query, status: int, body: Any, row: ChangeReply | None
) -> None:
    """A refusal has the server's text."""
    assert row_of(prefect3_replies.read_reply(query, json_reply(body, status))) == row


def test_a_run_that_prefect_3_does_not_have_cannot_be_cancelled() -> None:
    """The failure is that of a watch; one about another run is not believed."""
    for run, kind in ((RUN, FailureKind.RUN_NOT_FOUND), (SOURCE, FailureKind.NOT_AN_API)):
        reply = json_reply({"exception_message": f"Flow run with id {run} not found"}, 404)
        failure = prefect3_replies.read_reply(CANCELLATION, reply)
        assert isinstance(failure, Failure)
        assert failure.kind is kind


def test_a_conflict_of_something_in_between_is_no_refusal() -> None:
    """It is sent again."""
    reply = prefect3_replies.read_reply(CREATION, json_reply(HTML, 409, content_type="text/html"))
    assert isinstance(reply, Failure)
    assert reply.kind is FailureKind.SERVER


# -- Prefect 1 ------------------------------------------------------------------------------------


def variables_of(query: RunCreation | RunCancellation) -> Any:
    """Return what a mutation is sent."""
    return json.loads(prefect1_queries.call_of(query).body or b"")["variables"]["input"]


def test_prefect_1_is_sent_what_is_set() -> None:
    """A run is made of a flow; its labels are those of the flow unless they are set."""
    assert variables_of(CREATION) == {"flow_id": SOURCE, "idempotency_key": "k", "parameters": {}}
    assert variables_of(WHOLE_CREATION) == {
        "flow_id": SOURCE,
        "idempotency_key": "k",
        "parameters": {"day": 3},
        "flow_run_name": "by hand",
        "labels": ["a"],
    }
    assert variables_of(CANCELLATION) == {"flow_run_id": RUN}


def graphql_error(message: str, code: str) -> Any:
    """Build the body of an error."""
    return {"errors": [{"message": message, "extensions": {"code": code}}], "data": None}


def test_a_reply_of_prefect_1_says_whether_the_change_was_made() -> None:
    """An error of the service that makes changes is a refusal; the query is not sent again."""
    read = prefect1_replies.read_reply
    created = read(CREATION, json_reply({"data": {"rows": {"id": RUN}}}))
    assert row_of(created) == ChangeReply(flow_run_id=RUN)
    cancelled = read(CANCELLATION, json_reply({"data": {"rows": {"state": "Cancelling"}}}))
    assert row_of(cancelled) == ChangeReply()
    error = graphql_error("Required parameters were missing: x", "INTERNAL_SERVER_ERROR")
    for query in (CREATION, CANCELLATION):
        row = row_of(read(query, json_reply(error)))
        assert "Required parameters were missing: x" in row.refusal


def test_a_failure_of_prefect_1_is_no_refusal() -> None:
    """Such as credentials that are refused, or a gateway that is down."""
    denied = graphql_error("no", "UNAUTHENTICATED")
    for reply, kind in (
        (json_reply(denied), FailureKind.AUTH),
        (json_reply({}, 503), FailureKind.BUSY),
        (json_reply({"data": {"rows": None}}), FailureKind.UNREADABLE),
    ):
        failure = prefect1_replies.read_reply(CREATION, reply)
        assert isinstance(failure, Failure)
        assert failure.kind is kind
