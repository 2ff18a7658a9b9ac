"""Log rows in columns: each operation does what the same one does to a list of rows."""

from datetime import timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from simulated_world import START

from rxflow._logs.row_columns import LedgerRow, RowColumns
from rxflow._protocol.pages import MalformedRow

times = st.integers(0, 5).map(lambda seconds: START + timedelta(seconds=seconds))
some_rows = st.lists(
    st.tuples(times, times, st.sampled_from(["run-a", "run-b"]), st.uuids().map(str)), max_size=8
)
parts = st.slices(8).filter(lambda part: part.step in {None, 1})


def in_columns(rows: list[LedgerRow]) -> RowColumns:
    """Return rows in columns, in their order."""
    columns = RowColumns([], [], [], [])
    for timestamp, created, run, row_id in rows:
        columns.extend(RowColumns([timestamp], [created], [run], [row_id]))
    return columns


def test_the_columns_of_a_runs_rows_keep_their_order() -> None:
    """Each column has one field of each row."""
    rows = [
        MalformedRow(
            id=f"row-{number}",
            reason="",
            flow_run_id="run-a",
            timestamp=START - timedelta(seconds=number),
            created=START + timedelta(seconds=number),
        )
        for number in range(3)
    ]
    fields = [(row.timestamp, row.created, row.flow_run_id, row.id) for row in rows]
    assert list(RowColumns.of_run("run-a", rows)) == fields


@given(rows=some_rows)
def test_rows_are_sorted_as_tuples_are(rows: list[LedgerRow]) -> None:
    """Sorted columns hold the sorted rows."""
    assert list(RowColumns.sorted(rows)) == sorted(rows)


@given(rows=some_rows, part=parts)
def test_a_part_of_columns_is_that_part_of_the_rows(rows: list[LedgerRow], part: slice) -> None:
    """A part holds the rows of that part, and once it is removed the others are left."""
    columns = in_columns(rows)
    assert list(columns[part]) == rows[part]
    assert list(columns.remove(part)) == rows[part]
    del rows[part]
    assert list(columns) == rows
    assert len(columns) == len(rows)


@given(rows=some_rows)
def test_only_rows_of_different_times_in_order_rise(rows: list[LedgerRow]) -> None:
    """Rows rise if each is dated later than the one before; a tie does not."""
    assert in_columns(rows).is_rising == all(a[0] < b[0] for a, b in pairwise(rows))


@given(rows=some_rows.filter(bool))
def test_each_run_has_its_ids(rows: list[LedgerRow]) -> None:
    """Ids are listed by run, each run's in the order of its rows."""
    runs = {row[2] for row in rows}
    expected = {run: [row[3] for row in rows if row[2] == run] for run in runs}
    assert dict(in_columns(rows).ids_by_run()) == expected


def test_columns_are_compared_by_their_rows() -> None:
    """Columns of the same rows are equal, and of others not."""
    row = (START, START, "run-a", "row-1")
    assert in_columns([row]) == in_columns([row])
    assert in_columns([row]) != in_columns([row, row])
