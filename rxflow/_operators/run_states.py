"""The state of a run that an event reports, for the machines that follow runs."""

from rxflow._models.states import State
from rxflow.events import Closed, RunChanged, RunSeen, StateChange


def reported_state(event: object) -> State | None:
    """Return the state that an event reports its run to be in; None if it reports none."""
    match event:
        case StateChange() | Closed():
            return event.state
        case RunSeen() | RunChanged():
            return event.run.state
        case _:
            return None
