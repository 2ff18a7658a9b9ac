"""Which runs a watch of many is about: given by ids, by an observable of ids, or by filters.

Belongs here: checks of these arguments against each other. Does not belong here: how runs that
match filters are found (`rxflow._watching`).
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple
from uuid import UUID

from msgspec.structs import replace
from reactivex import Observable

from rxflow._models.arguments import canonical_id, check_type
from rxflow._protocol.queries import RunFilter
from rxflow._watching.watch_spec import GIVEN_RUNS, RunSelection


class WatchedRuns(NamedTuple):
    """The runs of a watch.

    Attributes:
        ids: Those that are given.
        selection: Those that are looked for.
    """

    ids: tuple[str, ...] | Observable[str | UUID]
    selection: RunSelection = GIVEN_RUNS

    def may_have(self, flow_run_id: str) -> bool:
        """Whether a run is among them, as far as that is known before they are read."""
        if isinstance(self.ids, Observable) or self.selection != GIVEN_RUNS:
            return True
        return flow_run_id in self.ids

    def __str__(self) -> str:
        """Describe the runs, or say how many they are."""
        if isinstance(self.ids, Observable):
            return "the runs of an observable"
        if self.selection.where is not None:
            return "the runs that match filters"
        return f"{len({*self.ids})} runs"


def watched_runs(
    flow_run_ids: Iterable[str | UUID] | Observable[str | UUID] | None,
    where: RunFilter,
    *,
    discover: bool = False,
    until: Literal["done", "forever"] | None = None,
    subflows: bool = False,
) -> WatchedRuns:
    """Return the runs that are given or looked for.

    Args:
        flow_run_ids: The ids; None for the runs that match a filter.
        where: The filter.
        discover: As in `rxflow.watch_flow_runs`, and so are the others.
        until: The same.
        subflows: The same.

    Raises:
        InvalidRunId: An id is not a UUID.
        TypeError: An argument is of another type, such as one id in place of several.
        ValueError: Neither ids nor a filter are given, or both; ``until`` is none of its values, or
            ``discover`` or ``until="forever"`` is given without what it needs.
    """
    check_type("discover", discover, bool, "True or False")
    check_type("subflows", subflows, bool, "True or False")
    if until not in (None, "done", "forever"):
        raise ValueError(f"until={until!r} is none of its values; pass 'done' or 'forever'")
    if until == "forever" and not discover:
        raise ValueError(
            "until='forever' is for a watch that looks for more runs; pass discover=True and "
            "filters, too"
        )
    selection = RunSelection(
        discover=discover,
        forever=until == "forever" or (discover and until is None),
        subflows=subflows,
    )
    if flow_run_ids is None:
        if where == RunFilter():
            raise ValueError(
                "flow_run_ids is None and no filter is given, which is all runs of the server; "
                "pass ids, or filters such as deployment='report/nightly'"
            )
        return WatchedRuns((), replace(selection, where=where))
    if where != RunFilter():
        raise ValueError(
            "flow_run_ids and filters such as deployment= are both given; pass the ids of runs, or "
            "filters that find them"
        )
    if discover:
        raise ValueError(
            "discover=True looks for runs that match filters; pass filters such as deployment= in "
            "place of flow_run_ids, or an observable of ids"
        )
    if isinstance(flow_run_ids, Observable):
        return WatchedRuns(flow_run_ids, selection)
    return WatchedRuns(given_ids(flow_run_ids), selection)


def given_ids(flow_run_ids: Iterable[str | UUID]) -> tuple[str, ...]:
    """Return ids in their canonical form.

    Raises:
        InvalidRunId: An id is not a UUID.
        TypeError: They are of another type, such as one in place of several, or an observable.
    """
    advice = "a list of ids; for one run there are watch_flow_run and wait_for_flow_run"
    if isinstance(flow_run_ids, str | bytes | Observable):
        check_type("flow_run_ids", flow_run_ids, list, advice)
    check_type("flow_run_ids", flow_run_ids, Iterable, advice)
    return tuple(canonical_id("flow_run_ids", each) for each in flow_run_ids)
