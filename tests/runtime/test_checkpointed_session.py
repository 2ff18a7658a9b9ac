"""`CheckpointedSession`: when what was handed on to a loop counts as acknowledged."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest
from checkpoint_files import known_states

from rxflow import Notice, NoticeCode, RunSeen, StateChange
from rxflow._models.entities import FlowRun
from rxflow._models.states import State
from rxflow._models.times import Now
from rxflow._protocol.failures import Reply
from rxflow._runtime.acknowledged_events import AcknowledgedEvents
from rxflow._runtime.checkpoint_use import CheckpointUse
from rxflow._runtime.checkpointed_session import CheckpointedSession
from rxflow._runtime.checkpoints import Checkpoints
from rxflow._runtime.manual_acks import ManualAcks
from rxflow._watching.event_order import EventPages
from rxflow._watching.run_session import RunSession
from rxflow._watching.session import Command, Done, Wait
from rxflow._watching.watch_spec import EventSource, WatchSpec

RUN = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"
START = datetime(2026, 11, 22, 12, tzinfo=UTC)
ROW = FlowRun(id=RUN, name="run", created=START, updated=START)
SEEN = RunSeen(flow_run_id=RUN, run=ROW)
NOTICE = Notice(flow_run_id=RUN, code=NoticeCode.DEGRADED, message="", timestamp=START)


def change(number: int) -> StateChange:
    """Return a change of the run's state."""
    state = State(id=f"{number}", type="RUNNING", name="Running", timestamp=START)
    return StateChange(flow_run_id=RUN, id=state.id, state=state)


class Given(RunSession):
    """A session that emits what a test gives it, waits for half a minute, and may be over."""

    def __init__(self) -> None:
        """Start with nothing to emit."""
        super().__init__(WatchSpec(flow_run_id=RUN), Random(0))
        self.given: EventPages = ()
        self.over = False

    def next_command(self, now: Now) -> Command:  # noqa: ARG002
        """Wait, or end."""
        return Done() if self.over else Wait(30.0)

    def receive(self, reply: Reply, now: Now) -> EventPages:  # noqa: ARG002
        """Fail: no query is sent."""
        raise AssertionError("no query was sent")

    def wake(self, now: Now) -> EventPages:  # noqa: ARG002
        """Return what was given since the last call."""
        given, self.given = self.given, ()
        return given

    @property
    def done(self) -> Done | None:
        """Whether it is over."""
        return Done() if self.over else None


class Loop:
    """A loop over a watch with a checkpoint, and its time.

    Attributes:
        item_waits: Whether an item waits that it has not taken.
    """

    def __init__(
        self, path: Path, acks: ManualAcks | None = None, *, on_demand: bool = False
    ) -> None:
        """Open the checkpoint."""
        self.path = path
        self.item_waits = False
        self.seconds = 0.0
        self.session = Given()
        spec = WatchSpec(flow_run_id=RUN)
        use = CheckpointUse(path=str(path), acks=acks)
        files = Checkpoints(use, spec, "http://fake.invalid/api")
        self.acknowledged = AcknowledgedEvents(spec, files, lambda: self.now)
        self.watch = CheckpointedSession(
            self.session,
            files,
            self.acknowledged,
            use=use,
            spec=spec,
            item_waits=None if acks and not on_demand else lambda: self.item_waits,
        )
        assert self.watch.next_command(self.now) == Wait(0.0)
        assert self.watch.next_command(self.now) == Wait(30.0)

    @property
    def now(self) -> Now:
        """The time."""
        return Now(self.seconds, START + timedelta(seconds=self.seconds))

    def ends(self) -> bool:
        """Whether the end is to be emitted."""
        return self.watch.done is not None

    def wake(self) -> EventPages:
        """Run an action, and hand on what it emits."""
        pages = self.watch.wake(self.now)
        for _, page in pages:
            self.watch.hand_on(page)
            self.item_waits = True
        return pages


@contextmanager
def loop_over(
    path: Path, acks: ManualAcks | None = None, *, on_demand: bool = False
) -> Iterator[Loop]:
    """Open a checkpoint, and close it at the end."""
    loop = Loop(path, acks, on_demand=on_demand)
    try:
        yield loop
    finally:
        loop.acknowledged.close()


STATES = EventSource.STATES


def test_an_item_that_was_not_taken_is_not_acknowledged(tmp_path: Path) -> None:
    """Actions that run meanwhile, while a loop waits for a reply, emit and request nothing."""
    with loop_over(tmp_path / "run.ckpt") as loop:
        loop.session.given = ((EventSource.NOTICES, (SEEN,)), (STATES, (change(1), change(2))))
        assert loop.wake() == ((EventSource.NOTICES, (SEEN,)),)
        for _ in range(3):
            loop.seconds += 1.0
            assert loop.wake() == ()
            command = loop.watch.next_command(loop.now)
            due = loop.watch.due_in(loop.now)
            assert isinstance(command, Wait)
            assert due is not None
            assert 0 < command.seconds <= 1
            assert 0 < due <= 1
        assert not loop.path.exists()
        loop.item_waits = False
        assert loop.wake() == ((STATES, (change(1),)),)
        assert loop.path.exists()
        assert known_states(loop.path) == set()


