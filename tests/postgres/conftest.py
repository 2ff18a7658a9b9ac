"""A temporary PostgreSQL server with the table in which Prefect stores log rows.

`pgserver` brings the server along. It runs in a temporary directory, on a Unix socket there, also
as root. A test that needs a type of this file imports it under ``TYPE_CHECKING`` only.
"""

import importlib
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

import psutil
import psycopg
import pytest

from rxflow._protocol.pages import Page
from rxflow._protocol.queries import LogsQuery
from rxflow.events import FlowRunLog

# As the migrations of Prefect 3.8.8 create it on PostgreSQL, with their names.
TABLE = """
CREATE TABLE log (
    name VARCHAR NOT NULL,
    level SMALLINT NOT NULL,
    flow_run_id UUID,
    task_run_id UUID,
    message TEXT NOT NULL,
    timestamp TIMESTAMP WITH TIME ZONE NOT NULL,
    id UUID DEFAULT (GEN_RANDOM_UUID()) NOT NULL,
    created TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_log PRIMARY KEY (id)
);
CREATE INDEX ix_log__flow_run_id ON log (flow_run_id);
CREATE INDEX ix_log__flow_run_id_timestamp ON log (flow_run_id, timestamp);
CREATE INDEX ix_log__level ON log (level);
CREATE INDEX ix_log__task_run_id ON log (task_run_id);
CREATE INDEX ix_log__timestamp ON log (timestamp);
CREATE INDEX ix_log__updated ON log (updated);
"""

# As its API reads it with any filter: ordered by timestamp, and by nothing else.
SELECT = """
SELECT log.name, log.level, log.flow_run_id, log.task_run_id, log.message, log.timestamp, log.id,
    log.created, log.updated
FROM log WHERE {where} ORDER BY log.timestamp {order} LIMIT %s OFFSET %s
"""


NewRow = tuple[str, datetime, datetime]
"""A log row to be stored: its run, its timestamp, and when the server stored it."""


MESSAGE = "A line as flows write them: with wider rows the planner changes its plan sooner."

SCANS = ("indexscan", "bitmapscan", "seqscan")


class PostgresLogTable:
    """Prefect's table of log rows, read as Prefect's API reads it.

    Args:
        database: A connection, which commits each statement.
    """

    def __init__(self, database: "psycopg.Connection[Any]") -> None:
        self._database = database
        self.now: datetime | None = None
        """The server's time, which each page has."""
        self.random: Random | None = None
        """Draws which scans the planner may use, anew for each page; None allows all."""

    def fill(self, rows: Iterable[NewRow]) -> None:
        """Replace all rows, in the given physical order."""
        self._database.execute(b"TRUNCATE log")
        self.insert(rows)
        self._database.execute(b"ANALYZE log")

    def insert(self, rows: Iterable[NewRow]) -> None:
        """Store rows, in one transaction."""
        columns = "name, level, flow_run_id, message, timestamp, id, created, updated"
        copy_in = f"COPY log ({columns}) FROM STDIN".encode()
        with self._database.cursor() as cursor, cursor.copy(copy_in) as copy:
            for run, timestamp, created in rows:
                row_id = str(uuid.uuid4())
                copy.write_row(("tests", 20, run, MESSAGE, timestamp, row_id, created, created))

    def ids(self, flow_run_id: str) -> list[str]:
        """List the ids of a run's rows."""
        select = b"SELECT id FROM log WHERE flow_run_id = %s"
        return [str(row_id) for (row_id,) in self._database.execute(select, [flow_run_id])]

    def send(self, query: LogsQuery) -> Page[FlowRunLog]:
        """Return the page for a query."""
        where, values = self._where(query)
        order = "DESC" if query.descending else "ASC"
        if self.random is not None:
            for scan in SCANS:
                on = self.random.choice(["on", "off"])
                self._database.execute(f"SET enable_{scan} = {on}".encode())
        select = SELECT.format(where=where, order=order).encode()
        rows = self._database.execute(select, [*values, query.limit, query.offset])
        return Page(tuple(_log(row) for row in rows), self.now)

    def _where(self, query: LogsQuery) -> tuple[str, Sequence[object]]:
        runs = ", ".join(["%s"] * len(query.flow_run_ids))
        terms = {
            "log.level >= %s": query.level or None,
            "log.timestamp <= %s": query.before,
            "log.timestamp >= %s": query.after,
        }
        used = {term: value for term, value in terms.items() if value is not None}
        where = " AND ".join([*used, f"log.flow_run_id IN ({runs})"])
        return where, [*used.values(), *map(uuid.UUID, query.flow_run_ids)]


def _log(row: Sequence[Any]) -> FlowRunLog:
    name, level, run, task_run, message, timestamp, row_id, created, _ = row
    return FlowRunLog(
        flow_run_id=str(run),
        id=str(row_id),
        timestamp=timestamp,
        created=created,
        level=level,
        name=name,
        message=message,
        task_run_id=None if task_run is None else str(task_run),
    )


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Yield the URI of the session's server, and leave no process and no file behind."""
    with tempfile.TemporaryDirectory(prefix="rxflow-") as home, pytest.MonkeyPatch.context() as env:
        # pgserver keeps its lock there. It looks for the folder on import, and warns where the
        # user's session has none.
        env.setenv("XDG_RUNTIME_DIR", home)
        pgserver: Any = importlib.import_module("pgserver")
        server = pgserver.get_server(Path(home) / "db", cleanup_mode="stop")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()
        # It is no child of this process, so the check after each test does not see it.
        assert not [line for line in _command_lines() if home in line]


def _command_lines() -> Iterator[str]:
    for process in psutil.process_iter(["cmdline"]):
        yield " ".join(process.info["cmdline"] or ())


@pytest.fixture
def log_table(postgres: str) -> Iterator[PostgresLogTable]:
    """Yield the table, without rows."""
    # Prefect's connections prepare their statements, and PostgreSQL plans each of the first five
    # executions for its own offset. A pool has many connections, so here every page is planned.
    with psycopg.connect(postgres, autocommit=True, prepare_threshold=None) as database:
        database.execute(b"DROP TABLE IF EXISTS log")
        database.execute(TABLE.encode())
        yield PostgresLogTable(database)
