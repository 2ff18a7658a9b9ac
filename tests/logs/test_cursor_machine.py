"""The cursor against a server that anything may happen to, step by step, found by Hypothesis."""

from collections import Counter
from datetime import timedelta
from random import Random

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from simulated_world import START, World, exchange

from rxflow import FlowRunLog
from rxflow._logs.cursor import CursorState, LogCursor
from rxflow._logs.log_read import LogRead
from rxflow._protocol.queries import LogsQuery

LIMIT = 5
CLOCKS = (0.0, 0.0, -40.0, 11.0, 3600.0)
"""Seconds that each writer's clock is ahead."""

writers = st.integers(0, len(CLOCKS) - 1)


class Reading(RuleBasedStateMachine):
    """Writers, a server and a cursor that polls it."""

    def __init__(self) -> None:
        """Begin with nothing stored."""
        super().__init__()
        self.world = World(page_limit=LIMIT, random=Random(0))
        self.runs = [self.world.server.add_run() for _ in range(2)]
        self.cursor = LogCursor(*self.runs)
        self.told: list[FlowRunLog] = []
        self.lines: list[tuple[int, float]] = []
        """The writer of each line, in the order in which they were written, and its time."""
        self.under_way: dict[int, list[tuple[int, float]]] = {}
        """By writer, the lines that wait for a commit, and since when."""
        self.line_of: dict[str, int] = {}
        self.shallow = False

    @initialize(shallow=st.booleans())
    def begin(self, shallow: bool) -> None:
        """Say whether polls may leave out what is below the floor, which costs the order."""
        self.shallow = shallow

    # -- what happens ---------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.1, 1.0, 1.0, 4.0, 15.0, 100.0]))
    def time_passes(self, seconds: float) -> None:
        """Let it."""
        self.world.wait(seconds)

    @rule(
        writer=writers,
        count=st.sampled_from([1, 1, 3, 12]),
        step=st.sampled_from([1e-6, 0.1, 1.0, 10.0]),
        slow=st.booleans(),
    )
    def write(self, writer: int, count: int, step: float, slow: bool) -> None:
        """Have a writer write some lines by its clock, which are stored now or later."""
        waiting = self.under_way.setdefault(writer, [])
        for _ in range(count):
            own = (self.world.now + CLOCKS[writer]) // step * step
            waiting.append((len(self.lines), self.world.now))
            self.lines.append((writer, max(own, self._last_time(writer))))
        if not slow:
            self.commits_land(writer, 1000)

    @rule(writer=writers, count=st.sampled_from([1, 2, 1000]))
    def commits_land(self, writer: int, count: int) -> None:
        """Store lines of a writer, the oldest first."""
        waiting = self.under_way.get(writer, [])
        for line, begun in waiting[:count]:
            row = self.world.server.log(
                self.runs[writer % 2],
                f"line {line}",
                timestamp=START + timedelta(seconds=self.lines[line][1]),
                created=START + timedelta(seconds=begun, microseconds=line),
            )
            self.line_of[row] = line
        del waiting[:count]

    @rule(requests=st.integers(0, 12), deep=st.booleans(), landing=writers)
    def poll_breaks_off(self, requests: int, deep: bool, landing: int) -> None:
        """Drop a poll after some requests, if it takes as many: nothing may have changed."""
        before = msgspec.json.encode(self.cursor.save())
        if self._poll(deep=deep or not self.shallow, landing=landing, most=requests) is None:
            assert msgspec.json.encode(self.cursor.save()) == before

    @rule(deep=st.booleans(), landing=writers)
    def poll(self, deep: bool, landing: int) -> None:
        """Poll while commits land between the requests."""
        self._poll(deep=deep or not self.shallow, landing=landing)

    @rule()
    def poll_in_peace(self) -> None:
        """Poll while nothing happens: what is proven is all there is."""
        read = self._poll(deep=True)
        assert read is not None
        if read.proven:
            assert {row.id for row in self.told} == set(self.line_of)
            assert self.cursor.ledger.total == len(self.line_of)

    @rule()
    def stop_and_go_on(self) -> None:
        """Save the cursor and load it."""
        text = msgspec.json.encode(self.cursor.save())
        self.cursor = LogCursor.load(msgspec.json.decode(text, type=CursorState))
        assert msgspec.json.encode(self.cursor.save()) == text

    def teardown(self) -> None:
        """Let all commits land and time pass: then everything is told and proven soon."""
        for writer in self.under_way:
            self.commits_land(writer, 1000)
        self.world.wait(60)
        for _ in range(3 + len(self.line_of)):
            read = self._poll(deep=True)
            if read is not None and read.proven:
                break
        else:
            raise AssertionError("nothing is proven, though nothing happens any more")
        assert {row.id for row in self.told} == set(self.line_of)

    # -- what must hold -------------------------------------------------------------------------

    @invariant()
    def nothing_is_told_that_was_not_stored(self) -> None:
        """What was told is a part of the table."""
        assert {row.id for row in self.told} <= set(self.line_of)

    @invariant()
    def nothing_is_told_twice(self) -> None:
        """Each row comes once."""
        assert not any(count > 1 for count in Counter(row.id for row in self.told).values())
        assert not any(row.replayed for row in self.told)

    @invariant()
    def writers_are_told_in_order(self) -> None:
        """The lines of a writer come in the order in which they were written."""
        for writer in range(0 if self.shallow else len(CLOCKS)):
            lines = [self.line_of[row.id] for row in self.told]
            mine = [line for line in lines if self.lines[line][0] == writer]
            assert mine == sorted(mine)

    # -- polling --------------------------------------------------------------------------------

    def _poll(
        self, *, deep: bool, landing: int | None = None, most: int = 10_000
    ) -> LogRead | None:
        there = set(self.line_of)
        poll = self.cursor.poll(LIMIT, deep=deep)
        try:
            query = next(poll)
            for _ in range(most):
                assert isinstance(query, LogsQuery)
                answer = exchange(self.world.server, query)
                if landing is not None:
                    self.commits_land(landing, 1)
                query = poll.send(answer)  # type: ignore[arg-type]
        except StopIteration as end:
            read: LogRead = end.value
            self.cursor.commit(read)
            self.told += read.rows
            assert not read.proven or there <= {row.id for row in self.told}
            return read
        assert most < 10_000, "a poll without end"
        poll.close()
        return None

    def _last_time(self, writer: int) -> float:
        return max((time for other, time in self.lines if other == writer), default=-1e9)


TestReading = Reading.TestCase
TestReading.settings = settings(max_examples=200, stateful_step_count=30)
