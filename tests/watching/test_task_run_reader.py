"""The reading of task runs: all that changed is found, and few rows are read for it."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from task_run_table import RUN_ID, TaskRunTable, at, changes, task_run

from rxflow import TaskRun
from rxflow._protocol.pages import MalformedRow
from rxflow._protocol.queries import TaskRunsQuery
from rxflow._watching.task_run_ledger import TaskRunLedger
from rxflow._watching.task_run_reader import read_all_task_runs

OTHER_RUN = "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"


def finished(count: int, *, run: str = RUN_ID, first: int = 0) -> list[TaskRun]:
    """Make task runs that have ended, each created a second after the one before."""
    return [
        task_run(f"{run[0]}{number:05}", "COMPLETED", number, run=run, created=number)
        for number in range(first, first + count)
    ]


def watched(
    *rows: TaskRun, runs: tuple[str, ...] = (RUN_ID,)
) -> tuple[TaskRunTable, list[TaskRunLedger]]:
    """Make a table of rows, and ledgers that know them all."""
    table, ledgers = TaskRunTable(*rows), [TaskRunLedger(run) for run in runs]
    table.read_and_commit(*ledgers)
    table.queries.clear()
    table.rows_sent = 0
    return table, ledgers


# -- full reads ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "offsets"),
    [(0, [0]), (2, [0]), (3, [0, 3]), (4, [0, 3]), (6, [0, 3, 6]), (7, [0, 3, 6])],
)
def test_all_pages_are_read(rows: int, offsets: list[int]) -> None:
    """A full read goes on until a page is not full, and finds each row."""
    table = TaskRunTable(*finished(rows))
    found = table.read(TaskRunLedger(RUN_ID), limit=3)[RUN_ID]
    assert {row.id for row in found.rows} == set(table.rows)
    assert len(found.changed) == rows
    assert found.is_full
    assert table.queries == [
        TaskRunsQuery(flow_run_ids=(RUN_ID,), offset=offset, limit=3) for offset in offsets
    ]


def test_malformed_rows_count_for_the_offset() -> None:
    """The next page begins after the malformed rows of a page, too, and they are returned."""
    table = TaskRunTable(*finished(2))
    table.malformed["b"] = MalformedRow("b", "no name")
    found = table.read(TaskRunLedger(RUN_ID), limit=2)[RUN_ID]
    assert [query.offset for query in table.queries] == [0, 2]
    assert found.malformed == (table.malformed["b"],)
    assert len(found.rows) == 2


def test_row_on_two_pages_is_one_row() -> None:
    """A row that moved to the next page during a poll is found once, as it was read last."""
    table, ledger = TaskRunTable(*finished(2)), TaskRunLedger(RUN_ID)
    poll = read_all_task_runs([ledger], 2)
    first = table.reply(next(poll))
    poll.send(first)
    with pytest.raises(StopIteration) as end:
        poll.send(TaskRunTable(task_run(first.rows[1].id, "FAILED", 9)).reply(table.queries[0]))
    assert changes(end.value.value.values()) == [
        (first.rows[0].id, "COMPLETED"),
        (first.rows[1].id, "FAILED"),
    ]


def test_few_task_runs_are_read_in_full() -> None:
    """As long as there are few task runs, one request reads them all."""
    table, ledgers = watched(*finished(20))
    assert table.read(*ledgers)[RUN_ID].is_full
    assert len(table.queries) == 1


def test_full_read_is_due_after_a_while() -> None:
    """Many task runs are read in full at a pace that follows their number."""
    table, ledgers = watched(*finished(1000))
    assert not table.read(*ledgers, now=54)[RUN_ID].is_full
    assert table.read(*ledgers, now=55)[RUN_ID].is_full


def test_full_read_of_one_run_leaves_the_others() -> None:
    """Of several runs only the one whose full read is due is read in full."""
    rows = [*finished(30), *finished(30, run=OTHER_RUN)]
    table, ledgers = watched(*rows, runs=(RUN_ID, OTHER_RUN))
    ledgers[1].full_read_due = True
    found = table.read(*ledgers)
    assert [found[run].is_full for run in (RUN_ID, OTHER_RUN)] == [False, True]
    assert {row.id for row in found[OTHER_RUN].rows} == {row.id for row in rows[30:]}


# -- changes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [21, 200, 5000])
def test_idle_poll_reads_one_row(count: int) -> None:
    """However many task runs have ended, a poll without news takes two requests and one row."""
    table, ledgers = watched(*finished(count))
    assert table.read_and_commit(*ledgers) == []
    assert len(table.queries) == 2
    assert table.rows_sent == 1


def test_idle_poll_of_many_runs_is_that_of_one() -> None:
    """The task runs of many runs take no more requests than those of one."""
    runs = tuple(f"{number:08x}-0000-4000-8000-000000000000" for number in range(200))
    rows = [task_run(run[:8], "COMPLETED", run=run) for run in runs]
    table, ledgers = watched(*rows, runs=runs)
    assert table.read_and_commit(*ledgers) == []
    assert len(table.queries) == 2
    assert table.rows_sent == 1


def test_task_runs_that_go_on_are_read() -> None:
    """Beside the probe, a poll reads the task runs that are not over, and no others."""
    table, ledgers = watched(*finished(100), task_run("a", "RUNNING"), task_run("b", "PENDING"))
    table.put(task_run("b", "RUNNING", 5))
    assert table.read_and_commit(*ledgers) == [("b", "RUNNING")]
    assert table.rows_sent == 3


def test_task_run_that_ends_is_read_by_its_id() -> None:
    """A task run that is over is read once more, since it was not over before."""
    table, ledgers = watched(*finished(100), task_run("a", "RUNNING"))
    table.put(task_run("a", "FAILED", 5))
    assert table.read_and_commit(*ledgers) == [("a", "FAILED")]
    assert table.queries[1].task_run_ids == ("a",)
    assert ledgers[0].unsettled == ()
    assert table.read_and_commit(*ledgers) == []


def test_ids_are_sent_in_batches() -> None:
    """More task runs that ended than a page holds are read by several queries."""
    running = [task_run(str(number), "RUNNING") for number in range(7)]
    table, ledgers = watched(*finished(30), *running)
    table.put(*(task_run(row.id, "COMPLETED", 5) for row in running))
    assert len(table.read_and_commit(*ledgers, limit=3)) == 7
    batches = [query.task_run_ids for query in table.queries if query.task_run_ids]
    assert [len(batch) for batch in batches] == [3, 3, 1]


def test_task_run_that_began_and_ended_between_polls_is_found() -> None:
    """New task runs that are over already are found by the number of rows, from the newest on."""
    table, ledgers = watched(*finished(500))
    table.put(*finished(3, first=500))
    assert len(table.read_and_commit(*ledgers)) == 3
    assert table.rows_sent <= 2 + 200 + 1
    assert table.read_and_commit(*ledgers) == []


def test_old_id_of_a_new_task_run_is_found() -> None:
    """A new row that is not among the newest is searched for until it is found."""
    table, ledgers = watched(*finished(50, first=1))
    table.put(*finished(1))
    assert table.read_and_commit(*ledgers, limit=10) == [("900000", "COMPLETED")]


def test_more_new_task_runs_than_a_page_are_found() -> None:
    """Pages are read until as many rows are known as the server has."""
    table, ledgers = watched(*finished(50))
    table.put(*finished(25, first=50))
    assert len(table.read_and_commit(*ledgers, limit=10)) == 25
    assert sum(query.limit == 10 and not query.unfinished for query in table.queries) == 3


def test_row_without_state_is_awaited() -> None:
    """A row without a state is found by the number of rows, and read by its id until it has one."""
    table, ledgers = watched(*finished(50))
    table.put(task_run("a", created=99))
    assert table.read_and_commit(*ledgers) == []
    assert ledgers[0].unsettled == ("a",)
    table.put(task_run("a", "COMPLETED", 5, created=99))
    assert table.read_and_commit(*ledgers) == [("a", "COMPLETED")]


def test_unknown_state_is_awaited() -> None:
    """A state that is not known here is not terminal, although the server cannot select it."""
    table, ledgers = watched(*finished(50), task_run("a", "NEW_IN_PREFECT_4"))
    table.put(task_run("a", "NEW_IN_PREFECT_4", 3))
    assert table.read_and_commit(*ledgers) == [("a", "NEW_IN_PREFECT_4")]


def test_task_run_that_goes_on_after_its_end_is_found() -> None:
    """A task run that was over is found when it runs again, and when it ends again."""
    table, ledgers = watched(*finished(50))
    table.put(task_run("900007", "RUNNING", 60, created=7))
    assert table.read_and_commit(*ledgers) == [("900007", "RUNNING")]
    table.put(task_run("900007", "COMPLETED", 61, created=7))
    assert table.read_and_commit(*ledgers) == [("900007", "COMPLETED")]


def test_second_end_between_polls_is_found_by_a_full_read() -> None:
    """A task run that went on and ended again between two polls is found by the next full read."""
    table, ledgers = watched(*finished(50))
    table.put(task_run("900007", "FAILED", 60, created=7))
    assert table.read_and_commit(*ledgers) == []
    ledgers[0].full_read_due = True
    assert table.read_and_commit(*ledgers) == [("900007", "FAILED")]


def test_deleted_task_runs_are_forgotten() -> None:
    """Rows that the server no longer has lead to a full read, and are no longer counted."""
    table, ledgers = watched(*finished(50), task_run("a", "RUNNING"))
    del table.rows["900003"], table.rows["a"]
    assert table.read(*ledgers)[RUN_ID].is_full
    table.read_and_commit(*ledgers)
    assert ledgers[0].count == 49
    assert ledgers[0].unsettled == ()


def test_deleted_task_run_that_was_awaited_is_forgotten() -> None:
    """A task run that is not there when it is read by its id is no longer counted."""
    table, ledgers = watched(*finished(50), task_run("a", "RUNNING"))
    del table.rows["a"]
    assert table.read_and_commit(*ledgers) == []
    assert ledgers[0].count == 50
    assert ledgers[0].unsettled == ()


def test_all_deleted() -> None:
    """A table may become empty."""
    table, ledgers = watched(*finished(50))
    table.rows.clear()
    assert table.read_and_commit(*ledgers) == []
    assert ledgers[0].count == 0


def test_malformed_rows_are_known() -> None:
    """A row that cannot be read is counted, so that a poll without news stays cheap."""
    table, ledgers = (
        TaskRunTable(*finished(50)),
        [TaskRunLedger(run) for run in (RUN_ID, OTHER_RUN)],
    )
    table.malformed["b"] = MalformedRow("b", "no name")
    table.malformed["c"] = MalformedRow("c", "no name", OTHER_RUN)
    table.read_and_commit(*ledgers)
    assert [ledger.count for ledger in ledgers] == [51, 1]
    table.queries.clear()
    assert table.read_and_commit(*ledgers) == []
    assert len(table.queries) == 2
    assert [ledger.count for ledger in ledgers] == [51, 1]


def test_row_of_a_page_limit_of_one() -> None:
    """A server that sends one row at a time is read, too."""
    table, ledgers = watched(*finished(30), task_run("a", "RUNNING"))
    table.put(task_run("a", "COMPLETED", 3))
    assert table.read_and_commit(*ledgers, limit=1) == [("a", "COMPLETED")]


# -- all states ---------------------------------------------------------------------------------


def lives(count: int, *, first: int = 0) -> list[TaskRun]:
    """Make the rows that task runs had one after the other: pending, running and completed."""
    return [
        task_run(f"t{number:03}", kind, number + stage / 10, created=number)
        for number in range(first, first + count)
        for stage, kind in enumerate(("PENDING", "RUNNING", "COMPLETED"))
    ]


def by_task_run(found: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Sort what was found by task run, and keep the order of each one's states."""
    return sorted(found, key=lambda change: change[0])


