"""The timeline of a run as SVG, read as a document."""

from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from hostile_lines import ALL, LONG
from picture_runs import NightlyRun, tree_of

from rxflow._pictures.run_tree import RunTree
from rxflow._pictures.svg_timeline import COLOURS, svg_timeline
from rxflow._pictures.time_bars import Outcome
from rxflow._pictures.timeline import Timeline
from rxflow.testing import FakePrefect1, FakePrefect3, VirtualTime

SVG = "{http://www.w3.org/2000/svg}"


def picture_of(tree: RunTree) -> ET.Element:
    """Return a picture."""
    return ET.fromstring(svg_timeline(tree))  # noqa: S314 - our own


def rows_of(tree: RunTree) -> list[ET.Element]:
    """Return the rows of a picture."""
    picture = picture_of(tree)
    return [group for group in picture.iter(f"{SVG}g") if group.get("class") == "row"]


def texts_of(row: ET.Element) -> list[str]:
    """Return the texts of a row."""
    return [each.text or "" for each in row.iter(f"{SVG}text")]


def bars_of(row: ET.Element) -> list[tuple[str, float, float]]:
    """Return the bars of a row: what they show, where they begin, how wide they are."""
    rects = [each for each in row.iter(f"{SVG}rect") if each.get("class", "").startswith("bar ")]
    return sorted(
        (
            each.get("class", "").removeprefix("bar "),
            float(each.get("x", "nan")),
            float(each.get("width", "nan")),
        )
        for each in rects
    )


def number(element: ET.Element, name: str) -> float:
    """Return an attribute that is a number."""
    return float(element.get(name, "nan"))


def ticks_of(picture: ET.Element) -> Iterator[tuple[ET.Element, ET.Element]]:
    """Yield the ticks of the axis: line and label."""
    yield from zip(picture.findall(f"{SVG}line"), picture.findall(f"{SVG}text"), strict=True)


def chain_of(depth: int) -> RunTree:
    """Return the tree of a run that has a subflow, which has one, and so on."""
    server = FakePrefect3(clock=VirtualTime())
    runs = [server.add_run(name="x" * 100, state="RUNNING")]
    for _ in range(depth):
        runs.append(server.add_run(name="y" * 100, state="RUNNING", parent=runs[-1]))
    return tree_of(server, runs[0])


def test_each_run_has_a_row_with_bars() -> None:
    """A retried task run has a bar for each attempt, in proportion to its time."""
    tree = NightlyRun().to_end().tree()
    rows = rows_of(tree)
    assert [row.get("data-node") for row in rows] == [place.node.id for place in tree.walk()]
    assert texts_of(rows[1]) == ["fetch_orders-0", "6.0 s, 2 runs"]
    assert texts_of(rows[3]) == ["publish-report / lucky-bee", "2.0 s, Failed"]
    (completed, _, long), (failed, _, short), (waiting, _, _) = bars_of(rows[1])
    assert (completed, failed, waiting) == ("completed", "failed", "waiting")
    assert long == pytest.approx(3 * short, abs=0.02)


def test_a_picture_needs_nothing_else() -> None:
    """It has no script, no style and no reference."""
    picture = picture_of(NightlyRun().to_end().tree())
    elements = {each.tag.removeprefix(SVG) for each in picture.iter()}
    assert elements == {"svg", "g", "rect", "circle", "line", "text", "title"}
    names = {name for each in picture.iter() for name in each.attrib}
    assert not any(name.startswith("on") or "href" in name or name == "style" for name in names)


def test_the_texts_of_a_row_stand_on_one_line() -> None:
    """Name and remark are at one height in a row; rows are even, and the picture has them all."""
    rows = rows_of(NightlyRun().to_end().tree())
    tops = [float(row.findall(f"{SVG}rect")[0].get("y", "nan")) for row in rows]
    heights = [{text.get("y") for text in row.iter(f"{SVG}text")} for row in rows]
    assert heights == [{f"{top + 15:g}"} for top in tops]
    (distance,) = {after - before for before, after in pairwise(tops)}
    picture = picture_of(NightlyRun().to_end().tree())
    height = float(picture.get("viewBox", "").split()[-1])
    assert tops[-1] + distance <= height <= tops[-1] + 2 * distance


