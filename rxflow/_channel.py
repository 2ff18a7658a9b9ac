"""A channel: a backend's words over a transport. It takes questions and gives pages."""

import uuid
from typing import Any

import msgspec

from rxflow._backends import Backend, HttpCall
from rxflow._polling import Failure, Page, Query
from rxflow._transport import Transport


class Pass:
    """What a server wants to see beside the key: a CSRF token, for a client that it knows."""

    def __init__(self) -> None:
        self.client = str(uuid.uuid4())
        self.headers: tuple[tuple[str, str], ...] = ()


class Channel:
    """A backend's words over a transport: takes questions, gives pages."""

    def __init__(self, backend: Backend, transport: Transport, shown: Pass) -> None:
        """Put one on top of the other."""
        self._backend = backend
        self._transport = transport
        self._pass = shown

    def ask(self, query: Query) -> Page[Any] | Failure:
        """Ask, once, and wait for the answer; never raises."""
        call = self._backend.encode(query)
        reply = self._transport.send(_with(call, self._pass))
        if isinstance(reply, Failure):
            return reply
        pass_call = self._backend.pass_call(reply, self._pass.client)
        if pass_call is not None:
            given = self._transport.send(pass_call)
            if isinstance(given, Failure):
                return given
            self._pass.headers = self._backend.pass_headers(given, self._pass.client)
            if not self._pass.headers and given.status >= 400:
                failure = self._backend.decode(query, given)
                if isinstance(failure, Failure):
                    return failure
            reply = self._transport.send(_with(call, self._pass))
            if isinstance(reply, Failure):
                return reply
        return self._backend.decode(query, reply)

    def close(self) -> None:
        """Break off a question under way, from any thread, and close the connection."""
        self._transport.close()


def _with(call: HttpCall, shown: Pass) -> HttpCall:
    return msgspec.structs.replace(call, headers=(*call.headers, *shown.headers))
