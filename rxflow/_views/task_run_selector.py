"""Select one task run, by its id or by the slug of its task, and make the poll that reads it."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from uuid import UUID

from rxflow._models.arguments import canonical_id, text_of, whole_number
from rxflow._protocol.pages import Poll
from rxflow._views.map_indexes import TaskRunRead
from rxflow._views.task_run_lookups import read_task_run_by_id, read_task_run_by_slug
from rxflow.client import Client

TaskRunSelector = Callable[[Client], Callable[[int], Poll[TaskRunRead]]]
"""Makes the poll that reads the selected task run; the client knows the other names of a task."""

_NONE_KNOWN: Mapping[str, str | None] = MappingProxyType({})


def select_task_run(
    flow_run_id: str | None,
    task_slug: str | None = None,
    task_run_id: str | UUID | None = None,
    map_index: int | None = None,
    known: Mapping[str, str | None] = _NONE_KNOWN,
) -> TaskRunSelector:
    """Select a task run by its id or, without one, by its task's slug.

    Args:
        flow_run_id: The flow run that it must belong to, if any; without one an id is needed.
        task_slug: The slug of its task; with an id, it must match.
        task_run_id: Its id, a UUID.
        map_index: Which of the runs of its task; with an id, it must match.
        known: By task run id, the state ids of those whose states need not be read again.

    Raises:
        ValueError: Neither a slug nor an id is given.
        TypeError: The id is neither text nor a UUID, the slug is not text, or the map index is not
            a whole number.
        InvalidRunId: The id is not a UUID.
    """
    if map_index is not None:
        map_index = whole_number("map_index", map_index)
    if task_slug is not None:
        text_of("task_slug", task_slug, "load-1")
    if task_run_id is not None or flow_run_id is None:
        by_id = partial(
            read_task_run_by_id,
            flow_run_id,
            canonical_id("task_run_id", task_run_id, type_error=True),
            slug=task_slug,
            map_index=map_index,
            known=known,
        )
        return lambda client: partial(by_id, names=client.task_names)
    if task_slug is None:
        raise ValueError("No task run is selected; pass its `task_run_id` or a `task_slug`")
    by_slug = partial(read_task_run_by_slug, flow_run_id, task_slug, map_index, known=known)
    return lambda client: partial(by_slug, names=client.task_names)
