"""Where a reader of all logs of a workspace is, as a text that a program keeps and passes again.

A broker orders the pages of all logs, so that one number says which were read, however many logs
there are.
"""

import re
from typing import Self

import msgspec

from rxflow._models.arguments import check_type

_TEXT = re.compile(r"all\.(\d{1,20})\.([0-9a-z]{0,32})(?:\.([A-Za-z0-9_-]{1,64})\.(\d{1,9}))?")


class WorkspacePosition(msgspec.Struct, frozen=True):
    """After one event of the logs of a workspace.

    Attributes:
        position: The position of the last page of which all events were handed on.
        mark: What the broker compares to notice that its pages are others now.
        page_id: The page of which some events were handed on; "" if there is none.
        count: How many events of that page were.
    """

    position: int = 0
    mark: str = ""
    page_id: str = ""
    count: int = 0

    def __str__(self) -> str:
        """Return the text of it."""
        begun = f".{self.page_id}.{self.count}" if self.count else ""
        return f"all.{self.position}.{self.mark}{begun}"

    @property
    def is_start(self) -> bool:
        """Whether no event was handed on."""
        return not (self.position or self.count)

    @classmethod
    def parse(cls, name: str, text: object) -> Self:
        """Return what a text says.

        Args:
            name: The name of the argument, for the error.
            text: The text; None is the beginning of all logs.

        Raises:
            TypeError: It is no text.
            ValueError: It is not the text of a position.
        """
        if text is None:
            return cls()
        advice = "the position of a stream of all runs, or None for the beginning"
        check_type(name, text, str, advice)
        match = _TEXT.fullmatch(str(text).strip())  # as of a line of a file
        if match is None:
            raise ValueError(f"{name}={text!r} is not a position; pass {advice}")
        position, mark, page_id, count = match.groups()
        return cls(int(position), mark, page_id or "", int(count or 0))
