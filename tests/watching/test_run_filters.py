"""What people pass as filters of runs: which values are taken, and how the others are refused."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from foreign_values import TIME, SubclassedId, SubclassedTime

import rxflow
from rxflow._protocol.queries import RunFilter
from rxflow._watching.run_filters import run_filter_of
from rxflow.errors import InvalidRunId

ID = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"
OTHER = "4edbba39-67c2-4746-b176-eb7641704653"

NONE: dict[str, Any] = dict.fromkeys(
    ("deployment", "flow", "tags", "name", "states", "work_pool", "started_after", "parent")
)


class ForeignType(str, Enum):  # noqa: UP042 - as Prefect's own
    """State types of another library."""

    FAILED = "FAILED"


TAKEN: dict[str, tuple[dict[str, Any], RunFilter]] = {
    "nothing": ({}, RunFilter()),
    "a deployment's name": (
        {"deployment": "report/nightly"},
        RunFilter(deployment_names=(("report", "nightly"),)),
    ),
    "a deployment's id": ({"deployment": UUID(ID)}, RunFilter(deployment_ids=(ID,))),
    "the text of a deployment's id": (
        {"deployment": f" {ID.upper()} "},
        RunFilter(deployment_ids=(ID,)),
    ),
    "names and ids of deployments": (
        {"deployment": ["a/b", ID, "c/d", SubclassedId(OTHER)]},
        RunFilter(deployment_names=(("a", "b"), ("c", "d")), deployment_ids=(ID, OTHER)),
    ),
    "a flow's name": ({"flow": "my report"}, RunFilter(flow_names=("my report",))),
    "names and ids of flows": (
        {"flow": ("report", UUID(ID), "etl")},
        RunFilter(flow_names=("report", "etl"), flow_ids=(ID,)),
    ),
    "tags": ({"tags": ["prod", "eu", "prod"]}, RunFilter(tags=("prod", "eu"))),
    "a set of tags": ({"tags": {"prod"}}, RunFilter(tags=("prod",))),
    "no tags": ({"tags": []}, RunFilter()),
    "a name": ({"name": "amber-fox"}, RunFilter(names=("amber-fox",))),
    "an iterator of names": ({"name": iter(["a", "b"])}, RunFilter(names=("a", "b"))),
    "a type": ({"states": rxflow.StateType.FAILED}, RunFilter(state_types=("FAILED",))),
    "a type of another library": (
        {"states": ForeignType.FAILED},
        RunFilter(state_types=("FAILED",)),
    ),
    "types in upper and lower case": (
        {"states": ["CRASHED", "failed"]},
        RunFilter(state_types=("CRASHED", "FAILED")),
    ),
    "names of states": (
        {"states": ["Late", "Failed", "DONE"]},
        RunFilter(state_names=("Late", "Failed", "DONE")),
    ),
    "types and names": (
        {"states": ("Late", "RUNNING")},
        RunFilter(state_types=("RUNNING",), state_names=("Late",)),
    ),
    "work pools": ({"work_pool": ["k8s", "docker"]}, RunFilter(work_pools=("k8s", "docker"))),
    "a time": (
        {"started_after": SubclassedTime(2026, 11, 22, 10, tzinfo=UTC)},
        RunFilter(started_after=TIME),
    ),
    "a parent": ({"parent": UUID(ID)}, RunFilter(parent_ids=(ID,))),
    "parents": ({"parent": [ID, OTHER.upper()]}, RunFilter(parent_ids=(ID, OTHER))),
}


@pytest.mark.parametrize(("arguments", "expected"), TAKEN.values(), ids=TAKEN)
def test_a_filter_is_built_of_what_people_hold(
    arguments: dict[str, Any], expected: RunFilter
) -> None:
    """Each argument takes one value or several, an id in any spelling, a state by type or name."""
    built = run_filter_of(**(NONE | arguments))
    assert built == expected
    for values in (built.names, built.state_types, built.state_names):
        assert all(type(value) is str for value in values)


NAIVE = datetime(2026, 11, 22)  # noqa: DTZ001


class Model:
    """Like a model of pydantic, which is iterable, over its fields."""

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Iterate over the fields."""
        return iter([("id", "a"), ("name", "b")])

    def model_dump(self) -> dict[str, str]:
        """Return the fields."""
        return dict(self)


