"""The API that Prefect 1.4.1 had: its names, arguments, defaults and types of errors are ours too.

The signatures were copied from `prefect.backend` of 1.4.1; what begins with an underscore there is
left out.
"""

import inspect
from collections.abc import Callable, Mapping
from datetime import timedelta
from operator import attrgetter
from typing import Any

import pytest

import rxflow
from rxflow import Client, FlowRunView, FlowView, TaskRunView
from tests.seed_defects.scenes import OnPrefect1, OnPrefect3, Scene

_REQUIRED = inspect.Parameter.empty
_TWELVE_HOURS = timedelta(hours=12)
_UNKNOWN = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"


def takes(*required: str, **defaults: Any) -> dict[str, Any]:
    """Arguments in their order, with their defaults."""
    return {**dict.fromkeys(required, _REQUIRED), **defaults}


SIGNATURES: dict[str, Mapping[str, Any]] = {
    "watch_flow_run": takes(
        "flow_run_id", stream_states=True, stream_logs=True, max_duration=_TWELVE_HOURS
    ),
    "stream_flow_run_logs": takes("flow_run_id", max_duration=_TWELVE_HOURS),
    "check_for_compatible_agents": takes("labels", since_minutes=1),
    "FlowRunView": takes(
        *("flow_run_id", "name", "flow_id", "labels", "parameters", "context", "state", "states"),
        *("updated_at", "run_config"),
        task_runs=None,
    ),
    "FlowRunView.from_flow_run_id": takes("flow_run_id", load_static_tasks=False),
    "FlowRunView.get_latest": takes("self", load_static_tasks=False),
    "FlowRunView.get_logs": takes("self", start_time=None, end_time=None),
    "FlowRunView.get_flow_metadata": takes("self", no_cache=False),
    "FlowRunView.get_task_run": takes("self", task_slug=None, task_run_id=None, map_index=None),
    "FlowRunView.get_all_task_runs": takes("self"),
    "FlowRunView.get_task_run_ids": takes("self"),
    "TaskRunView": takes(
        "task_run_id", "task_id", "task_slug", "name", "state", "map_index", "flow_run_id"
    ),
    "TaskRunView.from_task_run_id": takes(task_run_id=None),
    "TaskRunView.from_task_slug": takes("task_slug", "flow_run_id", map_index=-1),
    "TaskRunView.get_latest": takes("self"),
    "TaskRunView.get_result": takes("self"),
    "TaskRunView.iter_mapped": takes("self"),
    "FlowView": takes(
        *("flow_id", "settings", "run_config", "serialized_flow", "archived", "project_name"),
        *("core_version", "storage", "name", "flow_group_labels"),
    ),
    "FlowView.from_id": takes("flow_id"),
    "FlowView.from_flow_id": takes("flow_id"),
    "FlowView.from_flow_group_id": takes("flow_group_id"),
    "FlowView.from_flow_name": takes("flow_name", project_name="", last_updated=False),
}

# By the class of a view; a view that was made has each of its arguments but `task_runs`.
ATTRIBUTES = {
    name: tuple(argument for argument in SIGNATURES[name] if argument != "task_runs")
    for name in ("FlowRunView", "TaskRunView", "FlowView")
}

