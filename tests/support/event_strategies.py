"""Hypothesis strategies for events of every kind, with all values that their fields can have."""

import types
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec
from hypothesis import strategies as st

from rxflow import FlowRunEvent

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)

# Offsets in JSON have whole minutes, and years have four digits in every offset.
INSTANTS = st.datetimes(
    min_value=datetime(2, 1, 1),  # noqa: DTZ001 - the zone is drawn
    max_value=datetime(9998, 12, 31),  # noqa: DTZ001
    timezones=st.just(UTC)
    | st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=9,
)
"""Values of a parameter: anything that JSON can represent, with integers of any size."""


def events() -> st.SearchStrategy[FlowRunEvent]:
    """Draw an event of any kind."""
    return st.one_of([events_of(kind) for kind in get_args(FlowRunEvent)])


def events_of(kind: type[FlowRunEvent]) -> st.SearchStrategy[FlowRunEvent]:
    """Draw an event of one kind, each field by its type."""
    # A run that is its own root has no root set.
    return _structs(kind).filter(lambda event: event.root != event.flow_run_id)


def _structs(struct: type[Any]) -> st.SearchStrategy[Any]:
    hints = get_type_hints(struct)
    return st.builds(struct, **{name: _values(hints[name]) for name in struct.__struct_fields__})


def _values(kind: Any) -> st.SearchStrategy[Any]:
    match get_origin(kind) or kind:
        case origin if origin in {types.UnionType, Union}:
            return st.one_of([_values(one) for one in get_args(kind)])
        case origin if origin is tuple:
            return st.lists(_values(get_args(kind)[0]), max_size=3).map(tuple)
        case origin if origin is Mapping:
            return st.dictionaries(st.text(), VALUES, max_size=3)
        case type() as plain if issubclass(plain, msgspec.Struct):
            return st.deferred(lambda: _structs(plain))
        case type() as plain if issubclass(plain, Enum):
            return st.sampled_from(plain)
        case _:
            return _PLAIN[kind]


_PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    type(None): st.none(),
    msgspec.UnsetType: st.just(msgspec.UNSET),
    bool: st.booleans(),
    int: st.integers(),
    float: NUMBERS,
    str: st.text(),
    datetime: INSTANTS,
}
