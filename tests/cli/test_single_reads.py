"""Reads for the looks of the output: they must not hold it up."""

from contextlib import closing
from datetime import timedelta

from rxflow import Client
from rxflow._protocol.queries import TaskRunsQuery
from rxflow.cli._single_reads import SingleReads
from rxflow.cli._time_limit import TimeLimit
from rxflow.testing import FakePrefect3


def test_a_read_that_takes_too_long_is_broken_off() -> None:
    """Its rows are not known, and no further read is tried for a while."""
    server = FakePrefect3()
    run = server.add_run(state="RUNNING")
    server.add_task_run(run, name="sift-0")
    query = TaskRunsQuery(flow_run_ids=(run,))
    short = TimeLimit(timedelta(seconds=0.2))
    with server.serve() as url, Client(api_url=url) as client:
        with closing(SingleReads(client)) as reads:
            assert [row.name for row in reads.rows(query) or ()] == ["sift-0"]
        with server.hold() as hold, closing(SingleReads(client, short)) as reads:
            assert reads.rows(query) is None
            hold.until_left()
            came = hold.came
            assert reads.rows(query) is None
            assert hold.came == came