def of_all_states(run: str = RUN_ID) -> TaskRunLedger:
    """Make a ledger of a run of which all states are wanted."""
    return TaskRunLedger(run, all_states=True)


@pytest.mark.parametrize("batched", [False, True], ids=["one by one", "batched"])
def test_all_states_are_read(batched: bool) -> None:
    """The states before the one in which a task run is found are read, and found in order."""
    table, ledger = TaskRunTable(*lives(2)), of_all_states()
    table.batched = batched
    assert by_task_run(table.read_and_commit(ledger)) == [
        (name, kind) for name in ("t000", "t001") for kind in ("PENDING", "RUNNING", "COMPLETED")
    ]
    assert len(table.state_queries) == (1 if batched else 2)
    assert table.read_and_commit(ledger) == []
    assert len(table.state_queries) == (1 if batched else 2)


def test_only_the_states_of_changed_task_runs_are_read() -> None:
    """A poll reads the states of a task run again once it is in another state."""
    table, ledger = TaskRunTable(*lives(3)), of_all_states()
    table.read_and_commit(ledger)
    table.state_queries.clear()
    table.put(task_run("t001", "RUNNING", 7, created=1), task_run("t001", "FAILED", 8, created=1))
    assert table.read_and_commit(ledger) == [("t001", "RUNNING"), ("t001", "FAILED")]
    assert [query.task_run_ids for query in table.state_queries] == [("t001",)]