def test_the_end_waits_for_the_last_acknowledgement(tmp_path: Path) -> None:
    """A stream that completed before would end without it."""
    with loop_over(tmp_path / "run.ckpt") as loop:
        loop.session.given = ((EventSource.NOTICES, (NOTICE,)),)
        loop.wake()
        loop.session.over = True
        assert not loop.ends()
        loop.item_waits = False
        loop.wake()
        assert loop.ends()
        assert loop.watch.next_command(loop.now) == Done()


def test_a_long_pause_is_cut_for_a_checkpoint(tmp_path: Path) -> None:
    """What was acknowledged is saved within a second, however long nothing is polled."""
    with loop_over(tmp_path / "run.ckpt") as loop:
        loop.session.given = ((EventSource.NOTICES, (SEEN,)), (STATES, (change(1),)))
        for _ in range(3):
            loop.wake()
            loop.item_waits = False
        assert known_states(loop.path) == set()
        command = loop.watch.next_command(loop.now)
        assert isinstance(command, Wait)
        assert 0 < command.seconds <= 1
        loop.seconds += command.seconds
        loop.wake()
        assert known_states(loop.path) == {"1"}
        assert loop.watch.next_command(loop.now) == Wait(30.0)


def _calls_for(path: Path, count: int) -> int:
    """Return how many Python functions are called while a loop takes the events of a page."""
    calls = 0

    def note(_: object, what: str, __: object) -> None:
        nonlocal calls
        calls += what == "call"

    with loop_over(path) as loop:
        changes = tuple(change(number) for number in range(count))
        loop.session.given = ((EventSource.NOTICES, (SEEN,)), (STATES, changes))
        usual = sys.getprofile()
        sys.setprofile(note)
        try:
            while loop.wake():
                loop.item_waits = False
        finally:
            sys.setprofile(usual)
    return calls


def test_an_event_costs_the_same_however_many_wait(tmp_path: Path) -> None:
    """A reply may have thousands, which are handed on one by one."""
    few, many = (_calls_for(tmp_path / f"{count}.ckpt", count) for count in (100, 900))
    assert many < 15 * few


def test_an_ack_of_the_last_second_is_saved_without_news(tmp_path: Path) -> None:
    """While events wait for `ack` there is a turn each second, in which a checkpoint is written."""
    acks = ManualAcks()
    with loop_over(tmp_path / "run.ckpt", acks) as loop:
        changes = tuple(change(number) for number in range(4))
        loop.session.given = ((EventSource.NOTICES, (SEEN,)), (STATES, changes))
        assert [page for _, page in loop.wake()] == [(SEEN,), *((each,) for each in changes)]
        assert loop.watch.next_command(loop.now) == Wait(1.0)
        acks.ack(changes[0])
        assert known_states(loop.path) == {"0"}
        loop.seconds += 0.5
        acks.ack(changes[1])
        assert known_states(loop.path) == {"0"}
        assert loop.watch.next_command(loop.now) == Wait(0.5)
        loop.seconds += 0.5
        loop.wake()
        assert known_states(loop.path) == {"0", "1"}


def test_a_loop_is_given_one_event_at_a_time_to_acknowledge(tmp_path: Path) -> None:
    """Actions that run while it waits for a reply emit no other, so that none is ahead of it."""
    acks = ManualAcks()
    with loop_over(tmp_path / "run.ckpt", acks, on_demand=True) as loop:
        changes = tuple(change(number) for number in range(3))
        loop.session.given = ((EventSource.NOTICES, (SEEN,)), (STATES, changes))
        loop.wake()
        loop.item_waits = False
        assert loop.wake() == ((STATES, changes[:1]),)
        assert loop.wake() == ()
        with pytest.raises(ValueError, match="has not handed on the event"):
            acks.ack(changes[1])
        loop.item_waits = False
        assert loop.wake() == ((STATES, changes[1:2]),)
        acks.ack(changes[1])
        with pytest.raises(ValueError, match="has not handed on the event"):
            acks.ack(changes[2])
    assert known_states(loop.path) == {"0", "1"}


def test_events_that_wait_hold_back_the_next_query(tmp_path: Path) -> None:
    """With ten thousand of them a notice says so once, until half of them are acknowledged."""
    acks = ManualAcks()
    with loop_over(tmp_path / "run.ckpt", acks) as loop:
        changes = tuple(change(number) for number in range(12_000))
        loop.session.given = ((STATES, changes[:10_000]),)
        loop.wake()
        assert loop.watch.next_command(loop.now) == Wait(0.0)
        ((_, (notice,)),) = loop.wake()
        assert isinstance(notice, Notice)
        assert notice.code is NoticeCode.UNACKNOWLEDGED
        assert notice.message.startswith("10,000 events are not acknowledged; the watch goes on")
        command = loop.watch.next_command(loop.now)
        assert isinstance(command, Wait)
        assert command.seconds < 1
        acks.ack(changes[1])
        assert loop.watch.next_command(loop.now) == Wait(1.0)
        loop.session.given = ((STATES, changes[10_000:]),)
        loop.wake()
        assert loop.watch.next_command(loop.now) == command
        assert loop.wake() == ()
        acks.ack(changes[-1])
        assert loop.watch.next_command(loop.now) == Wait(30.0)
        loop.session.given = ((STATES, changes[:10_000]),)
        loop.wake()
        assert loop.watch.next_command(loop.now) == Wait(0.0)
        ((_, (notice,)),) = loop.wake()
        assert isinstance(notice, Notice)
        loop.session.over = True
        assert loop.watch.next_command(loop.now) == Done()
