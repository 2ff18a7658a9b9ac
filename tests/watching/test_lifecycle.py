"""`Lifecycle`: the transitions between phases, and how long a terminal run is drained.

Seconds are those of both clocks unless a test says otherwise.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxflow import FlowRun, State
from rxflow._models.entities import BackendName
from rxflow._models.times import Now
from rxflow._protocol.retry import Outage
from rxflow._watching.lifecycle import DRAINS, Lifecycle, Phase

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
DRAIN = DRAINS[BackendName.PREFECT_3]


def second(seconds: float) -> datetime:
    """Return the server's time at a second."""
    return NOON + timedelta(seconds=seconds)


def at(seconds: float) -> Now:
    """Return the watcher's time at a second; its monotonic clock started at another moment."""
    return Now(seconds - 1e3, second(seconds))


def run_in(state_type: str | None, entered: float = 0, *, skew: float = 7200) -> FlowRun:
    """Return the row of a run that entered a state at a second, by a writer's clock with a skew."""
    state = None
    if state_type is not None:
        state = State(
            id=f"{state_type}-{entered}",
            type=state_type,
            name=state_type.title(),
            timestamp=second(entered + skew),
        )
    return FlowRun(id="run", name="amber-fox", created=NOON, updated=second(entered), state=state)


def observe(
    life: Lifecycle,
    state_type: str | None,
    *,
    entered: float = 0,
    stored: float | None = None,
    read: float = 0,
    caught_up: bool = True,
) -> None:
    """Apply a poll that reads the run in a state, and a newest log row stored at a second."""
    newest = None if stored is None else second(stored)
    life.observe(run_in(state_type, entered), newest, caught_up=caught_up, now=at(read))


def ended_at(
    entered: float, *, stored: float | None = None, read: float | None = None, drain: float = DRAIN
) -> Lifecycle:
    """Return the lifecycle of a run that ended at a second, and was read at another or at once."""
    life = Lifecycle(drain=drain)
    observe(
        life, "COMPLETED", entered=entered, stored=stored, read=entered if read is None else read
    )
    return life


def drained_in(life: Lifecycle, now: float, *, server: float | None) -> float:
    """Return the seconds until the run may be closed, with the server's time if it sends one."""
    return life.drained_in(None if server is None else second(server), at(now))


# -- phases -------------------------------------------------------------------------------------


def life_in(phase: Phase) -> Lifecycle:
    """Return a lifecycle in a phase."""
    life = Lifecycle()
    match phase:
        case Phase.LISTING:
            pass
        case Phase.WATCHING:
            observe(life, "RUNNING")
        case Phase.DRAINING:
            observe(life, "COMPLETED")
        case Phase.ENDED:
            observe(life, "COMPLETED")
            life.receive_proof(proven=True)
    assert life.phase is phase
    return life


def delete(life: Lifecycle) -> None:
    """Reply three times in 6 s that the run does not exist."""
    delays = [life.receive_not_found(at(seconds)) for seconds in (0, 3, 6)]
    assert delays == [2.5, 2.5, None]


INPUTS: dict[str, Callable[[Lifecycle], object]] = {
    "a page, more to come, running": lambda life: observe(life, "RUNNING", caught_up=False),
    "a page, more to come, completed": lambda life: observe(life, "COMPLETED", caught_up=False),
    "the last page, running": lambda life: observe(life, "RUNNING"),
    "the last page, no state": lambda life: observe(life, None),
    "the last page, unknown state": lambda life: observe(life, "NEW_IN_PREFECT_4"),
    "the last page, completed": lambda life: observe(life, "COMPLETED"),
    "the last page, failed": lambda life: observe(life, "FAILED"),
    "an outage": lambda life: life.apply_outage(Outage(0, 60)),
    "time passes": lambda life: life.drained_in(second(1e6), at(1e6)),
    "the run is deleted": delete,
}

LISTING, WATCHING, DRAINING, ENDED = Phase

LEADS_TO = {
    "a page, more to come, running": (LISTING, WATCHING, DRAINING),
    "a page, more to come, completed": (LISTING, WATCHING, DRAINING),
    "the last page, running": (WATCHING, WATCHING, WATCHING),
    "the last page, no state": (WATCHING, WATCHING, WATCHING),
    "the last page, unknown state": (WATCHING, WATCHING, WATCHING),
    "the last page, completed": (DRAINING, DRAINING, DRAINING),
    "the last page, failed": (DRAINING, DRAINING, DRAINING),
    "an outage": (LISTING, WATCHING, DRAINING),
    "time passes": (LISTING, WATCHING, DRAINING),
    "the run is deleted": (ENDED, ENDED, ENDED),
}

TRANSITIONS = [
    (before, what, after)
    for what, afters in LEADS_TO.items()
    for before, after in zip(Phase, (*afters, ENDED), strict=True)
]


@pytest.mark.parametrize(
    ("before", "what", "after"),
    TRANSITIONS,
    ids=[f"{before.value}: {what}" for before, what, _ in TRANSITIONS],
)
def test_input_leads_to_phase(before: Phase, what: str, after: Phase) -> None:
    """The phase follows the run's state once the poll has caught up, and ENDED is final.

    Only a deleted run ends without a proof.
    """
    life = life_in(before)
    INPUTS[what](life)
    assert life.phase is after


