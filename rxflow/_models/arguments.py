"""Validate the arguments of public functions and turn them into canonical values.

Each function takes the argument's name and a caller's value. It returns what the layers above work
with, or raises an error that names the argument, shows the value and shows what to pass instead.
Rules about one function alone stay with it; settings have their own rules in `rxflow._config`.
"""

import inspect
import logging
import math
import operator
import os
import re
from datetime import date, datetime, timedelta
from decimal import Decimal
from numbers import Integral, Real
from types import UnionType
from typing import Any, cast, get_args
from uuid import UUID

from rxflow._models.times import plain_utc
from rxflow.errors import InvalidRunId, RxflowError

LONGEST = timedelta(days=36525).total_seconds()
"""The longest duration in seconds, 100 years; longer ones overflow the timers of Python."""

_UUID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.IGNORECASE)
_CUT = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{0,26}(?:\.\.\.)?", re.IGNORECASE)
_EXAMPLE_ID = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"
_EXAMPLE_TIME = "datetime(2026, 11, 22, tzinfo=UTC)"
_LARGEST_LEVEL = 2**31 - 1  # of the column in which a server stores levels


# -- ids ------------------------------------------------------------------------------------------


def canonical_id(
    name: str, value: object, *, error: type[RxflowError] = InvalidRunId, type_error: bool = False
) -> str:
    """Return an id as a UUID in lower case, with dashes.

    Args:
        name: The argument's name, such as ``flow_run_id``; it says what the id belongs to.
        value: A `uuid.UUID`, or any text that it can be made of, with or without blanks around.
        error: The error to raise for a value that is not a UUID.
        type_error: Whether a value of another type is a TypeError, and not ``error``.

    Raises:
        RxflowError: The value is not a UUID; of the class ``error``.
        TypeError: The value is neither text nor a UUID, and ``type_error`` is set.
    """
    canonical = _parse_id(value)
    if canonical is not None:
        return canonical
    noun = name.removesuffix("s").removesuffix("_id").replace("_", " ")
    message = f"{name}={_shown(value)} is not a {noun} id, which is a UUID; {_id_advice(value)}"
    if type_error and not isinstance(value, str):
        raise TypeError(message)
    raise error(message)


def stored_id(value: object) -> str:
    """Return an id in its canonical form; text that is not a UUID is returned as it is.

    For ids that are only stored and compared: those of views made by hand, and of fake servers,
    which may have rows with any ids.
    """
    return _parse_id(value) or str(value)


def _parse_id(value: object) -> str | None:
    if isinstance(value, UUID):
        return str(UUID(int=value.int))  # a subclass may have another text
    if not isinstance(value, str):
        return None
    text = value.strip().lower()
    try:
        parsed = UUID(text)
    except ValueError:
        return None
    # Without this check texts such as one of 31 digits and a "+" would be the id of another run.
    return str(parsed) if parsed.hex in text.replace("-", "") else None


def _id_advice(value: object) -> str:
    """Return what to do about a value that is not an id."""
    if isinstance(value, str):
        if found := _UUID.findall(value):  # such as in the URL of a run's page
            return f"pass {found[-1].lower()!r}"
        if "…" in value or _CUT.fullmatch(value.strip()):
            return (
                "it is cut off, as a narrow terminal shows it; pass the whole id, which "
                "COLUMNS=200 prefect flow-run ls shows"
            )
    elif value is not None and inspect.getattr_static(value, "id", None) is not None:
        return "pass its `id`"
    return f"pass a uuid.UUID, or text such as {_EXAMPLE_ID!r}"


# -- times ----------------------------------------------------------------------------------------


