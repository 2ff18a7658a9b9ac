"""The table reader: pages, scans, ties in any order, counts, and the rows that were found."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_world import START, exchange

from rxflow import FlowRunLog
from rxflow._logs.ledger import Ledger
from rxflow._logs.table_reader import LogTable, LogTableRow, Span, TableReader, TableShrank
from rxflow._protocol.pages import MalformedRow, Page, Poll
from rxflow._protocol.queries import LogsQuery
from rxflow.testing import FakePrefect3, Faults

RUN, OTHER = "0f0e0d0c-0b0a-4908-8706-050403020100", "00010203-0405-4607-8809-0a0b0c0d0e0f"
RUNS = (RUN, OTHER)
EVERYTHING = Span(RUNS)


def second(number: float) -> datetime:
    """Return the time some seconds after the start."""
    return START + timedelta(seconds=number)


class FakeTable:
    """The log table of a fake server, a reader of it, and the queries that the reader sent."""

    def __init__(
        self,
        *,
        limit: int = 200,
        seed: int | None = None,
        level: int = 0,
        since: datetime | None = None,
        offsets_supported: bool = True,
    ) -> None:
        """Start without log rows; with a seed, pages have ties in random order."""
        random = None if seed is None else Random(seed)
        faults = Faults(ties=random is not None)
        self.server = FakePrefect3(clock=lambda: second(1000), random=random, faults=faults)
        for run in RUNS:
            self.server.add_run(id=run, state=None)
        self.ledger = Ledger(RUNS)
        self.reader = TableReader(LogTable(level, since, offsets_supported), self.ledger, limit)
        self.sent: list[LogsQuery] = []
        self.reply: Callable[[LogsQuery], object] = partial(exchange, self.server)

    def log(self, at: float, *, run: str = RUN, level: int = 20) -> str:
        """Store a row."""
        return self.server.log(run, timestamp=second(at), created=second(at), level=level)

    def spoil(self) -> None:
        """Make the row that was stored last malformed."""
        self.server.logs[-1]["message"] = None

    def stored(self, span: Span = EVERYTHING) -> list[str]:
        """Return the ids of the rows of a span, oldest first."""
        return [
            row["id"]
            for row in sorted(self.server.logs, key=lambda row: row["timestamp"])
            if row["flow_run_id"] in span.runs
            and (span.after is None or row["timestamp"] >= span.after)
            and (span.before is None or row["timestamp"] <= span.before)
        ]

    def pages(self, poll: Poll[Any]) -> Iterator[Page[Any]]:
        """Carry out a poll page by page, and keep what it returns in `result`."""
        try:
            query = next(poll)
            while True:
                assert isinstance(query, LogsQuery)
                self.sent.append(query)
                page = self.reply(query)
                assert isinstance(page, Page), page
                yield page
                query = poll.send(page)
        except StopIteration as end:
            self.result: Any = end.value

    def run(self, poll: Poll[Any]) -> Any:
        """Carry out a poll, and return what it returns."""
        self.sent = []
        for _ in self.pages(poll):
            pass
        return self.result

    def page(self, **options: Any) -> list[LogTableRow]:
        """Read a page of everything."""
        rows: list[LogTableRow] = self.run(self.reader.page(EVERYTHING, **options))
        return rows

    def scan(self, span: Span = EVERYTHING) -> dict[str, LogTableRow]:
        """Scan a span."""
        read: dict[str, LogTableRow] = self.run(self.reader.scan(span))
        return read

    def read_tie(self, at: float) -> dict[str, LogTableRow]:
        """Read the rows of one timestamp."""
        read: dict[str, LogTableRow] = self.run(self.reader.read_tie(RUNS, second(at)))
        return read

    def has_gap(self, delivered: int, span: Span = EVERYTHING) -> bool:
        """Count a span."""
        gap: bool = self.run(self.reader.has_gap(span, delivered))
        return gap


# -- a page -------------------------------------------------------------------------------------


def test_a_page_is_queried_within_the_table_s_bounds() -> None:
    """A query has the span's runs and times, the table's level, and no time before `since`."""
    table = FakeTable(level=30, since=second(5))
    spans = {
        Span((RUN,)): (second(5), None),
        Span((RUN,), second(3), second(9)): (second(5), second(9)),
        Span(RUNS, second(7)): (second(7), None),
    }
    for span, (after, before) in spans.items():
        table.run(table.reader.page(span, limit=7, offset=3, descending=True))
        assert table.sent == [
            LogsQuery(
                flow_run_ids=span.runs,
                after=after,
                before=before,
                level=30,
                descending=True,
                offset=3,
                limit=7,
            )
        ]


def test_a_reader_keeps_the_last_server_time() -> None:
    """The reader knows the server's time at its last reply that had one."""
    table = FakeTable()
    assert table.reader.server_time is None
    table.page()
    assert table.reader.server_time == second(1000)
    poll = table.reader.page(EVERYTHING)
    next(poll)
    with pytest.raises(StopIteration):
        poll.send(Page((), None))
    assert table.reader.server_time == second(1000)


