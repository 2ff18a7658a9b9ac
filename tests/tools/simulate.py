"""Watch many hostile worlds and print what came of them: ``tox -e simulate -- --runs 4000``.

A seed is a world is a run: ``--seed N --runs 1`` replays one exactly; ``--backend prefect1`` has
worlds around a Prefect 1. Exits 1 if anything is wrong.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from hostile_worlds import Hostile, Result
from hostile_worlds_prefect1 import Hostile1

WORLDS = {"prefect3": Hostile, "prefect1": Hostile1}


def main() -> int:
    """Run them, print a line for each that went wrong, and the sums."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=300, help="how many worlds")
    options.add_argument("--seed", type=int, default=0, help="the first one's seed")
    options.add_argument(
        "--backend", choices=WORLDS, default="prefect3", help="around which server"
    )
    asked = options.parse_args()
    results: list[Result] = []
    for seed in range(asked.seed, asked.seed + asked.runs):
        results.append(WORLDS[asked.backend](seed).watch())
        if not results[-1].good:
            print(f"seed {seed}: {results[-1]}")
    report(results)
    return 0 if all(result.good for result in results) else 1


def report(results: list[Result]) -> None:
    """Print the sums, by what the promises of docs/contract.md rest on."""
    groups = {
        "rows only come": [r for r in results if r.kind not in {"stale", "deleted", "restored"}],
        "a replica lags behind": [r for r in results if r.kind == "stale"],
        "rows vanish": [r for r in results if r.kind in {"deleted", "restored"}],
    }
    columns = ["worlds", "rows", "requests", "lost", "repeated", "reordered", "unresolved", "wrong"]
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
            sum(not result.good for result in group),
        ]
        print(f"{name:<22}" + "".join(f"{number:>12,}" for number in sums))


if __name__ == "__main__":
    sys.exit(main())
