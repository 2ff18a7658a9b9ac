"""Cache the finished task runs of a flow run view until they change."""

from typing import Self

from rxflow._views.map_indexes import TaskRunRead
from rxflow._views.task_run_view import TaskRunView
from rxflow.client import Client


class TaskRunCache:
    """Views of finished task runs, by their ids.

    The parent of mapped task runs is not cached: one of its children may run again, which the
    parent's own row does not show.
    """

    def __init__(self, client: Client | None) -> None:
        """Start empty.

        Args:
            client: The client that the views read with.
        """
        self._client = client
        self._views: dict[str, TaskRunView] = {}

    @property
    def known_states(self) -> dict[str, str | None]:
        """By task run id, the state ids of the cached task runs whose states were all read."""
        views = tuple(self._views.values())
        return {view.task_run_id: view.task_run.state_id for view in views if view.has_history}

    def add(self, view: TaskRunView) -> TaskRunView:
        """Cache a view if its task run is finished, and return it."""
        state = view.state
        if state is not None and state.is_terminal and not state.is_mapped:
            self._views[view.task_run_id] = view
        return view

    def view_of(self, read: TaskRunRead) -> TaskRunView:
        """Return the cached view if its task run has not changed, else a new one."""
        cached = self._views.get(read.row.id)
        if cached is not None and _is_current(cached, read):
            return cached
        view = TaskRunView.of(read, client=self._client)
        return self.add(cached.carry_over(view) if cached is not None else view)

    def copy(self) -> Self:
        """Return a cache with the same views, for a later view of the flow run."""
        copy = type(self)(self._client)
        copy._views.update(self._views)  # noqa: SLF001 - the same class
        return copy


def _is_current(view: TaskRunView, read: TaskRunRead) -> bool:
    if view.task_run != read.row or view.map_index != read.map_index:
        return False
    return read.states is None or view.has_history
