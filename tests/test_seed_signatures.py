"""The public API of Prefect 1.4.1's `prefect.backend`: rxflow has its names, arguments and errors.

The signatures were copied from 1.4.1; names with a leading underscore are left out.
"""

import inspect
from collections.abc import Callable, Mapping
from datetime import timedelta
from operator import attrgetter
from typing import Any

import pytest

import rxflow
from rxflow import Client, FlowRunView, FlowView, TaskRunView
from tests.seed_defects.scenes import DefectScene, OnPrefect1, OnPrefect3

_REQUIRED = inspect.Parameter.empty
_TWELVE_HOURS = timedelta(hours=12)
_UNKNOWN_ID = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"


def arguments(*required: str, **defaults: Any) -> dict[str, Any]:
    """Arguments in order, with their defaults."""
    return {**dict.fromkeys(required, _REQUIRED), **defaults}


SIGNATURES: dict[str, Mapping[str, Any]] = {
    "watch_flow_run": arguments(
        "flow_run_id", stream_states=True, stream_logs=True, max_duration=_TWELVE_HOURS
    ),
    "stream_flow_run_logs": arguments("flow_run_id", max_duration=_TWELVE_HOURS),
    "check_for_compatible_agents": arguments("labels", since_minutes=1),
    "FlowRunView": arguments(
        *("flow_run_id", "name", "flow_id", "labels", "parameters", "context", "state", "states"),
        *("updated_at", "run_config"),
        task_runs=None,
    ),
    "FlowRunView.from_flow_run_id": arguments("flow_run_id", load_static_tasks=False),
    "FlowRunView.get_latest": arguments("self", load_static_tasks=False),
    "FlowRunView.get_logs": arguments("self", start_time=None, end_time=None),
    "FlowRunView.get_flow_metadata": arguments("self", no_cache=False),
    "FlowRunView.get_task_run": arguments("self", task_slug=None, task_run_id=None, map_index=None),
    "FlowRunView.get_all_task_runs": arguments("self"),
    "FlowRunView.get_task_run_ids": arguments("self"),
    "TaskRunView": arguments(
        "task_run_id", "task_id", "task_slug", "name", "state", "map_index", "flow_run_id"
    ),
    "TaskRunView.from_task_run_id": arguments(task_run_id=None),
    "TaskRunView.from_task_slug": arguments("task_slug", "flow_run_id", map_index=-1),
    "TaskRunView.get_latest": arguments("self"),
    "TaskRunView.get_result": arguments("self"),
    "TaskRunView.iter_mapped": arguments("self"),
    "FlowView": arguments(
        *("flow_id", "settings", "run_config", "serialized_flow", "archived", "project_name"),
        *("core_version", "storage", "name", "flow_group_labels"),
    ),
    "FlowView.from_id": arguments("flow_id"),
    "FlowView.from_flow_id": arguments("flow_id"),
    "FlowView.from_flow_group_id": arguments("flow_group_id"),
    "FlowView.from_flow_name": arguments("flow_name", project_name="", last_updated=False),
}

# By view class: the attributes, which are the constructor's arguments except `task_runs`.
ATTRIBUTES = {
    name: tuple(argument for argument in SIGNATURES[name] if argument != "task_runs")
    for name in ("FlowRunView", "TaskRunView", "FlowView")
}