@pytest.mark.parametrize("descending", [False, True], ids=["oldest first", "newest first"])
@pytest.mark.parametrize("bad", range(5))
def test_a_malformed_row_is_sorted_among_the_others(bad: int, descending: bool) -> None:
    """A malformed row stands among the others by its time, in either order."""
    table = FakeTable()
    for number in range(5):
        table.log(number)
        if number == bad:
            table.spoil()
    rows = table.page(descending=descending)
    expected = table.stored()
    assert [row.id for row in rows] == (expected[::-1] if descending else expected)
    kinds = [MalformedRow if row.id == expected[bad] else FlowRunLog for row in rows]
    assert [type(row) for row in rows] == kinds


def test_rows_of_other_runs_are_malformed_rows_of_the_run_that_was_read() -> None:
    """What the server counts among a run's rows is counted as such, and is no line of the run."""
    table = FakeTable()
    own, foreign = table.log(1, run=RUN), table.log(2, run=OTHER)
    page = exchange(table.server, LogsQuery(flow_run_ids=RUNS))
    assert isinstance(page, Page)
    nowhere = MalformedRow("nowhere", "no run", timestamp=second(3))
    table.reply = lambda _: Page(page.rows, malformed=(nowhere,))
    rows = table.run(table.reader.page(Span((RUN,))))
    assert [(row.id, type(row), row.flow_run_id) for row in rows] == [
        (own, FlowRunLog, RUN),
        (foreign, MalformedRow, RUN),
        ("nowhere", MalformedRow, RUN),
    ]
    assert OTHER in rows[1].reason


# -- a scan -------------------------------------------------------------------------------------

SPANS = {
    "all": EVERYTHING,
    "one run": Span((RUN,)),
    "from a time on": Span(RUNS, second(4)),
    "up to a time": Span(RUNS, None, second(6)),
    "both ends": Span((OTHER,), second(2), second(7)),
    "one instant": Span(RUNS, second(3), second(3)),
    "nothing": Span((RUN,), second(50)),
}


