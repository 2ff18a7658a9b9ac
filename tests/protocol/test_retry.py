"""The retry policy: when it gives up, with which error, and how long it waits until then."""

from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_events import at

from rxflow._protocol.failures import Failure, FailureKind
from rxflow._protocol.retry import Outage, RetryPolicy
from rxflow.errors import (
    AuthError,
    BadResponse,
    NotAPrefectApi,
    RunNotFound,
    RxflowError,
    ServerError,
    Unreachable,
    UnsupportedFilter,
)

SEEDS = range(200)
NEVER = None
AT_ONCE = 0.0


class Longest(Random):
    """A random generator that always draws the longest delay."""

    def uniform(self, a: float, b: float) -> float:
        """Return the upper end of the range."""
        return max(a, b)


def failure(kind: FailureKind, **fields: Any) -> Failure:
    """A failure of a kind."""
    return Failure(kind=kind, text="what happened", **fields)


def policy(random: Random, *, attached: bool = False) -> RetryPolicy:
    """A policy before the first successful poll, or after one that was at second -1."""
    fresh = RetryPolicy(random)
    if attached:
        fresh.record_sent(at(-1))
        fresh.record_success(at(-1))
    return fresh


def delay_of(outcome: float | RxflowError) -> float:
    """The delay of an outcome that must not be an error."""
    assert not isinstance(outcome, RxflowError), outcome
    return outcome


# -- when the policy gives up -------------------------------------------------------------------


class Rule(msgspec.Struct, frozen=True):
    """What is expected of a kind of failure.

    Attributes:
        error: The error that the policy ends with.
        attach: Seconds from the first query to the error, before the first successful poll.
        watch: Seconds from the first failure of the kind to the error, after it.
        cap: Seconds of the longest delay.
    """

    error: type[RxflowError]
    attach: float | None
    watch: float | None
    cap: float = 5.0


RULES = {
    FailureKind.REFUSED: Rule(Unreachable, 30, NEVER),
    FailureKind.NETWORK: Rule(Unreachable, 30, NEVER),
    FailureKind.CERTIFICATE: Rule(Unreachable, AT_ONCE, 60),
    FailureKind.WRONG_SCHEME: Rule(Unreachable, AT_ONCE, 60),
    FailureKind.BUSY: Rule(ServerError, 30, NEVER, cap=30),
    FailureKind.RATE_LIMITED: Rule(ServerError, 30, NEVER, cap=30),
    FailureKind.SERVER: Rule(ServerError, 30, NEVER, cap=30),
    FailureKind.UNREADABLE: Rule(BadResponse, 5, 60),
    FailureKind.NOT_AN_API: Rule(NotAPrefectApi, AT_ONCE, NEVER, cap=30),
    FailureKind.AUTH: Rule(AuthError, AT_ONCE, 60),
    FailureKind.RUN_NOT_FOUND: Rule(RunNotFound, AT_ONCE, AT_ONCE, cap=2.5),
    FailureKind.REJECTED: Rule(BadResponse, AT_ONCE, 60),
    FailureKind.UNSUPPORTED: Rule(UnsupportedFilter, AT_ONCE, AT_ONCE),
    FailureKind.PAGE_LIMIT: Rule(BadResponse, AT_ONCE, 60),
}


def cases(attached: bool) -> list[tuple[FailureKind, Rule, bool, float | None]]:
    """Each kind with its limit, before or after the first successful poll."""
    return [
        (kind, rule, attached, rule.watch if attached else rule.attach)
        for kind, rule in RULES.items()
    ]


each_limit = pytest.mark.parametrize(
    ("kind", "rule", "attached", "limit"),
    [*cases(attached=False), *cases(attached=True)],
    ids=[f"{kind.value} {when} watch" for when in ("before the", "in the") for kind in RULES],
)


# Kinds that are retried in a watch.
RETRIED = [kind for kind, rule in RULES.items() if rule.watch != AT_ONCE]
# Kinds that end a watch at once.
FINAL = [kind for kind, rule in RULES.items() if rule.watch == AT_ONCE]
# Kinds that end a watch after a grace.
REFUSALS = [kind for kind, rule in RULES.items() if rule.watch]


def test_each_kind_of_failure_has_a_rule() -> None:
    """The table of these tests has every kind."""
    assert set(RULES) == set(FailureKind)


