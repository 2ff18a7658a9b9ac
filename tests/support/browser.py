"""A headless Chromium for tests, and what a page did that none of ours may do."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from install_chromium import Chromium
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, Request, sync_playwright

# Chromium's own sandbox does not start as root; the rest keeps it off the network.
_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic"]


@contextmanager
def started(chromium: Chromium) -> Iterator[Browser]:
    """Run a browser while the block lasts."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium.program, env={**chromium.variables}, args=_ARGUMENTS
        )
        with browser:
            yield browser


def incidents(page: Page) -> list[str]:
    """Collect what no page of ours may do, from now on.

    Returns:
        A list that grows: errors of scripts and on the console (a violated content security policy
        is one), dialogs, windows that the page opened, and requests to other hosts.
    """
    found: list[str] = []

    def on_console(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            found.append(f"{message.type} on the console: {message.text}")

    def on_dialog(dialog: Dialog) -> None:
        found.append(f"{dialog.type} dialog: {dialog.message}")
        dialog.dismiss()

    def on_request(request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in {"http", "https", "ws", "wss"} and parts.hostname != "127.0.0.1":
            found.append(f"request to {request.url}")

    page.on("console", on_console)
    page.on("dialog", on_dialog)
    page.on("request", on_request)
    page.on("pageerror", lambda error: found.append(f"error of a script: {error}"))
    page.on("popup", lambda opened: found.append(f"window: {opened.url}"))
    return found
