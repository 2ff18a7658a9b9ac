"""Formats beside text: raw, JSON lines and templates; text of the server is data in each."""

import json
import re
from datetime import UTC, datetime

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rxflow
from rxflow.cli._line_formats import JsonLines, LineFormat, RawLines, TemplateLines
from rxflow.cli._lines import LineStyle
from rxflow.cli._names import Names

RUN = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LOGS: tuple[type[rxflow.FlowRunEvent], ...] = (rxflow.FlowRunLog,)
IN_UTC = LineStyle(zone=UTC)
NASTY = "\x1b[31m{{ 7 * 7 }} [red]\x9b2J\u202e\x7f"


def log(message: str, level: int = 20) -> rxflow.FlowRunLog:
    """A log line."""
    return rxflow.FlowRunLog(
        flow_run_id=RUN,
        id="a",
        name="tests",
        timestamp=NOON,
        created=NOON,
        level=level,
        message=message,
    )


def seen(name: str) -> rxflow.RunSeen:
    """The first event of a run."""
    row = rxflow.FlowRun(id=RUN, name=name, created=NOON, updated=NOON)
    return rxflow.RunSeen(flow_run_id=RUN, run=row)


def template(text: str, *, escaped: bool = False) -> TemplateLines:
    """A format by a template."""
    return TemplateLines(text, LOGS, IN_UTC, Names(), escaped=escaped)


@pytest.mark.parametrize("escaped", [True, False], ids=["terminal", "pipe"])
@pytest.mark.parametrize("kind", ["raw", "template"])
def test_messages_are_data(kind: str, escaped: bool) -> None:
    """They are unchanged in a pipe, and escaped on a terminal; nothing in them acts."""
    shown: LineFormat = (
        RawLines(LOGS, IN_UTC, escaped=escaped)
        if kind == "raw"
        else template("{{ message }}", escaped=escaped)
    )
    written = r"\x1b[31m{{ 7 * 7 }} [red]\x9b2J\u202e\x7f" if escaped else NASTY
    assert list(shown.lines(log(NASTY))) == [written]


def test_raw_lines_may_have_times() -> None:
    """With the date and the offset, as with --timestamps."""
    style = LineStyle(zone=UTC, timestamps=True)
    (line,) = RawLines(LOGS, style, escaped=False).lines(log("one"))
    assert line == "2026-01-01T12:00:00.000+00:00 one"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_json_lines_read_back(message: str) -> None:
    """Each is the JSON of an equal event, on one line, without a control character."""
    event = log(message)
    (line,) = JsonLines(LOGS).lines(event)
    assert rxflow.decode_event(line) == event
    assert not re.search("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", line)


@pytest.mark.parametrize("shown", [RawLines(LOGS, IN_UTC, escaped=True), JsonLines(LOGS)])
def test_other_kinds_have_no_line(shown: LineFormat) -> None:
    """Only the kinds that are wanted have lines."""
    assert list(shown.lines(seen("fox"))) == []


def test_a_template_has_the_fields_of_the_event_and_names() -> None:
    """Its keys are those of `to_dict`, and what a line of text has."""
    shown = template(
        "{{ kind }} {{ time }} {{ level }} {{ level_name }} {{ run_name }} {{ task_name }}"
    )
    assert list(shown.lines(seen("amber-fox"))) == []
    assert list(shown.lines(log("x", level=25))) == ["log 12:00:00.000 25 25 amber-fox "]


def test_the_timestamp_of_a_template_is_a_time_of_the_zone() -> None:
    """So that it can be formatted."""
    (line,) = template("{{ timestamp.isoformat() }} {{ timestamp.strftime('%H') }}").lines(log("x"))
    assert line == "2026-01-01T12:00:00+00:00 12"


def test_a_template_can_write_json() -> None:
    """Jinja's filters are there."""
    (line,) = template("{{ message | tojson }}").lines(log('a "b"'))
    assert json.loads(line) == 'a "b"'


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("{message}", "'{{ message }}'"),
        ("{time:%H} {nope}", "'{{ time }}'"),
        ("{x} {task_run_id!r}", "'{{ task_run_id }}'"),
    ],
)
def test_fields_of_python_are_a_usage_error(text: str, hint: str) -> None:
    """They would be written as they are, once for each line."""
    with pytest.raises(click.UsageError, match=re.escape(f"pass {hint} for the value")):
        template(text)


@pytest.mark.parametrize("text", ["{nope}", "{ message }", "{message} {{ level }}", "{}", "text"])
def test_other_braces_are_text(text: str) -> None:
    """Those of no field, and those beside a field of Jinja."""
    (line,) = template(text).lines(log("x"))
    assert line == text.replace("{{ level }}", "20")


@pytest.mark.parametrize(
    "text", ["{{ nope }}", "{{ message", "{{ 1 / 0 }}", "{{ message.__class__.x }}"]
)
def test_a_template_that_fails_is_a_usage_error(text: str) -> None:
    """Also one that reaches for what it must not have."""
    with pytest.raises(click.UsageError, match="The template cannot be used"):
        list(template(text).lines(log("x")))
