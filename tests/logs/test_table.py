"""The table of log rows: pages, scans, ties in any order, and counts that are compared."""

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
from rxflow._logs.table import LogTable, LogTableRow, MissingRows, PollFindings, Span
from rxflow._protocol.pages import MalformedRow, Page, Poll
from rxflow._protocol.queries import LogsQuery
from rxflow.testing import FakePrefect3, Faults

RUN, OTHER = "0f0e0d0c-0b0a-4908-8706-050403020100", "00010203-0405-4607-8809-0a0b0c0d0e0f"
EVERYTHING = Span((RUN, OTHER))


def second(number: float) -> datetime:
    """A time after the start."""
    return START + timedelta(seconds=number)


class Asking:
    """A table of a fake server that is asked, and the questions that it took."""

    def __init__(
        self, *, seed: int | None = None, level: int = 0, since: datetime | None = None
    ) -> None:
        random = None if seed is None else Random(seed)
        faults = Faults(ties=random is not None)
        self.server = FakePrefect3(clock=lambda: second(1000), random=random, faults=faults)
        self.table = LogTable(level=level, since=since)
        self.ledger = Ledger((RUN, OTHER))
        self.found = PollFindings(self.ledger)
        self.asked: list[LogsQuery] = []
        self.answer: Callable[[LogsQuery], object] = partial(exchange, self.server)

    def log(self, at: float, *, run: str = RUN, level: int = 20) -> str:
        """Store a row."""
        return self.server.log(run, timestamp=second(at), created=second(at), level=level)

    def spoil(self) -> None:
        """Make the row that was stored last one that cannot be read."""
        self.server.logs[-1]["message"] = None

    def stored(self, span: Span = EVERYTHING) -> list[str]:
        """The ids of the rows of a part, oldest first."""
        return [
            row["id"]
            for row in sorted(self.server.logs, key=lambda row: row["timestamp"])
            if row["flow_run_id"] in span.runs
            and (span.after is None or row["timestamp"] >= span.after)
            and (span.before is None or row["timestamp"] <= span.before)
        ]

    def pages(self, poll: Poll[Any]) -> Iterator[Page[Any]]:
        """Answer a poll, page by page; the last thing it gives is what came of it."""
        try:
            query = next(poll)
            while True:
                assert isinstance(query, LogsQuery)
                self.asked.append(query)
                page = self.answer(query)
                assert isinstance(page, Page), page
                yield page
                query = poll.send(page)
        except StopIteration as end:
            self.outcome: Any = end.value

    def run(self, poll: Poll[Any]) -> Any:
        """What comes of a poll."""
        self.asked = []
        for _ in self.pages(poll):
            pass
        return self.outcome

    def scan(self, span: Span = EVERYTHING, *, limit: int = 200) -> dict[str, LogTableRow]:
        """Scan a part."""
        read: dict[str, LogTableRow] = self.run(self.table.scan(self.found, span, limit))
        return read

    def tie(self, at: float, *, limit: int) -> dict[str, LogTableRow]:
        """Read the rows of one timestamp."""
        runs = (RUN, OTHER)
        read: dict[str, LogTableRow] = self.run(self.table.tie(self.found, runs, second(at), limit))
        return read

    def differs(self, told: int, span: Span = EVERYTHING) -> int:
        """Compare a count."""
        more: int = self.run(self.table.differs(self.found, span, told))
        return more

    def ask(self, limit: int = 200, **options: Any) -> list[LogTableRow]:
        """Read a page."""
        rows: list[LogTableRow] = self.run(
            self.table.page(self.found, EVERYTHING, limit, **options)
        )
        return rows


# -- a page -------------------------------------------------------------------------------------


