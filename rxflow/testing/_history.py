"""What happens to one run on a server, written down in advance, and scheduled on its clock.

Does not belong here: how a process's lines reach the server (`_writer.py`), and random histories
(`_world.py`).
"""

from datetime import datetime, timedelta
from functools import partial
from random import Random

import msgspec

from rxflow._models.states import StateType
from rxflow.testing._prefect3.store import Prefect3Store
from rxflow.testing._rows import Row
from rxflow.testing._writer import Landing, Writer


class History(msgspec.Struct, frozen=True, kw_only=True):
    """What happens to one run; all times in seconds from its beginning.

    Attributes:
        states: The states that the run enters, each after its time.
        writers: The processes that log for it.
        deletions: When some of its log rows are deleted, and how many at most.
        restores: When the table of log rows is restored from a backup, and the backup's age in
            seconds.
        tail: Seconds by which the last line may land after the last state, which is delayed if
            necessary. A watch waits 5 s for lines after the end, unless its ``drain`` differs.

    Example:
        >>> from random import Random
        >>> import rxflow
        >>> from rxflow import StateType
        >>> from rxflow.testing import FakePrefect3, History, VirtualTime, Writer
        >>> history = History(
        ...     states=((0.5, StateType.RUNNING), (8.0, StateType.COMPLETED)),
        ...     writers=(
        ...         Writer(name="a", lines=(1.0, 2.0, 3.0), skew=-30.0),
        ...         Writer(name="b", lines=(1.5, 2.5), batch=2.0, lag=0.3),
        ...     ),
        ... )
        >>> time = VirtualTime()
        >>> server = FakePrefect3(clock=time)
        >>> played = history.play(server, Random(7))
        >>> stream = rxflow.watch_flow_run(played.run_id, client=server.client())
        >>> [line.message for line in time.collect(stream.logs)]
        ['a:0', 'a:1', 'b:0', 'a:2', 'b:1']
    """

    states: tuple[tuple[float, StateType], ...]
    writers: tuple[Writer, ...] = ()
    deletions: tuple[tuple[float, int], ...] = ()
    restores: tuple[tuple[float, float], ...] = ()
    tail: float = 4.0

    def play(self, server: Prefect3Store, random: Random) -> "Played":
        """Add a run to a server, and schedule the history for it from now on.

        Args:
            server: A `FakePrefect3`.
            random: Draws how long uploads and commits take, and which rows are deleted.

        Returns:
            The run, and the rows that have landed so far.
        """
        return Played(self, server, random)


class Played:
    """A history that was scheduled on a server.

    Attributes:
        run_id: The run.
        landed: Every log row that has landed, in that order, including those deleted since.
        end: The seconds from the beginning to the run's last state.
    """

    def __init__(self, history: History, server: Prefect3Store, random: Random) -> None:
        """Add a run, and schedule everything that happens to it."""
        self._server = server
        self._random = random
        self._beginning = server.now()
        self.run_id = server.add_run()
        self.landed: list[Row] = []
        landings = [line for writer in history.writers for line in writer.landings(random)]
        last = max((line.landed for line in landings), default=0.0)
        *states, (end, state) = history.states
        self.end = max(end, last - random.uniform(0, history.tail))
        for seconds, each in (*states, (self.end, state)):
            server.at(seconds, partial(server.set_state, self.run_id, each))
        for line in landings:
            server.at(line.landed, partial(self._land, line))
        for seconds, count in history.deletions:
            server.at(seconds, partial(self._delete, count))
        for seconds, age in history.restores:
            server.at(seconds, partial(self._restore, timedelta(seconds=age)))

    def _land(self, line: Landing) -> None:
        # No two rows are inserted in one microsecond.
        number = timedelta(microseconds=len(self.landed))
        self._server.log(
            self.run_id,
            line.text,
            timestamp=self._at(line.timestamp),
            created=self._at(line.inserted) + number,
        )
        self.landed.append(self._server.logs[-1])

    def _delete(self, count: int) -> None:
        rows = [row["id"] for row in self._server.logs if row["flow_run_id"] == self.run_id]
        self._server.delete_logs(self._random.sample(rows, k=min(len(rows), count)))

    def _restore(self, age: timedelta) -> None:
        self._server.restore_logs(self._server.now() - age)

    def _at(self, seconds: float) -> datetime:
        return self._beginning + timedelta(seconds=seconds)
