"""Queries: what they select by default."""

from typing import get_args

from rxflow._protocol.queries import SUBJECTS, LogsQuery, Query, RunQuery, subject_of


def test_a_logs_query_selects_all_rows_from_the_oldest_by_default() -> None:
    """Without further arguments a query for log rows selects all of them, oldest first."""
    query = LogsQuery(flow_run_ids=("run",))
    assert (query.after, query.before, query.level, query.offset) == (None, None, 0, 0)
    assert query.descending is False


def test_each_query_has_a_name_in_messages() -> None:
    """No kind of query is missing in the words for messages."""
    assert set(SUBJECTS) == set(get_args(Query))
    assert subject_of(RunQuery("one")) == "a flow run"
