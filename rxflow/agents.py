"""The public check for agents or workers that can pick up a run, blocking and async.

Arguments are validated here; what the check reads and says is in `_watching.compatible_agents`.
"""

from collections.abc import Callable, Iterable
from datetime import timedelta

from rxflow._models.arguments import check_type, seconds_of
from rxflow._protocol.pages import Poll
from rxflow._runtime.clocks import real_now
from rxflow._views.temporary_client import agiven_or_temporary, given_or_temporary
from rxflow._watching.compatible_agents import read_compatible_agents
from rxflow.client import Client

__all__ = ["acheck_for_compatible_agents", "check_for_compatible_agents"]


def check_for_compatible_agents(
    labels: Iterable[str], since_minutes: timedelta | float = 1, *, client: Client | None = None
) -> str:
    """Check which agents or workers can pick up a run, and say what to do if none can.

    On Prefect 1 an agent picks up a run if it has all of the run's labels, or if neither has any.
    It is healthy if it has queried for runs lately. The result says that one or several healthy
    agents match, that one or several match but look unhealthy, that none matches though others are
    healthy, or that no agent is healthy.

    On Prefect 3 workers pick up runs from work pools, so the labels name pools: those that the run
    may be in, or none for any pool. The result says that one or several workers are online, that
    none is, that the pools are paused, or that they do not exist.

    Ages are computed with the server's clock, not with this machine's.

    Args:
        labels: A run's labels; on Prefect 3 the names of work pools.
        since_minutes: The largest age of a healthy agent's last query for runs, in minutes if a
            number; an agent that never queried is unhealthy. On Prefect 3 a worker is online if the
            server says so, or if its last heartbeat is not older than that.
        client: The client to use; found from the environment and the active profile if None.

    Returns:
        A sentence or two for people, whose words may change.

    Raises:
        TypeError: ``labels`` is a string, or contains something other than strings; or another
            argument is of another type.
        ValueError: ``since_minutes`` is negative or not a finite number.
        ServerError: The server replies with errors for 30 s.
        Unreachable: The server does not reply for 30 s.

    Example:
        >>> import rxflow
        >>> from rxflow.testing import FakePrefect3
        >>> client = FakePrefect3().client()
        >>> rxflow.check_for_compatible_agents(["gpu"], client=client).split(".")[0]
        "Work pool 'gpu' does not exist"
    """
    poll = _checked_poll(labels, since_minutes)
    with given_or_temporary(client) as used:
        return used.read(poll)


async def acheck_for_compatible_agents(
    labels: Iterable[str], since_minutes: timedelta | float = 1, *, client: Client | None = None
) -> str:
    """Check the same as `check_for_compatible_agents`, on the running event loop."""
    poll = _checked_poll(labels, since_minutes)
    async with agiven_or_temporary(client) as used:
        return await used.aread(poll)


def _checked_poll(
    labels: Iterable[str], since_minutes: timedelta | float
) -> Callable[[int], Poll[str]]:
    """Validate the arguments, and make the poll."""
    if isinstance(labels, str):
        raise TypeError(f"labels={labels!r} is a string; pass a list of labels: [{labels!r}]")
    check_type("labels", labels, Iterable, "a list of labels, such as ['gpu']")
    seconds = seconds_of("since_minutes", since_minutes, unit="minutes")
    given = tuple(labels)
    for label in given:
        if not isinstance(label, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"labels contains {label!r}, which is not a string; pass strings")
    wanted = frozenset(given)
    return lambda _: read_compatible_agents(wanted, seconds, real_now().utc)
