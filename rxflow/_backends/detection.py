"""Getting to know a server: which kind it is, if nobody said, and what its codec has to know.

A Prefect 3 tells its version, or says in its own way that it does not; a Prefect 1 answers to
GraphQL at the URL itself. What does neither may be a Prefect 3 of which something in between hides
a part: that is tried, and nothing is decided until it has given a good answer.
"""

import msgspec

from rxflow._backends.backend import Backend, Conversation, HttpReply
from rxflow._backends.prefect1 import Prefect1, is_greeting
from rxflow._backends.prefect1_queries import say_hello
from rxflow._backends.prefect3 import WHO, Prefect3
from rxflow._backends.status_failures import not_an_api
from rxflow._models.entities import BackendName
from rxflow._protocol.failures import Failure, FailureKind, Reply
from rxflow._protocol.queries import ServerQuery

_OF_ANY_SERVER = frozenset({FailureKind.AUTH, FailureKind.BUSY, FailureKind.SERVER})
_ADVICE = (
    "the URL of a self-hosted Prefect 3's API ends in /api, and Prefect Server's API is at the "
    "root of port 4200"
)


class TentativeBackend(msgspec.Struct, frozen=True):
    """A codec for a server that did not say what it is, not to be kept on that account.

    Attributes:
        backend: The codec.
        reply: What the server said instead.
    """

    backend: Backend
    reply: HttpReply

    def judge(self, answer: Reply) -> Reply:
        """Say what an answer means, now that nobody knows whose it is."""
        if isinstance(answer, Failure) and answer.kind is FailureKind.NOT_AN_API:
            return not_an_api(self.reply, _ADVICE)
        return answer


def detect_backend(name: BackendName | None) -> Conversation[Backend | TentativeBackend | Failure]:
    """Find the codec for a server.

    Args:
        name: What the server is; None if it has to be found out.
    """
    match name:
        case BackendName.PREFECT_3:
            return Prefect3()
        case BackendName.PREFECT_1:
            return Prefect1()
        case None:
            return (yield from _detect())


def _detect() -> Conversation[Backend | TentativeBackend | Failure]:
    reply = yield WHO
    if isinstance(reply, Failure):
        return reply
    version = Prefect3().decode(ServerQuery(), reply)
    if _is_prefect3(reply):
        return version if isinstance(version, Failure) else Prefect3(version.rows[0])
    greeting = yield say_hello()
    if isinstance(greeting, Failure):
        return greeting
    if is_greeting(greeting):
        return Prefect1()
    for answer in (version, Prefect1().decode(ServerQuery(), greeting)):
        if isinstance(answer, Failure) and answer.kind in _OF_ANY_SERVER:
            return answer
    if isinstance(version, Failure):
        return not_an_api(reply, _ADVICE)
    return TentativeBackend(Prefect3(version.rows[0]), reply)


def _is_prefect3(reply: HttpReply) -> bool:
    """Whether it says its version, or speaks of errors in Prefect 3's words."""
    try:
        said = msgspec.json.decode(reply.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    match said:
        case str():
            return reply.status == 200
        case {"exception_message": _}:
            return True
        case _:
            return False
