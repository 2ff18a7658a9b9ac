"""A list of runs, read from the server, and the forms in which it is written."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from rxflow._runtime.clocks import real_now
from rxflow._views.flow_lookups import read_flow_names
from rxflow._views.flow_run_search import read_due
from rxflow._views.newest_runs import read_newest
from rxflow.cli._run_table import RUN_TITLES, aligned, narrowed, run_columns

if TYPE_CHECKING:
    from rxflow import Client
    from rxflow._protocol.queries import RunFilter

__all__ = ["RunList"]


class RunList:
    """The newest runs that match a filter."""

    def __init__(
        self,
        client: "Client",
        where: "RunFilter",
        most: int,
        *,
        upcoming: bool = False,
        children: bool = True,
    ) -> None:
        """Read the runs.

        Args:
            client: The client of the server.
            where: The filter.
            most: The most runs.
            upcoming: Whether runs that are scheduled for later are listed, too.
            children: Whether subflows are.

        Raises:
            RxflowError: The server cannot be read from, or cannot filter so.
        """
        where = replace(where, top_level=not children)
        read = read_newest if upcoming else read_due
        self._client = client
        self.rows = client.read(lambda rows: read(where, rows, most)).rows

    def ids(self) -> Iterator[str]:
        """Yield the ids."""
        return (run.id for run in self.rows)

    def json_lines(self) -> Iterator[str]:
        """Yield the row of each run as JSON."""
        return (msgspec.json.encode(run).decode() for run in self.rows)

    def columns(self) -> list[tuple[str, ...]]:
        """Return the columns of each run, with the names of the flows, which are read now."""
        ids = [run.flow_id for run in self.rows if run.flow_id is not None]
        names = self._client.read(lambda rows: read_flow_names(ids, rows))
        now = real_now().utc
        return [run_columns(run, names, now) for run in self.rows]

    def table(self, width: int | None) -> Iterator[str]:
        """Yield the lines of a table.

        Args:
            width: The width of the terminal, which gets a line of titles, and lines that fit; None
                for the whole texts alone.
        """
        rows = self.columns()
        if width is None or not rows:
            return aligned(rows)
        return aligned(narrowed([RUN_TITLES, *rows], width))
