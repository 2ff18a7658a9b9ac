"""Asking once: what a client reads beside watches, with patience, and without the I/O.

A poll wants all its answers; a failure is waited out and the question put again, until patience
ends. Whoever carries this out, in a thread or on an event loop, sends back what came of each step.
"""

from collections.abc import Callable, Generator
from random import Random
from typing import Any, Generic, NamedTuple, TypeVar

from rxflow._models.times import Now
from rxflow._protocol.failures import Failure, FailureKind
from rxflow._protocol.pages import Page, Poll
from rxflow._protocol.queries import PAGE_LIMIT, Query
from rxflow._protocol.retry import RetryPolicy
from rxflow.errors import BadResponse, RxflowError

T = TypeVar("T")


class Pause(NamedTuple):
    """Wait before the next step."""

    seconds: float


class Finished(NamedTuple, Generic[T]):
    """Done: what the poll learnt."""

    value: T


class TimedReply(NamedTuple):
    """What came of a question.

    Attributes:
        answer: What the server said.
        asked: When the question was sent.
        now: When the answer was there.
    """

    answer: Page[Any] | Failure
    asked: Now
    now: Now


class PageLimit:
    """The most rows that a server gives at once, as far as it is known."""

    def __init__(self) -> None:
        """Begin with what Prefect allows if nobody configures it."""
        self.rows = PAGE_LIMIT


PollSteps = Generator[Query | Pause | Finished[T], TimedReply | None]
"""Yields what to do; is sent what came of a question, and None after a pause."""


def run_poll(poll: Callable[[int], Poll[T]], limit: PageLimit) -> PollSteps[T]:
    """Carry out a poll.

    Args:
        poll: Makes the poll, given the most rows to ask for at once.
        limit: What is known of that, and what is learnt.

    Raises:
        RxflowError: Patience ended, or the server said that asking again is no use.
    """
    rows = limit.rows
    while True:
        asking = poll(rows)
        try:
            query = next(asking)
            while True:
                answer = yield from _send_until_answered(query)
                if isinstance(answer, Failure):
                    rows = _lower_limit(rows, answer, limit)
                    break
                query = asking.send(answer)
        except StopIteration as end:
            yield Finished(end.value)


def _send_until_answered(
    query: Query,
) -> Generator[Query | Pause | Finished[Any], TimedReply | None, Page[Any] | Failure]:
    """Ask until there is an answer; of failures only `FailureKind.PAGE_LIMIT` is returned."""
    patience = RetryPolicy(Random())  # noqa: S311 - jitter, not a secret
    while True:
        answered = yield query
        if answered is None:
            continue  # it was not asked yet
        answer, asked, now = answered
        patience.record_sent(asked)
        if isinstance(answer, Page) or answer.kind is FailureKind.PAGE_LIMIT:
            return answer
        wait = patience.record_failure(answer, now)
        if isinstance(wait, RxflowError):
            raise wait
        yield Pause(wait)


def _lower_limit(rows: int, failure: Failure, limit: PageLimit) -> int:
    lower = failure.limit or rows // 2
    if not 0 < lower < rows:
        raise BadResponse(failure.text)
    if failure.limit is not None:  # which holds for whatever is asked for
        limit.rows = lower
    return lower
