"""Write docs/events.schema.json, the JSON Schema of an event: `python tests/tools/event_schema.py`.

It is made of the structs: fields and types by msgspec, descriptions from the docstrings. To it is
added what an event works out from its fields, since `rxflow.encode_event` writes that too. The test
suite fails while the file is not what this script writes.
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

# What the docstrings need not say of each kind anew.
_OF_ALL = {
    "kind": "What kind of event this is.",
    "flow_run_id": "The flow run that the event is about.",
    "late": "Whether an event with a later time was told before this one.",
}


def event_schema() -> dict[str, Any]:
    """The schema, as the JSON that it is written as."""
    refs, parts = msgspec.json.schema_components([FlowRunEvent], ref_template="#/$defs/{name}")
    structs = _structs_by_name()
    for name, part in parts.items():
        _describe(part, structs.get(name))
    for kind in KINDS:
        _add_derived(parts[kind.__name__], kind)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "FlowRunEvent",
        "description": "An event of a flow run, as rxflow.encode_event writes it. Later versions "
        "may add fields, kinds and codes; a field that is not required is missing in what an "
        "earlier version wrote, and then has its default.",
        "anyOf": refs[0]["anyOf"],
        "$defs": {name: _settled(part) for name, part in sorted(parts.items())},
    }


def written(schema: dict[str, Any]) -> str:
    """The schema as the text of its file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _structs_by_name() -> dict[str, type]:
    """The events, and what their fields hold."""
    found: dict[str, type] = {}
    waiting: list[Any] = list(KINDS)
    while waiting:
        kind = waiting.pop()
        waiting.extend(get_args(kind))
        if isinstance(kind, type) and kind.__name__ not in found and kind is not NoneType:
            found[kind.__name__] = kind
            if issubclass(kind, msgspec.Struct):
                waiting.extend(get_type_hints(kind).values())
    return found


def _describe(part: dict[str, Any], kind: type | None) -> None:
    """Give a part and its properties the texts of the docstring, which msgspec takes whole."""
    text, _, attributes = inspect.cleandoc((kind and kind.__doc__) or "").partition(
        "\n\nAttributes:\n"
    )
    part["description"] = _plain(text)
    said = dict(re.findall(r"(?ms)^    (\w+): (.*?)(?=^    \w|\Z)", attributes))
    for name, value in part.get("properties", {}).items():
        if description := said.get(name) or _OF_ALL.get(name):
            value["description"] = _plain(description)


def _add_derived(part: dict[str, Any], kind: type[FlowRunEvent]) -> None:
    for name in DERIVED:
        if name not in kind.__struct_fields__:
            worked_out = getattr(kind, name)
            shape = msgspec.json.schema(
                get_type_hints(worked_out.fget, include_extras=True)["return"]
            )
            part["properties"][name] = shape | {"description": _plain(worked_out.__doc__)}
            part["required"].append(name)


def _settled(part: Any) -> Any:
    """A part with its alternatives in an order that does not depend on msgspec's version."""
    match part:
        case dict():
            settled = {name: _settled(value) for name, value in part.items()}
            if "anyOf" in settled:
                settled["anyOf"].sort(key=json.dumps)
            return settled
        case list():
            return [_settled(value) for value in part]
        case _:
            return part


def _plain(text: str) -> str:
    """A docstring's text as prose of JSON: one line, without its quotes and Python's words."""
    prose = re.sub(r"\s+", " ", text.replace("``", "`")).strip()
    return re.sub(r"\b(None|True|False)\b", lambda word: _IN_JSON[word[0]], prose)


_IN_JSON = {"None": "null", "True": "true", "False": "false"}


if __name__ == "__main__":
    FILE.write_text(written(event_schema()), "utf-8")
