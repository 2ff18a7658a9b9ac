"""The summary at the end of a run, from the events of the run."""

import re

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from sample_events import (
    OTHER,
    RUN,
    TASK,
    changed,
    entered,
    line,
    notice,
    second,
    seen,
    state,
    task_entered,
)

import rxflow
from rxflow import FlowRunEvent, NoticeCode
from rxflow._models.terminal_text import local_time
from rxflow.cli._end_summary import end_summary, some_of
from rxflow.cli._run_status import RunStatuses
from rxflow.cli._wrapping import cells

TITLE = f"Flow run 'amber-fox' ({RUN})"
MORE = f"  more       rxflow report {RUN} -o run.html"


def closed(
    name: str = "Completed", seconds: float = 9, *, verified: bool = True, **more: object
) -> rxflow.Closed:
    """The last event of a watch that saw three log lines."""
    event = rxflow.Closed(
        flow_run_id=RUN,
        timestamp=second(seconds + 5),
        state=state(name, seconds),
        verified=verified,
        log_count=3,
    )
    return replace(event, **more)


def summary_of(
    *events: FlowRunEvent, width: int | None = None, lowest: str | None = None
) -> list[str]:
    """The summary after some events, without colours."""
    statuses = RunStatuses()
    for event in events:
        statuses.receive(event, 0.0)
    root = statuses.roots[0]
    lines = end_summary(root, statuses.subflows(root), lowest=lowest, width=width)
    return [click.unstyle(text) for text in lines]


def fields_of(*events: FlowRunEvent) -> dict[str, str]:
    """The fields of a summary by their labels; further lines of a field are below its first."""
    fields: dict[str, str] = {}
    label = ""
    for text in summary_of(*events)[1:]:
        head, value = text[:13].strip(), text[13:]
        label = head or label
        fields[label] = value if head else f"{fields[label]}\n{value}"
    return fields


def clock(seconds: float) -> str:
    """The local time of a second, as it is shown."""
    return f"{local_time(second(seconds)):%H:%M:%S}.000"


def test_a_run_that_completed() -> None:
    """State, duration, states, task runs, log lines, and how to see more."""
    assert summary_of(
        seen(),
        entered("Scheduled"),
        entered("Running", 2),
        task_entered("Running", 3),
        task_entered("Completed", 4),
        entered("Completed", 9),
        closed(),
    ) == [
        TITLE,
        "  state      Completed",
        "  duration   7.0 s",
        "  states     Scheduled > Running > Completed",
        "  task runs  1: 1 completed",
        "  log lines  3, as many as the server counts",
        MORE,
    ]


def test_a_run_without_anything() -> None:
    """A run whose first state is still to come has only what is known."""
    assert summary_of(seen(), closed(state=None)) == [
        TITLE,
        "  state      none",
        "  log lines  3, as many as the server counts",
        MORE,
    ]


def test_the_time_of_the_row_is_the_beginning() -> None:
    """A retried run has several Running states; it began with the first, as its row says."""
    row = changed("Completed", 9)
    begun = replace(row, run=replace(row.run, start_time=second(1)))
    shown = fields_of(seen(), entered("Running", 6), entered("Completed", 9), begun, closed())
    assert shown["duration"] == "8.0 s"


def test_a_failed_run_shows_its_first_error() -> None:
    """With its time, the task's name and all its lines; the number of errors is named."""
    traceback = "no orders\nTraceback (most recent call last)\n  File x\r\nValueError: no orders\n"
    shown = fields_of(
        seen(),
        task_entered("Running", 1),
        line(2, "a warning", level=30),
        line(4, "another", level=40),
        line(3, traceback, level=40, task=TASK),
        line(5, "the last", level=50),
        task_entered("Failed", 6),
        entered("Failed", 9),
        closed("Failed"),
    )
    assert shown["failed"] == "load-0"
    assert shown["task runs"] == "1: 1 failed"
    assert shown["error"].split("\n") == [
        f"{clock(3)} load-0, the first of 3",
        "no orders",
        "Traceback (most recent call last)",
        "  File x",
        "ValueError: no orders",
    ]


