"""The conversations of the backend for Prefect 1."""

import pytest
from conversations import play
from http_replies import json_reply
from prefect1_recordings import RUN, flow_run_row, rows_reply

from rxflow._backends.prefect1 import Prefect1
from rxflow._backends.prefect1_queries import call_of
from rxflow._models.entities import BackendName, Server
from rxflow._protocol.failures import Failure, FailureKind
from rxflow._protocol.pages import Page
from rxflow._protocol.queries import (
    DeploymentQuery,
    LogsQuery,
    Query,
    RunQuery,
    ServerQuery,
    WorkersQuery,
    WorkPoolQuery,
    WorkPoolsQuery,
)


@pytest.mark.parametrize(
    "query",
    [DeploymentQuery("x"), WorkPoolQuery("x"), WorkPoolsQuery(), WorkersQuery("x")],
    ids=lambda query: type(query).__name__,
)
def test_a_query_that_prefect_1_does_not_support_takes_no_call(query: Query) -> None:
    """Deployments, work pools and workers came with Prefect 2: there are none."""
    assert play(Prefect1().converse(query)) == ([], Page(()))


def test_the_server_query_takes_no_call() -> None:
    """Prefect 1 does not send its version, and that it is a Prefect 1 is known."""
    server = Server(backend=BackendName.PREFECT_1)
    assert play(Prefect1().converse(ServerQuery())) == ([], Page((server,)))


def test_a_query_for_one_entity_takes_one_call() -> None:
    """The call is the query's, and its reply is read."""
    calls, reply = play(Prefect1().converse(RunQuery(RUN)), [rows_reply(flow_run_row())])
    assert calls == [call_of(RunQuery(RUN))]
    assert isinstance(reply, Page)
    assert [run.id for run in reply.rows] == [RUN]


@pytest.mark.parametrize("query", [RunQuery(RUN), LogsQuery(flow_run_ids=(RUN,))])
def test_a_call_that_fails_ends_the_conversation(query: Query) -> None:
    """A failure of the transport is the reply."""
    failure = Failure(kind=FailureKind.NETWORK, text="no route")
    calls, reply = play(Prefect1().converse(query), [failure])
    assert reply is failure
    assert len(calls) == 1


def test_no_csrf_token_is_fetched() -> None:
    """A query takes one call, even if the server replies as a Prefect 3 that requires a token."""
    for status in (200, 401, 403):
        refusal = json_reply({"detail": "Missing CSRF token."}, status)
        calls, _ = play(Prefect1().converse(RunQuery(RUN)), [refusal])
        assert len(calls) == 1


def test_a_task_has_no_name_but_its_slug() -> None:
    """The slug is its key, so there is no other name."""
    assert Prefect1().task_names("load-1") == ()
