"""The documentation site: it has every public name, and each of its links has a target."""

import importlib
import os
import re
import subprocess
import sys
import zlib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]
MODULES = ["rxflow", "rxflow.operators", "rxflow.relay", "rxflow.sinks"]
MODULES += ["rxflow.testing", "rxflow.web"]
TEXTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [text.relative_to(ROOT / "docs") for text in TEXTS[1:] if text.parent.name != "changelog.d"]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the site that tox has just built; without tox, build it."""
    if "SITE" in os.environ:
        return Path(os.environ["SITE"])
    built = tmp_path_factory.mktemp("site") / "html"
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--nitpicky"]
    done = subprocess.run(
        [*command, "--quiet", "-b", "html", ROOT / "docs", built],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return built


# -- names --------------------------------------------------------------------------------------


def names_in(inventory: bytes) -> set[str]:
    """Return the Python names in the site's inventory."""
    *_, packed = inventory.split(b"\n", maxsplit=4)
    entries = zlib.decompress(packed).decode().splitlines()
    return {entry.split()[0] for entry in entries if entry.split()[1].startswith("py:")}


@pytest.mark.parametrize("module", MODULES)
def test_the_reference_has_every_public_name(module: str, site: Path) -> None:
    """Each name of a public module's `__all__` has an entry in the reference."""
    promised = {f"{module}.{name}" for name in importlib.import_module(module).__all__}
    assert promised - names_in((site / "objects.inv").read_bytes()) == set()


# -- links --------------------------------------------------------------------------------------


class Links(HTMLParser):
    """The links and the anchors of an HTML page."""

    def __init__(self, path: Path) -> None:
        """Read a page."""
        super().__init__()
        self.targets: list[str] = []
        self.places: set[str] = {""}
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record a link or an anchor."""
        found = dict(attrs)
        self.places.add(found.get("id") or "")
        if tag == "a":
            self.targets.append(found.get("href") or "")


def dead_links(site: Path) -> Iterator[str]:
    """Yield the links within the site that have no target."""
    pages = {path.resolve(): Links(path) for path in site.rglob("*.html")}
    for path, page in pages.items():
        for target in page.targets:
            parts = urlsplit(target)
            if parts.scheme:
                continue
            to = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            place = unquote(parts.fragment)
            if not to.exists() or (to in pages and place not in pages[to].places):
                yield f"{path.relative_to(site.resolve())}: {target}"


def test_each_link_within_the_site_leads_somewhere(site: Path) -> None:
    """Each link leads to an existing page and anchor."""
    assert sorted(set(dead_links(site))) == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_each_text_is_a_page(page: Path, site: Path) -> None:
    """Each text in docs/, except changelog fragments, is a page of the site."""
    assert (site / page).with_suffix(".html").exists()


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_link_between_texts_leads_somewhere(path: Path) -> None:
    """Each link to another file of the checkout finds it."""
    links = re.findall(
        r"\]\(([^)\s#]+)[^)]*\)|\{(?:literal)?include\} (\S+)", path.read_text("utf-8")
    )
    files = {unquote(link or included) for link, included in links}
    within = {file for file in files if not urlsplit(file).scheme}
    assert sorted(file for file in within if not (path.parent / file).exists()) == []
