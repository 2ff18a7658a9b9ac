"""The ledger: what it counts, which ids it keeps, and which rows it finds undelivered."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from naive_digest import naive_digest
from simulated_world import START

from rxflow._logs.ledger import FLOOR_LAG, Ledger, LedgerState
from rxflow.testing._rows import uuid7

RUNS = ("run-a", "run-b", "run-c")


class Line(msgspec.Struct, frozen=True):
    """A row, with the fields that a ledger uses."""

    id: str
    flow_run_id: str
    timestamp: datetime
    created: datetime


Batch = list[Line]
"""Rows that one poll found."""


def seconds(number: float) -> timedelta:
    """Return a duration."""
    return timedelta(seconds=number)


def line(number: int, at: float, *, run: str = RUNS[0], stored: float | None = None) -> Line:
    """Return a row dated `at` seconds after the start; without `stored` it was stored then."""
    created = START + seconds(at if stored is None else stored)
    row_id = f"row-{number}" if number % 3 == 0 else uuid7(created, Random(number))
    return Line(row_id, run, START + seconds(at), created)


@st.composite
def lives(draw: st.DrawFn) -> list[Batch]:
    """Draw batches of rows as polls find them: recent, late, ahead, tied, slowly committed."""
    lag = st.one_of(st.floats(0, 3), st.sampled_from([0.0, 12.0, 60.0, 900.0, -30.0, -3600.0]))
    commit = st.sampled_from([0.0, 0.0, 0.0, 2.0, 15.0])
    row = st.tuples(st.sampled_from(RUNS), lag, commit)
    batches: list[Batch] = []
    now, number = 0.0, 0
    for pause, rows in draw(
        st.lists(st.tuples(st.floats(0, 20), st.lists(row, max_size=8)), max_size=25)
    ):
        now += pause
        batch: Batch = []
        for run, late, duration in rows:
            batch.append(line(number, round(now - late, 1), run=run, stored=now - duration))
            number += 1
        batches.append(batch)
    return batches


def record(ledger: Ledger, batch: Batch) -> None:
    """Record a batch as a poll does."""
    ledger.record_delivered(batch)
    ledger.advance_floor()


def ledger_of(
    batches: Iterable[Batch], *, bucket_size: int = 200, max_buckets: int = 4096
) -> Ledger:
    """Return a ledger that recorded some batches, a poll each."""
    ledger = Ledger(RUNS, bucket_size=bucket_size, max_buckets=max_buckets)
    for batch in batches:
        record(ledger, batch)
    return ledger


def ledger_of_steady_run(count: int, *, bucket_size: int = 10) -> tuple[Ledger, Batch]:
    """Return a ledger of a run with a row a second, and its rows."""
    rows = [line(number, number) for number in range(count)]
    return ledger_of(([row] for row in rows), bucket_size=bucket_size), rows


def in_bucket(ledger: Ledger, run: str, index: int, rows: Iterable[Line]) -> Batch:
    """Return the rows of a run below the floor that lie in one of its buckets."""
    earliest = datetime.min.replace(tzinfo=UTC)
    starts = [bucket.start or earliest for bucket in ledger.buckets_of(run)]
    return [
        row
        for row in rows
        if row.flow_run_id == run
        and ledger.floor is not None
        and row.timestamp < ledger.floor
        and bisect_right(starts, row.timestamp) - 1 == index
    ]


def assert_counts(ledger: Ledger, delivered: Sequence[Line]) -> None:
    """Compare a ledger with a naive count of the delivered rows."""
    below = 0
    for run in RUNS:
        buckets = ledger.buckets_of(run)
        starts = [bucket.start for bucket in buckets]
        assert None not in starts[1:]
        assert starts[0] is None
        assert all(a < b for a, b in pairwise(filter(None, starts)))
        assert all(start < ledger.floor for start in filter(None, starts) if ledger.floor)
        for index, bucket in enumerate(buckets):
            rows = in_bucket(ledger, run, index, delivered)
            assert bucket.count == len(rows)
            assert bucket.digest == naive_digest(row.id for row in rows)
            below += len(rows)
    assert ledger.count_above_floor == len(delivered) - below
    assert ledger.total == len(delivered)


# -- the floor and the ids ----------------------------------------------------------------------


@given(life=lives())
def test_the_floor_follows_and_never_falls(life: list[Batch]) -> None:
    """The floor is ten to eleven seconds behind the newest row or the clock, and never falls."""
    delivered: Batch = []
    ledger = Ledger(RUNS)
    floor: datetime | None = None
    for batch in life:
        delivered += batch
        record(ledger, batch)
        if delivered:
            newest = max(row.timestamp for row in delivered)
            clock = max(row.created for row in delivered)
            aim = min(newest, clock) - FLOOR_LAG
            assert ledger.floor is not None
            assert ledger.floor > aim - timedelta(seconds=1)
            assert ledger.floor <= aim or ledger.floor == floor
            assert floor is None or ledger.floor >= floor
        floor = ledger.floor


def is_recent(row: Line, floor: datetime | None, horizon: datetime | None) -> bool:
    """Whether a row is above the floor, or was stored since the horizon."""
    if floor is None or horizon is None:
        return True
    return row.timestamp >= floor or row.created >= horizon


@given(life=lives())
def test_ids_of_recent_rows_are_kept(life: list[Batch]) -> None:
    """Ids are kept of rows above the floor or stored in ten seconds, and of none past eleven."""
    delivered: Batch = []
    ledger = Ledger(RUNS)
    for batch in life:
        delivered += batch
        record(ledger, batch)
        floor, horizon = ledger.floor, ledger.id_horizon
        kept = {row.id for row in delivered if ledger.is_known_delivered(row)}
        assert kept >= {row.id for row in delivered if is_recent(row, floor, horizon)}
        earlier = None if horizon is None else horizon - timedelta(seconds=1)
        assert kept <= {row.id for row in delivered if is_recent(row, floor, earlier)}
        assert ledger.kept_id_count == len(kept)
        assert not any(ledger.is_undelivered(row) for row in delivered)
        assert set(ledger.ids_above_floor()) == {
            row.id for row in delivered if floor is None or row.timestamp >= floor
        }


@given(life=lives(), ahead=st.floats(0, 4000))
def test_rows_dated_later_are_counted(life: list[Batch], ahead: float) -> None:
    """How many rows are dated after a time above the floor is known exactly."""
    ledger = ledger_of(life)
    time = (ledger.floor or START) + seconds(ahead)
    later = [row for batch in life for row in batch if row.timestamp > time]
    assert ledger.count_later_than(time) == len(later)


# -- buckets ------------------------------------------------------------------------------------


@given(
    life=lives(),
    bucket_size=st.sampled_from([1, 3, 200]),
    max_buckets=st.sampled_from([2, 5, 4096]),
)
def test_buckets_count_all_rows_below_the_floor(
    life: list[Batch], bucket_size: int, max_buckets: int
) -> None:
    """Buckets follow each other without a gap, and count and sum all rows below the floor."""
    delivered: Batch = []
    ledger = Ledger(RUNS, bucket_size=bucket_size, max_buckets=max_buckets)
    for batch in life:
        delivered += batch
        record(ledger, batch)
        assert_counts(ledger, delivered)
        assert all(len(ledger.buckets_of(run)) <= max_buckets for run in RUNS)


@pytest.mark.parametrize("at", [-100.0, 0.0, 9.5, 10.0, 35.0, 88.9], ids=str)
def test_a_late_row_is_counted_in_its_bucket(at: float) -> None:
    """Below the floor a row is counted where its timestamp lies, and nowhere else."""
    ledger, rows = ledger_of_steady_run(100)
    before = [bucket.count for bucket in ledger.buckets_of(RUNS[0])]
    late = line(100, at, stored=100.0)
    ledger.record_delivered([late])
    index = ledger.bucket_index_at(RUNS[0], late.timestamp)
    assert [bucket.count for bucket in ledger.buckets_of(RUNS[0])] == [
        count + (number == index) for number, count in enumerate(before)
    ]
    ledger.advance_floor()
    assert_counts(ledger, [*rows, late])


def test_merged_buckets_keep_their_sums() -> None:
    """Of too many buckets each two neighbours become one, and no row is lost."""
    ledger, rows = ledger_of_steady_run(500, bucket_size=1)
    merged = ledger_of(([row] for row in rows), bucket_size=1, max_buckets=16)
    assert len(ledger.buckets_of(RUNS[0])) == 489
    assert 8 <= len(merged.buckets_of(RUNS[0])) <= 16
    assert_counts(merged, rows)
    assert merged.total == ledger.total


# -- undelivered rows of a bucket ---------------------------------------------------------------

COMMITS = {
    "none": [],
    "one": [0.0],
    "several": [0.0, 0.0, 3.0, 9.0],
    "one slow commit": [40.0],
    "two slow commits": [40.0, 60.0],
    "fast and slow": [0.0, 2.0, 40.0],
}
"""Seconds that the commit of each undelivered row took."""


@pytest.mark.parametrize("commits", COMMITS.values(), ids=COMMITS)
@pytest.mark.parametrize("size", [5, 200])
def test_undelivered_rows_of_a_bucket_are_found(commits: list[float], size: int) -> None:
    """With a bucket's rows at hand exactly the undelivered ones are found, however slow."""
    rows = [line(number, number / size, stored=number / size) for number in range(size)]
    ledger = ledger_of([rows, [line(1000, 100.0)]])
    undelivered = [
        line(2000 + number, 0.5, stored=100.0 - commit) for number, commit in enumerate(commits)
    ]
    at_hand = [*rows, *undelivered]
    Random(size).shuffle(at_hand)
    found = ledger.undelivered_in_bucket(RUNS[0], 0, at_hand)
    assert found is not None
    assert sorted(row.id for row in found) == sorted(row.id for row in undelivered)


