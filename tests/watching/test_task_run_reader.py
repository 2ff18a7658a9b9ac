"""The task runs of a run: read whole, each state told once, and waited for until they settle."""

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
from rxflow._watching.task_run_reader import SETTLING, TaskRunReader, TaskRunsRead

RUN_ID = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def second(seconds: float) -> datetime:
    """The server's time."""
    return NOON + timedelta(seconds=seconds)


def at(seconds: float) -> Now:
    """Our time, by a monotonic clock that began long before, or will."""
    return Now(seconds - 1e3, second(seconds))


def task_run(task_id: str, state_type: str | None = None, entered: float = 0) -> TaskRun:
    """A task run's row, in a state since a second; None is a row before its state."""
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
    """Have a server answer from its rows, until the poll is over; with the questions."""
    table, asked = list(rows), list[TaskRunsQuery]()
    poll = reader.poll(limit)
    try:
        query = next(poll)
        while True:
            assert isinstance(query, TaskRunsQuery)
            asked.append(query)
            query = poll.send(Page(tuple(table[query.offset : query.offset + query.limit])))
    except StopIteration as end:
        found: TaskRunsRead = end.value
        return found, asked


def told(reader: TaskRunReader, *rows: TaskRun, now: float = 0) -> list[tuple[str, str]]:
    """Read and commit; the task runs that changed, each with its state."""
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
    found, asked = read(TaskRunReader(RUN_ID), table, limit=3)
    assert found.rows == tuple(table)
    assert [row for row, _ in found.changed] == table
    assert asked == [
        TaskRunsQuery(flow_run_id=RUN_ID, offset=offset, limit=3) for offset in offsets
    ]


def test_rows_that_cannot_be_read_are_counted() -> None:
    """A row that cannot be read takes its place in a page, and the next page begins after it."""
    poll = TaskRunReader(RUN_ID).poll(2)
    next(poll)
    query = poll.send(Page((task_run("a", "RUNNING"),), None, (MalformedRow("b", "no name"),)))
    assert query == TaskRunsQuery(flow_run_id=RUN_ID, offset=2, limit=2)


def test_rows_that_cannot_be_read_are_found() -> None:
    """Of all pages the rows that cannot be read are handed on, each once, as it was read last."""
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


def test_a_row_that_moves_to_the_next_page_is_one_row() -> None:
    """A row that is on two pages, since others came in between, is told once, as it was last."""
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


def test_a_state_is_told_once() -> None:
    """A task run is told again only when it is in another state."""
    reader = TaskRunReader(RUN_ID)
    running = task_run("a", "RUNNING", 1)
    assert told(reader, running) == [("a", "RUNNING")]
    assert told(reader, running) == []
    assert told(reader, task_run("a", "COMPLETED", 2)) == [("a", "COMPLETED")]
    assert told(reader, task_run("a", "COMPLETED", 2)) == []


@pytest.mark.parametrize("history", ["abab", "abcacb", "aabbaa"])
def test_a_stale_answer_tells_nothing_again(history: str) -> None:
    """Each state that was told is remembered, so an answer from before does not tell it again."""
    reader = TaskRunReader(RUN_ID)
    given = [told(reader, task_run("t", f"STATE_{name}", ord(name))) for name in history]
    names = [name for told_now in given for _, name in told_now]
    assert names == [f"STATE_{name}" for name in sorted(set(history))]


def test_a_state_is_known_by_its_id() -> None:
    """A task run that is set to Running twice was in two states."""
    reader = TaskRunReader(RUN_ID)
    assert told(reader, task_run("a", "RUNNING", 1)) == [("a", "RUNNING")]
    assert told(reader, task_run("a", "RUNNING", 2)) == [("a", "RUNNING")]


def test_what_was_found_counts_when_it_is_committed() -> None:
    """A poll that was read and not committed is read again."""
    reader = TaskRunReader(RUN_ID)
    first, _ = read(reader, [task_run("a", "RUNNING")])
    again, _ = read(reader, [task_run("a", "RUNNING")])
    assert first == again
    assert reader.unsettled == ()


def test_a_row_before_its_state_waits_for_it() -> None:
    """A row whose state is not there yet is not told, and is when it is."""
    reader = TaskRunReader(RUN_ID)
    assert told(reader, task_run("a")) == []
    assert reader.unsettled == ("a",)
    assert told(reader, task_run("a", "COMPLETED", 1)) == [("a", "COMPLETED")]


def test_only_what_changed_is_told() -> None:
    """Of many task runs those are told that are in a new state."""
    reader = TaskRunReader(RUN_ID)
    told(reader, task_run("a", "RUNNING"), task_run("b", "RUNNING"))
    changed = told(
        reader, task_run("a", "RUNNING"), task_run("b", "FAILED", 1), task_run("c", "PENDING")
    )
    assert changed == [("b", "FAILED"), ("c", "PENDING")]


# -- the end ------------------------------------------------------------------------------------


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


def test_which_task_runs_are_unsettled() -> None:
    """Those count that were not terminal when they were last read, known states or not."""
    reader = TaskRunReader(RUN_ID)
    told(reader, *(task_run(str(kind), kind) for kind in UNSETTLED))
    assert reader.unsettled == tuple(str(kind) for kind, open_ in UNSETTLED.items() if open_)


