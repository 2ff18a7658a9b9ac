"""Asking once: what a read does next, step by step, without a server or a clock."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxflow._models.times import Now
from rxflow._protocol.failures import Failure, FailureKind, Reply
from rxflow._protocol.pages import Page, Poll
from rxflow._protocol.poll_runner import Finished, PageLimit, Pause, PollSteps, TimedReply, run_poll
from rxflow._protocol.queries import PAGE_LIMIT, LogsQuery, Query, RunQuery, StatesQuery
from rxflow._protocol.retry import ATTACH_TIMEOUT
from rxflow.errors import AuthError, BadResponse, RunNotFound, ServerError, Unreachable

LOST = Failure(kind=FailureKind.NETWORK, text="no answer")
BUSY = Failure(kind=FailureKind.BUSY, text="come again")
TOO_MUCH = Failure(kind=FailureKind.PAGE_LIMIT, text="too large")
ONE = RunQuery("one")
TWO = StatesQuery("two")


def at(seconds: float) -> Now:
    """A moment."""
    return Now(seconds, datetime.fromtimestamp(seconds, UTC))


def said(answer: Reply, seconds: float = 0.0) -> TimedReply:
    """What came of a question that was asked and answered then."""
    return TimedReply(answer, at(seconds), at(seconds))


def page(*rows: Any) -> Page[Any]:
    """A good answer."""
    return Page(rows)


def both(_: int) -> Poll[list[Any]]:
    """Put two questions, and learn both answers' rows."""
    first = yield ONE
    second = yield TWO
    return [*first.rows, *second.rows]


def paged(limit: int) -> Poll[int]:
    """Ask for as many rows as may be asked for, and learn how many that were."""
    yield LogsQuery(flow_run_ids=("run",), limit=limit)
    return limit


def play(
    poll: Callable[[int], Poll[Any]], answers: Iterator[Reply], limit: PageLimit
) -> tuple[list[Query | Pause], Any]:
    """Carry out a poll with these answers; what it did, and what it learnt."""
    steps: PollSteps[Any] = run_poll(poll, limit)
    step = next(steps)
    done: list[Query | Pause] = []
    while not isinstance(step, Finished):
        done.append(step)
        step = steps.send(None if isinstance(step, Pause) else said(next(answers)))
    return done, step.value


def test_questions_are_put_one_after_the_other() -> None:
    """A poll's questions come in its order, each when the one before it has its answer."""
    done, learnt = play(both, iter([page(1), page(2, 3)]), PageLimit())
    assert (done, learnt) == ([ONE, TWO], [1, 2, 3])


def test_a_poll_may_have_no_question() -> None:
    """A poll that asks nothing has learnt at once what it learns."""

    def nothing(_: int) -> Poll[str]:
        yield from ()
        return "nothing"

    assert play(nothing, iter([]), PageLimit()) == ([], "nothing")


def test_only_the_question_that_failed_is_put_again() -> None:
    """After a failure comes a pause and the same question; what was learnt before it is kept."""
    done, learnt = play(both, iter([page(1), LOST, BUSY, page(2)]), PageLimit())
    assert [step for step in done if not isinstance(step, Pause)] == [ONE, TWO, TWO, TWO]
    assert [isinstance(step, Pause) for step in done] == [False, False, True, False, True, False]
    assert learnt == [1, 2]


@pytest.mark.parametrize(
    ("trouble", "error"),
    [
        (FailureKind.RUN_NOT_FOUND, RunNotFound),
        (FailureKind.AUTH, AuthError),
        (FailureKind.REJECTED, BadResponse),
        (FailureKind.CERTIFICATE, Unreachable),
    ],
)
def test_what_waiting_does_not_mend_is_raised(trouble: FailureKind, error: type[Exception]) -> None:
    """Where asking again is no use the error comes at once, in the failure's words."""
    with pytest.raises(error, match="the reason"):
        play(both, iter([page(1), Failure(kind=trouble, text="the reason")]), PageLimit())


@pytest.mark.parametrize(("failure", "error"), [(LOST, Unreachable), (BUSY, ServerError)])
@given(took=st.floats(0.01, 10))
def test_patience_ends(failure: Failure, error: type[Exception], took: float) -> None:
    """Pauses and answers together last no longer than patience, and then it is an error."""
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


def test_each_question_has_all_the_patience() -> None:
    """A question that was answered late has used up nothing of the next one's time."""
    steps: PollSteps[Any] = run_poll(both, PageLimit())
    next(steps)
    assert isinstance(steps.send(said(LOST, 0)), Pause)
    assert steps.send(None) == ONE
    assert steps.send(said(page(1), ATTACH_TIMEOUT - 1)) == TWO
    assert isinstance(steps.send(said(LOST, ATTACH_TIMEOUT + 5)), Pause)


def test_the_server_is_left_alone_as_long_as_it_wants() -> None:
    """A pause is no shorter than what the server asked for."""
    steps: PollSteps[Any] = run_poll(both, PageLimit())
    next(steps)
    pause = steps.send(said(Failure(kind=FailureKind.BUSY, text="later", retry_after=7.0)))
    assert isinstance(pause, Pause)
    assert 7 <= pause.seconds < 8


def test_too_large_an_answer_is_halved() -> None:
    """Of rows too large for one answer half as many are asked for, without a pause, anew."""
    limit = PageLimit()
    done, learnt = play(paged, iter([TOO_MUCH, TOO_MUCH, page()]), limit)
    asked = [step.limit for step in done if isinstance(step, LogsQuery)]
    assert asked == [PAGE_LIMIT, PAGE_LIMIT // 2, PAGE_LIMIT // 4]
    assert (len(done), learnt, limit.rows) == (3, PAGE_LIMIT // 4, PAGE_LIMIT)


def test_what_the_server_gives_at_once_is_remembered() -> None:
    """A limit that the server names holds for all later reads."""
    limit = PageLimit()
    refused = Failure(kind=FailureKind.PAGE_LIMIT, text="at most 50", limit=50)
    assert play(paged, iter([refused, page()]), limit)[1] == 50
    assert limit.rows == 50
    assert play(paged, iter([page()]), limit)[1] == 50


@given(limits=st.lists(st.none() | st.integers(-5, 400)))
def test_asking_for_fewer_rows_comes_to_an_end(limits: list[int | None]) -> None:
    """Whatever limits a server names, fewer rows are asked for each time, or it is an error."""
    refusals = [Failure(kind=FailureKind.PAGE_LIMIT, text="less", limit=rows) for rows in limits]
    asked: list[int] = []

    def answers() -> Iterator[Reply]:
        yield from refusals
        yield page()

    def noting(limit: int) -> Poll[int]:
        asked.append(limit)
        return (yield from paged(limit))

    try:
        play(noting, answers(), PageLimit())
    except BadResponse as error:
        assert str(error) == "less"  # noqa: PT017 - either end is right
    assert asked == sorted(set(asked), reverse=True)
    assert min(asked) > 0


def test_who_stops_asking_leaves_nothing() -> None:
    """A read that is given up half way ends its poll."""
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
