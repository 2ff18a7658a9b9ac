"""Which log lines are shown: by level, time and text, and how many.

They are counted, for ``--head``, after all others are left out. Only log lines are selected;
states and notices are shown whatever the options are.
"""

import re
from datetime import datetime

import msgspec

from rxflow import FlowRunLog

__all__ = ["LogSelection"]


class LogSelection(msgspec.Struct, frozen=True, kw_only=True):
    """Which log lines are shown: those that meet all conditions.

    Attributes:
        level: Lines of this level and above; 0 for all.
        since: Lines of this time and later.
        until: Lines of this time and earlier.
        include: Lines whose message has one of these patterns; all if there are none.
        exclude: Not those whose message has one of these.
        head: The most lines to show, from the first on.
        tail: The most lines to show of those that are there at the beginning, up to the last.
    """

    level: int = 0
    since: datetime | None = None
    until: datetime | None = None
    include: tuple[re.Pattern[str], ...] = ()
    exclude: tuple[re.Pattern[str], ...] = ()
    head: int | None = None
    tail: int | None = None

    @property
    def takes_all(self) -> bool:
        """Whether it takes all lines that are read; level and time of the first limit the reads."""
        limits = (self.until, self.head, self.tail)
        return not self.include and not self.exclude and all(limit is None for limit in limits)

    def accepts(self, line: FlowRunLog) -> bool:
        """Whether a line meets the conditions that are about itself."""
        return (
            line.level >= self.level
            and (self.since is None or line.timestamp >= self.since)
            and (self.until is None or line.timestamp <= self.until)
            and (not self.include or any(found.search(line.message) for found in self.include))
            and not any(found.search(line.message) for found in self.exclude)
        )
