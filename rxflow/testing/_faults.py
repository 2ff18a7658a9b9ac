"""What may go wrong with a request, and the dice that decide on it.

Only what is to go wrong is decided here; `_exchange.py` has it go wrong.
"""

from datetime import timedelta
from random import Random
from typing import Literal

import msgspec

_PROBABILITIES = ("refused", "errors", "lost", "cut", "garbled", "stale", "slow")
_DURATIONS = ("retry_after", "staleness", "delay", "latency")

Accident = Literal["refused", "error", "lost", "cut", "garbled"]

BackendOutage = Literal["hasura_down", "graphql_down", "timed_out"]
"""What a Prefect 1 server tells of with HTTP status 200: which part of it is out of order."""


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """What goes wrong, and how often: probabilities for each request, and durations.

    Of ``refused``, ``errors``, ``lost``, ``cut`` and ``garbled`` at most one happens to a request,
    the first of them that is drawn. With none given, nothing goes wrong.

    Attributes:
        refused: Probability that nobody listens: the request does not reach the server. (Over HTTP
            the connection is closed without an answer.)
        errors: Probability that the server answers with an error, before it reads anything.
        statuses: The HTTP statuses of those answers, each as likely as the others.
        retry_after: Seconds in the ``Retry-After`` header of answers with 429 and 503; 0: no such
            header.
        lost: Probability that the connection breaks after the server has read, with nothing sent.
        cut: Probability that the connection breaks in the middle of the answer.
        garbled: Probability that a proxy sends a page of HTML, status 200, in the answer's place.
        stale: Probability that log rows are read from a replica that lags behind.
        staleness: Seconds by which it lags behind at the most.
        slow: Probability that the answer takes `delay` longer, after the server has read.
        delay: Those seconds.
        latency: Seconds that each request takes, half of them before the server reads.
        ties: Whether rows with one timestamp come in another order in each answer, as a server on
            PostgreSQL may send them; else they come as they were stored.

    Raises:
        ValueError: A probability is not between 0 and 1, or a duration is negative.

    Example:
        >>> import rxflow
        >>> from rxflow.testing import FakePrefect3, Faults, VirtualTime
        >>> time = VirtualTime()
        >>> server = FakePrefect3(clock=time)
        >>> run_id = server.add_run()
        >>> server.script(run_id, [(second, f"line {second}") for second in range(100)])
        >>> server.at(100, lambda: server.set_state(run_id, "COMPLETED"))
        >>> stream = rxflow.watch_flow_run(run_id, client=server.client())
        >>> def trouble():
        ...     server.faults = Faults(errors=0.3, lost=0.1, slow=0.1)
        >>> server.at(1, trouble)
        >>> lines = [line.message for line in time.collect(stream.logs)]
        >>> lines == [f"line {second}" for second in range(100)]
        True
    """

    refused: float = 0.0
    errors: float = 0.0
    statuses: tuple[int, ...] = (500, 502, 503)
    retry_after: float = 0.0
    lost: float = 0.0
    cut: float = 0.0
    garbled: float = 0.0
    stale: float = 0.0
    staleness: float = 2.0
    slow: float = 0.0
    delay: float = 5.0
    latency: float = 0.0
    ties: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        for name in _PROBABILITIES:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a probability, between 0 and 1")
        for name in _DURATIONS:
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is in seconds, and not negative")
        if self.errors and not self.statuses:
            raise ValueError("statuses names no status to answer with")


class FaultDraw(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided on a request.

    Attributes:
        accident: What goes wrong; None: nothing.
        status: The status of an error.
        age: By how much the log rows are out of date.
        delay: Seconds that the answer takes longer.
    """

    accident: Accident | None = None
    status: int = 0
    age: timedelta = timedelta(0)
    delay: float = 0.0


def draw_fault(faults: Faults, dice: Random) -> FaultDraw:
    """Decide on a request; without faults no die is thrown."""
    accident = _accident(faults, dice)
    return FaultDraw(
        accident=accident,
        status=dice.choice(faults.statuses) if accident == "error" else 0,
        age=timedelta(seconds=_up_to(faults.staleness, faults.stale, dice)),
        delay=faults.delay if _falls(faults.slow, dice) else 0.0,
    )


def _accident(faults: Faults, dice: Random) -> Accident | None:
    chances: dict[Accident, float] = {
        "refused": faults.refused,
        "error": faults.errors,
        "lost": faults.lost,
        "cut": faults.cut,
        "garbled": faults.garbled,
    }
    return next((name for name, chance in chances.items() if _falls(chance, dice)), None)


def _up_to(most: float, probability: float, dice: Random) -> float:
    return dice.uniform(0, most) if _falls(probability, dice) else 0.0


def _falls(probability: float, dice: Random) -> bool:
    return probability > 0 and dice.random() < probability
