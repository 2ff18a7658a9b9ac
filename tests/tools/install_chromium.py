"""Get a browser for the tests in tests/browser: `python tests/tools/install_chromium.py`.

A Chromium on PATH is used as it is. Else Debian's headless Chromium and the libraries that the
system lacks are downloaded with apt-get and unpacked below .tox: this needs no root, and installs
nothing into the system. Where there is no apt-get, or it knows no such package, the tests are
skipped with that reason.
"""

import shutil
import sys
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent))

from debian_packages import TOX, library_path, unpack, unpacked_in

PACKAGE = "chromium-headless-shell"
PROGRAM = Path("usr/lib/chromium/chromium-headless-shell")
ON_PATH = (PACKAGE, "chromium", "chromium-browser", "google-chrome")

FOLDER = TOX / "chromium"


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
    unpacked = unpacked_in(folder)
    if not (unpacked / PROGRAM).is_file():
        return None
    variables = {
        "LD_LIBRARY_PATH": library_path(unpacked),
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
    folder.mkdir(parents=True, exist_ok=True)
    fonts = unpacked_in(folder) / "usr/share/fonts"
    (folder / "fonts.conf").write_text(_FONTS.format(fonts=fonts), "utf-8")
    reason = unpack(PACKAGE, folder)
    return f"no Chromium is on PATH, and {reason}" if reason else None


_FONTS = """<?xml version="1.0"?>
<fontconfig>
  <include ignore_missing="yes">/etc/fonts/fonts.conf</include>
  <dir>{fonts}</dir>
</fontconfig>
"""


if __name__ == "__main__":
    if reason := install():
        sys.stderr.write(f"The browser tests are skipped: {reason}.\n")
