"""The table of how several runs ended, and the status that they have together."""

from datetime import UTC, datetime

import pytest

import rxflow
from rxflow import AllClosed, NoticeCode, RunOutcome
from rxflow.cli._run_outcomes import outcome_sentence, outcome_table, status_of_outcomes

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def outcome(
    number: int, state: str | None, *, root: int | None = None, ended_by: NoticeCode | None = None
) -> RunOutcome:
    """The outcome of a run."""
    ended = state and rxflow.State(id=state, type=state, name=state.title(), timestamp=NOON)
    return RunOutcome(
        flow_run_id=f"run-{number}",
        root_flow_run_id=f"run-{number if root is None else root}",
        name=f"name\x1b {number}" if state else None,
        state=ended or None,
        ended_by=ended_by,
    )


def closed(*runs: RunOutcome) -> AllClosed:
    """The end of a watch."""
    return AllClosed(flow_run_id="", timestamp=NOON, runs=runs)


def test_each_run_has_a_line() -> None:
    """But no subflow; and a name moves no cursor."""
    table = outcome_table(
        closed(
            outcome(1, "COMPLETED"),
            outcome(2, "FAILED", root=1),
            outcome(3, "FAILED"),
            outcome(4, None, ended_by=NoticeCode.RUN_NOT_FOUND),
            outcome(5, "RUNNING", ended_by=NoticeCode.RUN_DELETED),
            outcome(6, "COMPLETED"),
        )
    )
    assert [*table] == [
        "5 flow runs: 2 Completed, 1 Failed, 1 not found, 1 deleted",
        "  run-1  Completed  name\\x1b 1",
        "  run-3  Failed     name\\x1b 3",
        "  run-4  not found  -",
        "  run-5  deleted    name\\x1b 5",
        "  run-6  Completed  name\\x1b 6",
    ]


def test_of_many_runs_those_that_completed_have_no_line() -> None:
    """Their number is in the sentence."""
    runs = [outcome(number, "COMPLETED") for number in range(30)]
    table = [*outcome_table(closed(*runs, outcome(30, "CRASHED")))]
    assert table == [
        "31 flow runs: 30 Completed, 1 Crashed",
        "  run-30  Crashed  name\\x1b 30",
    ]


def test_one_run_has_no_table() -> None:
    """A watch by filters may find one, or none."""
    assert [*outcome_table(closed(outcome(1, "FAILED"), outcome(2, "FAILED", root=1)))] == []
    assert [*outcome_table(closed())] == ["no flow run matches the filters"]
    assert outcome_sentence(closed(outcome(1, "FAILED"))) == "1 flow run: 1 Failed"


@pytest.mark.parametrize(
    ("runs", "status"),
    [
        ([], 7),
        ([outcome(1, "COMPLETED")], 0),
        ([outcome(1, "COMPLETED"), outcome(2, "CANCELLED")], 5),
        ([outcome(1, "FAILED"), outcome(2, "CANCELLED")], 1),
        ([outcome(1, "FAILED"), outcome(2, "CRASHED")], 3),
        ([outcome(1, "CRASHED"), outcome(2, None, ended_by=NoticeCode.RUN_NOT_FOUND)], 7),
        ([outcome(1, "COMPLETED"), outcome(2, "FAILED", root=1)], 0),
    ],
)
def test_the_worst_status_wins(runs: list[RunOutcome], status: int) -> None:
    """Subflows do not count, and no run at all is one that was not found."""
    assert status_of_outcomes(closed(*runs)) == status
