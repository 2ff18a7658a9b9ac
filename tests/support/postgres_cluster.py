"""A PostgreSQL server of its own, in a temporary directory, for a Prefect server under test.

It listens on a Unix socket in that directory alone, and ends with the process that started it, even
if that is killed. PostgreSQL refuses to run as root: root runs it as another user.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from install_postgres import Postgres, find_postgres

from rxflow.cli import _prefect_server

START_LIMIT = 120
"""Seconds until it must have started; it takes 1 to 2 on an idle machine."""

STOP_LIMIT = 30
"""Seconds after which it is killed."""

NOT_ROOT = 65534  # the user and the group of Linux that own no file

# A power failure is not tested: what is not forced to the disk is visible all the same.
_OPTIONS = ("listen_addresses=", "fsync=off", "dynamic_shared_memory_type=mmap")


class PostgresCluster:
    """Runs while the ``with`` block lasts, with a database that has the extension pg_trgm.

    Attributes:
        url: The database, for SQLAlchemy with asyncpg.
    """

    url: str

    def __enter__(self) -> Self:
        found = find_postgres()
        assert found, "no PostgreSQL; run python tests/tools/install_postgres.py"
        with ExitStack() as cleanup:
            home = Path(tempfile.mkdtemp(prefix="rxflow-pg-"))
            cleanup.callback(shutil.rmtree, home, ignore_errors=True)
            read_end, write_end = os.pipe()
            cleanup.callback(os.close, read_end)
            cleanup.callback(os.close, write_end)
            if os.geteuid() == 0:
                shutil.chown(home, NOT_ROOT)
            self._log = home / "log"
            child = [_prefect_server.CHILD_SCRIPT, home, Path(__file__), found.programs, home]
            with self._log.open("ab") as log:
                process = subprocess.Popen(
                    [sys.executable, "-P", *map(str, child)],
                    env={**_environment(found), "PYTHONPATH": os.pathsep.join(sys.path)},
                    stdin=read_end,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            cleanup.callback(_stop, process, home)
            self.url = f"postgresql+asyncpg://postgres@/prefect?host={home}"
            self._create_database(found, process, home)
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._cleanup.close()

    def _create_database(
        self, found: Postgres, process: subprocess.Popen[bytes], home: Path
    ) -> None:
        deadline = time.monotonic() + START_LIMIT
        server = f"postgresql://postgres@/postgres?host={home}"
        while not _psql(found, server, "CREATE DATABASE prefect"):
            assert process.poll() is None, self._log.read_text("utf-8")
            assert time.monotonic() < deadline, self._log.read_text("utf-8")
            threading.Event().wait(0.1)
        assert _psql(found, _libpq_url(self.url), "CREATE EXTENSION pg_trgm")


def rows_of(url: str, select: str) -> list[tuple[str, ...]]:
    """Return the rows of a query, each value as text.

    Args:
        url: The database, as in `PostgresCluster.url`.
        select: The query.
    """
    found = find_postgres()
    assert found
    shown = subprocess.run(
        [found.programs / "psql", "--no-psqlrc", "-At", "-F", "\t", "-c", select, _libpq_url(url)],
        env=_environment(found),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [tuple(line.split("\t")) for line in shown.stdout.splitlines()]


def _psql(found: Postgres, url: str, statement: str) -> bool:
    done = subprocess.run(
        [found.programs / "psql", "--no-psqlrc", "--quiet", "-c", statement, url],
        env=_environment(found),
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


def _libpq_url(url: str) -> str:
    return url.replace("+asyncpg", "", 1)


def _environment(found: Postgres) -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC", **found.variables}


def _stop(process: subprocess.Popen[bytes], home: Path) -> None:
    with suppress(OSError, ValueError, IndexError):
        postmaster = int((home / "data/postmaster.pid").read_text("ascii").split()[0])
        os.kill(postmaster, signal.SIGINT)  # a fast shutdown, which waits for no client
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_LIMIT)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run(programs: Path, home: Path) -> int:
    """Create a cluster and run its server, as a child of this process."""
    user: dict[str, Any] = {}
    if os.geteuid() == 0:
        user = {"user": NOT_ROOT, "group": NOT_ROOT, "extra_groups": []}
    data = home / "data"
    create = ("-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
    subprocess.run([programs / "initdb", "-D", data, *create], cwd=home, check=True, **user)
    options = [part for option in _OPTIONS for part in ("-c", option)]
    command: list[str | Path] = [programs / "postgres", "-D", data, "-k", home, *options]
    return subprocess.run(command, cwd=home, check=False, **user).returncode


if __name__ == "__main__":
    sys.exit(run(*map(Path, sys.argv[1:])))
