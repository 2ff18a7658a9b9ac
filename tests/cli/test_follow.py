"""Following a watch: what a display is given, and which status the runs lead to."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

import rxflow
from rxflow.cli._follow import follow

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

RUN, OTHER, SUBFLOW = (f"00000000-0000-4000-8000-00000000000{number}" for number in (1, 2, 3))


class RecordingDisplay:
    """Records the events that it is given, and whether it was closed."""

    def __init__(self) -> None:
        self.events: list[rxflow.FlowRunEvent] = []
        self.closed = 0

    def show(self, event: rxflow.FlowRunEvent) -> None:
        """Record an event."""
        assert not self.closed
        self.events.append(event)

    def say(self, text: str) -> None:
        """Reject a sentence, of which none is expected."""
        raise AssertionError(text)

    def close(self) -> None:
        """Record the end."""
        self.closed += 1


def ended(kind: str) -> rxflow.State:
    """A terminal state."""
    return rxflow.State(id=kind, type=kind, name=kind.capitalize(), timestamp=NOON)


def closed(run_id: str, kind: str) -> rxflow.Closed:
    """The end of a run."""
    return rxflow.Closed(flow_run_id=run_id, timestamp=NOON, state=ended(kind))


def outcome(
    run_id: str, kind: str, root: str | None = None, ended_by: rxflow.NoticeCode | None = None
) -> rxflow.RunOutcome:
    """How a run of several ended."""
    return rxflow.RunOutcome(
        flow_run_id=run_id,
        root_flow_run_id=root or run_id,
        state=ended(kind),
        ended_by=ended_by,
    )


@pytest.mark.parametrize(
    ("kind", "status"), [("COMPLETED", 0), ("FAILED", 1), ("CRASHED", 3), ("CANCELLED", 5)]
)
def test_the_status_of_one_run_is_that_of_its_last_state(kind: str, status: int) -> None:
    """The run counts, and not the subflow that was closed before it."""
    assert follow([closed(SUBFLOW, "FAILED"), closed(RUN, kind)], RecordingDisplay()) == status


@pytest.mark.parametrize(
    ("runs", "status"),
    [
        ([outcome(RUN, "COMPLETED"), outcome(OTHER, "FAILED")], 1),
        ([outcome(RUN, "CANCELLED"), outcome(OTHER, "COMPLETED")], 5),
        ([outcome(RUN, "COMPLETED"), outcome(SUBFLOW, "FAILED", root=RUN)], 0),
        ([outcome(RUN, "COMPLETED", ended_by=rxflow.NoticeCode.RUN_DELETED)], 7),
        ([], 7),
    ],
    ids=["failed", "cancelled", "subflow", "deleted", "none"],
)
def test_the_status_of_several_runs_is_the_worst(
    runs: list[rxflow.RunOutcome], status: int
) -> None:
    """Subflows do not count, and a run that was deleted is one that was not found."""
    last = rxflow.AllClosed(flow_run_id="", timestamp=NOON, runs=tuple(runs))
    assert follow([closed(RUN, "COMPLETED"), last], RecordingDisplay()) == status


def test_a_run_that_was_deleted_is_not_found() -> None:
    """It is closed in the last state that was seen, in which it was not over."""
    assert follow([closed(RUN, "RUNNING")], RecordingDisplay()) == 7


@pytest.mark.parametrize("tabulated", [True, False])
def test_a_table_says_how_several_runs_ended(
    tabulated: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """On standard error, after the display is closed; it has no subflow."""
    runs = (
        outcome(RUN, "COMPLETED"),
        outcome(OTHER, "FAILED"),
        outcome(SUBFLOW, "FAILED", root=RUN),
    )
    last = rxflow.AllClosed(flow_run_id="", timestamp=NOON, runs=runs)
    follow([last], RecordingDisplay(), tabulated=tabulated)
    written, errors = capsys.readouterr()
    assert written == ""
    assert (
        errors.splitlines()
        == [
            "rxflow: 2 flow runs: 1 Completed, 1 Failed",
            f"  {RUN}  Completed  -",
            f"  {OTHER}  Failed     -",
        ][: 3 * tabulated]
    )


def test_a_display_is_given_every_event_and_then_closed() -> None:
    """In the order in which they are emitted."""
    display = RecordingDisplay()
    events = [closed(SUBFLOW, "FAILED"), closed(RUN, "COMPLETED")]
    follow(events, display)
    assert (display.events, display.closed) == (events, 1)


def test_a_display_is_closed_when_the_watch_fails() -> None:
    """What a terminal needs to be as it was is done before the error is reported."""
    display = RecordingDisplay()

    def events() -> Iterator[rxflow.FlowRunEvent]:
        yield closed(SUBFLOW, "FAILED")
        raise rxflow.Unreachable("no response")

    with pytest.raises(rxflow.Unreachable):
        follow(events(), display)
    assert (len(display.events), display.closed) == (1, 1)
