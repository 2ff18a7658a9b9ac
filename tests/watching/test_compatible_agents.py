"""`compatible_agents`: which agents match and are healthy, and whose clock their ages are by."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxflow._models.entities import Agent, BackendName, Server
from rxflow._protocol.pages import Page
from rxflow._protocol.queries import AgentsQuery, ServerQuery
from rxflow._watching.compatible_agents import (
    Candidates,
    find_candidates,
    read_compatible_agents,
)

FAR_OFF = datetime(2040, 6, 1, 12, tzinfo=UTC)
"""The server's time, which no real clock shows."""

MINUTE = 60.0


NAMES = st.sampled_from("abc")
AGES = st.none() | st.integers(-100, 100)
AGENTS = st.lists(st.tuples(st.frozensets(NAMES), AGES), max_size=8)


@given(AGENTS, st.frozensets(NAMES), st.integers(0, 100))
def test_agents_are_grouped_by_labels_and_age(
    given: list[tuple[frozenset[str], int | None]], labels: frozenset[str], seconds: int
) -> None:
    """An agent matches by its labels, and is healthy by the age of its last query."""
    agents = [
        Agent(
            id=str(number),
            name="",
            labels=tuple(has),
            last_queried=None if age is None else FAR_OFF - timedelta(seconds=age),
        )
        for number, (has, age) in enumerate(given)
    ]

    def agents_that(*, matching: bool, healthy: bool) -> tuple[Agent, ...]:
        return tuple(
            agent
            for agent in agents
            if ((labels <= set(agent.labels)) if labels else not agent.labels) == matching
            and (
                agent.last_queried is not None
                and FAR_OFF - agent.last_queried <= timedelta(seconds=seconds)
            )
            == healthy
        )

    assert find_candidates(agents, labels, seconds, FAR_OFF) == Candidates(
        healthy=agents_that(matching=True, healthy=True),
        unhealthy=agents_that(matching=True, healthy=False),
        others=len(agents_that(matching=False, healthy=True)),
    )


def test_ages_are_by_server_clock_else_given_time() -> None:
    """Where the server sends no time, the time given to the poll counts."""

    def text(server_time: datetime | None, name: str = "a") -> str:
        agent = Agent(id="1", name=name, last_queried=FAR_OFF)
        poll = read_compatible_agents(frozenset(), MINUTE, FAR_OFF + timedelta(minutes=3))
        assert next(poll) == ServerQuery()
        assert poll.send(Page((Server(backend=BackendName.PREFECT_1),))) == AgentsQuery()
        with pytest.raises(StopIteration) as end:
            poll.send(Page((agent,), server_time))
        return str(end.value.value)

    assert "3 minutes ago and looks unhealthy" in text(None)
    assert "Agent 'a' (1) has matching" in text(None)
    assert "Agent 1 has matching" in text(None, name="")
    assert "2 days ago and looks unhealthy" in text(FAR_OFF + timedelta(days=2))
    assert "1 second ago. It should pick up" in text(FAR_OFF + timedelta(seconds=1))
    assert "0 seconds ago. It should pick up" in text(FAR_OFF - timedelta(hours=1))
