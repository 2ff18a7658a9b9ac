"""The views: Prefect 1's API over snapshots and a client.

A thin import path: the classes and the polls that they read with are in `_views`.
"""

from rxflow._pictures.timeline import Timeline
from rxflow._views.flow_run_list import alist_flow_runs, list_flow_runs
from rxflow._views.flow_run_view import FlowRunView
from rxflow._views.flow_view import FlowView
from rxflow._views.task_run_view import TaskRunView

__all__ = [
    "FlowRunView",
    "FlowView",
    "TaskRunView",
    "Timeline",
    "alist_flow_runs",
    "list_flow_runs",
]
