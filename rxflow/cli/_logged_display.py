"""The display of events that do not come from the server: of a recording, or of a run's log.

Nothing can be read beside them, so that names of flows are left out. A level limits what a watch
reads; here it selects from what is there.
"""

from collections.abc import Callable

from rxflow._models.times import Now
from rxflow._runtime.clocks import real_now
from rxflow.cli._display import Display, PlainDisplay
from rxflow.cli._end_summary import EndSummaries
from rxflow.cli._live import LiveDisplay, live_display
from rxflow.cli._log_selection import LogSelection
from rxflow.cli._output import report
from rxflow.cli._show_options import ShowOptions
from rxflow.cli._shown_lines import ShownLines

__all__ = ["logged_display"]


def logged_display(
    show: ShowOptions,
    lines: ShownLines,
    selection: LogSelection,
    clock: Callable[[], Now] = real_now,
    more: Callable[[str], str] | None = None,
) -> tuple[Display, LiveDisplay | None]:
    """Return a display of events, twice if it is a live one.

    Args:
        show: Which lines are shown, and how.
        lines: Formats the events.
        selection: Which log lines are shown.
        clock: Returns the time that the runs have reached.
        more: As for `end_summary`.
    """
    is_text = show.output == "text"
    summaries = None
    if is_text and not show.quiet:
        all_shown = selection.takes_all and not show.level
        summaries = EndSummaries(zone=show.zone, all_shown=all_shown, more=more)
    if summaries is not None:
        live = live_display(lines, summaries, None, clock)
        if live is not None:
            return live, live
    has_lines = show.quiet or show.output in {"text", "jsonl"}
    plain = PlainDisplay(
        lines,
        summaries,
        notice=None if has_lines else report,
        ending=None if has_lines else report,
        unchanged=not is_text,
    )
    return plain, None