@given(life=lives(), data=st.data())
def test_up_to_two_undelivered_rows_of_any_bucket_are_found(
    life: list[Batch], data: st.DataObject
) -> None:
    """Up to two undelivered rows that were stored at any time are found among the others."""
    rows = [row for batch in life for row in batch]
    undelivered = data.draw(
        st.lists(st.sampled_from(rows), max_size=2, unique=True) if rows else st.just([])
    )
    delivered = [[row for row in batch if row not in undelivered] for batch in life]
    ledger = ledger_of(delivered, bucket_size=3)
    for run in RUNS:
        for index in range(len(ledger.buckets_of(run))):
            at_hand = in_bucket(ledger, run, index, rows)
            data.draw(st.randoms(use_true_random=False)).shuffle(at_hand)
            found = ledger.undelivered_in_bucket(run, index, at_hand)
            assert found is not None
            assert {row.id for row in found} == {row.id for row in at_hand if row in undelivered}


@pytest.mark.parametrize("new", [0, 1, 2], ids="{} new".format)
@pytest.mark.parametrize("gone", [1, 2], ids="{} gone".format)
def test_vanished_rows_of_a_bucket_are_noticed(gone: int, new: int) -> None:
    """When rows vanished, no choice of rows fits the digest, even where the number is right."""
    ledger, rows = ledger_of_steady_run(100)
    bucket = in_bucket(ledger, RUNS[0], 3, rows)
    late = [line(200 + number, 35.5, stored=100.0) for number in range(new)]
    assert ledger.undelivered_in_bucket(RUNS[0], 3, [*bucket[gone:], *late]) is None


