"""Queries: what they select by default."""

from rxflow._protocol.queries import LogsQuery


def test_a_logs_query_selects_all_rows_from_the_oldest_by_default() -> None:
    """Without further arguments a query for log rows selects all of them, oldest first."""
    query = LogsQuery(flow_run_ids=("run",))
    assert (query.after, query.before, query.level, query.offset) == (None, None, 0, 0)
    assert query.descending is False