def test_a_picture_has_the_colour_of_the_text_around() -> None:
    """Texts and the axis are drawn in it; names of flow runs are bold, and dots show outcomes."""
    picture = picture_of(NightlyRun().to_end().tree())
    assert picture.get("fill") == "currentColor"
    assert {line.get("stroke") for line in picture.iter(f"{SVG}line")} == {"currentColor"}
    shown = {
        (row.get("data-kind"), name.get("font-weight"), dot.get("class"))
        for row in picture.iter(f"{SVG}g")
        for name in row.findall(f"{SVG}text")[:1]
        for dot in row.iter(f"{SVG}circle")
    }
    assert shown == {
        ("flow run", "600", "dot failed"),
        ("task run", None, "dot completed"),
        ("task run", None, "dot failed"),
    }


@pytest.mark.parametrize("name", sorted(ALL.keys() - LONG.keys()))
def test_names_of_a_server_are_data(name: str) -> None:
    """Hostile names of flows, runs, task runs and states leave a well-formed document."""
    server = FakePrefect3(clock=VirtualTime())
    text = ALL[name] or "x"
    run_id = server.add_run(name=text, flow=text)
    server.set_state(run_id, "RUNNING", text, message=text)
    task_run_id = server.add_task_run(run_id, name=text)
    server.set_task_state(run_id, task_run_id, "FAILED", text)
    tree = tree_of(server, run_id)
    assert len(rows_of(tree)) == 2
    timeline = Timeline(tree)
    assert "<script" not in timeline._repr_html_()
    assert "<img" not in timeline._repr_html_()


def test_a_timeline_is_shown_in_each_place() -> None:
    """A notebook gets the picture and what it lacks, `print` gets text, a list the repr."""
    story = NightlyRun().to_end()
    timeline = Timeline(story.tree())
    assert timeline._repr_html_() == (
        '<div style="max-height: 40em; max-width: 1200px; overflow: auto">'
        f"<strong>nightly-report / amber-fox</strong> Failed{timeline.svg}</div>"
    )
    assert str(timeline).splitlines()[1].split() == ["0", "2", "s", "4", "s", "6", "s", "8", "s"]
    assert repr(timeline) == f"<Timeline of {story.run_id} name='amber-fox' state='Failed'>"
    old = FakePrefect1(clock=VirtualTime())
    assert "Prefect 1 does not know" in Timeline(tree_of(old, old.add_run()))._repr_html_()


def test_a_bar_before_the_span_is_not_drawn() -> None:
    """A wait that ended before what is shown has no bar."""
    time = VirtualTime()
    server = FakePrefect3(clock=time)
    run_id = server.add_run(state="SCHEDULED")
    time.wait(1000)
    server.set_state(run_id, "PENDING")
    time.wait(1000)
    server.set_state(run_id, "RUNNING")
    time.wait(10)
    (row,) = rows_of(tree_of(server, run_id))
    assert [outcome for outcome, _, _ in bars_of(row)] == ["running", "waiting"]


# -- where things stand ----------------------------------------------------------------------------


def test_the_axis_fits_the_bars() -> None:
    """A tick stands where bars are that began or ended at its time, with its label above."""
    tree = NightlyRun().to_end().tree()
    picture = picture_of(tree)
    root, fetch, *_ = [
        [each for each in bars_of(row) if each[0] != "waiting"] for row in rows_of(tree)
    ]
    places = {label.text: number(line, "x1") for line, label in ticks_of(picture)}
    ((_, began, lasted),) = root
    assert [*places] == ["0", "2 s", "4 s", "6 s", "8 s"]
    assert places["0"] == began
    assert places["8 s"] == pytest.approx(began + lasted, abs=0.02)
    assert fetch[0][1:] == pytest.approx((began + 3 * lasted / 8, 3 * lasted / 8), abs=0.02)
    for line, label in ticks_of(picture):
        assert line.get("x1") == line.get("x2") == label.get("x")
        assert label.get("text-anchor") == "middle"


