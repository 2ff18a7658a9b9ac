"""The timeline of a run as SVG, read as a document."""

from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from hostile_lines import ALL, LONG
from picture_runs import NightlyRun, tree_of

from rxflow._pictures.run_tree import RunTree
from rxflow._pictures.svg_timeline import svg_timeline
from rxflow._pictures.timeline import Timeline
from rxflow.testing import FakePrefect1, FakePrefect3, VirtualTime

SVG = "{http://www.w3.org/2000/svg}"


def rows_of(tree: RunTree) -> list[ET.Element]:
    """Return the rows of a picture."""
    picture = ET.fromstring(svg_timeline(tree))  # noqa: S314 - our own
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
    picture = ET.fromstring(svg_timeline(NightlyRun().to_end().tree()))  # noqa: S314 - our own
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
    picture = ET.fromstring(svg_timeline(NightlyRun().to_end().tree()))  # noqa: S314 - our own
    height = float(picture.get("viewBox", "").split()[-1])
    assert tops[-1] + distance <= height <= tops[-1] + 2 * distance


def test_a_picture_has_the_colour_of_the_text_around() -> None:
    """Texts and the axis are drawn in it; names of flow runs are bold, and dots show outcomes."""
    picture = ET.fromstring(svg_timeline(NightlyRun().to_end().tree()))  # noqa: S314 - our own
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
