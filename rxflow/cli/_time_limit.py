"""The time limit of a command, ``--timeout``: one limit for all that the command waits for."""

from datetime import timedelta
from time import monotonic

from rxflow.cli._times import read_duration

__all__ = ["TimeLimit", "read_time_limit"]

_LEAST_SECONDS = 1.0  # for reads, as a watch has for its first look


class TimeLimit:
    """A duration that began when the limit was made.

    Attributes:
        duration: The duration.
    """

    def __init__(self, duration: timedelta) -> None:
        """Begin now."""
        self.duration = duration
        self._began = monotonic()

    @property
    def seconds_left(self) -> float:
        """The seconds that are left for reads; negative once they are over."""
        return max(self.duration.total_seconds(), _LEAST_SECONDS) - (monotonic() - self._began)

    @property
    def rest(self) -> timedelta:
        """What is left for a watch that begins now, less than a second too much.

        Only whole seconds are taken off, since the error at the end of a watch names its limit.
        """
        left = self.duration - timedelta(seconds=int(monotonic() - self._began))
        return max(left, min(self.duration, timedelta(seconds=_LEAST_SECONDS)))


def read_time_limit(text: str) -> TimeLimit:
    """Read a time limit, which begins now: the ``type`` of an option.

    Args:
        text: As for `read_duration`.

    Raises:
        click.BadParameter: It is no duration.
    """
    return TimeLimit(read_duration(text))
