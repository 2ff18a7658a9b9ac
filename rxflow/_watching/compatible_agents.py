"""Which agents (Prefect 1) or workers (Prefect 3) can pick up a run.

Ages are computed with the server's time, so the watcher's own clock may be wrong. The public
functions are in `rxflow.agents`; why one given run has not started is in `late_starts`.
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
"""Seconds since its last query for runs in which an agent counts as healthy, as in Prefect 1."""

_NAMED_POOLS = 5  # at most this many work pools are named in a sentence
_UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60))


class Candidates(msgspec.Struct, frozen=True, kw_only=True):
    """Agents, grouped by whether they can pick up a run.

    Attributes:
        healthy: Those with matching labels that have queried for runs lately.
        unhealthy: Those with matching labels that have not, or never.
        others: How many are healthy, but without matching labels.
    """

    healthy: tuple[Agent, ...] = ()
    unhealthy: tuple[Agent, ...] = ()
    others: int = 0


def find_candidates(
    agents: Iterable[Agent], labels: Iterable[str], seconds: float, server_time: datetime
) -> Candidates:
    """Group agents by whether they can pick up a run.

    Args:
        agents: All agents.
        labels: The run's labels.
        seconds: The largest age of a healthy agent's last query for runs.
        server_time: The time by the server's clock.
    """
    wanted = frozenset(labels)
    healthy: list[Agent] = []
    unhealthy: list[Agent] = []
    others = 0
    for agent in agents:
        is_healthy = _is_recent(agent.last_queried, seconds, server_time)
        if _matches(agent, wanted):
            (healthy if is_healthy else unhealthy).append(agent)
        else:
            others += is_healthy
    return Candidates(healthy=tuple(healthy), unhealthy=tuple(unhealthy), others=others)


def is_paused(pool: WorkPool) -> bool:
    """Whether no run is picked up from a work pool until it is resumed."""
    return pool.is_paused or pool.status == "PAUSED"


def read_compatible_agents(labels: frozenset[str], seconds: float, utc: datetime) -> Poll[str]:
    """Read which agents or workers can pick up a run, and describe them.

    Args:
        labels: The run's labels; on Prefect 3 the names of the work pools it may be in, none for
            any pool.
        seconds: The largest age of a healthy agent's last query, or of a worker's last heartbeat.
        utc: The time to use if the server does not send its own.

    Returns:
        A sentence or two: what there is, and what to do.
    """
    server = yield from read_server()
    match server.backend:
        case BackendName.PREFECT_1:
            return (yield from _read_agents(labels, seconds, utc))
        case BackendName.PREFECT_3:
            return (yield from _read_workers(labels, seconds, utc))
        case _:
            assert_never(server.backend)


def _matches(agent: Agent, labels: frozenset[str]) -> bool:
    return labels.issubset(agent.labels) if labels else not agent.labels


def _is_recent(time: datetime | None, seconds: float, server_time: datetime) -> bool:
    return time is not None and (server_time - time).total_seconds() <= seconds


# -- agents -------------------------------------------------------------------------------------


def _read_agents(labels: frozenset[str], seconds: float, utc: datetime) -> Poll[str]:
    page: Page[Agent] = yield from read_all_pages(AgentsQuery())
    now = page.server_time or utc
    start = f"an agent {labels_phrase(labels)}"
    candidates = find_candidates(page.rows, labels, seconds, now)
    match candidates:
        case Candidates(healthy=(agent,)):
            return (
                f"{_agent_phrase(agent)} has matching labels and {_last_queried(agent, now)}. "
                "It should pick up the flow run."
            )
        case Candidates(healthy=(_, *_) as agents):
            return (
                f"{len(agents)} healthy agents have matching labels. "
                "One of them should pick up the flow run."
            )
        case Candidates(unhealthy=(agent,)):
            return (
                f"{_agent_phrase(agent)} has matching labels, but it {_last_queried(agent, now)} "
                f"and looks unhealthy. Restart it, or start {start}, to pick up the flow run."
            )
        case Candidates(unhealthy=(_, *_) as agents):
            return (
                f"{len(agents)} agents have matching labels, but all of them look unhealthy: none "
                f"queried for runs in the last {seconds / 60:g} min. Restart one of them, or start "
                f"{start}, to pick up the flow run."
            )
        case Candidates(others=0):
            return (
                "There is no healthy agent, and no agent at all with matching labels. "
                f"Start {start} to pick up the flow run."
            )
        case _:
            others = candidates.others
            return (
                f"{_counted(others, 'agent')} {_is_or_are(others)} healthy, but without matching "
                f"labels. Start {start} to pick up the flow run."
            )


def labels_phrase(labels: Iterable[str]) -> str:
    """Return which labels an agent must have, as the end of a clause."""
    names = sorted(labels)
    if not names:
        return "without labels"
    return f"with {'label' if len(names) == 1 else 'labels'} {_listed(names)}"


def _agent_phrase(agent: Agent) -> str:
    return f"Agent {agent.name!r} ({agent.id})" if agent.name else f"Agent {agent.id}"


def _last_queried(agent: Agent, server_time: datetime) -> str:
    if agent.last_queried is None:
        return "has never queried for runs"
    return f"last queried for runs {_ago(agent.last_queried, server_time)}"


# -- workers ------------------------------------------------------------------------------------


class _PoolWorker(NamedTuple):
    """A worker, and the name of the work pool that it picks up runs from."""

    pool: str
    worker: Worker


def _read_workers(labels: frozenset[str], seconds: float, utc: datetime) -> Poll[str]:
    page: Page[WorkPool] = yield from read_all_pages(WorkPoolsQuery())
    pools = [pool for pool in page.rows if not labels or pool.name in labels]
    if not pools:
        return _no_pool(sorted(labels))
    names = [pool.name for pool in pools if not is_paused(pool)]
    if not names:
        return _all_paused([pool.name for pool in pools])
    now = page.server_time or utc
    workers: list[_PoolWorker] = []
    for name in names:
        found: Page[Worker] = yield WorkersQuery(name)
        workers += (_PoolWorker(name, worker) for worker in found.rows)
    return _by_workers(names, workers, seconds, now)


def _no_pool(names: list[str]) -> str:
    do = "does" if len(names) == 1 else "do"
    missing = f"{_pools(names)} {do} not exist" if names else "there is no work pool"
    return _capitalized(
        f"{missing}. Create one with `prefect work-pool create {_placeholder(names)}` and start a "
        "worker for it to pick up the flow run."
    )


def _all_paused(names: list[str]) -> str:
    return _capitalized(
        f"{_pools(names)} {_is_or_are(len(names))} paused. Resume with "
        f"`prefect work-pool resume {_placeholder(names)}` so that the flow run is picked up."
    )


def _by_workers(
    names: list[str], workers: list[_PoolWorker], seconds: float, server_time: datetime
) -> str:
    online = [
        each
        for each in workers
        if each.worker.is_online
        or _is_recent(each.worker.last_heartbeat_time, seconds, server_time)
    ]
    match online:
        case [_PoolWorker(pool, worker)]:
            beat = _last_heartbeat(online, server_time)
            return (
                f"Worker {worker.name!r} of work pool {pool!r} is online"
                f"{beat and f'; its last heartbeat was {beat}'}. It should pick up the flow run."
            )
        case [_, *_]:
            at = _pools(sorted({each.pool for each in online}))
            return f"{len(online)} workers of {at} are online. One should pick up the flow run."
        case _:
            beat = _last_heartbeat(workers, server_time)
            return (
                f"No worker of {_pools(names)} is online"
                f"{beat and f'; the last heartbeat was {beat}'}. Start one with "
                f"`prefect worker start --pool {_placeholder(names)}` to pick up the flow run."
            )


def _last_heartbeat(workers: Iterable[_PoolWorker], server_time: datetime) -> str:
    beats = (each.worker.last_heartbeat_time for each in workers)
    times = [time for time in beats if time is not None]
    return _ago(max(times), server_time) if times else ""


def _pools(names: list[str]) -> str:
    more = [f"{len(names) - _NAMED_POOLS} more"] if len(names) > _NAMED_POOLS else []
    return f"work pool{'' if len(names) == 1 else 's'} {_listed(names[:_NAMED_POOLS], more)}"


def _placeholder(names: list[str]) -> str:
    """Return the argument of a command: the name where there is one, else a placeholder."""
    return quote(names[0]) if len(names) == 1 else "NAME"


# -- English ------------------------------------------------------------------------------------


def _listed(names: Iterable[str], more: Iterable[str] = ()) -> str:
    *head, tail = [*map(repr, names), *more]
    return f"{', '.join(head)} and {tail}" if head else tail


def _capitalized(text: str) -> str:
    return text[0].upper() + text[1:]


def _is_or_are(number: int) -> str:
    return "is" if number == 1 else "are"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _ago(then: datetime, server_time: datetime) -> str:
    seconds = max(0, int((server_time - then).total_seconds()))
    for unit, length in _UNITS:
        if seconds >= length:
            return f"{_counted(seconds // length, unit)} ago"
    return f"{_counted(seconds, 'second')} ago"
