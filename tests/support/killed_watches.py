"""Watch hostile worlds by watches that are killed again and again, and go on from their events.

The first of them begins with nothing, each other one with the events that the ones before have
handed on; of the last ones that a killed watch emitted some may be lost. All events together are
checked as those of one watch.
"""

from random import Random

from hostile_worlds import HostileWatch, Result
from hostile_worlds_prefect1 import Prefect1HostileWatch
from simulated_world import SimulatedWatch

from rxflow._watching.run_session import RunSession
from rxflow.events import Closed

_KILLS = 0.04  # of all steps, most of which send a query
_MOST_KILLS = 15  # so that a long history is read at last
_DOWN = (0.0, 0.0, 0.2, 3.0, 40.0)  # seconds


class _Killed(HostileWatch):
    """A watch that is killed now and then.

    Attributes:
        kills: How many times.
    """

    kills = 0

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
        del watched.emitted[handed_on:]
        if self._faults is None:
            self._faults = self.server.faults
            self.world.heal()
        assert isinstance(watched.session, RunSession)
        spec = watched.session._run.spec
        size = self.random.choice([1, 7, 200])
        parts = [watched.events[n : n + size] for n in range(0, handed_on, size)]
        watched.session = session = RunSession(spec, Random(f"{self.seed} {self.kills}"))
        for part in parts:
            session.record_emitted(part)
        self.wait(self.random.choice(_DOWN))

    @property
    def _has_begun(self) -> bool:
        return self.watched.session._outages._retry._attached


def _is_over(watched: SimulatedWatch) -> bool:
    return watched.ended or bool(watched.events and isinstance(watched.events[-1], Closed))


class KilledWatch(_Killed):
    """A watch of a Prefect 3 that is killed now and then."""


class KilledPrefect1Watch(_Killed, Prefect1HostileWatch):
    """A watch of a Prefect 1 that is killed now and then."""
