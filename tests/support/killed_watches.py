"""Watch hostile worlds by watches that are killed again and again, and go on from their events.

The first of them begins with nothing, each other one with the events that the ones before have
handed on; of the last ones that a killed watch emitted some may be lost. All events together are
checked as those of one watch. With a checkpoint it begins with what that says of the events, and
those that were handed on after it come again.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from random import Random
from typing import Any

from hostile_worlds import SHRINKING, HostileWatch, Result
from hostile_worlds_prefect1 import Prefect1HostileWatch
from many_run_worlds import ManyRunKind, ManyRunWatch
from msgspec.structs import replace
from simulated_world import SimulatedWatch

from rxflow._runtime.checkpoint_format import decode_checkpoint, encode_checkpoint, new_checkpoint
from rxflow._watching.log_reader import RowLimit
from rxflow._watching.run_roots import root_of_events, without_roots
from rxflow._watching.run_session import RunSession
from rxflow._watching.run_watch import RunWatch
from rxflow._watching.runs_session import RunsSession
from rxflow._watching.watch_spec import WatchSpec
from rxflow.events import AllClosed, Closed, FlowRunEvent, FlowRunLog, StateChange

_KILLS = 0.04  # of all steps, most of which send a query
_MOST_KILLS = 15  # so that a long history is read at last
_DOWN = (0.0, 0.0, 0.2, 3.0, 40.0)  # seconds


class _Killed(HostileWatch):
    """A watch that is killed now and then."""

    def watch(self) -> Result:
        """Watch the world from a random time on to the end, and check the promises."""
        end = self.world.played.end
        self.wait(self.random.choice([0.0, 0.0, end / 2, end + 1, 200.0]))
        watched = self.watched
        while not watched.ended and self.now < 3600.0:
            before = len(watched.emitted)
            watched.step(until=3600.0)
            if self.kills < _MOST_KILLS and self.random.random() < _KILLS and not _is_over(watched):
                self._kill(handed_on=self.random.randint(before, len(watched.emitted)))
        result = self._check(watched)
        result.kills = self.kills
        return result

    def _kill(self, handed_on: int) -> None:
        """Kill the watch after some of its events, and start the next one."""
        self.kills += 1
        watched = self.watched
        if self._faults is None:
            self._faults = self.server.faults
            self.world.heal()
        assert isinstance(watched.session, RunSession)
        spec = watched.session._run.spec
        session = RunSession(spec, Random(f"{self.seed} {self.kills}"))
        watched.go_on_with(session, handed_on)
        self._forget_polls()
        self._go_on(session, spec)
        self.wait(self.random.choice(_DOWN))

    def _go_on(self, session: RunSession, spec: WatchSpec) -> None:  # noqa: ARG002
        """Let a session go on after the events that were handed on."""
        for part in self._parts_of(self.watched.events):
            session.record_emitted(part)

    def _parts_of(self, events: list[FlowRunEvent]) -> Iterator[list[FlowRunEvent]]:
        size = self.random.choice([1, 7, 200])
        return (events[n : n + size] for n in range(0, len(events), size))

    @property
    def _has_begun(self) -> bool:
        return self.watched.session._outages._retry._attached


def _is_over(watched: SimulatedWatch) -> bool:
    return watched.ended or bool(watched.events and isinstance(watched.events[-1], Closed))


class _Checkpointed(_Killed):
    """A watch that is killed now and then, and of which a checkpoint alone is left.

    It is some events behind those that the consumer got, which therefore come twice.
    """

    def __init__(self, seed: int, *arguments: Any) -> None:
        """Start without a checkpoint."""
        super().__init__(seed, *arguments)
        self._checkpoint: bytes | None = None
        self._saved = 0  # so many events are in it
        self._again: list[str] = []  # the rows that are to come again, of each kill

    def _kill(self, handed_on: int) -> None:
        events = self.watched.events
        behind = self.random.choice([0, 0, 1, 5, 100, 1000])
        acknowledged = max(self._saved, handed_on - behind)
        self._again += _rows_of(events[acknowledged:handed_on])
        super()._kill(acknowledged)

    def _go_on(self, session: RunSession, spec: WatchSpec) -> None:
        """Write the next checkpoint on top of the last one, and let a session go on after it."""
        events = self.watched.events
        parts = self._parts_of(events[self._saved :])
        self._checkpoint = _next_checkpoint(self._checkpoint, parts, spec, self.random)
        self._saved = len(events)
        session.load_emitted(decode_checkpoint(self._checkpoint).state)

    def _check(self, watched: SimulatedWatch) -> Result:
        result = super()._check(watched)
        if self.world.kind not in SHRINKING:
            _check_again(self._again, watched.events, result)
        return result


def _rows_of(events: Iterable[FlowRunEvent]) -> list[str]:
    return [event.id for event in events if isinstance(event, StateChange | FlowRunLog)]


def _check_again(expected: list[str], events: Iterable[FlowRunEvent], result: Result) -> None:
    """Check that rows came again; that no others did is checked as for one watch."""
    result.again = len(expected)
    result.missing = sorted({*expected} - {*_rows_of(events)})
    if result.missing:
        result.broken.append("I7: a row that was not acknowledged did not come again")


def _next_checkpoint(
    earlier: bytes | None, parts: Iterable[list[FlowRunEvent]], spec: WatchSpec, random: Random
) -> bytes:
    """Return a checkpoint on top of an earlier one, saved and loaded now and then in between."""
    record = RunWatch(spec, RowLimit())
    root: str | None = None
    if earlier is not None:
        state = decode_checkpoint(earlier).state
        record.load_emitted(state)
        root = state.root
    for part in parts:
        record.record_emitted(without_roots(part))
        root = root_of_events(part)
        if random.random() < 0.1:
            state = record.save_emitted()
            record = RunWatch(spec, RowLimit())
            record.load_emitted(state)
    state = replace(record.save_emitted(), root=root)
    return encode_checkpoint(new_checkpoint(spec, "http://fake.invalid/api", state))


class KilledWatch(_Killed):
    """A watch of a Prefect 3 that is killed now and then."""


class KilledPrefect1Watch(_Killed, Prefect1HostileWatch):
    """A watch of a Prefect 1 that is killed now and then."""


class CheckpointedWatch(_Checkpointed):
    """A watch of a Prefect 3 that is killed now and then, and goes on from a checkpoint."""


class CheckpointedPrefect1Watch(_Checkpointed, Prefect1HostileWatch):
    """A watch of a Prefect 1 that is killed now and then, and goes on from a checkpoint."""


class KilledManyRunWatch(ManyRunWatch):
    """A watch of many runs that is killed now and then.

    Each watch is given the runs of before, and what was handed on of each of them.
    """

    def __init__(self, seed: int, kind: ManyRunKind | None = None) -> None:
        """Draw the world and the kills from the seed."""
        super().__init__(seed, kind)
        self._kill_random = Random(f"kills of many runs {seed}")

    def watch(self) -> Result:
        """Watch the world to its end, and check the promises."""
        result = super().watch()
        result.kills = self.kills
        return result

    def _run(self, until: float) -> None:
        watched, random = self.watched, self._kill_random
        while not watched.ended and self.now < until:
            before = len(watched.emitted)
            watched.step(until)
            if self.kills < _MOST_KILLS and random.random() < _KILLS and not self._is_over:
                self._kill(handed_on=random.randint(before, len(watched.emitted)))

    def _kill(self, handed_on: int) -> None:
        """Kill the watch after some of its events, and start the next one."""
        self.kills += 1
        for member in self.members:
            member.checked, member.grouped = False, None
        session = RunsSession(self.session._spec, Random(f"{self.seed} {self.kills}"), goes_on=True)
        self.session = session
        self.watched.go_on_with(session, handed_on)
        session.add(self.given)
        journals: defaultdict[str, list[FlowRunEvent]] = defaultdict(list)
        for event in self.watched.events:
            journals[event.flow_run_id].append(event)
        while (run_id := session.next_joined()) is not None:
            self._go_on(session, run_id, journals[run_id])
        if self.are_all_given:
            session.complete()
        self.wait(self._kill_random.choice(_DOWN))

    def _go_on(self, session: RunsSession, run_id: str, journal: list[FlowRunEvent]) -> None:  # noqa: ARG002
        """Let a session go on with a run after the events of it that were handed on."""
        for part in self._parts_of(journal):
            session.record_emitted(part)

    def _parts_of(self, events: list[FlowRunEvent]) -> Iterator[list[FlowRunEvent]]:
        size = self._kill_random.choice([1, 7, 200])
        return (events[n : n + size] for n in range(0, len(events), size))

    @property
    def _is_over(self) -> bool:
        events = self.watched.events
        return self.watched.ended or bool(events and isinstance(events[-1], AllClosed))

    @property
    def _has_begun(self) -> bool:
        return self.session._outages._retry._attached


class CheckpointedManyRunWatch(KilledManyRunWatch):
    """A watch of many runs that is killed now and then, and of which checkpoints alone are left.

    Those of different runs are behind what the consumer got by different numbers of events, as only
    some are written at a time, and a run may have none yet.
    """

    def __init__(self, seed: int, kind: ManyRunKind | None = None) -> None:
        """Start without a checkpoint."""
        super().__init__(seed, kind)
        self._checkpoints: dict[str, bytes] = {}
        self._saved: Counter[str] = Counter()  # so many events of each run are in them
        self._again: list[FlowRunEvent] = []  # those that are to come again, of each kill

    def _kill(self, handed_on: int) -> None:
        emitted, random = self.watched.emitted, self._kill_random
        of_runs = Counter(event.flow_run_id for _, event in emitted[:handed_on])
        most_behind = random.choice([0, 1, 5, 100])
        kept = {
            run_id: max(self._saved[run_id], count - random.randint(0, most_behind))
            for run_id, count in of_runs.items()
        }
        seen: Counter[str] = Counter()
        acknowledged: list[tuple[float, FlowRunEvent]] = []
        for at, event in emitted[:handed_on]:
            seen[event.flow_run_id] += 1
            if seen[event.flow_run_id] <= kept[event.flow_run_id]:
                acknowledged.append((at, event))
            else:
                self._again.append(event)
        emitted[:] = acknowledged
        super()._kill(len(acknowledged))

    def _go_on(self, session: RunsSession, run_id: str, journal: list[FlowRunEvent]) -> None:
        """Write the next checkpoint on top of the last one, and let a session go on after it."""
        if not journal:
            return
        parts = self._parts_of(journal[self._saved[run_id] :])
        spec = replace(session._spec, flow_run_id=run_id)
        earlier = self._checkpoints.get(run_id)
        checkpoint = _next_checkpoint(earlier, parts, spec, self._kill_random)
        self._checkpoints[run_id], self._saved[run_id] = checkpoint, len(journal)
        session.load_emitted(decode_checkpoint(checkpoint).state, run_id)

    def _check(self) -> Result:
        result = super()._check()
        if self.kind not in SHRINKING:
            deleted = {each.run_id for each in self.members if each.deleted is not None}
            again = [event for event in self._again if event.flow_run_id not in deleted]
            _check_again(_rows_of(again), self.watched.events, result)
        return result
