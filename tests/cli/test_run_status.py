"""The status of a run: what its events say about it."""

from datetime import timedelta

from msgspec.structs import replace
from sample_events import (
    OTHER,
    RUN,
    TASK,
    all_closed,
    changed,
    closed,
    entered,
    line,
    notice,
    second,
    seen,
    task_entered,
)

from rxflow import FlowRunEvent, NoticeCode, RunSeen
from rxflow.cli._run_status import RunStatus, RunStatuses


def statuses_of(*events: FlowRunEvent) -> RunStatuses:
    """The statuses after some events, one each second."""
    statuses = RunStatuses()
    for number, event in enumerate(events):
        statuses.receive(event, float(number))
    return statuses


def status_of(*events: FlowRunEvent) -> RunStatus:
    """The status of the one run."""
    (status,) = statuses_of(*events).roots
    return status


def test_the_time_since_the_run_began() -> None:
    """None before it runs; it goes on until the run is over, and is never negative."""
    now = second(20)
    assert status_of(seen(), entered("Scheduled", 1)).elapsed(now) is None
    assert status_of(seen(), entered("Running", 5)).elapsed(now) == timedelta(seconds=15)
    assert status_of(seen(), entered("Running", 25)).elapsed(now) == timedelta()
    over = status_of(seen(), entered("Running", 5), entered("Failed", 9))
    assert over.elapsed(now) == timedelta(seconds=4)


def test_the_state_is_the_last_one() -> None:
    """Of a watch without states it is that of the row, and after the end that of the end."""
    assert status_of(notice(NoticeCode.DEGRADED)).state is None
    assert str(status_of(seen("Running")).state) == str(seen("Running").run.state)
    ended = status_of(seen(), entered("Running"), closed(9))
    assert ended.state is not None
    assert (ended.state.name, ended.is_over) == ("Completed", True)


def test_a_task_run_that_stands_for_a_subflow_has_its_name() -> None:
    """A server names it after the flow and a number, and people know the subflow."""
    row = seen(run=OTHER).run
    subflow = RunSeen(flow_run_id=OTHER, root=RUN, run=replace(row, parent_task_run_id=TASK))
    tasks = status_of(seen(), task_entered("Failed", 1), subflow).task_runs
    assert tasks.failed == ["amber-fox"]
    assert tasks.name(TASK) == "amber-fox"
    tasks = status_of(seen(), task_entered("Failed", 1)).task_runs
    assert (tasks.failed, tasks.name(TASK)) == (["load-0"], "load-0")


def test_a_run_is_named_by_its_id_until_its_row_is_read() -> None:
    """A notice may come first."""
    assert status_of(notice(NoticeCode.DEGRADED)).name == RUN
    assert status_of(notice(NoticeCode.DEGRADED), seen()).name == "amber-fox"
    row = changed("Running")
    renamed = replace(row, run=replace(row.run, name="two\nlines\x1b[2J"))
    assert status_of(seen(), renamed).name == "two\\nlines\\x1b[2J"


def test_task_runs_are_counted_by_the_state_that_they_are_in() -> None:
    """A task run that changes counts once; those that failed and run are named."""
    other = task_entered("Running", 1, task="other")
    named = replace(other, task_run=replace(other.task_run, name="weld-0"))
    tasks = status_of(seen(), task_entered("Running"), task_entered("Failed", 2), named).task_runs
    assert (tasks.total, tasks.ended) == (2, 1)
    assert (tasks.failed, tasks.running) == (["load-0"], ["weld-0"])
    assert tasks.counts == [("RUNNING", 1), ("FAILED", 1)]
    assert (tasks.name(TASK), tasks.name("unknown"), tasks.name(None)) == ("load-0", None, None)


def test_a_state_of_an_unknown_type_is_counted_as_it_is() -> None:
    """After those that are known."""
    tasks = status_of(seen(), task_entered("Dreaming"), task_entered("Running", task="b")).task_runs
    assert tasks.counts == [("RUNNING", 1), ("DREAMING", 1)]


def test_a_late_run_is_late_until_it_enters_a_state() -> None:
    """The notice that lasts is the one that says what the run waits for."""
    late = notice(NoticeCode.LATE_START)
    assert status_of(seen(), late).notice == late
    assert status_of(seen(), late, notice(NoticeCode.RATE_LIMITED)).notice == late
    assert status_of(seen(), late, entered("Running")).notice is None


def test_an_outage_lasts_until_the_server_replies() -> None:
    """A notice of recovery ends it, for the run that had it."""
    outage = notice(NoticeCode.DEGRADED)
    assert statuses_of(outage).outage == outage
    assert statuses_of(outage, notice(NoticeCode.RECOVERED, run=OTHER)).outage == outage
    assert statuses_of(outage, notice(NoticeCode.RECOVERED)).outage is None


def test_news_are_states_and_log_lines() -> None:
    """After the run's end, the time without them is what its watch waits for."""
    assert status_of(seen(), entered("Running"), line(), changed("Running")).last_news == 2.0
    assert status_of(seen(), entered("Running"), closed()).last_news == 1.0


def test_the_first_error_is_the_earliest() -> None:
    """By its time, and not by its arrival."""
    status = status_of(line(3, level=40), line(1, level=50), line(2, level=40), line(0, level=30))
    assert status.first_error == line(1, level=50)
    assert (status.error_count, status.log_count) == (3, 4)


def test_subflows_belong_to_their_root() -> None:
    """They are no roots; one whose root is not watched is."""
    subflow = replace(seen(run=OTHER), root=RUN)
    statuses = statuses_of(seen(), subflow, all_closed())
    (root,) = statuses.roots
    assert root.flow_run_id == RUN
    assert [run.flow_run_id for run in statuses.subflows(root)] == [OTHER]
    assert [run.flow_run_id for run in statuses_of(subflow).roots] == [OTHER]
