"""The database of a Prefect server under test, SQLite or PostgreSQL, and a reader of its rows.

What rxflow emits is compared with these rows, never with another response of the same API.
"""

import os
import sqlite3
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager

from postgres_cluster import PostgresCluster, rows_of

from rxflow.cli._prefect_server import PrefectServer

ON_POSTGRES = "RXFLOW_TEST_ON_POSTGRES"
"""The variable that is set where servers under test have PostgreSQL."""

_URL = "PREFECT_SERVER_DATABASE_CONNECTION_URL"


@contextmanager
def started_server(settings: Mapping[str, str] | None = None) -> Iterator[PrefectServer]:
    """Run a Prefect server on a database of the kind that is to be tested."""
    if ON_POSTGRES not in os.environ:
        with PrefectServer(settings=settings) as server:
            yield server
        return
    with (
        PostgresCluster() as cluster,
        PrefectServer(settings={**(settings or {}), _URL: cluster.url}) as server,
    ):
        yield server


class DatabaseReader:
    """Reads a server's database, without the server.

    Args:
        server: A server that was started.
    """

    def __init__(self, server: PrefectServer) -> None:
        self._postgres = server.environment.get(_URL)
        self._sqlite = f"{server.database.as_uri()}?mode=ro"

    def log_ids(self, flow_run_id: str) -> list[str]:
        """List the ids of a run's log rows, by insertion."""
        return self._ids("log", flow_run_id)

    def state_ids(self, flow_run_id: str) -> list[str]:
        """List the ids of a run's states, by insertion."""
        return self._ids("flow_run_state", flow_run_id)

    def task_run_ids(self, flow_run_id: str) -> list[str]:
        """List the ids of a run's task runs, by insertion."""
        return self._ids("task_run", flow_run_id)

    def task_run_state_ids(self, flow_run_id: str) -> list[tuple[str, str]]:
        """List the (task run id, state id) of each state of a run's task runs, by insertion."""
        select = """
            SELECT task_run_id, state.id FROM task_run_state AS state
            JOIN task_run ON task_run.id = task_run_id
            WHERE flow_run_id = '{run}' ORDER BY state.{inserted}
        """
        return [(task_run, state) for task_run, state in self._rows(select, flow_run_id)]

    def _ids(self, table: str, flow_run_id: str) -> list[str]:
        select = "SELECT id FROM {table} WHERE flow_run_id = '{run}' ORDER BY {inserted}"
        return [found for (found,) in self._rows(select, flow_run_id, table=table)]

    def _rows(self, select: str, flow_run_id: str, **names: str) -> list[tuple[str, ...]]:
        """Return rows of ids, which are text with dashes in both databases."""
        run = str(uuid.UUID(flow_run_id))
        if self._postgres is not None:
            return rows_of(self._postgres, select.format(run=run, inserted="created", **names))
        with closing(sqlite3.connect(self._sqlite, uri=True)) as database:
            rows = database.execute(select.format(run=run, inserted="rowid", **names)).fetchall()
        return [tuple(str(uuid.UUID(each)) for each in row) for row in rows]
