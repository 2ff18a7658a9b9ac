"""Mutate the cursor; hostile worlds must detect each mutant: `python tests/tools/mutants.py`.

A mutant is a copy of rxflow with a plausible mistake in it. Worlds are watched with it until a
promise is broken. Exits 1 if a mutant survives, or if the text that it changes is no longer there,
so that the list cannot rot.

Not among them are changes of the cost alone, which no world can detect: another
number of `_MAX_PROBE_PAGES`, of what is expected (`forecast.py`) or of a bucket's rows; and to
consider every row that is found below the floor delivered (`is_undelivered` is never true there),
since the count then misses it, and its bucket's digest names it. Nor is the audit of a short run,
which matters only where rows vanish; `tests/logs/test_audit.py` covers that.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random
from time import monotonic
from typing import NamedTuple

import msgspec

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from hostile_worlds import HostileWatch, Result

from rxflow._protocol.failures import Reply
from rxflow._protocol.queries import Query
from rxflow.testing import History, World
from rxflow.testing._world import draw_history

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parents[1] / "rxflow"


class Change(NamedTuple):
    """A text that a file of `rxflow/_logs` has exactly once, and its replacement."""

    file: str
    old: str
    new: str


class Outcome(NamedTuple):
    """Whether worlds detected a mutant, and how."""

    killed: bool
    how: str


MUTANTS: dict[str, list[Change]] = {
    "a row at the floor is below it": [
        Change(
            "kept_rows.py",
            "slice(bisect_left(self._columns.timestamps, floor))",
            "slice(bisect_right(self._columns.timestamps, floor))",
        )
    ],
    "a gap is ignored": [
        Change(
            "gap_search.py",
            "            if probe.gap == 0:\n                break\n",
            "            if probe.gap >= 0:\n                break\n",
        )
    ],
    "offsets without a count": [
        Change(
            "gap_search.py",
            "start = rank = max(0, known_end - 1 - self._position.step_back)",
            "start = rank = delivered",
        ),
        Change("gap_search.py", "gap = rank - delivered - reader.count_within(span)", "gap = 0"),
    ],
    "ties are read once": [
        Change("table_reader.py", "_MAX_TIE_PASSES = 40", "_MAX_TIE_PASSES = 1")
    ],
    "a page ends before its last timestamp": [
        Change(
            "gap_search.py",
            "span = self._position.span._replace(before=last)",
            "span = self._position.span._replace(before=last - MICROSECOND)",
        ),
        Change(
            "table_reader.py",
            "            before = rows[-1].timestamp\n            if rows[0].timestamp == before:",
            "            before = rows[-1].timestamp - MICROSECOND\n            if False:",
        ),
    ],
    "rows of one timestamp are one": [
        Change(
            "table_reader.py",
            "self.rows.update({row.id: row for row in",
            "self.rows.update({str(row.timestamp): row for row in",
        )
    ],
    "no search below the floor": [
        Change(
            "gap_search.py",
            "yield from self._buckets.close_gap(gap_is_certain=gap_is_certain)",
            "yield from ()",
        )
    ],
    "rows ahead are read last": [
        Change(
            "forecast.py",
            "        yield TablePart(\n"
            "            span=Span(ledger.runs, shifted(limit, MICROSECOND)),",
            "        yield part._replace(span=part.span._replace(before=limit))\n"
            "        yield TablePart(\n"
            "            span=Span(ledger.runs, shifted(limit, MICROSECOND)),",
        ),
        Change(
            "forecast.py",
            "        )\n        yield part._replace(span=part.span._replace(before=limit))\n",
            "        )\n",
        ),
    ],
    "a backfill trusts commits under way": [
        Change(
            "cursor_poll.py",
            "_COMMIT_SLACK = timedelta(seconds=5)",
            "_COMMIT_SLACK = timedelta(seconds=-3600)",
        )
    ],
    "rows are recorded before the poll is complete": [
        Change(
            "gap_search.py",
            "            reader.add_undelivered(rows)\n            if pages and",
            "            reader.add_undelivered(rows)\n"
            "            self._ledger.record_delivered(self._ledger.undelivered(rows))\n"
            "            if pages and",
        ),
        Change(
            "cursor.py",
            "        self.ledger.record_delivered(rows)\n",
            "        self.ledger.record_delivered(\n"
            "            row for row in rows if not self.ledger.is_known_delivered(row)\n"
            "        )\n",
        ),
    ],
    "a bucket's digest stays": [
        Change(
            "buckets.py",
            "        self.digest = _as_bytes(self.digest_number + digest_of(ids))\n",
            "",
        )
    ],
    "rows below the floor are undelivered": [
        Change("ledger.py", " if row.timestamp >= floor or row.created >= horizon", "")
    ],
    "a shrunk table is believed at once": [
        Change("cursor_poll.py", "_POLLS_TO_BELIEVE = 3 ", "_POLLS_TO_BELIEVE = 0 ")
    ],
    "a backfill page is delivered to its end": [
        Change(
            "table_reader.py",
            "            return [row for row in rows if row.timestamp < end], end\n",
            "            return rows, end\n",
        )
    ],
    "a backfill page in order is new": [
        Change(
            "cursor_poll.py",
            "            or (newest is not None and columns.timestamps[0] <= newest)\n",
            "",
        )
    ],
    "ties of a backfill page are in order": [
        Change("row_columns.py", "from operator import lt\n", "from operator import le as lt\n")
    ],
    "the search goes on where the probe began": [
        Change(
            "gap_search.py",
            "self._position = self._position._replace(expected_new=new)",
            "self._move_below(probe)",
        )
    ],
    "rows below the pages are not counted": [
        Change(
            "gap_search.py",
            "            if found == 0 or self._position.fits_page(self._limit):\n"
            "                return False\n",
            "            if found == 0 or self._position.fits_page(self._limit):\n"
            "                return found > 0\n",
        )
    ],
    "new rows are read upwards": [
        Change(
            "gap_search.py",
            "            if probe.gap == 0:\n                break\n",
            "            if probe.gap == 0 or not probe.is_one_page:\n                break\n",
        )
    ],
    "rows below a bucket are not counted": [
        Change("bucket_search.py", "none_below = rows is not None", "none_below = True")
    ],
    "bisection goes the other way": [
        Change(
            "bucket_search.py",
            "                low = middle\n            else:\n                high = middle\n",
            "                high = middle\n            else:\n                low = middle\n",
        )
    ],
    "old ids are kept": [
        Change(
            "kept_rows.py",
            "        self._ids.difference_update(passed.ids[:entered])\n",
            "",
        ),
    ],
    "the floor follows writers that are ahead": [
        Change(
            "ledger.py",
            "shifted(min(self.newest_timestamp, self.newest_created), -FLOOR_LAG)",
            "shifted(self.newest_timestamp, -FLOOR_LAG)",
        )
    ],
    "rows that pass the floor are counted twice": [
        Change(
            "row_columns.py",
            "        del self.timestamps[part], self.created[part], ",
            "        _ = self.timestamps[part], self.created[part], ",
        )
    ],
}


def main() -> int:
    """Try each mutant, and print its outcome."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        "--worlds", type=int, default=2800, help="how many worlds to try a mutant in"
    )
    options.add_argument("--seconds", type=float, default=300.0, help="the longest time to try one")
    options.add_argument("--only", default="", help="mutants with this in their names")
    options.add_argument("--watch", action="store_true", help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.watch:
        return watch(arguments.worlds)
    outcomes = {
        name: outcome_of(changes, arguments.worlds, arguments.seconds)
        for name, changes in {"none, as a check": [], **MUTANTS}.items()
        if arguments.only in name
    }
    unchanged = outcomes.pop("none, as a check", Outcome(killed=False, how=""))
    if unchanged.killed:
        print(f"The cursor itself fails: {unchanged.how}")
        return 1
    killed = sum(outcome.killed for outcome in outcomes.values())
    print(f"\n{killed} of {len(outcomes)} mutants killed")
    return 0 if killed == len(outcomes) else 1


def outcome_of(changes: list[Change], worlds: int, seconds: float) -> Outcome:
    """Try a mutant, and print its line of the table."""
    name = next((name for name, each in MUTANTS.items() if each is changes), "none, as a check")
    with tempfile.TemporaryDirectory() as folder:
        outcome = write_mutant(Path(folder), changes) or try_worlds(folder, worlds, seconds)
    print(f"{name:<44}{'killed: ' if outcome.killed else 'SURVIVED: '}{outcome.how}", flush=True)
    return outcome


def write_mutant(folder: Path, changes: list[Change]) -> Outcome | None:
    """Copy rxflow with some changes; return an outcome if one of them does not apply."""
    copy = folder / "rxflow"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for name, old, new in changes:
        file = copy / "_logs" / name
        text = file.read_text(encoding="utf-8")
        if text.count(old) != 1:
            return Outcome(killed=False, how=f"{name} has {text.count(old)} times {old!r}")
        file.write_text(text.replace(old, new), encoding="utf-8")
    return None


def try_worlds(folder: str, worlds: int, seconds: float) -> Outcome:
    """Watch worlds with the rxflow of a folder, in another process."""
    began = monotonic()
    try:
        done = subprocess.run(
            [sys.executable, str(HERE / "mutants.py"), "--watch", "--worlds", str(worlds)],
            env={**os.environ, "PYTHONPATH": folder},
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as timeout:
        text = (timeout.stdout or b"").decode()
        last = text.splitlines()[-1] if text else "no world"
        return Outcome(killed=True, how=f"no end in {seconds:g} s after {last}")
    lines = (done.stdout if done.returncode in {0, 1} else done.stderr).splitlines()
    what = lines[-1] if lines else f"exit {done.returncode}"
    return Outcome(killed=done.returncode != 0, how=f"{what} ({monotonic() - began:.0f} s)")


def watch(worlds: int) -> int:
    """Watch worlds until a promise is broken, with the rxflow on the path."""
    for number in range(worlds):
        seed, kind = divmod(number, 2)
        name = f"{['hostile', 'slow'][kind]} {seed}"
        try:
            result = [HostileWatch, SlowHostileWatch][kind](seed).watch()
        except Exception as error:  # noqa: BLE001 - a mutant may raise anything
            print(f"{name}: {type(error).__name__} {error}")
            return 1
        if not result.good:
            print(f"{name}: {broken_promises(result)}")
            return 1
        print(name, flush=True)
    return 0


class SlowHostileWatch(HostileWatch):
    """A slow world with late, tied and ahead rows, and a watch that begins midway."""

    def __init__(self, seed: int) -> None:
        """Draw the world from the seed."""
        history = harder_history(Random(f"worse {seed}"))
        super().__init__(seed, World(seed, kind="late", history=history))

    def send(self, query: Query) -> Reply:
        """Send a query after some time, in which much may happen."""
        self.wait(self.random.uniform(0, 0.2))
        return super().send(query)

    def watch(self) -> Result:
        """Watch the world from its middle on, or later."""
        self.wait(self.world.played.end / 2)
        return super().watch()


def harder_history(random: Random) -> History:
    """Draw a history whose writers' clocks are behind, ahead or coarse."""
    history = draw_history(random, "late")
    writers = [
        msgspec.structs.replace(
            writer,
            resolution=random.choice([1e-6, 1.0, 10.0]),
            skew=random.choice([-30, -10, -3, 0, 0, 10, 10.5, 11, 3600]),
        )
        for writer in history.writers
    ]
    return msgspec.structs.replace(history, writers=tuple(writers))


def broken_promises(result: Result) -> str:
    """Return the promises that a watch broke, in short."""
    parts = {
        "lost": len(result.lost),
        "repeated": len(result.repeated),
        "reordered": len(result.reordered),
        "unresolved": result.unresolved,
    }
    return "; ".join([*(f"{n} {name}" for name, n in parts.items() if n), *result.broken])


if __name__ == "__main__":
    sys.exit(main())
