"""Get a browser for the tests in tests/browser: `python tests/tools/install_chromium.py`.

A Chromium on PATH is used as it is. Else Debian's headless Chromium and the libraries that the
system lacks are downloaded with apt-get and unpacked below .tox: this needs no root, and installs
nothing into the system. Where there is no apt-get, or it knows no such package, the tests are
skipped with that reason.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

PACKAGE = "chromium-headless-shell"
PROGRAM = Path("usr/lib/chromium/chromium-headless-shell")
ON_PATH = (PACKAGE, "chromium", "chromium-browser", "google-chrome")

FOLDER = Path(__file__).resolve().parents[2] / ".tox" / "chromium"


class Chromium(NamedTuple):
    """A browser that can be started.

    Attributes:
        program: Its executable.
        variables: What its environment needs.
    """

    program: Path
    variables: dict[str, str]


def find_chromium(folder: Path = FOLDER) -> Chromium | None:
    """Find a browser: one on PATH, or the one that `install` unpacked.

    Args:
        folder: Where `install` unpacked it.
    """
    found = next(filter(None, map(shutil.which, ON_PATH)), None)
    if found:
        return Chromium(Path(found), {})
    unpacked = folder / "unpacked"
    if not (unpacked / PROGRAM).is_file():
        return None
    libraries = sorted({str(path.parent) for path in unpacked.rglob("*.so*")})
    variables = {
        "LD_LIBRARY_PATH": os.pathsep.join(libraries),
        "FONTCONFIG_FILE": str(folder / "fonts.conf"),
    }
    return Chromium(unpacked / PROGRAM, variables)


def install(folder: Path = FOLDER) -> str | None:
    """Download and unpack a browser, unless there is one.

    Args:
        folder: A folder for the browser and all that apt-get writes.

    Returns:
        Why this system has none; None if there is one now.

    Raises:
        CalledProcessError: If apt-get knows the package and cannot get it.
    """
    if find_chromium(folder):
        return None
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        return "no Chromium is on PATH, and there is no apt-get to get one with"
    lists, archives, unpacking, unpacked = (
        folder / name for name in ("lists", "archives", "unpacking", "unpacked")
    )
    for path in (lists, archives):
        (path / "partial").mkdir(parents=True, exist_ok=True)
    apt = _AptGet(folder, lists, archives)
    apt.run("update")
    if not apt.knows(PACKAGE):
        return f"no Chromium is on PATH, and apt-get knows no package {PACKAGE}"
    # Of what the package needs, apt-get downloads what is not installed.
    apt.run("install", "--yes", "--no-install-recommends", "--download-only", PACKAGE)
    for archive in sorted(archives.glob("*.deb")):
        subprocess.run(["dpkg-deb", "--extract", archive, unpacking], check=True)
        archive.unlink()
    (folder / "fonts.conf").write_text(_FONTS.format(fonts=unpacked / "usr/share/fonts"), "utf-8")
    unpacking.rename(unpacked)  # the last step, so that a half-unpacked browser is not found
    return None


_FONTS = """<?xml version="1.0"?>
<fontconfig>
  <include ignore_missing="yes">/etc/fonts/fonts.conf</include>
  <dir>{fonts}</dir>
</fontconfig>
"""


class _AptGet:
    """apt-get with the system's sources and state, that writes into folders of its own."""

    def __init__(self, folder: Path, lists: Path, archives: Path) -> None:
        settings = {
            "Debug::NoLocking": "1",
            "APT::Sandbox::User": "",
            "Dir::Cache": folder,
            "Dir::Cache::Archives": archives,
            "Dir::State::Lists": lists,
        }
        self._options = [f"--option={name}={value}" for name, value in settings.items()]

    def run(self, *arguments: str) -> None:
        """Run apt-get, whose errors are this program's."""
        subprocess.run(["apt-get", "-qq", *self._options, *arguments], check=True)

    def knows(self, package: str) -> bool:
        """Return whether there is a version of a package to install."""
        shown = subprocess.run(
            ["apt-cache", *self._options, "show", package], capture_output=True, check=False
        )
        return shown.returncode == 0


if __name__ == "__main__":
    if reason := install():
        sys.stderr.write(f"The browser tests are skipped: {reason}.\n")
