"""The report of a run: a page that has all of it, and in which nothing of it acts."""

import re
from base64 import b64encode
from datetime import UTC, datetime
from hashlib import sha256

import pytest
from hostile_lines import ALL, LONG
from html_reader import HtmlReader
from msgspec.structs import replace
from picture_runs import NightlyRun, report_of
from sample_events import line, second

from rxflow import FlowRunLog
from rxflow._pictures.report_page import report_page
from rxflow._pictures.run_report import RunReport
from rxflow.testing import FakePrefect1, FakePrefect3, VirtualTime

FORBIDDEN = {"img", "iframe", "object", "embed", "link", "base", "audio", "video"}
"""Elements that request something, none of which the page has."""


@pytest.fixture
def report() -> RunReport:
    """The report of a run that has ended."""
    return NightlyRun().to_end().report()


def read(report: RunReport) -> HtmlReader:
    """Read the page of a report."""
    page = HtmlReader(report_page(report, "1.2.3"))
    assert page.open == []
    return page


def shown_lines(page: HtmlReader) -> list[tuple[str, str, str, str]]:
    """Return the log lines of a page: time, level, source, message."""
    first = page.elements.index(page.find("div", "line")[0])
    cells = [each.text for each in page.elements[first:] if each.name in {"a", "b", "i", "pre"}]
    columns = [iter(cells)] * 4
    return [*zip(*columns, strict=True)]


def test_a_page_has_all_of_a_run(report: RunReport) -> None:
    """Its header, state history, timeline and log lines."""
    page = read(report)
    assert page.find("title")[0].text == "Failed: nightly-report / amber-fox"
    assert page.find("p", "badge")[0].text == "Failed"
    assert page.find("p", "state-message")[0].text == "1/3 states failed."
    facts = " ".join(each.text for each in page.find("dl", "facts")).split()
    assert "4: 3 completed, 1 failed" in " ".join(facts)
    assert "Ended" in " ".join(facts)
    assert [each.text for each in page.find("span", "tag")] == ["etl", "prod"]
    rows = [each.text for each in page.find("tr")][1:]
    assert [re.split(r"\d{4}-", row)[0] for row in rows] == ["Scheduled", "Running", "Failed"]
    assert rows[1].endswith("00:00:04.0008.0 s")
    assert len(page.find("g", "row")) == 6
    assert shown_lines(page) == [
        ("00:00:04.000", "INFO", "nightly-report", "fetching the orders of 2 regions"),
        ("00:00:05.000", "ERROR", "fetch_orders-0", "no response"),
        ("00:00:11.000", "INFO", "render_page-completed", "the page is COMPLETED"),
        ("00:00:12.000", "INFO", "render_page-failed", "the page is FAILED"),
    ]
    assert page.find("pre", "error-text")[0].text == "no response"
    assert "rxflow 1.2.3" in page.find("footer")[0].text
    assert "4 lines, as many as the server counts" in page.text
    assert "goes on" not in page.text


def test_the_filter_offers_what_there_is(report: RunReport) -> None:
    """Levels by name or number, and runs with a range of lines that has those below them."""
    lines = (*report.lines, line(1, level=35, run=report.tree.root.id))
    page = read(replace(report, lines=lines))
    values = [each.attributes["value"] for each in page.find("option")]
    assert values[:7] == ["-1", "10", "20", "30", "35", "40", "50"]
    assert [each.text for each in page.find("option")][4] == "35"
    assert values[7:] == ["", "0-5", "1-1", "2-2", "3-5", "4-4", "5-5"]
    nodes = [each.attributes["data-node"] for each in page.find("div", "line")]
    assert nodes == ["0", "1", "4", "5", "0"]


def test_a_live_run_is_shown_as_far_as_it_has_got() -> None:
    """The page says so, and when that was."""
    story = NightlyRun()
    story.time.wait(2)
    page = read(story.report())
    assert "as far as it had got at 2026-01-01 00:00:06 UTC" in page.text
    assert "Running for2.0 s" in page.text.replace("\n", "")


def test_a_run_that_has_not_begun_is_shown() -> None:
    """It has no state, no times and no lines."""
    server = FakePrefect3(clock=VirtualTime())
    page = read(report_of(server, server.add_run(state=None)))
    assert page.find("p", "badge")[0].text == "no state"
    assert page.find("div", "line") == []
    assert "Task runsnone" in page.text.replace("\n", "")


def test_parameters_are_shown_as_json() -> None:
    """Indented, and folded until they are looked at."""
    server = FakePrefect3(clock=VirtualTime())
    parameters = {"day": "</pre>", "city": "Köln", "n": [1]}
    page = read(report_of(server, server.add_run(parameters=parameters)))
    text = page.find("pre", "parameters")[0].text
    assert text == '{\n  "day": "</pre>",\n  "city": "Köln",\n  "n": [\n    1\n  ]\n}'


