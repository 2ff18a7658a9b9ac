"""Which run started which, and the root of each: the run that was to be watched first of them.

A run that was watched before it was found to be a subflow stays its own root, so that all events of
a run have one root.
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from rxflow._watching.event_order import EventPage, EventPages
from rxflow.events import FlowRunEvent


def root_of_events(events: Sequence[FlowRunEvent]) -> str | None:
    """Return the root that the events of a run have; None if that is the run itself."""
    root = events[0].root
    return None if root is msgspec.UNSET else root


def without_roots(events: Sequence[FlowRunEvent]) -> list[FlowRunEvent]:
    """Return the events of a run as those of a watch over it alone."""
    return [
        event if event.root is msgspec.UNSET else replace(event, root=msgspec.UNSET)
        for event in events
    ]


class RunRoots:
    """The roots of subflows; any other run is its own."""

    def __init__(self) -> None:
        """Start without subflows."""
        self._parents: dict[str, str] = {}
        self._roots: dict[str, str] = {}

    def add(self, parents: Mapping[str, str], is_watched: Callable[[str], bool]) -> None:
        """Add runs that are to be watched from now on.

        Args:
            parents: Of each that is a subflow the run that started it.
            is_watched: Whether a run is or was watched; no other becomes a root.
        """
        known = {run: parent for run, parent in parents.items() if is_watched(parent)}
        self._parents |= known
        for run in known:
            self._roots[run] = self._topmost(run)

    def record_emitted(self, flow_run_id: str, root: str | None) -> None:
        """Keep the root that the events of a run had in an earlier watch.

        Args:
            flow_run_id: The run.
            root: Its root; None if that was the run itself.
        """
        if root is not None:
            self._roots[flow_run_id] = root
        else:
            self._roots.pop(flow_run_id, None)
            self._parents.pop(flow_run_id, None)

    def parent_of(self, flow_run_id: str) -> str | None:
        """Return the run that started a run, if that is watched, too."""
        return self._parents.get(flow_run_id)

    def root_of(self, flow_run_id: str) -> str:
        """Return the root of a run."""
        return self._roots.get(flow_run_id, flow_run_id)

    def rooted(self, pages: EventPages) -> EventPages:
        """Set the root of each event of a subflow."""
        if not self._roots:
            return pages
        return tuple((source, self._rooted_page(page)) for source, page in pages)

    def _topmost(self, flow_run_id: str) -> str:
        while flow_run_id in self._parents:
            flow_run_id = self._parents[flow_run_id]
        return flow_run_id

    def _rooted_page(self, page: EventPage) -> EventPage:
        if not any(event.flow_run_id in self._roots for event in page):
            return page
        return tuple(map(self._rooted_event, page))

    def _rooted_event(self, event: FlowRunEvent) -> FlowRunEvent:
        root = self._roots.get(event.flow_run_id, msgspec.UNSET)
        return event if root is msgspec.UNSET else replace(event, root=root)
