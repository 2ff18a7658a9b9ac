"""Views: the API that Prefect 1 had, thin over snapshots and a client.

What they ask is in `_lookups.py`; a blocking method and its twin differ by two lines.
"""

from rxflow._views.flow_run_view import FlowRunView
from rxflow._views.flow_view import FlowView
from rxflow._views.task_run_view import TaskRunView

__all__ = ["FlowRunView", "FlowView", "TaskRunView"]
