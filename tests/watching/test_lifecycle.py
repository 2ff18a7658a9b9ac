"""One run's phases: what leads from one to the next, and how long a run that is over is drained.

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
    """The server's time."""
    return NOON + timedelta(seconds=seconds)


def at(seconds: float) -> Now:
    """Our time, by a monotonic clock that began long before, or will."""
    return Now(seconds - 1e3, second(seconds))


def run_in(state_type: str | None, entered: float = 0, *, skew: float = 7200) -> FlowRun:
    """A run's row, put into a state at a second by whoever has such a clock."""
    state = None
    if state_type is not None:
        state = State(
            id=f"{state_type}-{entered}",
            type=state_type,
            name=state_type.title(),
            timestamp=second(entered + skew),
        )
    return FlowRun(id="run", name="amber-fox", created=NOON, updated=second(entered), state=state)


def saw(
    life: Lifecycle,
    state_type: str | None,
    *,
    entered: float = 0,
    stored: float | None = None,
    seen: float = 0,
    caught_up: bool = True,
) -> bool:
    """Have a poll find the run in a state, and the newest row stored at a second, if any."""
    newest = None if stored is None else second(stored)
    return life.saw(run_in(state_type, entered), newest, caught_up=caught_up, now=at(seen))


def ended_at(
    entered: float, *, stored: float | None = None, seen: float | None = None, drain: float = DRAIN
) -> Lifecycle:
    """A run that is over since a second, and was seen to be at another, or at once."""
    life = Lifecycle(drain=drain)
    saw(life, "COMPLETED", entered=entered, stored=stored, seen=entered if seen is None else seen)
    return life


def quiet_in(life: Lifecycle, now: float, *, server: float | None) -> float:
    """Seconds until the run may be closed, by our time and the server's, if it tells it."""
    return life.quiet_in(None if server is None else second(server), at(now))


# -- phases -------------------------------------------------------------------------------------


def life_in(phase: Phase) -> Lifecycle:
    """A life in a phase."""
    life = Lifecycle()
    match phase:
        case Phase.LISTING:
            pass
        case Phase.WATCHING:
            saw(life, "RUNNING")
        case Phase.DRAINING:
            saw(life, "COMPLETED")
        case Phase.ENDED:
            saw(life, "COMPLETED")
            life.end(proven=True)
    assert life.phase is phase
    return life


Happening = Callable[[Lifecycle], object]

HAPPENINGS: dict[str, Happening] = {
    "a page, more to come, running": lambda life: saw(life, "RUNNING", caught_up=False),
    "a page, more to come, over": lambda life: saw(life, "COMPLETED", caught_up=False),
    "the last page, running": lambda life: saw(life, "RUNNING"),
    "the last page, no state": lambda life: saw(life, None),
    "the last page, unknown state": lambda life: saw(life, "NEW_IN_PREFECT_4"),
    "the last page, completed": lambda life: saw(life, "COMPLETED"),
    "the last page, failed": lambda life: saw(life, "FAILED"),
    "an outage": lambda life: life.recovered(Outage(0, 60)),
    "time": lambda life: life.quiet_in(second(1e6), at(1e6)),
    "the run is gone": lambda life: life.vanish(),
}

LISTING, WATCHING, DRAINING, ENDED = Phase

