"""How the runs of a command ended: the exit status that they have together, and a table of them."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from rxflow import NoticeCode, RunOutcome
from rxflow._escapes import one_line
from rxflow.cli._exit_status import ExitStatus, status_of_state, worst
from rxflow.cli._run_table import aligned

if TYPE_CHECKING:
    from rxflow import AllClosed

__all__ = ["outcome_sentence", "outcome_table", "status_of_outcomes"]

_MOST_COMPLETED = 20  # runs in a table

_ENDED_BY = {NoticeCode.RUN_DELETED: "deleted", NoticeCode.RUN_NOT_FOUND: "not found"}


def status_of_outcomes(closed: "AllClosed") -> ExitStatus:
    """Return the worst status of the runs, subflows left out; NOT_FOUND if there are none."""
    roots = _roots(closed)
    return worst(map(_status_of, roots)) if roots else ExitStatus.NOT_FOUND


def outcome_sentence(closed: "AllClosed", suggest: Callable[[], str] = str) -> str:
    """Return how many runs ended in which states, subflows left out.

    Args:
        closed: The end of the watch of all runs.
        suggest: Returns what else may be meant, if there are no runs.
    """
    roots = _roots(closed)
    if not roots:
        return f"no flow run matches the filters{suggest()}"
    counts = Counter(map(_state_text, roots))
    states = ", ".join(f"{number} {state}" for state, number in counts.most_common())
    total = "1 flow run" if len(roots) == 1 else f"{len(roots)} flow runs"
    return f"{total}: {states}"


def outcome_table(closed: "AllClosed", suggest: Callable[[], str] = str) -> Iterator[str]:
    """Yield `outcome_sentence`, and a line of each run; of many not of those that completed.

    Of one run nothing: what is shown of it says how it ended.

    Args:
        closed: The end of the watch of all runs.
        suggest: As for `outcome_sentence`.
    """
    roots = _roots(closed)
    if len(roots) == 1:
        return
    yield outcome_sentence(closed, suggest)
    shown = [run for run in roots if _status_of(run) or len(roots) <= _MOST_COMPLETED]
    yield from aligned(
        (f"  {run.flow_run_id}", _state_text(run), one_line(run.name or "-")) for run in shown
    )


def _status_of(run: RunOutcome) -> ExitStatus:
    return ExitStatus.NOT_FOUND if run.ended_by in _ENDED_BY else status_of_state(run.state)


def _state_text(run: RunOutcome) -> str:
    if run.ended_by is not None:
        return _ENDED_BY.get(run.ended_by, run.ended_by)
    return one_line(run.state.name) if run.state is not None else "no state"


def _roots(closed: "AllClosed") -> Sequence[RunOutcome]:
    return [run for run in closed.runs if run.root_flow_run_id in {None, run.flow_run_id}]
