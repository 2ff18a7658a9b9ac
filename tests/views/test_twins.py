"""Blocking methods of views and their async twins: equal signatures, equal results."""

import asyncio
import inspect
from typing import Any

import pytest
from twin_calls import TWINS
from virtual_world import World

from rxflow import FlowRunView, FlowView, TaskRunView


def signature(method: Any) -> str:
    """The names and defaults of a method, without types and without ``self``."""
    parameters = inspect.signature(method).parameters.values()
    return ", ".join(str(each.replace(annotation=each.empty)) for each in parameters)


@pytest.mark.parametrize("view", [FlowRunView, TaskRunView, FlowView])
def test_each_reading_method_has_a_twin_with_the_same_arguments(view: type) -> None:
    """`x` and `ax` have the same arguments and defaults."""
    prefixes = ("get_", "iter_", "of_run", "from_id", "from_flow", "from_task")
    names = {name for name in dir(view) if name.startswith(prefixes)}
    assert len(names) > 4
    for name in names:
        assert signature(getattr(view, f"a{name}")) == signature(getattr(view, name))


def test_twins_read_the_same(world: World, finished_run: str) -> None:
    """A view that was awaited equals the view that a script gets, field by field."""
    world.server.set_task_state(finished_run, None, "RUNNING")
    for tasks in (False, True):
        blocking, awaited = (
            call(FlowRunView, "from_flow_run_id", finished_run, tasks, client=world.client).snapshot
            for call in TWINS.values()
        )
        assert blocking == awaited


def test_many_views_are_read_at_once(world: World) -> None:
    """Views that many tasks read with one client each show their own run."""
    runs = [world.server.add_run(name=str(number)) for number in range(20)]

    async def read() -> list[FlowRunView]:
        async with world.client as client:
            reads = (FlowRunView.afrom_flow_run_id(run, client=client) for run in runs)
            return list(await asyncio.gather(*reads))

    views = asyncio.run(read())
    assert [view.flow_run_id for view in views] == runs
    assert [view.name for view in views] == [str(number) for number in range(20)]


def test_a_timeline_is_read_by_both_twins(world: World, finished_run: str) -> None:
    """They return the same picture."""
    view = FlowRunView.from_flow_run_id(finished_run, client=world.client)
    blocking, awaited = (call(view, "timeline") for call in TWINS.values())
    assert blocking.svg == awaited.svg
