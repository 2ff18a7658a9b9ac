"""The JSON of events: complete, decoded to equal events, and as its schema and page describe."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import event_schema
import jsonschema
import msgspec
import pytest
from event_strategies import events, events_of
from hypothesis import given
from hypothesis import strategies as st

import rxflow
from rxflow import (
    FlowRunEvent,
    FlowRunLog,
    InvalidEvent,
    RxflowError,
    decode_event,
    encode_event,
    to_dict,
)

KINDS: tuple[type[FlowRunEvent], ...] = get_args(FlowRunEvent)
ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "events.md").read_text("utf-8")
RECORDED = (ROOT / "tests" / "recorded" / "events.jsonl").read_bytes().splitlines()

EXAMPLES = [json.loads(text) for text in re.findall(r"(?ms)^```json\n(.*?)^```", PAGE)]
BY_KIND = {example["kind"]: example for example in EXAMPLES}

each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)

LOG = FlowRunLog(
    flow_run_id="run",
    id="row",
    timestamp=datetime(2026, 11, 22, tzinfo=UTC),
    created=datetime(2026, 11, 22, tzinfo=UTC),
    level=20,
    name="prefect.flow_runs",
    message="a line",
)


def encoded(event: FlowRunEvent) -> dict[str, Any]:
    """The JSON of an event, in which no key is repeated."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    found: dict[str, Any] = json.loads(encode_event(event), object_pairs_hook=unique)
    return found


def derived(kind: type[FlowRunEvent]) -> set[str]:
    """What events of a kind derive from their fields."""
    return {"timestamp", "level", "message"} - set(kind.__struct_fields__)


# -- encoding and decoding ----------------------------------------------------------------------


@each_kind
@given(data=st.data())
def test_a_decoded_event_equals_the_encoded_one(
    kind: type[FlowRunEvent], data: st.DataObject
) -> None:
    """Kind, fields and derived values are equal, whatever the event contains."""
    event = data.draw(events_of(kind))
    back = decode_event(encode_event(event))
    assert type(back) is kind
    assert back == event
    assert [back.timestamp, back.level, back.message] == [
        event.timestamp,
        event.level,
        event.message,
    ]


@given(event=events())
def test_bytes_and_text_are_decoded(event: FlowRunEvent) -> None:
    """JSON is decoded from bytes and from text, with white space around it or without."""
    data = encode_event(event)
    assert decode_event(data.decode()) == decode_event(b" " + data + b"\r\n") == event


@given(event=events())
def test_an_event_is_one_line(event: FlowRunEvent) -> None:
    """The JSON of an event is UTF-8 without a line break, even if its message has some."""
    assert not re.search(r"[\r\n]", encode_event(event).decode("utf-8"))


# -- content ------------------------------------------------------------------------------------


@given(event=events())
def test_the_json_has_all_fields_and_the_derived_values(event: FlowRunEvent) -> None:
    """Each event's JSON has kind, run id, timestamp, level, message, late and its own fields."""
    kind, found = type(event), encoded(event)
    assert next(iter(found)) == "kind"
    assert set(found) == {"kind", *kind.__struct_encode_fields__} | derived(kind)
    assert found["kind"] == kind.__struct_config__.tag
    assert datetime.fromisoformat(found["timestamp"]) == event.timestamp
    assert (found["level"], found["message"]) == (event.level, event.message)
    assert (found["flow_run_id"], found["late"]) == (event.flow_run_id, event.late)


def test_only_events_are_encoded() -> None:
    """The error for any other value names its type."""
    with pytest.raises(TypeError, match="int is not an event"):
        encode_event(7)  # type: ignore[arg-type]


def test_half_a_surrogate_pair_is_not_encoded() -> None:
    """Text that UTF-8 cannot express is an error and not replaced."""
    with pytest.raises(UnicodeEncodeError):
        encode_event(msgspec.structs.replace(LOG, message="\ud800"))


# -- dictionaries -------------------------------------------------------------------------------

BUILTIN = (dict, list, tuple, str, int, float, bool, datetime, type(None))


