"""The browser itself: what it shows, and that a page which does harm is found out."""

import html
from collections.abc import Callable
from pathlib import Path

import pytest
from browser import incidents
from hostile_lines import ALL, MARKUP
from playwright.sync_api import Browser, Page

POLICY = "<meta http-equiv=content-security-policy content=\"script-src 'none'\">"

HARM = {
    "throws": ("<script>throw Error('oops')</script>", "error of a script: oops"),
    "dialog": ("<script>alert('hi')</script>", "alert dialog: hi"),
    "request": ("<img src='http://other.invalid/x.png'>", "request to http://other.invalid/x.png"),
    "console": ("<script>console.error('bad')</script>", "error on the console: bad"),
    "window": ("<script>open('about:blank')</script>", "window: about:blank"),
    "policy": (
        f"{POLICY}<script>document.title = 'run'</script>",
        "error on the console: Executing inline script violates",
    ),
    **{name: (text, "") for name, text in MARKUP.items()},
}


@pytest.mark.timeout(30)
@pytest.mark.parametrize("harm", HARM)
def test_what_a_page_must_not_do_is_found(harm: str, chromium: Browser) -> None:
    """Each kind of harm is in the list of incidents, and each hostile line of HTML does some."""
    content, incident = HARM[harm]
    with chromium.new_context() as context:
        page = context.new_page()
        found = incidents(page)
        page.set_content(f"<!doctype html><title>still</title>{content}")
        while not any(text.startswith(incident) for text in found):
            page.wait_for_timeout(10)  # lets the events of the page come in


def test_a_harmless_page(page: Page, screenshot: Callable[[str], Path]) -> None:
    """A page without harm has no incident, and its picture is a PNG of the window's size."""
    page.set_content("<!doctype html><title>Snow</title><h1>\N{SNOWMAN} snow</h1>")
    assert page.title() == "Snow"
    picture = screenshot("snow").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert int.from_bytes(picture[16:20]) == 1200


def test_an_escaped_line_does_nothing(page: Page) -> None:
    """Hostile lines in HTML that escapes them have no incident, and stay what they were."""
    lines = [text for text in ALL.values() if "\0" not in text and "\r" not in text]
    page.set_content("".join(f"<p>{html.escape(line)}</p>" for line in lines))
    assert page.locator("p").evaluate_all("all => all.map(p => p.textContent)") == lines
