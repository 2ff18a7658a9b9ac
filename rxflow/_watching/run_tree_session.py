"""A watch over one run and its subflows without its I/O.

It is a watch over many runs that begins with one, the root, and ends with it, too: the root is
closed when all its subflows are, whenever it was over. What goes wrong with the root is the error
or the end that a watch over it alone would have.
"""

from random import Random
from typing import Any

from rxflow._models.times import Now
from rxflow._protocol.failures import Failure
from rxflow._watching.event_order import EventPages
from rxflow._watching.limit_text import limit_text
from rxflow._watching.run_notices import RunNotices
from rxflow._watching.run_polling import RunPolling
from rxflow._watching.run_watch import RunWatch
from rxflow._watching.runs_session import RunsSession
from rxflow._watching.watch_spec import RunSelection, WatchSpec
from rxflow.events import Closed


class RunTreeSession(RunsSession):
    """One watch over one run and its subflows."""

    def __init__(self, spec: WatchSpec, random: Random, *, goes_on: bool = False) -> None:
        """Make a watch that has sent no query yet.

        Args:
            spec: What to watch of the root, which is its run, and of each subflow.
            random: The source of jitter.
            goes_on: Whether it goes on after the events of an earlier watch.
        """
        super().__init__(spec, random, RunSelection(subflows=True), goes_on=goes_on)
        self._root_id = spec.flow_run_id
        self._notices = RunNotices(self._root_id)
        self._end: EventPages = ()
        self.add([self._root_id])
        self.complete()

    def _must_hold(self, run: RunWatch) -> bool:
        is_root = run.spec.flow_run_id == self._root_id
        return super()._must_hold(run) or (is_root and len(self._runs) > 1)

    def _receive_not_found(self, polling: RunPolling, now: Now) -> EventPages | None:
        if polling.run.spec.flow_run_id != self._root_id:
            return super()._receive_not_found(polling, now)
        if polling.run.row is None:  # an error ends the watch
            return None
        pages = super()._receive_not_found(polling, now) or ()
        if not self._runs or polling.run.closed is None:
            return pages
        self._end = tuple(page for page in pages if isinstance(page[1][-1], Closed))
        return tuple(page for page in pages if page not in self._end)

    def _receive_result(self, result: Any, now: Now) -> EventPages:
        pages = super()._receive_result(result, now)
        if len(self._runs) == 1:  # the root had to wait for the others
            self._close_drained(now)
        return pages

    def _end_pages(self, _: Now, /) -> EventPages:
        return self._end

    def _limit_text(self, failure: Failure | None, unanswered: float | None) -> str:
        root = self._runs.get(self._root_id)
        if root is None or root.is_terminal:
            return super()._limit_text(failure, unanswered)
        return limit_text(self._spec, root.row, failure, unanswered)