# Left out of rxflow, and why. Constructing a line, `FlowRunLog(timestamp, level, message)`, is left
# out as well: the line would have no id.
LEFT_OUT = {
    "FlowView.flow": "A flow is an object of Prefect, which is not imported here.",
    "FlowRunLog.from_dict": "It decoded a row of Prefect 1's API, as the backend does.",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_call_of_1_4_1_is_a_call_of_rxflow(name: str) -> None:
    """Each argument has the name, position and default of 1.4.1; added ones are keyword-only."""
    ours = dict(inspect.signature(attrgetter(name)(rxflow)).parameters)
    seed = SIGNATURES[name]
    assert list(ours)[: len(seed)] == list(seed)
    for argument, default in seed.items():
        assert ours[argument].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        assert default is _REQUIRED or ours[argument].default == default
    added = [parameter for argument, parameter in ours.items() if argument not in seed]
    assert all(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in added)
    assert not any(parameter.default is _REQUIRED for parameter in added)


@pytest.mark.parametrize("name", LEFT_OUT)
def test_a_name_that_is_left_out_does_not_exist(name: str) -> None:
    """A name that rxflow leaves out is not an attribute."""
    with pytest.raises(AttributeError):
        attrgetter(name)(rxflow)


@pytest.fixture(params=[OnPrefect1, OnPrefect3], ids=["prefect1", "prefect3"])
def scene(request: pytest.FixtureRequest) -> DefectScene:
    """A run on each kind of server, with one task run and one line."""
    scene: DefectScene = request.param()
    scene.add_task_run("RUNNING")
    scene.log("hello")
    return scene


def test_a_view_has_the_attributes_of_1_4_1(scene: DefectScene) -> None:
    """A view has each attribute, whether it was read or made by hand from its attributes."""
    run = scene.view()
    task_run = run.get_task_run(scene.slug)
    flow = run.get_flow_metadata()
    for view in (run, task_run, flow):
        kind = type(view)
        values = {name: getattr(view, name) for name in ATTRIBUTES[kind.__name__]}
        made: Any = kind(*values.values())
        assert {name: getattr(made, name) for name in values} == values


def test_a_line_unpacks_and_sorts_as_in_1_4_1(scene: DefectScene) -> None:
    """A line unpacks into its time, level and message, and sorts by its time."""
    (line,) = scene.view().get_logs()
    timestamp, level, message = line
    assert (timestamp, level, message) == (line.timestamp, line.level, line.message)
    assert (level, message) == (20, "hello")
    assert sorted([line]) == [line]


# -- error types -------------------------------------------------------------------------------

ErrorCase = Callable[[DefectScene, Client], object]


def _task_run(scene: DefectScene, **selection: Any) -> TaskRunView:
    return scene.view().get_task_run(**selection)


def _other_task(scene: DefectScene, _: Client) -> object:
    task_run = _task_run(scene, task_slug=scene.slug)
    return _task_run(scene, task_run_id=task_run.task_run_id, task_slug="another-1")


def _other_index(scene: DefectScene, _: Client) -> object:
    task_run = _task_run(scene, task_slug=scene.slug)
    return _task_run(scene, task_run_id=task_run.task_run_id, map_index=3)


def _two_of_a_name(scene: DefectScene, client: Client) -> object:
    server: Any = scene.server
    if isinstance(scene, OnPrefect1):
        for _ in range(2):
            server.add_flow("twice")
    else:
        for number in range(2):
            server.add_run(flow=f"{number}")
        for flow in server.flows.values():
            flow["name"] = "twice"
    return FlowView.from_flow_name("twice", client=client)


ERRORS: dict[str, tuple[type[Exception], ErrorCase]] = {
    "an unknown run": (
        ValueError,
        lambda _, client: FlowRunView.from_flow_run_id(_UNKNOWN_ID, client=client),
    ),
    "an unknown run, watched": (
        ValueError,
        lambda _, client: list(rxflow.watch_flow_run(_UNKNOWN_ID, client=client)),
    ),
    "an unknown run, printed": (
        ValueError,
        lambda _, client: rxflow.stream_flow_run_logs(_UNKNOWN_ID, client=client),
    ),
    "a watch beyond max_duration": (
        RuntimeError,
        lambda scene, _: scene.watch(max_duration=timedelta(seconds=30)),
    ),
    "a printed run beyond max_duration": (
        RuntimeError,
        lambda scene, client: rxflow.stream_flow_run_logs(scene.run, timedelta(0), client=client),
    ),
    "neither a slug nor an id": (ValueError, lambda scene, _: _task_run(scene)),
    "an id with another slug": (ValueError, _other_task),
    "an id with another map index": (ValueError, _other_index),
    "an unknown slug": (ValueError, lambda scene, _: _task_run(scene, task_slug="another-1")),
    "an unknown task run": (ValueError, lambda scene, _: _task_run(scene, task_run_id=_UNKNOWN_ID)),
    "a task run id that is not a string": (
        TypeError,
        lambda _, client: TaskRunView.from_task_run_id(7, client=client),  # type: ignore[arg-type]
    ),
    "no task run id": (
        TypeError,
        lambda _, client: TaskRunView.from_task_run_id(client=client),
    ),
    "an unknown task run without a flow run": (
        ValueError,
        lambda _, client: TaskRunView.from_task_run_id(_UNKNOWN_ID, client=client),
    ),
    "an unknown slug without a view": (
        ValueError,
        lambda scene, client: TaskRunView.from_task_slug("another-1", scene.run, client=client),
    ),
    "the result of a running task run": (
        ValueError,
        lambda scene, _: _task_run(scene, task_slug=scene.slug).get_result(),
    ),
    "the mapped runs of an unmapped task": (
        TypeError,
        lambda scene, _: list(_task_run(scene, task_slug=scene.slug).iter_mapped()),
    ),
    "an unknown flow": (
        ValueError,
        lambda _, client: FlowView.from_flow_id(_UNKNOWN_ID, client=client),
    ),
    "an unknown flow or group": (
        ValueError,
        lambda _, client: FlowView.from_id(_UNKNOWN_ID, client=client),
    ),
    "an unknown flow group": (
        ValueError,
        lambda _, client: FlowView.from_flow_group_id(_UNKNOWN_ID, client=client),
    ),
    "an unknown flow name": (
        ValueError,
        lambda _, client: FlowView.from_flow_name("another", client=client),
    ),
    "an unknown project": (
        ValueError,
        lambda _, client: FlowView.from_flow_name("fake-flow", "another", client=client),
    ),
    "a name that two flows have": (ValueError, _two_of_a_name),
    "a flow id that is not a string": (
        TypeError,
        lambda _, client: FlowView.from_flow_id(7, client=client),  # type: ignore[arg-type]
    ),
    "a flow group id that is not a string": (
        TypeError,
        lambda _, client: FlowView.from_flow_group_id(7, client=client),  # type: ignore[arg-type]
    ),
    "an id of either that is not a string": (
        TypeError,
        lambda _, client: FlowView.from_id(7, client=client),  # type: ignore[arg-type]
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_an_error_has_the_type_of_1_4_1(case: str, scene: DefectScene) -> None:
    """A script that caught an error of 1.4.1 catches it in rxflow."""
    error, call = ERRORS[case]
    with pytest.raises(error):
        call(scene, scene.client)


# By defect of the result: the error, and the result in the state of a task run on Prefect 1.
RESULTS: dict[str, tuple[type[Exception], Mapping[str, Any]]] = {
    "no result type": (TypeError, {"type": "NoResultType"}),
    "a custom result type": (TypeError, {"type": "CustomResult", "location": "x"}),
    "no location": (ValueError, {"type": "LocalResult", "location": None, "dir": "/results"}),
}


@pytest.mark.parametrize("case", RESULTS)
def test_an_unreadable_result_has_the_error_type_of_1_4_1(case: str) -> None:
    """A result of an unknown type is a TypeError, and one without a location a ValueError."""
    error, result = RESULTS[case]
    scene = OnPrefect1()
    task_run = scene.add_task_run("RUNNING")
    scene.server.set_task_state(task_run, "Success", _result=result)
    with pytest.raises(error):
        _task_run(scene, task_run_id=task_run).get_result()