@each_limit
def test_the_policy_gives_up_at_its_limit(
    kind: FailureKind, rule: Rule, attached: bool, limit: float | None
) -> None:
    """A failure ends the watch exactly from its limit on, and never where there is none."""

    def outcome(seconds: float) -> float | RxflowError:
        retry = policy(Random(0), attached=attached)
        retry.record_sent(at(0 if not attached else -500))
        if attached:  # in a watch the time of the query does not count
            retry.record_failure(failure(kind), at(0))
            retry.record_failure(failure(kind), at(0))
        return retry.record_failure(failure(kind), at(seconds))

    if limit is NEVER:
        assert isinstance(outcome(1e9), float)
    else:
        error = outcome(limit)
        assert type(error) is rule.error
        assert str(error) == "what happened"
    if limit:
        assert isinstance(outcome(limit - 0.01), float)


@pytest.mark.parametrize(
    "kind", [FailureKind.REFUSED, FailureKind.NETWORK, FailureKind.BUSY, FailureKind.SERVER]
)
def test_the_attach_limit_counts_from_the_first_query(kind: FailureKind) -> None:
    """Each retry counts from the first query that was sent, and not from its own."""
    retry = policy(Random(0))
    for second in range(0, 30, 5):
        retry.record_sent(at(second))
        assert isinstance(retry.record_failure(failure(kind), at(second + 1)), float)
    retry.record_sent(at(29))
    assert isinstance(retry.record_failure(failure(kind), at(30)), RULES[kind].error)


def test_a_successful_poll_resets_the_limit() -> None:
    """The limit counts anew after each successful poll."""
    retry = policy(Random(0), attached=True)
    for start in (0, 60, 120):
        retry.record_sent(at(start))
        for second in (start, start + 59):
            outcome = retry.record_failure(failure(FailureKind.AUTH), at(second))
            assert isinstance(outcome, float)
        retry.record_success(at(start + 59))


OTHERS = [kind for kind in RETRIED if kind is not FailureKind.AUTH]


@pytest.mark.parametrize("other", OTHERS, ids=lambda kind: kind.value)
def test_another_kind_of_failure_uses_up_no_grace(other: FailureKind) -> None:
    """However long an outage was, refused credentials have their whole grace after it."""
    retry = policy(Random(0), attached=True)
    retry.record_sent(at(0))
    delay_of(retry.record_failure(failure(other), at(0)))
    retry.record_sent(at(300))
    for seconds in (300, 320, 340, 359.9):
        delay_of(retry.record_failure(failure(FailureKind.AUTH), at(seconds)))
    assert type(retry.record_failure(failure(FailureKind.AUTH), at(360))) is AuthError


@pytest.mark.parametrize("other", OTHERS, ids=lambda kind: kind.value)
def test_another_kind_of_failure_does_not_reset_the_grace(other: FailureKind) -> None:
    """Refused credentials count from the first of their kind, whatever failed in between."""
    retry = policy(Random(0), attached=True)
    retry.record_sent(at(0))
    delay_of(retry.record_failure(failure(FailureKind.AUTH), at(0)))
    delay_of(retry.record_failure(failure(other), at(30)))
    delay_of(retry.record_failure(failure(FailureKind.AUTH), at(59)))
    assert type(retry.record_failure(failure(FailureKind.AUTH), at(60))) is AuthError


@pytest.mark.parametrize("other", [FailureKind.NETWORK, FailureKind.BUSY, FailureKind.SERVER])
def test_all_kinds_share_the_attach_limit(other: FailureKind) -> None:
    """The 30 s before the first successful poll count from its first query for all kinds."""
    retry = policy(Random(0))
    retry.record_sent(at(0))
    delay_of(retry.record_failure(failure(FailureKind.REFUSED), at(1)))
    delay_of(retry.record_failure(failure(other), at(29.9)))
    assert type(retry.record_failure(failure(other), at(30))) is RULES[other].error


def test_a_page_alone_resets_nothing() -> None:
    """Only whole polls count, so an API that fails half-way each time is an outage too."""
    retry = policy(Random(0))
    retry.record_sent(at(0))
    retry.record_sent(at(10))  # the second query of the poll, after the first one's page
    assert retry.waiting_since == at(10).mono
    assert isinstance(retry.record_failure(failure(FailureKind.SERVER), at(30)), ServerError)
    assert retry.waiting_since == at(0).mono


# -- single replies -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", REFUSALS, ids=lambda kind: kind.value)
def test_two_odd_replies_however_far_apart_end_no_watch(kind: FailureKind) -> None:
    """A reply before an outage and one after it are no refusal of 60 s: a third must follow."""
    retry = policy(Longest(), attached=True)
    delay_of(retry.record_failure(failure(kind), at(0)))
    delay_of(retry.record_failure(failure(FailureKind.REFUSED), at(1)))
    delay = delay_of(retry.record_failure(failure(kind), at(3600)))
    assert 0 < delay <= RULES[kind].cap
    assert type(retry.record_failure(failure(kind), at(3610))) is RULES[kind].error


