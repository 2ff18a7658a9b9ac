"""Which client a view reads with: the given one, or a temporary one for the configured server."""

from collections.abc import Iterator
from typing import Any

import pytest
from twin_calls import Call
from virtual_world import World

from rxflow import FlowRunView
from rxflow.errors import ConfigurationError
from rxflow.testing import FakePrefect3

UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[FakePrefect3, str]]:
    """A server with one run, whose URL is in the environment."""
    server = FakePrefect3()
    run_id = server.add_run()
    server.log(run_id, "line")
    with server.serve() as url:
        monkeypatch.setenv("PREFECT_API_URL", url)
        yield server, run_id


def test_without_a_client_the_environment_names_the_server(
    call: Call, served: tuple[FakePrefect3, str]
) -> None:
    """Without a client each read opens a connection of its own, and closes it."""
    _, run_id = served
    view = call(FlowRunView, "from_flow_run_id", run_id, client=None)
    assert [line.message for line in call(view, "get_logs")] == ["line"]
    assert call(view, "get_latest") == view


def test_without_a_configured_server_reading_is_an_error(
    call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """Without a client and without a configured server reading is a ConfigurationError."""
    for name in ("PREFECT_API_URL", "RXFLOW_API_URL", "PREFECT_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    with pytest.raises(ConfigurationError):
        call(FlowRunView, "from_flow_run_id", UNKNOWN_ID, client=None)


def test_a_view_keeps_its_client(call: Call, world: World, finished_run: str) -> None:
    """A view reads with the client that it was read with."""
    view = call(FlowRunView, "from_flow_run_id", finished_run, client=world.client)
    before = len(world.server.requests)
    call(call(view, "get_latest"), "get_logs")
    assert len(world.server.requests) > before
