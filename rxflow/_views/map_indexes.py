"""Task runs as views read them, with their map index: which of the runs of its task each is.

Prefect 1 numbers the children of a mapped task run and gives their parent -1. Prefect 3 has no map
indexes, so the runs of one task are counted in the order of their creation.
"""

from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec

from rxflow._models.entities import TaskRun
from rxflow._models.states import State

UNMAPPED = -1
"""The map index of the only run of a task, and of the parent of mapped task runs."""


class TaskRunRead(msgspec.Struct, frozen=True, kw_only=True):
    """A task run as it was read.

    Attributes:
        map_index: The server's map index or, if it has none, the position by creation; -1 for the
            only run of a task, and for the parent of mapped ones.
        states: All states of the task run by time; None if they were not read.
    """

    row: TaskRun
    map_index: int = UNMAPPED
    states: tuple[State, ...] | None = None

    def has_map_index(self, map_index: int) -> bool:
        """Whether the task run is meant by a map index.

        Without map indexes on the server, the only run of a task may be one that was mapped over a
        single item, so 0 means it as well as -1.
        """
        if self.map_index == map_index:
            return True
        return self.row.map_index is None and self.map_index == UNMAPPED and map_index == 0


def indexed(rows: Iterable[TaskRun]) -> Iterator[TaskRunRead]:
    """Add map indexes: the server's or, if it has none, the position among the runs of the task.

    Args:
        rows: Task runs of one flow run by creation; of each task all of its runs or none.
    """
    rows = tuple(rows)
    runs_of = Counter(row.task_key for row in rows)
    counted: Counter[str] = Counter()
    for row in rows:
        index = counted[row.task_key]
        counted[row.task_key] += 1
        if row.map_index is not None:
            index = row.map_index
        elif runs_of[row.task_key] == 1:
            index = UNMAPPED
        yield TaskRunRead(row=row, map_index=index)


def by_map_index(reads: Iterable[TaskRunRead]) -> tuple[TaskRunRead, ...]:
    """Sort task runs by their map index."""
    return tuple(sorted(reads, key=lambda read: read.map_index))