def utc_time(name: str, value: object) -> datetime:
    """Return a time in UTC, of the class `datetime` itself; encoders refuse its subclasses.

    Args:
        name: The argument's name, for the error.
        value: An aware `datetime`, also of a subclass such as ``pandas.Timestamp``, whose
            nanoseconds are dropped.

    Raises:
        TypeError: The value is not a datetime.
        ValueError: The value has no time zone, or is ``pandas.NaT``.
    """
    if not isinstance(value, datetime):
        raise TypeError(
            f"{name}={_shown(value)} is not a datetime; pass an aware one, such as "
            f"{_example_of(value)}"
        )
    if value != value:  # noqa: PLR0124 - pandas.NaT, a datetime that equals nothing
        raise ValueError(f"{name}={value!r} is not a time; pass {_EXAMPLE_TIME}, or None")
    if value.utcoffset() is None:
        raise ValueError(
            f"{name}={_shown(value)} has no time zone; pass an aware datetime: "
            "time.replace(tzinfo=UTC) if it is in UTC, time.astimezone() if it is local"
        )
    return plain_utc(value)


def optional_utc_time(name: str, value: object) -> datetime | None:
    """Return what `utc_time` does, and None for None."""
    return None if value is None else utc_time(name, value)


def _example_of(value: object) -> str:
    """Return the aware datetime that a value of another type probably stands for."""
    match value:
        case str():
            return f"datetime.fromisoformat({_iso_text(value)!r})"
        case date():
            return f"datetime({value.year}, {value.month}, {value.day}, tzinfo=UTC)"
        case timedelta():
            return "datetime.now(UTC) - timedelta(hours=1)"
        case int() | float():
            return f"datetime.fromtimestamp({_shown(value)}, UTC)"
        case _:
            return _EXAMPLE_TIME


def _iso_text(text: str) -> str:
    """Return a text with a time zone that `datetime.fromisoformat` takes, near to the given one."""
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        return "2026-11-22T00:00:00+00:00"
    return time.isoformat() + ("" if time.utcoffset() is not None else "+00:00")


# -- numbers --------------------------------------------------------------------------------------


def level_number(name: str, value: object) -> int:
    """Return the number of a log level.

    Args:
        name: The argument's name, for the error.
        value: A whole number, of any type, or a name that `logging` knows, in upper or lower case.

    Raises:
        TypeError: The level is neither a whole number nor a name.
        ValueError: No level has this name, or the number is beyond those of a server's column.
    """
    if isinstance(value, str):
        names = logging.getLevelNamesMapping()
        if value.strip().upper() not in names:
            known = ", ".join(names)
            raise ValueError(
                f"{name}={_shown(value)} is not a level; pass a number, or one of {known}"
            )
        return names[value.strip().upper()]
    number = _number(value)
    message = (
        f"{name}={_shown(value)} is not a level; pass a whole number such as 40, or a name such as "
        "'ERROR'"
    )
    if number is None or number % 1 != 0:
        raise TypeError(message)
    if abs(number) > _LARGEST_LEVEL:
        raise ValueError(message)
    return int(number)


def whole_number(name: str, value: object) -> int:
    """Return a whole number as an int.

    Args:
        name: The argument's name, for the error.
        value: An int, or a whole number of another type, such as of numpy.

    Raises:
        TypeError: The value is of another type.
    """
    if not isinstance(value, Integral) or _number(value) is None:
        raise TypeError(f"{name}={_shown(value)} is not a whole number; pass one, such as 1")
    return operator.index(value)


def positive_count(name: str, value: object) -> int:
    """Return a whole number of at least 1.

    Args:
        name: The argument's name, for the error.
        value: The number.

    Raises:
        TypeError: The value is not a whole number.
        ValueError: The value is less than 1.
    """
    count = whole_number(name, value)
    if count < 1:
        raise ValueError(f"{name}={value!r} is less than 1; pass 1 or more")
    return count


def positive_number(name: str, value: object) -> float:
    """Return a finite number above 0 as a float.

    Args:
        name: The argument's name, for the error.
        value: A number of any type.

    Raises:
        TypeError: The value is not a number.
        ValueError: The number is 0, negative, infinite or not a number.
    """
    number = _number(value)
    message = f"{name}={_shown(value)} is not a number above 0; pass one, such as 60"
    if number is None:
        raise TypeError(message)
    try:
        positive = float(number)
    except OverflowError:
        raise ValueError(message) from None
    if not 0 < positive < math.inf:
        raise ValueError(message)
    return positive