@pytest.mark.parametrize("spelt", ["Late", "late", "LATE"])
def test_a_name_of_prefects_own_states_is_taken_in_any_case(spelt: str) -> None:
    """A name that Prefect gives is known, so that its case does not matter."""
    assert run_filter_of(**(NONE | {"states": spelt})).state_names == ("Late",)


REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "a name without its flow": (
        {"deployment": "nightly"},
        ValueError,
        "which has that of its flow before it; pass one such as 'report/nightly'",
    ),
    "a deployment of an empty flow": (
        {"deployment": "/nightly"},
        ValueError,
        "deployment='/nightly' is neither an id",
    ),
    "an empty deployment": ({"deployment": "etl/ "}, ValueError, "deployment='etl/ ' is neither"),
    "three names": ({"deployment": ["a/b", "a/b/c"]}, ValueError, "deployment='a/b/c' is neither"),
    "another deployment": (
        {"deployment": 7},
        TypeError,
        "deployment=7 is not text; pass text such as 'report/nightly'",
    ),
    "no flow": ({"flow": ""}, ValueError, "flow='' is empty; pass text such as 'report'"),
    "another flow": ({"flow": ["etl", 7]}, TypeError, "flow=7 is not text"),
    "one tag": (
        {"tags": "prod"},
        TypeError,
        "tags='prod' is text; pass a list of tags: ['prod']",
    ),
    "a number of tags": (
        {"tags": 3},
        TypeError,
        "tags is of the class int, not collections.Iterable; pass a list of tags, such as ['prod']",
    ),
    "an empty tag": ({"tags": ["a", " "]}, ValueError, "tags=' ' is empty"),
    "a tag of another type": ({"tags": [7]}, TypeError, "tags=7 is not text"),
    "bytes": ({"name": b"amber"}, TypeError, "name=b'amber' is not text"),
    "no values": (
        {"name": []},
        ValueError,
        "name=[] has no values; pass one or several, or None for any",
    ),
    "no parents": ({"parent": ()}, ValueError, "parent=() has no values"),
    "a misspelt type": (
        {"states": "RUNING"},
        ValueError,
        "states='RUNING' is neither a type of states nor one of their names; pass a type such as",
    ),
    "another spelling": ({"states": "canceled"}, ValueError, "pass a type such as 'CANCELLED'"),
    "a state": ({"states": 3}, TypeError, "states=3 is not text; pass text such as 'RUNNING'"),
    "a model of Prefect's": (
        {"flow": Model()},
        TypeError,
        "flow is a Model of Prefect's; pass",
    ),
    "another pool": ({"work_pool": 1.5}, TypeError, "work_pool=1.5 is not text"),
    "a naive time": ({"started_after": NAIVE}, ValueError, "has no time zone"),
    "the text of a time": (
        {"started_after": "2026-11-22"},
        TypeError,
        "datetime.fromisoformat('2026-11-22T00:00:00+00:00')",
    ),
    "the name of a parent": (
        {"parent": "amber-fox"},
        InvalidRunId,
        "parent='amber-fox' is not a parent id, which is a UUID",
    ),
    "a number for a parent": ({"parent": [7]}, InvalidRunId, "parent=7 is not a parent id"),
}

CALLS: dict[str, Callable[..., object]] = {
    "run_filter_of": lambda **given: run_filter_of(**(NONE | given)),
    "list_flow_runs": rxflow.list_flow_runs,
    "alist_flow_runs": lambda **given: rxflow.alist_flow_runs(**given).send(None),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(("arguments", "error", "text"), REFUSED.values(), ids=REFUSED)
def test_another_value_is_refused_at_the_call(
    arguments: dict[str, Any], error: type[Exception], text: str, call: Callable[..., object]
) -> None:
    """The error names the argument, shows the value and a right one; nothing is requested."""
    with pytest.raises(error) as raised:
        call(**arguments)
    assert text in str(raised.value)
