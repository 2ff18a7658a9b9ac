"""Events of any kind: unpacked, sorted, hashed and shown as Prefect 1's log lines were."""

import operator
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import permutations
from typing import Any, get_args

import msgspec
import pytest
from event_strategies import events, events_of
from hypothesis import given
from hypothesis import strategies as st
from sample_events import (
    NOON,
    changed,
    closed,
    entered,
    line,
    notice,
    second,
    seen,
    task_entered,
)

from rxflow import AllClosed, Closed, FlowRunEvent, NoticeCode, RunSeen

KINDS: tuple[type[FlowRunEvent], ...] = get_args(FlowRunEvent)


@given(event=events())
def test_an_event_unpacks_into_timestamp_level_and_message(event: FlowRunEvent) -> None:
    """`timestamp, level, message = event` works for each kind, as for Prefect 1's log lines."""
    timestamp, level, message = event
    assert (timestamp, level, message) == (event.timestamp, event.level, event.message)


# -- order --------------------------------------------------------------------------------------


def order(event: FlowRunEvent) -> tuple[bool, datetime, int]:
    """The documented order: RunSeen first, then by timestamp, Closed and AllClosed last of it."""
    last = (isinstance(event, Closed), isinstance(event, AllClosed))
    return not isinstance(event, RunSeen), event.timestamp, last[0] + 2 * last[1]


@given(emitted=st.lists(events()))
def test_sorting_is_stable_by_timestamp(emitted: list[FlowRunEvent]) -> None:
    """Events of one timestamp keep their order; RunSeen is first, Closed last of its timestamp."""
    assert sorted(emitted) == sorted(emitted, key=order)
    assert sorted(emitted, reverse=True) == sorted(emitted, key=order, reverse=True)


@given(one=events(), other=events())
def test_the_comparisons_agree_and_equality_compares_all_fields(
    one: FlowRunEvent, other: FlowRunEvent
) -> None:
    """The four comparisons follow the order; equality compares kind and all fields."""
    assert (one < other) is (order(one) < order(other))
    assert (one <= other) is (order(one) <= order(other))
    assert (one > other) is (order(one) > order(other))
    assert (one >= other) is (order(one) >= order(other))
    assert (one == other) is (msgspec.structs.astuple(one) == msgspec.structs.astuple(other)) or (
        type(one) is not type(other)
    )


def test_a_watch_is_sorted_from_run_seen_to_closed() -> None:
    """A line dated before its run was created, or right at the end, stays within the watch."""
    watch = [
        seen(),
        line(-3600, "dated before the run"),
        entered("Running", 1),
        notice(NoticeCode.RECOVERED, 2),
        changed("Completed", 3),
        closed(3),
    ]
    assert sorted(watch) == watch
    for shuffled in permutations(watch):
        assert sorted(shuffled) == watch


@pytest.mark.parametrize("other", [NOON, None, (NOON, 20, "a line"), "a line"])
def test_an_event_is_compared_with_events_only(other: object) -> None:
    """Comparing an event with any other value is a TypeError."""
    event = line()
    comparisons: tuple[Callable[[Any, Any], bool], ...]
    comparisons = (operator.lt, operator.le, operator.gt, operator.ge)
    for compare in comparisons:
        with pytest.raises(TypeError):
            compare(event, other)
    assert event != other


# -- hash ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_equal_events_have_equal_hashes(kind: type[FlowRunEvent], data: st.DataObject) -> None:
    """A set holds an event of any kind once, whatever mappings it has."""
    event = data.draw(events_of(kind))
    again = msgspec.json.decode(msgspec.json.encode(event), type=kind)
    assert again == event
    assert {event, again} == {event}


def test_events_that_differ_in_id_or_time_have_different_hashes() -> None:
    """Hashes of events with other ids or times differ, so that a set of many is fast."""
    many = [line(number, "a line") for number in range(100)]
    many_closed = [closed(number) for number in range(100)]
    assert len({hash(event) for event in (*many, *many_closed)}) == 200


# -- text ---------------------------------------------------------------------------------------


@given(event=events())
def test_the_text_of_an_event_is_one_line(event: FlowRunEvent) -> None:
    """It is one line without a control character, whatever the message."""
    text = str(event)
    assert len(text.splitlines()) == 1
    assert all(char.isprintable() or char == "\t" or ord(char) > 0x9F for char in text)


TEXTS = {
    "plain": ("17 rows loaded", "17 rows loaded"),
    "two lines": ("failed:\r\n  no disk\n", r"failed:\n  no disk"),
    "terminal escapes": ("\x1b[2J", r"\x1b[2J"),
    "braces": ("{0} %s", "{0} %s"),
    "empty": ("", ""),
}


@pytest.mark.parametrize(("message", "shown"), TEXTS.values(), ids=TEXTS)
def test_the_text_has_time_level_and_message(message: str, shown: str) -> None:
    """The time is to the millisecond with its offset, the level by its name."""
    assert str(line(0.25, message)) == f"2026-11-22 12:00:00.250+00:00 INFO     {shown}"


def test_a_level_without_a_name_is_shown_by_its_number() -> None:
    """A level that `logging` has no name for is shown as there."""
    assert str(line(level=21)) == "2026-11-22 12:00:00.000+00:00 Level 21 a line"


def test_the_representation_has_all_fields() -> None:
    """`repr` shows the kind and the fields; `str` is for people."""
    assert repr(line()).startswith("FlowRunLog(flow_run_id=")
    assert second(0) + timedelta(0) == NOON


# -- HTML ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "event", [seen(), entered("Failed"), line(1), task_entered("Running"), closed()]
)
def test_an_event_is_a_line(event: FlowRunEvent) -> None:
    """It has the time, the level and the message."""
    html = event._repr_html_()
    assert html.startswith("<pre ")
    assert event.message.split()[0] in html


LEVELS = {10: None, 20: None, 30: "#bf8700", 35: "#bf8700", 40: "#dc3b3b", 50: "#dc3b3b"}


@pytest.mark.parametrize(("level", "colour"), LEVELS.items())
def test_warnings_and_errors_are_coloured(level: int, colour: str | None) -> None:
    """Lines of other levels have the colour of the text around."""
    html = line(1, level=level)._repr_html_()
    assert (colour in html) if colour else ("color:" not in html)


def test_the_html_is_the_text_with_its_lines() -> None:
    """It has the parts of the text; texts are data, and a message keeps its lines."""
    html = line(0.25, "a < b\n  c", level=40)._repr_html_()
    assert html == (
        '<pre style="white-space: pre-wrap; overflow-wrap: anywhere; margin: 0">'
        '2026-11-22 12:00:00.250+00:00 <span style="color: #dc3b3b; font-weight: bold">ERROR   '
        "</span> a &lt; b\n  c</pre>"
    )
