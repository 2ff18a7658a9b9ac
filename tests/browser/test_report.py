"""The report of a run in a browser: its filter, its look, and that no text in it acts."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hostile_lines import ALL
from picture_runs import NightlyRun, report_of
from playwright.sync_api import Page, expect

from rxflow._pictures.report_page import report_page
from rxflow._pictures.run_report import RunReport
from rxflow.testing import FakePrefect3, VirtualTime

Open = Callable[[RunReport], None]


@pytest.fixture
def open_report(page: Page, tmp_path: Path) -> Open:
    """Return a function that opens a report as a file."""

    def open_file(report: RunReport) -> None:
        path = tmp_path / "run.html"
        path.write_text(report_page(report, "1.2.3"), "utf-8")
        page.goto(path.as_uri())

    return open_file


def shown(page: Page) -> list[str]:
    """Return the messages of the lines that are shown."""
    texts: list[str] = page.locator(".line:not([hidden]) pre").evaluate_all(
        "all => all.map(each => each.textContent)"
    )
    return texts


def count(page: Page) -> str | None:
    """Return what the page says of the number of lines, once a change is shown."""
    page.evaluate("() => new Promise(requestAnimationFrame)")
    return page.locator("#count").text_content()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("ended", [True, False], ids=["ended", "live"])
def test_a_report_is_shown(
    page: Page, open_report: Open, screenshot: Callable[[str], Path], scheme: str, ended: bool
) -> None:
    """In light and in dark, of a run that has ended and of one that goes on."""
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    story = NightlyRun()
    if ended:
        story.to_end()
    else:
        story.time.wait(2)
    open_report(story.report())
    assert page.title() == f"{'Failed' if ended else 'Running'}: nightly-report / amber-fox"
    assert page.locator(".picture .row").count() == (6 if ended else 3)
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert back == ("rgb(13, 17, 23)" if scheme == "dark" else "rgb(246, 247, 249)")
    screenshot(f"report-{'ended' if ended else 'live'}-{scheme}")
    page.locator(".log").scroll_into_view_if_needed()
    screenshot(f"report-log-{'ended' if ended else 'live'}-{scheme}")


def test_lines_are_filtered_by_level_task_and_text(page: Page, open_report: Open) -> None:
    """The filters apply together, and the button clears them."""
    open_report(NightlyRun().to_end().report())
    assert count(page) == "4 of 4 lines"
    page.select_option("#level", "40")
    assert (count(page), shown(page)) == ("1 of 4 lines", ["no response"])
    page.select_option("#level", "-1")
    page.fill("#text", "PAGE")
    assert count(page) == "2 of 4 lines"
    page.select_option("#task", label="\u00a0" * 6 + "render_page-failed")
    assert (count(page), shown(page)) == ("1 of 4 lines", ["the page is FAILED"])
    page.fill("#text", "nothing like it")
    assert (count(page), shown(page)) == ("0 of 4 lines", [])
    assert page.locator("#nothing").is_visible()
    page.click("button[type=reset]")
    expect(page.locator("#count")).to_have_text("4 of 4 lines")
    assert not page.locator("#nothing").is_visible()


def test_a_click_on_the_timeline_selects_lines(page: Page, open_report: Open) -> None:
    """A task run's own, a subflow's with those of its task runs; a second click all of them."""
    story = NightlyRun().to_end()
    open_report(story.report())
    task_run = page.locator(f".row[data-node='{story.fetches[0]}']")
    subflow = page.locator(f".row[data-node='{story.subflow_id}']")
    task_run.click()
    assert (count(page), shown(page)) == ("1 of 4 lines", ["no response"])
    subflow.focus()
    page.keyboard.press("Enter")
    assert count(page) == "2 of 4 lines"
    subflow.click()
    assert count(page) == "4 of 4 lines"


def test_a_link_has_the_filter(page: Page, open_report: Open) -> None:
    """The address keeps what was chosen, and a page that is opened there shows the same."""
    story = NightlyRun().to_end()
    open_report(story.report())
    page.fill("#text", "page & more")
    count(page)
    page.fill("#text", "page")
    page.select_option("#task", index=4)
    assert count(page) == "2 of 4 lines"
    address = page.url
    assert address.endswith(f"#node={story.subflow_id}&text=page")
    page.goto("about:blank")
    page.goto(address)
    assert count(page) == "2 of 4 lines"
    assert page.input_value("#text") == "page"


def test_an_address_with_nonsense_shows_all_lines(page: Page, open_report: Open) -> None:
    """What is no level and no run is no filter."""
    open_report(NightlyRun().to_end().report())
    address = page.url
    page.goto("about:blank")
    page.goto(f"{address}#level=7&node=%22%3E%3Cimg%20src%3Dx%3E&other=1")
    assert count(page) == "4 of 4 lines"


def test_a_report_is_whole_without_scripts(page: Page, open_report: Open, tmp_path: Path) -> None:
    """The lines are there, and the filter, which would do nothing, is not."""
    open_report(NightlyRun().to_end().report())
    assert page.context.browser is not None
    with page.context.browser.new_context(java_script_enabled=False) as context:
        plain = context.new_page()
        plain.goto((tmp_path / "run.html").as_uri())
        assert plain.locator(".line").count() == 4
        assert not plain.locator("#filter").is_visible()


@pytest.mark.timeout(120)
def test_ten_thousand_lines_are_filtered(
    page: Page, open_report: Open, screenshot: Callable[[str], Path]
) -> None:
    """The page lays out what is on the screen; a filter finds lines wherever they are."""
    story = NightlyRun().to_end()
    for number in range(10_000):
        level = 40 if number % 1000 == 999 else 20
        story.server.log(story.run_id, f"order {number} is packed", level=level)
    open_report(story.report())
    assert count(page) == "10,004 of 10,004 lines"
    page.select_option("#level", "40")
    assert count(page) == "11 of 10,004 lines"
    page.fill("#text", "order 99")
    assert count(page) == "2 of 10,004 lines"
    assert shown(page) == ["order 999 is packed", "order 9999 is packed"]
    page.select_option("#level", "-1")
    assert count(page) == "111 of 10,004 lines"
    assert page.evaluate("CSS.highlights.get('found').size") > 0
    page.locator(".log").scroll_into_view_if_needed()
    screenshot("report-10000-lines")
    # All that matched is as high as its lines, though most of them were never laid out.
    height = page.locator("#lines").evaluate("each => each.getBoundingClientRect().height")
    assert 111 * 21 <= height < 111 * 21 + 200


@pytest.mark.timeout(120)
def test_no_text_of_a_server_acts(
    page: Page, open_report: Open, screenshot: Callable[[str], Path]
) -> None:
    """Hostile texts in every place are shown as text: the page has none of the incidents.

    A violation of the content security policy would be one.
    """
    server = FakePrefect3(clock=VirtualTime())
    run_ids: list[str] = []
    for text in ALL.values():
        name = (text or "x")[:3000]
        parent = run_ids[0] if run_ids else None
        run_id = server.add_run(name=name, flow=name, tags=[name], parent=parent)
        server.set_state(run_id, "FAILED", name, message=text)
        task_run_id = server.add_task_run(run_id, name=name)
        server.set_task_state(run_id, task_run_id, "FAILED", name)
        server.log(run_id, text, level=40, task_run_id=task_run_id)
        run_ids.append(run_id)
    server.change_run(run_ids[0], parameters={text[:99]: text[:999] for text in ALL.values()})
    open_report(report_of(server, run_ids[0]))
    assert page.locator(".line").count() == len(ALL)
    assert page.locator("img, iframe, object, embed, link, base, svg svg").count() == 0
    assert page.locator("script, style").count() == 2
    for text in ("script", "\u202e", "{{", "'\"><img"):
        page.fill("#text", text)
        count(page)
    page.fill("#text", "")
    page.locator(".picture .row").last.click()
    assert count(page) == f"1 of {len(ALL)} lines"
    page.select_option("#task", "")
    page.locator(".log").scroll_into_view_if_needed()
    screenshot("report-hostile")
