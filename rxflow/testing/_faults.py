"""What may go wrong with a request, and the random draw that decides it.

Belongs here: the probabilities and the draw. Does not belong here: the effects on a request, which
are in `_exchange.py` and `_fake_server.py`.
"""

from datetime import timedelta
from numbers import Real
from random import Random
from typing import Literal

import msgspec
from msgspec.structs import force_setattr

from rxflow._models.arguments import check_type, seconds_of

_PROBABILITIES = ("refused", "errors", "lost", "cut", "garbled", "stale", "slow")
_DURATIONS = ("retry_after", "staleness", "delay", "latency")

FaultKind = Literal["refused", "error", "lost", "cut", "garbled"]

BackendOutage = Literal["hasura_down", "graphql_down", "timed_out"]
"""Which part of a Prefect 1 server is down; it reports this in a response with HTTP status 200."""


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """What goes wrong, and how often: probabilities for each request, and durations.

    Of ``refused``, ``errors``, ``lost``, ``cut`` and ``garbled`` at most one happens to a request,
    the first of them that is drawn. By default nothing goes wrong.

    Attributes:
        refused: Probability that the connection is refused: the request does not reach the server.
            (Over HTTP the connection is closed without a response.)
        errors: Probability that the server responds with an error, before it reads anything.
        statuses: The HTTP statuses of those responses, each as likely as the others.
        retry_after: Seconds in the ``Retry-After`` header of responses with 429 and 503; 0: no such
            header.
        lost: Probability that the connection breaks after the server has read, with nothing sent.
        cut: Probability that the connection breaks in the middle of the response.
        garbled: Probability that a proxy sends a page of HTML, status 200, in place of the
            response.
        stale: Probability that log rows are read from a replica that lags behind.
        staleness: Seconds by which it lags behind at most.
        slow: Probability that the response takes `delay` longer, after the server has read.
        delay: Those seconds.
        latency: Seconds that each request takes, half of them before the server reads.
        ties: Whether rows with one timestamp come in another order in each response, as a server on
            PostgreSQL may send them; else they come as they were stored.

    Raises:
        TypeError: A probability is no number, or a duration neither a number nor a timedelta.
        ValueError: A probability is not between 0 and 1, a duration is negative, or ``errors`` is
            positive and ``statuses`` is empty.

    Example:
        >>> import rxflow
        >>> from rxflow.testing import FakePrefect3, Faults, VirtualTime
        >>> time = VirtualTime()
        >>> server = FakePrefect3(clock=time)
        >>> run_id = server.add_run()
        >>> server.script(run_id, [(second, f"line {second}") for second in range(100)])
        >>> server.at(100, lambda: server.set_state(run_id, "COMPLETED"))
        >>> stream = rxflow.watch_flow_run(run_id, client=server.client())
        >>> def start_faults():
        ...     server.faults = Faults(errors=0.3, lost=0.1, slow=0.1)
        >>> server.at(1, start_faults)
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
        """Reject values that cannot be drawn from."""
        for name in _PROBABILITIES:
            value = getattr(self, name)
            check_type(name, value, Real, "a probability, between 0 and 1")
            if not 0 <= value <= 1:
                raise ValueError(f"{name}={value!r} is no probability; pass one between 0 and 1")
        for name in _DURATIONS:
            # The one way to set a field of a frozen struct, for __post_init__.
            force_setattr(self, name, seconds_of(name, getattr(self, name)))
        if self.errors and not self.statuses:
            raise ValueError("statuses is empty, but errors need a status")


NO_FAULTS = Faults()


class FaultDraw(msgspec.Struct, frozen=True, kw_only=True):
    """What goes wrong with one request.

    Attributes:
        kind: The fault; None: none.
        status: The status of an error response.
        replica_lag: How old the log rows are that the request reads.
        delay: Seconds that the response takes longer.
    """

    kind: FaultKind | None = None
    status: int = 0
    replica_lag: timedelta = timedelta(0)
    delay: float = 0.0


def draw_fault(faults: Faults, random: Random) -> FaultDraw:
    """Draw what goes wrong with a request; with no faults configured `random` is untouched."""
    kind = _draw_kind(faults, random)
    return FaultDraw(
        kind=kind,
        status=random.choice(faults.statuses) if kind == "error" else 0,
        replica_lag=timedelta(seconds=_draw_lag(faults, random)),
        delay=faults.delay if _happens(faults.slow, random) else 0.0,
    )


def _draw_kind(faults: Faults, random: Random) -> FaultKind | None:
    probabilities: dict[FaultKind, float] = {
        "refused": faults.refused,
        "error": faults.errors,
        "lost": faults.lost,
        "cut": faults.cut,
        "garbled": faults.garbled,
    }
    return next((kind for kind, chance in probabilities.items() if _happens(chance, random)), None)


def _draw_lag(faults: Faults, random: Random) -> float:
    return random.uniform(0, faults.staleness) if _happens(faults.stale, random) else 0.0


def _happens(probability: float, random: Random) -> bool:
    return probability > 0 and random.random() < probability
