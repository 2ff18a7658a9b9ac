"""`TaskRunReader`: all task runs are read, each state is found once, and they settle."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxflow import State, TaskRun
from rxflow._models.times import Now
from rxflow._protocol.pages import MalformedRow, Page
from rxflow._protocol.queries import TaskRunsQuery
from rxflow._watching.task_run_reader import SETTLE_TIME, TaskRunReader, TaskRunsRead

RUN_ID = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def second(seconds: float) -> datetime:
    """Return the server's time at a second."""
    return NOON + timedelta(seconds=seconds)


def at(seconds: float) -> Now:
    """Return the watcher's time at a second; its monotonic clock started at another moment."""
    return Now(seconds - 1e3, second(seconds))


def task_run(task_id: str, state_type: str | None = None, entered: float = 0) -> TaskRun:
    """Make a task run's row in a state since a second; None is a row before its first state."""
    state_id = f"{task_id}-{state_type}-{entered}"
    state = None
    if state_type is not None:
        state = State(
            id=state_id, type=state_type, name=state_type.title(), timestamp=second(entered)
        )
    return TaskRun(
        id=task_id,
        name=task_id,
        flow_run_id=RUN_ID,
        task_key="load-1a2b3c",
        dynamic_key=task_id,
        created=NOON,
        updated=NOON,
        state=state,
        state_id=state_id,
    )


def read(
    reader: TaskRunReader, rows: Iterable[TaskRun], *, limit: int = 200
) -> tuple[TaskRunsRead, list[TaskRunsQuery]]:
    """Run a poll against a table of rows; return what it found and the queries sent."""
    table, sent = list(rows), list[TaskRunsQuery]()
    poll = reader.poll(limit)
    try:
        query = next(poll)
        while True:
            assert isinstance(query, TaskRunsQuery)
            sent.append(query)
            query = poll.send(Page(tuple(table[query.offset : query.offset + query.limit])))
    except StopIteration as end:
        found: TaskRunsRead = end.value
        return found, sent


def read_and_commit(reader: TaskRunReader, *rows: TaskRun, now: float = 0) -> list[tuple[str, str]]:
    """Read and commit; return the task runs that changed, each with its state."""
    found, _ = read(reader, rows)
    reader.commit(found, at(now))
    return [(row.id, state.type) for row, state in found.changed]


# -- pages --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "offsets"),
    [(0, [0]), (2, [0]), (3, [0, 3]), (4, [0, 3]), (6, [0, 3, 6]), (7, [0, 3, 6])],
)
def test_all_pages_are_read(rows: int, offsets: list[int]) -> None:
    """A poll reads until a page is not full, and finds each row."""
    table = [task_run(str(number), "RUNNING") for number in range(rows)]
    found, sent = read(TaskRunReader(RUN_ID), table, limit=3)
    assert found.rows == tuple(table)
    assert [row for row, _ in found.changed] == table
    assert sent == [TaskRunsQuery(flow_run_id=RUN_ID, offset=offset, limit=3) for offset in offsets]


def test_malformed_rows_count_for_the_offset() -> None:
    """The next page begins after the malformed rows of a page, too."""
    poll = TaskRunReader(RUN_ID).poll(2)
    next(poll)
    query = poll.send(Page((task_run("a", "RUNNING"),), None, (MalformedRow("b", "no name"),)))
    assert query == TaskRunsQuery(flow_run_id=RUN_ID, offset=2, limit=2)


def test_malformed_rows_are_returned() -> None:
    """The malformed rows of all pages are returned, each once, as it was read last."""
    first, again, other = (MalformedRow(*row) for row in (("b", "1st"), ("b", "2nd"), ("c", "x")))
    poll = TaskRunReader(RUN_ID).poll(2)
    next(poll)
    poll.send(Page((task_run("a", "RUNNING"),), None, (first,)))
    poll.send(Page((), None, (again, other)))
    with pytest.raises(StopIteration) as end:
        poll.send(Page(()))
    found: TaskRunsRead = end.value.value
    assert found.malformed == (again, other)
    assert [row.id for row in found.rows] == ["a"]


def test_row_on_two_pages_is_one_row() -> None:
    """A row that moved to the next page during a poll is found once, as it was read last."""
    poll = TaskRunReader(RUN_ID).poll(2)
    next(poll)
    poll.send(Page((task_run("a", "RUNNING"), task_run("b", "RUNNING"))))
    with pytest.raises(StopIteration) as end:
        poll.send(Page((task_run("b", "COMPLETED", 1),)))
    found: TaskRunsRead = end.value.value
    assert [(row.id, state.type) for row, state in found.changed] == [
        ("a", "RUNNING"),
        ("b", "COMPLETED"),
    ]


