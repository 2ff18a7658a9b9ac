"""Validation of arguments: canonical values, and errors that name an argument and a right value."""

import logging
import math
import re
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pendulum
import pytest
from foreign_values import (
    NOT_A_TIME,
    TIME,
    SubclassedDuration,
    SubclassedId,
    SubclassedTime,
    WholeNumber,
)
from freezegun import freeze_time

from rxflow._models.arguments import (
    LONGEST,
    canonical_id,
    check_callable,
    check_type,
    level_number,
    optional_seconds,
    optional_utc_time,
    path_of,
    positive_count,
    positive_number,
    seconds_of,
    stored_id,
    text_of,
    utc_time,
    whole_number,
)
from rxflow.errors import FlowNotFound, InvalidRunId

ID = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"


class Unshowable:
    """An object whose repr fails."""

    def __repr__(self) -> str:
        """Fail."""
        raise RuntimeError


class BytesPath:
    """An object that stands for a path of bytes."""

    def __fspath__(self) -> bytes:
        """Return the path."""
        return b"runs.db"


# -- ids ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spelling",
    [
        ID,
        ID.upper(),
        ID.replace("-", ""),
        f"{{{ID}}}",
        f"urn:uuid:{ID}",
        f"URN:UUID:{ID.upper()}",
        f"  {ID}\n",
        UUID(ID),
        SubclassedId(ID),
    ],
)
def test_an_id_has_one_canonical_form(spelling: str | UUID) -> None:
    """Every spelling of a UUID, and a `uuid.UUID`, becomes lower case with dashes."""
    assert canonical_id("flow_run_id", spelling) == ID
    assert stored_id(spelling) == ID


@pytest.mark.parametrize(
    "value",
    [
        "amber-fox",
        "",
        ID[:-1],
        None,
        7,
        ID.encode(),
        # What int() takes as digits is no digit of an id.
        f"+{ID[1:]}",
        f"0x{ID[2:]}",
        f"{ID[:7]}_{ID[8:]}",
        f"\u0663{ID[1:]}",
        # A blank instead of a digit is a lost digit.
        f" {ID[1:]}",
    ],
)
def test_a_malformed_id_is_an_invalid_run_id(value: Any) -> None:
    """The error names the argument, shows the value and names the kind of id."""
    with pytest.raises(InvalidRunId, match="is not a task run id, which is a UUID; ") as raised:
        canonical_id("task_run_id", value)
    assert str(raised.value).startswith(f"task_run_id={value!r} ")
    with pytest.raises(
        InvalidRunId, match=r"^flow_run_ids=.* is not a flow run id, which is a UUID"
    ):
        canonical_id("flow_run_ids", value)


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        ("amber-fox", f"pass a uuid.UUID, or text such as '{ID}'"),
        (None, f"pass a uuid.UUID, or text such as '{ID}'"),
        (SimpleNamespace(id=ID), "pass its `id`"),
        (f"http://127.0.0.1:4200/runs/flow-run/{ID.upper()}?tab=Logs", f"pass '{ID}'"),
        (f"'{ID}'", f"pass '{ID}'"),
        # One digit too many, so that no part of it may be proposed.
        (f"{ID}0", "pass a uuid.UUID, or"),
        ("9e6caafc-4ea1-4493-b0…", "it is cut off"),
        ("9e6caafc-4ea1-4493-b0...", "it is cut off"),
        (f" {ID[:-1]}", "it is cut off"),
    ],
)
def test_the_error_of_an_id_shows_what_to_pass(value: object, advice: str) -> None:
    """A page's URL and an object with an id lead to the id, and a cut one is said to be cut."""
    with pytest.raises(InvalidRunId) as raised:
        canonical_id("flow_run_id", value)
    assert advice in str(raised.value)


def test_a_long_malformed_id_is_cut_in_the_error() -> None:
    """The error shows the first 80 characters of the value."""
    with pytest.raises(InvalidRunId) as raised:
        canonical_id("flow_run_id", "x" * 1000)
    assert "x" * 79 in str(raised.value)
    assert "x" * 80 not in str(raised.value)


def test_a_value_without_a_repr_is_named_by_its_class() -> None:
    """The error of an object whose repr fails is the error about the argument."""
    with pytest.raises(InvalidRunId, match=r"flow_run_id=an object of the class .*Unshowable is"):
        canonical_id("flow_run_id", Unshowable())


def test_the_caller_chooses_the_error_of_a_malformed_id() -> None:
    """A flow's id is malformed with the error of a flow that does not exist."""
    with pytest.raises(FlowNotFound, match="is not a flow id"):
        canonical_id("flow_id", "amber-fox", error=FlowNotFound)


