"""A flow run as HTML, for notebooks."""

from html import escape

from rxflow._models.entities import Snapshot


def table_of(snapshot: Snapshot) -> str:
    """Show what is known of a run as a table; names in it may be anybody's."""
    run, state = snapshot.run, snapshot.state
    shown = {
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
        for name, value in shown.items()
    )
    return f"<table>{rows}</table>"
