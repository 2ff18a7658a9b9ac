"""Results of task runs: files of this machine, read if they are JSON or text.

Nothing is unpickled here, ever: that would run whatever the file says.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from rxflow._model import StoredResult
from rxflow.errors import ResultUnavailable, ResultUnreadable

_ENCODED = "__class__"  # under this key Prefect's JSON names what only Prefect can make again


def load(task_run_id: str, stored: StoredResult) -> Any:
    """Read a result.

    Args:
        task_run_id: Whose it is.
        stored: Where it is.

    Raises:
        ResultUnavailable: It was not kept, or is not on this machine.
        ResultUnreadable: It is kept elsewhere, or neither as JSON nor as text.
    """
    if stored.location is None:
        raise ResultUnavailable(
            f"The result of task run {task_run_id} was not kept; with Prefect 3, `persist_result` "
            "has it kept"
        )
    where = f"The result of task run {task_run_id} is at {stored.location!r}"
    if stored.storage is not None or not Path(stored.location).is_absolute():
        raise ResultUnreadable(
            f"{where} in {stored.storage or 'a storage that is not known here'}; Prefect reads it "
            "there, with `state.result()`"
        )
    if stored.form not in {"json", "text"}:
        raise ResultUnreadable(
            f"{where}, written by the serializer {stored.form!r}; only JSON and text are read "
            "here, and Prefect's `state.result()` reads it"
        )
    try:
        content = Path(stored.location).read_bytes()
    except OSError as error:
        raise ResultUnavailable(
            f"{where}, which cannot be read on this machine: {error}"
        ) from error
    try:
        return content.decode() if stored.form == "text" else _json(content)
    except (ValueError, RecursionError, _NotPlain) as error:
        raise ResultUnreadable(
            f"{where}, and is no plain JSON or text ({error}); Prefect's `state.result()` reads it"
        ) from error


class _NotPlain(Exception):
    """JSON that stands for something else than JSON."""


def _json(content: bytes) -> Any:
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
