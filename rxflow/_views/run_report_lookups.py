"""Read what the report of a run shows, as a poll: its tree, then the log of each run of it."""

from rxflow._logs.full_read import read_all_logs
from rxflow._logs.log_read import LOG_ORDER
from rxflow._pictures.run_report import RunReport
from rxflow._protocol.pages import Poll
from rxflow._views.run_tree_lookups import read_run_tree
from rxflow.events import FlowRunLog


def read_run_report(flow_run_id: str, limit: int, *, subflows: bool = True) -> Poll[RunReport]:
    """Read a flow run with all that it started, and all their log lines.

    Args:
        flow_run_id: The flow run.
        limit: The most rows the server returns at once.
        subflows: Whether to read subflows, where the server knows which runs are.
    """
    tree = yield from read_run_tree(flow_run_id, limit, subflows=subflows)
    lines: list[FlowRunLog] = []
    unproven: list[str] = []
    unread = 0
    for place in tree.walk():
        if place.node.kind == "flow run":
            read = yield from read_all_logs(place.node.id, None, limit)
            lines += read.rows
            unread += len(read.malformed)
            if not read.proven:
                unproven.append(place.node.name)
    return RunReport(
        tree=tree,
        lines=tuple(sorted(lines, key=LOG_ORDER)),
        unread=unread,
        unproven=tuple(unproven),
    )
