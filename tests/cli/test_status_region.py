"""The state of the runs below the lines: its rows, at three widths, from the events of runs."""

import io
import re
from collections.abc import Iterable, Mapping
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from rich.cells import cell_len
from rich.console import Console
from sample_events import OTHER, RUN, at, closed, entered, notice, second, seen, task_entered

import rxflow
from rxflow import FlowRunEvent, NoticeCode
from rxflow.cli._run_status import RunStatuses
from rxflow.cli._status_region import status_rows

WIDTHS = [60, 80, 140]


def rows_of(
    events: Iterable[FlowRunEvent],
    width: int = 80,
    *,
    seconds: float = 83,
    most: int = 12,
    flows: Mapping[str | None, str] | None = None,
    colour: bool = False,
) -> list[str]:
    """The rows at a second, after the rule; the events were received at noon."""
    statuses = RunStatuses()
    for event in events:
        statuses.receive(event, at(0).mono)
    console = Console(
        file=io.StringIO(), force_terminal=True, color_system="standard" if colour else None
    )
    names = flows or {}
    rows = status_rows(statuses, at(seconds), console, flow_name=names.get, width=width, most=most)
    rule, *rest = rows
    assert rule.endswith("─" * (width - 1)) or colour
    return [row.rstrip() for row in rest]


def task(name: str, state: str, *, run: str = RUN) -> rxflow.TaskRunStateChange:
    """A state change of a named task run."""
    event = task_entered(state, task=f"{run} {name}")
    return replace(event, flow_run_id=run, task_run=replace(event.task_run, name=name))


def named(name: str, run: str, *, root: str | None = None) -> list[FlowRunEvent]:
    """The first events of a run of a name, which runs."""
    row = seen(run=run)
    first = replace(row, run=replace(row.run, name=name), root=root or run)
    return [first, replace(entered("Running", 1, run=run), root=root or run)]


def id_of(number: int) -> str:
    """The id of a run."""
    return f"{number:08}-4ea1-4493-b0a9-122efba9eaaa"


def busy_run() -> list[FlowRunEvent]:
    """A run with seven task runs, of which one has failed, and a subflow."""
    row = seen()
    return [
        replace(row, run=replace(row.run, flow_id="flow")),
        entered("Scheduled"),
        entered("Running", 1),
        *(task(f"fetch_orders-{number}", "Completed") for number in range(4)),
        task("fetch_orders-north", "Failed"),
        task("check_prices-0", "Running"),
        task("render_page-of-the-nightly-report-0", "Running"),
        *named("brave-owl", OTHER, root=RUN),
    ]


ONE_RUN = {
    60: [
        "nightly-report / amber-fox  Running  1 min 22 s",
        "  ━━━━━━━━━━━━━━──────  5 of 7 task runs: 4 completed, 2",
        "                        running, 1 failed",
        "  running  check_prices-0,",
        "           render_page-of-the-nightly-report-0",
        "  failed   fetch_orders-north",
        "    brave-owl  Running  1 min 22 s",
    ],
    80: [
        "nightly-report / amber-fox  Running  1 min 22 s",
        "  ━━━━━━━━━━━━━━━━━━────────  5 of 7 task runs: 4 completed, 2 running, 1",
        "                              failed",
        "  running  check_prices-0, render_page-of-the-nightly-report-0",
        "  failed   fetch_orders-north",
        "    brave-owl  Running  1 min 22 s",
    ],
    140: [
        "nightly-report / amber-fox  Running  1 min 22 s",
        f"  {'━' * 28}{'─' * 12}  5 of 7 task runs: 4 completed, 2 running, 1 failed",
        "  running  check_prices-0, render_page-of-the-nightly-report-0",
        "  failed   fetch_orders-north",
        "    brave-owl  Running  1 min 22 s",
    ],
}


@pytest.mark.parametrize("width", WIDTHS)
def test_one_run(width: int) -> None:
    """Flow, run, state and time; progress and counts; running and failed ones by name; subflows."""
    rows = rows_of(busy_run(), width, flows={"flow": "nightly-report"})
    assert rows == ONE_RUN[width]


def many_runs() -> list[FlowRunEvent]:
    """Nine runs, of which some are over."""
    states = ["Running", "Completed", "Failed"]
    events: list[FlowRunEvent] = []
    for number in range(9):
        run = id_of(number)
        events += named(f"amber-fox-{number}", run)
        events.append(entered(states[number % 3], number + 2, run=run))
        events.append(task("a", "Completed", run=run))
        events.append(task("b", states[number % 3], run=run))
    return events


MANY_RUNS = {
    60: [
        "9 runs: 3 running, 3 completed, 3 failed",
        "  amber-fox-0  Running  1 min 22 s  1 of 2",
        "  amber-fox-2  Failed   3 s         2 of 2, 1 failed",
        "  amber-fox-3  Running  1 min 22 s  1 of 2",
        "  amber-fox-6  Running  1 min 22 s  1 of 2",
        "  and 5 more: 3 completed, 2 failed",
    ],
    80: [
        "9 runs: 3 running, 3 completed, 3 failed",
        "  amber-fox-0  Running  1 min 22 s  ━━━━━━──────  1 of 2",
        "  amber-fox-2  Failed   3 s         ━━━━━━━━━━━━  2 of 2, 1 failed",
        "  amber-fox-3  Running  1 min 22 s  ━━━━━━──────  1 of 2",
        "  amber-fox-6  Running  1 min 22 s  ━━━━━━──────  1 of 2",
        "  and 5 more: 3 completed, 2 failed",
    ],
}
MANY_RUNS[140] = MANY_RUNS[80]


