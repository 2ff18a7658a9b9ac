"""Watches of many runs on a real server: each run has the rows that the database holds, once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
import reactivex
from promises.shared import closed_event
from reactivex import operators as ops
from reactivex.subject import ReplaySubject
from servers_under_test import emitted_rows
from virtual_world import Recording

import rxflow
from rxflow._protocol.pages import Page
from rxflow._protocol.queries import RunFilter, RunsQuery

if TYPE_CHECKING:
    from server_databases import DatabaseReader

    from tests.real.conftest import ApiWriter, Until

BRIEF = 1.0
"""Seconds of drain where all rows are stored before the run ends."""

RUNS = 40
LOGGING = 10
FULL_GROUP = 200
ROUNDS = 5


@pytest.fixture
def ids(writer: ApiWriter) -> list[str]:
    """Create runs that are at work."""
    return new_runs(writer, RUNS)


def new_runs(writer: ApiWriter, count: int) -> list[str]:
    """Create runs that are at work."""
    return [writer.new_run(state={"type": "RUNNING"}) for _ in range(count)]


def log_and_end(writer: ApiWriter, ids: list[str], *, logging: int = LOGGING) -> None:
    """Let the first runs log in turns, and then end all of them, the last two badly."""
    for number in range(ROUNDS):
        for run in ids[:logging]:
            writer.post_logs(run, [f"{number}.{line}" for line in range(5)])
    for number, run in enumerate(ids):
        writer.set_state(run, "COMPLETED" if number < len(ids) - 2 else "FAILED")


def stored(database: DatabaseReader, run: str) -> list[tuple[str, str]]:
    """Return the (kind, id) of each row of a run in the server's tables, sorted."""
    states = [("state", row) for row in database.state_ids(run)]
    return sorted([*states, *(("log", row) for row in database.log_ids(run))])


def by_run(events: list[rxflow.FlowRunEvent]) -> Iterator[tuple[str, list[rxflow.FlowRunEvent]]]:
    """Return the events of each run, in the order in which the runs were seen."""
    for run in dict.fromkeys(event.flow_run_id for event in events if event.flow_run_id):
        yield run, [event for event in events if event.flow_run_id == run]


def test_many_runs_are_watched_live(
    client: rxflow.Client,
    writer: ApiWriter,
    database: DatabaseReader,
    until: Until,
) -> None:
    """Early and late runs, logging and quiet ones: all their rows, each once, and verified."""
    ids = new_runs(writer, FULL_GROUP)
    given: ReplaySubject[str] = ReplaySubject()
    for run in ids[:-5]:
        given.on_next(run)
    recording: Recording[rxflow.FlowRunEvent] = Recording()
    recording.subscribe_to(rxflow.watch_flow_runs(given, drain=BRIEF, client=client))
    until(lambda: len({event.flow_run_id for event in recording.values}) >= 20)
    writing = threading.Thread(
        target=log_and_end, args=(writer, ids), kwargs={"logging": FULL_GROUP // 4}
    )
    writing.start()
    for run in ids[-5:]:
        given.on_next(run)
    given.on_completed()
    writing.join()
    recording.wait()
    last = recording.values[-1]
    assert isinstance(last, rxflow.AllClosed)
    assert last.verified
    assert {outcome.flow_run_id for outcome in last.runs} == set(ids)
    assert last.worst is not None
    assert last.worst.flow_run_id in ids[-2:]
    for run, events in by_run(recording.values):
        assert emitted_rows(events) == stored(database, run)
        assert closed_event(events).log_count == len(database.log_ids(run))


def test_a_run_that_is_deleted_leaves_the_others_whole(
    ids: list[str],
    client: rxflow.Client,
    writer: ApiWriter,
    database: DatabaseReader,
    until: Until,
) -> None:
    """The server deletes its log rows too, and the others are verified all the same."""
    for run in ids[:LOGGING]:
        writer.post_logs(run, ["a line", "another"])
    recording: Recording[rxflow.FlowRunEvent] = Recording()
    recording.subscribe_to(rxflow.watch_flow_runs(ids, drain=BRIEF, client=client))
    until(lambda: len({event.flow_run_id for event in recording.values}) == RUNS)
    until(lambda: writer.http.delete(f"/flow_runs/{ids[0]}").status_code in {204, 404})
    until(
        lambda: any(
            isinstance(event, rxflow.Closed) and event.flow_run_id == ids[0]
            for event in recording.values
        ),
    )
    log_and_end(writer, ids[1:])
    recording.wait()
    last = recording.values[-1]
    assert isinstance(last, rxflow.AllClosed)
    assert [run.flow_run_id for run in last.runs if not run.verified] == [ids[0]]
    for run, events in by_run(recording.values):
        if run != ids[0]:
            assert emitted_rows(events) == stored(database, run)


def test_the_runs_that_left_a_state_are_found(
    ids: list[str], client: rxflow.Client, writer: ApiWriter
) -> None:
    """The server finds which of some runs are in a state of another name."""
    writer.set_state(ids[1], "COMPLETED")
    where = RunFilter(flow_run_ids=tuple(ids[:3]), not_in_states=("Running",))
    channel = client.open_channel()
    page = channel.send(RunsQuery(where=where))
    channel.close()
    assert isinstance(page, Page), page
    assert [row.id for row in page.rows] == [ids[1]]


def test_many_runs_are_waited_for(ids: list[str], client: rxflow.Client, writer: ApiWriter) -> None:
    """All final views come back, in the order of the ids."""
    ending = threading.Thread(target=log_and_end, args=(writer, ids))
    ending.start()
    views = rxflow.wait_for_flow_runs(ids, timeout=300, client=client)
    ending.join()
    assert [view.flow_run_id for view in views] == ids
    assert sum(bool(view.state.is_completed()) for view in views if view.state) == RUNS - 2
    with pytest.raises(rxflow.FlowRunFailed, match="2 of 40 flow runs did not complete"):
        rxflow.wait_for_flow_runs(ids, raise_final_state=True, client=client)


def test_watches_of_many_runs_can_be_composed(
    client: rxflow.Client, writer: ApiWriter, finished_run: str
) -> None:
    """A stream of many runs merges with others, and takes the operators of one run's stream."""
    other = writer.new_run(state={"type": "RUNNING"})
    writer.post_logs(other, [{"message": "odd", "level": 40}])
    writer.set_state(other, "COMPLETED")
    stream = rxflow.watch_flow_runs([finished_run, other], drain=BRIEF, client=client)
    merged = reactivex.merge(stream.logs.level_at_least("ERROR"), reactivex.of("a mark"))
    found = rxflow.iterate(merged.pipe(ops.map(lambda item: getattr(item, "message", item))))
    assert sorted(found) == ["a mark", "five", "odd"]  # the last line of a finished run is an error
