"""Which runs are meant, from the arguments of the functions that users call.

Belongs here: checks of the filters that listing runs, watching them and waiting for them have in
common. What a filter finds is up to the server.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TypeVar, cast
from uuid import UUID

from rxflow._models.arguments import canonical_id, check_type, optional_utc_time, text_of
from rxflow._models.states import StateType
from rxflow._protocol.queries import RunFilter

T = TypeVar("T")

Texts = str | Iterable[str]
"""One text or several."""

Ids = str | UUID | Iterable[str | UUID]
"""One id, or one name, or several."""

_TYPES = {name: str(known) for known in StateType for name in (str(known), known.lower())}
_NAMED = ("Late", "Retrying", "AwaitingRetry", "AwaitingConcurrencySlot", "TimedOut", "Cached")
_NAMES = {spelt: known for known in _NAMED for spelt in (known.lower(), known.upper())}
_ALIKE = 0.85  # such as "CANCELED"


def run_filter_of(
    *,
    deployment: Ids | None = None,
    flow: Ids | None = None,
    tags: Iterable[str] | None = None,
    name: Texts | None = None,
    states: Texts | None = None,
    work_pool: Texts | None = None,
    started_after: datetime | None = None,
    parent: Ids | None = None,
) -> RunFilter:
    """Build a filter of runs.

    Args:
        deployment: As in `rxflow.list_flow_runs`, and so are the others.
        flow: The same.
        tags: The same.
        name: The same.
        states: The same.
        work_pool: The same.
        started_after: The same.
        parent: The same.

    Raises:
        InvalidRunId: A parent is not a UUID.
        TypeError: An argument is of another type, such as one tag in place of several.
        ValueError: An argument has no values, a name is empty, a deployment is neither an id nor
            ``flow/name``, a state is misspelt, or ``started_after`` has no time zone.
    """
    deployments = _values("deployment", deployment, _deployment)
    flows = _values("flow", flow, _flow)
    types_and_names = _values("states", states, _state)
    return RunFilter(
        deployment_ids=tuple(each for each in deployments if isinstance(each, str)),
        deployment_names=tuple(each for each in deployments if isinstance(each, tuple)),
        flow_ids=tuple(value for is_id, value in flows if is_id),
        flow_names=tuple(value for is_id, value in flows if not is_id),
        tags=_tags(tags),
        names=_values("name", name, _name("name", "nightly")),
        state_types=tuple(value for is_type, value in types_and_names if is_type),
        state_names=tuple(value for is_type, value in types_and_names if not is_type),
        work_pools=_values("work_pool", work_pool, _name("work_pool", "kubernetes")),
        started_after=optional_utc_time("started_after", started_after),
        parent_ids=_values("parent", parent, lambda value: canonical_id("parent", value)),
    )


def _values(name: str, given: object, read: Callable[[object], T]) -> tuple[T, ...]:
    """Read one value or several, each once, in their order; None is no filter."""
    if given is None:
        return ()
    if isinstance(given, str | bytes | UUID) or not isinstance(given, Iterable):
        return (read(given),)
    several = cast("Iterable[object]", given)
    if hasattr(several, "model_dump"):  # Prefect's models, which are iterable: over their fields
        raise TypeError(
            f"{name} is a {type(several).__name__} of Prefect's; pass its id, its name or its type "
            "as text"
        )
    values = dict.fromkeys(map(read, several))
    if not values:
        raise ValueError(f"{name}={given!r} has no values; pass one or several, or None for any")
    return tuple(values)


def _tags(tags: Iterable[str] | None) -> tuple[str, ...]:
    """Read tags; of an empty list every run has all."""
    if isinstance(tags, str):
        raise TypeError(f"tags={tags!r} is text; pass a list of tags: [{tags!r}]")
    given = () if tags is None else tags
    check_type("tags", given, Iterable, "a list of tags, such as ['prod']")
    return tuple(dict.fromkeys(map(_name("tags", "prod"), given)))


def _name(name: str, example: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        text = str.__str__(text_of(name, value, example))
        if not text.strip():
            raise ValueError(f"{name}={text!r} is empty; pass text such as {example!r}")
        return text

    return read


def _id(value: object) -> str | None:
    """Return a value as an id if it is one."""
    try:
        return canonical_id("", value)
    except ValueError:
        return None


def _deployment(value: object) -> str | tuple[str, str]:
    """Read the id of a deployment, or its name below that of its flow."""
    if (known := _id(value)) is not None:
        return known
    text = _name("deployment", "report/nightly")(value)
    flow, slash, name = text.partition("/")
    example = "report/nightly" if slash else f"report/{text}"
    if not (slash and flow.strip() and name.strip()) or "/" in name:
        raise ValueError(
            f"deployment={text!r} is neither an id nor the name of a deployment, which has that of "
            f"its flow before it; pass one such as {example!r}"
        )
    return flow, name


def _flow(value: object) -> tuple[bool, str]:
    """Read the id of a flow or its name, and which of them it is."""
    known = _id(value)
    return (True, known) if known is not None else (False, _name("flow", "report")(value))


def _state(value: object) -> tuple[bool, str]:
    """Read the type of a state or a state's name, and whether it is a type.

    A name is free text. One that looks like a misspelt type is refused, since it would match no
    run, without an error.
    """
    text = _name("states", "RUNNING")(value)
    if text in _TYPES:
        return True, _TYPES[text]
    if text in _NAMES:
        return False, _NAMES[text]
    from difflib import get_close_matches  # noqa: PLC0415 - takes 0.5 ms to import

    known = [str(each) for each in StateType]
    if text.upper() not in known and (alike := get_close_matches(text.upper(), known, 1, _ALIKE)):
        raise ValueError(
            f"states={text!r} is neither a type of states nor one of their names; pass a type such "
            f"as {alike[0]!r}, of {', '.join(known)}, or a name as the server shows it, such as "
            "'Late'"
        )
    return False, text