@pytest.mark.parametrize("span", SPANS.values(), ids=SPANS)
@pytest.mark.parametrize("limit", [1, 2, 3, 20, 200])
def test_a_scan_reads_all_rows_of_a_span(span: Span, limit: int) -> None:
    """With any page limit a scan reads each row of the span, both ends included, and no other."""
    table = FakeTable(limit=limit, seed=limit)
    for number in range(20):
        table.log(number // 2, run=RUNS[number % 3 == 0])
    read = table.scan(span)
    assert sorted(read) == sorted(table.stored(span))
    assert all(read[row_id].id == row_id for row_id in read)


def test_a_scan_reads_from_the_newest_row_to_the_oldest() -> None:
    """Rows are read newest first, and each page starts where the one before ended."""
    table = FakeTable(limit=3)
    for number in range(7):
        table.log(number)
    read = table.scan()
    assert list(read) == table.stored()[::-1]
    assert [(query.before, query.offset) for query in table.sent] == [
        (None, 0),
        (second(4), 0),
        (second(2), 0),
        (second(0), 0),
    ]
    assert all(query.descending for query in table.sent)


def test_a_scan_does_not_add_its_rows() -> None:
    """The rows of a scan are not among the found rows; its caller compares them first."""
    table = FakeTable()
    table.log(1)
    table.scan()
    assert table.reader.rows == {}


def test_a_scan_keeps_to_the_table_s_bounds() -> None:
    """Rows below the table's level, or before its first time, are not read."""
    table = FakeTable(level=30, since=second(5))
    table.log(1, level=40)
    table.log(6, level=20)
    wanted = table.log(7, level=30)
    assert list(table.scan()) == [wanted]


@given(
    times=st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.booleans()), max_size=40),
    limit=st.integers(1, 9),
    seed=st.integers(),
)
def test_a_scan_reads_each_row_of_any_ties(
    times: list[tuple[int, bool, bool]], limit: int, seed: int
) -> None:
    """With many rows of one timestamp, in random order each time, some malformed, none is lost."""
    table = FakeTable(limit=limit, seed=seed)
    for at, of_other, malformed in times:
        table.log(at, run=OTHER if of_other else RUN)
        if malformed:
            table.spoil()
    read = table.scan()
    assert sorted(read) == sorted(table.stored())
    bad = {row["id"] for row in table.server.logs if row["message"] is None}
    assert {row.id for row in read.values() if isinstance(row, MalformedRow)} == bad


# -- a tie --------------------------------------------------------------------------------------

MAX_TIE_REQUESTS = 200
"""Budget of a tie that is never complete."""


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize(
    ("rows", "limit"), [(35, 10), (10, 10), (21, 20), (7, 200), (0, 5), (4, 1)]
)
def test_a_tie_is_read_completely(rows: int, limit: int, seed: int) -> None:
    """Rows of one timestamp in random order are read until as many are read as were counted."""
    table = FakeTable(limit=limit, seed=seed)
    for number in range(rows):
        table.log(5, run=RUNS[number % 2])
    table.log(4.999999)
    table.log(5.000001)
    at_five = Span(RUNS, second(5), second(5))
    assert sorted(table.read_tie(5)) == sorted(table.stored(at_five))
    assert all(query.limit <= limit for query in table.sent)


def test_a_tie_in_a_steady_order_is_read_in_one_pass() -> None:
    """Where the order does not change, each row is read once."""
    table = FakeTable(limit=10)
    for _ in range(25):
        table.log(5)
    table.read_tie(5)
    assert [(query.offset, query.limit) for query in table.sent] == [(0, 10), (10, 10), (20, 10)]


def test_further_passes_read_from_either_end_in_other_pages() -> None:
    """A pass that missed a row is followed by one from the other end, with another page size."""
    table = FakeTable(limit=20, seed=0)
    for _ in range(60):
        table.log(5)
    table.read_tie(5)
    passes = [query for query in table.sent if query.offset == 0]
    assert len(passes) > 1
    assert [query.descending for query in passes[:4]] == [
        n % 2 == 1 for n in range(len(passes[:4]))
    ]
    assert len({query.limit for query in passes}) > 1
    assert all(0 < query.limit <= 20 for query in table.sent)


def test_rows_that_join_a_tie_while_it_is_read_are_read() -> None:
    """Rows of the same timestamp that arrive during the read are read as well."""
    table = FakeTable(limit=10, seed=1)
    for _ in range(25):
        table.log(5)
    poll = table.reader.read_tie((RUN,), second(5))
    for number, _ in enumerate(table.pages(poll)):
        if number == 1:
            table.log(5)
            table.log(5)
    assert sorted(table.result) == sorted(table.stored())


def test_one_page_of_a_tie_is_read_without_offsets() -> None:
    """From a server that refuses offsets one page of a tie is read, and no more."""
    table = FakeTable(limit=10, offsets_supported=False)
    for _ in range(25):
        table.log(5)
    assert len(table.read_tie(5)) == 10
    assert [query.offset for query in table.sent] == [0]


