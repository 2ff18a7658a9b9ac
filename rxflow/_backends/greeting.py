"""Getting to know a server: which kind it is, if nobody said, and what its codec has to know.

A Prefect 3 tells its version, or says in its own way that it does not; a Prefect 1 answers to
GraphQL at the URL itself. What does neither is taken for a Prefect 3, whose codec then complains.
"""

import msgspec

from rxflow._backends import Backend, Exchange, HttpReply
from rxflow._backends.prefect1 import Prefect1, is_greeting, say_hello
from rxflow._backends.prefect3 import WHO, Prefect3
from rxflow._model import BackendName, Server
from rxflow._polling import Failure, ServerQuery


def greet(name: BackendName | None) -> Exchange[Backend | Failure]:
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
            return (yield from _find_out())


def _find_out() -> Exchange[Backend | Failure]:
    reply = yield WHO
    if isinstance(reply, Failure) or _is_prefect3(reply):
        return reply if isinstance(reply, Failure) else _prefect3(reply)
    greeting = yield say_hello()
    if isinstance(greeting, Failure):
        return greeting
    return Prefect1() if is_greeting(greeting) else _prefect3(reply)


def _prefect3(reply: HttpReply) -> Backend | Failure:
    page = Prefect3().decode(ServerQuery(), reply)
    if isinstance(page, Failure):
        return page
    server: Server = page.rows[0]
    return Prefect3(server)


def _is_prefect3(reply: HttpReply) -> bool:
    """Whether it says its version, or speaks of errors in Prefect 3's words."""
    try:
        said = msgspec.json.decode(reply.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    match said:
        case str():
            return reply.status == 200
        case {"detail": _} | {"exception_message": _}:
            return True
        case _:
            return False
