"""Lines: the format of events, and that no text of a run controls the terminal."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

import rxflow
from rxflow._escapes import safe_text
from rxflow.cli._lines import LineStyle, Transcript

RUN = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def run(name: str = "amber-fox") -> rxflow.FlowRun:
    """A run's row."""
    return rxflow.FlowRun(id=RUN, name=name, created=NOON, updated=NOON)


def state(name: str = "Running", kind: str = "RUNNING", **more: Any) -> rxflow.State:
    """A state."""
    return rxflow.State(id=name, type=kind, name=name, timestamp=NOON, **more)


def change(name: str = "Running", kind: str = "RUNNING", **more: Any) -> rxflow.StateChange:
    """A change to a state."""
    return rxflow.StateChange(flow_run_id=RUN, id=name, state=state(name, kind, **more))


def log(
    message: str, *, level: int = 20, at: datetime = NOON, task_run: str | None = None
) -> rxflow.FlowRunLog:
    """A log line of the flow, or of a task run."""
    return rxflow.FlowRunLog(
        flow_run_id=RUN,
        id=message,
        name="tests",
        task_run_id=task_run,
        timestamp=at,
        created=at,
        level=level,
        message=message,
    )


def task_run(name: str) -> rxflow.TaskRun:
    """A task run that has completed."""
    return rxflow.TaskRun(
        id=f"id of {name}",
        name=name,
        task_key=name,
        dynamic_key="0",
        created=NOON,
        updated=NOON,
        state=state("Completed", "COMPLETED"),
    )


def task_change(name: str) -> rxflow.TaskRunStateChange:
    """A task run's change to Completed."""
    row = task_run(name)
    assert row.state is not None
    return rxflow.TaskRunStateChange(flow_run_id=RUN, id=name, task_run=row, state=row.state)


def closed(*, verified: bool = True, log_count: int = 3) -> rxflow.Closed:
    """The last event of a watch."""
    return rxflow.Closed(flow_run_id=RUN, timestamp=NOON, verified=verified, log_count=log_count)


def lines_without_times(*events: rxflow.FlowRunEvent) -> list[str]:
    """The lines of some events, with a placeholder for their times."""
    return [re.sub(r"^\d\d:\d\d:\d\d\.\d{3}", "TIME", line) for line in lines_of(*events)]


def lines_of(*events: rxflow.FlowRunEvent) -> Iterator[str]:
    """The lines of some events after the run's first."""
    transcript = Transcript()
    for event in (rxflow.RunSeen(flow_run_id=RUN, run=run()), *events):
        lines = [click.unstyle(line) for line in transcript.lines(event)]
        if not isinstance(event, rxflow.RunSeen):
            yield from lines


def test_a_line_has_time_level_and_message() -> None:
    """The columns are aligned, whatever the level."""
    assert lines_without_times(
        change(), log("ready", level=10), log("worn out", level=30), log("x", level=25)
    ) == [
        "TIME INFO     | Entered state Running",
        "TIME DEBUG    | ready",
        "TIME WARNING  | worn out",
        "TIME 25       | x",
    ]


def test_a_time_is_local_with_milliseconds() -> None:
    """The time is the event's timestamp, in the local time zone."""
    at = NOON + timedelta(milliseconds=7, microseconds=900)
    (line,) = lines_of(log("x", at=at))
    assert line.split()[0] == f"{at.astimezone():%H:%M:%S}.007"


def test_the_first_line_names_the_run() -> None:
    """The first line has the run's name, its id and the day of its creation."""
    (line,) = map(click.unstyle, Transcript().lines(rxflow.RunSeen(flow_run_id=RUN, run=run())))
    assert line == f"Flow run 'amber-fox' ({RUN}), created {NOON.astimezone().date()}"


def test_a_new_day_has_a_line() -> None:
    """The date is shown where it changes, and nowhere else."""
    later = NOON + timedelta(days=2)
    lines = lines_without_times(log("one"), log("two", at=later), log("three", at=later))
    assert lines == [
        "TIME INFO     | one",
        f"{later.astimezone().date()}",
        "TIME INFO     | two",
        "TIME INFO     | three",
    ]