# -- proofs -------------------------------------------------------------------------------------

PROOFS = {
    "proven": [True],
    "proven at the second try": [False, True],
    "proven at the third try": [False, False, True],
    "never proven": [False, False, False],
}


@pytest.mark.parametrize("outcomes", PROOFS.values(), ids=PROOFS)
def test_first_proof_or_third_attempt_ends_watch(outcomes: list[bool]) -> None:
    """A watch ends with the first proof, or at the third attempt without one, and not before."""
    life = life_in(DRAINING)
    for outcome in outcomes[:-1]:
        assert life.receive_proof(proven=outcome) is False
        assert life.phase is DRAINING
    assert life.receive_proof(proven=outcomes[-1]) is True
    assert life.phase is ENDED


@pytest.mark.parametrize(
    ("outcomes", "end"),
    [([], False), ([False], False), ([False, False], False), ([], True), ([False], True)],
    ids=str,
)
def test_unprovable_rows_end_watch_at_once(outcomes: list[bool], end: bool) -> None:
    """Where the server does not support the queries of a proof, one attempt ends the watch."""
    life = life_in(DRAINING)
    for outcome in outcomes:
        life.receive_proof(proven=outcome)
    assert life.receive_proof(proven=end, provable=False) is True
    assert life.phase is ENDED


@pytest.mark.parametrize("failed", [1, 2])
def test_reopening_resets_proof_attempts(failed: int) -> None:
    """Attempts that failed before a reopening do not count for the next end."""
    life = life_in(DRAINING)
    for _ in range(failed):
        assert life.receive_proof(proven=False) is False
    observe(life, "RUNNING")
    observe(life, "COMPLETED")
    assert [life.receive_proof(proven=False) for _ in range(3)] == [False, False, True]


@pytest.mark.parametrize("state_type", ["COMPLETED", "FAILED"])
def test_reading_terminal_state_again_keeps_proof_attempts(state_type: str) -> None:
    """A run that stays terminal is closed at the third attempt."""
    life = life_in(DRAINING)
    outcomes = []
    for _ in range(3):
        observe(life, state_type)
        outcomes.append(life.receive_proof(proven=False))
    assert outcomes == [False, False, True]


# -- deletion -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("times", "deleted"),
    [([0], False), ([0, 9], False), ([0, 1, 2], False), ([0, 1, 5], True), ([0, 1, 2, 5], True)],
    ids=str,
)
def test_three_not_found_replies_in_5_s_are_a_deletion(times: list[float], deleted: bool) -> None:
    """A run is deleted at the third "not found" reply, and no sooner than 5 s after the first."""
    life = life_in(WATCHING)
    delays = [life.receive_not_found(at(time)) for time in times]
    assert (delays[-1] is None, life.phase is ENDED) == (deleted, deleted)


def test_successful_poll_resets_not_found_replies() -> None:
    """Only "not found" replies without a successful poll between them count."""
    life = life_in(WATCHING)
    for time in (0, 3):
        life.receive_not_found(at(time))
    life.receive_found()
    assert life.receive_not_found(at(6)) is not None
    assert life.phase is WATCHING


# -- drain --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entered", "stored", "expected"),
    [
        (100, None, 5),
        (97, None, 2),
        (95, None, 0),
        (10, None, 0),
        (97, 99, 4),
        (99, 97, 4),
        (10, 99.5, 4.5),
        (97, 10, 2),
    ],
)
def test_drain_counts_by_server_clock(
    entered: float, stored: float | None, expected: float
) -> None:
    """The drain counts from when the row or a log row was last stored, not from the read."""
    life = ended_at(entered, stored=stored, read=100)
    assert drained_in(life, 100, server=100) == expected


@pytest.mark.parametrize("skew", [-3600, -10, 0, 10, 3600])
@pytest.mark.parametrize(("now", "expected"), [(100, 5), (103, 2), (105, 0)])
def test_clock_of_state_writer_does_not_count(skew: float, now: float, expected: float) -> None:
    """A state's own time may be by another clock than the server's, so it does not count."""
    life = Lifecycle()
    row = run_in("CRASHED", 100, skew=skew)
    life.observe(row, second(90), caught_up=True, now=at(100))
    assert drained_in(life, now, server=now) == expected


@pytest.mark.parametrize(("now", "expected"), [(100, 5), (101.5, 3.5), (105, 0), (1e6, 0)])
def test_drain_counts_by_watcher_clock(now: float, expected: float) -> None:
    """Where the server sends no time, the drain counts from when the news was first read."""
    life = ended_at(10, read=100)
    assert drained_in(life, now, server=None) == expected


@pytest.mark.parametrize(
    ("now", "server", "expected"),
    [(103, 101, 2), (103, 104, 1), (103, 0, 2), (105, 100, 0), (100, 105, 0)],
    ids=["watcher", "server", "server behind", "watcher at the end", "server at the end"],
)
def test_drain_ends_by_earlier_clock(now: float, server: float, expected: float) -> None:
    """A server clock that stands still, or is behind the writer's, does not delay the close."""
    life = ended_at(100)
    assert drained_in(life, now, server=server) == expected