@pytest.mark.parametrize("width", WIDTHS)
def test_many_runs(width: int) -> None:
    """A row for each run as far as there is room; those that completed give way first."""
    rows = rows_of(many_runs(), width, most=8)
    assert rows[:-1] == MANY_RUNS[width]
    assert rows[-1] == "  6 runs are over; waiting for late lines, 83 s"


def test_subflows_are_below_the_run_that_started_them() -> None:
    """In the table of many runs they are indented."""
    events = [
        *named("amber-fox", id_of(1)),
        *named("brave-owl", id_of(2)),
        *named("shy-newt", id_of(3), root=id_of(1)),
    ]
    assert [row.split("Running")[0].rstrip() for row in rows_of(events)[1:]] == [
        "  amber-fox",
        "    shy-newt",
        "  brave-owl",
    ]


def test_before_the_first_run() -> None:
    """A filter may match no run yet."""
    assert rows_of([]) == ["No run was found yet"]


def test_a_run_that_waits_for_its_time() -> None:
    """It says when it starts; once that is past, it says nothing until it is late."""
    row = seen()
    waiting: list[FlowRunEvent] = [
        replace(row, run=replace(row.run, expected_start_time=second(100))),
        entered("Scheduled"),
    ]
    assert rows_of(waiting, seconds=40) == ["amber-fox  Scheduled  starts in 1 min 00 s"]
    assert rows_of(waiting, seconds=100) == ["amber-fox  Scheduled"]


@pytest.mark.parametrize(
    ("events", "seconds", "text"),
    [
        ([entered("Failed", 3)], 3.5, "The run is over; waiting for late lines, 3 s"),
        ([notice(NoticeCode.LATE_START)], 1, "a notice"),
        (
            [notice(NoticeCode.DEGRADED, 5)],
            25,
            "No good reply for 30 s; the watch keeps retrying",
        ),
    ],
    ids=["late lines", "late start", "outage"],
)
def test_what_the_watch_waits_for(events: list[FlowRunEvent], seconds: float, text: str) -> None:
    """Nothing is a silent wait."""
    assert rows_of([seen(), *events], seconds=seconds)[-1] == f"  {text}"


def test_a_wait_that_is_over_is_not_shown() -> None:
    """As soon as the server replies, and once the watch of a run has ended."""
    assert len(rows_of([seen(), notice(NoticeCode.DEGRADED), notice(NoticeCode.RECOVERED)])) == 1
    assert len(rows_of([seen(), entered("Completed", 3), closed(9)])) == 1


def test_several_runs_wait() -> None:
    """They are counted."""
    late = [notice(NoticeCode.LATE_START, run=id_of(number)) for number in range(3)]
    assert rows_of([*(seen(run=id_of(number)) for number in range(3)), *late])[-1] == (
        "  a notice (and 2 more)"
    )
    over = [entered("Completed", 1, run=id_of(number)) for number in range(3)]
    assert rows_of([*(seen(run=id_of(number)) for number in range(3)), *over])[-1] == (
        "  3 runs are over; waiting for late lines, 83 s"
    )


def test_a_state_has_its_colour() -> None:
    """As in the summary at the end."""
    (row,) = rows_of([seen(), entered("Failed")], seconds=0.5, colour=True)
    assert row == "\x1b[1mamber-fox\x1b[0m  \x1b[31mFailed\x1b[0m"


def test_a_bar_has_a_colour_for_each_way_to_end() -> None:
    """Green for those that ended well, red for the others, and none for those that have not."""
    begun = [task(str(number), "Running") for number in range(3)]
    bar = rows_of(chain([seen()], begun, [task("3", "Failed")]), colour=True)[1].split("  ")[1]
    assert bar == f"\x1b[31m{'━' * 6}\x1b[0m\x1b[2m{'─' * 20}\x1b[0m"
    bar = rows_of([seen(), task("0", "Completed")], colour=True)[1].split("  ")[1]
    assert bar == f"\x1b[32m{'━' * 26}\x1b[0m"


@pytest.mark.parametrize("width", [20, *WIDTHS])
@given(
    name=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    number=st.integers(1, 40),
)
def test_no_row_is_too_wide_or_controls_the_terminal(name: str, number: int, width: int) -> None:
    """Whatever the names: the rows are as many as there may be, and as wide as the terminal."""
    events: list[FlowRunEvent] = [*busy_run(), *named(name, RUN)]
    events += [task(f"{name}{count}", "Failed") for count in range(number)]
    statuses = RunStatuses()
    for event in events:
        statuses.receive(event, 0.0)
    rows = status_rows(
        statuses,
        at(90),
        Console(file=io.StringIO(), force_terminal=True, color_system=None),
        flow_name=lambda _: name,
        width=width,
        most=10,
    )
    assert len(rows) <= 10
    assert [row for row in rows if cell_len(row) >= width] == []
    assert [row for row in rows if re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e]", row)] == []


@pytest.mark.parametrize("name", ["[red]fox[/red]", "[link=file:///etc]", ":fox:", "[/]"])
def test_no_markup_acts(name: str) -> None:
    """Names are shown as they are."""
    assert rows_of(named(name, RUN), flows={None: name}) == [
        f"{name} / {name}  Running  1 min 22 s"
    ]


def test_an_encoding_without_lines_gets_ascii() -> None:
    """The rule and the bar are of characters that the terminal has."""

    class Latin(io.StringIO):
        encoding = "latin-1"

    statuses = RunStatuses()
    for event in busy_run():
        statuses.receive(event, 0.0)
    rows = status_rows(
        statuses,
        at(9),
        Console(file=Latin(), force_terminal=True, color_system=None),
        flow_name=lambda _: None,
        width=60,
        most=12,
    )
    assert rows[0] == "-" * 59
    assert rows[2].rstrip() == "  ==============------  5 of 7 task runs: 4 completed, 2"
    assert "".join(rows).isascii()