LEADS_TO = {
    "a page, more to come, running": (LISTING, WATCHING, DRAINING),
    "a page, more to come, over": (LISTING, WATCHING, DRAINING),
    "the last page, running": (WATCHING, WATCHING, WATCHING),
    "the last page, no state": (WATCHING, WATCHING, WATCHING),
    "the last page, unknown state": (WATCHING, WATCHING, WATCHING),
    "the last page, completed": (DRAINING, DRAINING, DRAINING),
    "the last page, failed": (DRAINING, DRAINING, DRAINING),
    "an outage": (LISTING, WATCHING, DRAINING),
    "time": (LISTING, WATCHING, DRAINING),
    "the run is gone": (ENDED, ENDED, ENDED),
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
def test_what_leads_to_which_phase(before: Phase, what: str, after: Phase) -> None:
    """A phase follows the run's state once all there is was told, and nothing leads out of ENDED.

    Only a run that is gone ends without a proof.
    """
    life = life_in(before)
    HAPPENINGS[what](life)
    assert life.phase is after


@pytest.mark.parametrize(
    ("before", "what"),
    [(before, what) for before, what, _ in TRANSITIONS if "page" in what],
    ids=lambda value: value.value if isinstance(value, Phase) else value,
)
def test_which_run_was_opened_again(before: Phase, what: str) -> None:
    """A poll says that a run was opened again exactly where it leads from DRAINING to WATCHING."""
    life = life_in(before)
    reopened = HAPPENINGS[what](life)
    assert reopened is (before is DRAINING and life.phase is WATCHING)


def test_a_run_may_be_opened_again_and_again() -> None:
    """Each time that a run which was over goes on is told once."""
    life = Lifecycle()
    history = ["RUNNING", "FAILED", "FAILED", "SCHEDULED", "RUNNING", "CRASHED", "RUNNING"]
    assert [saw(life, state) for state in history] == [False] * 3 + [True] + [False] * 2 + [True]


# -- proofs -------------------------------------------------------------------------------------

PROOFS = {
    "proven": [True],
    "proven at the second try": [False, True],
    "proven at the third try": [False, False, True],
    "never proven": [False, False, False],
}


@pytest.mark.parametrize("outcomes", PROOFS.values(), ids=PROOFS)
def test_a_proof_ends_the_watch(outcomes: list[bool]) -> None:
    """A watch ends with the first proof, or at the third try without one, and not before."""
    life = life_in(DRAINING)
    for outcome in outcomes[:-1]:
        assert life.end(proven=outcome) is False
        assert life.phase is DRAINING
    assert life.end(proven=outcomes[-1]) is True
    assert life.phase is ENDED


@pytest.mark.parametrize(
    ("outcomes", "end"),
    [([], False), ([False], False), ([False, False], False), ([], True), ([False], True)],
    ids=str,
)
def test_a_proof_that_cannot_be_is_not_waited_for(outcomes: list[bool], end: bool) -> None:
    """Where the server does not take the questions of a proof, one try ends the watch."""
    life = life_in(DRAINING)
    for outcome in outcomes:
        life.end(proven=outcome)
    assert life.end(proven=end, provable=False) is True
    assert life.phase is ENDED


@pytest.mark.parametrize("failed", [1, 2])
def test_a_run_that_is_opened_again_is_proven_anew(failed: int) -> None:
    """Proofs that failed before a reopening do not count for the next end."""
    life = life_in(DRAINING)
    for _ in range(failed):
        assert life.end(proven=False) is False
    assert saw(life, "RUNNING") is True
    saw(life, "COMPLETED")
    assert [life.end(proven=False) for _ in range(3)] == [False, False, True]


@pytest.mark.parametrize("state_type", ["COMPLETED", "FAILED"])
def test_seeing_the_end_again_does_not_begin_the_proofs_anew(state_type: str) -> None:
    """Only a reopening does: a run that stays over is closed at the third try."""
    life = life_in(DRAINING)
    outcomes = []
    for _ in range(3):
        saw(life, state_type)
        outcomes.append(life.end(proven=False))
    assert outcomes == [False, False, True]


# -- quiet --------------------------------------------------------------------------------------


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
def test_quiet_by_the_server_s_clock(entered: float, stored: float | None, expected: float) -> None:
    """Five seconds count from when the run's row or a log row was last stored, seen or not."""
    life = ended_at(entered, stored=stored, seen=100)
    assert quiet_in(life, 100, server=100) == expected


@pytest.mark.parametrize("skew", [-3600, -10, 0, 10, 3600])
@pytest.mark.parametrize(("now", "expected"), [(100, 5), (103, 2), (105, 0)])
def test_who_set_the_state_has_no_say(skew: float, now: float, expected: float) -> None:
    """The state's own time may be by another clock than the server's, so nothing counts from it."""
    life = Lifecycle()
    row = run_in("CRASHED", 100, skew=skew)
    life.saw(row, second(90), caught_up=True, now=at(100))
    assert quiet_in(life, now, server=now) == expected


@pytest.mark.parametrize(("now", "expected"), [(100, 5), (101.5, 3.5), (105, 0), (1e6, 0)])
def test_quiet_by_our_clock(now: float, expected: float) -> None:
    """Where the server tells no time, they count from when we first saw the news."""
    life = ended_at(10, seen=100)
    assert quiet_in(life, now, server=None) == expected


@pytest.mark.parametrize(
    ("now", "server", "expected"),
    [(103, 101, 2), (103, 104, 1), (103, 0, 2), (105, 100, 0), (100, 105, 0)],
    ids=["ours", "the server's", "the server's runs behind", "ours is there", "its is there"],
)
def test_quiet_by_whichever_clock_says_so_first(now: float, server: float, expected: float) -> None:
    """A server's clock that stands still, or that the writer's runs ahead of, holds up nobody."""
    life = ended_at(100)
    assert quiet_in(life, now, server=server) == expected


def test_news_that_is_known_is_no_news() -> None:
    """Seeing the same row and state again does not begin the quiet time anew."""
    life = ended_at(100, stored=101, seen=101)
    saw(life, "COMPLETED", entered=100, stored=101, seen=104)
    assert quiet_in(life, 104, server=None) == 2


@pytest.mark.parametrize(
    ("entered", "stored"),
    [(100, 104), (104, None), (104, 101)],
    ids=["a row", "another state", "another state after a row"],
)
def test_news_begins_the_quiet_time_anew(entered: float, stored: float | None) -> None:
    """A late row, or another state, is waited after for five seconds more."""
    life = ended_at(100)
    saw(life, "COMPLETED", entered=entered, stored=stored, seen=104)
    assert quiet_in(life, 104, server=None) == 5
    assert quiet_in(life, 104, server=104) == 5
    assert quiet_in(life, 106, server=106) == 3


def test_pages_of_a_long_history_are_news_too() -> None:
    """What a poll found counts while there is more to come, so that quiet is known at the end."""
    life = Lifecycle()
    saw(life, "COMPLETED", entered=100, stored=90, seen=100, caught_up=False)
    saw(life, "COMPLETED", entered=100, stored=90, seen=103)
    assert quiet_in(life, 103, server=None) == 2


@pytest.mark.parametrize("drain", [0.0, 1.0, 60.0])
def test_the_quiet_time_is_a_setting(drain: float) -> None:
    """`drain` is how long nothing new must come; with 0 nothing is waited for."""
    assert quiet_in(ended_at(100, drain=drain), 100, server=100) == drain


# -- after an outage ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lasted", "extra"),
    [(0, 4), (1, 5.3), (10, 17), (30, 43), (50, 69), (55, 75), (100, 75), (1e6, 75)],
)
@pytest.mark.parametrize("server", [True, False], ids=["server's clock", "our clock"])
def test_writers_get_time_after_an_outage(lasted: float, extra: float, server: bool) -> None:
    """Writers that could not send try again for a while: 1.3 times the outage and 4 s, or 75 s."""
    life = ended_at(100)
    life.recovered(Outage(at(100 - lasted).mono, at(100).mono))
    time = 100 if server else None
    assert quiet_in(life, 100, server=time) == pytest.approx(5 + extra)


