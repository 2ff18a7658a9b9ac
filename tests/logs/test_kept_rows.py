"""The rows that a ledger knows by their ids, beside a plain list of rows."""

from datetime import datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from simulated_world import START

from rxflow._logs.kept_rows import RowsAboveFloor, Straggler, Stragglers
from rxflow._logs.row_columns import LedgerRow, RowColumns

seconds = st.integers(0, 30)


def at(second: int) -> datetime:
    """Return a time."""
    return START + timedelta(seconds=second)


class RowsMachine(RuleBasedStateMachine):
    """Rows above a floor that rises, and the same rows as a list."""

    def __init__(self) -> None:
        """Start without a row."""
        super().__init__()
        self.kept = RowsAboveFloor()
        self.rows: list[LedgerRow] = []
        self.floor = 0
        self.made = 0

    @rule(times=st.lists(seconds, max_size=5), run=st.sampled_from(["run-a", "run-b"]))
    def add(self, times: list[int], run: str) -> None:
        """Add rows at or above the floor, in any order."""
        added: list[LedgerRow] = []
        for time in times:
            self.made += 1
            added.append((at(self.floor + time), at(time), run, f"row-{self.made}"))
        self.kept.add(RowColumns.sorted(added))
        self.rows = sorted([*self.rows, *added])

    @rule(rise=st.integers(0, 20))
    def rise(self, rise: int) -> None:
        """Remove what is older than a new floor."""
        self.floor += rise
        floor = at(self.floor)
        assert list(self.kept.remove_below(floor)) == [row for row in self.rows if row[0] < floor]
        self.rows = [row for row in self.rows if row[0] >= floor]

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        """Remove some rows by their ids."""
        gone = {row[3] for row in self.rows if data.draw(st.booleans())}
        self.kept.remove(gone)
        self.rows = [row for row in self.rows if row[3] not in gone]

    @rule(run=st.sampled_from(["run-a", "run-b"]))
    def leave(self, run: str) -> None:
        """Remove a run's rows."""
        assert self.kept.remove_run(run) == [row for row in self.rows if row[2] == run]
        self.rows = [row for row in self.rows if row[2] != run]

    @rule()
    def look_up_ids(self) -> None:
        """The ids are those of the rows; between two such looks anything may happen."""
        assert self.kept.ids == {row[3] for row in self.rows}

    @rule(time=seconds)
    def count(self, time: int) -> None:
        """Count the rows that are later than a time."""
        later = [row for row in self.rows if row[0] > at(time)]
        assert self.kept.count_later_than(at(time)) == len(later)

    @invariant()
    def same_rows(self) -> None:
        """The rows are the same, sorted."""
        assert list(self.kept) == self.rows
        assert len(self.kept) == len(self.rows)


RowsMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=25)
TestRows = RowsMachine.TestCase


def test_stragglers_leave_by_the_time_they_were_stored() -> None:
    """Those that were stored before the horizon leave, the others stay, with their ids."""
    rows: list[Straggler] = [(at(second), f"row-{second}") for second in (5, 1, 9, 3)]
    stragglers = Stragglers(rows[:2])
    stragglers.add(rows[2:])
    assert list(stragglers) == sorted(rows)
    stragglers.remove_before(at(5))
    assert list(stragglers) == [(at(5), "row-5"), (at(9), "row-9")]
    assert stragglers.ids == {"row-5", "row-9"}
