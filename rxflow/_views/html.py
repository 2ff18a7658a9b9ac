"""Render a flow run as HTML, for notebooks."""

from html import escape

from rxflow._models.entities import Snapshot


def table_of(snapshot: Snapshot) -> str:
    """Render a snapshot as a table; all values are escaped, since they are user input."""
    run, state = snapshot.run, snapshot.state
    fields = {
        "Flow run": f"{run.name} ({run.id})",
        "State": state.name if state else "none yet",
        "Message": (state.message if state else None) or "",
        "Labels": ", ".join(run.tags),
        "Started": run.start_time or "",
        "Ended": run.end_time or "",
        "Task runs known": len(snapshot.task_runs),
    }
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>"
        for name, value in fields.items()
    )
    return f"<table>{rows}</table>"
