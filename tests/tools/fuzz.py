"""Watch many runs with mutated replies, and print how the watches ended: ``--runs 20000``.

A seed determines a watch and all its mutations: ``--seed N --runs 1`` replays one exactly, with the
traceback of its error. Exits 1 if a watch ended in anything but an `RxflowError` or well.
"""

import argparse
import sys
import traceback
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from mutated_watches import MutatedWatch


def main() -> int:
    """Watch the runs, print a line for each bad end, and the sums."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=1_000, help="how many watches")
    options.add_argument("--seed", type=int, default=0, help="the first one's seed")
    arguments = options.parse_args()
    ends: Counter[str] = Counter()
    mutations = bad = 0
    for seed in range(arguments.seed, arguments.seed + arguments.runs):
        result = MutatedWatch(seed).watch()
        mutations += result.mutations
        ends[type(result.error).__name__ if result.error is not None else "completed"] += 1
        if not result.is_good:
            bad += 1
            print(f"seed {seed}: {result.error!r}", flush=True)
            if arguments.runs == 1 and result.error is not None:
                traceback.print_exception(result.error)
    print(f"{arguments.runs:,} watches, {mutations:,} mutated replies, {bad:,} bad ends")
    for end, number in ends.most_common():
        print(f"{end:>24} {number:>8,}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
