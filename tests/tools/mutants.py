"""Break the cursor on purpose; hostile worlds must notice: `python tests/tools/mutants.py`.

A mutant is a copy of rxflow with a mistake in it that one could make. Worlds are watched with it
until one of its promises is broken. Exits 1 if a mutant survives, or if the text that it changes is
no longer there, so that the list cannot rot.

Not among them are changes of the price alone, which no world can tell from what is right: another
number of `_PAGES_IN_A_ROW`, of what is expected (`_lately.py`) or of a bucket's rows; and to take
whatever is found below the floor for told (`is_new` is never true there), since the count then
misses it, and its bucket's sum names it. Nor is the last look at a short run, which matters only
where rows vanish; tests/test_cursor.py has that.
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

from hostile_worlds import Hostile, Result

from rxflow._protocol.failures import Reply
from rxflow._protocol.queries import Query
from rxflow.testing import History, World
from rxflow.testing._world import draw_history

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parents[1] / "rxflow"


class Change(NamedTuple):
    """A text of a file, which must be there exactly once, and what takes its place."""

    file: str
    old: str
    new: str


class Fate(NamedTuple):
    """What became of a mutant."""

    killed: bool
    how: str


MUTANTS: dict[str, list[Change]] = {
    "a row at the floor is below it": [
        Change(
            "_ledger.py",
            "passed = bisect_left(self._above",
            "passed = bisect_right(self._above",
        )
    ],
    "missing rows are ignored": [
        Change(
            "_search.py",
            "            if probe.missing == 0:\n                break\n",
            "            if probe.missing >= 0:\n                break\n",
        )
    ],
    "offsets without a count": [
        Change(
            "_search.py",
            "start = rank = max(0, told + found.within(span) - 1 - place.step)",
            "start = rank = told",
        ),
        Change("_search.py", "missing = rank - told - found.within(span)", "missing = 0"),
    ],
    "ties are read once": [Change("_table.py", "_TIE_PASSES = 40", "_TIE_PASSES = 1")],
    "a page ends before its last timestamp": [
        Change(
            "_search.py",
            "span=place.span._replace(before=last),",
            "span=place.span._replace(before=last - MICROSECOND),",
        ),
        Change(
            "_table.py",
            "            before = rows[-1].timestamp\n            if rows[0].timestamp == before:",
            "            before = rows[-1].timestamp - MICROSECOND\n            if False:",
        ),
    ],
    "rows of one timestamp are one": [
        Change(
            "_table.py",
            "self.rows.update({row.id: row for row in",
            "self.rows.update({str(row.timestamp): row for row in",
        )
    ],
    "nobody looks below the floor": [
        Change(
            "_search.py",
            "yield from self._buckets.complete(found, floor, limit, certain=certain)",
            "yield from ()",
        )
    ],
    "rows ahead are read last": [
        Change(
            "_lately.py",
            "        yield Part(span, beyond, ahead.new * expecting, int(ahead.step))\n"
            "        yield part._replace(span=part.span._replace(before=split))\n",
            "        yield part._replace(span=part.span._replace(before=split))\n"
            "        yield Part(span, beyond, ahead.new * expecting, int(ahead.step))\n",
        )
    ],
    "the list trusts commits under way": [
        Change("_cursor.py", "_SLACK = timedelta(seconds=5)", "_SLACK = timedelta(seconds=-3600)")
    ],
    "rows are counted before the poll is whole": [
        Change(
            "_search.py",
            "            found.take(rows)\n            if pages and",
            "            found.take(rows)\n"
            "            self._ledger.add(r for r in rows if self._ledger.is_new(r))\n"
            "            if pages and",
        ),
        Change(
            "_cursor.py",
            "        self.ledger.add(rows)\n",
            "        self.ledger.add(r for r in rows if not self.ledger.knows(r))\n",
        ),
    ],
    "a bucket's sum stays": [
        Change(
            "_ledger.py", "    bucket.digest = _bytes(_number(bucket.digest) + _digest(ids))\n", ""
        )
    ],
    "what is found below the floor is new": [
        Change("_ledger.py", " and (row.timestamp >= floor or row.created >= horizon)", "")
    ],
    "nothing is doubted": [Change("_cursor.py", "_DOUBTS = 3\n", "_DOUBTS = 0\n")],
    "a page of the list is told to its end": [
        Change(
            "_cursor.py",
            "            rows = [row for row in rows if row.timestamp < position]\n",
            "",
        )
    ],
    "the search goes on where the pages began": [
        Change(
            "_search.py",
            "place = place._replace(new=probe.counted - told)",
            "place = _under(place, probe, limit)",
        )
    ],
    "what lies below the pages is not counted": [
        Change(
            "_search.py",
            "            if place.fits(limit):\n                return place\n",
            "            if place.fits(limit):\n                return None\n",
        )
    ],
    "new rows are read upwards": [
        Change(
            "_search.py",
            "            if probe.missing == 0:\n                break\n",
            "            if probe.missing == 0 or not probe.whole:\n                break\n",
        )
    ],
    "what lies below a bucket is not counted": [
        Change("_buckets.py", "nothing_below = rows is not None", "nothing_below = True")
    ],
    "bisection goes the other way": [
        Change(
            "_buckets.py",
            "                high = middle\n            else:\n                low = middle\n",
            "                low = middle\n            else:\n                high = middle\n",
        )
    ],
    "old ids are kept": [
        Change(
            "_ledger.py", "                self._known.discard(row_id)\n", "                pass\n"
        )
    ],
    "the floor follows writers that are ahead": [
        Change("_ledger.py", "max(min(self._newest, self.clock), ", "max(self._newest, ")
    ],
    "a folded row is folded again": [
        Change("_ledger.py", "        del self._above[:passed]\n", "")
    ],
}


def main() -> int:
    """Try each mutant and print what became of it."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--worlds", type=int, default=2800, help="how many to try a mutant in")
    options.add_argument("--seconds", type=float, default=300.0, help="how long at the most")
    options.add_argument("--only", default="", help="mutants with this in their names")
    options.add_argument("--watch", action="store_true", help=argparse.SUPPRESS)
    asked = options.parse_args()
    if asked.watch:
        return watch(asked.worlds)
    fates = {
        name: fate_of(changes, asked.worlds, asked.seconds)
        for name, changes in {"none, as a check": [], **MUTANTS}.items()
        if asked.only in name
    }
    whole = fates.pop("none, as a check", Fate(killed=False, how=""))
    if whole.killed:
        print(f"The cursor itself fails: {whole.how}")
        return 1
    print(f"\n{sum(fate.killed for fate in fates.values())} of {len(fates)} mutants killed")
    return 0 if all(fate.killed for fate in fates.values()) else 1


