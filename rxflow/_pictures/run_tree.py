"""The tree of a flow run: the run, its task runs and subflows, to any depth, as they were read.

A subflow stands where the task run would stand that its parent made for it. Nothing here recurses,
so that no depth of subflows is too much.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from rxflow._models.entities import FlowRun, TaskRun
from rxflow._models.states import State


class RunNode(msgspec.Struct, frozen=True, kw_only=True):
    """A flow run or a task run, and what it started.

    Attributes:
        kind: Which of the two.
        id: Its id.
        name: Its name.
        flow_name: The name of its flow, if it is a flow run and the flow was read.
        state: Its state; None if it has none yet.
        states: All its states, by time; empty if they were not read.
        created: When its row was created.
        due: When it was to start, if that is known.
        start: When it first ran; None if it has not.
        end: When it entered a terminal state; None if it has not.
        run_count: How often it ran; 0 where the server does not count that.
        children: Its task runs and subflows, by their start.
    """

    kind: Literal["flow run", "task run"]
    id: str
    name: str
    flow_name: str | None = None
    state: State | None = None
    states: tuple[State, ...] = ()
    created: datetime
    due: datetime | None = None
    start: datetime | None = None
    end: datetime | None = None
    run_count: int = 0
    children: "tuple[RunNode, ...]" = ()

    @property
    def is_terminal(self) -> bool:
        """Whether it is over."""
        return self.state is not None and bool(self.state.is_terminal)

    @property
    def attempts(self) -> int:
        """How often it ran, by the server's count or by its states."""
        return max(self.run_count, sum(state.type == "RUNNING" for state in self.states))

    def lasted(self, now: datetime) -> timedelta | None:
        """Return how long it ran, pauses and retries included, up to now if it still does.

        None if it has not run.
        """
        if self.start is None:
            return None
        return max(timedelta(), (self.end or max(now, self.start)) - self.start)


class RunTree(msgspec.Struct, frozen=True, kw_only=True):
    """A flow run with all that it started, at one moment.

    Attributes:
        run: The run's row.
        root: The run, and what it started.
        now: When the rows were read, by the server's clock.
        unread: How many rows could not be read, and are left out.
        has_subflows: Whether the server knows which runs are subflows.
    """

    run: FlowRun
    root: RunNode
    now: datetime
    unread: int = 0
    has_subflows: bool = True

    def walk(self) -> "Iterator[Place]":
        """Yield each node with its place, parents before their children."""
        rest = [Place(node=self.root)]
        while rest:
            place = rest.pop()
            yield place
            children = place.node.children
            rest += (
                Place(node=child, lasts=(*place.lasts, number == len(children)))
                for number, child in reversed([*enumerate(children, 1)])
            )


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A node, and where in the tree it is.

    Attributes:
        node: The node.
        lasts: Of itself, and before it of each of its parents, whether no sibling follows; the root
            is left out.
    """

    node: RunNode
    lasts: tuple[bool, ...] = ()

    @property
    def depth(self) -> int:
        """How many runs are above it."""
        return len(self.lasts)


class RunRows(msgspec.Struct, frozen=True, kw_only=True):
    """The rows of one flow run of a tree.

    Attributes:
        run: Its row.
        flow_name: The name of its flow, if it was read.
        states: All its states.
        task_runs: All its task runs, those that stand for subflows included.
    """

    run: FlowRun
    flow_name: str | None = None
    states: tuple[State, ...] = ()
    task_runs: tuple[TaskRun, ...] = ()


def tree_root(rows: Sequence[RunRows], histories: Mapping[str, Sequence[State]]) -> RunNode:
    """Join the rows of a run and its subflows to a tree.

    Args:
        rows: Those of the root, then those of each subflow, after those of its parent. A subflow
            whose task run is not among its parent's is shown below the root.
        histories: By task run id all states of the task run, where they were read.
    """
    root_id = rows[0].run.id
    parents = {row.id: each.run.id for each in rows for row in each.task_runs}
    stand_ins = {each.run.parent_task_run_id for each in rows[1:]}
    subflows: defaultdict[str, list[RunNode]] = defaultdict(list)
    for each in reversed(rows[1:]):
        parent = parents.get(each.run.parent_task_run_id or "", root_id)
        subflows[parent].append(_run_node(each, subflows[each.run.id], stand_ins, histories))
    return _run_node(rows[0], subflows[root_id], stand_ins, histories)


def _run_node(
    rows: RunRows,
    subflows: Sequence[RunNode],
    stand_ins: set[str | None],
    histories: Mapping[str, Sequence[State]],
) -> RunNode:
    run = rows.run
    task_runs = [
        _task_node(row, histories.get(row.id, ()))
        for row in rows.task_runs
        if row.id not in stand_ins
    ]
    return RunNode(
        kind="flow run",
        id=run.id,
        name=run.name,
        flow_name=rows.flow_name,
        state=run.state,
        states=_sorted_states(rows.states),
        created=run.created,
        due=run.expected_start_time,
        start=run.start_time,
        end=run.end_time,
        run_count=run.run_count,
        children=tuple(sorted((*task_runs, *subflows), key=_begin)),
    )


def _task_node(row: TaskRun, states: Sequence[State]) -> RunNode:
    return RunNode(
        kind="task run",
        id=row.id,
        name=row.name,
        state=row.state,
        states=_sorted_states(states),
        created=row.created,
        due=row.expected_start_time,
        start=row.start_time,
        end=row.end_time,
        run_count=row.run_count,
    )


def _sorted_states(states: Sequence[State]) -> tuple[State, ...]:
    return tuple(sorted(states, key=lambda state: state.order))


def _begin(node: RunNode) -> tuple[datetime, datetime, str]:
    return node.start or node.due or node.created, node.created, node.id