def seconds_of(name: str, value: object, *, zero: bool = True, unit: str = "seconds") -> float:
    """Return a duration in seconds, at most `LONGEST`.

    Args:
        name: The argument's name, for the error.
        value: A timedelta, also of a subclass, or a number of units.
        zero: Whether 0 is valid.
        unit: What a number counts, seconds or minutes.

    Raises:
        TypeError: The value is neither a timedelta nor a number.
        ValueError: The duration is negative, infinite or not a number, or 0 where 0 is not valid.
    """
    factor = 1 if unit == "seconds" or isinstance(value, timedelta) else 60
    number = value.total_seconds() if isinstance(value, timedelta) else _number(value)
    message = (
        f"{name}={_shown(value)} is not a duration; pass a timedelta such as timedelta(minutes=10),"
        f" or {unit} {'from 0 on' if zero else 'above 0'}"
    )
    if number is None and not isinstance(value, bool):
        raise TypeError(message)
    if number is None or not 0 <= number < math.inf or (number == 0 and not zero):
        raise ValueError(message)
    return min(float(min(number, LONGEST)) * factor, LONGEST)


def optional_seconds(name: str, value: object) -> float | None:
    """Return what `seconds_of` does, and None for None."""
    return None if value is None else seconds_of(name, value)


def _number(value: object) -> float | None:
    """Return a number of any type as a float or an int, None for other values and for booleans."""
    if isinstance(value, bool) or not isinstance(value, Real | Decimal):
        return None
    if getattr(getattr(value, "dtype", None), "kind", None) == "m":
        return None  # numpy.timedelta64, a number of units that only it knows
    if isinstance(value, Integral):
        return operator.index(value)
    try:
        return float(value)
    except (OverflowError, ValueError):  # a fraction beyond all floats, a signaling NaN
        return math.nan


# -- objects --------------------------------------------------------------------------------------


def text_of(name: str, value: object, example: str) -> str:
    """Return a text.

    Args:
        name: The argument's name, for the error.
        value: The text.
        example: A text to pass.

    Raises:
        TypeError: The value is not text.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name}={_shown(value)} is not text; pass text such as {example!r}")
    return value


def path_of(name: str, value: object, example: str) -> str:
    """Return the path of a file as text.

    Args:
        name: The argument's name, for the error.
        value: Text, or a path such as `pathlib.Path`.
        example: A path to pass.

    Raises:
        TypeError: The value is of another type, such as a path of bytes.
        ValueError: No file can have this path.
    """
    check_type(name, value, str | os.PathLike, f"a path such as {example!r}")
    path: Any = os.fspath(cast("os.PathLike[Any]", value))
    if not isinstance(path, str):
        raise TypeError(f"{name}={path!r} is not text; pass a path of text such as {example!r}")
    if not path or "\0" in path:
        raise ValueError(f"{name}={path!r} is not a path; pass one such as {example!r}")
    return str(path)


def check_type(name: str, value: object, kind: type | UnionType, advice: str) -> None:
    """Reject an object that is not of a class.

    The error names the object's class and does not show the object, which may have secrets in it.

    Args:
        name: The argument's name, for the error.
        value: The object.
        kind: The class, or a union of classes.
        advice: What to pass.

    Raises:
        TypeError: The object is of another class.
    """
    if not isinstance(value, kind):
        raise TypeError(f"{name} is {_kind_of(value)}, not {_class_name(kind)}; pass {advice}")


def check_callable(name: str, value: object, advice: str) -> None:
    """Reject an object that cannot be called.

    Raises:
        TypeError: The object cannot be called.
    """
    if not callable(value):
        raise TypeError(f"{name}={_shown(value)} cannot be called; pass {advice}")


def _kind_of(value: object) -> str:
    if isinstance(value, type):
        return f"the class {_class_name(value)} itself"
    return f"of the class {_class_name(type(value))}"


def _class_name(kind: type | UnionType) -> str:
    if isinstance(kind, UnionType):
        return " or ".join(map(_class_name, get_args(kind)))
    module = kind.__module__.partition(".")[0]
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"


def _shown(value: object) -> str:
    """Return the beginning of a value's repr."""
    try:
        return repr(value)[:80]
    except Exception:  # noqa: BLE001 - of any object; and an int may have too many digits
        return f"an object {_kind_of(value)}"