def test_a_tie_that_is_never_complete_ends() -> None:
    """A server that always hides a row behind another gets many queries, but not endlessly many."""
    table = FakeTable(limit=2)
    rows = tuple(
        FlowRunLog(
            flow_run_id=RUN,
            id=f"row-{number}",
            timestamp=second(5),
            created=second(5),
            level=20,
            name="x",
            message="m",
        )
        for number in range(3)
    )
    shown = (rows[0], rows[1], rows[1])  # as many as there are, and never the third
    table.reply = lambda query: Page(shown[query.offset : query.offset + query.limit])
    assert sorted(table.read_tie(5)) == ["row-0", "row-1"]
    assert 40 <= len(table.sent) <= MAX_TIE_REQUESTS


# -- a count ------------------------------------------------------------------------------------


@pytest.mark.parametrize("delivered", [0, 1, 5])
@pytest.mark.parametrize("found", [0, 1])
@pytest.mark.parametrize("more", [0, 1, 2, 30])
def test_a_gap_is_seen_with_one_query(delivered: int, found: int, more: int) -> None:
    """There is a gap where the server has more rows than were delivered and found."""
    table = FakeTable()
    for number in range(delivered + found + more):
        table.log(number)
    table.reader.add_undelivered(table.page()[delivered : delivered + found])
    assert table.has_gap(delivered) == bool(more)
    (query,) = table.sent
    assert query.limit <= 2
    assert query.offset == max(0, delivered + found - 1)


@pytest.mark.parametrize(("there", "delivered"), [(0, 1), (4, 5), (4, 50)])
def test_fewer_rows_than_were_delivered_are_an_error(there: int, delivered: int) -> None:
    """A server with fewer rows than were delivered has shrunk, or a lagging replica replied."""
    table = FakeTable()
    for number in range(there):
        table.log(number)
    with pytest.raises(TableShrank):
        table.has_gap(delivered)


def test_fewer_rows_than_were_found_are_an_error() -> None:
    """Rows that were found in the same poll count like delivered ones."""
    table = FakeTable()
    table.log(1)
    table.log(2)
    table.reader.add_undelivered(table.page())
    assert not table.has_gap(0)
    table.server.logs.pop()
    with pytest.raises(TableShrank):
        table.has_gap(0)


def test_a_count_is_of_its_span_alone() -> None:
    """Rows that were found outside of a span do not count in it."""
    table = FakeTable()
    for number in range(6):
        table.log(number, run=RUNS[number % 2])
    table.reader.add_undelivered(table.page())
    for span in SPANS.values():
        assert not table.has_gap(0, span)
    table.log(3)
    for name, span in SPANS.items():
        inside = name in {"all", "one run", "up to a time", "one instant"}
        assert table.has_gap(0, span) == inside


def test_a_malformed_row_counts() -> None:
    """A malformed row counts like any other, on the server and among the found rows."""
    table = FakeTable()
    table.log(1)
    table.log(2)
    table.spoil()
    assert table.has_gap(1)
    assert not table.has_gap(2)
    table.reader.add_undelivered(table.page())
    assert not table.has_gap(0)


# -- found rows ---------------------------------------------------------------------------------


def test_only_undelivered_rows_are_added() -> None:
    """Rows that the ledger has are not added, and rows that were found twice are added once."""
    table = FakeTable()
    for number in range(4):
        table.log(number)
    rows = table.page()
    table.ledger.record_delivered(rows[:2])
    assert table.reader.add_undelivered(rows) == 2
    table.reader.add_undelivered(rows[1:])
    assert list(table.reader.rows) == [row.id for row in rows[2:]]


@pytest.mark.parametrize("span", SPANS.values(), ids=SPANS)
def test_found_rows_are_counted_within_a_span(span: Span) -> None:
    """A span includes both its ends, and no rows of other runs."""
    table = FakeTable()
    for number in range(20):
        table.log(number // 2, run=RUNS[number % 3 == 0])
        if number % 5 == 0:
            table.spoil()
    table.reader.add_undelivered(table.page())
    assert table.reader.count_within(span) == len(table.stored(span))