def fate_of(changes: list[Change], worlds: int, seconds: float) -> Fate:
    """Try a mutant, and print its line of the table."""
    name = next((name for name, each in MUTANTS.items() if each is changes), "none, as a check")
    with tempfile.TemporaryDirectory() as folder:
        fate = mutated(Path(folder), changes) or tried(folder, worlds, seconds)
    print(f"{name:<44}{'killed: ' if fate.killed else 'SURVIVED: '}{fate.how}", flush=True)
    return fate


def mutated(folder: Path, changes: list[Change]) -> Fate | None:
    """Copy rxflow with some changes; a fate if one of them does not fit."""
    copy = folder / "rxflow"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for file, old, new in changes:
        text = (copy / file).read_text(encoding="utf-8")
        if text.count(old) != 1:
            return Fate(killed=False, how=f"{file} has {text.count(old)} times {old!r}")
        (copy / file).write_text(text.replace(old, new), encoding="utf-8")
    return None


def tried(folder: str, worlds: int, seconds: float) -> Fate:
    """Watch worlds with the rxflow of a folder, in a process of its own."""
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
    except subprocess.TimeoutExpired as late:
        text = (late.stdout or b"").decode()
        last = text.splitlines()[-1] if text else "no world"
        return Fate(killed=True, how=f"no end in {seconds:g} s after {last}")
    lines = (done.stdout if done.returncode in {0, 1} else done.stderr).splitlines()
    what = lines[-1] if lines else f"exit {done.returncode}"
    return Fate(killed=done.returncode != 0, how=f"{what} ({monotonic() - began:.0f} s)")


def watch(worlds: int) -> int:
    """Watch worlds until one goes wrong, with the rxflow that is found."""
    for number in range(worlds):
        seed, kind = divmod(number, 2)
        name = f"{['hostile', 'worse'][kind]} {seed}"
        try:
            result = [Hostile, Worse][kind](seed).watch()
        except Exception as error:  # noqa: BLE001 - a mutant may break in any way
            print(f"{name}: {type(error).__name__} {error}")
            return 1
        if not result.good:
            print(f"{name}: {wrong(result)}")
            return 1
        print(name, flush=True)
    return 0


class Worse(Hostile):
    """A slow world with rows late, tied and dated ahead, and a watch that begins midway."""

    def __init__(self, seed: int) -> None:
        """Draw it."""
        super().__init__(seed, World(seed, kind="late", history=worse(Random(f"worse {seed}"))))

    def send(self, query: Query) -> Reply:
        """Ask, and let much happen meanwhile."""
        self.wait(self.random.uniform(0, 0.2))
        return super().send(query)

    def watch(self) -> Result:
        """Watch it from its middle on, or later."""
        self.wait(self.world.played.end / 2)
        return super().watch()


def worse(random: Random) -> History:
    """Draw a history whose writers have clocks of all kinds."""
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


def wrong(result: Result) -> str:
    """What is wrong in a world, in short."""
    parts = {
        "lost": len(result.lost),
        "repeated": len(result.repeated),
        "reordered": len(result.reordered),
        "unresolved": result.unresolved,
    }
    return "; ".join([*(f"{n} {name}" for name, n in parts.items() if n), *result.broken])


if __name__ == "__main__":
    sys.exit(main())
