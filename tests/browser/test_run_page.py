"""The pages of `rxflow.web` in a browser: what is shown of a run, live, and what is never run."""

import re
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest
from hostile_lines import ALL, LONG
from playwright.sync_api import Browser, Locator, Page, expect
from starlette.applications import Starlette
from starlette.routing import Mount
from web_server import served

from rxflow._escapes import safe_text
from rxflow.testing import FakePrefect3, VirtualTime
from rxflow.web import flow_run_app

pytestmark = pytest.mark.timeout(60)


class Stage:
    """A fake server with one run, and pages that show it.

    Its time stands still but for what a test lets pass.
    """

    def __init__(self) -> None:
        self.time = VirtualTime()
        self.prefect = FakePrefect3(clock=self.time)
        self.run_id = self.prefect.add_run(
            name="amber-fox", flow="nightly-report", tags=["prod"], state="SCHEDULED"
        )

    def serve(self) -> AbstractContextManager[str]:
        """Serve the pages; gives the URL of the first."""
        return served(flow_run_app(client=self.prefect.client()))

    def log(self, message: str, **fields: object) -> None:
        """Write a line, a second after the one before it."""
        self.time.wait(1)
        self.prefect.log(self.run_id, message, **fields)  # type: ignore[arg-type]

    def enter(self, state: str) -> None:
        """Put the run in a state, a second later."""
        self.time.wait(1)
        self.prefect.set_state(self.run_id, state)

    def complete(self) -> None:
        """Complete the run, and let the drain's time pass."""
        self.enter("COMPLETED")
        self.time.wait(60)


@pytest.fixture
def stage() -> Stage:
    """Create a stage."""
    return Stage()


@pytest.fixture
def shown(stage: Stage, page: Page) -> Generator[Stage]:
    """Open the run's page, until the test is over."""
    with stage.serve() as url:
        page.goto(f"{url}/{stage.run_id}")
        yield stage
        page.goto("about:blank")  # which ends the stream


def lines(page: Page) -> list[str]:
    """The texts of the lines that are shown, in order."""
    return page.locator("#lines li:not([hidden]) .text").all_text_contents()


def line_of(page: Page, text: str) -> Locator:
    """The line with a text."""
    return page.locator("#lines").get_by_text(text, exact=True)


def wait_for(page: Page, text: str) -> None:
    """Wait until a line is there, whether or not it is in sight."""
    page.locator("#lines .text", has_text=text).first.wait_for(state="attached")


# -- what is shown ------------------------------------------------------------------------------


def test_a_run_is_shown_live(shown: Stage, page: Page, screenshot: Callable[[str], Path]) -> None:
    """Name, states, task runs, lines with levels and writers, and the end, as they come."""
    wait_for(page, "Entered state Scheduled")
    expect(page.locator("#connection")).to_have_text("Live")
    shown.enter("RUNNING")
    load, mail = (
        shown.prefect.add_task_run(shown.run_id, name=name, state="RUNNING")
        for name in ("load-0", "mail-0")
    )
    shown.log("120 orders read", task_run_id=load)
    shown.log("2 orders have no price", level=30)
    shown.log("at a level of its own", level=25)
    wait_for(page, "at a level of its own")
    expect(page).to_have_title("Running · amber-fox")
    shown.prefect.set_task_state(shown.run_id, load, "COMPLETED")
    shown.prefect.set_task_state(shown.run_id, mail, "FAILED")
    shown.log("the mail was not sent\nno route to host", level=40, task_run_id=mail)
    expect(page.locator("#failed")).to_have_text("mail-0")
    expect(page.locator("#counts")).to_have_text("2 of 2 task runs over: 1 completed, 1 failed")
    wait_for(page, "the mail was not sent")
    screenshot("run-live")
    shown.complete()
    expect(page.locator("#connection")).to_have_text("Ended")
    expect(page.locator("#reason")).to_contain_text("4 log lines, verified")
    expect(page.locator("#state")).to_have_text("Completed")
    assert page.locator("#states li").all_inner_texts()[0].startswith("Scheduled")
    rows = page.locator("#lines li", has=page.locator(".text", has_text="at a level of its own"))
    assert rows.locator(".level").inner_text() == "25"
    mails = page.locator("#lines li[data-level='4']")
    assert mails.locator(".writer").first.inner_text() == "mail-0"
    screenshot("run-ended")


