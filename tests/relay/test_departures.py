"""When runs that are not wanted any more leave a watch."""

from rxflow.relay._departures import LEAVE_SECONDS, Departures


def test_a_run_is_left_some_time_after_its_last_want() -> None:
    """Once, and the time begins when it is first not wanted, however long it was before."""
    departures = Departures()
    assert departures.next_runs({"a", "b"}, 10.0) == set()
    assert departures.due_in(10.0) is None
    assert departures.next_runs({"b"}, 5000.0) == set()
    assert departures.due_in(5010.0) == LEAVE_SECONDS - 10
    assert departures.next_runs({"b"}, 5000.0 + LEAVE_SECONDS - 1) == set()
    assert departures.next_runs({"b"}, 5000.0 + LEAVE_SECONDS) == {"a"}
    assert departures.next_runs({"b"}, 9999.0) == set()
    assert departures.due_in(9999.0) is None


def test_a_run_that_is_wanted_again_stays() -> None:
    """The time begins anew with its next last want."""
    departures = Departures()
    for now in (0.0, LEAVE_SECONDS - 1, 2 * LEAVE_SECONDS - 2):
        assert departures.next_runs({"a"}, now) == set()
        assert departures.next_runs(set(), now) == set()
    assert departures.due_in(2 * LEAVE_SECONDS - 2) == LEAVE_SECONDS
