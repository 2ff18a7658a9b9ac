"""The backend for Prefect 1: the conversation about a query, with one call or with several.

Belongs here: which calls a query takes. Does not belong here: GraphQL (`prefect1_queries`), the
contents of replies (`prefect1_replies`), silent row limits (`prefect1_row_limits`).
"""

from rxflow._backends.backend import Conversation
from rxflow._backends.prefect1_queries import call_of, unsupported_filter
from rxflow._backends.prefect1_replies import read_reply
from rxflow._backends.prefect1_row_limits import RowLimits
from rxflow._models.entities import BackendName, Server
from rxflow._protocol.failures import Failure, Reply
from rxflow._protocol.pages import Page
from rxflow._protocol.queries import (
    AgentsQuery,
    DeploymentQuery,
    LogsQuery,
    NamedDeploymentQuery,
    Query,
    RunsQuery,
    ServerQuery,
    StatesQuery,
    TaskRunsQuery,
    TaskRunStatesQuery,
    WorkersQuery,
    WorkPoolQuery,
    WorkPoolsQuery,
)


class Prefect1:
    """Speaks to a Prefect Server, or to another backend with the GraphQL API of Prefect 1.

    Attributes:
        row_limits: What the conversations so far have shown of the server's row limits.
    """

    def __init__(self) -> None:
        """Start without knowledge of the server's row limits."""
        self.row_limits = RowLimits()

    def converse(self, query: Query) -> Conversation[Reply]:
        """Send a query, and check a list that may have been cut off."""
        match query:
            case ServerQuery():
                return Page((Server(backend=BackendName.PREFECT_1),))  # it has no version query
            case DeploymentQuery() | NamedDeploymentQuery():
                return Page(())  # Prefect 1 has flows, and no deployments of them
            case WorkPoolQuery() | WorkPoolsQuery() | WorkersQuery():
                return Page(())  # it has agents
            case RunsQuery(where=where) if failure := unsupported_filter(where):
                return failure
            case RunsQuery() | LogsQuery() | AgentsQuery():
                return (yield from self.row_limits.read_list(query))
            case StatesQuery() | TaskRunsQuery() | TaskRunStatesQuery():
                return (yield from self.row_limits.read_list(query))
            case _:
                reply = yield call_of(query)
                return reply if isinstance(reply, Failure) else read_reply(query, reply)

    def task_names(self, task_key: str) -> tuple[str, ...]:
        """Return no names: a task has none but its slug, which is its key."""
        del task_key
        return ()
