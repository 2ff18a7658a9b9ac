"""Show flow runs and task runs as tables of HTML, for notebooks."""

from collections.abc import Iterable, Mapping

from rxflow._markup import Markup, element, joined
from rxflow._models.durations import short_duration
from rxflow._models.entities import FlowRun, Snapshot, TaskRun
from rxflow._models.states import State
from rxflow._pictures.svg_timeline import COLOURS
from rxflow._pictures.time_bars import outcome_of
from rxflow._views.durations import duration

_MOST_STATES = 12


def run_table(snapshot: Snapshot) -> Markup:
    """Render a snapshot of a flow run."""
    run = snapshot.run
    counts = snapshot.task_run_counts.most_common()
    task_runs = ", ".join(f"{count} {str(kind).lower()}" for kind, count in counts)
    return _table(
        {
            "Flow run": f"{run.name} ({run.id})",
            **_state_fields(run.state, snapshot.states),
            "Labels": ", ".join(run.tags),
            **_time_fields(run),
            "Task runs known": f"{len(snapshot.task_runs)}{task_runs and f': {task_runs}'}",
        }
    )


def task_run_table(row: TaskRun, states: Iterable[State]) -> Markup:
    """Render a task run and its states."""
    return _table(
        {
            "Task run": f"{row.name} ({row.id})",
            **_state_fields(row.state, tuple(states)),
            **_time_fields(row),
        }
    )


def _state_fields(state: State | None, states: tuple[State, ...]) -> Mapping[str, str]:
    if state is None:
        return {"State": "none yet", "Message": "", "States": ""}
    left_out = "… > " if len(states) > _MOST_STATES else ""
    return {
        "State": _badge(state),
        "Message": state.message or "",
        "States": left_out + " > ".join(each.name for each in states[-_MOST_STATES:]),
    }


def _badge(state: State) -> Markup:
    colour = COLOURS[outcome_of(state)]
    dot = element("span", {"style": f"color: {colour}", "aria-hidden": "true"}, "●")
    return joined(dot, f" {state.name}")


def _time_fields(row: FlowRun | TaskRun) -> Mapping[str, str]:
    lasted = duration(row.start_time, row.end_time)
    return {
        "Started": str(row.start_time or ""),
        "Ended": str(row.end_time or ""),
        "Duration": "" if lasted is None else short_duration(lasted),
    }


def _table(fields: Mapping[str, str]) -> Markup:
    style = {"style": "text-align: left; white-space: pre-wrap"}
    return element(
        "table",
        {},
        *(
            element("tr", {}, element("th", style, name), element("td", style, value))
            for name, value in fields.items()
            if value
        ),
    )
