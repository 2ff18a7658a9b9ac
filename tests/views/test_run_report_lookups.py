"""What is read for the report of a run."""

import json

import httpx
from picture_runs import NightlyRun, report_of

from rxflow._views.run_report_lookups import read_run_report
from rxflow.testing import FakePrefect3, VirtualTime


def test_the_lines_of_all_runs_are_read_in_order() -> None:
    """Those of the run and of its subflows, by time."""
    story = NightlyRun().to_end()
    report = story.report()
    assert [row.message for row in report.lines] == [
        "fetching the orders of 2 regions",
        "no response",
        "the page is COMPLETED",
        "the page is FAILED",
    ]
    assert (report.unread, report.unproven) == (0, ())
    assert report.tree.run.id == story.run_id


def test_subflows_can_be_left_out() -> None:
    """Their lines are left out, too."""
    story = NightlyRun().to_end()
    report = story.server.client().read(
        lambda limit: read_run_report(story.run_id, limit, subflows=False)
    )
    assert {row.flow_run_id for row in report.lines} == {story.run_id}


def test_lines_that_cannot_be_read_are_counted() -> None:
    """The others are shown."""
    story = NightlyRun().to_end()
    story.server.logs[0]["message"] = None
    report = story.report()
    assert len(report.lines) == 3
    assert report.unread == 1


def test_a_table_that_is_never_proven_is_named() -> None:
    """On a server whose offsets lead nowhere no count agrees, and the run is named."""
    server = FakePrefect3(clock=VirtualTime(), page_limit=2)
    run_id = server.add_run(name="amber-fox", state="RUNNING")
    for number in range(7):
        server.log(run_id, f"{number}")

    def lead_nowhere(request: httpx.Request) -> httpx.Response | None:
        is_offset = (
            request.url.path.endswith("/logs/filter") and json.loads(request.content)["offset"]
        )
        return httpx.Response(200, json=[]) if is_offset else None

    server.intercept = lead_nowhere
    report = report_of(server, run_id)
    assert report.unproven == ("amber-fox",)
    assert report.lines != ()
