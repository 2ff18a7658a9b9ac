"""Processes that log: what they write, and when their lines reach the server's table."""

from collections.abc import Iterator
from random import Random

import msgspec

_MIN_GAP = 1e-5  # seconds between two uploads of one writer


class Landing(msgspec.Struct, frozen=True, kw_only=True):
    """A line on its way into the table; all times in seconds of the server's clock.

    Attributes:
        text: The line.
        timestamp: When it was written, by the writer's clock.
        inserted: When the server inserted it.
        landed: When its commit ended, so that it can be read.
    """

    text: str
    timestamp: float
    inserted: float
    landed: float


class Writer(msgspec.Struct, frozen=True, kw_only=True):
    """A process that logs: in order, by its own clock, in batches.

    Its lines land in the order in which it wrote them, since it waits for each response before the
    next upload.

    Attributes:
        name: What its lines begin with: line 3 of ``a`` is ``a:3``.
        lines: When it writes them, in seconds, in order.
        skew: Seconds by which its clock is ahead; negative: behind.
        resolution: Seconds between two ticks of its clock.
        batch: Seconds between its uploads; 0: each line is uploaded at once.
        lag: Seconds that an upload takes at most.
        late: Probability that an upload takes one of `late_by` instead.
        late_by: Those seconds, one of which is drawn.
        commit: Seconds that a commit takes: 0 or this.
        stalled: Probability that a commit takes one of `stalled_by` instead.
        stalled_by: Those seconds, one of which is drawn.

    Example:
        >>> from random import Random
        >>> from rxflow.testing import Writer
        >>> writer = Writer(name="a", lines=(1.0, 2.0), skew=3600.0, batch=2.0)
        >>> [line.text for line in writer.landings(Random(0))]
        ['a:0', 'a:1']
        >>> [line.timestamp for line in writer.landings(Random(0))]
        [3601.0, 3602.0]
    """

    name: str
    lines: tuple[float, ...]
    skew: float = 0.0
    resolution: float = 1e-6
    batch: float = 0.0
    lag: float = 0.0
    late: float = 0.0
    late_by: tuple[float, ...] = (5.0, 20.0, 60.0)
    commit: float = 0.0
    stalled: float = 0.0
    stalled_by: tuple[float, ...] = (2.0,)

    def landings(self, random: Random) -> Iterator[Landing]:
        """Draw how the lines reach the server, in their order."""
        free = 0.0  # when the writer's last upload was committed
        for number, written in enumerate(self.lines):
            upload = self.batch * (written // self.batch + 1) if self.batch else written
            lag = random.uniform(0, self.lag)
            if random.random() < self.late:
                lag = random.choice(self.late_by)
            inserted = max(free + _MIN_GAP, upload + lag)
            commit = random.choice((0.0, self.commit))
            if random.random() < self.stalled:
                commit = random.choice(self.stalled_by)
            free = inserted + commit
            yield Landing(
                text=f"{self.name}:{number}",
                timestamp=(written + self.skew) // self.resolution * self.resolution,
                inserted=inserted,
                landed=free,
            )