def test_the_first_error_may_be_one_of_a_subflow() -> None:
    """It has the name of the subflow, and errors of both are counted."""
    subflow = replace(seen(run=OTHER), root=RUN)
    error = replace(line(2, "no template", level=40, run=OTHER), root=RUN)
    shown = fields_of(
        seen(), subflow, error, line(3, "failed", level=40), entered("Failed", 9), closed("Failed")
    )
    assert shown["error"].split("\n") == [f"{clock(2)} amber-fox, the first of 2", "no template"]


def test_the_middle_of_a_long_error_is_left_out() -> None:
    """Where it begins and where it ends is shown, and what was left out is counted."""
    text = "\n".join(f"line {number}" for number in range(40))
    shown = fields_of(seen(), line(3, text, level=40), entered("Failed", 9), closed("Failed"))
    assert shown["error"].split("\n") == [
        clock(3),
        *("line 0", "line 1", "line 2", "... 25 more lines ..."),
        *(f"line {number}" for number in range(28, 40)),
    ]


def test_a_line_of_a_megabyte_is_shortened() -> None:
    """It was shown whole when it was logged."""
    shown = fields_of(
        seen(), line(3, "x" * 1_000_000, level=40), entered("Crashed", 9), closed("Crashed")
    )
    assert shown["error"].endswith("xxx ... 998000 more characters")


@pytest.mark.parametrize(("number", "text"), [(1, "1 log line"), (2, "2 log lines")])
def test_the_errors_of_a_run_that_completed_are_counted(number: int, text: str) -> None:
    """Such as those of a task that was retried."""
    errors = [line(second, "failed", level=40) for second in range(number)]
    shown = fields_of(seen(), *errors, entered("Completed", 9), closed())
    assert shown["errors"] == f"{text} of level ERROR and above"


def test_the_message_of_the_state_is_shown() -> None:
    """On one line, as it is the reason of a failure without a log line."""
    failed = state("Failed", 9)
    why = replace(failed, message="out of\nmemory")
    event = rxflow.StateChange(flow_run_id=RUN, id=why.id, state=why)
    assert fields_of(seen(), event, closed(state=why))["state"] == "Failed: out of\\nmemory"


@pytest.mark.parametrize(
    ("event", "end", "text"),
    [
        (
            notice(NoticeCode.SOURCE_REWOUND),
            closed(verified=False),
            "3, not verified: a notice",
        ),
        (
            notice(NoticeCode.RUN_DELETED),
            closed(verified=False),
            "3, not verified: a notice",
        ),
        (
            notice(NoticeCode.MALFORMED),
            closed(verified=False, malformed=1),
            "3, not verified: 1 row could not be read",
        ),
        (
            notice(NoticeCode.MALFORMED),
            closed(verified=False, malformed=2),
            "3, not verified: 2 rows could not be read",
        ),
        (
            notice(NoticeCode.RECOVERED),
            closed(verified=False),
            "3, not verified: the server's count of them could not be confirmed",
        ),
        (notice(NoticeCode.RECOVERED), closed(), "3, as many as the server counts"),
    ],
    ids=["rewound", "deleted", "a row", "rows", "unproven", "proven"],
)
def test_the_summary_says_why_a_watch_is_not_verified(
    event: FlowRunEvent, end: rxflow.Closed, text: str
) -> None:
    """As a notice said it, or as the end of the watch does."""
    assert fields_of(seen(), event, end)["log lines"] == text


def test_a_deleted_run_has_no_more_to_show() -> None:
    """Its state is that in which it was deleted, and no command is named that cannot find it."""
    end = closed("Running", verified=False)
    fields = fields_of(seen(), entered("Running"), notice(NoticeCode.RUN_DELETED), end)
    assert "when it was deleted" in fields["state"]
    assert "more" not in fields
    assert "more" in fields_of(seen(), entered("Running"), end)


