"""Fixtures of the tests in a browser: headless Chromium, and a page that must do no harm."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser import incidents, started
from install_chromium import find_chromium
from playwright.sync_api import Browser, Page


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Run a browser; skip where there is none."""
    found = find_chromium()
    if found is None:
        pytest.skip("no Chromium: python tests/tools/install_chromium.py gets one, or says why not")
    with started(found) as browser:
        yield browser


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """Open a page of 1200 by 800; the test fails if it does what none of ours may do."""
    with chromium.new_context(viewport={"width": 1200, "height": 800}) as context:
        page = context.new_page()
        found = incidents(page)
        yield page
    assert found == []


@pytest.fixture
def screenshot(page: Page, tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that saves the page as a picture of that name, to be looked at.

    The pictures are in the folder SCREENSHOTS of the environment; without it, in the test's own.
    """
    folder = Path(os.environ.get("SCREENSHOTS") or tmp_path)

    def save(name: str) -> Path:
        picture = folder / f"{name}.png"
        picture.write_bytes(page.screenshot())  # given a path, it would start a thread
        return picture

    return save
