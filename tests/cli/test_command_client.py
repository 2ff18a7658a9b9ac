"""The client of a command: what it says and does while the server is silent."""

import threading
from datetime import timedelta

import pytest

import rxflow
from rxflow import list_flow_runs
from rxflow.cli._command_client import NOTABLE_WAIT, CommandClient
from rxflow.cli._time_limit import TimeLimit
from rxflow.testing import FakePrefect3

SECONDS = NOTABLE_WAIT + 1


def limit() -> TimeLimit:
    """A limit that is reached after the sentence that the server is silent."""
    return TimeLimit(timedelta(seconds=SECONDS))


def test_a_wait_is_said_once() -> None:
    """After two seconds without a reply, though the server hangs within one request."""
    server, said = FakePrefect3(), list[str]()
    with (
        server.serve() as url,
        server.hold(),
        CommandClient(limit=limit(), say=said.append, api_url=url) as client,
    ):
        with pytest.raises(rxflow.WatchTimedOut, match=r"time limit of 3\.0 s is over"):
            list_flow_runs(client=client)
        assert said == [f"{url} does not reply yet; trying for up to {SECONDS:g} s ..."]


def test_the_reason_is_said() -> None:
    """Where each request fails at once, and the wait is between them."""
    said = list[str]()
    url = "http://127.0.0.1:9/api"  # where nothing listens
    with CommandClient(limit=limit(), say=said.append, api_url=url) as client:
        with pytest.raises(rxflow.WatchTimedOut, match="last request failed: No process listens"):
            list_flow_runs(client=client)
        assert said == [
            f"{url} does not reply yet (connection refused); trying for up to {SECONDS:g} s ..."
        ]


def test_nothing_is_said_of_a_server_that_replies() -> None:
    """However many reads one after another."""
    server, said = FakePrefect3(), list[str]()
    server.add_run()
    with server.serve() as url, CommandClient(say=said.append, api_url=url) as client:
        assert [len(list_flow_runs(client=client)) for _ in range(3)] == [1, 1, 1]
    assert said == []


def test_reads_of_other_threads_have_no_limit() -> None:
    """Such as those of names beside a watch."""
    server = FakePrefect3()
    server.add_run()
    found: list[int] = []
    short = TimeLimit(timedelta(seconds=1))
    with server.serve() as url, CommandClient(limit=short, api_url=url) as client:
        with server.hold(), pytest.raises(rxflow.WatchTimedOut):
            list_flow_runs(client=client)
        thread = threading.Thread(target=lambda: found.append(len(list_flow_runs(client=client))))
        thread.start()
        thread.join()
        assert found == [1]
        with pytest.raises(rxflow.WatchTimedOut):
            list_flow_runs(client=client)