def test_the_level_of_the_counted_lines_is_named() -> None:
    """A count of no line does not read as if the run had none."""
    lines = summary_of(seen(), closed(log_count=0), lowest="WARNING")
    assert lines[-2] == ("  log lines  0 of level WARNING and above, as many as the server counts")


def test_task_runs_that_are_not_over_are_named() -> None:
    """By name if it is known, else by id."""
    shown = fields_of(
        seen(),
        task_entered("Running", 1),
        entered("Completed"),
        closed(unsettled=(TASK, "another")),
    )
    assert shown["not over"] == "load-0, another"


def test_subflows_are_counted_and_those_that_failed_named() -> None:
    """The subflows of a run are a part of its summary."""
    other = "00000000-0000-4000-8000-000000000003"
    subflows = [
        replace(event, root=RUN)
        for event in (
            seen(run=OTHER),
            entered("Failed", run=OTHER),
            seen(run=other),
            entered("Completed", run=other),
        )
    ]
    assert fields_of(seen(), *subflows, closed())["subflows"] == (
        "2: 1 failed, 1 completed (amber-fox)"
    )


def test_the_lines_of_subflows_are_counted() -> None:
    """With those of the run; and a subflow whose lines are not verified is named."""
    row = replace(seen(run=OTHER), root=RUN)
    end = replace(closed(log_count=2), flow_run_id=OTHER, root=RUN)
    assert fields_of(seen(), row, end, closed())["log lines"] == "5, as many as the server counts"
    doubtful = replace(end, verified=False, malformed=1)
    assert fields_of(seen(), row, doubtful, closed())["log lines"] == (
        "5, not verified, of amber-fox: 1 row could not be read"
    )


def test_many_names_are_counted() -> None:
    """The first of them are named."""
    assert some_of(["a", "b", "c"], 3) == "a, b, c"
    assert some_of(["a", "b", "c", "d"], 3) == "a, b, c and 1 more"


@given(st.text(), st.text(), st.sampled_from([60, 80, 140]))
def test_no_text_controls_the_terminal_and_no_line_is_too_wide(
    name: str, message: str, width: int
) -> None:
    """Whatever the server's text: only our colours, one line each, and wrapped at the width."""
    row = seen()
    last = replace(state("Failed", 9), name=name, message=message)
    task = task_entered("Failed", 2)
    lines = summary_of(
        replace(row, run=replace(row.run, name=name)),
        rxflow.StateChange(flow_run_id=RUN, id=last.id, state=last),
        replace(task, task_run=replace(task.task_run, name=name)),
        line(3, message, level=40, task=TASK),
        closed(state=last),
        width=width,
    )
    control = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
    assert [text for text in lines if control.search(text)] == []
    assert [text for text in lines[:-1] if cells(text) > width] == []


def test_a_field_is_wrapped_below_itself() -> None:
    """Words are wrapped at the terminal's width and stay in their column."""
    names = ("Scheduled", "Pending", "Running", "Retrying", "Running", "Retrying", "Completed")
    events = [entered(name, number) for number, name in enumerate(names)]
    assert summary_of(seen(), *events, closed(), width=60)[3:5] == [
        "  states     Scheduled > Pending > Running > Retrying >",
        "             Running > Retrying > Completed",
    ]


def test_the_state_has_its_colour() -> None:
    """Red for a failure; a program that writes to no terminal leaves colours out."""
    statuses = RunStatuses()
    for event in (seen(), entered("Failed"), closed("Failed")):
        statuses.receive(event, 0.0)
    lines = list(end_summary(statuses.roots[0]))
    assert lines[1] == (
        click.style("  state      ", dim=True) + click.style("Failed", fg="red", bold=True)
    )
