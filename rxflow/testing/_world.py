"""Hostile worlds: a server in virtual time, a run on it and their faults, all drawn from one seed.

The probabilities were chosen so that each kind of fault occurs within a few minutes of virtual
time.
"""

from collections.abc import Mapping
from random import Random
from typing import Literal, get_args

from rxflow._models.states import StateType
from rxflow.testing._faults import Faults
from rxflow.testing._history import History
from rxflow.testing._prefect3.server import FakePrefect3
from rxflow.testing._virtual_time import VirtualTime
from rxflow.testing._writer import Writer

WorldKind = Literal[
    "calm", "ties", "skewed", "late", "busy", "faulty", "stale", "deleted", "restored"
]

_KINDS: tuple[WorldKind, ...] = ("calm", *get_args(WorldKind))  # calm ones are twice as likely
_ENDS = (StateType.COMPLETED, StateType.FAILED, StateType.CRASHED)
FAULTS_TAIL = 40.0  # seconds after the run's last state

CALM = Faults(latency=0.01, ties=True)
"""The faults of most kinds of worlds."""

FAULTS: Mapping[str, Faults] = {
    "faulty": Faults(
        latency=0.01,
        ties=True,
        refused=0.05,
        errors=0.05,
        lost=0.05,
        cut=0.03,
        garbled=0.02,
        slow=0.03,
        delay=1.0,
    ),
    "stale": Faults(latency=0.01, ties=True, stale=0.1, staleness=2.0),
}
"""The faults of other kinds, by their names."""


class World:
    """A server in virtual time, a run on it, and what happens to both.

    Commits land between any two requests, and rows of one timestamp come in another order each
    time. In addition each world is of one kind:

    - ``calm``: nothing else;
    - ``ties``: the writers' clocks tick once in 1 or 10 seconds;
    - ``skewed``: the writers' clocks are off, by up to an hour;
    - ``late``: some lines arrive up to a minute late, some commits take 15 s;
    - ``busy``: there are four times as many lines;
    - ``faulty``: one request in five fails, before the server has read or after;
    - ``stale``: one response in ten comes from a replica that lags behind;
    - ``deleted``: some rows are deleted while the run goes on;
    - ``restored``: the table of log rows is restored to its state of some seconds ago.

    Faults of requests end 40 s after the run does, so that a watch can be expected to deliver
    every row.

    Attributes:
        kind: Its kind.
        history: What happens to the run.
        time: The time, a clock and a scheduler.
        server: The server.
        played: The part of the history that has happened.
        run_id: The run.
        healed: The seconds from the beginning after which requests have no more faults.

    Example:
        >>> import rxflow
        >>> from rxflow.testing import World
        >>> world = World(7, kind="skewed")
        >>> stream = rxflow.watch_flow_run(world.run_id, client=world.server.client())
        >>> delivered = [line.id for line in world.time.collect(stream.logs)]
        >>> sorted(delivered) == sorted(row["id"] for row in world.played.landed)
        True
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        kind: WorldKind | None = None,
        history: History | None = None,
        faults: Faults | None = None,
        page_limit: int | None = None,
    ) -> None:
        """Draw a world; arguments replace what would be drawn.

        Args:
            seed: Determines everything that is random.
            kind: Its kind.
            history: What happens to the run.
            faults: What goes wrong with requests, until 40 s after the run's last state.
            page_limit: The most rows that a reply of the server has.
        """
        random = Random(seed)  # noqa: S311 - worlds, not secrets
        drawn = random.choice(_KINDS)
        self.kind = drawn if kind is None else kind
        limit = random.choice((3, 7, 7, 20, 200))
        self.history = draw_history(random, self.kind) if history is None else history
        self.time = VirtualTime()
        self.server = FakePrefect3(
            clock=self.time,
            page_limit=limit if page_limit is None else page_limit,
            random=Random(random.getrandbits(64)),  # noqa: S311
            faults=FAULTS.get(self.kind, CALM) if faults is None else faults,
        )
        self.played = self.history.play(self.server, random)
        self.run_id = self.played.run_id
        self.healed = self.played.end + FAULTS_TAIL
        self.server.at(self.healed, self.heal)

    def heal(self) -> None:
        """End the faults of requests; latency and ties stay as they are."""
        faults = self.server.faults
        self.server.faults = Faults(latency=faults.latency, ties=faults.ties)


def draw_history(random: Random, kind: WorldKind) -> History:
    """Draw what happens to a run in a world of a kind."""
    length = random.uniform(3, 90)
    writers = range(random.choice((1, 1, 2, 4)))
    vanish_at = random.uniform(2, length)
    return History(
        states=tuple(_states(random, length)),
        writers=tuple(draw_writer(random, kind, str(number), length) for number in writers),
        deletions=((vanish_at, random.choice((1, 3, 20))),) if kind == "deleted" else (),
        restores=((vanish_at, random.uniform(1, 20)),) if kind == "restored" else (),
    )


def draw_writer(random: Random, kind: WorldKind, name: str, length: float) -> Writer:
    """Draw a writer of a run that takes `length` seconds."""
    count = random.choice((0, 5, 40, 150)) * (4 if kind == "busy" else 1)
    lines = [random.uniform(1, length) for _ in range(count)]
    lines += [length + random.uniform(0, 0.5) for _ in range(random.choice((0, 1, 3)))]
    late = 0.02 if kind == "late" else 0.0
    return Writer(
        name=name,
        lines=tuple(sorted(lines)),
        skew=random.choice((-3600, -30, -3, 3, 30, 1800)) if kind == "skewed" else 0.0,
        resolution=random.choice((1.0, 10.0) if kind == "ties" else (1e-6, 0.015)),
        batch=random.choice((0.0, 0.5, 2.0)),
        lag=0.3,
        late=late,
        commit=0.05,
        stalled=0.02 + late,
        stalled_by=(2.0, 15.0) if late else (2.0,),  # 15 s is longer than the watch's window
    )


def _states(random: Random, length: float) -> list[tuple[float, StateType]]:
    begin = random.uniform(0, 2)
    states = [(begin, StateType.RUNNING)]
    if random.random() < 0.3:
        states.append((begin + 0.1, StateType.RUNNING))
    if random.random() < 0.2:
        states += [(length / 2, StateType.FAILED), (length / 2 + 1, StateType.RUNNING)]
    return [*states, (length, random.choice(_ENDS))]