# -- vanished rows ------------------------------------------------------------------------------


@given(life=lives(), data=st.data())
def test_vanished_rows_are_no_longer_counted(life: list[Batch], data: st.DataObject) -> None:
    """Removed rows leave the counts and digests, and the others are counted as if alone."""
    rows = [row for batch in life for row in batch]
    ledger = ledger_of(life, bucket_size=3)
    left = [row for row in rows if data.draw(st.booleans())]
    ids = {row.id for row in left}
    ledger.remove_vanished([row_id for row_id in ledger.ids_above_floor() if row_id not in ids])
    for run in RUNS:
        for index in range(len(ledger.buckets_of(run))):
            ledger.replace_bucket(run, index, in_bucket(ledger, run, index, left))
    assert_counts(ledger, left)


# -- joining and leaving --------------------------------------------------------------------------


def test_a_ledger_that_joins_brings_all_that_it_knows() -> None:
    """Old rows that were stored lately stay known, and the newest row of both is the newest."""
    late = line(1, 3.0, run=RUNS[1], stored=99.0)
    ledger, joining = Ledger(RUNS[:1]), Ledger(RUNS[1:2])
    record(ledger, [line(0, 50.0)])
    record(joining, [line(2, 100.0, run=RUNS[1])])
    record(joining, [late])
    ledger.join(joining)
    assert ledger.is_known_delivered(late)
    assert ledger.newest_timestamp == ledger.newest_created == START + seconds(100)
    assert (ledger.runs, ledger.total) == (RUNS[:2], 3)


def test_a_ledger_that_leaves_keeps_all_that_it_knows() -> None:
    """Old rows that were stored lately stay known, and counted."""
    late = line(1, 3.0, run=RUNS[1], stored=99.0)
    ledger = ledger_of([[line(0, 100.0), line(2, 100.0, run=RUNS[1])], [late]])
    left = ledger.leave(RUNS[1])
    assert left.is_known_delivered(late)
    assert left.newest_created == START + seconds(100)
    assert (left.runs, left.total, ledger.total) == ((RUNS[1],), 2, 1)


# -- saving and loading -------------------------------------------------------------------------


@given(life=lives(), more=lives())
def test_a_loaded_ledger_continues_like_the_saved_one(life: list[Batch], more: list[Batch]) -> None:
    """Through JSON and back a ledger is the same, and stays the same with all later rows."""
    ledger = ledger_of(life)
    text = msgspec.json.encode(ledger.save())
    loaded = Ledger.load(msgspec.json.decode(text, type=LedgerState))
    for number, batch in enumerate([[], *more]):
        renamed = [msgspec.structs.replace(row, id=f"{number}-{row.id}") for row in batch]
        record(ledger, renamed)
        record(loaded, renamed)
        assert loaded.save() == ledger.save()
        assert loaded.total == ledger.total
        assert loaded.count_above_floor == ledger.count_above_floor
        assert loaded.runs == ledger.runs


def test_a_saved_ledger_does_not_change() -> None:
    """What a ledger records after it was saved is not in the saved state."""
    ledger, _ = ledger_of_steady_run(100)
    saved = ledger.save()
    text = msgspec.json.encode(saved)
    record(ledger, [line(100, 50.0, stored=100.0), line(101, 120.0)])
    assert msgspec.json.encode(saved) == text