# Not ours, and why. Nor is a line made by hand, `FlowRunLog(timestamp, level, message)`: it would
# have no id.
LEFT_OUT = {
    "FlowView.flow": "A flow is an object of Prefect's, which is not imported here.",
    "FlowRunLog.from_dict": "It read a row of Prefect 1's API, which the codec does.",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_call_of_the_seed_is_a_call_of_ours(name: str) -> None:
    """Each argument has the seed's name, place and default; what we add is given by keyword."""
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
def test_what_is_left_out_is_not_there(name: str) -> None:
    """What there is no place for is not there by half."""
    with pytest.raises(AttributeError):
        attrgetter(name)(rxflow)


@pytest.fixture(params=[OnPrefect1, OnPrefect3], ids=["prefect1", "prefect3"])
def scene(request: pytest.FixtureRequest) -> Scene:
    """A run on each kind of server, with one task run."""
    made: Scene = request.param()
    made.add_task_run("RUNNING")
    made.line("hello")
    return made


def test_a_view_shows_what_it_showed(scene: Scene) -> None:
    """Each attribute of the seed's views is to be had, of a view that was asked for or made."""
    run = scene.view()
    task_run = run.get_task_run(scene.slug)
    flow = run.get_flow_metadata()
    for view in (run, task_run, flow):
        kind = type(view)
        shown = {name: getattr(view, name) for name in ATTRIBUTES[kind.__name__]}
        again: Any = kind(*shown.values())
        assert {name: getattr(again, name) for name in shown} == shown


def test_a_line_is_what_it_was(scene: Scene) -> None:
    """A line unpacks into the time, the level and the message, and sorts by the time."""
    (line,) = scene.view().get_logs()
    timestamp, level, message = line
    assert (timestamp, level, message) == (line.timestamp, line.level, line.message)
    assert (level, message) == (20, "hello")
    assert sorted([line]) == [line]


# -- errors -------------------------------------------------------------------------------------

Case = Callable[[Scene, Client], object]


def _task(scene: Scene, **how: Any) -> TaskRunView:
    return scene.view().get_task_run(**how)


def _other_task(scene: Scene, _: Client) -> object:
    task_run = _task(scene, task_slug=scene.slug)
    return _task(scene, task_run_id=task_run.task_run_id, task_slug="another-1")


def _other_index(scene: Scene, _: Client) -> object:
    task_run = _task(scene, task_slug=scene.slug)
    return _task(scene, task_run_id=task_run.task_run_id, map_index=3)


def _two_of_a_name(scene: Scene, client: Client) -> object:
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


ERRORS: dict[str, tuple[type[Exception], Case]] = {
    "an unknown run": (
        ValueError,
        lambda _, client: FlowRunView.from_flow_run_id(_UNKNOWN, client=client),
    ),
    "an unknown run, watched": (
        ValueError,
        lambda _, client: list(rxflow.watch_flow_run(_UNKNOWN, client=client)),
    ),
    "an unknown run, printed": (
        ValueError,
        lambda _, client: rxflow.stream_flow_run_logs(_UNKNOWN, client=client),
    ),
    "a watch that takes too long": (
        RuntimeError,
        lambda scene, _: scene.watch(max_duration=timedelta(seconds=30)),
    ),
    "a printed run that takes too long": (
        RuntimeError,
        lambda scene, client: rxflow.stream_flow_run_logs(scene.run, timedelta(0), client=client),
    ),
    "no word on which task run": (ValueError, lambda scene, _: _task(scene)),
    "a task run of another task": (ValueError, _other_task),
    "a task run of another index": (ValueError, _other_index),
    "an unknown slug": (ValueError, lambda scene, _: _task(scene, task_slug="another-1")),
    "an unknown task run": (ValueError, lambda scene, _: _task(scene, task_run_id=_UNKNOWN)),
    "an id of a task run that is no text": (
        TypeError,
        lambda _, client: TaskRunView.from_task_run_id(7, client=client),  # type: ignore[arg-type]
    ),
    "no id of a task run": (
        TypeError,
        lambda _, client: TaskRunView.from_task_run_id(client=client),
    ),
    "an unknown task run by itself": (
        ValueError,
        lambda _, client: TaskRunView.from_task_run_id(_UNKNOWN, client=client),
    ),
    "an unknown slug by itself": (
        ValueError,
        lambda scene, client: TaskRunView.from_task_slug("another-1", scene.run, client=client),
    ),
    "the result of a task that runs": (
        ValueError,
        lambda scene, _: _task(scene, task_slug=scene.slug).get_result(),
    ),
    "the children of a task without": (
        TypeError,
        lambda scene, _: list(_task(scene, task_slug=scene.slug).iter_mapped()),
    ),
    "an unknown flow": (
        ValueError,
        lambda _, client: FlowView.from_flow_id(_UNKNOWN, client=client),
    ),
    "an unknown flow or group": (
        ValueError,
        lambda _, client: FlowView.from_id(_UNKNOWN, client=client),
    ),
    "an unknown group": (
        ValueError,
        lambda _, client: FlowView.from_flow_group_id(_UNKNOWN, client=client),
    ),
    "an unknown name": (
        ValueError,
        lambda _, client: FlowView.from_flow_name("another", client=client),
    ),
    "an unknown project": (
        ValueError,
        lambda _, client: FlowView.from_flow_name("fake-flow", "another", client=client),
    ),
    "a name of two flows": (ValueError, _two_of_a_name),
    "an id of a flow that is no text": (
        TypeError,
        lambda _, client: FlowView.from_flow_id(7, client=client),  # type: ignore[arg-type]
    ),
    "an id of a group that is no text": (
        TypeError,
        lambda _, client: FlowView.from_flow_group_id(7, client=client),  # type: ignore[arg-type]
    ),
    "an id of either that is no text": (
        TypeError,
        lambda _, client: FlowView.from_id(7, client=client),  # type: ignore[arg-type]
    ),
}


@pytest.mark.parametrize("what", ERRORS)
def test_an_error_is_of_the_seeds_type(what: str, scene: Scene) -> None:
    """What a script caught, it catches still."""
    seed, call = ERRORS[what]
    with pytest.raises(seed):
        call(scene, scene.client)


# By what is wrong with the result, as the state of a task run on Prefect 1 says it.
RESULTS: dict[str, tuple[type[Exception], Mapping[str, Any]]] = {
    "no type of result": (TypeError, {"type": "NoResultType"}),
    "a type of one's own": (TypeError, {"type": "CustomResult", "location": "x"}),
    "no place": (ValueError, {"type": "LocalResult", "location": None, "dir": "/results"}),
}


@pytest.mark.parametrize("what", RESULTS)
def test_a_result_that_is_not_to_be_had(what: str) -> None:
    """A result of no known type is a TypeError, and one that is nowhere a ValueError, as it was."""
    seed, result = RESULTS[what]
    scene = OnPrefect1()
    task_run = scene.add_task_run("RUNNING")
    scene.server.set_task_state(task_run, "Success", _result=result)
    with pytest.raises(seed):
        _task(scene, task_run_id=task_run).get_result()