def test_a_notice_may_precede_the_run() -> None:
    """A notice about the server may be emitted before the run's first event."""
    text = "No good reply"
    code = rxflow.NoticeCode.DEGRADED
    notice = rxflow.Notice(flow_run_id=RUN, code=code, message=text, timestamp=NOON)
    (line,) = map(click.unstyle, Transcript().lines(notice))
    assert line.endswith(" WARNING  | No good reply")


def test_a_notice_names_options() -> None:
    """Not the arguments of the library, which a log line may have."""
    text = "No good reply (from the argument api_url)"
    code = rxflow.NoticeCode.DEGRADED
    notice = rxflow.Notice(flow_run_id=RUN, code=code, message=text, timestamp=NOON)
    (line,) = map(click.unstyle, Transcript().lines(notice))
    assert line.endswith("No good reply (from --api-url)")
    (line,) = lines_without_times(log(text))
    assert line.endswith(text)


@pytest.mark.parametrize(
    "event", [rxflow.RunChanged(flow_run_id=RUN, run=run()), closed()], ids=["changed", "closed"]
)
def test_run_changed_and_closed_have_no_line(event: rxflow.FlowRunEvent) -> None:
    """A changed row is not shown, and the end is shown by the summary."""
    assert lines_without_times(event) == []


def test_the_lines_of_a_task_run_have_its_name() -> None:
    """A log line begins with the name of its task run after that was emitted."""
    lines = lines_without_times(
        log("early", task_run="id of sift-0"),
        task_change("sift-0"),
        log("sifted", task_run="id of sift-0"),
        log("unknown", task_run="id of weld-0"),
        log("the flow's own"),
    )
    assert lines == [
        "TIME INFO     | early",
        "TIME INFO     | Task run 'sift-0' entered state Completed",
        "TIME INFO     | sift-0: sifted",
        "TIME INFO     | unknown",
        "TIME INFO     | the flow's own",
    ]


@pytest.mark.parametrize("text", ["one\ntwo\n\tthree", "one\r\ntwo\r\n\tthree\r\n"])
def test_a_message_of_many_lines_stays_in_its_column(text: str) -> None:
    """Further lines of a message are aligned below its first; a final newline adds none."""
    (line,) = lines_of(log(text))
    first, *more = line.split("\n")
    assert [first.index("|")] * 2 == [each.index("|") for each in more]
    assert [each[first.index("|") :] for each in (first, *more)] == ["| one", "| two", "| \tthree"]
    assert {each[: first.index("|")].strip() for each in more} == {""}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b2J\x7f\x00", r"\x9b2J\x7f\x00"),
        ("over\rwritten\x08", r"over\x0dwritten\x08"),
        ("\x0b\x0c\x85", r"\x0b\x0c\x85"),
        ("user\u202etxt.exe", r"user\u202etxt.exe"),
        ("\u2066a\u2069", r"\u2066a\u2069"),
        ("schön, 漢字, שלום, a\tb, C:\\x1b", "schön, 漢字, שלום, a\tb, C:\\x1b"),
    ],
    ids=["colour", "title", "c1", "carriage", "vertical", "bidi", "isolates", "harmless"],
)
def test_control_characters_are_escaped(text: str, shown: str) -> None:
    """Control and direction characters are shown as escapes; all other text is unchanged."""
    assert safe_text(text) == shown
    assert lines_without_times(log(text)) == [f"TIME INFO     | {shown}"]


@given(st.text(), st.text(min_size=1))
def test_no_line_has_a_control_character(text: str, name: str) -> None:
    """Whatever a run's messages and names are, its lines control nothing."""
    lines = [
        *map(click.unstyle, Transcript().lines(rxflow.RunSeen(flow_run_id=RUN, run=run(name)))),
        *lines_of(
            task_change(name), log(text, task_run=f"id of {name}"), change(name, message=text)
        ),
    ]
    control = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
    assert [line for line in lines if control.search(line)] == []


# -- names, zones, colours ------------------------------------------------------------------------

SUBFLOW = "00000000-0000-4000-8000-000000000002"


def styled_lines(style: LineStyle, *events: rxflow.FlowRunEvent) -> list[str]:
    """The lines of events in a style, with colours."""
    transcript = Transcript(style)
    return [line for event in events for line in transcript.lines(event)]


def of_subflow(event: rxflow.FlowRunEvent) -> rxflow.FlowRunEvent:
    """The same event of a subflow of the run."""
    return replace(event, flow_run_id=SUBFLOW, root=RUN)


