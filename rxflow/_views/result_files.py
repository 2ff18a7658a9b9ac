"""Load results of task runs: values that the server stores, and local files in JSON or text.

Nothing is ever unpickled: unpickling runs whatever code the file names.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from rxflow._models.entities import BackendName
from rxflow._views.result_access import RefusedFile, ResultAccess, read_result_file
from rxflow._views.result_lookups import ResultRead
from rxflow.errors import (
    ResultFileNotFound,
    ResultNotKept,
    ResultUnavailable,
    ResultUnreadable,
)

_CLASS_KEY = "__class__"  # Prefect 3's JSON names under it a class that only Prefect can rebuild


class _Advice(NamedTuple):
    """What an error message advises, by backend.

    Attributes:
        reader: How to read a result that is not read here.
        persistence: How to have results kept.
    """

    reader: str
    persistence: str


_ADVICE: Mapping[BackendName, _Advice] = {
    BackendName.PREFECT_3: _Advice(
        reader="Prefect's `state.result()` reads it",
        persistence="Prefect 3 keeps it if `persist_result` is on",
    ),
    BackendName.PREFECT_1: _Advice(
        reader="prefect 1.4.1's `TaskRunView.get_result` reads it, unless its class is your own",
        persistence=(
            "Prefect 1 keeps it if checkpointing is on and the task or its flow has a `result`"
        ),
    ),
}


def load_result(read: ResultRead, access: ResultAccess) -> Any:
    """Load a result; that of the parent of mapped task runs is the list of its children's.

    Args:
        read: Where it is stored.
        access: Which files may be read.

    Raises:
        ResultNotKept: It was not kept.
        ResultFileNotFound: Its file is not on this machine.
        ResultUnavailable: Its file may not be read, or cannot be read.
        ResultUnreadable: It is stored elsewhere, or neither as JSON nor as text.
    """
    if read.children is not None:
        return [load_result(child, access) for child in read.children]
    stored, advice = read.stored, _ADVICE[read.backend]
    if stored.location is None:
        raise ResultNotKept(
            f"The result of task run {read.task_run_id} was not kept; {advice.persistence}"
        )
    place = f"The result of task run {read.task_run_id} is at {stored.location!r}"
    if stored.form == "value":
        return _decode(stored.form, stored.location.encode(), place, advice)
    if stored.storage is not None or not Path(stored.location).is_absolute():
        raise ResultUnreadable(
            f"{place} in {stored.storage or 'an unknown storage'}, which is not read here; "
            f"{advice.reader}"
        )
    if stored.form not in {"json", "text", None}:
        raise ResultUnreadable(
            f"{place}, written by the serializer {stored.form!r}; only JSON and text are read "
            f"here, and {advice.reader}"
        )
    try:
        content = read_result_file(stored.location, access)
    except RefusedFile as error:
        raise ResultUnavailable(f"{place}, {error}") from None
    except FileNotFoundError as error:
        raise ResultFileNotFound(f"{place}, which is not on this machine") from error
    except OSError as error:
        raise ResultUnavailable(
            f"{place}, which cannot be read on this machine: {error.strerror}"
        ) from error
    return _decode(stored.form, content, place, advice)


def _decode(form: str | None, content: bytes, place: str, advice: _Advice) -> Any:
    try:
        match form:
            case "text":
                return content.decode()
            case "json":
                return _decode_prefect3_json(content)
            case _:
                # Prefect 1 does not say how a file was written. JSON is safe to try: no pickle is
                # JSON, since the last byte of a pickle is a full stop.
                return json.loads(content.decode())
    except (ValueError, RecursionError, _NotPlainJson) as error:
        raise ResultUnreadable(
            f"{place}, and is no plain JSON or text ({error}); {advice.reader}"
        ) from error


class _NotPlainJson(Exception):
    """JSON that describes an object of a Python class."""


def _decode_prefect3_json(content: bytes) -> Any:
    """Decode what Prefect 3 writes: a record with the result as JSON in a string, or bare JSON."""
    value = json.loads(content)
    match value:
        case {"metadata": dict(), "result": str(result)} if len(value) == 2:
            value = json.loads(result)
        case _:
            pass
    _check_plain(value)
    return value


def _check_plain(value: Any) -> None:
    if isinstance(value, dict):
        entries = cast("dict[str, Any]", value)
        if _CLASS_KEY in entries:
            raise _NotPlainJson(f"it has an object of {entries[_CLASS_KEY]!r}")
        _check_all_plain(entries.values())
    elif isinstance(value, list):
        _check_all_plain(value)  # pyright: ignore[reportUnknownArgumentType]


def _check_all_plain(values: Iterable[Any]) -> None:
    for value in values:
        _check_plain(value)