def test_a_new_day_is_a_line_of_its_own(report: RunReport) -> None:
    """Times of the log are without dates otherwise."""
    run = report.tree.root.id
    lines = (line(0, run=run), line(1, run=run), line(86400, run=run))
    page = read(replace(report, lines=lines))
    assert [each.text for each in page.find("p", "day")] == ["2026-11-22", "2026-11-23"]


def test_what_is_missing_is_said(report: RunReport) -> None:
    """Rows that could not be read, and runs whose lines no count proves."""
    page = read(replace(report, unread=1, unproven=("a", "b")))
    assert "1 log line could not be read; left out here." in page.text
    assert "never agreed, of a, b." in page.text
    assert "not all verified" in page.text
    page = read(replace(report, unread=2, unproven=("a", "b", "c", "d")))
    assert "2 log lines could not be read" in page.text
    assert "of a, b, c and 1 more." in page.text


def error_of(message: str, report: RunReport) -> str:
    """Return what the top of a page shows of an error."""
    lines = (line(0, message, level=40, run=report.tree.root.id),)
    return read(replace(report, lines=lines)).find("pre", "error-text")[0].text


def test_of_a_long_error_the_beginning_and_the_end_are_at_the_top(report: RunReport) -> None:
    """All of it is among the lines."""
    shown = error_of("\n".join(map(str, range(100))), report).split()
    assert shown == [*map(str, range(7)), "…", *map(str, range(93, 100))]
    assert len(error_of("x" * 9000, report)) == 3003


def test_lines_of_unknown_task_runs_are_their_runs(report: RunReport) -> None:
    """A task run that could not be read has no name."""
    lines = (line(1, run=report.tree.root.id, task="6ecd8c99-4036-403d-bf84-cf8400f67836"),)
    assert [each[2] for each in shown_lines(read(replace(report, lines=lines)))] == [
        "nightly-report"
    ]


def test_the_first_and_the_last_time_of_all_are_shown(report: RunReport) -> None:
    """No clock of a writer ends a report."""
    times = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
    run = report.tree.root.id
    lines = tuple(replace(line(0, run=run), timestamp=time) for time in times)
    assert len(shown_lines(read(replace(report, lines=lines)))) == 2


def test_the_policy_allows_the_one_script_and_style(report: RunReport) -> None:
    """Their digests are those of the text between the tags, and nothing else is allowed."""
    page = read(report)
    policy = next(
        each.attributes["content"]
        for each in page.find("meta")
        if each.attributes.get("http-equiv") == "Content-Security-Policy"
    )
    for name in ("script", "style"):
        (element,) = page.find(name)
        digest = b64encode(sha256(element.text.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy


@pytest.mark.parametrize("name", sorted(ALL.keys() - LONG.keys()))
def test_no_text_of_a_server_acts(name: str) -> None:
    """A hostile text adds no element and no attribute, and is read as what it is."""
    text = ALL[name] or "x"
    server = FakePrefect3(clock=VirtualTime())
    run_id = server.add_run(name=text, flow=text, tags=[text], parameters={text: text})
    server.set_state(run_id, "FAILED", text, message=text)
    task_run_id = server.add_task_run(run_id, name=text)
    server.set_task_state(run_id, task_run_id, "FAILED", text)
    server.log(run_id, text, level=40)
    page = read(report_of(server, run_id))
    assert [each.name for each in page.elements if each.name in FORBIDDEN] == []
    assert [len(page.find(each)) for each in ("script", "style", "svg")] == [1, 1, 1]
    attributes = {name for each in page.elements for name in each.attributes}
    assert [name for name in attributes if name.startswith("on") or name == "style"] == []
    assert len(page.find("div", "line")) == 1


def test_prefect_1_has_a_report_without_subflows() -> None:
    """A sentence says why there are none."""
    server = FakePrefect1(clock=VirtualTime())
    run_id = server.add_run(name="amber-fox", state="Running")
    server.log(run_id, "120 orders read")
    page = read(report_of(server, run_id))
    assert [each[3] for each in shown_lines(page)] == ["120 orders read"]
    assert "Prefect 1 does not know which runs are subflows" in page.text


def test_many_lines_are_in_chunks(report: RunReport) -> None:
    """A browser lays out a hundred at a time, when they are scrolled to."""
    lines: tuple[FlowRunLog, ...] = tuple(
        line(number, run=report.tree.root.id) for number in range(250)
    )
    page = read(replace(report, lines=lines))
    assert len(page.find("div", "chunk")) == 3
    assert len(page.find("div", "line")) == 250
    assert lines[-1].timestamp == second(249)