def test_task_runs_settle() -> None:
    """A task run that ends is unsettled no longer."""
    reader = TaskRunReader(RUN_ID)
    told(reader, task_run("a", "RUNNING"), task_run("b", "RUNNING"))
    told(reader, task_run("a", "COMPLETED", 1), task_run("b", "RUNNING"))
    assert reader.unsettled == ("b",)


def test_a_task_run_that_is_opened_again_is_unsettled() -> None:
    """A terminal state of a task run is provisional too."""
    reader = TaskRunReader(RUN_ID)
    told(reader, task_run("a", "FAILED"))
    told(reader, task_run("a", "RUNNING", 1))
    assert reader.unsettled == ("a",)


def test_nobody_waits_for_task_runs_that_are_over() -> None:
    """Where there are none, or all are terminal, they are settled at once."""
    reader = TaskRunReader(RUN_ID)
    assert reader.settled_in(None, at(0)) == 0
    told(reader)
    assert reader.settled_in(second(0), at(0)) == 0
    told(reader, task_run("a", "COMPLETED"))
    assert reader.settled_in(second(0), at(0)) == 0


def running_since(entered: float, *, seen: float) -> TaskRunReader:
    """A reader of a task run that runs since a second, and was seen to at another."""
    reader = TaskRunReader(RUN_ID)
    told(reader, task_run("a", "RUNNING", entered), now=seen)
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
        "ours, at once",
        "ours, in between",
        "ours, at the end",
        "ours, long after",
        "the server's, in between",
        "the server's, at the end",
        "the server's, long after",
        "ours before the server's",
        "the server's before ours",
    ],
)
def test_how_long_task_runs_are_waited_for(
    now: float, server: float | None, expected: float
) -> None:
    """They settle 30 s after the newest state, or after we saw it, whichever is first."""
    reader = running_since(80, seen=100)
    time = None if server is None else second(server)
    assert reader.settled_in(time, at(now)) == expected
    assert SETTLING == 30


def test_a_change_begins_the_wait_anew() -> None:
    """Any task run in a new state is a reason to wait for the others."""
    reader = running_since(100, seen=100)
    changed = [task_run("a", "RUNNING", 100), task_run("b", "COMPLETED", 120)]
    told(reader, *changed, now=120)
    assert reader.settled_in(None, at(125)) == 25
    assert reader.settled_in(second(125), at(125)) == 25


@pytest.mark.parametrize("times", [(80, 100), (100, 80)], ids=str)
def test_the_newest_of_several_changes_counts(times: tuple[float, float]) -> None:
    """Of the states that one poll finds, the one that was set last begins the wait."""
    reader = TaskRunReader(RUN_ID)
    told(reader, *(task_run(str(at), "RUNNING", at) for at in times), now=100)
    assert reader.settled_in(second(105), at(100)) == 25


def test_an_older_state_does_not_shorten_the_wait() -> None:
    """A state that is found later than a newer one, and was set before it, is no older news."""
    reader = running_since(100, seen=101)
    told(reader, task_run("a", "RUNNING", 100), task_run("b", "RUNNING", 80), now=101)
    assert reader.settled_in(second(101), at(101)) == 29


def test_no_change_does_not() -> None:
    """Reading the same again does not begin the wait anew."""
    reader = running_since(100, seen=100)
    told(reader, task_run("a", "RUNNING", 100), now=120)
    assert reader.settled_in(None, at(125)) == 5


def test_a_row_whose_state_never_comes_is_waited_for() -> None:
    """Rows without a state settle by our clock, since they have no time of their own."""
    reader = TaskRunReader(RUN_ID)
    told(reader, task_run("a"), now=100)
    assert reader.settled_in(second(0), at(110)) == 20
    assert reader.settled_in(second(0), at(130)) == 0


# -- laws ---------------------------------------------------------------------------------------

KINDS = [None, "PENDING", "RUNNING", "COMPLETED", "FAILED"]
steps = st.lists(st.tuples(st.integers(0, 5), st.sampled_from(KINDS)), max_size=30)


@given(steps=steps, limit=st.integers(1, 4), lost=st.sets(st.integers(0, 30)))
def test_each_state_that_is_found_is_told_once(
    steps: list[tuple[int, str | None]], limit: int, lost: set[int]
) -> None:
    """Whatever happens between polls, and whichever polls fail, no state is told twice."""
    reader = TaskRunReader(RUN_ID)
    table: dict[str, TaskRun] = {}
    seen: list[str] = []
    for number, (task, kind) in enumerate(steps):
        row = task_run(str(UUID(int=task)), kind, number)
        table[row.id] = row
        found, _ = read(reader, table.values(), limit=limit)
        if number not in lost:
            reader.commit(found, at(number))
            seen += [state.id for _, state in found.changed]
    found, _ = read(reader, table.values(), limit=limit)
    reader.commit(found, at(99))
    seen += [state.id for _, state in found.changed]
    assert len(seen) == len(set(seen))
    assert {row.state.id for row in table.values() if row.state} <= set(seen)
    assert set(reader.unsettled) == {row.id for row in table.values() if not row.is_terminal}