@pytest.mark.parametrize("value", [None, 7, ID.encode()])
def test_an_id_of_another_type_is_a_type_error_where_the_caller_says_so(value: Any) -> None:
    """With ``type_error`` a value that is neither text nor a UUID is a TypeError."""
    with pytest.raises(TypeError, match="is not a flow id"):
        canonical_id("flow_id", value, error=FlowNotFound, type_error=True)
    assert canonical_id("flow_id", UUID(ID), type_error=True) == ID


def test_an_id_that_is_only_stored_may_be_any_text() -> None:
    """Rows of fake servers and views made by hand keep ids that are not UUIDs."""
    assert stored_id("flow-1") == "flow-1"


# -- times ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "time",
    [
        TIME,
        TIME.astimezone(timezone(timedelta(hours=-5))),
        SubclassedTime(2026, 11, 22, 10, tzinfo=UTC),
        SubclassedTime(2026, 11, 22, 11, tzinfo=timezone(timedelta(hours=1))),
        pendulum.datetime(2026, 11, 22, 10),
        pendulum.datetime(2026, 11, 22, 11, tz="Europe/Paris"),
        pendulum.parse("2026-11-22T10:00:00Z"),
    ],
)
def test_a_time_becomes_a_plain_datetime_in_utc(time: datetime) -> None:
    """Any aware datetime becomes one of the class `datetime` itself, which encoders take."""
    plain = utc_time("since", time)
    assert (plain, type(plain), plain.tzinfo) == (TIME, type(TIME), UTC)


def test_a_time_under_freezegun_becomes_a_plain_datetime() -> None:
    """The class is the real one, although freezegun replaces its name in every module."""
    with freeze_time(TIME):
        frozen = datetime.now(UTC)  # noqa: TID251 - the time that freezegun makes
        assert type(frozen) is not type(TIME)
        plain = utc_time("since", frozen)
    assert (plain, type(plain)) == (TIME, type(TIME))


@pytest.mark.parametrize("fold", [0, 1])
def test_a_local_time_that_occurs_twice_keeps_its_fold(fold: int) -> None:
    """``fold`` selects one of the two hours at the change to winter time."""
    local = pendulum.datetime(2026, 10, 25, 2, 30, tz="Europe/Paris", fold=fold)
    assert utc_time("since", local) == datetime(2026, 10, 25, fold, 30, tzinfo=UTC)


def test_parts_of_a_microsecond_are_dropped() -> None:
    """The nanoseconds of pandas are dropped, so that no row of that microsecond is left out."""
    time = SubclassedTime(2026, 1, 1, microsecond=5, tzinfo=UTC)
    assert utc_time("since", time) == datetime(2026, 1, 1, microsecond=5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("time", "in_utc"),
    [
        ("0001-01-01T00:00:00+02:00", "0001-01-01T00:00:00+00:00"),
        ("0001-01-01T00:00:00-02:00", "0001-01-01T02:00:00+00:00"),
        ("9999-12-31T23:59:59-02:00", "9999-12-31T23:59:59.999999+00:00"),
        ("9999-12-31T23:59:59+02:00", "9999-12-31T21:59:59+00:00"),
    ],
)
def test_a_time_at_the_ends_of_all_times_does_not_overflow(time: str, in_utc: str) -> None:
    """A time outside of the years 1 to 9999 in UTC becomes the first or the last of all times."""
    assert utc_time("since", datetime.fromisoformat(time)) == datetime.fromisoformat(in_utc)


@pytest.mark.parametrize(
    ("value", "error", "advice"),
    [
        (datetime(2026, 1, 1), ValueError, "has no time zone; pass an aware datetime: "),  # noqa: DTZ001
        (SubclassedTime(2026, 1, 1), ValueError, "has no time zone"),
        (pendulum.naive(2026, 1, 1), ValueError, "has no time zone"),
        (NOT_A_TIME, ValueError, "is not a time; pass datetime("),
        (date(2026, 1, 2), TypeError, "such as datetime(2026, 1, 2, tzinfo=UTC)"),
        ("2026-11-22", TypeError, "datetime.fromisoformat('2026-11-22T00:00:00+00:00')"),
        ("2026-11-22T10:00Z", TypeError, "datetime.fromisoformat('2026-11-22T10:00:00+00:00')"),
        ("yesterday", TypeError, "datetime.fromisoformat('2026-11-22T00:00:00+00:00')"),
        (timedelta(hours=1), TypeError, "such as datetime.now(UTC) - timedelta(hours=1)"),
        (1_795_341_600, TypeError, "such as datetime.fromtimestamp(1795341600, UTC)"),
        (None, TypeError, "such as datetime(2026, 11, 22, tzinfo=UTC)"),
        (object(), TypeError, "such as datetime(2026, 11, 22, tzinfo=UTC)"),
    ],
)
def test_a_value_that_is_no_time_is_rejected(
    value: object, error: type[Exception], advice: str
) -> None:
    """The error names the argument and shows the aware datetime that was probably meant."""
    with pytest.raises(error) as raised:
        utc_time("since", value)
    assert str(raised.value).startswith("since=")
    assert advice in str(raised.value)