def test_the_lines_of_a_subflow_have_its_name() -> None:
    """Those of the watched run have none, unless several runs are watched."""
    name = replace(run("publish"), id=SUBFLOW)
    first = of_subflow(rxflow.RunSeen(flow_run_id=SUBFLOW, run=name))
    assert lines_without_times(first, of_subflow(log("one")), log("two")) == [
        "TIME INFO     | publish: one",
        "TIME INFO     | two",
    ]
    named = styled_lines(
        LineStyle(many=True), rxflow.RunSeen(flow_run_id=RUN, run=run()), log("two")
    )
    assert click.unstyle(named[-1]).endswith("| amber-fox: two")


def test_runs_have_colours_of_their_own() -> None:
    """Two runs of a watch are distinguished by their colours; one keeps its colour."""
    name = replace(run("publish"), id=SUBFLOW)
    *_, one, two, again = styled_lines(
        LineStyle(many=True),
        rxflow.RunSeen(flow_run_id=RUN, run=run()),
        of_subflow(rxflow.RunSeen(flow_run_id=SUBFLOW, run=name)),
        log("one"),
        of_subflow(log("two")),
        log("again"),
    )
    assert click.style("amber-fox", fg="cyan") in one
    assert click.style("publish", fg="magenta") in two
    assert click.style("amber-fox", fg="cyan") in again


@pytest.mark.parametrize(
    ("level", "colour"),
    [(10, None), (20, "green"), (30, "yellow"), (40, "red"), (45, "red"), (50, "red")],
)
def test_levels_have_colours(level: int, colour: str | None) -> None:
    """A level has that of the level below it that has one; DEBUG is dim."""
    (line,) = styled_lines(LineStyle(), log("x", level=level))
    start = click.style("", fg=colour, dim=colour is None or None, reset=False)
    assert line.split(" ")[1].startswith(start)


def test_times_are_in_the_zone() -> None:
    """Also the day that the title names."""
    zone = timezone(timedelta(hours=13))
    title, line = styled_lines(
        LineStyle(zone=zone), rxflow.RunSeen(flow_run_id=RUN, run=run()), log("x")
    )
    assert title.endswith(", created 2026-01-02")
    assert line.startswith("01:00:00.000 ")


def test_timestamps_have_date_and_offset() -> None:
    """Then no line for a new day is needed."""
    style = LineStyle(zone=timezone(timedelta(hours=1)), timestamps=True)
    lines = styled_lines(style, log("x"), log("y", at=NOON + timedelta(days=1)))
    assert [line.split(" ")[0] for line in lines] == [
        "2026-01-01T13:00:00.000+01:00",
        "2026-01-02T13:00:00.000+01:00",
    ]


def test_a_clock_change_shows_the_offset() -> None:
    """Where the offset from UTC changes, a line says what it is from there on."""
    style = LineStyle(zone=ZoneInfo("Europe/Berlin"))
    change_of_clocks = datetime(2026, 10, 25, 1, tzinfo=UTC)
    lines = styled_lines(
        style, log("x", at=change_of_clocks - timedelta(minutes=1)), log("y", at=change_of_clocks)
    )
    assert [click.unstyle(line).partition(" |")[0].strip() for line in lines] == [
        "02:59:00.000 INFO",
        "2026-10-25 UTC+01:00",
        "02:00:00.000 INFO",
    ]


@pytest.mark.parametrize(
    ("patterns", "shown"),
    [
        (["b+"], "a[bb]c"),
        (["bb", "bc"], "a[bb][c]"),
        (["x*"], "abbc"),
        (["^a", "c$"], "[a]bb[c]"),
    ],
    ids=str,
)
def test_what_is_highlighted_stands_out(patterns: list[str], shown: str) -> None:
    """Of each match all is, once, though several patterns match it."""
    style = LineStyle(highlight=tuple(map(re.compile, patterns)))
    (line,) = styled_lines(style, log("abbc"))
    text = line.partition("| ")[2]
    assert text.replace("\x1b[7m", "[").replace("\x1b[0m", "]") == shown


def test_a_highlight_does_not_undo_an_escape() -> None:
    """Patterns see the text as it is shown."""
    style = LineStyle(highlight=(re.compile("x1b"),))
    (line,) = styled_lines(style, log("\x1b[31m"))
    assert line.endswith("| \\" + click.style("x1b", reverse=True) + "[31m")