# -- changes ------------------------------------------------------------------------------------


def test_each_state_is_found_once() -> None:
    """A task run is found again only in another state."""
    reader = TaskRunReader(RUN_ID)
    running = task_run("a", "RUNNING", 1)
    assert read_and_commit(reader, running) == [("a", "RUNNING")]
    assert read_and_commit(reader, running) == []
    assert read_and_commit(reader, task_run("a", "COMPLETED", 2)) == [("a", "COMPLETED")]
    assert read_and_commit(reader, task_run("a", "COMPLETED", 2)) == []


@pytest.mark.parametrize("history", ["abab", "abcacb", "aabbaa"])
def test_stale_reply_repeats_no_state(history: str) -> None:
    """A stale reply does not repeat a state that was delivered before the last one."""
    reader = TaskRunReader(RUN_ID)
    given = [read_and_commit(reader, task_run("t", f"STATE_{name}", ord(name))) for name in history]
    names = [name for changed in given for _, name in changed]
    assert names == [f"STATE_{name}" for name in sorted(set(history))]


def test_states_are_distinct_by_id() -> None:
    """A task run set to Running twice was in two states."""
    reader = TaskRunReader(RUN_ID)
    assert read_and_commit(reader, task_run("a", "RUNNING", 1)) == [("a", "RUNNING")]
    assert read_and_commit(reader, task_run("a", "RUNNING", 2)) == [("a", "RUNNING")]


def test_uncommitted_poll_changes_nothing() -> None:
    """A poll that was not committed is read again."""
    reader = TaskRunReader(RUN_ID)
    first, _ = read(reader, [task_run("a", "RUNNING")])
    again, _ = read(reader, [task_run("a", "RUNNING")])
    assert first == again
    assert reader.unsettled == ()


def test_row_without_state_waits_for_it() -> None:
    """A row without a state is found once it has one, and is unsettled until then."""
    reader = TaskRunReader(RUN_ID)
    assert read_and_commit(reader, task_run("a")) == []
    assert reader.unsettled == ("a",)
    assert read_and_commit(reader, task_run("a", "COMPLETED", 1)) == [("a", "COMPLETED")]


def test_only_changed_task_runs_are_found() -> None:
    """Of many task runs only those in a new state are found."""
    reader = TaskRunReader(RUN_ID)
    read_and_commit(reader, task_run("a", "RUNNING"), task_run("b", "RUNNING"))
    changed = read_and_commit(
        reader, task_run("a", "RUNNING"), task_run("b", "FAILED", 1), task_run("c", "PENDING")
    )
    assert changed == [("b", "FAILED"), ("c", "PENDING")]


# -- settling -----------------------------------------------------------------------------------


UNSETTLED = {
    "PENDING": True,
    "RUNNING": True,
    "NEW_IN_PREFECT_4": True,
    None: True,
    "COMPLETED": False,
    "FAILED": False,
    "CRASHED": False,
    "CANCELLED": False,
}


def test_task_runs_that_are_not_terminal_are_unsettled() -> None:
    """Task runs last read in no terminal state are unsettled, unknown states included."""
    reader = TaskRunReader(RUN_ID)
    read_and_commit(reader, *(task_run(str(kind), kind) for kind in UNSETTLED))
    assert reader.unsettled == tuple(
        str(kind) for kind, unsettled in UNSETTLED.items() if unsettled
    )


def test_task_run_that_ends_is_settled() -> None:
    """A task run that ends is unsettled no longer."""
    reader = TaskRunReader(RUN_ID)
    read_and_commit(reader, task_run("a", "RUNNING"), task_run("b", "RUNNING"))
    read_and_commit(reader, task_run("a", "COMPLETED", 1), task_run("b", "RUNNING"))
    assert reader.unsettled == ("b",)


def test_reopened_task_run_is_unsettled() -> None:
    """A terminal state of a task run is provisional, too."""
    reader = TaskRunReader(RUN_ID)
    read_and_commit(reader, task_run("a", "FAILED"))
    read_and_commit(reader, task_run("a", "RUNNING", 1))
    assert reader.unsettled == ("a",)


def test_terminal_task_runs_are_settled_at_once() -> None:
    """Where there are no task runs, or all are terminal, there is no wait."""
    reader = TaskRunReader(RUN_ID)
    assert reader.settled_in(None, at(0)) == 0
    read_and_commit(reader)
    assert reader.settled_in(second(0), at(0)) == 0
    read_and_commit(reader, task_run("a", "COMPLETED"))
    assert reader.settled_in(second(0), at(0)) == 0


