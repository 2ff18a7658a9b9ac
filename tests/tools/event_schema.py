"""Generate the JSON Schema of events: `python tests/tools/event_schema.py`.

The schema follows from the structs: msgspec provides fields and types, the docstrings provide
descriptions. The properties that `rxflow.encode_event` adds to the fields are added here, too. The
output is docs/events.schema.json; the test suite fails while it is out of date.
"""

import inspect
import json
import re
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

import msgspec

from rxflow import FlowRunEvent

FILE = Path(__file__).resolve().parents[2] / "docs" / "events.schema.json"
COMMAND = "python tests/tools/event_schema.py"

KINDS: tuple[type[FlowRunEvent], ...] = get_args(FlowRunEvent)
DERIVED = ("timestamp", "level", "message")

# Descriptions of the common fields, which the docstrings of the kinds leave out.
_COMMON = {
    "kind": "The kind of the event.",
    "flow_run_id": "The id of the flow run.",
    "late": "Whether an event with a later timestamp was emitted before this one.",
    "root_flow_run_id": "The id of the run whose subflow the run is, at any depth, as far as that "
    "is known; else the run's own.",
}


def event_schema() -> dict[str, Any]:
    """Build the schema."""
    refs, parts = msgspec.json.schema_components([FlowRunEvent], ref_template="#/$defs/{name}")
    structs = _structs_by_name()
    for name, part in parts.items():
        _describe(part, structs.get(name))
    for kind in KINDS:
        _add_derived(parts[kind.__name__], kind)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "FlowRunEvent",
        "description": "An event of a flow run, as rxflow.encode_event encodes it. Later versions "
        "may add fields, kinds and codes. A field that is not required may be missing in the JSON "
        "of an earlier version, and then has its default.",
        "anyOf": refs[0]["anyOf"],
        "$defs": {name: _ordered(part) for name, part in sorted(parts.items())},
    }


def formatted(schema: dict[str, Any]) -> str:
    """Format the schema as the text of its file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _structs_by_name() -> dict[str, type]:
    """Find the events and the structs and enums of their fields."""
    found: dict[str, type] = {}
    remaining: list[Any] = list(KINDS)
    while remaining:
        kind = remaining.pop()
        remaining.extend(get_args(kind))
        if isinstance(kind, type) and kind.__name__ not in found and kind is not NoneType:
            found[kind.__name__] = kind
            if issubclass(kind, msgspec.Struct):
                remaining.extend(get_type_hints(kind).values())
    return found


def _describe(part: dict[str, Any], kind: type | None) -> None:
    """Describe a definition and its properties; msgspec takes the docstring as a whole."""
    text, _, attributes = inspect.cleandoc((kind and kind.__doc__) or "").partition(
        "\n\nAttributes:\n"
    )
    part["description"] = _plain(text)
    described = dict(re.findall(r"(?ms)^    (\w+): (.*?)(?=^    \w|\Z)", attributes))
    for name, value in part.get("properties", {}).items():
        if description := described.get(name) or _COMMON.get(name):
            value["description"] = _plain(description)


def _add_derived(part: dict[str, Any], kind: type[FlowRunEvent]) -> None:
    for name in DERIVED:
        if name not in kind.__struct_fields__:
            derived = getattr(kind, name)
            shape = msgspec.json.schema(get_type_hints(derived.fget, include_extras=True)["return"])
            part["properties"][name] = shape | {"description": _plain(derived.__doc__)}
            part["required"].append(name)


def _ordered(part: Any) -> Any:
    """Sort alternatives, whose order depends on the version of msgspec."""
    match part:
        case dict():
            ordered = {name: _ordered(value) for name, value in part.items()}
            if "anyOf" in ordered:
                ordered["anyOf"].sort(key=json.dumps)
            return ordered
        case list():
            return [_ordered(value) for value in part]
        case _:
            return part


def _plain(text: str) -> str:
    """Reduce a docstring to one line, in JSON's words instead of Python's."""
    prose = re.sub(r"\s+", " ", text.replace("``", "`")).strip()
    return re.sub(r"\b(None|True|False)\b", lambda word: _IN_JSON[word[0]], prose)


_IN_JSON = {"None": "null", "True": "true", "False": "false"}


if __name__ == "__main__":
    FILE.write_text(formatted(event_schema()), "utf-8")
