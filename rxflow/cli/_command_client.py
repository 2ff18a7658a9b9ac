"""The client of a command: its reads keep to ``--timeout``, and say that they wait for the server.

A watch has a limit and notices of its own, so it needs neither. Nor do reads of other threads, such
as those of names: they are beside what the command waits for.
"""

import math
import threading
from collections.abc import Callable
from datetime import timedelta
from time import monotonic
from typing import TYPE_CHECKING, Any

from rxflow import Client, WatchTimedOut
from rxflow._models.durations import short_duration
from rxflow._protocol.failures import Failure, FailureKind
from rxflow._protocol.poll_runner import Pause, TimedReply
from rxflow._protocol.queries import Query
from rxflow._protocol.retry import ATTACH_TIMEOUT
from rxflow._runtime.clocks import pause
from rxflow.cli._time_limit import TimeLimit

if TYPE_CHECKING:
    from rxflow._net.channel import Channel
    from rxflow._net.transport import WhileWaiting

__all__ = ["CommandClient"]

NOTABLE_WAIT = 2.0
"""Seconds without a reply after which a sentence says so."""


class CommandClient(Client):
    """A client whose blocking reads end at a time limit, and say once if the server is silent."""

    def __init__(
        self,
        *,
        limit: TimeLimit | None = None,
        say: Callable[[str], object] | None = None,
        **settings: Any,
    ) -> None:
        """Load the settings of the server; no request is sent yet.

        Args:
            limit: When reads of this thread end with `rxflow.WatchTimedOut`; None for no limit.
            say: Shows the sentence that the server does not reply yet; None to leave it out.
            settings: The arguments of `rxflow.Client`.
        """
        super().__init__(**settings)
        self._limit = limit
        self._say = say
        self._thread = threading.get_ident()
        self._waiting_since: float | None = None
        self._failure: Failure | None = None

    def _carry_out(
        self,
        step: Query | Pause,
        channel: "Channel",
        while_waiting: "WhileWaiting | None" = None,
    ) -> TimedReply | None:
        if threading.get_ident() != self._thread:
            return super()._carry_out(step, channel, while_waiting)
        if isinstance(step, Pause):
            self._pause(step.seconds)
            return None
        self._check_limit()
        if self._waiting_since is None:
            self._waiting_since = monotonic()
        timed = super()._carry_out(step, channel, self._look)
        if timed is not None and isinstance(timed.reply, Failure):
            # Before the failure is recorded, since it may be that of the request broken off here.
            self._check_limit()
            self._failure = timed.reply
        else:
            self._waiting_since = self._failure = None
        return timed

    def _pause(self, seconds: float) -> None:
        end = monotonic() + seconds
        while (left := end - monotonic()) > 0:
            due = self._look()
            if due is None:
                raise self._timed_out()
            pause(min(left, due))

    def _look(self) -> float | None:
        """Do what is due while a read waits; return when more is, or None at the limit."""
        limit = math.inf if self._limit is None else self._limit.seconds_left
        if limit <= 0:
            return None
        if self._say is None or self._waiting_since is None:
            return limit
        due = self._waiting_since + NOTABLE_WAIT - monotonic()
        if due > 0:
            return min(limit, due)
        say, self._say = self._say, None
        say(self._sentence())
        return limit

    def _check_limit(self) -> None:
        if self._limit is not None and self._limit.seconds_left <= 0:
            raise self._timed_out()

    def _sentence(self) -> str:
        longest = timedelta(seconds=ATTACH_TIMEOUT)
        if self._limit is not None:
            longest = min(longest, self._limit.duration)
        reason = f" ({_reason(self._failure)})" if self._failure is not None else ""
        seconds = f"{longest.total_seconds():g} s"
        return f"{self.api_url} does not reply yet{reason}; trying for up to {seconds} ..."

    def _timed_out(self) -> WatchTimedOut:
        length = short_duration(self._limit.duration) if self._limit is not None else "none"
        text = f"the time limit of {length} is over, and not all was read"
        if self._failure is not None:
            text += f" (the last request failed: {self._failure.text})"
        elif self._waiting_since is not None:
            text += f" ({self.api_url} does not reply)"
        return WatchTimedOut(text)


def _reason(failure: Failure) -> str:
    if failure.kind is FailureKind.REFUSED:
        return "connection refused"
    return failure.text[:1].lower() + failure.text[1:]
