"""Watch many hostile worlds and print the outcome: ``tox -e simulate -- --runs 4000``.

A seed determines a world and its run: ``--seed N --runs 1`` replays one exactly. ``--backend
prefect1`` watches worlds around a Prefect 1, and ``--many`` worlds of many runs in one watch. With
``--kills`` the watcher is killed now and then, and the next one goes on from its events, or with
``--checkpoint`` from a checkpoint of them, or of each of many runs. Exits 1 if a promise was
broken.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

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
from many_run_worlds import ManyRunWatch

WORLDS = {"prefect3": HostileWatch, "prefect1": Prefect1HostileWatch}
KILLED_WORLDS = {"prefect3": KilledWatch, "prefect1": KilledPrefect1Watch}
CHECKPOINTED_WORLDS = {"prefect3": CheckpointedWatch, "prefect1": CheckpointedPrefect1Watch}
MANY_RUN_WORLDS = {"prefect3": ManyRunWatch}
KILLED_MANY_RUN_WORLDS = {"prefect3": KilledManyRunWatch}
CHECKPOINTED_MANY_RUN_WORLDS = {"prefect3": CheckpointedManyRunWatch}

Worlds = Mapping[str, Callable[[int], HostileWatch | ManyRunWatch]]


def main() -> int:
    """Watch the worlds, print a line for each broken promise, and the sums."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=300, help="how many worlds")
    options.add_argument("--seed", type=int, default=0, help="the first one's seed")
    options.add_argument("--backend", choices=WORLDS, default="prefect3", help="the kind of server")
    options.add_argument("--many", action="store_true", help="many runs in each world")
    options.add_argument("--kills", action="store_true", help="kill the watcher now and then")
    options.add_argument("--checkpoint", action="store_true", help="go on from a checkpoint")
    arguments = options.parse_args()
    if arguments.checkpoint and not arguments.kills:
        options.error("--checkpoint is about kills; pass --kills, too")
    worlds: Worlds = WORLDS
    if arguments.many and arguments.checkpoint:
        worlds = CHECKPOINTED_MANY_RUN_WORLDS
    elif arguments.many:
        worlds = KILLED_MANY_RUN_WORLDS if arguments.kills else MANY_RUN_WORLDS
    elif arguments.kills:
        worlds = CHECKPOINTED_WORLDS if arguments.checkpoint else KILLED_WORLDS
    results: list[Result] = []
    for seed in range(arguments.seed, arguments.seed + arguments.runs):
        results.append(worlds[arguments.backend](seed).watch())
        if not results[-1].good:
            print(f"seed {seed}: {results[-1]}")
    report(results)
    return 0 if all(result.good for result in results) else 1


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
