"""Who is ready to take a run: Prefect 1's agents with matching labels, Prefect 3's workers by pool.

What was read is judged by the server's time, so that the watcher's own clock may be wrong.
"""

from collections.abc import Iterable
from datetime import datetime
from shlex import quote
from typing import NamedTuple, assert_never

import msgspec

from rxflow._models.entities import Agent, BackendName, Worker, WorkPool
from rxflow._protocol.pages import Page, Poll, read_all_pages, read_server
from rxflow._protocol.queries import AgentsQuery, WorkersQuery, WorkPoolsQuery

HEALTHY_FOR = 60.0
"""Seconds since an agent asked for runs in which it counts as healthy, as in Prefect 1."""

_NAMED = 5  # work pools that a sentence names at the most
_UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60))


class Candidates(msgspec.Struct, frozen=True, kw_only=True):
    """Agents, by what a run can expect of them.

    Attributes:
        healthy: Those with matching labels that have asked for runs lately.
        unhealthy: Those with matching labels that have not, or never.
        others: How many are healthy, but without matching labels.
    """

    healthy: tuple[Agent, ...] = ()
    unhealthy: tuple[Agent, ...] = ()
    others: int = 0


def candidates(
    agents: Iterable[Agent], labels: Iterable[str], seconds: float, server_time: datetime
) -> Candidates:
    """Find the agents that may take a run.

    Args:
        agents: All agents.
        labels: The run's labels.
        seconds: How long ago a healthy agent may have asked for runs.
        server_time: The time by the server's clock.
    """
    wanted = frozenset(labels)
    healthy: list[Agent] = []
    unhealthy: list[Agent] = []
    others = 0
    for agent in agents:
        lately = _within(agent.last_queried, seconds, server_time)
        if _match(wanted, agent):
            (healthy if lately else unhealthy).append(agent)
        else:
            others += lately
    return Candidates(healthy=tuple(healthy), unhealthy=tuple(unhealthy), others=others)


def is_paused(pool: WorkPool) -> bool:
    """Whether nobody takes runs from a work pool until someone resumes it."""
    return pool.is_paused or pool.status == "PAUSED"


def find_takers(labels: frozenset[str], seconds: float, utc: datetime) -> Poll[str]:
    """Read who there is to take a run, and say who should.

    Args:
        labels: The run's labels; on Prefect 3 the work pools that it may be in, none for any.
        seconds: How long ago a healthy agent, or a worker, may have been heard of.
        utc: The time, for a server that does not tell its own.

    Returns:
        What there is and what to do, in a sentence or two.
    """
    server = yield from read_server()
    match server.backend:
        case BackendName.PREFECT_1:
            return (yield from _find_agents(labels, seconds, utc))
        case BackendName.PREFECT_3:
            return (yield from _find_workers(labels, seconds, utc))
        case _:
            assert_never(server.backend)


def _match(labels: frozenset[str], agent: Agent) -> bool:
    return labels.issubset(agent.labels) if labels else not agent.labels


def _within(heard: datetime | None, seconds: float, server_time: datetime) -> bool:
    return heard is not None and (server_time - heard).total_seconds() <= seconds


# -- agents -------------------------------------------------------------------------------------


def _find_agents(labels: frozenset[str], seconds: float, utc: datetime) -> Poll[str]:
    page: Page[Agent] = yield from read_all_pages(AgentsQuery())
    now = page.server_time or utc
    start = f"an agent {with_labels(labels)}"
    match candidates(page.rows, labels, seconds, now):
        case Candidates(healthy=(agent,)):
            asked = _last_asked(agent, now)
            return f"{_agent(agent)} has matching labels and {asked}. It should take the flow run."
        case Candidates(healthy=(_, *_) as agents):
            return (
                f"{len(agents)} healthy agents have matching labels. "
                "One of them should take the flow run."
            )
        case Candidates(unhealthy=(agent,)):
            return (
                f"{_agent(agent)} has matching labels, but it {_last_asked(agent, now)} and looks "
                f"unhealthy. Restart it, or start {start}, to have the flow run taken."
            )
        case Candidates(unhealthy=(_, *_) as agents):
            return (
                f"{len(agents)} agents have matching labels, but all of them look unhealthy: none "
                f"asked for runs in the last {seconds / 60:g} min. Restart one of them, or start "
                f"{start}, to have the flow run taken."
            )
        case Candidates(others=0):
            return (
                "There is no healthy agent, and no agent at all with matching labels. "
                f"Start {start} to have the flow run taken."
            )
        case Candidates(others=others):
            return (
                f"{_many(others, 'agent')} {_are(others)} healthy, but without matching labels. "
                f"Start {start} to have the flow run taken."
            )


