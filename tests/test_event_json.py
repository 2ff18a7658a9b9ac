"""The JSON of events: it says all, comes back as it was, and is what its documents say it is."""

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
from rxflow import FlowRunEvent, FlowRunLog, InvalidEvent, RxflowError, decode_event, encode_event

KINDS: tuple[type[FlowRunEvent], ...] = get_args(FlowRunEvent)
ROOT = Path(__file__).parents[1]
DOCUMENT = (ROOT / "docs" / "events.md").read_text("utf-8")
RECORDED = (ROOT / "tests" / "recorded" / "events.jsonl").read_bytes().splitlines()

EXAMPLES = [json.loads(text) for text in re.findall(r"(?ms)^```json\n(.*?)^```", DOCUMENT)]
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


def written(event: FlowRunEvent) -> dict[str, Any]:
    """The JSON of an event; no key stands in it twice."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    found: dict[str, Any] = json.loads(encode_event(event), object_pairs_hook=once)
    return found


def derived(kind: type[FlowRunEvent]) -> set[str]:
    """What events of a kind work out from their fields."""
    return {"timestamp", "level", "message"} - set(kind.__struct_fields__)


# -- there and back -----------------------------------------------------------------------------


@each_kind
@given(data=st.data())
def test_an_event_comes_back_as_it_was(kind: type[FlowRunEvent], data: st.DataObject) -> None:
    """Whatever an event holds, what is written of it is read as an event that equals it."""
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
def test_bytes_and_text_are_read_alike(event: FlowRunEvent) -> None:
    """JSON is read from bytes and from text, whatever white space is around it."""
    encoded = encode_event(event)
    assert decode_event(encoded.decode()) == decode_event(b" " + encoded + b"\r\n") == event


@given(event=events())
def test_an_event_is_one_line(event: FlowRunEvent) -> None:
    """The JSON of an event is UTF-8 without a line break, whatever lines its message has."""
    assert not re.search(r"[\r\n]", encode_event(event).decode("utf-8"))


# -- what it says -------------------------------------------------------------------------------


@given(event=events())
def test_the_json_says_what_every_event_says(event: FlowRunEvent) -> None:
    """Each event's JSON has kind, run, time, level, message and late, and all of its fields."""
    kind, found = type(event), written(event)
    assert next(iter(found)) == "kind"
    assert set(found) == {"kind", *kind.__struct_fields__} | derived(kind)
    assert found["kind"] == kind.__struct_config__.tag
    assert datetime.fromisoformat(found["timestamp"]) == event.timestamp
    assert (found["level"], found["message"]) == (event.level, event.message)
    assert (found["flow_run_id"], found["late"]) == (event.flow_run_id, event.late)


def test_what_is_no_event_has_no_json() -> None:
    """Something else than an event is refused by its type's name."""
    with pytest.raises(TypeError, match="int is not an event"):
        encode_event(7)  # type: ignore[arg-type]


def test_half_a_surrogate_pair_has_no_json() -> None:
    """Text that UTF-8 lacks is refused and not replaced; a server's text never has it."""
    with pytest.raises(UnicodeEncodeError):
        encode_event(msgspec.structs.replace(LOG, message="\ud800"))


# -- other versions -----------------------------------------------------------------------------


@given(event=events())
def test_fields_of_later_versions_are_passed_over(event: FlowRunEvent) -> None:
    """Fields that are not known here do not matter, in the event or in what it holds."""
    found = written(event) | {"new_in_rxflow_9": 1}
    for name in ("run", "state", "task_run"):
        if isinstance(found.get(name), dict):
            found[name] |= {"new_in_rxflow_9": {"deep": []}}
    assert decode_event(json.dumps(found)) == event


@given(event=events())
def test_missing_fields_have_their_defaults(event: FlowRunEvent) -> None:
    """A field with a default may be missing, as in what an earlier version wrote."""
    optional = {field.name: field.default for field in msgspec.structs.fields(type(event))}
    defaults = {
        name: default for name, default in optional.items() if default is not msgspec.NODEFAULT
    }
    found = {name: value for name, value in written(event).items() if name not in defaults}
    assert decode_event(json.dumps(found)) == msgspec.structs.replace(event, **defaults)


