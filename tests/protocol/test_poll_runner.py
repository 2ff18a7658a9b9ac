"""The poll runner: the steps of a read, without a server or a clock."""

from collections.abc import Callable, Iterator
from itertools import count, repeat
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_events import at

from rxflow._protocol.failures import Failure, FailureKind, Reply
from rxflow._protocol.pages import Page, Poll
from rxflow._protocol.poll_runner import Finished, PageLimit, Pause, PollSteps, TimedReply, run_poll
from rxflow._protocol.queries import PAGE_LIMIT, LogsQuery, Query, RunQuery, StatesQuery
from rxflow._protocol.retry import ATTACH_TIMEOUT
from rxflow.errors import AuthError, BadResponse, RunNotFound, ServerError, Unreachable

LOST = Failure(kind=FailureKind.NETWORK, text="no response")
BUSY = Failure(kind=FailureKind.BUSY, text="come again")
TOO_LARGE = Failure(kind=FailureKind.PAGE_LIMIT, text="too large")
ONE = RunQuery("one")
TWO = StatesQuery("two")


def timed(reply: Reply, seconds: float = 0.0) -> TimedReply:
    """A reply that was received at the moment when its query was sent."""
    return TimedReply(reply, at(seconds), at(seconds))


def page(*rows: Any) -> Page[Any]:
    """A page of these rows."""
    return Page(rows)


def both(_: int) -> Poll[list[Any]]:
    """Send two queries and return the rows of both pages."""
    first = yield ONE
    second = yield TWO
    return [*first.rows, *second.rows]


def paged(limit: int) -> Poll[int]:
    """Query as many rows as the limit allows and return how many that were."""
    yield LogsQuery(flow_run_ids=("run",), limit=limit)
    return limit


def play(
    make_poll: Callable[[int], Poll[Any]], replies: Iterator[Reply], limit: PageLimit
) -> tuple[list[Query | Pause], Any]:
    """Run a poll with these replies; its steps and its result."""
    steps: PollSteps[Any] = run_poll(make_poll, limit)
    step = next(steps)
    done: list[Query | Pause] = []
    while not isinstance(step, Finished):
        done.append(step)
        step = steps.send(None if isinstance(step, Pause) else timed(next(replies)))
    return done, step.value


def test_queries_are_sent_one_after_the_other() -> None:
    """A poll's queries are sent in its order, each after the page of the one before it."""
    done, result = play(both, iter([page(1), page(2, 3)]), PageLimit())
    assert (done, result) == ([ONE, TWO], [1, 2, 3])


def test_a_poll_may_have_no_query() -> None:
    """A poll without queries finishes at once."""

    def nothing(_: int) -> Poll[str]:
        yield from ()
        return "nothing"

    assert play(nothing, iter([]), PageLimit()) == ([], "nothing")


def test_a_query_is_repeated_until_it_has_a_reply() -> None:
    """A runner that is advanced without a reply yields the same query, and counts no failure."""
    steps: PollSteps[list[Any]] = run_poll(both, PageLimit())
    assert [next(steps), next(steps), steps.send(None)] == [ONE, ONE, ONE]
    assert steps.send(timed(page(1))) == TWO


def test_only_the_failed_query_is_retried() -> None:
    """After a failure comes a pause and the same query; the pages before it are kept."""
    done, result = play(both, iter([page(1), LOST, BUSY, page(2)]), PageLimit())
    assert [step for step in done if not isinstance(step, Pause)] == [ONE, TWO, TWO, TWO]
    assert [isinstance(step, Pause) for step in done] == [False, False, True, False, True, False]
    assert result == [1, 2]


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (FailureKind.RUN_NOT_FOUND, RunNotFound),
        (FailureKind.AUTH, AuthError),
        (FailureKind.REJECTED, BadResponse),
        (FailureKind.CERTIFICATE, Unreachable),
    ],
)
def test_a_permanent_failure_is_raised_at_once(kind: FailureKind, error: type[Exception]) -> None:
    """A failure that no retry can mend is raised at once, with the failure's text."""
    with pytest.raises(error, match="the reason"):
        play(both, iter([Failure(kind=kind, text="the reason")]), PageLimit())


@pytest.mark.parametrize(
    "kind",
    [
        *(FailureKind.AUTH, FailureKind.REJECTED, FailureKind.CERTIFICATE),
        *(FailureKind.UNREADABLE, FailureKind.NOT_AN_API, FailureKind.WRONG_SCHEME),
    ],
)
def test_an_odd_reply_in_the_middle_of_a_read_is_retried(kind: FailureKind) -> None:
    """Once a page was received, the server has shown that it replies well."""
    replies: list[Reply] = [page(1), Failure(kind=kind, text="the reason"), page(2)]
    done, result = play(both, iter(replies), PageLimit())
    assert [step for step in done if not isinstance(step, Pause)] == [ONE, TWO, TWO]
    assert result == [1, 2]