def test_an_optional_time_may_be_none() -> None:
    """None is no limit."""
    assert optional_utc_time("since", None) is None
    assert optional_utc_time("since", TIME) == TIME


# -- numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "number"),
    [
        (40, 40),
        (0, 0),
        (-1, -1),
        (17, 17),
        (20.0, 20),
        (Decimal(20), 20),
        (WholeNumber(20), 20),
        ("ERROR", 40),
        ("warning", 30),
        (" Info ", 20),
        (logging.DEBUG, 10),
    ],
)
def test_a_level_is_a_whole_number_or_a_name(level: object, number: int) -> None:
    """Whole numbers of any type become ints, and names are those of `logging`, in any case."""
    assert (level_number("level", level), type(level_number("level", level))) == (number, int)


@pytest.mark.parametrize(
    ("level", "error"),
    [
        ("LOUD", ValueError),
        ("20", ValueError),
        (True, TypeError),
        (None, TypeError),
        (20.5, TypeError),
        (math.nan, TypeError),
        (math.inf, TypeError),
        (Decimal("sNaN"), TypeError),
        (WholeNumber(20, "m"), TypeError),
        (2**31, ValueError),
        (10**400, ValueError),
    ],
)
def test_a_malformed_level_is_rejected(level: Any, error: type[Exception]) -> None:
    """An unknown name is a ValueError, and a value of another type is a TypeError."""
    with pytest.raises(error, match=r"is not a level; pass .*ERROR") as raised:
        level_number("minimum", level)
    assert str(raised.value).startswith(f"minimum={repr(level)[:80]}")


def test_a_whole_number_becomes_an_int() -> None:
    """Whole numbers of numpy are ints afterwards."""
    assert whole_number("map_index", WholeNumber(-1)) == -1
    assert type(whole_number("map_index", WholeNumber(-1))) is int


@pytest.mark.parametrize("value", [2.0, True, "2", None, WholeNumber(2, "m")])
def test_a_value_that_is_no_whole_number_is_rejected(value: Any) -> None:
    """Floats, booleans and text are TypeErrors that name the argument."""
    with pytest.raises(TypeError, match=r"map_index=.* is not a whole number"):
        whole_number("map_index", value)


def test_a_count_of_one_or_more_passes_unchanged() -> None:
    """Whole numbers from 1 on are counts."""
    assert [positive_count("n", number) for number in (1, 2, 10**9)] == [1, 2, 10**9]


@pytest.mark.parametrize(
    ("value", "error"),
    [(0, ValueError), (-3, ValueError), (2.0, TypeError), (True, TypeError), ("2", TypeError)],
)
def test_a_malformed_count_is_rejected(value: Any, error: type[Exception]) -> None:
    """A count below 1 is a ValueError, and a value that is not a whole number is a TypeError."""
    with pytest.raises(error, match=f"n={value!r}"):
        positive_count("n", value)


@pytest.mark.parametrize(
    "value",
    [
        timedelta(seconds=2.5),
        2.5,
        Decimal("2.5"),
        Fraction(5, 2),
        SubclassedDuration(seconds=2.5),
        pendulum.duration(seconds=2, milliseconds=500),
    ],
)
def test_a_duration_is_a_timedelta_or_seconds(value: object) -> None:
    """Timedeltas of any class, and numbers of any type, become seconds."""
    assert (seconds_of("window", value), type(seconds_of("window", value))) == (2.5, float)


def test_a_number_may_count_minutes() -> None:
    """Where an argument is in minutes, a number counts them and a timedelta is what it is."""
    of_minutes = partial(seconds_of, "since_minutes", unit="minutes")
    assert (of_minutes(1.5), of_minutes(timedelta(minutes=2)), of_minutes(WholeNumber(3))) == (
        90,
        120,
        180,
    )
    with pytest.raises(ValueError, match=r"since_minutes=-1 .* or minutes from 0 on"):
        of_minutes(-1)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (-1, ValueError),
        (math.nan, ValueError),
        (math.inf, ValueError),
        (Decimal("NaN"), ValueError),
        (timedelta(seconds=-1), ValueError),
        (True, ValueError),
        ("1h", TypeError),
        ("5", TypeError),
        (None, TypeError),
        (NOT_A_TIME, TypeError),
        (WholeNumber(5, "m"), TypeError),
    ],
)
def test_a_malformed_duration_is_rejected(value: Any, error: type[Exception]) -> None:
    """The error names the argument and shows what a duration is."""
    expected = r"window=.* is not a duration; pass a timedelta such as .*, or seconds from 0 on"
    with pytest.raises(error, match=expected):
        seconds_of("window", value)