def test_a_page_is_asked_for_in_the_table_s_bounds() -> None:
    """A question has the part's runs and times, the table's level, and no row before `since`."""
    asking = Asking(level=30, since=second(5))
    parts = {
        Span((RUN,)): (second(5), None),
        Span((RUN,), second(3), second(9)): (second(5), second(9)),
        Span((RUN, OTHER), second(7)): (second(7), None),
    }
    for span, (after, before) in parts.items():
        asking.run(asking.table.page(asking.found, span, 7, offset=3, descending=True))
        assert asking.asked == [
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


def test_a_page_tells_the_server_s_time() -> None:
    """What is found knows when the server answered last, as far as it says."""
    asking = Asking()
    assert asking.found.server_time is None
    asking.ask()
    assert asking.found.server_time == second(1000)
    poll = asking.table.page(asking.found, EVERYTHING, 5)
    next(poll)
    with pytest.raises(StopIteration):
        poll.send(Page((), None))
    assert asking.found.server_time == second(1000)


@pytest.mark.parametrize("descending", [False, True], ids=["oldest first", "newest first"])
@pytest.mark.parametrize("bad", range(5))
def test_a_malformed_row_is_in_its_place(bad: int, descending: bool) -> None:
    """A row that cannot be read stands among the others by its time, from either end."""
    asking = Asking()
    for number in range(5):
        asking.log(number)
        if number == bad:
            asking.spoil()
    rows = asking.ask(descending=descending)
    expected = asking.stored()
    assert [row.id for row in rows] == (expected[::-1] if descending else expected)
    kinds = [MalformedRow if row.id == expected[bad] else FlowRunLog for row in rows]
    assert [type(row) for row in rows] == kinds


# -- a scan -------------------------------------------------------------------------------------

PARTS = {
    "all": EVERYTHING,
    "one run": Span((RUN,)),
    "from a time on": Span((RUN, OTHER), second(4)),
    "up to a time": Span((RUN, OTHER), None, second(6)),
    "both ends": Span((OTHER,), second(2), second(7)),
    "one instant": Span((RUN, OTHER), second(3), second(3)),
    "nothing": Span((RUN,), second(50)),
}


@pytest.mark.parametrize("span", PARTS.values(), ids=PARTS)
@pytest.mark.parametrize("limit", [1, 2, 3, 20, 200])
def test_a_scan_reads_all_rows_of_a_part(span: Span, limit: int) -> None:
    """Whatever the page, a scan reads each row of the part, both ends included, and no other."""
    asking = Asking(seed=limit)
    for number in range(20):
        asking.log(number // 2, run=(RUN, OTHER)[number % 3 == 0])
    read = asking.scan(span, limit=limit)
    assert sorted(read) == sorted(asking.stored(span))
    assert all(read[row_id].id == row_id for row_id in read)


def test_a_scan_goes_from_the_newest_to_the_oldest() -> None:
    """The rows come newest first, page by page, each beginning where the one before ended."""
    asking = Asking()
    for number in range(7):
        asking.log(number)
    read = asking.scan(limit=3)
    assert list(read) == asking.stored()[::-1]
    assert [(query.before, query.offset) for query in asking.asked] == [
        (None, 0),
        (second(4), 0),
        (second(2), 0),
        (second(0), 0),
    ]
    assert all(query.descending for query in asking.asked)


def test_a_scan_keeps_nothing_for_found() -> None:
    """What a scan reads is for whoever asked to compare; it is not yet among what was found."""
    asking = Asking()
    asking.log(1)
    asking.scan()
    assert asking.found.rows == {}


def test_a_scan_keeps_to_the_level_and_the_time() -> None:
    """Rows below the table's level, or before its first time, are no rows of it."""
    asking = Asking(level=30, since=second(5))
    asking.log(1, level=40)
    asking.log(6, level=20)
    wanted = asking.log(7, level=30)
    assert list(asking.scan()) == [wanted]


@given(
    times=st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.booleans()), max_size=40),
    limit=st.integers(1, 9),
    seed=st.integers(),
)
def test_a_scan_finds_each_row_whatever_the_ties(
    times: list[tuple[int, bool, bool]], limit: int, seed: int
) -> None:
    """With many rows of one timestamp, in any order each time, some unreadable, none is lost."""
    asking = Asking(seed=seed)
    for at, of_other, spoilt in times:
        asking.log(at, run=OTHER if of_other else RUN)
        if spoilt:
            asking.spoil()
    read = asking.scan(limit=limit)
    assert sorted(read) == sorted(asking.stored())
    bad = {row["id"] for row in asking.server.logs if row["message"] is None}
    assert {row.id for row in read.values() if isinstance(row, MalformedRow)} == bad


# -- a tie --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize(("rows", "limit"), [(35, 10), (10, 10), (21, 20), (7, 200), (0, 5)])
def test_a_tie_is_read_whole(rows: int, limit: int, seed: int) -> None:
    """Rows of one timestamp are read until there are as many as were counted, in any order."""
    asking = Asking(seed=seed)
    for number in range(rows):
        asking.log(5, run=(RUN, OTHER)[number % 2])
    asking.log(4.999999)
    asking.log(5.000001)
    at_five = Span((RUN, OTHER), second(5), second(5))
    assert sorted(asking.tie(5, limit=limit)) == sorted(asking.stored(at_five))


def test_a_tie_in_a_steady_order_is_read_in_one_pass() -> None:
    """Where the order does not change, each row is asked for once."""
    asking = Asking()
    for _ in range(25):
        asking.log(5)
    asking.tie(5, limit=10)
    assert [(query.offset, query.limit) for query in asking.asked] == [(0, 10), (10, 10), (20, 10)]