def test_a_subflow_is_shown_with_its_name(shown: Stage, page: Page) -> None:
    """Its lines are among those of the run, with the subflow's name."""
    shown.enter("RUNNING")
    subflow = shown.prefect.add_run(name="owl", flow="load", parent=shown.run_id, state="RUNNING")
    shown.prefect.log(subflow, "in the subflow")
    wait_for(page, "in the subflow")
    row = page.locator("#lines li", has=page.locator(".text", has_text="in the subflow"))
    expect(row.locator(".writer")).to_have_text("owl")


def test_late_lines_are_put_in_their_place(shown: Stage, page: Page) -> None:
    """Lines are in the order of their times, to the microsecond, and not of their arrival."""
    now = shown.prefect.now()
    for micros in (5, 900, 4, 1100, 3):
        shown.prefect.log(shown.run_id, f"at {micros}", timestamp=now.replace(microsecond=micros))
        wait_for(page, f"at {micros}")
    assert [text for text in lines(page) if text.startswith("at ")] == [
        *("at 3", "at 4", "at 5", "at 900", "at 1100")
    ]


def test_the_first_page_leads_to_a_run(
    stage: Stage, page: Page, screenshot: Callable[[str], Path]
) -> None:
    """The list has states and local times, and a click on a name shows the run."""
    stage.enter("RUNNING")
    with stage.serve() as url:
        page.goto(url)
        screenshot("runs")
        expect(page.locator(".badge")).to_have_text("Running")
        page.get_by_text("amber-fox").click()
        wait_for(page, "Entered state Running")
        page.goto("about:blank")


# -- what a reader does -------------------------------------------------------------------------


def test_lines_are_filtered(shown: Stage, page: Page) -> None:
    """By level, writer and part of the text; the number of lines that are left is shown."""
    task = shown.prefect.add_task_run(shown.run_id, name="load-0", state="RUNNING")
    shown.log("a detail", level=10)
    shown.log("one Order")
    shown.log("two orders", level=30, task_run_id=task)
    wait_for(page, "two orders")
    assert "a detail" not in lines(page)
    page.select_option("#level", "0")
    assert "a detail" in lines(page)
    page.fill("#text", "ORDER")
    assert lines(page) == ["one Order", "two orders"]
    expect(page.locator("#shown")).to_have_text(re.compile(r"^2 of \d+ lines$"))
    page.select_option("#writer", label="load-0")
    assert lines(page) == ["two orders"]
    page.select_option("#level", "40")
    assert lines(page) == []


def test_the_end_is_followed_until_a_reader_scrolls_up(shown: Stage, page: Page) -> None:
    """New lines scroll the log; not while a reader is above, and again at the end."""
    for number in range(100):
        shown.log(f"line {number}")
    wait_for(page, "line 99")
    expect(line_of(page, "line 99")).to_be_in_viewport()
    page.locator("#log").hover()
    page.mouse.wheel(0, -600)
    expect(page.locator("#follow")).not_to_be_checked()
    shown.log("line 100")
    wait_for(page, "line 100")
    expect(line_of(page, "line 100")).not_to_be_in_viewport()
    page.mouse.wheel(0, 5000)
    expect(page.locator("#follow")).to_be_checked()
    shown.log("line 101")
    wait_for(page, "line 101")
    expect(line_of(page, "line 101")).to_be_in_viewport()


def test_the_first_error_is_found(shown: Stage, page: Page) -> None:
    """A button that is there when there is an error scrolls to the first one."""
    expect(page.locator("#first-error")).to_be_hidden()
    shown.log("the disk is full", level=40)
    for number in range(200):
        shown.log(f"line {number}")
    wait_for(page, "line 199")
    expect(line_of(page, "the disk is full")).not_to_be_in_viewport()
    page.click("#first-error")
    expect(line_of(page, "the disk is full")).to_be_in_viewport()


# -- what must not happen -----------------------------------------------------------------------