def test_the_axis_goes_from_the_labels_to_the_last_row() -> None:
    """Its lines are faint, the labels above all rows, and both within the picture."""
    tree = NightlyRun().to_end().tree()
    picture = picture_of(tree)
    first, *_, last = [each for row in rows_of(tree) for each in row.findall(f"{SVG}rect")[:1]]
    left, top, width, height = map(float, picture.get("viewBox", "").split())
    assert (left, top, width) == (0, 0, 1000)
    for line, label in ticks_of(picture):
        assert 12 <= number(label, "y") < number(line, "y1") < number(first, "y")
        assert number(last, "y") + number(last, "height") < number(line, "y2") <= height
        assert 0 < number(line, "stroke-opacity") < number(label, "fill-opacity") < 1


def test_a_picture_is_in_proportion() -> None:
    """Names are left of the bars, and what is said of a run is right of them."""
    tree = NightlyRun().to_end().tree()
    bars = [bar for row in rows_of(tree) for bar in bars_of(row)]
    assert min(start for _, start, _ in bars) == 270
    end = max(start + width for _, start, width in bars)
    assert end == pytest.approx(1000 - 170, abs=0.02)
    for row in rows_of(tree):
        (dot,) = row.findall(f"{SVG}circle")
        name, remark = row.findall(f"{SVG}text")
        assert 0 < number(name, "x") < 270
        assert end < number(dot, "cx") - number(dot, "r")
        assert number(dot, "cx") + number(dot, "r") < number(remark, "x") < 1000 - 140


def test_bars_and_dots_are_in_the_middle_of_their_row() -> None:
    """Waits are lower than bars, and those of flow runs than those of task runs."""
    heights: dict[tuple[str | None, bool], set[float]] = {}
    for row in rows_of(NightlyRun().to_end().tree()):
        back, *bars = row.findall(f"{SVG}rect")
        middle = number(back, "y") + number(back, "height") / 2
        assert {number(dot, "cy") for dot in row.findall(f"{SVG}circle")} == {middle}
        for bar in bars:
            assert number(bar, "y") + number(bar, "height") / 2 == middle
            key = row.get("data-kind"), bar.get("class") == "bar waiting"
            heights.setdefault(key, set()).add(number(bar, "height"))
            assert number(bar, "rx") <= number(bar, "height") / 2
    (wait,) = heights["flow run", True] | heights["task run", True]
    (of_run,), (of_task,) = heights["flow run", False], heights["task run", False]
    assert 0 < wait < of_run < of_task < 22


def test_every_second_row_is_shaded() -> None:
    """From side to side, so that a name is found beside its bars."""
    rows = rows_of(NightlyRun().to_end().tree())
    backs = [row.findall(f"{SVG}rect")[0] for row in rows]
    assert [number(back, "fill-opacity") > 0 for back in backs] == [True, False] * 3
    assert {number(back, "fill-opacity") < 0.1 for back in backs} == {True}
    assert {(back.get("x"), back.get("width")) for back in backs} == {(None, "1000")}
    tops = [number(back, "y") for back in backs]
    assert {after - before for before, after in pairwise(tops)} == {number(backs[0], "height")}


def test_what_a_run_started_is_indented() -> None:
    """By as much each, up to a depth; and a name that is too long is cut before the bars."""
    names = [row.findall(f"{SVG}text")[0] for row in rows_of(chain_of(14))]
    steps = [number(b, "x") - number(a, "x") for a, b in pairwise(names)]
    assert steps == [14] * 10 + [0] * 4
    for name in names:
        assert (name.text or "").endswith("…")
        assert 250 <= number(name, "x") + 6.7 * len(name.text or "") <= 270


def test_a_dot_and_a_bar_have_the_colour_of_their_outcome() -> None:
    """Which is another one for each."""
    assert len({*COLOURS.values()}) == len(COLOURS) == len(Outcome)
    for row in rows_of(NightlyRun().to_end().tree()):
        for each in (*row.findall(f"{SVG}rect")[1:], *row.findall(f"{SVG}circle")):
            kind, outcome = each.get("class", "").split()
            assert kind in {"bar", "dot"}
            assert each.get("fill") == COLOURS[Outcome(outcome)]


