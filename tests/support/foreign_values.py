"""Values of other libraries that users pass in, and stand-ins for those of pandas and numpy.

pandas and numpy are too heavy for every environment. The stand-ins behave as they do where it
matters; `tests/models/test_foreign_arguments.py` tests the real ones where they are installed.
"""

import numbers
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, NamedTuple, Self
from uuid import UUID


class SubclassedTime(datetime):
    """A `datetime` as `pandas.Timestamp` is one: every operation returns the subclass."""

    nanosecond = 999

    def astimezone(self, tz: tzinfo | None = None) -> Self:
        """Return the time in another zone, of this class."""
        return self._own(super().astimezone(tz))

    def replace(self, *args: Any, **kwargs: Any) -> Self:
        """Return the time with other fields, of this class."""
        return self._own(super().replace(*args, **kwargs))

    def __add__(self, other: timedelta) -> Self:
        """Return a later time, of this class."""
        return self._own(super().__add__(other))

    @classmethod
    def _own(cls, time: datetime) -> Self:
        fields = (time.hour, time.minute, time.second, time.microsecond, time.tzinfo)
        return cls(time.year, time.month, time.day, *fields)


class NotATime(datetime):
    """What `pandas.NaT` is: a datetime that equals nothing, not even itself."""

    def __eq__(self, other: object) -> bool:
        """Return False."""
        return False

    def __ne__(self, other: object) -> bool:
        """Return True."""
        return True

    def __hash__(self) -> int:
        """Return the hash of every value of this class."""
        return 0

    def __repr__(self) -> str:
        """Return ``NaT``."""
        return "NaT"


class SubclassedDuration(timedelta):
    """A `timedelta` as `pandas.Timedelta` is one."""


class SubclassedId(UUID):
    """A `uuid.UUID` whose text is not that of an id."""

    def __str__(self) -> str:
        """Return a short text."""
        return f"<{self.hex[:8]}>"


class Dtype(NamedTuple):
    """The dtype of a number of numpy.

    Attributes:
        kind: A letter: ``i`` for whole numbers, ``m`` for durations.
    """

    kind: str


class WholeNumber:
    """A whole number as numpy has them: registered as one, but not an `int`."""

    def __init__(self, value: int, kind: str = "i") -> None:
        """Make a number."""
        self._value = value
        self.dtype = Dtype(kind)

    def __index__(self) -> int:
        """Return the `int`."""
        return self._value

    def __float__(self) -> float:
        """Return the `float`."""
        return float(self._value)

    def __repr__(self) -> str:
        """Show the number."""
        return f"WholeNumber({self._value})"


numbers.Integral.register(WholeNumber)

NOT_A_TIME = NotATime(1, 1, 1)
TIME = datetime(2026, 11, 22, 10, tzinfo=UTC)
