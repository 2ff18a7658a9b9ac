"""Watch many hostile worlds and print the outcome: ``tox -e simulate -- --runs 4000``.

A seed determines a world and its run: ``--seed N --runs 1`` replays one exactly. ``--backend
prefect1`` watches worlds around a Prefect 1, ``--many`` worlds of many runs in one watch, and
``--rows N`` worlds whose run has N lines. With ``--budget`` a watch has a budget of requests, and
with ``--shared`` subscribers join and leave a watch, or with ``--many`` too, the runs of one. With
``--kills`` the watcher is killed now and then, and the next one goes on from its events, or with
``--checkpoint`` from a checkpoint of them, or of each of many runs. Exits 1 if a promise was
broken.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from budgeted_watches import BudgetedManyRunWatch, BudgetedPrefect1Watch, BudgetedWatch
from hostile_worlds import HostileWatch, Result
from hostile_worlds_prefect1 import Prefect1HostileWatch
from killed_watches import (
    CheckpointedManyRunWatch,
    CheckpointedPrefect1Watch,
    CheckpointedWatch,
    KilledManyRunWatch,
    KilledPrefect1Watch,
    KilledWatch,
)
from large_worlds import large_world
from many_run_worlds import ManyRunWatch
from shared_worlds import SharedRunsWatch, SharedWatch

Worlds = Mapping[str, Callable[[int], HostileWatch | ManyRunWatch | SharedWatch]]

WORLDS: Worlds = {"prefect3": HostileWatch, "prefect1": Prefect1HostileWatch}
KILLED_WORLDS: Worlds = {"prefect3": KilledWatch, "prefect1": KilledPrefect1Watch}
CHECKPOINTED_WORLDS: Worlds = {
    "prefect3": CheckpointedWatch,
    "prefect1": CheckpointedPrefect1Watch,
}
BUDGETED_WORLDS: Worlds = {"prefect3": BudgetedWatch, "prefect1": BudgetedPrefect1Watch}
SHARED_WORLDS: Worlds = {"prefect3": SharedWatch}
MANY_RUN_WORLDS: Worlds = {"prefect3": ManyRunWatch}
KILLED_MANY_RUN_WORLDS: Worlds = {"prefect3": KilledManyRunWatch}
CHECKPOINTED_MANY_RUN_WORLDS: Worlds = {"prefect3": CheckpointedManyRunWatch}
BUDGETED_MANY_RUN_WORLDS: Worlds = {"prefect3": BudgetedManyRunWatch}
SHARED_RUNS_WORLDS: Worlds = {"prefect3": SharedRunsWatch}


def main() -> int:
    """Watch the worlds, print a line for each broken promise, and the sums."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=300, help="how many worlds")
    options.add_argument("--seed", type=int, default=0, help="the first one's seed")
    options.add_argument("--backend", choices=WORLDS, default="prefect3", help="the kind of server")
    options.add_argument("--many", action="store_true", help="many runs in each world")
    options.add_argument("--rows", type=int, help="how many lines the run of each world has")
    options.add_argument("--budget", action="store_true", help="limit the requests of a minute")
    options.add_argument("--shared", action="store_true", help="share each watch")
    options.add_argument("--kills", action="store_true", help="kill the watcher now and then")
    options.add_argument("--checkpoint", action="store_true", help="go on from a checkpoint")
    arguments = options.parse_args()
    if arguments.checkpoint and not arguments.kills:
        options.error("--checkpoint is about kills; pass --kills, too")
    variants = [arguments.rows is not None, arguments.budget, arguments.shared, arguments.kills]
    if sum(variants) > 1:
        options.error("--rows, --budget, --shared and --kills are for different worlds; pass one")
    if arguments.rows is not None and arguments.many:
        options.error("--rows is for worlds of one run; leave --many out")
    worlds = worlds_of(arguments)
    if arguments.backend not in worlds:
        options.error(f"there are no such worlds around a {arguments.backend}")
    results: list[Result] = []
    for seed in range(arguments.seed, arguments.seed + arguments.runs):
        results.append(worlds[arguments.backend](seed).watch())
        if not results[-1].good:
            print(f"seed {seed}: {results[-1]}")
    report(results)
    return 0 if all(result.good for result in results) else 1


def worlds_of(arguments: argparse.Namespace) -> Worlds:
    """Return the watches of worlds that the arguments choose, by the kinds of servers."""
    if arguments.rows is not None:
        rows: int = arguments.rows
        return {"prefect3": lambda seed: HostileWatch(seed, large_world(seed, rows))}
    one, many = WORLDS, MANY_RUN_WORLDS
    if arguments.budget:
        one, many = BUDGETED_WORLDS, BUDGETED_MANY_RUN_WORLDS
    elif arguments.shared:
        one, many = SHARED_WORLDS, SHARED_RUNS_WORLDS
    elif arguments.checkpoint:
        one, many = CHECKPOINTED_WORLDS, CHECKPOINTED_MANY_RUN_WORLDS
    elif arguments.kills:
        one, many = KILLED_WORLDS, KILLED_MANY_RUN_WORLDS
    return many if arguments.many else one


def report(results: list[Result]) -> None:
    """Print the sums in the groups of docs/contract.md."""
    groups = {
        "rows only arrive": [r for r in results if r.kind not in {"stale", "deleted", "restored"}],
        "a replica lags": [r for r in results if r.kind == "stale"],
        "rows vanish": [r for r in results if r.kind in {"deleted", "restored"}],
    }
    columns = [
        "worlds",
        "rows",
        "requests",
        "lost",
        "repeated",
        "reordered",
        "unresolved",
        "kills",
        "again",
        "missing",
        "wrong",
    ]
    print(f"{'':<22}" + "".join(f"{column:>12}" for column in columns))
    for name, group in groups.items():
        sums = [
            len(group),
            sum(result.rows for result in group),
            sum(result.requests for result in group),
            sum(len(result.lost) for result in group),
            sum(len(result.repeated) for result in group),
            sum(len(result.reordered) for result in group),
            sum(result.unresolved for result in group),
            sum(result.kills for result in group),
            sum(result.again for result in group),
            sum(len(result.missing) for result in group),
            sum(not result.good for result in group),
        ]
        print(f"{name:<22}" + "".join(f"{number:>12,}" for number in sums))


if __name__ == "__main__":
    sys.exit(main())
