"""Equal timestamps on PostgreSQL, whose plan, and with it the order among them, changes by page.

Prefect sorts log rows by their timestamps alone. On SQLite rows of one timestamp happen to stay in
their order; here they do not, and a reader that goes by offsets loses some and gets others twice.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING

import pytest

from rxflow._logs.cursor import LogCursor
from rxflow._logs.log_read import LogRead
from rxflow._protocol.queries import PAGE_LIMIT, LogsQuery

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.postgres.conftest import LogTable, NewRow

RUN = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"
OTHERS = (
    "1b0b3d5e-60c5-4d0a-9c55-3a4c1d6a9d01",
    "2c1c4e6f-71d6-4e1b-8d66-4b5d2e7bae12",
    "3d2d5f70-82e7-4f2c-9e77-5c6e3f8cbf23",
)
START = datetime(2026, 11, 22, 12, tzinfo=UTC)
STORED = START + timedelta(hours=1)
"""When the rows were stored that are there before a test reads."""

MICROSECOND = timedelta(microseconds=1)

ROWS = 10_000
WRITTEN, BATCH = 540, 9
"""Rows that are written while a test reads, and how many of them at once."""

LAYOUTS = [(2_000, 2), (2_000, 2_000), (ROWS, 5), (ROWS, ROWS)]
"""Rows of a run, and how many of them are at each timestamp."""


def rows_of(run: str, count: int, ties: int) -> list[NewRow]:
    """A run's rows, so many of them at each timestamp, stored one after the other."""
    step = timedelta(milliseconds=10)
    # The first timestamp has fewer, so that the ends of pages fall between rows of one.
    places = (
        (number, (number + ties // 2) // ties if ties < count else 0) for number in range(count)
    )
    return [(run, START + step * place, STORED + MICROSECOND * number) for number, place in places]


def fill(table: LogTable, count: int, ties: int) -> None:
    """Store a run's rows among those of others, in any physical order."""
    rows = [row for run in (RUN, *OTHERS) for row in rows_of(run, count, ties)]
    Random(1).shuffle(rows)
    table.fill(rows)
    table.now = STORED + timedelta(hours=1)


def follow(table: LogTable, cursor: LogCursor, write: Callable[[], bool]) -> Counter[str]:
    """Poll until a poll proves its count in which nothing was written; how often each id was told.

    Args:
        table: What is read.
        cursor: What reads.
        write: Is called after each page: stores rows, if there are more to come, and says so.
    """
    told: Counter[str] = Counter()
    quiet = proven = False
    while not (quiet and proven):
        quiet = True
        poll = cursor.poll(PAGE_LIMIT)
        query = next(poll)
        read: LogRead | None = None
        while read is None:
            assert isinstance(query, LogsQuery)
            page = table.send(query)
            quiet &= not write()
            try:
                query = poll.send(page)
            except StopIteration as end:
                read = end.value
        cursor.commit(read)
        told.update(row.id for row in read.rows)
        proven = read.proven
    return told


def by_offset(table: LogTable) -> Counter[str]:
    """Read the pages one after the other, as `prefect flow-run logs` does."""
    told: Counter[str] = Counter()
    while True:
        page = table.send(LogsQuery(flow_run_ids=(RUN,), offset=told.total()))
        told.update(row.id for row in page.rows)
        if page.count < PAGE_LIMIT:
            return told


class Writer:
    """Stores rows while somebody reads: at any time of the run's, and at its end.

    Args:
        table: Where to.
        one_timestamp: Whether all its rows have that of the run's first.
    """

    def __init__(self, table: LogTable, *, one_timestamp: bool) -> None:
        self._table = table
        self._spans = [0.0] if one_timestamp else [0.0, 25.0]
        self._random = Random(2)
        self._batches = WRITTEN // BATCH

    def __call__(self) -> bool:
        """Store some; whether there were any left."""
        if not self._batches:
            return False
        self._batches -= 1
        assert self._table.now is not None
        self._table.now = now = self._table.now + timedelta(seconds=1)
        span = self._random.choice(self._spans)
        times = [START + timedelta(seconds=self._random.uniform(0, span)) for _ in range(BATCH)]
        self._table.insert((RUN, time, now + MICROSECOND * i) for i, time in enumerate(times))
        return True


@pytest.mark.parametrize("by_chance", [False, True], ids=["own-plans", "plans-by-chance"])
@pytest.mark.parametrize("ties", [5, ROWS])
def test_the_cursor_tells_each_row_once(log_table: LogTable, ties: int, *, by_chance: bool) -> None:
    """Of 10,000 rows in ties, and of those that come in meanwhile, none is lost or told twice."""
    fill(log_table, ROWS, ties)
    log_table.random = Random(3) if by_chance else None
    writer = Writer(log_table, one_timestamp=ties == ROWS)
    told = follow(log_table, LogCursor(RUN), writer)
    assert told == Counter(log_table.ids(RUN))
    assert told.total() == ROWS + WRITTEN


def test_reading_by_offset_loses_rows_and_tells_others_twice(log_table: LogTable) -> None:
    """The trap is real: nobody writes, and yet what a page skips is not what others have told."""
    lost = repeated = 0
    for layout in LAYOUTS:
        fill(log_table, *layout)
        told = by_offset(log_table)
        lost += len(set(log_table.ids(RUN)) - set(told))
        repeated += sum(times - 1 for times in told.values())
    assert lost > 0
    assert repeated > 0