@given(event=events(), lie=st.none() | st.integers() | st.text())
def test_what_an_event_works_out_is_not_read(event: FlowRunEvent, lie: object) -> None:
    """Time, level and message of kinds that work them out are worked out anew, not believed."""
    worked_out = derived(type(event))
    assert decode_event(json.dumps(written(event) | dict.fromkeys(worked_out, lie))) == event
    left_out = {name: value for name, value in written(event).items() if name not in worked_out}
    assert decode_event(json.dumps(left_out)) == event


def test_each_kind_was_recorded() -> None:
    """The recorded lines have every kind."""
    assert {type(decode_event(line)) for line in RECORDED} == set(KINDS)


@pytest.mark.parametrize("line", RECORDED, ids=lambda line: json.loads(line)["kind"])
def test_what_the_first_version_wrote_is_still_read(line: bytes) -> None:
    """A recorded event is read, and written again it says at least what it said then."""
    assert subset(json.loads(line), written(decode_event(line)))


def subset(part: Any, whole: Any) -> bool:
    """Whether all that one JSON says is said by another, which may have more fields."""
    match part, whole:
        case dict(), dict():
            return all(name in whole and subset(part[name], whole[name]) for name in part)
        case list(), list():
            return len(part) == len(whole) and all(map(subset, part, whole))
        case _:
            return bool(part == whole)


# -- what cannot be read ------------------------------------------------------------------------

UNREADABLE: dict[str, tuple[bytes | str, str]] = {
    "nothing": (b"", "truncated"),
    "cut off": (encode_event(LOG)[:-20], "truncated"),
    "no JSON": (b"INFO a line", "malformed"),
    "two events": (encode_event(LOG) * 2, "trailing"),
    "a list": (b"[]", "got `array`"),
    "no kind": (b"{}", "missing required field `kind`"),
    "a kind of later": (
        b'{"kind":"heartbeat"}',
        "'heartbeat'.*use the version of rxflow that wrote",
    ),
    "a code of later": (
        json.dumps(BY_KIND["notice"] | {"code": "sunny"}),
        "'sunny' - at `\\$.code`.*use the version of rxflow that wrote",
    ),
    "a field is missing": (b'{"kind":"run-seen","flow_run_id":"r"}', "`run`"),
    "a time without a zone": (
        encode_event(LOG).replace(b"00Z", b"00"),
        "RFC3339 encoded string with a timezone|timezone",
    ),
    "a wrong type": (encode_event(LOG).replace(b":20,", b':"20",'), "at `\\$.level`"),
    "not UTF-8": (encode_event(LOG).replace(b"a line", b"\xff"), "utf-8"),
    "half a pair": (encode_event(LOG).decode().replace("a line", "\ud800"), "surrogates"),
    "too deep": (
        json.dumps(BY_KIND["run-seen"]).replace('"2026-11-21"', "[" * 100_000),
        "recursion",
    ),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_cannot_be_read_is_an_error_that_says_why(case: str) -> None:
    """Whatever is wrong with a text, the error is one of ours and a ValueError, and says where."""
    data, reason = UNREADABLE[case]
    with pytest.raises(
        InvalidEvent, match=rf"^This cannot be read as an event: .*({reason})"
    ) as it:
        decode_event(data)
    assert isinstance(it.value, RxflowError)
    assert isinstance(it.value, ValueError)
    assert it.value.__cause__ is not None
    assert len(str(it.value)) < 400


@given(event=events(), cut=st.integers(min_value=0))
def test_a_piece_of_an_event_is_no_event(event: FlowRunEvent, cut: int) -> None:
    """The JSON of an event that was cut off anywhere is never taken for an event."""
    encoded = encode_event(event)
    with pytest.raises(InvalidEvent):
        decode_event(encoded[: cut % len(encoded)])


@given(data=st.binary() | st.text())
def test_no_text_raises_anything_else(data: bytes | str) -> None:
    """Whatever is read, it is an event or InvalidEvent."""
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
    """docs/events.schema.json is what the structs make it."""
    fresh = event_schema.written(event_schema.event_schema())
    stale = f"docs/events.schema.json is out of date; write it with `{event_schema.COMMAND}`"
    assert event_schema.FILE.read_text("utf-8") == fresh, stale


def test_the_schema_is_one() -> None:
    """The schema is valid by the draft that it names."""
    assert SCHEMA["$schema"] == jsonschema.Draft202012Validator.META_SCHEMA["$id"]
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@given(event=events())
def test_every_event_is_valid(event: FlowRunEvent) -> None:
    """What is written of an event is valid by the schema, and by the part of its own kind alone."""
    found = written(event)
    VALIDATOR.validate(found)
    for kind in KINDS:
        assert VALIDATORS[kind].is_valid(found) is (type(event) is kind)


@each_kind
def test_the_schema_knows_each_field(kind: type[FlowRunEvent]) -> None:
    """A kind's part describes each field, and requires what is derived and what has no default."""
    part = SCHEMA["$defs"][kind.__name__]
    fields = msgspec.structs.fields(kind)
    assert set(part["properties"]) == {"kind", *kind.__struct_fields__} | derived(kind)
    assert [name for name, value in part["properties"].items() if not value["description"]] == []
    required = {field.name for field in fields if field.required}
    assert set(part["required"]) == {"kind"} | required | derived(kind)


# -- the document -------------------------------------------------------------------------------

SECTIONS = {
    title.partition(":")[0]: text
    for title, text in re.findall(r"(?ms)^## (.+?)\n(.*?)(?=^## |\Z)", DOCUMENT)
}
OF_ALL = {"kind", "flow_run_id", "late"}


def test_the_document_has_an_example_of_each_kind() -> None:
    """docs/events.md has one example of every kind, in the order of the union."""
    assert [example["kind"] for example in EXAMPLES] == [
        kind.__struct_config__.tag for kind in KINDS
    ]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["kind"])
