"""Validate the arguments of public functions and turn them into canonical values.

Each function takes a caller's value and returns what the layers above work with, or raises an error
that shows the value and says what to pass instead. Rules about one function alone stay with it;
settings have their own rules in `rxflow._config`.
"""

import logging
from datetime import timedelta
from uuid import UUID

from rxflow.errors import InvalidRunId, RxflowError


def canonical_id(
    value: object,
    noun: str = "flow run",
    *,
    error: type[RxflowError] = InvalidRunId,
    only_text: bool = False,
) -> str:
    """Return an id as a UUID in lower case, with dashes.

    Args:
        value: The id.
        noun: What the id belongs to, for the error.
        error: The error to raise for an id that is not a UUID.
        only_text: Whether a value that is not a string is a TypeError, and not ``error``.

    Raises:
        RxflowError: The value is not a UUID; of the class ``error``.
        TypeError: The value is not a string and ``only_text`` is set.
    """
    if isinstance(value, str):
        try:
            return str(UUID(value))
        except ValueError:
            pass
    elif only_text:
        raise TypeError(f"A {noun} id is text, not {value!r}")
    shown = repr(value)[:80]
    raise error(
        f"{shown} is not a {noun} id; an id is a UUID, as Prefect's UI and command line show it"
    )


def level_number(level: object) -> int:
    """Return the number of a log level.

    Args:
        level: A number, or a name that `logging` knows, in upper or lower case.

    Raises:
        TypeError: The level is neither a number nor a name.
        ValueError: No level has this name.
    """
    if isinstance(level, int) and not isinstance(level, bool):
        return level
    if not isinstance(level, str):
        raise TypeError(f"A level is a number such as 40, or a name such as 'ERROR', not {level!r}")
    names = logging.getLevelNamesMapping()
    if level.upper() not in names:
        raise ValueError(f"No level is named {level!r}; there are {', '.join(names)}")
    return names[level.upper()]


def positive_count(name: str, value: object) -> int:
    """Return a whole number of at least 1.

    Args:
        name: The argument's name, for the error.
        value: The number.

    Raises:
        TypeError: The value is not a whole number.
        ValueError: The value is less than 1.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name}={value!r} is not a whole number")
    if value < 1:
        raise ValueError(f"{name}={value!r} is less than 1; pass 1 or more")
    return value


def seconds_of(name: str, value: timedelta | float, *, zero: bool = True) -> float:
    """Return a duration in seconds.

    Args:
        name: The argument's name, for the error.
        value: A timedelta, or a number of seconds.
        zero: Whether 0 is valid.

    Raises:
        ValueError: The duration is negative, infinite or not a number, or 0 where 0 is not valid.
    """
    seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    if isinstance(value, bool) or not 0 <= seconds < float("inf") or (seconds == 0 and not zero):
        least = "from 0 on" if zero else "above 0"
        raise ValueError(
            f"{name}={value!r} is not a duration; pass a timedelta, or seconds {least}"
        )
    return seconds