def test_further_passes_go_from_either_end_in_other_pages() -> None:
    """A pass that missed a row is followed by one from the other end, cut in other places."""
    asking = Asking(seed=0)
    for _ in range(60):
        asking.log(5)
    asking.tie(5, limit=20)
    passes = [query for query in asking.asked if query.offset == 0]
    assert len(passes) > 1
    assert [query.descending for query in passes[:4]] == [
        n % 2 == 1 for n in range(len(passes[:4]))
    ]
    assert len({query.limit for query in passes}) > 1
    assert all(0 < query.limit <= 20 for query in asking.asked)


def test_a_tie_that_grows_is_read_with_what_came() -> None:
    """Rows of the same timestamp that come while it is read are read too."""
    asking = Asking(seed=1)
    for _ in range(25):
        asking.log(5)
    poll = asking.table.tie(asking.found, (RUN,), second(5), 10)
    for number, _ in enumerate(asking.pages(poll)):
        if number == 1:
            asking.log(5)
            asking.log(5)
    assert sorted(asking.outcome) == sorted(asking.stored())


def test_a_tie_without_offsets_is_read_as_far_as_a_page() -> None:
    """A server that refuses offsets is asked for one page of a tie, and no more."""
    asking = Asking()
    for _ in range(25):
        asking.log(5)
    asking.table.offsets = False
    assert len(asking.tie(5, limit=10)) == 10
    assert [query.offset for query in asking.asked] == [0]


def test_a_tie_that_is_never_whole_is_given_up() -> None:
    """A server that hides a row behind another for good is asked often, and not for ever."""
    asking = Asking()
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
    asking.answer = lambda query: Page(shown[query.offset : query.offset + query.limit])
    assert sorted(asking.tie(5, limit=2)) == ["row-0", "row-1"]
    assert 40 <= len(asking.asked) <= 200


# -- a count ------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [0, 1, 5])
@pytest.mark.parametrize("found", [0, 1])
@pytest.mark.parametrize("more", [0, 1, 2, 30])
def test_a_count_is_compared_in_one_question(rows: int, found: int, more: int) -> None:
    """It is 0 where the server has as many rows as were told and found, and 1 where it has more."""
    asking = Asking()
    for number in range(rows + found + more):
        asking.log(number)
    told = rows
    asking.found.take(asking.ask()[rows : rows + found])
    assert asking.differs(told) == min(more, 1)
    (query,) = asking.asked
    assert query.limit <= 2
    assert query.offset == max(0, rows + found - 1)


@pytest.mark.parametrize(("there", "told"), [(0, 1), (4, 5), (4, 50)])
def test_fewer_rows_than_were_told_are_missing(there: int, told: int) -> None:
    """A server that has fewer rows than were told and found is not believed to have as many."""
    asking = Asking()
    for number in range(there):
        asking.log(number)
    with pytest.raises(MissingRows):
        asking.differs(told)


def test_found_rows_that_are_gone_are_missing() -> None:
    """Rows that were found in this very poll count too."""
    asking = Asking()
    asking.log(1)
    asking.log(2)
    asking.found.take(asking.ask())
    assert asking.differs(0) == 0
    asking.server.logs.pop()
    with pytest.raises(MissingRows):
        asking.differs(0)


def test_a_count_is_of_its_part_alone() -> None:
    """Rows that were found outside of a part do not count in it."""
    asking = Asking()
    for number in range(6):
        asking.log(number, run=(RUN, OTHER)[number % 2])
    asking.found.take(asking.ask())
    for span in PARTS.values():
        assert asking.differs(0, span) == 0
    asking.log(3)
    for name, span in PARTS.items():
        inside = name in {"all", "one run", "up to a time", "one instant"}
        assert asking.differs(0, span) == inside


def test_a_row_that_cannot_be_read_counts() -> None:
    """It is a row all the same, on the server as in hand."""
    asking = Asking()
    asking.log(1)
    asking.log(2)
    asking.spoil()
    assert asking.differs(1) == 1
    assert asking.differs(2) == 0
    asking.found.take(asking.ask())
    assert asking.differs(0) == 0


# -- what was found -----------------------------------------------------------------------------


def test_only_rows_that_were_not_told_are_found() -> None:
    """What the ledger knows is no find, and what was found twice is found once."""
    asking = Asking()
    for number in range(4):
        asking.log(number)
    rows = asking.ask()
    asking.ledger.add(rows[:2])
    asking.found.take(rows)
    asking.found.take(rows[1:])
    assert list(asking.found.rows) == [row.id for row in rows[2:]]


@pytest.mark.parametrize("span", PARTS.values(), ids=PARTS)
def test_which_finds_lie_in_a_part(span: Span) -> None:
    """A part has both its ends, and no rows of other runs."""
    asking = Asking()
    for number in range(20):
        asking.log(number // 2, run=(RUN, OTHER)[number % 3 == 0])
        if number % 5 == 0:
            asking.spoil()
    asking.found.take(asking.ask())
    assert asking.found.within(span) == len(asking.stored(span))