def test_a_poll_reads_the_states_of_some() -> None:
    """One poll sends 20 queries for states, of the oldest changes; the next polls read the rest."""
    table, ledger = TaskRunTable(*lives(50)), of_all_states()
    found: list[tuple[str, str]] = []
    for more in (True, True, False):
        found += table.read_and_commit(ledger)
        assert ledger.has_more is more
        assert (ledger.settled_in(None, at(0)) > 0) is more
    assert len(table.state_queries) == 50
    assert by_task_run(found) == [(row.id, row.state.type) for row in lives(50) if row.state]


def test_states_of_many_task_runs_take_several_pages() -> None:
    """Where a server sends the states of several task runs, their pages are read to the end."""
    table, ledger = TaskRunTable(*lives(7)), of_all_states()
    table.batched = True
    assert len(table.read_and_commit(ledger, limit=4)) == 21
    assert not ledger.has_more


def test_states_of_more_task_runs_are_read_by_the_next_polls() -> None:
    """Where they come in batches, a poll begins no batch after 20 requests."""
    table, ledger = TaskRunTable(*lives(60)), of_all_states()
    table.batched = True
    found = table.read_and_commit(ledger, limit=6)
    assert len(found) == len(set(found)) < 180
    polls = 0
    while ledger.has_more:
        found += table.read_and_commit(ledger, limit=6)
        polls += 1
    assert polls > 0
    assert len(found) == len(set(found)) == 180


