"""Download and unpack packages of Debian: this needs no root, and installs nothing.

For ``install_chromium.py`` and ``install_postgres.py``.
"""

import os
import shutil
import subprocess
from pathlib import Path

TOX = Path(__file__).resolve().parents[2] / ".tox"
"""The folder below which packages are unpacked."""


def unpack(package: str, folder: Path) -> str | None:
    """Download a package and what it needs, and unpack them.

    Of what the package needs, apt-get downloads what is not installed.

    Args:
        package: Its name.
        folder: A folder for the packages and all that apt-get writes.

    Returns:
        Why this system has none; None if it is there now.

    Raises:
        CalledProcessError: If apt-get knows the package and cannot get it.
    """
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        return "there is no apt-get to get one with"
    lists, archives, unpacking = (folder / name for name in ("lists", "archives", "unpacking"))
    for path in (lists, archives):
        (path / "partial").mkdir(parents=True, exist_ok=True)
    apt = _AptGet(folder, lists, archives)
    apt.run("update")
    if not apt.knows(package):
        return f"apt-get knows no package {package}"
    apt.run("install", "--yes", "--no-install-recommends", "--download-only", package)
    for archive in sorted(archives.glob("*.deb")):
        subprocess.run(["dpkg-deb", "--extract", archive, unpacking], check=True)
        archive.unlink()
    # The last step, so that a half-unpacked program is not found.
    unpacking.rename(unpacked_in(folder))
    return None


def unpacked_in(folder: Path) -> Path:
    """Return where the packages of a folder are unpacked."""
    return folder / "unpacked"


def library_path(unpacked: Path) -> str:
    """Return the value of ``LD_LIBRARY_PATH`` for programs of unpacked packages."""
    return os.pathsep.join(sorted({str(path.parent) for path in unpacked.rglob("*.so*")}))


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
