"""Calls of views that Prefect 1.4.1 and rxflow share, and their results as JSON.

It imports neither library and runs on the Python 3.9 of the one as on that of the other: the views
are arguments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"


class SeedCalls:
    """The calls on one library's views."""

    def __init__(self, views: Any, kind: Callable[[Any], str]) -> None:
        """Call nothing yet.

        Args:
            views: An object with the three view classes as attributes, each bound to a server.
            kind: Returns the class name of a state, of a storage or of a run configuration.
        """
        self._views = views
        self._kind = kind

    def results(self, run_id: str, group_id: str) -> dict[str, Any]:
        """Read a flow run, its task runs and flows in every way, and return the results by name.

        Args:
            run_id: The flow run, with mapped task runs of the slug ``load-1``.
            group_id: The flow group.
        """
        run = self._views.FlowRunView.from_flow_run_id(run_id)
        ids = sorted(run.get_task_run_ids())
        return {
            "run": self._run(run),
            "ids": ids,
            "all": sorted(each.task_run_id for each in run.get_all_task_runs()),
            "by id": [self._task_run(run.get_task_run, task_run_id=each) for each in ids],
            "by slug": self._by_slug(run),
            "mismatch": [
                self._task_run(run.get_task_run, "wrong", ids[0]),
                self._task_run(run.get_task_run, None, ids[0], 99),
            ],
            "latest": self._run(run.get_latest(load_static_tasks=True)),
            "flows": self._flows(run, group_id),
        }

    def _run(self, run: Any) -> dict[str, Any]:
        return {
            "id": run.flow_run_id,
            "name": run.name,
            "flow": run.flow_id,
            "labels": list(run.labels),
            "parameters": dict(run.parameters),
            "context": dict(run.context),
            "run_config": self._kind(run.run_config),
            "state": [self._kind(run.state), run.state.message],
            "states": [[self._kind(each), each.message] for each in run.states],
            "updated": run.updated_at.timestamp(),
            "logs": [[log.timestamp.timestamp(), log.level, log.message] for log in run.get_logs()],
        }

    def _by_slug(self, run: Any) -> list[Any]:
        arguments: list[tuple[Any, ...]] = [
            ("load-1",),
            ("load-1", None, -1),
            ("load-1", None, 0),
            ("load-1", None, 2),
            ("load-1", None, 7),
            ("other-1", None, 0),
            ("load",),
            (None, UNKNOWN_ID),
            (None, 17),
            (),
        ]
        return [self._task_run(run.get_task_run, *each) for each in arguments]

    def _task_run(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        view = _result(method, *args, **kwargs)
        if isinstance(view, str):
            return view
        return {
            "id": view.task_run_id,
            "task": [view.task_id, view.task_slug],
            "map_index": view.map_index,
            "flow_run": view.flow_run_id,
            "state": [self._kind(view.state), view.state.message],
            "children": _result(lambda: [each.task_run_id for each in view.iter_mapped()]),
            "result": _result(view.get_result),
            "result of the latest": _result(view.get_latest().get_result),
        }

    def _flows(self, run: Any, group_id: str) -> list[Any]:
        flows = self._views.FlowView
        ids = (run.flow_id, group_id, UNKNOWN_ID, 17)
        calls: list[tuple[Any, ...]] = [
            (run.get_flow_metadata,),
            *((flows.from_id, each) for each in ids),
            *((flows.from_flow_id, each) for each in ids),
            *((flows.from_flow_group_id, each) for each in ids),
            *((flows.from_flow_name, each) for each in ("etl", "unknown")),
            *((flows.from_flow_name, "etl", each) for each in ("sales", "ops", "unknown", None)),
            (flows.from_flow_name, "etl", "", True),
        ]
        return [self._flow(*each) for each in calls]

    def _flow(self, method: Callable[..., Any], *args: Any) -> Any:
        view = _result(method, *args)
        if isinstance(view, str):
            return view
        return {
            "id": view.flow_id,
            "name": view.name,
            "labels": list(view.flow_group_labels or ()),
            "settings": dict(view.settings),
            "archived": view.archived,
            "project": view.project_name,
            "core_version": view.core_version,
            "serialized": dict(view.serialized_flow),
            "storage": self._kind(view.storage),
            "run_config": self._kind(view.run_config),
        }


def _result(method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Return what a call returns, or the name of the error class that scripts catch."""
    try:
        return method(*args, **kwargs)
    except TypeError:
        return "TypeError"
    except ValueError:
        return "ValueError"
