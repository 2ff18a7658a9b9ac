"""Which events the predicates select, and which arguments they reject."""

import logging
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_events import OTHER, TASK, closed, entered, line, notice, seen, task_entered

from rxflow import FlowRunLog, InvalidRunId, Notice, NoticeCode, StateChange
from rxflow._operators.predicates import (
    is_at_least,
    is_of_task,
    is_one_of,
    message_matches,
    of_kinds,
    of_level,
)

EVENTS = [seen(), entered("Running"), line(), notice(NoticeCode.DEGRADED), closed()]


def test_kinds_are_classes() -> None:
    """Only events of the given classes are selected."""
    assert list(filter(is_one_of((FlowRunLog, StateChange)), EVENTS)) == EVENTS[1:3]
    assert list(filter(is_one_of((Notice,)), EVENTS)) == EVENTS[3:4]


@pytest.mark.parametrize(
    ("kinds", "text"),
    [
        ((), "needs a kind"),
        ((line(),), r"not FlowRunLog\(.*; write only"),
        ((StateChange, "log"), "not 'log'"),
        ((StateChange | FlowRunLog,), "one by one, not .*StateChange"),
    ],
    ids=["none", "an event", "a name", "a union"],
)
def test_a_kind_that_is_not_a_class_is_rejected(kinds: tuple[Any, ...], text: str) -> None:
    """A kind that is not a class is rejected at the call, and the text says what to write."""
    with pytest.raises(TypeError, match=text):
        is_one_of(kinds)


@given(st.integers(0, 60), st.integers(0, 60))
def test_levels_are_compared_as_numbers(lowest: int, level: int) -> None:
    """An event is selected if its level is not below the lowest one."""
    assert is_at_least(lowest)(line(level=level)) == (level >= lowest)


@pytest.mark.parametrize("name", ["ERROR", "error", "Warning", "INFO", "debug", "CRITICAL"])
def test_the_name_of_a_level_stands_for_its_number(name: str) -> None:
    """The name of a level has the number that `logging` gives it, in upper or lower case."""
    number = logging.getLevelNamesMapping()[name.upper()]
    assert is_at_least(name)(line(level=number))
    assert not is_at_least(name)(line(level=number - 1))


def test_each_kind_has_a_level() -> None:
    """State changes and notices are selected by their own levels."""
    assert is_at_least("ERROR")(entered("Failed"))
    assert not is_at_least("ERROR")(entered("Completed"))
    assert is_at_least("WARNING")(notice(NoticeCode.DEGRADED))


@pytest.mark.parametrize(
    ("level", "error", "text"),
    [
        ("LOUD", ValueError, "level='LOUD' is not a level; .*ERROR"),
        (True, TypeError, "level=True"),
        (None, TypeError, "level=None"),
        (4.5, TypeError, "level=4.5"),
    ],
)
def test_an_unknown_level_is_rejected(level: Any, error: type[Exception], text: str) -> None:
    """A level that is neither a number nor a known name is rejected at the call."""
    with pytest.raises(error, match=text):
        is_at_least(level)


def test_log_lines_and_states_of_a_task_are_selected() -> None:
    """Only the log lines and the states of the task run are selected."""
    of_task = [line(task=TASK), task_entered("Running")]
    others = [*EVENTS, line(task=OTHER), task_entered("Running", task=OTHER)]
    assert list(filter(is_of_task(TASK), [*of_task, *others])) == of_task


def test_a_task_run_id_has_several_spellings() -> None:
    """An id in capitals or without dashes is the same id."""
    assert is_of_task(TASK.upper())(line(task=TASK))
    assert is_of_task(TASK.replace("-", ""))(line(task=TASK))


@pytest.mark.parametrize("task", ["load-0", "", None, 7])
def test_a_malformed_task_run_id_is_rejected(task: Any) -> None:
    """A malformed id is rejected at the call, as the id of a task run."""
    with pytest.raises(InvalidRunId, match="is not a task run id"):
        is_of_task(task)


@pytest.mark.parametrize("pattern", [r"row \d+", re.compile(r"ROW \d+", re.IGNORECASE)])
def test_a_pattern_is_searched_for(pattern: str | re.Pattern[str]) -> None:
    """A pattern may match anywhere in the message, with the flags it was compiled with."""
    assert message_matches(pattern)(line(message="skipped row 17, empty"))
    assert not message_matches(pattern)(line(message="skipped row x"))


def test_every_kind_has_a_message() -> None:
    """The messages of state changes and notices are searched as well."""
    assert message_matches("state Running")(entered("Running"))
    assert message_matches("^a notice$")(notice(NoticeCode.DEGRADED))


@pytest.mark.parametrize(
    ("pattern", "error"), [("(", re.error), (b"row", TypeError), (7, TypeError)]
)
def test_an_unusable_pattern_is_rejected(pattern: Any, error: type[Exception]) -> None:
    """A pattern that is not a regular expression over text is rejected at the call."""
    with pytest.raises(error):
        message_matches(pattern)


@pytest.mark.parametrize("kinds", [(FlowRunLog,), (Notice, StateChange), (int,), (object,)])
def test_kinds_are_selected_from_a_page_as_one_by_one(kinds: tuple[type, ...]) -> None:
    """A page is reduced to the events for which the predicate is true, in order."""
    page = tuple(EVENTS)
    assert of_kinds(kinds)(page) == tuple(filter(is_one_of(kinds), page))


@pytest.mark.parametrize("level", [0, "DEBUG", 20, "WARNING", 41])
def test_levels_are_selected_from_a_page_as_one_by_one(level: int | str) -> None:
    """A page is reduced to the events for which the predicate is true, in order."""
    page: tuple[Any, ...] = (*EVENTS, *(line(level=number) for number in (10, 20, 30, 40, 50)))
    assert of_level(level)(page) == tuple(filter(is_at_least(level), page))
