"""Detection: find out which kind of server replies, if the settings do not say.

A Prefect 3 sends its version, or an error in its own format; a Prefect 1 replies to GraphQL at the
URL itself. A server that does neither may be a Prefect 3 behind something that hides its version:
queries are sent to it as to a Prefect 3, and the detection is final once one has returned rows.
"""

from typing import assert_never

import msgspec

from rxflow._backends.backend import Backend, Conversation, HttpResponse
from rxflow._backends.json_bodies import DECODE_ERRORS
from rxflow._backends.prefect1 import Prefect1
from rxflow._backends.prefect1_queries import HELLO_CALL
from rxflow._backends.prefect1_replies import is_graphql_reply
from rxflow._backends.prefect1_replies import read_reply as read_prefect1_reply
from rxflow._backends.prefect3 import Prefect3
from rxflow._backends.prefect3_queries import VERSION_CALL
from rxflow._backends.prefect3_replies import read_reply as read_prefect3_reply
from rxflow._backends.reply_failures import not_an_api
from rxflow._models.entities import BackendName
from rxflow._protocol.failures import Failure, FailureKind, Reply
from rxflow._protocol.pages import Page
from rxflow._protocol.queries import Query, ServerQuery

_FAILURES_OF_ANY_SERVER = frozenset(
    {FailureKind.AUTH, FailureKind.BUSY, FailureKind.RATE_LIMITED, FailureKind.SERVER}
)
_API_HINT = (
    "the URL of a self-hosted Prefect 3's API ends in /api, and Prefect Server's API is at the "
    "root of port 4200"
)


class TentativeBackend(msgspec.Struct, frozen=True):
    """A backend for one query to a server that was not recognised.

    Attributes:
        backend: The backend to send the query with.
        version_response: What the server replied in place of a version.
    """

    backend: Backend
    version_response: HttpResponse

    def is_confirmed_by(self, query: Query, reply: Reply) -> bool:
        """Whether the reply to a query shows that the server is of this kind: it has rows.

        `ServerQuery` shows nothing, since its reply was made up in the detection.
        """
        if isinstance(query, ServerQuery) or isinstance(reply, Failure):
            return False
        return bool(reply.rows)

    def explain(self, reply: Reply) -> Reply:
        """Replace a failure that presumes a Prefect 3 by one that names both kinds of server."""
        if isinstance(reply, Failure) and reply.kind is FailureKind.NOT_AN_API:
            return not_an_api(self.version_response, _API_HINT)
        return reply


def detect_backend(name: BackendName | None) -> Conversation[Backend | TentativeBackend | Failure]:
    """Find the backend for a server.

    Args:
        name: The kind of server, which takes no call; None to detect it.
    """
    match name:
        case BackendName.PREFECT_3:
            return Prefect3()
        case BackendName.PREFECT_1:
            return Prefect1()
        case None:
            return (yield from _detect())
        case _:
            assert_never(name)


def _detect() -> Conversation[Backend | TentativeBackend | Failure]:
    version_response = yield VERSION_CALL
    if isinstance(version_response, Failure):
        return version_response
    version = read_prefect3_reply(ServerQuery(), version_response)
    if _is_prefect3(version_response):
        return version if isinstance(version, Failure) else Prefect3(version.rows[0])
    hello_response = yield HELLO_CALL
    if isinstance(hello_response, Failure):
        return hello_response
    if is_graphql_reply(hello_response):
        return Prefect1()
    for reply in (version, read_prefect1_reply(ServerQuery(), hello_response)):
        if isinstance(reply, Failure) and reply.kind in _FAILURES_OF_ANY_SERVER:
            return reply
    if isinstance(version, Page):
        return TentativeBackend(Prefect3(version.rows[0]), version_response)
    return not_an_api(version_response, _API_HINT)


def _is_prefect3(reply: HttpResponse) -> bool:
    """Whether a reply to `VERSION_CALL` is a version, or an error in the format of Prefect 3."""
    try:
        body = msgspec.json.decode(reply.body)
    except DECODE_ERRORS:
        return False
    match body:
        case str():
            return reply.status == 200
        case {"exception_message": _}:
            return True
        case _:
            return False