def test_a_long_history_in_pages_is_read_by_one_poll() -> None:
    """However many states a batch has, all its pages are read."""
    rows = [task_run("a", "RUNNING", number) for number in range(100)]
    table, ledger = TaskRunTable(*rows), of_all_states()
    table.batched = True
    assert len(table.read_and_commit(ledger, limit=4)) == 100
    assert not ledger.has_more


def test_late_histories_are_read_again() -> None:
    """A state that the row has before the history is found, and the others once they are there."""
    table, ledger = TaskRunTable(*lives(1)), of_all_states()
    states = dict(table.states["t000"])
    table.states["t000"].clear()
    assert table.read_and_commit(ledger) == [("t000", "COMPLETED")]
    assert not ledger.has_more
    assert ledger.settled_in(None, at(10)) == 20
    table.states["t000"].update(states)
    assert table.read_and_commit(ledger) == [("t000", "PENDING"), ("t000", "RUNNING")]
    assert ledger.settled_in(None, at(10)) == 0


def test_malformed_states_are_returned() -> None:
    """States that cannot be read are returned; the state that the row has is known from there."""
    table, ledger = TaskRunTable(*lives(1)), of_all_states()
    bad = MalformedRow("t000-RUNNING-0.1", "no name")
    del table.states["t000"][bad.id]
    poll = read_all_task_runs([ledger], 200)
    page = table.reply(next(poll))
    states = table.reply(poll.send(page))
    with pytest.raises(StopIteration) as end:
        poll.send(replace(states, malformed=(bad,)))
    found = end.value.value[RUN_ID]
    assert [state.type for _, state in found.changed] == ["PENDING", "COMPLETED"]
    assert found.malformed_states == (bad,)
    assert found.awaited == ()


@pytest.mark.parametrize("few", [True, False], ids=["full read", "read of changes"])
def test_awaited_task_runs_may_be_deleted(few: bool) -> None:
    """A task run that is gone is no longer awaited."""
    running = [task_run(f"t{number:03}", "RUNNING", number) for number in range(25)]
    table, ledger = TaskRunTable(*running), of_all_states()
    table.read_and_commit(ledger)
    assert ledger.has_more
    del table.rows["t024"]
    ledger.full_read_due = few
    found = table.read_and_commit(ledger)
    assert ("t024", "RUNNING") not in found
    assert len(found) == 4
    assert not ledger.has_more


def test_states_are_read_for_the_runs_that_want_them() -> None:
    """The oldest changes are read first, whichever run they are of."""
    rows = [
        *(task_run(f"a{number:03}", "RUNNING", number, run=RUN_ID) for number in range(30)),
        *(task_run(f"b{number:03}", "RUNNING", number, run=OTHER_RUN) for number in range(30)),
    ]
    table, ledgers = TaskRunTable(*rows), [of_all_states(RUN_ID), of_all_states(OTHER_RUN)]
    names = sorted(name for name, _ in table.read_and_commit(*ledgers))
    assert names == [f"{run}{number:03}" for run in "ab" for number in range(10)]


# -- laws ---------------------------------------------------------------------------------------

