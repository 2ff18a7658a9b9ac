"""Where a reader is in the log of a run, as a text that a program keeps and passes again.

    12.3184.5a0c7f26d1e49b38             after 12 events, the last of them in that page, at 3184
    12.3184.5a0c7f26d1e49b38.closed      ... and the last was the run's Closed
    10.3170.c1d2e3f4a5b60718~5a0c...     after 10 events, the last of them in the page after it

The ids of the pages are in it, since a broker that lost the end of a log, as in a power failure,
may have other pages at the same positions.
"""

import re
from typing import Self

import msgspec

from rxflow._models.arguments import check_type

_ID = "[A-Za-z0-9_-]{1,64}"
_TEXT = re.compile(rf"([0-9]{{1,20}})\.([0-9]{{1,20}})\.({_ID})?(?:~({_ID})|(\.closed))?")


class LogPosition(msgspec.Struct, frozen=True):
    """After one event of a log.

    Attributes:
        number: How many events of the log were handed on.
        position: The position of the last page of which all events were handed on; 0 for none.
        page_id: The id of that page; "" for none.
        begun_id: The id of the page after it, if some of its events were handed on; "" otherwise.
        is_closed: Whether the last of them was the run's `Closed`.
    """

    number: int = 0
    position: int = 0
    page_id: str = ""
    begun_id: str = ""
    is_closed: bool = False

    def __str__(self) -> str:
        """Return the text of it."""
        begun = f"~{self.begun_id}" if self.begun_id else ""
        closed = ".closed" if self.is_closed else ""
        return f"{self.number}.{self.position}.{self.page_id}{begun}{closed}"

    @property
    def is_start(self) -> bool:
        """Whether no event was handed on."""
        return not self.number

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
        match = _TEXT.fullmatch(str(text).strip())  # as of a line of a file
        if match is None or (int(match[2]) > 0) != bool(match[3]):
            raise ValueError(f"{name}={text!r} is not a position; pass {advice}")
        number, position, page_id, begun_id, closed = match.groups("")
        return cls(int(number), int(position), page_id, begun_id, bool(closed))
