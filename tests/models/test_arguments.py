"""Validation of arguments: canonical values, and errors that show the value and name a way out."""

import logging
import math
from datetime import timedelta
from typing import Any

import pytest

from rxflow._models.arguments import canonical_id, level_number, positive_count, seconds_of
from rxflow.errors import FlowNotFound, InvalidRunId

ID = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"


@pytest.mark.parametrize("spelling", [ID, ID.upper(), ID.replace("-", ""), f"{{{ID}}}"])
def test_an_id_has_one_canonical_form(spelling: str) -> None:
    """Every spelling of a UUID becomes lower case with dashes."""
    assert canonical_id(spelling) == ID


@pytest.mark.parametrize("value", ["amber-fox", "", ID[:-1], None, 7, ID.encode()])
def test_a_malformed_id_is_an_invalid_run_id(value: Any) -> None:
    """The error shows the value and names the kind of id."""
    with pytest.raises(InvalidRunId, match="is not a task run id") as raised:
        canonical_id(value, "task run")
    assert repr(value) in str(raised.value)


def test_a_long_malformed_id_is_cut_in_the_error() -> None:
    """The error shows the first 80 characters of the value."""
    with pytest.raises(InvalidRunId) as raised:
        canonical_id("x" * 1000)
    assert "x" * 79 in str(raised.value)
    assert "x" * 80 not in str(raised.value)


def test_the_caller_chooses_the_error_of_a_malformed_id() -> None:
    """A flow's id is malformed with the error of a flow that does not exist."""
    with pytest.raises(FlowNotFound, match="is not a flow id"):
        canonical_id("amber-fox", "flow", error=FlowNotFound)


@pytest.mark.parametrize("value", [None, 7, ID.encode()])
def test_an_id_that_must_be_text_is_a_type_error_otherwise(value: Any) -> None:
    """With ``only_text`` a value that is not a string is a TypeError."""
    with pytest.raises(TypeError, match="A flow id is text"):
        canonical_id(value, "flow", error=FlowNotFound, only_text=True)


@pytest.mark.parametrize(
    ("level", "number"),
    [(40, 40), (0, 0), (17, 17), ("ERROR", 40), ("warning", 30), (logging.DEBUG, 10)],
)
def test_a_level_is_a_number_or_a_name(level: int | str, number: int) -> None:
    """Numbers pass unchanged and names are those of `logging`, in any case."""
    assert level_number(level) == number


@pytest.mark.parametrize(
    ("level", "error"), [("LOUD", ValueError), (True, TypeError), (None, TypeError)]
)
def test_a_malformed_level_is_rejected(level: Any, error: type[Exception]) -> None:
    """An unknown name is a ValueError, and a value of another type is a TypeError."""
    with pytest.raises(error, match=repr(level)):
        level_number(level)


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


@pytest.mark.parametrize("value", [timedelta(seconds=2.5), 2.5])
def test_a_duration_is_a_timedelta_or_seconds(value: timedelta | float) -> None:
    """Both spellings become seconds."""
    assert seconds_of("window", value) == 2.5


@pytest.mark.parametrize("value", [-1, math.nan, math.inf, timedelta(seconds=-1), True])
def test_a_malformed_duration_is_rejected(value: Any) -> None:
    """Negative and infinite durations, NaN and booleans are ValueErrors that name the argument."""
    with pytest.raises(ValueError, match=r"window=.* is not a duration; .* from 0 on"):
        seconds_of("window", value)


@pytest.mark.parametrize("value", [0, 0.0, timedelta(0)])
def test_zero_is_a_duration_unless_the_caller_excludes_it(value: timedelta | float) -> None:
    """A window of no length is rejected where ``zero`` is unset."""
    assert seconds_of("window", value) == 0
    with pytest.raises(ValueError, match="above 0"):
        seconds_of("window", value, zero=False)
