"""Hostile worlds around a Prefect 1: what befalls a run there, and a watch that goes through it.

Beside what befalls a run on a Prefect 3, parts of the server are out of order at times, which it
tells with HTTP status 200, and it may have a limit to its rows, which it does not tell. The oracle
is the one of `hostile`.
"""

from datetime import datetime, timedelta
from functools import partial, reduce
from random import Random
from typing import Any, Literal, TypeAlias, get_args

import httpx
import msgspec
from hostile_worlds import Hostile, Result, _cursor
from simulated_world import Watched

from rxflow import Snapshot, StateType, fold
from rxflow._protocol.failures import Reply
from rxflow._protocol.queries import Query
from rxflow.testing import FakePrefect1, Faults, History, VirtualTime, Writer
from rxflow.testing._faults import BackendOutage
from rxflow.testing._history import Played
from rxflow.testing._world import Kind, draw_history

Kind1: TypeAlias = Kind | Literal["troubled"]

_KINDS: tuple[Kind1, ...] = (*get_args(Kind), "troubled")
_LIMITS = (None, None, 2, 3, 7, 20, 100, 250)
_TROUBLES: tuple[BackendOutage, ...] = get_args(BackendOutage)
_HEALED = 40.0  # seconds after the run's last state
_UPLOADS = 5.0  # seconds between two uploads of one process of Prefect 1
_TAIL = 8.0  # seconds for which lines may come after the last state; a watch waits for 10

_CALM = Faults(latency=0.01, ties=True)
_FAULTS: dict[Kind1, Faults] = {
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
_CLASSES = {
    StateType.RUNNING: "Running",
    StateType.COMPLETED: "Success",
    StateType.FAILED: "Failed",
    StateType.CRASHED: "TriggerFailed",
}


class World1:
    """A Prefect 1 in virtual time, a run on it, and what befalls both.

    Attributes:
        kind: Its kind: one of those of `rxflow.testing.World`, or ``troubled``, where parts of the
            server are out of order for some seconds, again and again.
        time: The time.
        server: The server.
        played: What of the history has come to pass.
        run_id: The run.
        healed: The seconds from the beginning after which nothing goes wrong with requests.
    """

    def __init__(self, seed: int) -> None:
        """Draw a world."""
        random = Random(f"prefect1 {seed}")
        self.kind = random.choice(_KINDS)
        self.time = VirtualTime()
        self.server = _Server(
            clock=self.time,
            row_limit=random.choice(_LIMITS),
            random=Random(random.getrandbits(64)),
            faults=_FAULTS.get(self.kind, _CALM),
        )
        self.played = _Played(_history(random, self.kind), self.server, random)
        self.run_id = self.played.run_id
        self.healed = self.played.end + _HEALED
        if self.kind == "troubled":
            self._trouble(random)
        self.server.at(self.healed, self.heal)

    def heal(self) -> None:
        """Have nothing go wrong any more; latency and ties stay as they are."""
        faults = self.server.faults
        self.server.faults = Faults(latency=faults.latency, ties=faults.ties)
        self.server.outage = None

    def _trouble(self, random: Random) -> None:
        seconds = 0.0
        while seconds < self.healed:
            seconds += random.uniform(0.1, 15)
            self.server.at(seconds, partial(self._become, random.choice(_TROUBLES)))
            seconds += random.uniform(0.1, 8)
            self.server.at(seconds, partial(self._become, None))

    def _become(self, trouble: BackendOutage | None) -> None:
        self.server.outage = trouble


class Hostile1(Hostile):
    """A world around a Prefect 1, and a watch that goes through it."""

    def __init__(self, seed: int) -> None:
        """Draw the world from the seed."""
        world: Any = World1(seed)
        self._looked = False
        super().__init__(seed, world)
        self._channel = self.server.client().open_channel()

    def watch(self) -> Result:
        """Watch it through."""
        result = super().watch()
        result.requests = len(self.server.requests)
        return result

    def send(self, query: Query) -> Reply:
        """Ask the server, by as many requests as a question takes."""
        if self._faults is not None and self.watched.session._reader.row is not None:
            if self.now < self.world.healed:
                self.server.faults = self._faults
            self._faults = None
        self._looked = False
        return self._channel.send(query)

    def _look(self, request: httpx.Request) -> None:
        """Note what is in the table when it is read, not when the answer is looked into."""
        if b"query Logs" in request.content and not self._looked:
            self._looked = True
            logs: Any = self.server.logs
            self.at_proof = set(logs)

    def _bounded(self, watched: Watched) -> bool:
        ledger = _cursor(watched).ledger
        floor, horizon = ledger.floor, ledger.id_horizon
        if floor is None or horizon is None:
            return ledger.kept_id_count == 0
        horizon -= timedelta(seconds=1)
        logs: Any = self.server.logs
        young = [
            row for row in logs.values() if row["timestamp"] >= floor or row["created"] >= horizon
        ]
        return ledger.kept_id_count <= len(young)

    def _folds(self, watched: Watched) -> bool:
        start: Snapshot | None = None
        snapshot = reduce(fold, watched.events, start)
        tables: Any = self.server
        row = tables.runs[self.world.run_id]
        states = {state["id"]: state for state in tables.states.values()}
        newest = max(states.values(), key=lambda state: state["version"])
        return (
            snapshot is not None
            and snapshot.run.state_id == newest["id"]
            and snapshot.run.updated == row["updated"]
            and {state.id for state in snapshot.states} == states.keys()
        )


class _Server(FakePrefect1):
    """A Prefect 1 on which a history can be played, which names states by their types."""

    def set_state(self, run_id: str, type: str, *given: Any, **more: Any) -> str:  # noqa: A002
        """Put a run in a state."""
        named = _CLASSES[StateType(type)] if type in set(StateType) else type
        return super().set_state(run_id, named, *given, **more)


class _Played(Played):
    """A history under way on a Prefect 1, whose tables have rows by their ids."""

    def __init__(self, history: History, server: Any, random: Random) -> None:
        super().__init__(history, server, random)

    def _land(self, line: Any) -> None:
        # No two rows are inserted in one microsecond.
        number = timedelta(microseconds=len(self.landed))
        server: Any = self._server
        row_id = server.log(
            self.run_id,
            line.text,
            timestamp=self._at(line.timestamp),
            created=self._at(line.inserted) + number,
        )
        self.landed.append(server.logs[row_id])

    def _delete(self, most: int) -> None:
        rows = list(self._server.logs)
        self._server.delete_logs(self._random.sample(rows, k=min(len(rows), most)))  # type: ignore[arg-type]

    def _restore(self, back: timedelta) -> None:
        then: datetime = self._server.now() - back
        self._server.restore_logs(then)


def _history(random: Random, kind: Kind1) -> History:
    """Draw what befalls a run, whose processes send their lines every 5 s, as a rule."""
    history = draw_history(random, "calm" if kind == "troubled" else kind)
    writers = tuple(_uploading(writer, random) for writer in history.writers)
    return msgspec.structs.replace(history, writers=writers, tail=_TAIL)


def _uploading(writer: Writer, random: Random) -> Writer:
    batch = random.choice((_UPLOADS, _UPLOADS, _UPLOADS, writer.batch))
    return msgspec.structs.replace(writer, batch=batch)