@pytest.mark.parametrize("kind", FINAL, ids=lambda kind: kind.value)
def test_what_no_retry_can_mend_ends_a_watch_at_its_first_reply(kind: FailureKind) -> None:
    """A failure without a grace is no odd reply."""
    retry = policy(Random(0), attached=True)
    assert type(retry.record_failure(failure(kind), at(0))) is RULES[kind].error


def test_the_suspension_of_a_machine_uses_up_no_grace() -> None:
    """A retry that is sent an hour late, with the same reply, is followed by another one."""
    retry = policy(Random(0), attached=True)
    first = retry.record_failure(failure(FailureKind.UNREADABLE, retry_after=300), at(0))
    assert delay_of(first) == 60  # the grace
    late = retry.record_failure(failure(FailureKind.UNREADABLE), at(3600))
    assert 0 < delay_of(late) <= RULES[FailureKind.UNREADABLE].cap


# -- reads beside watches -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", RETRIED, ids=lambda kind: kind.value)
def test_a_read_that_has_received_pages_retries_any_failure_for_30_seconds(
    kind: FailureKind,
) -> None:
    """In the middle of a read an odd reply is retried, since the server replied well before."""
    retry = RetryPolicy(Random(0), mid_read=True)
    retry.record_sent(at(0))
    delay_of(retry.record_failure(failure(kind), at(29.9)))
    assert type(retry.record_failure(failure(kind), at(30))) is RULES[kind].error


def test_a_run_that_is_not_found_in_the_middle_of_a_read_is_an_error_at_once() -> None:
    """Waiting does not bring a run back."""
    retry = RetryPolicy(Random(0), mid_read=True)
    assert type(retry.record_failure(failure(FailureKind.RUN_NOT_FOUND), at(0))) is RunNotFound


# -- delays -------------------------------------------------------------------------------------


def test_a_date_to_retry_after_is_compared_with_the_watchers_clock() -> None:
    """A date in a reply that does not say what time it is is waited for, for 300 s at most."""
    retry = policy(Longest(), attached=True)
    for seconds, waited in ((6, 6.5), (-6, 1), (1e6, 302)):
        busy = failure(FailureKind.BUSY, retry_at=at(100 + seconds).utc)
        assert retry.record_failure(busy, at(100)) == pytest.approx(waited)


def delays(kind: FailureKind, random: Random, count: int) -> list[float]:
    """The delays after some failures in a row, all in one second of a watch."""
    retry = policy(random, attached=True)
    retry.record_sent(at(0))
    return [delay_of(retry.record_failure(failure(kind), at(0))) for _ in range(count)]


@pytest.mark.parametrize("kind", RETRIED, ids=lambda kind: kind.value)
def test_the_bound_doubles_up_to_the_cap(kind: FailureKind) -> None:
    """The longest delay is 0.5 s, and twice as much with each failure in a row, up to the cap."""
    cap = RULES[kind].cap
    doubling = [min(cap, 0.5 * 2.0**failures) for failures in range(1000)]
    assert delays(kind, Longest(), len(doubling)) == doubling


@pytest.mark.parametrize("kind", RETRIED, ids=lambda kind: kind.value)
def test_delays_have_full_jitter(kind: FailureKind) -> None:
    """The delays of many watches fill the whole range from 0 to the bound."""
    longest = delays(kind, Longest(), 9)
    drawn = [delays(kind, Random(seed), 9) for seed in SEEDS]
    for bound, column in zip(longest, zip(*drawn, strict=True), strict=True):
        assert min(column) >= 0
        assert max(column) <= bound
        assert min(column) < 0.1 * bound
        assert max(column) > 0.9 * bound


def test_a_successful_poll_resets_the_bound() -> None:
    """The bound is the shortest again after a successful poll."""
    retry = policy(Longest(), attached=True)
    retry.record_sent(at(0))
    for _ in range(9):
        retry.record_failure(failure(FailureKind.SERVER), at(0))
    retry.record_success(at(0))
    retry.record_sent(at(1))
    assert retry.record_failure(failure(FailureKind.SERVER), at(1)) == 0.5


@pytest.mark.parametrize(
    "kind", [FailureKind.BUSY, FailureKind.SERVER], ids=lambda kind: kind.value
)
@given(retry_after=st.floats(0, 300), seed=st.integers(), failures=st.integers(0, 20))
def test_retry_after_is_added_to_the_delay(
    kind: FailureKind, retry_after: float, seed: int, failures: int
) -> None:
    """Jitter comes on top of Retry-After, so that clients do not return at the same moment."""
    retry, twin = (policy(Random(seed), attached=True) for _ in range(2))
    for _ in range(failures):
        retry.record_failure(failure(kind), at(0))
        twin.record_failure(failure(kind), at(0))
    usual = delay_of(twin.record_failure(failure(kind), at(0)))
    busy = failure(kind, retry_after=retry_after)
    assert retry.record_failure(busy, at(0)) == usual + retry_after