def test_the_shortest_bar_is_seen_at_the_end_of_the_axis() -> None:
    """It is two units wide, and not beside the axis; a wait is drawn below other bars."""
    time = VirtualTime()
    server = FakePrefect3(clock=time)
    run_id = server.add_run(state="PENDING")
    time.wait(100)
    server.set_state(run_id, "RUNNING")
    time.wait(1000)
    task_run_id = server.add_task_run(run_id, name="end", state="RUNNING")
    time.wait(0.001)
    server.set_task_state(run_id, task_run_id, "COMPLETED")
    server.set_state(run_id, "COMPLETED")
    run, task = rows_of(tree_of(server, run_id))
    ((_, start, width),) = bars_of(task)
    assert (start, width) == (828, 2)
    drawn = [each.get("class") for each in run.findall(f"{SVG}rect")[1:]]
    assert drawn == ["bar waiting", "bar completed"]


def test_a_bar_ends_where_the_next_one_begins() -> None:
    """Also where times are no whole units of the picture."""
    time = VirtualTime()
    server = FakePrefect3(clock=time)
    run_id = server.add_run(state="RUNNING")
    for seconds, state in ((1, "SCHEDULED"), (3, "RUNNING"), (5, "COMPLETED")):
        time.wait(seconds)
        server.set_state(run_id, state)
    (row,) = rows_of(tree_of(server, run_id))
    bars = sorted(bars_of(row), key=lambda bar: bar[1])
    assert len(bars) == 3
    for (_, start, width), (_, following, _) in pairwise(bars):
        assert start + width == pytest.approx(following, abs=0.02)
        assert width != round(width)


def test_a_wait_up_to_the_begin_of_the_picture_is_drawn() -> None:
    """One of no length, too; a run that does not wait at all has none."""
    time = VirtualTime()
    server = FakePrefect3(clock=time)
    run_id = server.add_run(state="PENDING")
    server.set_state(run_id, "RUNNING")
    time.wait(10)
    (row,) = rows_of(tree_of(server, run_id))
    assert bars_of(row) == [("running", 270, 560), ("waiting", 270, 2)]


# -- what is said of a run -------------------------------------------------------------------------


def titles_of(tree: RunTree) -> list[list[str]]:
    """Return the lines that are shown where the mouse rests on each row."""
    return [(row.findall(f"{SVG}title")[0].text or "").splitlines() for row in rows_of(tree)]


def test_each_bar_is_described() -> None:
    """Where the mouse rests on a row, its bars are listed with their lengths."""
    run, fetch, other, *_ = titles_of(NightlyRun().to_end().tree())
    assert run == [
        "nightly-report / amber-fox: Failed, 8.0 s",
        "waiting for 4.0 s",
        "failed for 8.0 s",
    ]
    assert fetch == [
        "fetch_orders-0: Completed, 6.0 s, 2 runs",
        "failed for 1.0 s",
        "waiting for 2.0 s",
        "completed for 3.0 s",
    ]
    assert other == ["fetch_orders-1: Completed, 1.0 s", "completed for 1.0 s"]


def test_a_long_name_of_a_state_is_cut() -> None:
    """The description has it whole; without a duration nothing stands before it."""
    server = FakePrefect3(clock=VirtualTime())
    later = server.clock() + timedelta(hours=1)
    run_id = server.add_run(name="amber-fox", flow="report", expected_start_time=later)
    server.set_state(run_id, "SCHEDULED", "AwaitingConcurrencySlot")
    tree = tree_of(server, run_id)
    assert [texts_of(row) for row in rows_of(tree)] == [["report / amber-fox", "AwaitingConcurr…"]]
    assert titles_of(tree)[0][0] == "report / amber-fox: AwaitingConcurrencySlot"


def test_a_picture_has_a_name_for_people_who_do_not_see_it() -> None:
    """By its role it is one picture."""
    picture = picture_of(NightlyRun().to_end().tree())
    assert picture.get("role") == "img"
    assert picture.get("aria-label") == "Timeline of nightly-report / amber-fox"
    assert picture.get("width") == "100%"
    assert (picture.get("font-size"), picture.get("font-family")) == ("12", "system-ui, sans-serif")
