"""Log rows in columns: what a ledger uses of a row, without an object for each row.

Columns are read from a page at once, and are cut and joined as lists. What is known of the rows,
such as which ones were delivered, does not belong here.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from operator import lt
from typing import Protocol

import msgspec

from rxflow._models.times import Instant


class LogRow(Protocol):
    """The fields of a log row that a ledger uses, of readable and malformed rows alike."""

    @property
    def id(self) -> str: ...
    @property
    def flow_run_id(self) -> str: ...
    @property
    def timestamp(self) -> datetime: ...
    @property
    def created(self) -> datetime: ...


LedgerRow = tuple[Instant, Instant, str, str]
"""A row: its timestamp, created, flow_run_id and id, so that rows sort by time."""


class RowColumns(msgspec.Struct):
    """Rows, as one list for each field of a `LedgerRow`.

    Attributes:
        timestamps: When the rows were logged.
        created: When they were stored.
        runs: The ids of their runs.
        ids: Their ids.
    """

    timestamps: list[datetime]
    created: list[datetime]
    runs: list[str]
    ids: list[str]

    @classmethod
    def of_run(cls, run: str, rows: Sequence[LogRow]) -> "RowColumns":
        """Return the columns of a run's rows, in their order."""
        return cls(
            [row.timestamp for row in rows],
            [row.created for row in rows],
            [run] * len(rows),  # one text, in place of an equal one from each row
            [row.id for row in rows],
        )

    @classmethod
    def sorted(cls, rows: Iterable[LedgerRow]) -> "RowColumns":
        """Return the columns of rows, sorted by time."""
        ordered = sorted(rows)
        return cls(
            [timestamp for timestamp, _, _, _ in ordered],
            [created for _, created, _, _ in ordered],
            [run for _, _, run, _ in ordered],
            [row_id for _, _, _, row_id in ordered],
        )

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[LedgerRow]:
        return zip(self.timestamps, self.created, self.runs, self.ids, strict=True)

    def __getitem__(self, part: slice) -> "RowColumns":
        return RowColumns(
            self.timestamps[part], self.created[part], self.runs[part], self.ids[part]
        )

    @property
    def is_rising(self) -> bool:
        """Whether each row is dated later than the one before it."""
        return all(map(lt, self.timestamps, self.timestamps[1:]))

    def extend(self, rows: "RowColumns") -> None:
        """Append rows."""
        self.timestamps += rows.timestamps
        self.created += rows.created
        self.runs += rows.runs
        self.ids += rows.ids

    def remove(self, part: slice) -> "RowColumns":
        """Remove rows, and return them."""
        removed = self[part]
        del self.timestamps[part], self.created[part], self.runs[part], self.ids[part]
        return removed

    def ids_by_run(self) -> Mapping[str, list[str]]:
        """Return the ids of each run's rows, in their order."""
        if self.runs.count(self.runs[0]) == len(self):
            return {self.runs[0]: self.ids}
        ids: defaultdict[str, list[str]] = defaultdict(list)
        for run, row_id in zip(self.runs, self.ids, strict=True):
            ids[run].append(row_id)
        return ids
