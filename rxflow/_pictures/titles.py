"""What pictures say of a run in words: its title, its state, how long it took."""

from datetime import datetime, timedelta

from rxflow._models.durations import short_duration
from rxflow._pictures.run_tree import RunNode, RunTree


def title_of(node: RunNode) -> str:
    """Return the name of a node, with that of its flow before it; not escaped."""
    return node.name if node.flow_name is None else f"{node.flow_name} / {node.name}"


def state_name_of(node: RunNode) -> str:
    """Return the name of a node's state; not escaped."""
    return node.state.name if node.state is not None else "no state"


def duration_of(node: RunNode, now: datetime) -> str:
    """Return how long a node ran, or "" if it has not."""
    lasted = node.lasted(now)
    return "" if lasted is None else short_duration(lasted)


def attempts_of(node: RunNode) -> str:
    """Return how often a node ran, or "" if not more than once."""
    return f"{node.attempts} runs" if node.attempts > 1 else ""


def waited_of(node: RunNode, now: datetime) -> timedelta | None:
    """Return for how long a node that has not run has waited since it was due; None if it ran."""
    if node.start is not None or node.is_terminal:
        return None
    waited = now - (node.due or node.created)
    return waited if waited > timedelta() else None


def remarks_on(tree: RunTree) -> tuple[str, ...]:
    """Return sentences on what a picture of a tree lacks."""
    remarks: list[str] = []
    if tree.unread:
        rows = "1 row" if tree.unread == 1 else f"{tree.unread} rows"
        remarks.append(f"{rows} of the server could not be read; left out here")
    if not tree.has_subflows:
        remarks.append("Prefect 1 does not know which runs are subflows, so none are shown")
    return tuple(remarks)