def test_retry_after_holds_for_the_next_delay_only() -> None:
    """The delay after the next failure has its usual bound."""
    retry = policy(Longest(), attached=True)
    retry.record_failure(failure(FailureKind.BUSY, retry_after=300), at(0))
    assert retry.record_failure(failure(FailureKind.BUSY), at(300)) == 1


def test_retry_after_does_not_delay_an_error() -> None:
    """At its limit the policy gives up at once."""
    busy = failure(FailureKind.BUSY, retry_after=300)
    retry = policy(Random(0))
    retry.record_sent(at(0))
    assert isinstance(retry.record_failure(busy, at(30)), ServerError)


LIMITED = [
    (kind, attached, limit)
    for kind, _, attached, limit in [*cases(attached=False), *cases(attached=True)]
    if limit
]


@pytest.mark.parametrize(
    ("kind", "attached", "limit"),
    LIMITED,
    ids=[
        f"{kind.value} {'in the' if attached else 'before the'} watch"
        for kind, attached, _ in LIMITED
    ],
)
@given(
    begins=st.floats(-1e4, 1e4),
    share=st.floats(0, 0.999),
    retry_after=st.none() | st.floats(0, 300),
    seed=st.integers(),
)
def test_no_delay_reaches_past_the_limit(
    *,
    kind: FailureKind,
    attached: bool,
    limit: float,
    begins: float,
    share: float,
    retry_after: float | None,
    seed: int,
) -> None:
    """The last retry is sent at the limit, whatever jitter was drawn and Retry-After says."""
    retry = policy(Random(seed), attached=attached)
    retry.record_sent(at(begins))
    if attached:
        delay_of(retry.record_failure(failure(kind), at(begins)))
        delay_of(retry.record_failure(failure(kind), at(begins)))
    now = begins + limit * share
    last = failure(kind, retry_after=retry_after)
    delay = delay_of(retry.record_failure(last, at(now)))
    assert 0 <= delay <= begins + limit - now + 1e-6
    if retry_after is not None:
        assert delay >= min(retry_after, begins + limit - now - 1e-6)


def test_retry_after_is_cut_at_the_limit() -> None:
    """A Retry-After past the 30 s is waited for until they are over; then the policy gives up."""
    retry = policy(Longest())
    retry.record_sent(at(0))
    busy = failure(FailureKind.BUSY, retry_after=300)
    assert delay_of(retry.record_failure(busy, at(10))) == pytest.approx(20)
    assert type(retry.record_failure(busy, at(30))) is ServerError


# -- outages ------------------------------------------------------------------------------------


def test_a_slow_poll_is_no_outage() -> None:
    """A poll that succeeded without a failure ends no outage, however long it took."""
    retry = policy(Random(0))
    retry.record_sent(at(0))
    retry.record_sent(at(20))
    assert retry.record_success(at(40)) is None


def test_an_outage_lasts_from_the_first_failed_query_to_the_next_success() -> None:
    """An outage begins when its first query was sent, and is returned once."""
    retry = policy(Random(0), attached=True)
    for second in (3, 4, 6):
        retry.record_sent(at(second))
        retry.record_failure(failure(FailureKind.REFUSED), at(second + 0.5))
    retry.record_sent(at(9))
    assert retry.record_success(at(10)) == Outage(at(3).mono, at(10).mono)
    retry.record_sent(at(11))
    assert retry.record_success(at(12)) is None


def test_failures_before_the_first_success_are_an_outage() -> None:
    """A server that starts after the watch has had an outage."""
    retry = policy(Random(0))
    retry.record_sent(at(0))
    retry.record_failure(failure(FailureKind.REFUSED), at(1))
    assert retry.record_success(at(5)) == Outage(at(0).mono, at(5).mono)


def test_waiting_since_is_the_first_query_of_a_failed_poll() -> None:
    """`waiting_since` is None before the first query and after a successful poll."""
    retry = policy(Random(0))
    since = [retry.waiting_since]
    retry.record_sent(at(3))
    delay_of(retry.record_failure(failure(FailureKind.REFUSED), at(4)))
    retry.record_sent(at(5))
    since.append(retry.waiting_since)
    retry.record_success(at(6))
    since.append(retry.waiting_since)
    assert since == [None, at(3).mono, None]
