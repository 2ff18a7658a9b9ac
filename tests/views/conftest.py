"""Fixtures of the view tests: a call that is blocking or async, and runs on either server."""

import pytest
from server_scenes import SCENES, Scene, Scene1, Scene3
from twin_calls import TWINS, Call
from virtual_world import World


@pytest.fixture(params=TWINS)
def call(request: pytest.FixtureRequest) -> Call:
    """Call a method, or its async twin."""
    return TWINS[request.param]


@pytest.fixture(params=SCENES)
def scene(request: pytest.FixtureRequest) -> Scene:
    """A run on either server."""
    return SCENES[request.param]()


@pytest.fixture
def scene3() -> Scene3:
    """A run on a Prefect 3 server."""
    return Scene3()


@pytest.fixture
def scene1() -> Scene1:
    """A run on a Prefect 1 server."""
    return Scene1()


@pytest.fixture
def finished_run(world: World) -> str:
    """A run in a virtual world that logged the lines 1 to 5, one each second, and completed."""
    run_id = world.server.add_run(name="life", tags=["a"])
    for second in range(1, 6):
        world.at(second, lambda: world.server.log(run_id, f"{world.seconds:g}"))
    world.at(6, lambda: world.server.set_state(run_id, "COMPLETED"))
    world.run(until=10)
    return run_id
