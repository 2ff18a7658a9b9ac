"""Asking: what trouble leads to, how long it is waited for, and how often there is a poll."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxflow._models.times import Now
from rxflow._protocol.failures import Failure, FailureKind
from rxflow._protocol.intervals import PollInterval
from rxflow._protocol.pages import MalformedRow, Page
from rxflow._protocol.queries import LogsQuery
from rxflow._protocol.retry import Outage, RetryPolicy
from rxflow.errors import (
    AuthError,
    BadResponse,
    NotAPrefectApi,
    RunNotFound,
    RxflowError,
    ServerError,
    Unreachable,
)

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
SEEDS = range(200)
NEVER = None
AT_ONCE = 0.0


class Longest(Random):
    """Chance that always draws the longest wait."""

    def uniform(self, a: float, b: float) -> float:
        """The upper end."""
        return max(a, b)


class Middle(Random):
    """Chance that leaves an interval as it is."""

    def uniform(self, a: float, b: float) -> float:
        """The middle."""
        return (a + b) / 2


def at(seconds: float) -> Now:
    """The time, by a monotonic clock that began long before, or will."""
    return Now(seconds - 1e3, NOON + timedelta(seconds=seconds))


def trouble_of(kind: FailureKind, **fields: Any) -> Failure:
    """A failure of a kind."""
    return Failure(kind=kind, text="what happened", **fields)


def patience(random: Random, *, attached: bool = False) -> RetryPolicy:
    """Patience before or after the first poll that was answered, which was at second -1."""
    fresh = RetryPolicy(random)
    if attached:
        fresh.record_sent(at(-1))
        fresh.record_success(at(-1))
    return fresh


def wait(outcome: float | RxflowError) -> float:
    """The seconds to wait, which no error may come instead of."""
    assert not isinstance(outcome, RxflowError), outcome
    return outcome


# -- the policy ---------------------------------------------------------------------------------


class Policy(msgspec.Struct, frozen=True):
    """What a kind of trouble leads to.

    Attributes:
        error: What a watch ends with that is out of patience.
        attach: Seconds from the first question until then, before the first poll was answered.
        watch: Seconds from the first failure of the kind until then, after it.
        cap: The longest wait in seconds.
    """

    error: type[RxflowError]
    attach: float | None
    watch: float | None
    cap: float = 5.0


POLICIES = {
    FailureKind.REFUSED: Policy(Unreachable, 30, NEVER),
    FailureKind.NETWORK: Policy(Unreachable, 30, NEVER),
    FailureKind.CERTIFICATE: Policy(Unreachable, AT_ONCE, AT_ONCE),
    FailureKind.BUSY: Policy(ServerError, 30, NEVER, cap=30),
    FailureKind.SERVER: Policy(ServerError, 30, NEVER, cap=30),
    FailureKind.UNREADABLE: Policy(BadResponse, 30, NEVER),
    FailureKind.NOT_AN_API: Policy(NotAPrefectApi, AT_ONCE, NEVER, cap=30),
    FailureKind.AUTH: Policy(AuthError, AT_ONCE, 60),
    FailureKind.RUN_NOT_FOUND: Policy(RunNotFound, AT_ONCE, NEVER, cap=2.5),
    FailureKind.REJECTED: Policy(BadResponse, AT_ONCE, AT_ONCE),
    FailureKind.PAGE_LIMIT: Policy(BadResponse, AT_ONCE, AT_ONCE),
}


def cases(attached: bool) -> list[tuple[FailureKind, Policy, bool, float | None]]:
    """Each kind with its bound, before or after the first poll that was answered."""
    return [
        (kind, policy, attached, policy.watch if attached else policy.attach)
        for kind, policy in POLICIES.items()
    ]


each_bound = pytest.mark.parametrize(
    ("kind", "policy", "attached", "bound"),
    [*cases(attached=False), *cases(attached=True)],
    ids=[f"{kind.value} {when} watch" for when in ("before the", "in the") for kind in POLICIES],
)


# Kinds that a watch may meet more than twice in a row.
PATIENT = [
    kind
    for kind, policy in POLICIES.items()
    if policy.watch != AT_ONCE and kind is not FailureKind.UNREADABLE
]


def test_there_is_a_policy_for_each_trouble() -> None:
    """No kind of trouble is without a rule."""
    assert set(POLICIES) == set(FailureKind)


@each_bound
def test_how_long_patience_lasts(
    kind: FailureKind, policy: Policy, attached: bool, bound: float | None
) -> None:
    """A failure ends the watch exactly from its bound on, and never where there is none."""

    def outcome(seconds: float) -> float | RxflowError:
        tried = patience(Random(0), attached=attached)
        tried.record_sent(at(0 if not attached else -500))
        if attached:  # a question that was long in being answered
            tried.record_failure(trouble_of(kind), at(0))
        return tried.record_failure(trouble_of(kind), at(seconds))

    if bound is NEVER:
        assert isinstance(outcome(1e9), float)
    else:
        error = outcome(bound)
        assert type(error) is policy.error
        assert str(error) == "what happened"
    if bound:
        assert isinstance(outcome(bound - 0.01), float)


@pytest.mark.parametrize(
    "kind", [FailureKind.REFUSED, FailureKind.NETWORK, FailureKind.BUSY, FailureKind.SERVER]
)
def test_the_bound_counts_from_the_first_question(kind: FailureKind) -> None:
    """Each try of one outage counts from its first question, and not from its own."""
    tried = patience(Random(0))
    for second in range(0, 30, 5):
        tried.record_sent(at(second))
        assert isinstance(tried.record_failure(trouble_of(kind), at(second + 1)), float)
    tried.record_sent(at(29))
    assert isinstance(tried.record_failure(trouble_of(kind), at(30)), POLICIES[kind].error)


def test_an_answered_poll_gives_the_time_back() -> None:
    """The bound counts anew after each poll that was answered."""
    tried = patience(Random(0), attached=True)
    for start in (0, 60, 120):
        tried.record_sent(at(start))
        wait(tried.record_failure(trouble_of(FailureKind.AUTH), at(start)))
        wait(tried.record_failure(trouble_of(FailureKind.AUTH), at(start + 59)))
        tried.record_success(at(start + 59))


OTHERS = [kind for kind in PATIENT if kind is not FailureKind.AUTH]


@pytest.mark.parametrize("other", OTHERS, ids=lambda kind: kind.value)
def test_other_trouble_uses_up_no_grace(other: FailureKind) -> None:
    """However long the server could not be asked, a refusal has its whole grace after that."""
    tried = patience(Random(0), attached=True)
    tried.record_sent(at(0))
    wait(tried.record_failure(trouble_of(other), at(0)))
    tried.record_sent(at(300))
    wait(tried.record_failure(trouble_of(FailureKind.AUTH), at(300)))
    wait(tried.record_failure(trouble_of(FailureKind.AUTH), at(359.9)))
    assert type(tried.record_failure(trouble_of(FailureKind.AUTH), at(360))) is AuthError


@pytest.mark.parametrize("other", OTHERS, ids=lambda kind: kind.value)
def test_other_trouble_gives_no_grace_back(other: FailureKind) -> None:
    """A refusal counts from the first of its kind, whatever came between the two."""
    tried = patience(Random(0), attached=True)
    tried.record_sent(at(0))
    wait(tried.record_failure(trouble_of(FailureKind.AUTH), at(0)))
    wait(tried.record_failure(trouble_of(other), at(59)))
    assert type(tried.record_failure(trouble_of(FailureKind.AUTH), at(60))) is AuthError


@pytest.mark.parametrize("other", [FailureKind.NETWORK, FailureKind.BUSY, FailureKind.SERVER])
def test_before_the_first_answer_all_trouble_shares_the_time(other: FailureKind) -> None:
    """The 30 s of the attachment count from the first question, whatever went wrong since."""
    tried = patience(Random(0))
    tried.record_sent(at(0))
    wait(tried.record_failure(trouble_of(FailureKind.REFUSED), at(1)))
    wait(tried.record_failure(trouble_of(other), at(29.9)))
    assert type(tried.record_failure(trouble_of(other), at(30))) is POLICIES[other].error


def test_a_question_that_was_answered_gives_nothing_back() -> None:
    """Only whole polls count, so an API that fails half way each time is an outage too."""
    tried = patience(Random(0))
    tried.record_sent(at(0))
    tried.record_sent(at(10))  # the second question of the poll: the first was answered
    assert tried.waiting_since == at(10).mono
    assert isinstance(tried.record_failure(trouble_of(FailureKind.SERVER), at(30)), ServerError)
    assert tried.waiting_since == at(0).mono


# -- garbled answers ----------------------------------------------------------------------------

GARBLED_TWICE = [FailureKind.UNREADABLE] * 2

IN_A_ROW: dict[str, list[FailureKind | None]] = {
    "two": [*GARBLED_TWICE],
    "an answer between": [*GARBLED_TWICE, None, *GARBLED_TWICE],
    "other trouble between": [*GARBLED_TWICE, FailureKind.REFUSED, *GARBLED_TWICE],
    "three of other trouble": [FailureKind.REFUSED] * 3,
}


def after(history: list[FailureKind | None], *, attached: bool) -> RetryPolicy:
    """Patience after some failures and answers (None), of which none was the end."""
    tried = patience(Random(0), attached=attached)
    for second, kind in enumerate(history):
        tried.record_sent(at(second))
        if kind is None:
            tried.record_success(at(second))
        else:
            wait(tried.record_failure(trouble_of(kind), at(second)))
    return tried


@pytest.mark.parametrize("attached", [False, True], ids=["before the watch", "in the watch"])
@pytest.mark.parametrize("history", IN_A_ROW.values(), ids=IN_A_ROW)
def test_fewer_than_three_garbled_answers_in_a_row(
    history: list[FailureKind | None], attached: bool
) -> None:
    """What cannot be read is asked for again, unless it was so three times in a row."""
    after(history, attached=attached)


@pytest.mark.parametrize("attached", [False, True], ids=["before the watch", "in the watch"])
def test_the_third_garbled_answer_in_a_row(attached: bool) -> None:
    """An answer that cannot be read three times in a row ends the watch, however early."""
    tried = after([*GARBLED_TWICE], attached=attached)
    assert type(tried.record_failure(trouble_of(FailureKind.UNREADABLE), at(2))) is BadResponse


# -- how long to wait ---------------------------------------------------------------------------


def waits(kind: FailureKind, random: Random, tries: int) -> list[float]:
    """The waits after each of some failures in a row, all in one second of a watch."""
    tried = patience(random, attached=True)
    tried.record_sent(at(0))
    return [wait(tried.record_failure(trouble_of(kind), at(0))) for _ in range(tries)]


@pytest.mark.parametrize("kind", PATIENT, ids=lambda kind: kind.value)
def test_the_bound_doubles_up_to_the_cap(kind: FailureKind) -> None:
    """The longest wait is 0.5 s, and twice as much with each failure in a row, up to the cap."""
    cap = POLICIES[kind].cap
    doubling = [min(cap, 0.5 * 2.0**failures) for failures in range(1000)]
    assert waits(kind, Longest(), len(doubling)) == doubling


@pytest.mark.parametrize("kind", PATIENT, ids=lambda kind: kind.value)
def test_waits_are_drawn_from_nothing_to_the_bound(kind: FailureKind) -> None:
    """Full jitter: the waits of many watches fill the whole span and never pass it."""
    longest = waits(kind, Longest(), 9)
    drawn = [waits(kind, Random(seed), 9) for seed in SEEDS]
    for bound, column in zip(longest, zip(*drawn, strict=True), strict=True):
        assert min(column) >= 0
        assert max(column) <= bound
        assert min(column) < 0.1 * bound
        assert max(column) > 0.9 * bound


def test_an_answered_poll_makes_waits_short_again() -> None:
    """The bound begins anew after a poll that was answered."""
    tried = patience(Longest(), attached=True)
    tried.record_sent(at(0))
    for _ in range(9):
        tried.record_failure(trouble_of(FailureKind.SERVER), at(0))
    tried.record_success(at(0))
    tried.record_sent(at(1))
    assert tried.record_failure(trouble_of(FailureKind.SERVER), at(1)) == 0.5


@pytest.mark.parametrize(
    "kind", [FailureKind.BUSY, FailureKind.SERVER], ids=lambda kind: kind.value
)
@given(retry_after=st.floats(0, 300), seed=st.integers(), failures=st.integers(0, 20))
def test_a_wait_begins_after_what_the_server_asks_for(
    kind: FailureKind, retry_after: float, seed: int, failures: int
) -> None:
    """Retry-After comes on top of the drawn wait, so that not all come back at that very moment."""
    tried, alike = (patience(Random(seed), attached=True) for _ in range(2))
    for _ in range(failures):
        tried.record_failure(trouble_of(kind), at(0))
        alike.record_failure(trouble_of(kind), at(0))
    usual = wait(alike.record_failure(trouble_of(kind), at(0)))
    asked = trouble_of(kind, retry_after=retry_after)
    assert tried.record_failure(asked, at(0)) == usual + retry_after


def test_what_the_server_asks_for_is_forgotten() -> None:
    """Retry-After concerns the next wait alone."""
    tried = patience(Longest(), attached=True)
    tried.record_failure(trouble_of(FailureKind.BUSY, retry_after=300), at(0))
    assert tried.record_failure(trouble_of(FailureKind.BUSY), at(300)) == 1


def test_no_wait_is_worth_a_lost_cause() -> None:
    """Retry-After does not put off an error."""
    asked = trouble_of(FailureKind.BUSY, retry_after=300)
    tried = patience(Random(0))
    tried.record_sent(at(0))
    assert isinstance(tried.record_failure(asked, at(30)), ServerError)


BOUNDED = [
    (kind, attached, bound)
    for kind, _, attached, bound in [*cases(attached=False), *cases(attached=True)]
    if bound
]


@pytest.mark.parametrize(
    ("kind", "attached", "bound"),
    BOUNDED,
    ids=[f"{kind.value} {'in the' if there else 'before the'} watch" for kind, there, _ in BOUNDED],
)
@given(
    begins=st.floats(-1e4, 1e4),
    share=st.floats(0, 0.999),
    retry_after=st.none() | st.floats(0, 300),
    seed=st.integers(),
)
def test_no_wait_reaches_past_the_end_of_patience(
    *,
    kind: FailureKind,
    attached: bool,
    bound: float,
    begins: float,
    share: float,
    retry_after: float | None,
    seed: int,
) -> None:
    """The last try is made when the time is up, whatever was drawn or the server asked for."""
    tried = patience(Random(seed), attached=attached)
    tried.record_sent(at(begins))
    if attached:
        wait(tried.record_failure(trouble_of(kind), at(begins)))
    now = begins + bound * share
    asked = trouble_of(kind, retry_after=retry_after)
    waited = wait(tried.record_failure(asked, at(now)))
    assert 0 <= waited <= begins + bound - now + 1e-6
    if retry_after is not None:
        assert waited >= min(retry_after, begins + bound - now - 1e-6)


def test_a_busy_server_may_ask_for_more_than_there_is() -> None:
    """What it asks for is waited for until the 30 s are over, and then the error comes."""
    tried = patience(Longest())
    tried.record_sent(at(0))
    asked = trouble_of(FailureKind.BUSY, retry_after=300)
    assert wait(tried.record_failure(asked, at(10))) == pytest.approx(20)
    assert type(tried.record_failure(asked, at(30))) is ServerError


# -- outages ------------------------------------------------------------------------------------


def test_no_outage_where_nothing_failed() -> None:
    """A poll that was slow, and answered, is no outage."""
    tried = patience(Random(0))
    tried.record_sent(at(0))
    tried.record_sent(at(20))
    assert tried.record_success(at(40)) is None


def test_an_outage_lasts_from_the_first_question_to_the_answer() -> None:
    """An outage is as long as the user had no good answer, and is told once."""
    tried = patience(Random(0), attached=True)
    for second in (3, 4, 6):
        tried.record_sent(at(second))
        tried.record_failure(trouble_of(FailureKind.REFUSED), at(second + 0.5))
    tried.record_sent(at(9))
    assert tried.record_success(at(10)) == Outage(at(3).mono, at(10).mono)
    tried.record_sent(at(11))
    assert tried.record_success(at(12)) is None


def test_an_outage_before_the_first_answer_is_one_too() -> None:
    """A server that comes up late is an outage of its own."""
    tried = patience(Random(0))
    tried.record_sent(at(0))
    tried.record_failure(trouble_of(FailureKind.REFUSED), at(1))
    assert tried.record_success(at(5)) == Outage(at(0).mono, at(5).mono)


def test_since_when_there_was_no_answer() -> None:
    """`since` is the first question of the poll that is not answered yet, or None."""
    tried = patience(Random(0))
    told = [tried.waiting_since]
    tried.record_sent(at(3))
    wait(tried.record_failure(trouble_of(FailureKind.REFUSED), at(4)))
    tried.record_sent(at(5))
    told.append(tried.waiting_since)
    tried.record_success(at(6))
    told.append(tried.waiting_since)
    assert told == [None, at(3).mono, None]


# -- the interval -------------------------------------------------------------------------------


def pauses(interval: PollInterval, *happened: bool) -> list[float]:
    """The pauses after some polls."""
    return [interval.next_delay(active=something) for something in happened]


def test_the_interval_grows_while_nothing_happens() -> None:
    """Each idle poll makes the pause half as long again, up to the longest."""
    grown = pauses(PollInterval(Middle()), *[False] * 9)
    assert grown == pytest.approx([0.5 * 1.5**n for n in range(1, 6)] + [5.0] * 4)


def test_the_interval_is_short_again_when_something_happens() -> None:
    """Whatever happens makes the next pause the shortest, from which it grows again."""
    interval = PollInterval(Middle())
    assert pauses(interval, *[True] * 3) == pytest.approx([0.5] * 3)
    pauses(interval, *[False] * 20)
    assert pauses(interval, True, False) == pytest.approx([0.5, 0.75])


def test_the_interval_has_the_shape_it_is_given() -> None:
    """Shortest, longest and growth are what they are called."""
    interval = PollInterval(Middle(), shortest=2, longest=30, growth=3)
    told = pauses(interval, False, False, False, False, True)
    assert told == pytest.approx([6, 18, 30, 30, 2])


@given(seed=st.integers(), happened=st.lists(st.booleans(), max_size=30))
def test_the_interval_is_within_a_tenth(seed: int, happened: list[bool]) -> None:
    """Jitter is a tenth either way, so that pauses are from 0.45 s to 5.5 s."""
    exact, drawn = (
        pauses(PollInterval(Middle()), *happened),
        pauses(PollInterval(Random(seed)), *happened),
    )
    for middle, pause in zip(exact, drawn, strict=True):
        assert 0.9 * middle <= pause <= 1.1 * middle


def test_jitter_is_never_fed_back() -> None:
    """The pauses of many idle watches all settle around the longest, and fill the span."""
    settled = [pauses(PollInterval(Random(seed)), *[False] * 30)[-1] for seed in SEEDS]
    assert 4.5 <= min(settled) < 4.6
    assert 5.4 < max(settled) <= 5.5


def test_watches_that_began_together_drift_apart() -> None:
    """Two watches with chances of their own do not ask at the same times."""
    ends = sorted(sum(pauses(PollInterval(Random(seed)), *[False] * 30)) for seed in range(20))
    assert all(b > a for a, b in pairwise(ends))


# -- pages --------------------------------------------------------------------------------------


def test_log_rows_are_asked_for_from_the_oldest_on() -> None:
    """A question about log rows that says nothing else asks for all, oldest first."""
    asked = LogsQuery(flow_run_ids=("run",))
    assert (asked.after, asked.before, asked.level, asked.offset) == (None, None, 0, 0)
    assert asked.descending is False


def test_a_row_without_a_place_comes_before_all() -> None:
    """A row that cannot be read, of which nothing else is known, has the earliest place."""
    row = MalformedRow("c", "no message")
    assert row.flow_run_id == ""
    assert row.timestamp == row.created == datetime.min.replace(tzinfo=UTC)


def test_a_page_counts_the_rows_that_cannot_be_read() -> None:
    """The count of a page is what the server sent, so that paging passes no row over."""
    page = Page(("a", "b"), NOON, (MalformedRow("c", "no message"),))
    assert page.count == 3
    assert Page(()).count == 0
