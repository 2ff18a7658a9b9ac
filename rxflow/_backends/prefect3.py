"""The backend for Prefect 3: the conversation about a query, with a CSRF token where one is needed.

Belongs here: which calls a query takes, in which order. Does not belong here: paths and filters
(`prefect3_queries`), the contents of replies (`prefect3_replies`).
"""

import re
import uuid
from typing import Any

from msgspec.structs import replace

from rxflow._backends.backend import Conversation, HttpCall
from rxflow._backends.prefect3_queries import call_of, csrf_token_call
from rxflow._backends.prefect3_replies import needs_csrf_token, read_csrf_headers, read_reply
from rxflow._models.entities import Server
from rxflow._protocol.failures import Failure, Reply
from rxflow._protocol.pages import Page
from rxflow._protocol.queries import (
    AgentsQuery,
    NamedDeploymentQuery,
    Query,
    ResultsQuery,
    RunFilter,
    RunsQuery,
    ServerQuery,
)

_CODE_HASH = re.compile(r"-[0-9a-f]{8}$")


class Prefect3:
    """Speaks to a Prefect 3 server or to Prefect Cloud.

    A server may require a CSRF token, of which it keeps one for each client id: the token fetched
    last is valid, those before it are not. So all channels of a client share one id and one token.
    """

    def __init__(self, server: Server | None = None) -> None:
        """Start without a CSRF token.

        Args:
            server: What the server was detected to be; None to send a query for that.
        """
        self._server = server
        self._client_id = str(uuid.uuid4())
        self._csrf_headers: tuple[tuple[str, str], ...] = ()

    def converse(self, query: Query) -> Conversation[Reply]:
        """Send a query, once more after a CSRF token was fetched, and read the reply."""
        match query:
            case ServerQuery() if self._server is not None:
                return Page((self._server,))
            case AgentsQuery() | ResultsQuery():
                return Page(())  # Prefect 3 has workers, and no parents of mapped task runs
            case RunsQuery(where=where) if where.deployment_names:
                return (yield from self._send_with_deployment_ids(query, where))
            case _:
                return (yield from self._send(query, call_of(query)))

    def _send(self, query: Query, call: HttpCall) -> Conversation[Reply]:
        fetched = False
        while True:
            csrf_headers = self._csrf_headers
            reply = yield replace(call, headers=(*call.headers, *csrf_headers))
            if isinstance(reply, Failure):
                return reply
            if not needs_csrf_token(reply):
                return read_reply(query, reply)
            if self._csrf_headers != csrf_headers:
                continue  # another channel fetched a token, which fetching one more would void
            if fetched:
                return read_reply(query, reply)
            token_response = yield csrf_token_call(self._client_id)
            fetched = True
            if isinstance(token_response, Failure):
                return token_response
            self._csrf_headers = read_csrf_headers(token_response, self._client_id)
            if not self._csrf_headers and token_response.status >= 400:
                failure = read_reply(query, token_response)
                if isinstance(failure, Failure):
                    return failure

    def _send_with_deployment_ids(self, query: RunsQuery, where: RunFilter) -> Conversation[Reply]:
        """Read the ids of deployments first; no filter of the server takes pairs of names."""
        ids: list[str] = [*where.deployment_ids]
        page = Page[Any](())
        for names in where.deployment_names:
            reply = yield from self.converse(NamedDeploymentQuery(*names))
            if isinstance(reply, Failure):
                return reply
            page = reply
            ids += (deployment.id for deployment in page.rows)
        if not ids:
            return Page((), page.server_time)
        where = replace(where, deployment_names=(), deployment_ids=tuple(ids))
        return (yield from self.converse(replace(query, where=where)))

    def task_names(self, task_key: str) -> tuple[str, ...]:
        """Return the key without the hash of the task's code, if it ends with one."""
        name = _CODE_HASH.sub("", task_key)
        return (name,) if name not in {"", task_key} else ()
