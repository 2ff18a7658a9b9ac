"""Which task run is meant: by id or by slug, as a view is asked for one."""

from collections.abc import Callable, Mapping

from rxflow._models.arguments import canonical_id
from rxflow._protocol.pages import Poll
from rxflow._views.task_run_lookups import TaskRunRead, read_task_run_by_id, read_task_run_by_slug
from rxflow.client import Client

TaskRunSelector = Callable[[Client], Callable[[int], Poll[TaskRunRead]]]
"""Makes the poll that picks a task run, for the server of a client."""


def select_task_run(
    flow_run_id: str | None,
    task_slug: str | None = None,
    task_run_id: str | None = None,
    map_index: int | None = None,
    known: Mapping[str, str | None] | None = None,
) -> TaskRunSelector:
    """Say which task run is meant.

    Args:
        flow_run_id: The flow run that it must belong to, if any.
        task_slug: What its task goes by.
        task_run_id: Its id, which goes before the slug.
        map_index: Which of the runs of its task.
        known: The state ids of task runs whose states need not be read again.

    Raises:
        ValueError: Neither slug nor id were given.
        TypeError: The id is no text.
    """
    if task_run_id is not None or flow_run_id is None:
        wanted = canonical_id(task_run_id, "task run", only_text=True)
        return lambda client: (
            lambda limit: read_task_run_by_id(
                flow_run_id,
                wanted,
                limit,
                slug=task_slug,
                map_index=map_index,
                names=client.task_names,
                known=known or {},
            )
        )
    if task_slug is None:
        raise ValueError("Say which task run: pass its `task_run_id`, or the `task_slug`")
    return lambda client: (
        lambda limit: read_task_run_by_slug(
            flow_run_id, task_slug, map_index, limit, names=client.task_names, known=known or {}
        )
    )
