"""Ties on PostgreSQL, whose plan, and with it their order, changes from page to page.

Prefect sorts log rows by their timestamps alone. On SQLite rows of one timestamp happen to keep
their order; here they do not, and reading by offset loses some and repeats others.
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

    from tests.postgres.conftest import NewRow, PostgresLogTable

RUN = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"
OTHERS = (
    "1b0b3d5e-60c5-4d0a-9c55-3a4c1d6a9d01",
    "2c1c4e6f-71d6-4e1b-8d66-4b5d2e7bae12",
    "3d2d5f70-82e7-4f2c-9e77-5c6e3f8cbf23",
)
START = datetime(2026, 11, 22, 12, tzinfo=UTC)
STORED = START + timedelta(hours=1)
"""When the rows were stored that are there before a test reads them."""

MICROSECOND = timedelta(microseconds=1)

ROWS = 10_000
ROWS_WRITTEN, BATCH = 540, 9
"""Rows that are written while a test reads, and how many of them at once."""

LAYOUTS = [(2_000, 2), (2_000, 2_000), (ROWS, 5), (ROWS, ROWS)]
"""Rows of a run, and how many of them have each timestamp."""


def rows_of(run: str, count: int, ties: int) -> list[NewRow]:
    """Return rows of a run, `ties` of them with each timestamp, stored one after the other."""
    step = timedelta(milliseconds=10)
    # The first timestamp has fewer rows, so that pages end within ties.
    places = (
        (number, (number + ties // 2) // ties if ties < count else 0) for number in range(count)
    )
    return [(run, START + step * place, STORED + MICROSECOND * number) for number, place in places]


def fill(table: PostgresLogTable, count: int, ties: int) -> None:
    """Store a run's rows among those of others, in random physical order."""
    rows = [row for run in (RUN, *OTHERS) for row in rows_of(run, count, ties)]
    Random(1).shuffle(rows)
    table.fill(rows)
    table.now = STORED + timedelta(hours=1)


def follow(table: PostgresLogTable, cursor: LogCursor, write: Callable[[], bool]) -> Counter[str]:
    """Poll until a poll is proven during which no row was written.

    Args:
        table: The table.
        cursor: The cursor.
        write: Called after each page; stores rows, if more are to be written, and returns whether.

    Returns:
        How often each id was delivered.
    """
    delivered: Counter[str] = Counter()
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
        delivered.update(row.id for row in read.rows)
        proven = read.proven
    return delivered


def read_by_offset(table: PostgresLogTable) -> Counter[str]:
    """Read page after page by offset, as `prefect flow-run logs` does, and count each id."""
    read: Counter[str] = Counter()
    while True:
        page = table.send(LogsQuery(flow_run_ids=(RUN,), offset=read.total()))
        read.update(row.id for row in page.rows)
        if page.count < PAGE_LIMIT:
            return read


class Writer:
    """Stores rows while a test reads, dated at any time of the run.

    Args:
        table: The table.
        one_timestamp: Whether all its rows have the timestamp of the run's first row.
    """

    def __init__(self, table: PostgresLogTable, *, one_timestamp: bool) -> None:
        self._table = table
        self._spans = [0.0] if one_timestamp else [0.0, 25.0]
        self._random = Random(2)
        self._batches = ROWS_WRITTEN // BATCH

    def __call__(self) -> bool:
        """Store a batch; return False if none was left."""
        if not self._batches:
            return False
        self._batches -= 1
        assert self._table.now is not None
        self._table.now = now = self._table.now + timedelta(seconds=1)
        span = self._random.choice(self._spans)
        times = [START + timedelta(seconds=self._random.uniform(0, span)) for _ in range(BATCH)]
        self._table.insert((RUN, time, now + MICROSECOND * i) for i, time in enumerate(times))
        return True


@pytest.mark.parametrize("random_plans", [False, True], ids=["own-plans", "random-plans"])
@pytest.mark.parametrize("ties", [5, ROWS])
def test_the_cursor_delivers_each_row_once(
    log_table: PostgresLogTable, ties: int, *, random_plans: bool
) -> None:
    """Of 10,000 rows in ties, and of rows that arrive meanwhile, none is lost or repeated."""
    fill(log_table, ROWS, ties)
    log_table.random = Random(3) if random_plans else None
    writer = Writer(log_table, one_timestamp=ties == ROWS)
    delivered = follow(log_table, LogCursor(RUN), writer)
    assert delivered == Counter(log_table.ids(RUN))
    assert delivered.total() == ROWS + ROWS_WRITTEN


def test_reading_by_offset_loses_rows_and_repeats_others(log_table: PostgresLogTable) -> None:
    """Without any writes, the rows that a page skips are not the rows of the pages before it."""
    lost = repeated = 0
    for layout in LAYOUTS:
        fill(log_table, *layout)
        read = read_by_offset(log_table)
        lost += len(set(log_table.ids(RUN)) - set(read))
        repeated += sum(times - 1 for times in read.values())
    assert lost > 0
    assert repeated > 0
