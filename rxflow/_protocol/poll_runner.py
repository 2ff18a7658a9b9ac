"""Run one poll for a read outside of watches: retries, pauses and page limits, without I/O.

`run_poll` yields the steps of a read; the client carries each out, in a thread or on an event loop,
and sends the result back. A failed query is retried until the `RetryPolicy` gives up. The queries
themselves come from the poll. A watch has its own runner, `rxflow._watching.session`.
"""

from collections.abc import Callable, Generator
from random import Random
from typing import Any, Generic, NamedTuple, TypeVar

from rxflow._models.times import Now
from rxflow._protocol.failures import Failure, FailureKind, Reply
from rxflow._protocol.pages import Page, Poll
from rxflow._protocol.queries import PAGE_LIMIT, Query
from rxflow._protocol.retry import RetryPolicy
from rxflow.errors import BadResponse, RxflowError

T = TypeVar("T")


class Pause(NamedTuple):
    """Wait before the next step.

    Attributes:
        seconds: How long.
    """

    seconds: float


class Finished(NamedTuple, Generic[T]):
    """The last step.

    Attributes:
        value: The return value of the poll.
    """

    value: T


class TimedReply(NamedTuple):
    """The reply to a query and the times of both.

    Attributes:
        reply: The page or the failure.
        sent: When the query was sent.
        received: When the reply was received.
    """

    reply: Reply
    sent: Now
    received: Now


class PageLimit:
    """The most rows that a server puts into one page, shared by all reads of a client.

    Attributes:
        rows: The limit as far as it is known; it only ever falls.
    """

    def __init__(self) -> None:
        """Start with Prefect's default."""
        self.rows = PAGE_LIMIT


PollSteps = Generator[Query | Pause | Finished[T], TimedReply | None]
"""Yields steps; is sent a `TimedReply` after a query and None after a pause."""


def run_poll(make_poll: Callable[[int], Poll[T]], page_limit: PageLimit) -> PollSteps[T]:
    """Run a poll to its end, with a fresh retry policy for each of its queries.

    Args:
        make_poll: Makes the poll, given the most rows to query at once. It is called again, with
            fewer rows, when the server refuses so large a page.
        page_limit: The server's page limit; lowered when the server names a lower one.

    Yields:
        Queries to send, pauses to wait for, and `Finished` last.

    Raises:
        RxflowError: The retry policy gave up.
    """
    rows = page_limit.rows
    while True:
        poll = make_poll(rows)
        mid_read = False
        try:
            query = next(poll)
            while True:
                reply = yield from _send_with_retries(query, mid_read=mid_read)
                if isinstance(reply, Failure):
                    rows = _lower_limit(rows, reply, page_limit)
                    break
                mid_read = True
                query = poll.send(reply)
        except StopIteration as end:
            yield Finished(end.value)


def _send_with_retries(
    query: Query, *, mid_read: bool
) -> Generator[Query | Pause | Finished[Any], TimedReply | None, Reply]:
    """Send a query until a page is received, or a failure of kind `FailureKind.PAGE_LIMIT`."""
    retry = RetryPolicy(Random(), mid_read=mid_read)  # noqa: S311 - jitter, not a secret
    while True:
        result = yield query
        if result is None:
            continue  # advanced without a reply: yield the query again
        reply, sent, received = result
        retry.record_sent(sent)
        if isinstance(reply, Page) or reply.kind is FailureKind.PAGE_LIMIT:
            return reply
        delay = retry.record_failure(reply, received)
        if isinstance(delay, RxflowError):
            raise delay
        yield Pause(delay)


def _lower_limit(rows: int, failure: Failure, page_limit: PageLimit) -> int:
    lower = failure.limit or rows // 2
    if not 0 < lower < rows:
        raise BadResponse(failure.text)
    if failure.limit is not None:
        # Only a limit that the server names holds for every query. A page that was too large in
        # bytes says nothing about the next table's rows.
        page_limit.rows = lower
    return lower
