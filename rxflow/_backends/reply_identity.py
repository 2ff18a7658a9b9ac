"""Whether a reply is about what was queried; a reply about something else is refused.

A proxy, or a connection that two processes share, may hand on the reply to another query. Belongs
here: comparing rows with the query. Does not belong here: rows that cannot be read
(`row_decoder`), and single rows of other runs in a page of log rows (`_logs.table_reader`).
"""

from typing import Any

from msgspec.structs import replace

from rxflow._protocol.failures import Failure, FailureKind, Reply
from rxflow._protocol.pages import MalformedRow, Page
from rxflow._protocol.queries import (
    DeploymentQuery,
    FlowQuery,
    LogsQuery,
    NamedDeploymentQuery,
    Query,
    RunQuery,
    RunsQuery,
    TaskRunQuery,
    TaskRunsQuery,
    WorkPoolQuery,
    subject_of,
)


def check_identity(query: Query, page: Page[Any]) -> Reply:
    """Return a page, or a failure if it is about something else than was queried.

    A page of which some rows are about what was queried is kept.

    Args:
        query: The query that was sent.
        page: The page that was received for it.
    """
    match query:
        case RunQuery(wanted) | TaskRunQuery(wanted) | FlowQuery(wanted) | DeploymentQuery(wanted):
            found = {row.id for row in page.rows}
            return page if found <= {wanted} else about_another(query, wanted, *found - {wanted})
        case RunsQuery(where=where) if where.flow_run_ids:
            others = {row.id for row in page.rows}.difference(where.flow_run_ids)
            return about_another(query, *where.flow_run_ids, *others) if others else page
        case WorkPoolQuery(wanted) | NamedDeploymentQuery(name=wanted):
            found = {row.name for row in page.rows}
            return page if found <= {wanted} else about_another(query, wanted, *found - {wanted})
        case LogsQuery(flow_run_ids=runs):
            if not page.rows or any(row.flow_run_id in runs for row in page.rows):
                return page
            return about_another(query, *runs, page.rows[0].flow_run_id)
        case TaskRunsQuery():
            return _own_task_runs(query, page)
        case _:
            return page


def about_another(query: Query, *ids: str) -> Failure:
    """Build the failure for a reply about something else.

    Args:
        query: The query that was sent.
        ids: The ids that were queried, and then one of those that were received.
    """
    wanted, found = ids[0], ids[-1]
    return Failure(
        kind=FailureKind.UNREADABLE,
        text=f"The reply to the query for {subject_of(query)} ({wanted}) is about "
        f"{found[:80]!r}, which was not queried; does a proxy mix up replies?",
    )


def _own_task_runs(query: TaskRunsQuery, page: Page[Any]) -> Reply:
    wanted = query.flow_run_ids
    if not wanted:
        strangers = [row.id for row in page.rows if row.id not in query.task_run_ids]
        return about_another(query, *query.task_run_ids, strangers[0]) if strangers else page
    others = [row for row in page.rows if row.flow_run_id not in {None, *wanted}]
    if not others:
        return page
    if len(others) == len(page.rows):
        return about_another(query, *wanted, others[0].flow_run_id)
    malformed = (
        MalformedRow(row.id, f"it belongs to flow run {row.flow_run_id}, which was not queried")
        for row in others
    )
    own = tuple(row for row in page.rows if row not in others)
    return replace(page, rows=own, malformed=(*page.malformed, *malformed))
