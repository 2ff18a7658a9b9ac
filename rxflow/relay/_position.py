"""Where a reader is in the log of a run, as a text that a program keeps and passes again."""

import re
from typing import Self

import msgspec

from rxflow._models.arguments import check_type

_TEXT = re.compile(r"([0-9a-f]{1,64})\.(\d{1,20})\.(\d{1,20})(\.closed)?")


class LogPosition(msgspec.Struct, frozen=True):
    """After one event of a log.

    Attributes:
        log_id: The log.
        position: The position of the last page of which all events were handed on.
        number: How many events of the log were handed on.
        is_closed: Whether the last of them was the run's `Closed`.
    """

    log_id: str = ""
    position: int = 0
    number: int = 0
    is_closed: bool = False

    def __str__(self) -> str:
        """Return the text of it."""
        closed = ".closed" if self.is_closed else ""
        return f"{self.log_id}.{self.position}.{self.number}{closed}"

    @classmethod
    def parse(cls, name: str, text: object) -> Self:
        """Return what a text says.

        Args:
            name: The name of the argument, for the error.
            text: The text; None is the beginning of any log.

        Raises:
            TypeError: It is no text.
            ValueError: It is not the text of a position.
        """
        if text is None:
            return cls()
        advice = "the position of a stream of the same run, or None for the beginning"
        check_type(name, text, str, advice)
        match = _TEXT.fullmatch(str(text))
        if match is None:
            raise ValueError(f"{name}={text!r} is not a position; pass {advice}")
        log_id, position, number, closed = match.groups()
        return cls(log_id, int(position), int(number), closed is not None)
