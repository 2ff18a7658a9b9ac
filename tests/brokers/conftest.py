"""A real broker of each kind, for all tests of a process or for one test alone."""

import uuid
from collections.abc import Iterator

import pytest
from broker_servers import SERVERS, BrokerServer

_each_kind = list(SERVERS)


@pytest.fixture(scope="session", params=_each_kind)
def server(request: pytest.FixtureRequest) -> Iterator[BrokerServer]:
    """A broker that other tests use as well."""
    with SERVERS[request.param]() as started:
        yield started


@pytest.fixture(params=_each_kind)
def own_server(request: pytest.FixtureRequest) -> Iterator[BrokerServer]:
    """A broker that the test may stop and start."""
    with SERVERS[request.param]() as started:
        yield started


@pytest.fixture(scope="session")
def nats_server() -> Iterator[BrokerServer]:
    """A NATS server that other tests use as well."""
    with SERVERS["nats"]() as started:
        yield started


@pytest.fixture
def workspace() -> str:
    """A workspace without logs."""
    return f"w-{uuid.uuid4().hex[:12]}"
