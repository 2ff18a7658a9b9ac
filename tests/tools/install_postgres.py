"""Get a PostgreSQL server with pg_trgm: ``python tests/tools/install_postgres.py``.

Debian's is used as it is, if it is installed. Else it is downloaded with apt-get and unpacked below
.tox: this needs no root, and installs nothing into the system. Exits 1 where there is none.
"""

import sys
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent))

from debian_packages import TOX, library_path, unpack, unpacked_in

PACKAGE = "postgresql"  # which needs the one with the version of this Debian in its name

FOLDER = TOX / "postgres"
SYSTEM = Path("/")


class Postgres(NamedTuple):
    """A server that can be started.

    Attributes:
        programs: The folder of ``initdb``, ``postgres`` and ``psql``.
        variables: What their environment needs.
    """

    programs: Path
    variables: dict[str, str]


def find_postgres(folder: Path = FOLDER, system: Path = SYSTEM) -> Postgres | None:
    """Find the newest server with pg_trgm: an installed one, or the one that `install` unpacked.

    Args:
        folder: Where `install` unpacked it.
        system: The root of the file system.
    """
    for root in (system, unpacked_in(folder)):
        found = [
            programs
            for programs in root.glob("usr/lib/postgresql/*/bin")
            if (programs / "postgres").is_file()
            and _control_file(root, programs.parent.name).is_file()
        ]
        if found:
            variables = {} if root == system else {"LD_LIBRARY_PATH": library_path(root)}
            return Postgres(max(found, key=lambda each: int(each.parent.name)), variables)
    return None


def _control_file(root: Path, version: str) -> Path:
    return root / "usr/share/postgresql" / version / "extension/pg_trgm.control"


def install(folder: Path = FOLDER, system: Path = SYSTEM) -> str | None:
    """Download and unpack a server, unless there is one.

    Args:
        folder: A folder for the server and all that apt-get writes.
        system: The root of the file system.

    Returns:
        Why this system has none; None if there is one now.

    Raises:
        CalledProcessError: If apt-get knows the package and cannot get it.
    """
    if find_postgres(folder, system):
        return None
    reason = unpack(PACKAGE, folder)
    return f"no PostgreSQL with pg_trgm is installed, and {reason}" if reason else None


if __name__ == "__main__":
    if missing := install():
        sys.exit(missing)
