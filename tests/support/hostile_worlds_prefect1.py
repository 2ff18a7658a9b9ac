"""Watch hostile worlds around a Prefect 1.

Beside what happens in worlds around a Prefect 3, parts of the server are down at times, which it
reports with HTTP status 200, and it may limit the rows of a reply without saying so. The promises
are checked as in `hostile_worlds`.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from functools import partial, reduce
from random import Random
from typing import Any, Literal, TypeAlias, get_args
from uuid import UUID

import httpx
import msgspec
from hostile_worlds import HostileWatch, Result
from simulated_world import SimulatedWatch

from rxflow import Snapshot, StateType, fold
from rxflow._protocol.failures import Reply
from rxflow._protocol.queries import Query
from rxflow.testing import FakePrefect1, Faults, History, VirtualTime, Writer
from rxflow.testing._faults import BackendOutage
from rxflow.testing._history import Played
from rxflow.testing._world import CALM, FAULTS, FAULTS_TAIL, WorldKind, draw_history

Prefect1Kind: TypeAlias = WorldKind | Literal["outages"]

_KINDS: tuple[Prefect1Kind, ...] = (*get_args(WorldKind), "outages")
_LIMITS = (None, None, 2, 3, 7, 20, 100, 250)
_OUTAGES: tuple[BackendOutage, ...] = get_args(BackendOutage)
_UPLOADS = 5.0  # seconds between two uploads of one process of Prefect 1
_TAIL = 8.0  # seconds for which lines may come after the last state; a watch waits for 10

_CLASSES = {
    StateType.RUNNING: "Running",
    StateType.COMPLETED: "Success",
    StateType.FAILED: "Failed",
    StateType.CRASHED: "TriggerFailed",
}


class Prefect1World:
    """A Prefect 1 in virtual time, a run on it, and the history of both.

    Attributes:
        kind: Its kind: one of those of `rxflow.testing.World`, or ``outages``, where parts of the
            server are down for some seconds, again and again.
        time: The time.
        server: The server.
        played: The part of the history that has happened.
        run_id: The run.
        healed: The seconds from the beginning after which no request fails.
    """

    def __init__(self, seed: int) -> None:
        """Draw the world from the seed."""
        random = Random(f"prefect1 {seed}")
        self.kind = random.choice(_KINDS)
        self.time = VirtualTime()
        self.server = _Server(
            clock=self.time,
            row_limit=random.choice(_LIMITS),
            random=Random(random.getrandbits(64)),
            faults=FAULTS.get(self.kind, CALM),
        )
        self.played = _Played(_history(random, self.kind), self.server, random)
        self.run_id = self.played.run_id
        self.healed = self.played.end + FAULTS_TAIL
        if self.kind == "outages":
            self._schedule_outages(random)
        self.server.at(self.healed, self.heal)

    def heal(self) -> None:
        """End all faults and outages; latency and ties stay as they are."""
        faults = self.server.faults
        self.server.faults = Faults(latency=faults.latency, ties=faults.ties)
        self.server.outage = None

    def _schedule_outages(self, random: Random) -> None:
        seconds = 0.0
        while seconds < self.healed:
            seconds += random.uniform(0.1, 15)
            self.server.at(seconds, partial(self._set_outage, random.choice(_OUTAGES)))
            seconds += random.uniform(0.1, 8)
            self.server.at(seconds, partial(self._set_outage, None))

    def _set_outage(self, outage: BackendOutage | None) -> None:
        self.server.outage = outage


class Prefect1HostileWatch(HostileWatch):
    """A `Prefect1World`, and a watch that goes through it."""

    drain = 10.0

    def __init__(self, seed: int) -> None:
        """Draw the world from the seed."""
        world: Any = Prefect1World(seed)
        self._rows_noted = False
        super().__init__(seed, world)
        self._channel = self.server.client().open_channel()

    def watch(self) -> Result:
        """Watch the world as in `HostileWatch`, and count HTTP requests."""
        result = super().watch()
        result.requests = len(self.server.requests)
        return result

    def send(self, query: Query) -> Reply:
        """Send a query to the server, with as many requests as it takes."""
        self._start_faults()
        self._rows_noted = False
        return self._channel.send(query)

    @property
    def _has_large_pages(self) -> bool:
        server: Any = self.server
        return server.row_limit is None and self.world.kind != "ties"

    def _log_rows(self) -> Collection[Any]:
        logs: Any = self.server.logs
        return logs.values()  # type: ignore[no-any-return]

    def _note_rows(self, request: httpx.Request) -> None:
        """Note the rows at a query's first request; the others only find out the row limit."""
        if b"query Logs" in request.content and not self._rows_noted:
            self._rows_noted = True
            rows = [*self._log_rows()]
            self._last_read = rows, len(rows)

    def _folds(self, watched: SimulatedWatch) -> bool:
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
    """A Prefect 1 on which a history can be played: it takes state types, too."""

    def set_state(self, run_id: str | UUID, type: str, *given: Any, **more: Any) -> str:  # noqa: A002
        """Set the state of a run, by the name of its class or by a type."""
        named = _CLASSES[StateType(type)] if type in set(StateType) else type
        return super().set_state(run_id, named, *given, **more)


class _Played(Played):
    """A history that is played on a Prefect 1, whose tables have rows by their ids."""

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


def _history(random: Random, kind: Prefect1Kind) -> History:
    """Draw a history, most of whose writers send their lines every 5 s."""
    history = draw_history(random, "calm" if kind == "outages" else kind)
    writers = tuple(_uploading(writer, random) for writer in history.writers)
    return msgspec.structs.replace(history, writers=writers, tail=_TAIL)


def _uploading(writer: Writer, random: Random) -> Writer:
    batch = random.choice((_UPLOADS, _UPLOADS, _UPLOADS, writer.batch))
    return msgspec.structs.replace(writer, batch=batch)