@pytest.mark.parametrize("value", [timedelta.max, 1e300, 10**400, LONGEST * 2])
def test_a_duration_is_at_most_a_century(value: Any) -> None:
    """A longer one would overflow timers, and is as good as no limit."""
    assert seconds_of("timeout", value) == LONGEST
    assert seconds_of("since_minutes", value, unit="minutes") == LONGEST


@pytest.mark.parametrize("value", [0, 0.0, timedelta(0)])
def test_zero_is_a_duration_unless_the_caller_excludes_it(value: timedelta | float) -> None:
    """A window of no length is rejected where ``zero`` is unset."""
    assert seconds_of("window", value) == 0
    with pytest.raises(ValueError, match="above 0"):
        seconds_of("window", value, zero=False)


def test_an_optional_duration_may_be_none() -> None:
    """None is no limit."""
    assert optional_seconds("timeout", None) is None
    assert optional_seconds("timeout", 3) == 3


@pytest.mark.parametrize(
    "value",
    [2, 2.0, Decimal(2), Fraction(2), WholeNumber(2)],
    ids=lambda value: type(value).__name__,
)
def test_a_positive_number_becomes_a_float(value: object) -> None:
    """It may be of any type of numbers, and below 1."""
    number = positive_number("speed", value)
    assert (number, type(number)) == (2.0, float)
    assert positive_number("speed", 1e-9) == 1e-9


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (0, ValueError),
        (-1.0, ValueError),
        (math.inf, ValueError),
        (math.nan, ValueError),
        (10**400, ValueError),
        ("2", TypeError),
        (None, TypeError),
        (True, TypeError),
    ],
)
def test_a_malformed_positive_number_is_rejected(value: Any, error: type[Exception]) -> None:
    """The error names the argument, and shows what to pass."""
    with pytest.raises(error, match=r"^speed=.* is not a number above 0; pass one, such as 60$"):
        positive_number("speed", value)


# -- objects --------------------------------------------------------------------------------------


def test_a_text_passes_unchanged() -> None:
    """Any string is text."""
    assert text_of("flow_name", "report", "nightly") == "report"
    with pytest.raises(TypeError, match="flow_name=7 is not text; pass text such as 'nightly'"):
        text_of("flow_name", 7, "nightly")


class TextPath(str):
    """Text of a class of its own."""

    __slots__ = ()


@pytest.mark.parametrize("value", ["runs.db", TextPath("runs.db"), Path("runs.db")])
def test_a_path_becomes_plain_text(value: object) -> None:
    """A path is text, or an object that stands for one."""
    path = path_of("journal", value, "runs.db")
    assert (path, type(path)) == ("runs.db", str)


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (7, TypeError, "journal is of the class int, not str or os.PathLike; pass a path such as"),
        (b"runs.db", TypeError, "journal is of the class bytes, not str"),
        (Path, TypeError, "journal is the class pathlib.Path itself, not str"),
        ("", ValueError, "journal='' is not a path; pass one such as 'my.db'"),
        ("a\0b", ValueError, r"journal='a\x00b' is not a path; pass one such as 'my.db'"),
        (BytesPath(), TypeError, "journal=b'runs.db' is not text; pass a path of text such as"),
    ],
)
def test_a_malformed_path_is_rejected(value: Any, error: type[Exception], message: str) -> None:
    """The error names the argument, and shows what to pass."""
    with pytest.raises(error, match=f"^{re.escape(message)}"):
        path_of("journal", value, "my.db")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("https://user:password@host", "client is of the class str, not decimal.Decimal; pass one"),
        (Unshowable(), r"client is of the class .*\.Unshowable, not"),
        (Decimal, r"client is the class decimal\.Decimal itself, not"),
    ],
)
def test_an_object_of_another_class_is_named_by_its_class(value: object, shown: str) -> None:
    """The object itself may have secrets in it, and is not shown."""
    with pytest.raises(TypeError, match=shown) as raised:
        check_type("client", value, Decimal, "one")
    assert "password" not in str(raised.value)
    check_type("client", Decimal(1), Decimal, "one")


def test_an_object_of_no_class_of_a_union_is_rejected() -> None:
    """The error names all classes."""
    with pytest.raises(TypeError, match=r"^rate is of the class int, not decimal\.Decimal or str;"):
        check_type("rate", 7, Decimal | str, "one")


def test_an_object_that_cannot_be_called_is_rejected() -> None:
    """The error names the argument."""
    with pytest.raises(TypeError, match="function=7 cannot be called; pass a function"):
        check_callable("function", 7, "a function")
    check_callable("function", print, "a function")
