"""`ReopeningDetector`: which states reopen a run, each of them once."""

import pytest
from sample_events import state

from rxflow import State
from rxflow._watching.reopenings import ReopeningDetector

RUNNING, COMPLETED = state("Running", 1), state("Completed", 2)
AGAIN, LATER = state("Running", 3), state("Pending", 4)

Tick = tuple[tuple[State, ...], State | None]
"""The new states of the history, and the state of the row."""

# the ticks, and by tick the states that reopened the run
CASES: dict[str, tuple[list[Tick], list[tuple[State, ...]]]] = {
    "it was terminal": ([((COMPLETED,), COMPLETED), ((AGAIN,), AGAIN)], [(), (AGAIN,)]),
    "it was terminal in between": (
        [((RUNNING,), RUNNING), ((COMPLETED, AGAIN), AGAIN)],
        [(), (AGAIN,)],
    ),
    "the history is ahead of the row": (
        [((RUNNING,), RUNNING), ((COMPLETED, AGAIN), COMPLETED), ((), AGAIN)],
        [(), (AGAIN,), ()],
    ),
    "the history is ahead by two states": (
        [((RUNNING,), RUNNING), ((COMPLETED, AGAIN), COMPLETED), ((LATER,), LATER)],
        [(), (AGAIN,), ()],
    ),
    "states are not streamed": (
        [((), RUNNING), ((), COMPLETED), ((), AGAIN), ((), AGAIN), ((), LATER)],
        [(), (), (AGAIN,), (), ()],
    ),
    "it had no state": ([((), None), ((COMPLETED, AGAIN), AGAIN)], [(), (AGAIN,)]),
    "it was reopened before the watch": ([((COMPLETED, AGAIN), AGAIN), ((), AGAIN)], [(), ()]),
    "it was and is terminal": (
        [((COMPLETED,), COMPLETED), ((state("Failed", 3),), state("Failed", 3))],
        [(), ()],
    ),
    "it never was terminal": ([((RUNNING,), RUNNING), ((LATER,), LATER)], [(), ()]),
    "an earlier state was found late": (
        [((COMPLETED,), COMPLETED), ((RUNNING,), COMPLETED)],
        [(), ()],
    ),
    "a replica shows the row as it was": (
        [((), RUNNING), ((), COMPLETED), ((), RUNNING), ((), COMPLETED)],
        [(), (), (), ()],
    ),
    "the clock of the state's process is behind": (
        [((COMPLETED,), COMPLETED), ((state("Running", -9),), state("Running", -9))],
        [(), (state("Running", -9),)],
    ),
}


@pytest.mark.parametrize(("ticks", "expected"), CASES.values(), ids=CASES)
def test_a_run_is_reopened_by_leaving_a_terminal_state(
    ticks: list[Tick], expected: list[tuple[State, ...]]
) -> None:
    """A state reopens a run if it follows a terminal state, and is found by one tick only."""
    detector = ReopeningDetector()
    assert [detector.receive(states, current) for states, current in ticks] == expected