def values_of(value: Any) -> list[Any]:
    """All values in a dictionary, list or tuple, at any depth."""
    match value:
        case dict():
            return [value, *(inner for one in value.values() for inner in values_of(one))]
        case list() | tuple():
            return [value, *(inner for one in value for inner in values_of(one))]
        case _:
            return [value]


@given(event=events())
def test_a_dictionary_has_the_keys_of_the_json_and_builtin_values(event: FlowRunEvent) -> None:
    """`to_dict` gives what the JSON has, with times as datetimes and all else as builtins."""
    row = to_dict(event)
    assert row.keys() == encoded(event).keys()
    assert all(type(value) in BUILTIN for value in values_of(row))
    assert decode_event(json.dumps(row, default=datetime.isoformat)) == event


@given(event=events())
def test_dictionaries_of_all_kinds_begin_with_the_same_keys(event: FlowRunEvent) -> None:
    """A table of them has the common columns first, in the order of the page on events."""
    common = ["kind", "flow_run_id", "timestamp", "level", "message", "late", "root_flow_run_id"]
    row = to_dict(event)
    assert list(row)[:7] == common
    assert [row[name] for name in common] == [getattr(event, name) for name in common]
    assert re.findall(r"(?m)^\| `(\w+)` \|", PAGE)[:7] == common


def test_a_dictionary_is_independent_of_its_event() -> None:
    """Changing the dictionary of an event changes nothing in the event."""
    event = next(e for e in map(decode_event, RECORDED) if isinstance(e, rxflow.RunSeen))
    to_dict(event)["run"]["parameters"]["day"] = "changed"
    assert event == decode_event(RECORDED[0])


def test_only_events_have_a_dictionary() -> None:
    """The error for any other value names its type."""
    with pytest.raises(TypeError, match="int is not an event"):
        to_dict(7)  # type: ignore[arg-type]


# -- other versions -----------------------------------------------------------------------------


@given(event=events())
def test_fields_of_later_versions_are_ignored(event: FlowRunEvent) -> None:
    """Unknown fields are ignored, in the event and in its nested structs."""
    found = encoded(event) | {"new_in_rxflow_9": 1}
    for name in ("run", "state", "task_run"):
        if isinstance(found.get(name), dict):
            found[name] |= {"new_in_rxflow_9": {"deep": []}}
    assert decode_event(json.dumps(found)) == event


@given(event=events())
def test_missing_fields_have_their_defaults(event: FlowRunEvent) -> None:
    """A field with a default may be missing, as in the JSON of an earlier version."""
    fields = msgspec.structs.fields(type(event))
    optional = [field for field in fields if field.default is not msgspec.NODEFAULT]
    names = {field.encode_name for field in optional}
    found = {name: value for name, value in encoded(event).items() if name not in names}
    defaults = {field.name: field.default for field in optional}
    assert decode_event(json.dumps(found)) == msgspec.structs.replace(event, **defaults)


@given(event=events(), other=st.none() | st.integers() | st.text())
def test_derived_values_are_not_decoded(event: FlowRunEvent, other: object) -> None:
    """Timestamp, level and message are derived again in kinds that derive them."""
    names = derived(type(event))
    assert decode_event(json.dumps(encoded(event) | dict.fromkeys(names, other))) == event
    without = {name: value for name, value in encoded(event).items() if name not in names}
    assert decode_event(json.dumps(without)) == event


def test_the_root_of_an_ordinary_run_is_the_run_itself() -> None:
    """It is in the JSON and the dictionary as any other, and an event without one is the same."""
    assert LOG.root_flow_run_id == encoded(LOG)["root_flow_run_id"] == "run"
    assert decode_event(encode_event(LOG)).root is msgspec.UNSET
    assert decode_event(msgspec.json.encode(LOG)) == LOG


def test_the_root_of_a_subflow_is_another_run() -> None:
    """An event of a subflow keeps the id of its root."""
    event = msgspec.structs.replace(LOG, root="first")
    assert event.root_flow_run_id == to_dict(event)["root_flow_run_id"] == "first"
    assert decode_event(encode_event(event)).root_flow_run_id == "first"


def test_each_kind_was_recorded() -> None:
    """The recorded lines have every kind."""
    assert {type(decode_event(line)) for line in RECORDED} == set(KINDS)


