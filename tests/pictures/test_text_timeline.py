"""The timeline of a run as text."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace
from picture_runs import NightlyRun, tree_of

from rxflow._models.terminal_text import local_time
from rxflow._pictures.cells import FAINT, PLAIN, STRONG, cell_width, plain_text
from rxflow._pictures.run_tree import RunTree
from rxflow._pictures.svg_timeline import svg_timeline
from rxflow._pictures.text_timeline import timeline_lines
from rxflow._pictures.time_bars import Outcome
from rxflow.testing import FakePrefect3, VirtualTime

LABEL = re.compile(r"(?<!\S)(0|[\d.]+ \w+( \d+ \w+)?)(?!\S)")
START = f"{local_time(datetime(2026, 1, 1, 0, 0, 4, tzinfo=UTC)):%Y-%m-%d %H:%M:%S %z}"


def test_a_timeline_has_bars_for_waits_attempts_and_failures() -> None:
    """Retries are several bars; what failed is seen without colours, too."""
    assert plain_text(timeline_lines(NightlyRun().to_end().tree(), 80)) == (
        f"nightly-report / amber-fox  Failed  started {START}\n"
        "                                   0                 5 s\n"
        "nightly-report              ·······xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx 8.0 s, Failed\n"
        "├─ fetch_orders-0                  xxxx·······████████████        6.0 s, 2 runs\n"
        "├─ fetch_orders-1                  ████                           1.0 s\n"
        "└─ publish-report                                        xxxxxxxx 2.0 s, Failed\n"
        "   ├─ render_page-completed                              ████     1.0 s\n"
        "   └─ render_page-failed                                     xxxx 1.0 s, Failed\n"
        "· waiting  █ completed  x failed"
    )


@pytest.mark.parametrize("width", [60, 80, 140])
def test_a_timeline_is_as_wide_as_the_terminal(width: int) -> None:
    """No line is wider, and the longest one uses almost all of it."""
    lines = plain_text(timeline_lines(NightlyRun().to_end().tree(), width)).splitlines()[1:]
    widest = max(map(cell_width, lines))
    assert width - 2 <= widest <= width


def test_names_of_flow_runs_are_strong() -> None:
    """So the runs of a tree are seen among their task runs."""
    tree = NightlyRun().to_end().tree()
    title, axis, *rows, _ = timeline_lines(tree, 80)
    assert [title[0].style, title[-1].style, axis[0].style] == [STRONG, FAINT, FAINT]
    styles = {"flow run": STRONG, "task run": PLAIN}
    assert [row[0].style for row in rows] == [styles[each.node.kind] for each in tree.walk()]


def test_a_bar_at_the_end_has_the_last_cell() -> None:
    """However short it is, it is seen, and no longer than the axis."""
    time = VirtualTime()
    server = FakePrefect3(clock=time)
    run_id = server.add_run(name="amber-fox", flow="report", state="RUNNING")
    time.wait(1000)
    task_run_id = server.add_task_run(run_id, name="end")
    server.set_task_state(run_id, task_run_id, "RUNNING")
    time.wait(0.001)
    server.set_task_state(run_id, task_run_id, "COMPLETED")
    server.set_state(run_id, "COMPLETED")
    _, axis, run, task, _ = plain_text(timeline_lines(tree_of(server, run_id), 80)).splitlines()
    assert task.index("█") == task.rindex("█") == run.rindex("█")
    assert axis.index("0") == run.index("█")


def test_a_task_run_waits_from_the_time_it_is_due() -> None:
    """Before that it was merely planned."""
    time = VirtualTime()
    server = FakePrefect3(clock=time)
    run_id = server.add_run(name="amber-fox", flow="report", state="RUNNING")
    later = server.clock() + timedelta(seconds=5)
    server.add_task_run(run_id, name="late", state="SCHEDULED", expected_start_time=later)
    time.wait(10)
    *_, run, task, _ = plain_text(timeline_lines(tree_of(server, run_id), 80)).splitlines()
    assert 2 * task.count("·") == pytest.approx(run.count("▒"), abs=2)


def test_a_long_wait_is_cut_off() -> None:
    """A bar that ended before what is shown is not there; the axis begins within the wait."""
    time = VirtualTime()
    server = FakePrefect3(clock=time)
    run_id = server.add_run(name="amber-fox", flow="report", state="SCHEDULED")
    time.wait(1000)
    server.set_state(run_id, "PENDING")
    time.wait(1000)
    server.set_state(run_id, "RUNNING")
    time.wait(8)
    *_, row, legend = plain_text(timeline_lines(tree_of(server, run_id), 60)).splitlines()
    assert re.fullmatch("report ·{7}▒{30} 8.0 s, Running", row)
    assert legend == "· waiting  ▒ running"


def test_labels_of_the_axis_do_not_touch() -> None:
    """Where two would, one is left out; of a run that has not started the axis counts its wait."""
    time = VirtualTime()
    server = FakePrefect3(clock=time)
    run_id = server.add_run(name="amber-fox", flow="report", state="SCHEDULED")
    time.wait(2 * 86400 + 1)
    for width in range(60, 140, 7):
        title, axis, _, _ = plain_text(timeline_lines(tree_of(server, run_id), width)).splitlines()
        assert "  from 20" in title
        assert re.fullmatch(r"( *(0|\d+ [hd]( \d+ [hmin]+)?)(?= |$))+", axis)


def drawn_with_legend(outcome: Outcome) -> tuple[str, dict[str, str]]:
    """Draw a run whose last bar is of a kind; return its row, and its legend: cells by words."""
    state = {"WAITING": "SCHEDULED", "OTHER": "PAUSED"}.get(outcome.name, outcome.name)
    time = VirtualTime()
    server = FakePrefect3(clock=time)
    run_id = server.add_run(name="amber-fox", flow="report", state="RUNNING")
    time.wait(4)
    server.set_state(run_id, state)
    time.wait(4)
    tree = tree_of(server, run_id)
    if outcome is Outcome.OTHER:  # which a server of this version does not have
        *others, last = tree.root.states
        states = (*others, replace(last, type="NAPPING"))
        tree = replace(tree, root=replace(tree.root, states=states))
    *_, row, legend = plain_text(timeline_lines(tree, 60)).splitlines()
    return row, {word: cell for cell, word in map(str.split, legend.split("  "))}


def test_each_kind_of_bar_is_drawn_in_its_own_way_and_explained() -> None:
    """Without colours too; and of kinds that do not occur there is no word."""
    cells: set[str] = set()
    for outcome in Outcome:
        row, legend = drawn_with_legend(outcome)
        assert legend[outcome.value] * 5 in row
        assert [cell for cell in legend.values() if cell not in row] == []
        cells.add(legend[outcome.value])
    assert len(cells) == len(Outcome)


def test_without_bars_there_is_no_legend() -> None:
    """A run that is scheduled for later does not wait yet."""
    server = FakePrefect3(clock=VirtualTime())
    later = server.clock() + timedelta(hours=1)
    run_id = server.add_run(name="amber-fox", flow="report", expected_start_time=later)
    *_, row = plain_text(timeline_lines(tree_of(server, run_id), 60)).splitlines()
    assert row.split() == ["report", "Scheduled"]


def test_what_is_missing_is_said() -> None:
    """Below the bars there are sentences on what they lack."""
    story = NightlyRun().to_end()
    story.server.task_runs[story.fetches[1]]["name"] = None
    text = plain_text(timeline_lines(story.tree(), 80))
    assert text.endswith("\n1 row of the server could not be read; left out here")


def test_the_first_and_the_last_time_of_all_are_shown() -> None:
    """No clock of a writer ends a picture, as text or as SVG."""
    server = FakePrefect3(clock=VirtualTime())
    run_id = server.add_run(name="amber-fox", flow="report")
    for state, time in (("RUNNING", datetime.min), ("COMPLETED", datetime.max)):  # noqa: DTZ901
        server.set_state(run_id, state, timestamp=time.replace(tzinfo=UTC))
    tree = tree_of(server, run_id)
    *_, row, _ = plain_text(timeline_lines(tree, 80)).splitlines()
    assert row.startswith("report █")
    assert svg_timeline(tree).count('class="bar completed"') == 1


# -- where things stand ----------------------------------------------------------------------------


def long_run(name: str, seconds: float) -> RunTree:
    """Return the tree of a run that took a time, with a task run of a name in its second half."""
    time = VirtualTime()
    server = FakePrefect3(clock=time)
    run_id = server.add_run(name="amber-fox", flow="report", state="RUNNING")
    time.wait(seconds / 2)
    task_run_id = server.add_task_run(run_id, name=name, state="RUNNING")
    time.wait(seconds / 2)
    server.set_task_state(run_id, task_run_id, "COMPLETED")
    server.set_state(run_id, "COMPLETED")
    return tree_of(server, run_id)


def test_a_bar_of_no_length_at_the_end_has_the_last_cell() -> None:
    """It is not drawn beside the axis."""
    tree = long_run("end", 8)
    (child,), at = tree.root.children, tree.root.end
    child = replace(child, states=(), due=at, start=at, end=at)
    tree = replace(tree, root=replace(tree.root, children=(child,)))
    *_, run, task, _ = plain_text(timeline_lines(tree, 80)).splitlines()
    assert task.index("█") == task.rindex("█") == run.rindex("█")


@pytest.mark.parametrize("seconds", [4, 30, 400, 7300])
@pytest.mark.parametrize("width", [60, 81, 99])
def test_a_label_stands_above_the_cell_of_its_time(width: int, seconds: float) -> None:
    """The first above the first cell of the run; the last may be moved to the left, to fit."""
    _, axis, run, task, _ = plain_text(
        timeline_lines(long_run("half", seconds), width)
    ).splitlines()
    first, last = run.index("█"), run.rindex("█")
    assert axis.index("0") == first
    assert cell_width(axis) <= last + 1
    assert task.index("█") == pytest.approx(first + (last + 1 - first) / 2, abs=1)
    assert task.rindex("█") == last
    labels = {match[0]: match.start() for match in LABEL.finditer(axis)}
    for label, at in labels.items():
        share = seconds_of(label) / seconds
        exact = first + share * (last + 1 - first)
        assert at == min(int(exact + 1e-9), last + 1 - len(label))


def seconds_of(label: str) -> float:
    """Return the time of a label."""
    units = {"ms": 0.001, "s": 1, "min": 60, "h": 3600}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+) (\w+)", label))


def test_the_last_label_ends_with_the_axis() -> None:
    """It is that of the end of what is shown, so it is moved to the left, unless it has no room."""
    tree, with_label = long_run("half", 8), 0
    for width in range(60, 100):
        _, axis, run, _, _ = plain_text(timeline_lines(tree, width)).splitlines()
        if axis.endswith("8 s"):
            assert len(axis) == run.rindex("█") + 1
            with_label += 1
    assert with_label > 10


def test_a_long_name_is_cut_to_a_third_of_the_width() -> None:
    """So that there is room for bars; in a narrow terminal they have twenty cells at least."""
    tree = long_run("x" * 100, 8)
    *_, task, _ = plain_text(timeline_lines(tree, 100)).splitlines()
    assert task[:35] == f"└─ {'x' * 31}…"
    assert (task[35], cell_width(task)) == (" ", 99)
    _, _, run, _, _ = plain_text(timeline_lines(tree, 10)).splitlines()
    assert run.count("█") == 20


def test_a_row_ends_with_what_is_to_be_said_of_it() -> None:
    """How long it took, and how it ended unless that is as usual, after the last cell."""
    lines = [*timeline_lines(NightlyRun().to_end().tree(), 80)]
    root, first, *_ = lines[2:-1]
    assert (root[-1].text, root[-1].style) == (" 8.0 s, Failed", Outcome.FAILED)
    assert (first[-1].text, first[-1].style) == (" 6.0 s, 2 runs", Outcome.COMPLETED)
    widths = {cell_width("".join(span.text for span in line[:-1])) for line in lines[2:-1]}
    assert widths == {80 - 2 - len("8.0 s, Failed")}


def test_styles_are_those_of_outcomes() -> None:
    """In the title, in bars and in the legend, whose words are faint."""
    title, _, root, *_, legend = timeline_lines(NightlyRun().to_end().tree(), 80)
    assert [(span.text, span.style) for span in title][:3] == [
        ("nightly-report / amber-fox", STRONG),
        ("  ", PLAIN),
        ("Failed", Outcome.FAILED),
    ]
    drawn = [(span.style, {*span.text}) for span in root[2:-1]]
    assert drawn == [(Outcome.WAITING, {"·"}), (Outcome.FAILED, {"x"})]
    assert [(span.text, span.style) for span in legend] == [
        *(("", PLAIN), ("·", Outcome.WAITING), (" waiting", FAINT)),
        *(("  ", PLAIN), ("█", Outcome.COMPLETED), (" completed", FAINT)),
        *(("  ", PLAIN), ("x", Outcome.FAILED), (" failed", FAINT)),
    ]


def test_a_wait_hides_no_other_bar() -> None:
    """Where a cell has both, the other is drawn; one that begins with the picture has a cell."""
    time = VirtualTime()
    server = FakePrefect3(clock=time)
    run_id = server.add_run(name="amber-fox", flow="report", state="RUNNING")
    time.wait(0.001)
    server.set_state(run_id, "SCHEDULED", "AwaitingRetry")
    time.wait(500)
    server.set_state(run_id, "RUNNING", "Retrying")
    time.wait(500)
    server.set_state(run_id, "COMPLETED")
    *_, row, legend = plain_text(timeline_lines(tree_of(server, run_id), 80)).splitlines()
    cells = row.split()[1]
    assert re.fullmatch("x·+█+", cells)
    assert cells.count("·") + 1 == pytest.approx(cells.count("█"), abs=1)
    assert legend == "· waiting  █ completed  x failed"


def test_a_wait_that_ends_where_the_picture_begins_has_a_cell() -> None:
    """One of no length, which the cell of the next bar hides."""
    time = VirtualTime()
    server = FakePrefect3(clock=time)
    run_id = server.add_run(name="amber-fox", flow="report", state="PENDING")
    server.set_state(run_id, "RUNNING")
    time.wait(8)
    *_, row, legend = plain_text(timeline_lines(tree_of(server, run_id), 60)).splitlines()
    assert row == f"report {'▒' * 37} 8.0 s, Running"
    assert legend == "▒ running"