@pytest.mark.parametrize(("failure", "error"), [(LOST, Unreachable), (BUSY, ServerError)])
@given(took=st.floats(0.01, 10))
def test_retries_end(failure: Failure, error: type[Exception], took: float) -> None:
    """Pauses and replies together take no longer than the attach timeout; then it is an error."""
    steps: PollSteps[Any] = run_poll(both, PageLimit())
    step = next(steps)
    now = 0.0
    for _ in count():
        assert step == ONE
        now += took
        try:
            step = steps.send(TimedReply(failure, at(now - took), at(now)))
        except error:
            break
        assert isinstance(step, Pause)
        now += step.seconds
        assert now <= ATTACH_TIMEOUT + 1e-6
        step = steps.send(None)
    assert ATTACH_TIMEOUT - 1e-6 <= now <= ATTACH_TIMEOUT + took + 1e-6


def test_each_query_has_its_own_timeout() -> None:
    """A slow reply uses up nothing of the next query's time."""
    steps: PollSteps[Any] = run_poll(both, PageLimit())
    next(steps)
    assert isinstance(steps.send(timed(LOST, 0)), Pause)
    assert steps.send(None) == ONE
    assert steps.send(timed(page(1), ATTACH_TIMEOUT - 1)) == TWO
    assert isinstance(steps.send(timed(LOST, ATTACH_TIMEOUT + 5)), Pause)


def test_a_pause_includes_retry_after() -> None:
    """A pause is no shorter than the server's Retry-After."""
    steps: PollSteps[Any] = run_poll(both, PageLimit())
    next(steps)
    pause = steps.send(timed(Failure(kind=FailureKind.BUSY, text="later", retry_after=7.0)))
    assert isinstance(pause, Pause)
    assert 7 <= pause.seconds < 8


def test_a_page_that_is_too_large_is_halved() -> None:
    """The poll starts again at once, with half as many rows; later reads start with all."""
    limit = PageLimit()
    done, result = play(paged, iter([TOO_LARGE, TOO_LARGE, page()]), limit)
    limits = [step.limit for step in done if isinstance(step, LogsQuery)]
    assert limits == [PAGE_LIMIT, PAGE_LIMIT // 2, PAGE_LIMIT // 4]
    assert (len(done), result, limit.rows) == (3, PAGE_LIMIT // 4, PAGE_LIMIT)


def test_a_page_is_halved_until_it_has_one_row() -> None:
    """A server that refuses even a page of one row is sent no further query."""
    limit = PageLimit()
    limit.rows = 7
    attempts: list[int] = []

    def recorded(rows: int) -> Poll[int]:
        attempts.append(rows)
        return paged(rows)

    with pytest.raises(BadResponse, match="too large"):
        play(recorded, repeat(TOO_LARGE, 9), limit)
    assert attempts == [7, 3, 1]


def test_a_server_that_names_the_limit_which_it_refuses_is_an_error() -> None:
    """A page of as many rows as before would be refused for ever."""
    refused = Failure(kind=FailureKind.PAGE_LIMIT, text="at most", limit=PAGE_LIMIT)
    with pytest.raises(BadResponse, match="at most"):
        play(paged, iter([refused, page()]), PageLimit())


def test_a_limit_that_the_server_names_is_kept() -> None:
    """A page limit that the server names holds for all later reads."""
    limit = PageLimit()
    refused = Failure(kind=FailureKind.PAGE_LIMIT, text="at most 50", limit=50)
    assert play(paged, iter([refused, page()]), limit)[1] == 50
    assert limit.rows == 50
    assert play(paged, iter([page()]), limit)[1] == 50


@given(limits=st.lists(st.none() | st.integers(-5, 400)))
def test_page_limits_only_fall(limits: list[int | None]) -> None:
    """Whatever limits a server names, each attempt queries fewer rows, or it is an error."""
    refusals = [Failure(kind=FailureKind.PAGE_LIMIT, text="less", limit=rows) for rows in limits]
    attempts: list[int] = []

    def replies() -> Iterator[Reply]:
        yield from refusals
        yield page()

    def recorded(limit: int) -> Poll[int]:
        attempts.append(limit)
        return (yield from paged(limit))

    try:
        play(recorded, replies(), PageLimit())
    except BadResponse as error:
        assert str(error) == "less"  # noqa: PT017 - either end is right
    assert attempts == sorted(set(attempts), reverse=True)
    assert min(attempts) > 0


def test_closing_a_read_closes_its_poll() -> None:
    """A read that is abandoned half-way closes its poll once."""
    ended: list[str] = []

    def poll(_: int) -> Poll[None]:
        try:
            yield ONE
        finally:
            ended.append("once")

    steps = run_poll(poll, PageLimit())
    next(steps)
    steps.close()
    assert ended == ["once"]