def with_labels(labels: Iterable[str]) -> str:
    """Which labels an agent must have, to go on a sentence with."""
    names = sorted(labels)
    if not names:
        return "without labels"
    return f"with {'label' if len(names) == 1 else 'labels'} {_listed(names)}"


def _agent(agent: Agent) -> str:
    return f"Agent {agent.name!r} ({agent.id})" if agent.name else f"Agent {agent.id}"


def _last_asked(agent: Agent, server_time: datetime) -> str:
    if agent.last_queried is None:
        return "has never asked for runs"
    return f"last asked for runs {_ago(agent.last_queried, server_time)}"


# -- workers ------------------------------------------------------------------------------------


class _Staffed(NamedTuple):
    """A worker, and the work pool that it takes runs from."""

    pool: str
    worker: Worker


def _find_workers(labels: frozenset[str], seconds: float, utc: datetime) -> Poll[str]:
    page: Page[WorkPool] = yield from read_all_pages(WorkPoolsQuery())
    pools = [pool for pool in page.rows if not labels or pool.name in labels]
    if not pools:
        return _no_pool(sorted(labels))
    names = [pool.name for pool in pools if not is_paused(pool)]
    if not names:
        return _all_paused([pool.name for pool in pools])
    now = page.server_time or utc
    workers: list[_Staffed] = []
    for name in names:
        found: Page[Worker] = yield WorkersQuery(name)
        workers += (_Staffed(name, worker) for worker in found.rows)
    return _by_workers(names, workers, seconds, now)


def _no_pool(names: list[str]) -> str:
    do = "does" if len(names) == 1 else "do"
    missing = f"{_pools(names)} {do} not exist" if names else "there is no work pool"
    return _sentence(
        f"{missing}. Create one with `prefect work-pool create {_placeholder(names)}` and start a "
        "worker for it to have the flow run taken."
    )


def _all_paused(names: list[str]) -> str:
    return _sentence(
        f"{_pools(names)} {_are(len(names))} paused. Resume with "
        f"`prefect work-pool resume {_placeholder(names)}` to have the flow run taken."
    )


def _by_workers(
    names: list[str], workers: list[_Staffed], seconds: float, server_time: datetime
) -> str:
    online = [
        each
        for each in workers
        if each.worker.is_online or _within(each.worker.last_heartbeat_time, seconds, server_time)
    ]
    match online:
        case [_Staffed(pool, worker)]:
            heard = _last_heard(online, server_time)
            return (
                f"Worker {worker.name!r} of work pool {pool!r} is online{heard and f', {heard}'}. "
                "It should take the flow run."
            )
        case [_, *_]:
            at = _pools(sorted({each.pool for each in online}))
            return f"{len(online)} workers of {at} are online. One should take the flow run."
        case _:
            heard = _last_heard(workers, server_time)
            return (
                f"No worker of {_pools(names)} is online{heard and f'; one was {heard}'}. Start "
                f"one with `prefect worker start --pool {_placeholder(names)}` to have the flow "
                "run taken."
            )


def _last_heard(workers: Iterable[_Staffed], server_time: datetime) -> str:
    heard = (each.worker.last_heartbeat_time for each in workers)
    times = [time for time in heard if time is not None]
    return f"last heard of {_ago(max(times), server_time)}" if times else ""


def _pools(names: list[str]) -> str:
    more = [f"{len(names) - _NAMED} more"] if len(names) > _NAMED else []
    return f"work pool{'' if len(names) == 1 else 's'} {_listed(names[:_NAMED], more)}"


def _placeholder(names: list[str]) -> str:
    """What a command is to be given, where there is one choice."""
    return quote(names[0]) if len(names) == 1 else "NAME"


# -- words --------------------------------------------------------------------------------------


def _listed(names: Iterable[str], more: Iterable[str] = ()) -> str:
    *head, tail = [*map(repr, names), *more]
    return f"{', '.join(head)} and {tail}" if head else tail


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _many(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _ago(then: datetime, server_time: datetime) -> str:
    seconds = max(0, int((server_time - then).total_seconds()))
    for unit, length in _UNITS:
        if seconds >= length:
            return f"{_many(seconds // length, unit)} ago"
    return f"{_many(seconds, 'second')} ago"
