"""The nouns: runs, states, task runs, pools and workers as plain frozen data.

Nothing here knows a server. A backend decodes its answers into these structs, the events carry
them and the fold puts them together. Every datetime is aware; ids are lower-case strings.
"""

from datetime import timedelta
from uuid import UUID

from rxflow.errors import InvalidRunId


def canonical_id(text: str, noun: str = "flow run") -> str:
    """The canonical form of a run's id.

    Args:
        text: The id.
        noun: What it is the id of.

    Raises:
        InvalidRunId: It is not a UUID.
    """
    try:
        return str(UUID(text))
    except (ValueError, AttributeError, TypeError):
        shown = repr(text)[:80]
        raise InvalidRunId(
            f"{shown} is not a {noun} id; an id is a UUID, as Prefect's pages and its command line "
            "show it"
        ) from None


def seconds_of(name: str, value: timedelta | float, *, zero: bool = True) -> float:
    """An argument that is a time, in seconds.

    Args:
        name: The argument's name.
        value: What was passed.
        zero: Whether it may be 0.

    Raises:
        ValueError: It is negative, endless or not a number.
    """
    seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    if isinstance(value, bool) or not 0 <= seconds < float("inf") or (seconds == 0 and not zero):
        least = "from 0 on" if zero else "above 0"
        raise ValueError(f"{name}={value!r} is not a time; pass a timedelta, or seconds {least}")
    return seconds
