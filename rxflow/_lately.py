"""How new log rows lately came, and so what the next poll is to expect; a guess costs, no more."""

import msgspec

_MOST = 400  # what lies deeper is come upon on the way down, for about one request more
_HALF_LIFE = 30.0  # seconds of the server's time
_MARGIN = 1.125


class Lately(msgspec.Struct, frozen=True):
    """How new rows of a part of the table lately came.

    Attributes:
        new: How many the last poll found.
        step: How many known rows were later than the first of them, or somewhat more for a while.
    """

    new: int = 0
    step: float = 0.0

    def followed_by(self, new: int, depth: int, seconds: float) -> "Lately":
        """The same after one more poll.

        Args:
            new: How many rows it found.
            depth: How many known rows were later than the first of it.
            seconds: Since the poll before.
        """
        step = self.step * 0.5 ** (max(0.0, seconds) / _HALF_LIFE)
        return Lately(new, max(step, min(_MOST, depth * _MARGIN)))

    def joined(self, other: "Lately") -> "Lately":
        """What to expect of two tables in one."""
        return Lately(self.new + other.new, min(_MOST, self.step + other.step))