def test_hostile_lines_do_nothing(
    shown: Stage, page: Page, screenshot: Callable[[str], Path]
) -> None:
    """Each hostile message, name and tag is shown as the text that it is, escaped as elsewhere."""
    for text in ALL.values():
        shown.log(text)
    task = shown.prefect.add_task_run(shown.run_id, name=ALL["script"], state="FAILED")
    shown.prefect.change_run(shown.run_id, name=ALL["image"], tags=[ALL["end-of-text"]])
    shown.log("the last", task_run_id=task)
    wait_for(page, "the last")
    expect(page.locator("#name")).to_have_text(ALL["image"])
    expect(page.locator("#failed")).to_have_text(ALL["script"])
    screenshot("run-hostile")
    found = page.locator("#lines li:not(.state, .notice) .text").all_text_contents()
    expected = [safe_text(text.replace("\r\n", "\n")) for text in [*ALL.values(), "the last"]]
    assert found == [
        text if len(text) <= 10_000 else f"{text[:10_000]}{len(text) - 10_000:,} more characters"
        for text in expected
    ]


def test_a_long_line_is_shown_whole_on_demand(shown: Stage, page: Page) -> None:
    """Of a line of a million characters ten thousand are shown, and the rest after a click."""
    shown.log(LONG["word"])
    page.get_by_role("button", name="990,000 more characters").click()
    text = page.locator("#lines .text", has_text="xxx")
    assert text.text_content() == LONG["word"]


def test_ten_thousand_lines_are_filtered_at_once(shown: Stage, page: Page) -> None:
    """They are laid out in chunks, of which those out of sight cost nothing."""
    for number in range(10_000):
        shown.prefect.log(shown.run_id, f"line {number}")
    wait_for(page, "line 9999")
    page.fill("#text", "line 77")
    assert len(lines(page)) == 111
    expect(line_of(page, "line 7799")).to_be_in_viewport()
    chunks = page.locator("#lines ol")
    assert chunks.count() == 101
    assert page.locator("#lines ol:not([hidden])").count() < 10


# -- the connection -----------------------------------------------------------------------------


@pytest.fixture
def visitor(chromium: Browser) -> Generator[Page]:
    """Open a page that may report what the network did."""
    with chromium.new_context(viewport={"width": 1200, "height": 800}) as context:
        yield context.new_page()


@pytest.mark.parametrize("is_same_session", [True, False], ids=["same-session", "new-session"])
def test_after_a_lost_connection_nothing_is_missing_or_twice(
    is_same_session: bool, stage: Stage, visitor: Page
) -> None:
    """The page reconnects by itself, to the session that it read or to one of a new service."""
    app = mounted(stage)
    with served(app) as url:
        visitor.goto(f"{url}/{stage.run_id}")
        for number in range(3):
            stage.log(f"before {number}")
        wait_for(visitor, "before 2")
    expect(visitor.locator("#connection")).to_have_text("Connection lost; reconnecting")
    for number in range(3):
        stage.log(f"meanwhile {number}")
    with served(app if is_same_session else mounted(stage), int(url.rpartition(":")[2])):
        wait_for(visitor, "meanwhile 2")
        stage.complete()
        expect(visitor.locator("#connection")).to_have_text("Ended")
    assert lines(visitor) == [
        "Entered state Scheduled",
        *(f"{when} {number}" for when in ("before", "meanwhile") for number in range(3)),
        "Entered state Completed",
    ]


def mounted(stage: Stage) -> Starlette:
    """Make the pages a part of an app: their sessions outlive its server by some seconds."""
    pages = flow_run_app(client=stage.prefect.client(), linger=3)
    return Starlette(routes=[Mount("", pages)])


def test_a_refusal_is_explained_and_tried_again(stage: Stage, visitor: Page) -> None:
    """The page shows what the service says, and a button with which it connects again."""
    refused = httpx.Response(401, json={"detail": "Unauthorized"})
    stage.prefect.intercept = lambda request: refused if request.method == "POST" else None
    with stage.serve() as url:
        visitor.goto(f"{url}/{stage.run_id}")
        expect(visitor.locator("#connection")).to_have_text("Not connected")
        expect(visitor.locator("#reason")).to_contain_text("refused")
        stage.prefect.intercept = None
        visitor.click("#again")
        expect(visitor.locator("#connection")).to_have_text("Live")
        expect(visitor.locator("#again")).to_be_hidden()


def test_what_is_not_there_is_a_sentence(stage: Stage, visitor: Page) -> None:
    """A page without a run says so, and has the way to the others."""
    with stage.serve() as url:
        visitor.goto(f"{url}/amber-fox")
        expect(visitor.locator("h1")).to_have_text("No such run")
        expect(visitor.locator(".sentence")).to_contain_text("amber-fox")
        visitor.get_by_text("All flow runs").click()
        expect(visitor.locator("td a")).to_have_text("amber-fox")
