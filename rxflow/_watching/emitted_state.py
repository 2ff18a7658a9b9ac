"""What a watch must know of the events that were emitted, as fields: to save, and to go on from.

It is what remains of the events in bounded memory. Each module says in `record_emitted` what it
must know of them; here is only the sum of that, which `RunWatch.save_emitted` returns and
`RunWatch.load_emitted` takes. How it is stored does not belong here.
"""

import msgspec
from msgspec.structs import replace

from rxflow._logs.cursor import CursorState
from rxflow._models.states import State
from rxflow._watching.event_order import OrderState
from rxflow._watching.past_outage import PastOutage
from rxflow._watching.run_notices import NoticesState
from rxflow._watching.task_run_ledger import TaskRunsState
from rxflow.events import (
    Closed,
    FlowRunEvent,
    FlowRunLog,
    NoticeCode,
    RunChanged,
    RunSeen,
    StateChange,
    TaskRunStateChange,
)


class EmittedState(msgspec.Struct, frozen=True, kw_only=True):
    """What a watch of one run must know of the events that were emitted.

    Attributes:
        order: Their order, their number, and the snapshot that they fold to.
        logs: Which log rows they have.
        last_lines: Those of them that may be the run's own last line.
        last_state: The state that the run entered last, as far as reopenings are concerned.
        notices: What the notices were about.
        task_runs: Which states of task runs they have.
        outage: The last outage that notices among them report.
        closed: The last of them, if it is `Closed`.
        gone: What the last of them before that says, if it is the notice that the run is gone.
        root: The root of the run, whose subflow it is; None if that is the run itself.
    """

    order: OrderState
    logs: CursorState
    last_lines: tuple[FlowRunLog, ...] = ()
    last_state: State | None = None
    notices: NoticesState
    task_runs: TaskRunsState
    outage: PastOutage | None = None
    closed: Closed | None = None
    gone: NoticeCode | None = None
    root: str | None = None


def known_events(state: EmittedState) -> list[FlowRunEvent]:
    """Return events that fold to the snapshot of those that were emitted.

    The last is `Closed` if it was the last of those.
    """
    view = state.order.view
    if view is None:
        return []
    run = view.run
    first = replace(run, state=None, state_id=None) if view.states else run
    tasks = [(task, task.state or run.state) for task in view.task_runs]
    events: list[FlowRunEvent] = [
        RunSeen(flow_run_id=run.id, run=first),
        *(StateChange(flow_run_id=run.id, id=each.id, state=each) for each in view.states),
        *(
            TaskRunStateChange(flow_run_id=run.id, id=each.id, task_run=task, state=each)
            for task, each in tasks
            if each is not None
        ),
        RunChanged(flow_run_id=run.id, run=run),
    ]
    if state.closed is not None:
        events.append(state.closed)
    return events if state.root is None else [replace(event, root=state.root) for event in events]
