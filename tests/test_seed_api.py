"""The views' methods: names, arguments and defaults are those that Prefect 1.4.1's views had.

The tables were read off `prefect.backend` of 1.4.1; each method takes a client by keyword besides.
"""

import inspect
from typing import Any

import pytest

from rxflow import FlowRunView, FlowView, TaskRunView

METHODS: dict[type, dict[str, str]] = {
    FlowRunView: {
        "__init__": "flow_run_id, name, flow_id, labels, parameters, context, state, states, "
        "updated_at, run_config, task_runs=None, *, client=None",
        "from_flow_run_id": "flow_run_id, load_static_tasks=False, *, client=None",
        "get_latest": "load_static_tasks=False",
        "get_logs": "start_time=None, end_time=None",
        "get_task_run": "task_slug=None, task_run_id=None, map_index=None",
        "get_all_task_runs": "",
        "get_task_run_ids": "",
        "get_flow_metadata": "no_cache=False",
    },
    TaskRunView: {
        "__init__": "task_run_id, task_id, task_slug, name, state, map_index, flow_run_id, "
        "*, client=None",
        "from_task_run_id": "task_run_id=None, *, client=None",
        "from_task_slug": "task_slug, flow_run_id, map_index=-1, *, client=None",
        "get_latest": "",
        "get_result": "",
        "iter_mapped": "",
    },
    FlowView: {
        "from_id": "flow_id, *, client=None",
        "from_flow_id": "flow_id, *, client=None",
        "from_flow_group_id": "flow_group_id, *, client=None",
        "from_flow_name": "flow_name, project_name='', last_updated=False, *, client=None",
    },
}

ATTRIBUTES: dict[type, str] = {
    FlowRunView: "flow_run_id name flow_id labels parameters context state states updated_at "
    "run_config",
    TaskRunView: "task_run_id task_id task_slug name state map_index flow_run_id",
    FlowView: "flow_id settings run_config serialized_flow archived project_name core_version "
    "storage name flow_group_labels",
}


def signature(method: Any) -> str:
    """The names and defaults of a method, without types and without its object."""
    words: list[str] = []
    for parameter in inspect.signature(method).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in words:
            words.append("*")
        default = parameter.default
        given = "" if default is parameter.empty else f"={default!r}"
        words += [f"{parameter.name}{given}"] if parameter.name not in {"self", "cls"} else []
    return ", ".join(words)


@pytest.mark.parametrize(
    ("view", "name"),
    [(view, name) for view, methods in METHODS.items() for name in methods],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_names_and_defaults_are_prefect_1s(view: type, name: str) -> None:
    """Each method takes what it took in Prefect 1, with a client by keyword besides."""
    assert signature(getattr(view, name)) == METHODS[view][name]


@pytest.mark.parametrize("view", ATTRIBUTES)
def test_a_view_has_what_it_had(view: type) -> None:
    """Each attribute of Prefect 1's views is a property of ours."""
    for name in ATTRIBUTES[view].split():
        assert isinstance(getattr(view, name), property)


def test_a_flow_view_is_made_of_what_it_was_made_of() -> None:
    """The constructor takes Prefect 1's arguments, by position too."""
    names = ATTRIBUTES[FlowView].split()
    assert list(inspect.signature(FlowView).parameters)[: len(names)] == names


@pytest.mark.parametrize("view", METHODS)
def test_each_method_that_asks_has_a_twin_of_the_same_arguments(view: type) -> None:
    """`x` and `ax` differ in the `a` only."""
    asking = ("get_", "iter_", "of_run", "from_id", "from_flow", "from_task")
    names = {name for name in dir(view) if name.startswith(asking)}
    assert {*METHODS[view]} - {"__init__"} <= names
    for name in names:
        assert signature(getattr(view, f"a{name}")) == signature(getattr(view, name))
