"""Lines whose task run has its name only later: which are held, and for how long."""

from collections.abc import Iterable

import reactivex
from reactivex import operators as ops
from reactivex.testing import TestScheduler
from sample_events import TASK, line, task_entered

from rxflow import FlowRunEvent
from rxflow.cli._late_names import MOST_HELD, MOST_SECONDS, PAUSE, LateNames, named
from rxflow.cli._names import Names

LINE = line(1, task=TASK)
NAMED = task_entered("Completed", 2)
FLOW_LINE = line(3)


class Held:
    """The machine behind names, as a watch of a relay's log arranges them."""

    def __init__(self) -> None:
        """Begin without an event."""
        self.names = Names()
        self.machine = LateNames(self.names)

    def receive(self, event: FlowRunEvent, mono: float = 0.0) -> tuple[FlowRunEvent, ...]:
        """Receive an event, as the names do before."""
        self.names.receive(event)
        return self.machine.receive(event, mono)


def test_a_line_waits_for_the_name_of_its_task_run() -> None:
    """All after it wait as well, so that the order stays; the name releases them."""
    held = Held()
    assert held.receive(FLOW_LINE) == (FLOW_LINE,)
    assert held.receive(LINE) == ()
    assert held.receive(FLOW_LINE) == ()
    assert held.receive(NAMED) == (LINE, FLOW_LINE, NAMED)
    assert held.machine.due_in(0.0) is None
    assert held.receive(LINE) == (LINE,)


def test_a_name_releases_the_lines_before_the_next_unknown_one() -> None:
    """A line of another task run goes on waiting for its own."""
    held = Held()
    other = line(2, task="another")
    assert held.receive(LINE) == ()
    assert held.receive(other) == ()
    assert held.receive(NAMED) == (LINE,)
    assert held.machine.flush(0.0) == (other, NAMED)


def test_a_name_that_does_not_come_is_left_out() -> None:
    """It is awaited until no event came for a moment, and by no further line."""
    held = Held()
    held.receive(LINE, 5.0)
    held.receive(FLOW_LINE, 6.0)
    assert held.machine.due_in(6.5) == PAUSE - 0.5
    assert held.machine.wake(5.9 + PAUSE) == ()
    assert held.machine.wake(6.0 + PAUSE) == (LINE, FLOW_LINE)
    assert held.machine.wake(9.0 + PAUSE) == ()
    assert held.receive(LINE, 20.0) == (LINE,)


def test_a_line_is_not_held_for_ever_while_events_come() -> None:
    """Neither in seconds nor in number."""
    held = Held()
    held.receive(LINE, 0.0)
    held.receive(FLOW_LINE, MOST_SECONDS - 0.5)
    assert held.machine.due_in(MOST_SECONDS - 0.5) == 0.5
    assert held.machine.wake(MOST_SECONDS) == (LINE, FLOW_LINE)
    many = Held()
    emitted: list[FlowRunEvent] = []
    for _ in range(MOST_HELD + 1):
        emitted += many.receive(LINE)
    assert len(emitted) == MOST_HELD + 1


def emitted_at(events: Iterable[tuple[float, FlowRunEvent]]) -> list[tuple[float, str]]:
    """Return when each event is emitted, in virtual time, of those that arrive at some seconds."""
    scheduler = TestScheduler()
    names = Names()
    arrivals = [reactivex.of(event).pipe(ops.delay(at)) for at, event in events]
    source = reactivex.merge(*arrivals, reactivex.never()).pipe(ops.do_action(names.receive))
    found: list[tuple[float, str]] = []
    source.pipe(named(names)).subscribe(
        lambda event: found.append((scheduler.clock, event.kind)), scheduler=scheduler
    )
    scheduler.advance_to(100.0)
    return found


def test_time_alone_releases_what_is_held() -> None:
    """No further event is needed."""
    assert emitted_at([(1.0, FLOW_LINE), (3.0, LINE)]) == [(1.0, "log"), (3.0 + PAUSE, "log")]
