"""The cursor against a server on which anything may happen, step by step, by Hypothesis."""

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

MAX_REQUESTS = 10_000
"""Budget of a poll, which only shows that it ends."""

writers = st.integers(0, len(CLOCKS) - 1)


class CursorMachine(RuleBasedStateMachine):
    """Writers, a server and a cursor that polls it."""

    def __init__(self) -> None:
        """Start with nothing stored."""
        super().__init__()
        self.world = World(page_limit=LIMIT, random=Random(0))
        self.runs = [self.world.server.add_run() for _ in range(2)]
        self.cursor = LogCursor(*self.runs)
        self.delivered: list[FlowRunLog] = []
        self.lines: list[tuple[int, float]] = []
        """The writer of each line, in the order in which they were written, and its time."""
        self.under_way: dict[int, list[tuple[int, float]]] = {}
        """By writer, the lines that wait for a commit, and since when."""
        self.line_of: dict[str, int] = {}
        self.shallow = False

    @initialize(shallow=st.booleans())
    def start(self, shallow: bool) -> None:
        """Choose whether polls may leave out rows below the floor, which gives up the order."""
        self.shallow = shallow

    # -- what happens ---------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.1, 1.0, 1.0, 4.0, 15.0, 100.0]))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.world.wait(seconds)

    @rule(
        writer=writers,
        count=st.sampled_from([1, 1, 3, 12]),
        step=st.sampled_from([1e-6, 0.1, 1.0, 10.0]),
        slow=st.booleans(),
    )
    def write(self, writer: int, count: int, step: float, slow: bool) -> None:
        """Write some lines by a writer's clock, which are stored now or later."""
        waiting = self.under_way.setdefault(writer, [])
        for _ in range(count):
            own = (self.world.now + CLOCKS[writer]) // step * step
            waiting.append((len(self.lines), self.world.now))
            self.lines.append((writer, max(own, self._last_time(writer))))
        if not slow:
            self.commit_lines(writer, 1000)

    @rule(writer=writers, count=st.sampled_from([1, 2, 1000]))
    def commit_lines(self, writer: int, count: int) -> None:
        """Store lines of a writer, the oldest first."""
        waiting = self.under_way.get(writer, [])
        for line, began in waiting[:count]:
            row = self.world.server.log(
                self.runs[writer % 2],
                f"line {line}",
                timestamp=START + timedelta(seconds=self.lines[line][1]),
                created=START + timedelta(seconds=began, microseconds=line),
            )
            self.line_of[row] = line
        del waiting[:count]

    @rule(requests=st.integers(0, 12), deep=st.booleans(), committing=writers)
    def break_off_poll(self, requests: int, deep: bool, committing: int) -> None:
        """Drop a poll after some requests, if it takes as many; nothing may have changed."""
        before = msgspec.json.encode(self.cursor.save())
        read = self._poll(
            deep=deep or not self.shallow, committing=committing, max_requests=requests
        )
        if read is None:
            assert msgspec.json.encode(self.cursor.save()) == before

    @rule(deep=st.booleans(), committing=writers)
    def poll(self, deep: bool, committing: int) -> None:
        """Poll while a writer's lines are committed between the requests."""
        self._poll(deep=deep or not self.shallow, committing=committing)

    @rule()
    def poll_undisturbed(self) -> None:
        """Poll while nothing happens; a proven poll has delivered all rows."""
        read = self._poll(deep=True)
        assert read is not None
        if read.proven:
            assert {row.id for row in self.delivered} == set(self.line_of)
            assert self.cursor.ledger.total == len(self.line_of)

    @rule()
    def save_and_load(self) -> None:
        """Save the cursor, and continue with the loaded one."""
        text = msgspec.json.encode(self.cursor.save())
        self.cursor = LogCursor.load(msgspec.json.decode(text, type=CursorState))
        assert msgspec.json.encode(self.cursor.save()) == text

    def teardown(self) -> None:
        """Commit all lines and let time pass; then all rows are delivered and proven soon."""
        for writer in self.under_way:
            self.commit_lines(writer, 1000)
        self.world.wait(60)
        for _ in range(3 + len(self.line_of)):
            read = self._poll(deep=True)
            if read is not None and read.proven:
                break
        else:
            raise AssertionError("No poll is proven, though nothing happens any more")
        assert {row.id for row in self.delivered} == set(self.line_of)

    # -- what must hold -------------------------------------------------------------------------

    @invariant()
    def only_stored_rows_are_delivered(self) -> None:
        """The delivered rows are a part of the table."""
        assert {row.id for row in self.delivered} <= set(self.line_of)

    @invariant()
    def rows_are_delivered_once(self) -> None:
        """No row is delivered twice, or flagged."""
        assert not any(count > 1 for count in Counter(row.id for row in self.delivered).values())
        assert not any(row.replayed for row in self.delivered)

    @invariant()
    def lines_of_a_writer_are_in_order(self) -> None:
        """The lines of a writer are delivered in the order in which they were written."""
        for writer in range(0 if self.shallow else len(CLOCKS)):
            lines = [self.line_of[row.id] for row in self.delivered]
            its = [line for line in lines if self.lines[line][0] == writer]
            assert its == sorted(its)

    # -- polling --------------------------------------------------------------------------------

    def _poll(
        self, *, deep: bool, committing: int | None = None, max_requests: int = MAX_REQUESTS
    ) -> LogRead | None:
        there = set(self.line_of)
        poll = self.cursor.poll(LIMIT, deep=deep)
        try:
            query = next(poll)
            for _ in range(max_requests):
                assert isinstance(query, LogsQuery)
                reply = exchange(self.world.server, query)
                if committing is not None:
                    self.commit_lines(committing, 1)
                query = poll.send(reply)  # type: ignore[arg-type]
        except StopIteration as end:
            read: LogRead = end.value
            self.cursor.commit(read)
            self.delivered += read.rows
            assert not read.proven or there <= {row.id for row in self.delivered}
            return read
        assert max_requests < MAX_REQUESTS, "A poll does not end"
        poll.close()
        return None

    def _last_time(self, writer: int) -> float:
        return max((time for other, time in self.lines if other == writer), default=-1e9)


TestCursorMachine = CursorMachine.TestCase
TestCursorMachine.settings = settings(max_examples=200, stateful_step_count=30)