def test_the_time_after_an_outage_runs_out() -> None:
    """What is waited for after an outage counts from its end."""
    life = ended_at(100)
    life.recovered(Outage(at(90).mono, at(100).mono))
    assert quiet_in(life, 121, server=121) == pytest.approx(1)
    assert quiet_in(life, 122, server=122) == 0


def test_a_short_outage_does_not_shorten_the_wait_for_a_long_one() -> None:
    """Of several outages the one whose writers may take longest counts."""
    life = ended_at(200)
    life.recovered(Outage(at(100).mono, at(200).mono))
    life.recovered(Outage(at(201).mono, at(202).mono))
    assert quiet_in(life, 202, server=202) == pytest.approx(78)


@pytest.mark.parametrize(
    ("server", "expected"),
    [(179, 80), (180, 0), (1e6, 0)],
    ids=["not long over", "long over", "very long over"],
)
def test_a_run_that_is_long_over_is_closed_at_once(server: float, expected: float) -> None:
    """75 s beyond the quiet time no writer is still trying, not even after an outage."""
    life = ended_at(100, seen=server)
    life.recovered(Outage(at(server - 60).mono, at(server).mono))
    assert quiet_in(life, server, server=server) == expected


def test_long_over_by_our_clock() -> None:
    """Where the server tells no time, a run is long over when we have known so for as long."""
    life = ended_at(100)
    life.recovered(Outage(at(120).mono, at(179).mono))
    assert quiet_in(life, 179.5, server=None) > 0
    assert quiet_in(life, 180, server=None) == 0


# -- laws ---------------------------------------------------------------------------------------

seconds = st.floats(-500, 500)
skews = st.none() | st.floats(-1e4, 1e4)


@given(
    entered=seconds,
    stored=st.none() | seconds,
    seen=seconds,
    later=st.floats(0, 200),
    skew=skews,
    drain=st.floats(0, 100),
    lasted=st.none() | st.floats(0, 200),
)
def test_after_that_many_seconds_it_is_quiet(
    *,
    entered: float,
    stored: float | None,
    seen: float,
    later: float,
    skew: float | None,
    drain: float,
    lasted: float | None,
) -> None:
    """Whoever waits as long as told, with no news, may close; and nobody waits a negative time."""
    life = ended_at(entered, stored=stored, seen=seen, drain=drain)
    if lasted is not None:
        life.recovered(Outage(at(seen - lasted).mono, at(seen).mono))

    def quiet(now: float) -> float:
        return quiet_in(life, now, server=None if skew is None else now + skew)

    first = quiet(seen + later)
    assert 0 <= first <= drain + (0 if lasted is None else 75) + 1e-5
    assert quiet(seen + later + first) == pytest.approx(0, abs=1e-5)
