"""Who would take a run: Prefect 1's question about agents, asked of either server."""

import math
from collections.abc import Callable, Iterable

from rxflow._protocol.pages import Poll
from rxflow._runtime.clocks import real_now
from rxflow._views.temporary_client import agiven_or_temporary, given_or_temporary
from rxflow._watching.compatible_agents import find_takers
from rxflow.client import Client

__all__ = ["acheck_for_compatible_agents", "check_for_compatible_agents"]


def check_for_compatible_agents(
    labels: Iterable[str], since_minutes: float = 1, *, client: Client | None = None
) -> str:
    """Say whether somebody is there to take a run, and what to do if nobody is.

    On Prefect 1 an agent takes a run if it has all of the run's labels, or if neither has any. It
    is healthy if it has asked for runs lately. Either one or several healthy agents match, or
    there are one or several that match and look unhealthy, or none matches though others are
    healthy, or there is nobody.

    On Prefect 3 workers take runs from work pools, so the labels name pools: those that the run
    may be in, or none for any pool. Either one or several workers are online, or none is, or the
    pools are paused, or they do not exist.

    Times are compared with the server's clock, not with this machine's.

    Args:
        labels: A run's labels; on Prefect 3 the names of work pools.
        since_minutes: How many minutes ago a healthy agent may have asked for runs; one that never
            has is unhealthy. On Prefect 3 a worker is online if the server says so, or if its last
            heartbeat is not longer ago than that.
        client: The server to ask; found from the environment and the active profile if None.

    Returns:
        A sentence or two for people, whose words may change.

    Raises:
        TypeError: ``labels`` is one text, or has something else than text in it.
        ValueError: ``since_minutes`` is negative or not a number.
        ServerError: The server answers, but not well, for 30 s.
        Unreachable: The server does not answer for 30 s.

    Example:
        >>> import rxflow
        >>> from rxflow.testing import FakePrefect3
        >>> client = FakePrefect3().client()
        >>> rxflow.check_for_compatible_agents(["gpu"], client=client).split(".")[0]
        "Work pool 'gpu' does not exist"
    """
    poll = _finding(labels, since_minutes)
    with given_or_temporary(client) as used:
        return used.read(poll)


async def acheck_for_compatible_agents(
    labels: Iterable[str], since_minutes: float = 1, *, client: Client | None = None
) -> str:
    """Say the same as `check_for_compatible_agents`, on the running event loop."""
    poll = _finding(labels, since_minutes)
    async with agiven_or_temporary(client) as used:
        return await used.aread(poll)


def _finding(labels: Iterable[str], since_minutes: float) -> Callable[[int], Poll[str]]:
    if isinstance(labels, str):
        raise TypeError(f"labels={labels!r} is one text; pass a list of labels: [{labels!r}]")
    if not 0 <= since_minutes < math.inf:
        raise ValueError(f"since_minutes={since_minutes!r} is not a time; pass minutes, 0 or more")
    wanted = frozenset(labels)
    for label in wanted:
        if not isinstance(label, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"labels has {label!r}, which is no text")
    return lambda _: find_takers(wanted, since_minutes * 60, real_now().utc)