def test_reading_known_rows_does_not_restart_drain() -> None:
    """Reading the same row and state again does not restart the drain."""
    life = ended_at(100, stored=101, read=101)
    observe(life, "COMPLETED", entered=100, stored=101, read=104)
    assert drained_in(life, 104, server=None) == 2


@pytest.mark.parametrize(
    ("entered", "stored"),
    [(100, 104), (104, None), (104, 101)],
    ids=["a row", "another state", "another state after a row"],
)
def test_news_restarts_drain(entered: float, stored: float | None) -> None:
    """A late row or another state restarts the drain."""
    life = ended_at(100)
    observe(life, "COMPLETED", entered=entered, stored=stored, read=104)
    assert drained_in(life, 104, server=None) == 5
    assert drained_in(life, 104, server=104) == 5
    assert drained_in(life, 106, server=106) == 3


def test_pages_of_long_history_count_as_news() -> None:
    """What a poll reads counts before it has caught up, so the drain is known at the end."""
    life = Lifecycle()
    observe(life, "COMPLETED", entered=100, stored=90, read=100, caught_up=False)
    observe(life, "COMPLETED", entered=100, stored=90, read=103)
    assert drained_in(life, 103, server=None) == 2


@pytest.mark.parametrize("drain", [0.0, 1.0, 60.0])
def test_drain_is_a_setting(drain: float) -> None:
    """`drain` is how long there must be no news; 0 closes the run at once."""
    assert drained_in(ended_at(100, drain=drain), 100, server=100) == drain


# -- after an outage ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lasted", "extra"),
    [(0, 4), (1, 5.3), (10, 17), (30, 43), (50, 69), (55, 75), (100, 75), (1e6, 75)],
)
@pytest.mark.parametrize("server", [True, False], ids=["server's clock", "our clock"])
def test_outage_extends_drain_for_retrying_writers(
    lasted: float, extra: float, server: bool
) -> None:
    """Writers that could not send retry for a while: 1.3 times the outage and 4 s, or 75 s."""
    life = ended_at(100)
    life.apply_outage(Outage(at(100 - lasted).mono, at(100).mono))
    time = 100 if server else None
    assert drained_in(life, 100, server=time) == pytest.approx(5 + extra)


def test_time_after_outage_counts_from_its_end() -> None:
    """The time for retrying writers counts from the end of the outage."""
    life = ended_at(100)
    life.apply_outage(Outage(at(90).mono, at(100).mono))
    assert drained_in(life, 121, server=121) == pytest.approx(1)
    assert drained_in(life, 122, server=122) == 0


def test_longest_outage_counts() -> None:
    """Of several outages the one whose writers may retry longest counts."""
    life = ended_at(200)
    life.apply_outage(Outage(at(100).mono, at(200).mono))
    life.apply_outage(Outage(at(201).mono, at(202).mono))
    assert drained_in(life, 202, server=202) == pytest.approx(78)


@pytest.mark.parametrize(
    ("server", "expected"),
    [(179, 80), (180, 0), (1e6, 0)],
    ids=["not long over", "long over", "very long over"],
)
def test_run_that_ended_long_ago_is_closed_at_once(server: float, expected: float) -> None:
    """75 s after the drain no writer is still retrying, not even after an outage."""
    life = ended_at(100, read=server)
    life.apply_outage(Outage(at(server - 60).mono, at(server).mono))
    assert drained_in(life, server, server=server) == expected


def test_run_ended_long_ago_by_watcher_clock() -> None:
    """Where the server sends no time, the 75 s count by the watcher's clock."""
    life = ended_at(100)
    life.apply_outage(Outage(at(120).mono, at(179).mono))
    assert drained_in(life, 179.5, server=None) > 0
    assert drained_in(life, 180, server=None) == 0


# -- laws ---------------------------------------------------------------------------------------

seconds = st.floats(-500, 500)
skews = st.none() | st.floats(-1e4, 1e4)


@given(
    entered=seconds,
    stored=st.none() | seconds,
    read=seconds,
    later=st.floats(0, 200),
    skew=skews,
    drain=st.floats(0, 100),
    lasted=st.none() | st.floats(0, 200),
)
def test_run_is_drained_after_returned_seconds(
    *,
    entered: float,
    stored: float | None,
    read: float,
    later: float,
    skew: float | None,
    drain: float,
    lasted: float | None,
) -> None:
    """After the returned seconds without news the run may be closed; they are never negative."""
    life = ended_at(entered, stored=stored, read=read, drain=drain)
    if lasted is not None:
        life.apply_outage(Outage(at(read - lasted).mono, at(read).mono))

    def left(now: float) -> float:
        return drained_in(life, now, server=None if skew is None else now + skew)

    first = left(read + later)
    assert 0 <= first <= drain + (0 if lasted is None else 75) + 1e-5
    assert left(read + later + first) == pytest.approx(0, abs=1e-5)
