"""What events of every kind have: the fields, the order, the hash and the text.

The kinds and their JSON are in `rxflow.events`.
"""

import logging
from collections.abc import Iterator
from datetime import datetime
from typing import Any, ClassVar

import msgspec

from rxflow._escapes import one_line
from rxflow._markup import element

_LEVEL_COLOURS = ((logging.ERROR, "#dc3b3b"), (logging.WARNING, "#bf8700"))
"""From a level on, where one differs from the text around; for light and dark alike."""


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """An event of any kind; each kind has a timestamp, a level and a message, too."""

    flow_run_id: str
    late: bool = False
    # Unset for a run that is its own root, so that rows of such runs are decoded as they are.
    root: str | msgspec.UnsetType = msgspec.field(default=msgspec.UNSET, name="root_flow_run_id")

    kind: ClassVar[str]
    _rank: ClassVar[int] = 0  # -1: sorted before all others, 1: after others of the same time

    @property
    def root_flow_run_id(self) -> str:
        """The id of the run whose subflow the run is, at any depth, if known; else its own id."""
        return self.flow_run_id if self.root is msgspec.UNSET else self.root

    def __iter__(self) -> Iterator[Any]:
        """Unpack: ``timestamp, level, message = event``."""
        event: Any = self
        return iter((event.timestamp, event.level, event.message))

    # Sorting keeps the order of emission among events of one timestamp. Of two such events neither
    # is less than the other, and yet they are not equal.

    def __lt__(self, other: object) -> bool:
        return _order(self) < _order(other) if isinstance(other, Event) else NotImplemented

    def __le__(self, other: object) -> bool:
        return _order(self) <= _order(other) if isinstance(other, Event) else NotImplemented

    def __gt__(self, other: object) -> bool:
        return _order(self) > _order(other) if isinstance(other, Event) else NotImplemented

    def __ge__(self, other: object) -> bool:
        return _order(self) >= _order(other) if isinstance(other, Event) else NotImplemented

    def __hash__(self) -> int:
        # Equal events agree in these. Other fields may hold mappings, which have no hash.
        event: Any = self
        return hash((self.kind, self.flow_run_id, getattr(event, "id", None) or event.timestamp))

    def __str__(self) -> str:
        """Show the event as one line: its time, the name of its level, its message."""
        return line_of(self)

    def _repr_html_(self) -> str:
        """Show the event for notebooks: its time, its level in colour, its message in full."""
        return html_of(self)


def line_of(event: Any) -> str:
    """Format an event as one line: its time, the name of its level, its message, escaped."""
    time: str = event.timestamp.isoformat(sep=" ", timespec="milliseconds")
    return f"{time} {_level_name(event):8} {one_line(event.message)}"


def html_of(event: Any) -> str:
    """Show an event as HTML, in the shape of `line_of`; lines of the message stay lines."""
    time: str = event.timestamp.isoformat(sep=" ", timespec="milliseconds")
    colour = next((name for least, name in _LEVEL_COLOURS if event.level >= least), None)
    style = {"style": colour and f"color: {colour}; font-weight: bold"}
    level = element("span", style, f"{_level_name(event):8}")
    box = {"style": "white-space: pre-wrap; overflow-wrap: anywhere; margin: 0"}
    return element("pre", box, f"{time} ", level, f" {event.message}")


def _level_name(event: Any) -> str:
    level: int = event.level
    return logging.getLevelName(level)


def _order(event: Any) -> tuple[bool, datetime, int]:
    # A log line may be dated before its run was created, so a RunSeen is first whatever its time.
    rank: int = event._rank  # noqa: SLF001 - of a kind of events
    return rank >= 0, event.timestamp, rank
