"""`TaskRunLedger`: each state is found once, and the task runs settle."""

import pytest
from task_run_table import RUN_ID, TaskRunTable, at, second, task_run

from rxflow import TaskRun
from rxflow._watching.task_run_ledger import SETTLE_TIME, TaskRunLedger


def read_and_commit(ledger: TaskRunLedger, *rows: TaskRun, now: float = 0) -> list[tuple[str, str]]:
    """Read the rows of a table and commit them; return the task runs that changed."""
    return TaskRunTable(*rows).read_and_commit(ledger, now=now)


# -- changes ------------------------------------------------------------------------------------


def test_each_state_is_found_once() -> None:
    """A task run is found again only in another state."""
    ledger = TaskRunLedger(RUN_ID)
    running = task_run("a", "RUNNING", 1)
    assert read_and_commit(ledger, running) == [("a", "RUNNING")]
    assert read_and_commit(ledger, running) == []
    assert read_and_commit(ledger, task_run("a", "COMPLETED", 2)) == [("a", "COMPLETED")]
    assert read_and_commit(ledger, task_run("a", "COMPLETED", 2)) == []


@pytest.mark.parametrize("history", ["abab", "abcacb", "aabbaa"])
def test_stale_reply_repeats_no_state(history: str) -> None:
    """A stale reply does not repeat a state that was delivered before the last one."""
    ledger = TaskRunLedger(RUN_ID)
    given = [read_and_commit(ledger, task_run("t", f"STATE_{name}", ord(name))) for name in history]
    names = [name for changed in given for _, name in changed]
    assert names == [f"STATE_{name}" for name in sorted(set(history))]


def test_states_are_distinct_by_id() -> None:
    """A task run set to Running twice was in two states."""
    ledger = TaskRunLedger(RUN_ID)
    assert read_and_commit(ledger, task_run("a", "RUNNING", 1)) == [("a", "RUNNING")]
    assert read_and_commit(ledger, task_run("a", "RUNNING", 2)) == [("a", "RUNNING")]


def test_uncommitted_poll_changes_nothing() -> None:
    """A poll that was not committed is read again."""
    ledger = TaskRunLedger(RUN_ID)
    table = TaskRunTable(task_run("a", "RUNNING"))
    assert table.read(ledger) == table.read(ledger)
    assert ledger.unsettled == ()


def test_row_without_state_waits_for_it() -> None:
    """A row without a state is found once it has one, and is unsettled until then."""
    ledger = TaskRunLedger(RUN_ID)
    assert read_and_commit(ledger, task_run("a")) == []
    assert ledger.unsettled == ("a",)
    assert read_and_commit(ledger, task_run("a", "COMPLETED", 1)) == [("a", "COMPLETED")]


def test_only_changed_task_runs_are_found() -> None:
    """Of many task runs only those in a new state are found."""
    ledger = TaskRunLedger(RUN_ID)
    read_and_commit(ledger, task_run("a", "RUNNING"), task_run("b", "RUNNING"))
    changed = read_and_commit(
        ledger, task_run("a", "RUNNING"), task_run("b", "FAILED", 1), task_run("c", "PENDING")
    )
    assert sorted(changed) == [("b", "FAILED"), ("c", "PENDING")]


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
    ledger = TaskRunLedger(RUN_ID)
    read_and_commit(ledger, *(task_run(str(kind), kind) for kind in UNSETTLED))
    assert set(ledger.unsettled) == {
        str(kind) for kind, unsettled in UNSETTLED.items() if unsettled
    }


def test_task_run_that_ends_is_settled() -> None:
    """A task run that ends is unsettled no longer."""
    ledger = TaskRunLedger(RUN_ID)
    read_and_commit(ledger, task_run("a", "RUNNING"), task_run("b", "RUNNING"))
    read_and_commit(ledger, task_run("a", "COMPLETED", 1), task_run("b", "RUNNING"))
    assert ledger.unsettled == ("b",)


def test_reopened_task_run_is_unsettled() -> None:
    """A terminal state of a task run is provisional, too."""
    ledger = TaskRunLedger(RUN_ID)
    read_and_commit(ledger, task_run("a", "FAILED"))
    read_and_commit(ledger, task_run("a", "RUNNING", 1))
    assert ledger.unsettled == ("a",)


def test_terminal_task_runs_are_settled_at_once() -> None:
    """Where there are no task runs, or all are terminal, there is no wait."""
    ledger = TaskRunLedger(RUN_ID)
    assert ledger.settled_in(None, at(0)) == 0
    read_and_commit(ledger)
    assert ledger.settled_in(second(0), at(0)) == 0
    read_and_commit(ledger, task_run("a", "COMPLETED"))
    assert ledger.settled_in(second(0), at(0)) == 0


def running_since(entered: float, *, read_at: float) -> TaskRunLedger:
    """Return a ledger of a task run that runs since a second, and was read at another."""
    ledger = TaskRunLedger(RUN_ID)
    read_and_commit(ledger, task_run("a", "RUNNING", entered), now=read_at)
    return ledger


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
    ledger = running_since(80, read_at=100)
    time = None if server is None else second(server)
    assert ledger.settled_in(time, at(now)) == expected
    assert SETTLE_TIME == 30


def test_change_restarts_wait() -> None:
    """Any task run in a new state restarts the wait for the others."""
    ledger = running_since(100, read_at=100)
    changed = [task_run("a", "RUNNING", 100), task_run("b", "COMPLETED", 120)]
    read_and_commit(ledger, *changed, now=120)
    assert ledger.settled_in(None, at(125)) == 25
    assert ledger.settled_in(second(125), at(125)) == 25


@pytest.mark.parametrize("times", [(80, 100), (100, 80)], ids=str)
def test_newest_change_counts(times: tuple[float, float]) -> None:
    """Of the states that one poll finds, the newest one starts the wait."""
    ledger = TaskRunLedger(RUN_ID)
    read_and_commit(ledger, *(task_run(str(at), "RUNNING", at) for at in times), now=100)
    assert ledger.settled_in(second(105), at(100)) == 25


def test_older_state_does_not_shorten_wait() -> None:
    """A state that is older than one found before does not shorten the wait."""
    ledger = running_since(100, read_at=101)
    read_and_commit(ledger, task_run("a", "RUNNING", 100), task_run("b", "RUNNING", 80), now=101)
    assert ledger.settled_in(second(101), at(101)) == 29


def test_reading_known_states_does_not_restart_wait() -> None:
    """Reading the same states again does not restart the wait."""
    ledger = running_since(100, read_at=100)
    read_and_commit(ledger, task_run("a", "RUNNING", 100), now=120)
    assert ledger.settled_in(None, at(125)) == 5


def test_row_without_state_settles_by_watcher_clock() -> None:
    """Rows without a state settle by the watcher's clock, since they have no time."""
    ledger = TaskRunLedger(RUN_ID)
    read_and_commit(ledger, task_run("a"), now=100)
    assert ledger.settled_in(second(0), at(110)) == 20
    assert ledger.settled_in(second(0), at(130)) == 0