KINDS = [None, "PENDING", "RUNNING", "COMPLETED", "FAILED", "NEW_IN_PREFECT_4", "deleted"]
events = st.tuples(st.integers(0, 40), st.sampled_from(KINDS))
scripts = st.lists(st.lists(events, max_size=8), max_size=12)


@given(
    existing=st.integers(0, 60),
    script=scripts,
    limit=st.integers(2, 9),
    lost=st.sets(st.integers(0, 12)),
    racing=st.booleans(),
)
def test_changes_are_those_of_full_reads(
    existing: int,
    script: list[list[tuple[int, str | None]]],
    limit: int,
    lost: set[int],
    racing: bool,
) -> None:
    """Whatever happens before or during polls, all is found, and no state is found twice.

    Some polls fail, and the last one is a full read, since rows may be deleted.
    """
    runs = (RUN_ID, OTHER_RUN)
    table = TaskRunTable(*finished(existing), *finished(existing // 2, run=OTHER_RUN))
    ledgers = [TaskRunLedger(run) for run in runs]
    emitted: Counter[str] = Counter()
    number = 0

    def happen(task: int, kind: str | None) -> None:
        nonlocal number
        number += 1
        if kind == "deleted":
            table.rows.pop(f"t{task}", None)
        else:
            table.put(task_run(f"t{task}", kind, number, run=runs[task % 2], created=task))

    def poll(now: float, during: list[tuple[int, str | None]]) -> None:
        left = [*during]
        table.before_reply = lambda: happen(*left.pop()) if left else None
        found = table.read(*ledgers, limit=limit, now=now)
        table.before_reply = list
        if now not in lost:
            for ledger in ledgers:
                ledger.commit(found[ledger.flow_run_id], at(now))
            emitted.update(s.id for read in found.values() for _, s in read.changed)

    for tick, happening in enumerate(script):
        if not racing:
            for each in happening:
                happen(*each)
        poll(tick, happening if racing else [])
    for ledger in ledgers:
        ledger.full_read_due = True
    poll(99, [])
    assert not [state_id for state_id, times in emitted.items() if times > 1]
    assert {row.state.id for row in table.rows.values() if row.state} <= set(emitted)
    assert {each for ledger in ledgers for each in ledger.unsettled} == {
        row.id for row in table.rows.values() if not row.is_terminal
    }
    assert sum(ledger.count for ledger in ledgers) == len(table.rows)


@given(
    existing=st.integers(21, 80),
    script=st.lists(
        st.lists(st.tuples(st.integers(0, 40), st.integers(1, 3)), max_size=8), max_size=12
    ),
    limit=st.integers(2, 9),
)
def test_lives_without_reruns_need_no_full_read(
    existing: int, script: list[list[tuple[int, int]]], limit: int
) -> None:
    """Where task runs only begin, run and end, each poll finds what a full read would find."""
    table, ledgers = watched(*finished(existing))
    life = ["PENDING", "RUNNING", "COMPLETED"]
    reached: dict[int, int] = {}
    for tick, steps in enumerate(script):
        for task, forward in steps:
            stage = min(len(life) - 1, reached.get(task, -1) + forward)
            reached[task] = stage
            table.put(task_run(f"t{task}", life[stage], stage, created=task))
        table.read_and_commit(*ledgers, limit=limit, now=tick)
        full = table.read_all(*ledgers)
        assert changes(full.values()) == []


@given(
    script=scripts, limit=st.integers(2, 9), batched=st.booleans(), lost=st.sets(st.integers(0, 12))
)
def test_all_states_are_found_once(
    script: list[list[tuple[int, str | None]]], limit: int, batched: bool, lost: set[int]
) -> None:
    """Whatever happens, and whichever polls fail, each state that was stored is found once."""
    table, ledger = TaskRunTable(), of_all_states()
    table.batched = batched
    stored: set[str] = set()
    emitted: Counter[str] = Counter()
    number = 0
    for tick, happening in enumerate([*script, []]):
        for task, kind in happening:
            number += 1
            if kind not in {None, "deleted"}:
                row = task_run(f"t{task}", kind, number, created=task)
                table.put(row)
                stored.add(row.state_id or "")
        found = table.read(ledger, limit=limit, now=tick)[RUN_ID]
        if tick not in lost:
            ledger.commit(found, at(tick))
            emitted.update(state.id for _, state in found.changed)
    for _ in range(40):
        ledger.full_read_due = True
        found = table.read(ledger, limit=limit, now=99)[RUN_ID]
        ledger.commit(found, at(99))
        emitted.update(state.id for _, state in found.changed)
    assert emitted == Counter(stored)
    assert not ledger.has_more