@pytest.mark.parametrize("line", RECORDED, ids=lambda line: json.loads(line)["kind"])
def test_events_of_the_first_version_are_decoded(line: bytes) -> None:
    """A recorded event is decoded, and encoded again it has at least its recorded fields."""
    assert subset(json.loads(line), encoded(decode_event(line)))


def subset(part: Any, whole: Any) -> bool:
    """Whether a JSON value contains another, and perhaps more fields."""
    match part, whole:
        case dict(), dict():
            return all(name in whole and subset(part[name], whole[name]) for name in part)
        case list(), list():
            return len(part) == len(whole) and all(map(subset, part, whole))
        case _:
            return bool(part == whole)


# -- malformed JSON -----------------------------------------------------------------------------

MALFORMED: dict[str, tuple[bytes | str, str]] = {
    "nothing": (b"", "truncated"),
    "cut off": (encode_event(LOG)[:-20], "truncated"),
    "no JSON": (b"INFO a line", "malformed"),
    "two events": (encode_event(LOG) * 2, "trailing"),
    "a list": (b"[]", "got `array`"),
    "no kind": (b"{}", "missing required field `kind`"),
    "a later kind": (
        b'{"kind":"heartbeat"}',
        "'heartbeat'.*use the version of rxflow that wrote",
    ),
    "a later code": (
        json.dumps(BY_KIND["notice"] | {"code": "sunny"}),
        "'sunny' - at `\\$.code`.*use the version of rxflow that wrote",
    ),
    "a field is missing": (b'{"kind":"run-seen","flow_run_id":"r"}', "`run`"),
    "a time without a zone": (
        encode_event(LOG).replace(b"00Z", b"00"),
        "RFC3339 encoded string with a timezone|timezone",
    ),
    "a wrong type": (encode_event(LOG).replace(b":20,", b':"20",'), "at `\\$.level`"),
    "not UTF-8": (encode_event(LOG).replace(b"a line", b"\xff"), "(utf|UTF)-8"),
    "half a pair": (encode_event(LOG).decode().replace("a line", "\ud800"), "surrogates"),
    "too deep": (
        json.dumps(BY_KIND["run-seen"]).replace('"2026-11-21"', "[" * 100_000),
        "recursion",
    ),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_json_is_an_invalid_event(case: str) -> None:
    """The error is also a ValueError, and its text has the reason and the place."""
    data, reason = MALFORMED[case]
    with pytest.raises(InvalidEvent, match=rf"^Cannot decode an event: .*({reason})") as raised:
        decode_event(data)
    assert isinstance(raised.value, RxflowError)
    assert isinstance(raised.value, ValueError)
    assert raised.value.__cause__ is not None
    assert len(str(raised.value)) < 400


@given(event=events(), cut=st.integers(min_value=0))
def test_truncated_json_is_an_invalid_event(event: FlowRunEvent, cut: int) -> None:
    """The JSON of an event that is cut off anywhere is not decoded."""
    data = encode_event(event)
    with pytest.raises(InvalidEvent):
        decode_event(data[: cut % len(data)])


@given(data=st.binary() | st.text())
def test_arbitrary_data_is_an_invalid_event(data: bytes | str) -> None:
    """No data raises any other error."""
    with pytest.raises(InvalidEvent):
        decode_event(data)


# -- the schema ---------------------------------------------------------------------------------

SCHEMA = json.loads(event_schema.FILE.read_text("utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
VALIDATORS = {
    kind: VALIDATOR.evolve(schema=SCHEMA | {"anyOf": [{"$ref": f"#/$defs/{kind.__name__}"}]})
    for kind in KINDS
}


def test_the_schema_is_up_to_date() -> None:
    """docs/events.schema.json is what the script generates from the structs."""
    fresh = event_schema.formatted(event_schema.event_schema())
    stale = f"docs/events.schema.json is out of date; write it with `{event_schema.COMMAND}`"
    assert event_schema.FILE.read_text("utf-8") == fresh, stale


def test_the_schema_is_valid() -> None:
    """The schema is valid by the draft that it names."""
    assert SCHEMA["$schema"] == jsonschema.Draft202012Validator.META_SCHEMA["$id"]
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@given(event=events())
def test_every_event_is_valid(event: FlowRunEvent) -> None:
    """The JSON of an event is valid by the schema, and by the definition of its kind alone."""
    found = encoded(event)
    VALIDATOR.validate(found)
    for kind in KINDS:
        assert VALIDATORS[kind].is_valid(found) is (type(event) is kind)


@each_kind
def test_the_schema_describes_each_field(kind: type[FlowRunEvent]) -> None:
    """Each field has a description; derived values and fields without a default are required."""
    part = SCHEMA["$defs"][kind.__name__]
    fields = msgspec.structs.fields(kind)
    assert set(part["properties"]) == {"kind", *kind.__struct_encode_fields__} | derived(kind)
    assert [name for name, value in part["properties"].items() if not value["description"]] == []
    required = {field.name for field in fields if field.required}
    assert set(part["required"]) == {"kind"} | required | derived(kind)


# -- docs/events.md -----------------------------------------------------------------------------

SECTIONS = {
    title.partition(":")[0]: text
    for title, text in re.findall(r"(?ms)^## (.+?)\n(.*?)(?=^## |\Z)", PAGE)
}
COMMON = {"kind", "flow_run_id", "late", "root_flow_run_id"}


def test_the_page_has_an_example_of_each_kind() -> None:
    """docs/events.md has one example of every kind, in the order of the union."""
    assert [example["kind"] for example in EXAMPLES] == [
        kind.__struct_config__.tag for kind in KINDS
    ]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["kind"])
def test_the_examples_are_exact(example: dict[str, Any]) -> None:
    """Each example is valid, and encodes to itself after it was decoded."""
    assert encoded(decode_event(json.dumps(example))) == example
    VALIDATOR.validate(example)


WRONG: dict[str, dict[str, Any]] = {
    "another kind": {"kind": "heartbeat"},
    "a level as text": {"level": "INFO"},
    "a message of null": {"message": None},
    "a time as a number": {"timestamp": 1795312800},
    "an id as a number": {"flow_run_id": 7},
}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["kind"])
def test_the_schema_rejects_malformed_json(example: dict[str, Any]) -> None:
    """JSON with a value of another type, or without a required field, is not valid."""
    for wrong in WRONG.values():
        assert not VALIDATOR.is_valid(example | wrong)
    kind = type(decode_event(json.dumps(example)))
    for name in SCHEMA["$defs"][kind.__name__]["required"]:
        assert not VALIDATOR.is_valid({key: example[key] for key in example if key != name})


DESCRIBED = [kind.__name__ for kind in KINDS] + ["FlowRun", "State", "TaskRun", "Snapshot"]


@pytest.mark.parametrize("name", DESCRIBED)
def test_the_page_lists_each_field_and_its_type(name: str) -> None:
    """A section's table has the fields of its struct with their types in JSON."""
    cells = re.findall(r"(?m)^\| `(\w+)` \| (.+?) \| (.+?) \|$", SECTIONS[name])
    properties = SCHEMA["$defs"][name]["properties"]
    common = COMMON if name in {kind.__name__ for kind in KINDS} else set()
    expected = {key: shown(value) for key, value in properties.items() if key not in common}
    assert {field: kind for field, kind, _ in cells} == expected


def shown(part: dict[str, Any]) -> str:
    """A type of the schema, in the words of the page."""
    match part:
        case {"$ref": reference}:
            return f"`{reference.rpartition('/')[2]}`"
        case {"anyOf": alternatives}:
            names = [shown(one) for one in alternatives]
            return " or ".join(sorted(names, key=lambda name: name == "null"))
        case {"format": "date-time"}:
            return "time"
        case {"type": "array", "items": items}:
            return f"list of {shown(items)}"
        case _:
            return str(part["type"])


def test_the_page_lists_each_code() -> None:
    """The table of codes has all codes, in their order."""
    codes = re.findall(r"(?m)^\| `([a-z-]+)` \| [^|]+ \|$", SECTIONS["Notice"])
    assert codes == list(rxflow.NoticeCode)
