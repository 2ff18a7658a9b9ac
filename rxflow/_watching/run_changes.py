"""The events that follow from the difference between two reads of a run's row and its states.

Pure functions over rows. Which row was emitted before is kept in `run_reader`; when the events are
emitted is decided in `event_order`.
"""

from msgspec.structs import replace

from rxflow._models.entities import FlowRun
from rxflow._models.states import State
from rxflow._watching.watch_spec import EventSource
from rxflow.events import RunChanged, StateChange


def first_row(run: FlowRun, sources: frozenset[EventSource]) -> FlowRun:
    """Return the row that `RunSeen` carries.

    Where states are streamed it has no state yet, because the `StateChange` events add it.
    """
    if EventSource.STATES not in sources:
        return run
    return replace(run, state=None, state_id=None)


def state_and_row_events(
    known: FlowRun, run: FlowRun, states: tuple[State, ...]
) -> list[StateChange | RunChanged]:
    """Return the events that lead from a known row to the one that was read.

    Args:
        known: The row as the events emitted so far describe it.
        run: The row that was read.
        states: The states that are not recorded as delivered, sorted.
    """
    events: list[StateChange | RunChanged] = [
        StateChange(flow_run_id=run.id, id=state.id, state=state) for state in states
    ]
    if states:
        known = replace(known, state=states[-1], state_id=states[-1].id)
    if run != known:
        events.append(RunChanged(flow_run_id=run.id, run=run))
    return events


def is_heartbeat(known: FlowRun, run: FlowRun) -> bool:
    """Whether the row was only written again: its time of update is new, and nothing else."""
    return run != known and run == replace(known, updated=run.updated)
