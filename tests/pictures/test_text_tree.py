"""The tree of a run as text."""

import pytest
from picture_runs import NightlyRun, tree_of

from rxflow._pictures.cells import FAINT, PLAIN, STRONG, plain_text
from rxflow._pictures.text_tree import tree_lines
from rxflow.testing import FakePrefect1, FakePrefect3, VirtualTime


def test_a_tree_has_guides_states_durations_and_retries() -> None:
    """Each run and task run has a line, below the run that started it."""
    assert plain_text(tree_lines(NightlyRun().to_end().tree(), 80)) == (
        "nightly-report / amber-fox     Failed           8.0 s\n"
        "├─ fetch_orders-0              Completed        6.0 s  2 runs\n"
        "├─ fetch_orders-1              Completed        1.0 s\n"
        "└─ publish-report / lucky-bee  Failed           2.0 s\n"
        "   ├─ render_page-completed    Completed        1.0 s\n"
        "   └─ render_page-failed       Failed           1.0 s"
    )


def test_what_is_beside_a_name_is_faint() -> None:
    """Guides and what is said of retries; names of flow runs are strong, states have a colour."""
    lines = [*tree_lines(NightlyRun().to_end().tree(), 80)]
    styles = [
        [(span.text.strip(), span.style) for span in line if span.text.strip()] for line in lines
    ]
    assert styles[:2] == [
        [("nightly-report / amber-fox", STRONG), ("Failed", "failed"), ("8.0 s", PLAIN)],
        [
            ("├─", FAINT),
            ("fetch_orders-0", PLAIN),
            ("Completed", "completed"),
            ("6.0 s", PLAIN),
            ("2 runs", FAINT),
        ],
    ]


def test_a_run_that_waits_says_for_how_long() -> None:
    """It has no duration, but a time since it was due."""
    time = VirtualTime()
    server = FakePrefect3(clock=time)
    run_id = server.add_run(name="amber-fox", flow="report", state="SCHEDULED")
    time.wait(90)
    (line,) = tree_lines(tree_of(server, run_id), 80)
    assert line[-1].style == FAINT
    assert plain_text([line]).split() == [
        "report",
        "/",
        "amber-fox",
        "Scheduled",
        "waiting",
        "for",
        "1",
        "min",
        "30",
        "s",
    ]


def test_a_long_name_is_not_cut() -> None:
    """It moves the columns of its own line, and those of no other."""
    server = FakePrefect3(clock=VirtualTime())
    run_id = server.add_run(name="x" * 100, state="RUNNING")
    server.add_task_run(run_id, name="short", state="RUNNING")
    first, second = plain_text(tree_lines(tree_of(server, run_id), 60)).splitlines()
    assert "x" * 100 in first
    assert second.index("Running") == 44


@pytest.mark.parametrize("name", ["\x1b[2J\x9b31m", "two\nlines", "\u202egnp", "a\tb"], ids=ascii)
def test_names_of_a_server_are_data(name: str) -> None:
    """A name neither acts on the terminal nor begins a line."""
    server = FakePrefect3(clock=VirtualTime())
    run_id = server.add_run(name=name, flow=name)
    server.set_state(run_id, "RUNNING", name)
    text = plain_text(tree_lines(tree_of(server, run_id), 80))
    assert len(text.splitlines()) == 1
    assert text.isprintable()


def test_what_is_missing_is_said() -> None:
    """Below the tree there are sentences on what it lacks."""
    story = NightlyRun().to_end()
    story.server.task_runs[story.fetches[1]]["name"] = None
    text = plain_text(tree_lines(story.tree(), 80))
    assert text.endswith("\n1 row of the server could not be read; left out here")
    story.server.task_runs[story.fetches[0]]["name"] = None
    assert "\n2 rows of the server" in plain_text(tree_lines(story.tree(), 80))
    old = FakePrefect1(clock=VirtualTime())
    text = plain_text(tree_lines(tree_of(old, old.add_run(state=None)), 80))
    assert "no state" in text
    assert "Prefect 1 does not know" in text