def running_since(entered: float, *, read_at: float) -> TaskRunReader:
    """Return a reader of a task run that runs since a second, and was read at another."""
    reader = TaskRunReader(RUN_ID)
    read_and_commit(reader, task_run("a", "RUNNING", entered), now=read_at)
    return reader


@pytest.mark.parametrize(
    ("now", "server", "expected"),
    [
        (100, None, 30),
        (110, None, 20),
        (130, None, 0),
        (1e6, None, 0),
        (100, 90, 20),
        (100, 110, 0),
        (100, 1e6, 0),
        (110, 0, 20),
        (110, 105, 5),
    ],
    ids=[
        "watcher, at once",
        "watcher, in between",
        "watcher, at the end",
        "watcher, long after",
        "server, in between",
        "server, at the end",
        "server, long after",
        "watcher before server",
        "server before watcher",
    ],
)
def test_unsettled_task_runs_settle_after_30_s(
    now: float, server: float | None, expected: float
) -> None:
    """The wait ends 30 s after the newest state, or after it was read, whichever is first."""
    reader = running_since(80, read_at=100)
    time = None if server is None else second(server)
    assert reader.settled_in(time, at(now)) == expected
    assert SETTLE_TIME == 30


def test_change_restarts_wait() -> None:
    """Any task run in a new state restarts the wait for the others."""
    reader = running_since(100, read_at=100)
    changed = [task_run("a", "RUNNING", 100), task_run("b", "COMPLETED", 120)]
    read_and_commit(reader, *changed, now=120)
    assert reader.settled_in(None, at(125)) == 25
    assert reader.settled_in(second(125), at(125)) == 25


@pytest.mark.parametrize("times", [(80, 100), (100, 80)], ids=str)
def test_newest_change_counts(times: tuple[float, float]) -> None:
    """Of the states that one poll finds, the newest one starts the wait."""
    reader = TaskRunReader(RUN_ID)
    read_and_commit(reader, *(task_run(str(at), "RUNNING", at) for at in times), now=100)
    assert reader.settled_in(second(105), at(100)) == 25


def test_older_state_does_not_shorten_wait() -> None:
    """A state that is older than one found before does not shorten the wait."""
    reader = running_since(100, read_at=101)
    read_and_commit(reader, task_run("a", "RUNNING", 100), task_run("b", "RUNNING", 80), now=101)
    assert reader.settled_in(second(101), at(101)) == 29


def test_reading_known_states_does_not_restart_wait() -> None:
    """Reading the same states again does not restart the wait."""
    reader = running_since(100, read_at=100)
    read_and_commit(reader, task_run("a", "RUNNING", 100), now=120)
    assert reader.settled_in(None, at(125)) == 5


def test_row_without_state_settles_by_watcher_clock() -> None:
    """Rows without a state settle by the watcher's clock, since they have no time."""
    reader = TaskRunReader(RUN_ID)
    read_and_commit(reader, task_run("a"), now=100)
    assert reader.settled_in(second(0), at(110)) == 20
    assert reader.settled_in(second(0), at(130)) == 0


# -- laws ---------------------------------------------------------------------------------------

KINDS = [None, "PENDING", "RUNNING", "COMPLETED", "FAILED"]
steps = st.lists(st.tuples(st.integers(0, 5), st.sampled_from(KINDS)), max_size=30)


@given(steps=steps, limit=st.integers(1, 4), lost=st.sets(st.integers(0, 30)))
def test_no_state_is_found_twice(
    steps: list[tuple[int, str | None]], limit: int, lost: set[int]
) -> None:
    """Whatever happens between polls, and whichever polls fail, no state is found twice."""
    reader = TaskRunReader(RUN_ID)
    table: dict[str, TaskRun] = {}
    delivered: list[str] = []
    for number, (task, kind) in enumerate(steps):
        row = task_run(str(UUID(int=task)), kind, number)
        table[row.id] = row
        found, _ = read(reader, table.values(), limit=limit)
        if number not in lost:
            reader.commit(found, at(number))
            delivered += [state.id for _, state in found.changed]
    found, _ = read(reader, table.values(), limit=limit)
    reader.commit(found, at(99))
    delivered += [state.id for _, state in found.changed]
    assert len(delivered) == len(set(delivered))
    assert {row.state.id for row in table.values() if row.state} <= set(delivered)
    assert set(reader.unsettled) == {row.id for row in table.values() if not row.is_terminal}
