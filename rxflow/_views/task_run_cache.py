"""The task runs that a view of a flow run keeps: those that are finished, until they change."""

from typing import Self

from rxflow._views.task_run_lookups import TaskRunRead
from rxflow._views.task_run_view import TaskRunView
from rxflow.client import Client


class TaskRunCache:
    """Views of finished task runs, by their ids.

    The parent of mapped task runs is not kept: one of those may run again, and the parent's own row
    would not show it.
    """

    def __init__(self, client: Client | None) -> None:
        """Keep none yet.

        Args:
            client: The server that the views ask.
        """
        self._client = client
        self._views: dict[str, TaskRunView] = {}

    @property
    def known(self) -> dict[str, str | None]:
        """The state ids of those whose states were all read, by the ids of the task runs."""
        views = tuple(self._views.values())
        return {view.task_run_id: view.task_run.state_id for view in views if view.has_history}

    def keep(self, view: TaskRunView) -> TaskRunView:
        """Keep a view, if its task run is finished."""
        state = view.state
        if state is not None and state.is_terminal and not state.is_mapped:
            self._views[view.task_run_id] = view
        return view

    def view_of(self, read: TaskRunRead) -> TaskRunView:
        """The view of a task run: the one there was if it is finished and has not changed."""
        kept = self._views.get(read.row.id)
        same = kept is not None and kept.task_run == read.row and kept.map_index == read.map_index
        if kept is not None and same and (read.states is None or kept.has_history):
            return kept
        view = TaskRunView.of(read, client=self._client)
        return self.keep(kept.hand_on(view) if kept is not None else view)

    def handed_on(self) -> Self:
        """The same for a later view of the flow run."""
        others = type(self)(self._client)
        others._views.update(self._views)  # noqa: SLF001 - one of our own
        return others
