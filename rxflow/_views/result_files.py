"""Results of task runs: values that a server keeps, and files of this machine in JSON or text.

Nothing is unpickled here, ever: that would run whatever the file says.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from rxflow._models.entities import BackendName
from rxflow._views.result_lookups import ResultRead
from rxflow.errors import ResultNotKept, ResultUnavailable, ResultUnreadable

_ENCODED = "__class__"  # under this key Prefect 3's JSON names what only Prefect can make again


class _Words(NamedTuple):
    """What to say of a backend.

    Attributes:
        reader: What reads results that are not read here.
        keeper: What has a result kept.
    """

    reader: str
    keeper: str


_OF: Mapping[BackendName, _Words] = {
    BackendName.PREFECT_3: _Words(
        reader="Prefect's `state.result()` reads it",
        keeper="with Prefect 3, `persist_result` has it kept",
    ),
    BackendName.PREFECT_1: _Words(
        reader="prefect 1.4.1's `TaskRunView.get_result` reads it, unless its class is your own",
        keeper="Prefect 1 keeps it if checkpointing is on and the task or its flow has a `result`",
    ),
}


def load(read: ResultRead) -> Any:
    """Read a result; that of the parent of mapped task runs is the list of theirs.

    Args:
        read: Where it is.

    Raises:
        ResultNotKept: It was not kept.
        ResultUnavailable: It is not on this machine.
        ResultUnreadable: It is kept elsewhere, or neither as JSON nor as text.
    """
    if read.children is not None:
        return [load(child) for child in read.children]
    stored, words = read.stored, _OF[read.backend]
    if stored.location is None:
        raise ResultNotKept(
            f"The result of task run {read.task_run_id} was not kept; {words.keeper}"
        )
    where = f"The result of task run {read.task_run_id} is at {stored.location!r}"
    if stored.form == "value":
        return _read(stored.form, stored.location.encode(), where, words)
    if stored.storage is not None or not Path(stored.location).is_absolute():
        raise ResultUnreadable(
            f"{where} in {stored.storage or 'a storage that is not known here'}; there "
            f"{words.reader}"
        )
    if stored.form not in {"json", "text", None}:
        raise ResultUnreadable(
            f"{where}, written by the serializer {stored.form!r}; only JSON and text are read "
            f"here, and {words.reader}"
        )
    try:
        content = Path(stored.location).read_bytes()
    except OSError as error:
        raise ResultUnavailable(
            f"{where}, which cannot be read on this machine: {error}"
        ) from error
    return _read(stored.form, content, where, words)


def _read(form: str | None, content: bytes, where: str, words: _Words) -> Any:
    try:
        match form:
            case "text":
                return content.decode()
            case "json":
                return _record(content)
            case _:
                # Where nobody says what it was written as: no pickle is JSON, since the last byte
                # of a pickle is a full stop.
                return json.loads(content.decode())
    except (ValueError, RecursionError, _NotPlain) as error:
        raise ResultUnreadable(
            f"{where}, and is no plain JSON or text ({error}); {words.reader}"
        ) from error


class _NotPlain(Exception):
    """JSON that stands for something else than JSON."""


def _record(content: bytes) -> Any:
    value = json.loads(content)
    match value:
        # What Prefect 3 writes: a record, which has the result as JSON in a string.
        case {"metadata": dict(), "result": str(written)} if len(value) == 2:
            value = json.loads(written)
        case _:
            pass
    _check_plain(value)
    return value


def _check_plain(value: Any) -> None:
    if isinstance(value, dict):
        entries = cast("dict[str, Any]", value)
        if _ENCODED in entries:
            raise _NotPlain(f"it has an object of {entries[_ENCODED]!r}")
        _check_all(entries.values())
    elif isinstance(value, list):
        _check_all(value)  # pyright: ignore[reportUnknownArgumentType]


def _check_all(values: Iterable[Any]) -> None:
    for value in values:
        _check_plain(value)
