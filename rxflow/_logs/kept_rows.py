"""The delivered rows that a ledger knows by their ids: those above the floor, and stragglers.

Which rows these are is up to the ledger; here they are stored, and their ids looked up.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from datetime import datetime
from heapq import heappop, heappush

from rxflow._logs.row_columns import LedgerRow, RowColumns
from rxflow._models.times import Instant

Straggler = tuple[Instant, str]
"""A row below the floor: its created and id."""


class RowsAboveFloor:
    """Delivered rows that are not older than the floor, sorted by time.

    Most rows arrive in order, and leave in the same order below the floor. In a history that is
    read page by page none of their ids is looked up, so ids are entered into a set only when one
    is: that saves 0.2 microseconds a line.
    """

    def __init__(self, rows: Iterable[LedgerRow] = ()) -> None:
        """Sort some rows."""
        self._columns = RowColumns.sorted(rows)
        self._ids: set[str] = set()
        self._entered = 0  # so many rows, from the first on, have their ids in the set

    def __len__(self) -> int:
        return len(self._columns)

    def __iter__(self) -> Iterator[LedgerRow]:
        return iter(self._columns)

    @property
    def ids(self) -> AbstractSet[str]:
        """The rows' ids."""
        self._enter_ids()
        return self._ids

    def count_later_than(self, time: datetime) -> int:
        """Return how many rows are dated later than a time."""
        return len(self._columns) - bisect_right(self._columns.timestamps, time)

    def add(self, rows: RowColumns) -> None:
        """Add rows, which are sorted."""
        if not rows:
            return
        columns = self._columns
        at = bisect_left(columns.timestamps, rows.timestamps[0])
        if at < len(columns):
            self._enter_ids()
            self._ids.update(rows.ids)
            self._entered += len(rows)
            rows = RowColumns.sorted([*columns.remove(slice(at, None)), *rows])
        columns.extend(rows)

    def remove(self, ids: AbstractSet[str]) -> None:
        """Remove the rows of some ids."""
        self._keep(row for row in self if row[3] not in ids)

    def remove_run(self, flow_run_id: str) -> list[LedgerRow]:
        """Remove a run's rows, and return them."""
        removed = [row for row in self if row[2] == flow_run_id]
        self._keep(row for row in self if row[2] != flow_run_id)
        return removed

    def remove_below(self, floor: datetime) -> RowColumns:
        """Remove the rows that are older than a new floor, and return them."""
        passed = self._columns.remove(slice(bisect_left(self._columns.timestamps, floor)))
        entered = min(self._entered, len(passed))
        self._ids.difference_update(passed.ids[:entered])
        self._entered -= entered
        return passed

    def _enter_ids(self) -> None:
        self._ids.update(self._columns.ids[self._entered :])
        self._entered = len(self._columns)

    def _keep(self, rows: Iterable[LedgerRow]) -> None:
        self._columns = RowColumns.sorted(rows)
        self._ids.clear()
        self._entered = 0


class Stragglers:
    """Delivered rows below the floor that were stored recently.

    Attributes:
        ids: The rows' ids.
    """

    def __init__(self, rows: Iterable[Straggler] = ()) -> None:
        """Start with some rows."""
        self._heap = sorted(rows)
        self.ids = {row_id for _, row_id in self._heap}

    def __iter__(self) -> Iterator[Straggler]:
        return iter(sorted(self._heap))

    def add(self, rows: Iterable[Straggler]) -> None:
        """Add rows."""
        for row in rows:
            heappush(self._heap, row)
            self.ids.add(row[1])

    def remove_before(self, horizon: datetime) -> None:
        """Remove the rows that were stored before a time."""
        while self._heap and self._heap[0][0] < horizon:
            self.ids.discard(heappop(self._heap)[1])
