"""The names of flows, read beside the watch."""

import threading

from virtual_world import TEST_TIMEOUT

from rxflow.cli._flow_names import FlowNames
from rxflow.testing import FakePrefect3


def eventually(names: FlowNames, flow_id: str) -> str:
    """The name of a flow, once it was read."""
    turn = threading.Event()
    for _ in range(int(TEST_TIMEOUT * 100)):
        name = names.of(flow_id)
        if name is not None:
            return name
        turn.wait(0.01)
    raise AssertionError(f"the name of {flow_id} was not read")


def flow_id_of(server: FakePrefect3, name: str = "nightly") -> str:
    """The id of a flow that is new."""
    flow_id: str = server.runs[server.add_run(flow=name)]["flow_id"]
    return flow_id


def test_a_name_is_read_once_and_nothing_waits_for_it() -> None:
    """It is None until the server has replied."""
    server = FakePrefect3()
    flow_id = flow_id_of(server)
    with server.client() as client, server.hold() as hold:
        names = FlowNames(client)
        assert names.of(flow_id) is None
        hold.until_reached()
        assert names.of(flow_id) is None
        hold.release()
        assert eventually(names, flow_id) == "nightly"
        assert names.of(flow_id) == "nightly"
    assert server.requests == [("POST", "/flows/filter")]


def test_names_are_read_together() -> None:
    """Those that are requested while one is read take one further request."""
    server = FakePrefect3()
    flows = [flow_id_of(server, f"flow {number}") for number in range(5)]
    with server.client() as client, server.hold() as hold:
        names = FlowNames(client)
        names.of(flows[0])
        hold.until_reached()
        assert [names.of(flow_id) for flow_id in flows] == [None] * 5
        hold.release()
        assert [eventually(names, flow_id) for flow_id in flows] == [
            f"flow {number}" for number in range(5)
        ]
    assert len(server.requests) == 2


def test_a_name_that_cannot_be_read_is_left_out() -> None:
    """Whether the flow is unknown, the client is closed, or there is none."""
    server = FakePrefect3()
    flow_id = flow_id_of(server)
    client = server.client()
    names = FlowNames(client)
    assert names.of(None) is None
    names.of("00000000-0000-4000-8000-000000000000")
    assert eventually(names, flow_id) == "nightly"
    assert names.of("00000000-0000-4000-8000-000000000000") is None
    client.close()
    closed = FlowNames(client)
    assert [closed.of(flow_id) for _ in range(2)] == [None, None]
