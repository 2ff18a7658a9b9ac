"""What a stream of events says of its runs: whether all are over, and which have fallen silent."""

from rxflow._models.states import State
from rxflow.events import Closed, RunChanged, RunSeen, StateChange


def state_of(event: object) -> State | None:
    """The state that an event says its run is in; None if it says nothing of it."""
    match event:
        case StateChange() | Closed():
            return event.state
        case RunSeen() | RunChanged():
            return event.run.state
        case _:
            return None