def test_the_examples_are_what_is_written(example: dict[str, Any]) -> None:
    """Each example, read as an event, is written as it stands there, and is valid."""
    assert written(decode_event(json.dumps(example))) == example
    VALIDATOR.validate(example)


WRONG: dict[str, dict[str, Any]] = {
    "another kind": {"kind": "heartbeat"},
    "a level as text": {"level": "INFO"},
    "a message of null": {"message": None},
    "a time as a number": {"timestamp": 1795312800},
    "an id as a number": {"flow_run_id": 7},
}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["kind"])
def test_the_schema_refuses_what_is_wrong(example: dict[str, Any]) -> None:
    """JSON that says something of another type, or does not say what is required, is not valid."""
    for wrong in WRONG.values():
        assert not VALIDATOR.is_valid(example | wrong)
    kind = type(decode_event(json.dumps(example)))
    for name in SCHEMA["$defs"][kind.__name__]["required"]:
        assert not VALIDATOR.is_valid({key: example[key] for key in example if key != name})


DESCRIBED = [kind.__name__ for kind in KINDS] + ["FlowRun", "State", "TaskRun", "Snapshot"]


@pytest.mark.parametrize("name", DESCRIBED)
def test_the_document_names_each_field_and_its_type(name: str) -> None:
    """A section's table has the fields of its struct with the types that they have in JSON."""
    cells = re.findall(r"(?m)^\| `(\w+)` \| (.+?) \| (.+?) \|$", SECTIONS[name])
    properties = SCHEMA["$defs"][name]["properties"]
    of_all = OF_ALL if name in {kind.__name__ for kind in KINDS} else set()
    expected = {key: shown(value) for key, value in properties.items() if key not in of_all}
    assert {field: kind for field, kind, _ in cells} == expected


def shown(part: dict[str, Any]) -> str:
    """A type of the schema, as the document calls it."""
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


def test_the_document_names_each_code() -> None:
    """The codes of notices are those that there are."""
    codes = re.findall(r"(?m)^\| `([a-z-]+)` \| [^|]+ \|$", SECTIONS["Notice"])
    assert codes == list(rxflow.NoticeCode)
