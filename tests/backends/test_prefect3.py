"""The conversations of the backend for Prefect 3: unsupported queries, and CSRF tokens."""

import pytest
from conversations import carry_out, play
from http_replies import json_reply
from prefect3_recordings import LOGS, MISSING_RUN, RUN, TASK_RUN, recorded_reply, recording

from rxflow._backends.backend import HttpCall
from rxflow._backends.prefect3 import Prefect3
from rxflow._backends.prefect3_queries import VERSION_CALL, call_of
from rxflow._models.entities import BackendName, Server
from rxflow._protocol.failures import Failure, FailureKind
from rxflow._protocol.pages import Page
from rxflow._protocol.queries import AgentsQuery, Query, ResultsQuery, RunQuery, ServerQuery

REFUSAL = recorded_reply("auth_post_no_csrf")
TOKEN = recorded_reply("auth_csrf_token")
ROWS = recorded_reply("logs_filter")


@pytest.mark.parametrize("query", [AgentsQuery(), ResultsQuery((TASK_RUN,))])
def test_a_query_that_prefect_3_does_not_support_takes_no_call(query: Query) -> None:
    """Prefect 3 has neither agents nor parents of mapped task runs."""
    assert play(Prefect3().converse(query)) == ([], Page(()))


def test_the_server_query_takes_no_call_after_detection() -> None:
    """A backend that was made for a detected server returns that server."""
    server = Server(backend=BackendName.PREFECT_3, version="3.8.8")
    assert play(Prefect3(server).converse(ServerQuery())) == ([], Page((server,)))
    calls, _ = play(Prefect3().converse(ServerQuery()), [json_reply("3.8.8")])
    assert calls == [VERSION_CALL]


def test_a_call_that_fails_ends_the_conversation() -> None:
    """A failure of the transport is the reply."""
    failure = Failure(kind=FailureKind.NETWORK, text="no route")
    calls, reply = play(Prefect3().converse(RunQuery(RUN)), [failure])
    assert reply is failure
    assert len(calls) == 1


# -- CSRF tokens ----------------------------------------------------------------------------------


def token_headers(call: HttpCall) -> dict[str, str]:
    """Return the headers of a call that send a CSRF token."""
    return {name: value for name, value in call.headers if "Csrf" in name}


@pytest.mark.parametrize("name", ["auth_post_no_csrf", "auth_post_csrf_bad"])
def test_a_token_is_fetched_when_the_server_requires_one(name: str) -> None:
    """The call is sent again with the token, and so is every later call of the backend."""
    backend = Prefect3()
    calls, reply = play(backend.converse(LOGS), [recorded_reply(name), TOKEN, ROWS])
    assert isinstance(reply, Page)
    assert [call.path for call in calls] == ["/logs/filter", "/csrf-token", "/logs/filter"]
    assert calls[0] == call_of(LOGS)
    client_id = dict(calls[1].params)["client"]
    assert token_headers(calls[2])["Prefect-Csrf-Client"] == client_id
    assert token_headers(calls[2])["Prefect-Csrf-Token"] in recording("auth_csrf_token")["response"]
    (later,), _ = play(backend.converse(LOGS), [ROWS])
    assert later == calls[2]


def test_a_token_that_another_conversation_fetched_is_used() -> None:
    """Fetching another one would void it, so that two channels would void each other's tokens."""
    backend = Prefect3()
    first, second = backend.converse(LOGS), backend.converse(LOGS)
    for conversation in (first, second):
        assert not token_headers(next(conversation))
    fetched = iter([TOKEN, ROWS])
    assert isinstance(carry_out(first, lambda _: next(fetched), REFUSAL), Page)
    call = second.send(REFUSAL)
    assert call.path == "/logs/filter"
    assert token_headers(call)
    assert isinstance(carry_out(second, lambda _: ROWS, ROWS), Page)


def test_an_expired_token_is_replaced() -> None:
    """A token that the server no longer accepts is fetched again."""
    backend = Prefect3()
    play(backend.converse(LOGS), [REFUSAL, TOKEN, ROWS])
    expired = recorded_reply("auth_post_csrf_bad")
    calls, reply = play(backend.converse(LOGS), [expired, TOKEN, ROWS])
    assert isinstance(reply, Page)
    assert [call.path for call in calls] == ["/logs/filter", "/csrf-token", "/logs/filter"]


def test_a_token_is_fetched_once_in_a_conversation() -> None:
    """A server that refuses its own token refuses access."""
    calls, reply = play(Prefect3().converse(LOGS), [REFUSAL, TOKEN, REFUSAL])
    assert isinstance(reply, Failure)
    assert reply.kind is FailureKind.AUTH
    assert len(calls) == 3


def test_a_token_call_that_fails_ends_the_conversation() -> None:
    """A failure of the transport is the reply, and so is that of a bad status."""
    failure = Failure(kind=FailureKind.NETWORK, text="no route")
    _, reply = play(Prefect3().converse(LOGS), [REFUSAL, failure])
    assert reply is failure
    _, reply = play(Prefect3().converse(LOGS), [REFUSAL, json_reply({}, 503)])
    assert isinstance(reply, Failure)
    assert reply.kind is FailureKind.BUSY


@pytest.mark.parametrize("query", [RunQuery(MISSING_RUN), LOGS])
def test_a_reply_without_a_token_is_followed_by_one_more_attempt(query: Query) -> None:
    """Its call is sent without a token, and the second refusal is the reply."""
    calls, reply = play(Prefect3().converse(query), [REFUSAL, json_reply({}), REFUSAL])
    assert isinstance(reply, Failure)
    assert "Missing CSRF token." in reply.text
    assert not token_headers(calls[2])


# -- names of tasks -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("load-0489fc40", ("load",)),
        ("load-data-0489fc40", ("load-data",)),
        ("load", ()),
        ("load-0489FC40", ()),
        ("load-0489fc4", ()),
        ("-0489fc40", ()),
        ("", ()),
    ],
)
def test_a_task_has_its_key_without_the_hash_for_a_name(key: str, names: tuple[str, ...]) -> None:
    """Only the suffix that Prefect 3 adds is removed: a dash and eight hexadecimal digits."""
    assert Prefect3().task_names(key) == names
