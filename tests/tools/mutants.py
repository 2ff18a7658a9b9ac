"""Mutate the reading of one run and of many, and detect it: `python tests/tools/mutants.py`.

A mutant is a copy of rxflow with a plausible mistake in it. Worlds are watched with it until a
promise is broken; the mutants of groups that no world detects must fail a unit test. Exits 1 if a
mutant survives, or if the text that it changes is no longer there, so that the list cannot rot.

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
from many_run_worlds import ManyRunWatch

from rxflow._protocol.failures import Reply
from rxflow._protocol.queries import Query
from rxflow.testing import History, World
from rxflow.testing._world import draw_history

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parents[1] / "rxflow"


class Change(NamedTuple):
    """A text that a file of rxflow has exactly once, and its replacement."""

    file: str
    old: str
    new: str


class Outcome(NamedTuple):
    """Whether worlds detected a mutant, and how."""

    killed: bool
    how: str


CURSOR_MUTANTS: dict[str, list[Change]] = {
    "a row at the floor is below it": [
        Change(
            "_logs/kept_rows.py",
            "slice(bisect_left(self._columns.timestamps, floor))",
            "slice(bisect_right(self._columns.timestamps, floor))",
        )
    ],
    "a gap is ignored": [
        Change(
            "_logs/gap_search.py",
            "            if probe.gap == 0:\n                break\n",
            "            if probe.gap >= 0:\n                break\n",
        )
    ],
    "offsets without a count": [
        Change(
            "_logs/gap_search.py",
            "start = rank = max(0, known_end - 1 - self._position.step_back)",
            "start = rank = delivered",
        ),
        Change(
            "_logs/gap_search.py", "gap = rank - delivered - reader.count_within(span)", "gap = 0"
        ),
    ],
    "ties are read once": [
        Change("_logs/table_reader.py", "_MAX_TIE_PASSES = 40", "_MAX_TIE_PASSES = 1")
    ],
    "a page ends before its last timestamp": [
        Change(
            "_logs/gap_search.py",
            "span = self._position.span._replace(before=last)",
            "span = self._position.span._replace(before=last - MICROSECOND)",
        ),
        Change(
            "_logs/table_reader.py",
            "            before = rows[-1].timestamp\n            if rows[0].timestamp == before:",
            "            before = rows[-1].timestamp - MICROSECOND\n            if False:",
        ),
    ],
    "rows of one timestamp are one": [
        Change(
            "_logs/table_reader.py",
            "self.rows.update({row.id: row for row in",
            "self.rows.update({str(row.timestamp): row for row in",
        )
    ],
    "no search below the floor": [
        Change(
            "_logs/gap_search.py",
            "yield from self._buckets.close_gap(gap_is_certain=gap_is_certain)",
            "yield from ()",
        )
    ],
    "rows ahead are read last": [
        Change(
            "_logs/forecast.py",
            "        yield TablePart(\n"
            "            span=Span(ledger.runs, shifted(limit, MICROSECOND)),",
            "        yield part._replace(span=part.span._replace(before=limit))\n"
            "        yield TablePart(\n"
            "            span=Span(ledger.runs, shifted(limit, MICROSECOND)),",
        ),
        Change(
            "_logs/forecast.py",
            "        )\n        yield part._replace(span=part.span._replace(before=limit))\n",
            "        )\n",
        ),
    ],
    "a backfill trusts commits under way": [
        Change(
            "_logs/cursor_poll.py",
            "_COMMIT_SLACK = timedelta(seconds=5)",
            "_COMMIT_SLACK = timedelta(seconds=-3600)",
        )
    ],
    "rows are recorded before the poll is complete": [
        Change(
            "_logs/gap_search.py",
            "            reader.add_undelivered(rows)\n            if pages and",
            "            reader.add_undelivered(rows)\n"
            "            self._ledger.record_delivered(self._ledger.undelivered(rows))\n"
            "            if pages and",
        ),
        Change(
            "_logs/cursor.py",
            "        self.ledger.record_delivered(rows)\n",
            "        self.ledger.record_delivered(\n"
            "            row for row in rows if not self.ledger.is_known_delivered(row)\n"
            "        )\n",
        ),
    ],
    "a bucket's digest stays": [
        Change(
            "_logs/buckets.py",
            "        self.digest = _as_bytes(self.digest_number + digest_of(ids))\n",
            "",
        )
    ],
    "rows below the floor are undelivered": [
        Change("_logs/ledger.py", " if row.timestamp >= floor or row.created >= horizon", "")
    ],
    "a shrunk table is believed at once": [
        Change("_logs/cursor_poll.py", "_POLLS_TO_BELIEVE = 3 ", "_POLLS_TO_BELIEVE = 0 ")
    ],
    "a backfill page is delivered to its end": [
        Change(
            "_logs/table_reader.py",
            "            return [row for row in rows if row.timestamp < end], end\n",
            "            return rows, end\n",
        )
    ],
    "a backfill page in order is new": [
        Change(
            "_logs/cursor_poll.py",
            "            or (newest is not None and columns.timestamps[0] <= newest)\n",
            "",
        )
    ],
    "ties of a backfill page are in order": [
        Change(
            "_logs/row_columns.py", "from operator import lt\n", "from operator import le as lt\n"
        )
    ],
    "the search goes on where the probe began": [
        Change(
            "_logs/gap_search.py",
            "self._position = self._position._replace(expected_new=new)",
            "self._move_below(probe)",
        )
    ],
    "rows below the pages are not counted": [
        Change(
            "_logs/gap_search.py",
            "            if found == 0 or self._position.fits_page(self._limit):\n"
            "                return False\n",
            "            if found == 0 or self._position.fits_page(self._limit):\n"
            "                return found > 0\n",
        )
    ],
    "new rows are read upwards": [
        Change(
            "_logs/gap_search.py",
            "            if probe.gap == 0:\n                break\n",
            "            if probe.gap == 0 or not probe.is_one_page:\n                break\n",
        )
    ],
    "rows below a bucket are not counted": [
        Change("_logs/bucket_search.py", "none_below = rows is not None", "none_below = True")
    ],
    "bisection goes the other way": [
        Change(
            "_logs/bucket_search.py",
            "                low = middle\n            else:\n                high = middle\n",
            "                high = middle\n            else:\n                low = middle\n",
        )
    ],
    "old ids are kept": [
        Change(
            "_logs/kept_rows.py",
            "        self._ids.difference_update(passed.ids[:entered])\n",
            "",
        ),
    ],
    "the floor follows writers that are ahead": [
        Change(
            "_logs/ledger.py",
            "shifted(min(self.newest_timestamp, self.newest_created), -FLOOR_LAG)",
            "shifted(self.newest_timestamp, -FLOOR_LAG)",
        )
    ],
    "rows that pass the floor are counted twice": [
        Change(
            "_logs/row_columns.py",
            "        del self.timestamps[part], self.created[part], ",
            "        _ = self.timestamps[part], self.created[part], ",
        )
    ],
}
"""Mistakes in how one run is read."""

GROUP_MUTANTS: dict[str, list[Change]] = {
    "a joined cursor's floor stays": [
        Change(
            "_logs/ledger.py",
            "            self.raise_floor(floor)\n            other.raise_floor(floor)\n",
            "            self.raise_floor(floor)\n",
        )
    ],
    "the group's floor stays when a run joins": [
        Change(
            "_logs/ledger.py",
            "            self.raise_floor(floor)\n            other.raise_floor(floor)\n",
            "            other.raise_floor(floor)\n",
        )
    ],
    "old rows of a run that joins are not counted": [
        Change(
            "_logs/ledger.py",
            "        self._count_below_floor += other.total - other.count_above_floor\n",
            "",
        )
    ],
    "recent rows of a run that joins are forgotten": [
        Change(
            "_logs/ledger.py",
            "RowsAboveFloor([*self._above_floor, *state.rows_above_floor])",
            "RowsAboveFloor([*self._above_floor])",
        )
    ],
    "stragglers of a run that joins are forgotten": [
        Change(
            "_logs/ledger.py",
            "Stragglers([*self._stragglers, *state.stragglers])",
            "Stragglers([*self._stragglers])",
        )
    ],
    "a run that joins does not bring its newest row": [
        Change(
            "_logs/ledger.py",
            "        self.newest_created = later(self.newest_created, state.newest_created)\n",
            "",
        )
    ],
    "old rows of a run that leaves stay counted": [
        Change(
            "_logs/ledger.py",
            "        self._count_below_floor -= left.total - left.count_above_floor\n",
            "",
        )
    ],
    "recent rows of a run that leaves stay": [
        Change(
            "_logs/kept_rows.py",
            "        self._keep(row for row in self if row[2] != flow_run_id)\n",
            "",
        )
    ],
    "a run leaves without its recent rows": [
        Change("_logs/ledger.py", "rows_above_floor=rows, buckets", "rows_above_floor=[], buckets")
    ],
    "a run leaves without stragglers": [
        Change(
            "_logs/ledger.py",
            "rows_above_floor=rows, buckets=buckets",
            "rows_above_floor=rows, buckets=buckets, stragglers=[]",
        )
    ],
    "a run joins before it has caught up": [
        Change(
            "_watching/run_reader.py",
            "if self.row is None or self.position is not None:",
            "if self.row is None:",
        ),
        Change(
            "_watching/run_reader.py",
            " or self.logs.cursor.progress.backfilled",
            " or self.row is not None",
        ),
        Change(
            "_logs/cursor.py",
            "if not (self.progress.backfilled and other.progress.backfilled):",
            "if False:",
        ),
    ],
    "a run joins a group that reads a history": [
        Change(
            "_watching/run_group.py",
            "return self.has_caught_up and len(self._runs)",
            "return len(self._runs)",
        ),
    ],
    "a group has no end": [
        Change("_watching/run_group.py", "len(self._runs) < MAX_RUNS", "len(self._runs) < 10**6")
    ],
    "a run that is missing stays": [
        Change("_watching/group_rows.py", "missing=tuple(missing),", "missing=(),")
    ],
    "only runs in another state are read": [
        Change(
            "_watching/group_rows.py",
            "_WHOLE_READ_INTERVAL = 10.0",
            "_WHOLE_READ_INTERVAL = 1e9",
        )
    ],
    "a shrunk table is no reason to read all rows": [
        Change(
            "_watching/run_group.py",
            "            self._rows.read_all_next()\n",
            "            pass\n",
        )
    ],
    "a run that is not found is an outage": [
        Change(
            "_watching/runs_session.py",
            "recovered = self._end_outage(now)",
            "recovered: EventPages = ()",
        )
    ],
    "the floor rises over rows that a backfill reads": [
        Change("_logs/cursor.py", "advance_floor(read.backfill_position)", "advance_floor()")
    ],
    "runs that are missing are not watched any more": [
        Change(
            "_watching/runs_session.py",
            "                self._poll_alone(group.leave(run_id), now)\n",
            "                group.leave(run_id)\n",
        )
    ],
    "lines are those of the first run": [
        Change(
            "_watching/run_group.py",
            "            lines[row.flow_run_id].append(row)\n",
            "            lines[next(iter(self._runs))].append(row)\n",
        )
    ],
    "states do not wait for a group's history": [
        Change(
            "_watching/run_group.py",
            "backfill_position=tick.logs.backfill_position,",
            "backfill_position=None,",
        )
    ],
    "vanished rows of an unknown run are not reported": [
        Change(
            "_watching/run_group.py",
            "for bucket in read.replaced_buckets} or self._runs.keys()",
            "for bucket in read.replaced_buckets}",
        )
    ],
    "vanished rows are those of every run": [
        Change(
            "_watching/run_group.py",
            "return {bucket.flow_run_id for bucket in read.replaced_buckets} or self._runs.keys()",
            "return self._runs.keys()",
        )
    ],
    "events of a tick are emitted run by run": [
        Change(
            "_watching/run_group.py",
            "ordered = merge(*sourced, key=_timestamp)",
            "ordered = (event for each in sourced for event in each)",
        )
    ],
    "what a group reads is not recorded as delivered": [
        Change(
            "_watching/run_group.py",
            "        if self._logs is not None:\n            self._logs.commit(tick.logs, now)\n",
            "",
        )
    ],
    "shared rows are not news": [
        Change(
            "_watching/run_reader.py",
            "self._newest_log = later(self._newest_log, newest_created(read))",
            "pass",
        )
    ],
    "a run is closed as soon as it is over": [
        Change(
            "_watching/runs_session.py",
            "run.drained_in(self._server_time, now) == 0",
            "run.drained_in(self._server_time, now) is not None",
        )
    ],
    "a run is closed while its group reads a history": [
        Change("_watching/runs_session.py", "        if not again:\n", "        if True:\n")
    ],
    "a closed run is watched again": [
        Change(
            "_watching/runs_session.py",
            "return flow_run_id in self._known",
            "return flow_run_id in self._runs",
        )
    ],
    "a run that is given twice is two": [
        Change(
            "_watching/runs_session.py",
            "return flow_run_id in self._known",
            "return flow_run_id in self._known - self._runs.keys()",
        )
    ],
    "the watch ends with the first run": [
        Change(
            "_watching/runs_session.py",
            "if not self._all_given or self._runs or self._done is not None:",
            "if not self._all_given or not self._closed or self._done is not None:",
        )
    ],
    "the watch ends before all runs are given": [
        Change(
            "_watching/runs_session.py",
            "if not self._all_given or self._runs or self._done is not None:",
            "if self._runs or self._done is not None:",
        )
    ],
    "a history is read before all else": [
        Change(
            "_watching/poll_queue.py",
            "self._turns = [*_Turn]",
            "self._turns = sorted(_Turn, key=lambda turn: turn is not _Turn.RUN)",
        ),
        Change(
            "_watching/poll_queue.py",
            "        self._turns.remove(turn)\n        self._turns.append(turn)\n",
            "",
        ),
    ],
    "a group is lost by a failure": [
        Change(
            "_watching/runs_session.py",
            "        if polling.group.runs:\n            self._enqueue(polling)\n",
            "        if polling.group.runs:\n            pass\n",
        )
    ],
    "an outage is not reported to the runs": [
        Change(
            "_watching/runs_session.py",
            "                run.apply_outage(outage)\n",
            "                pass\n",
        )
    ],
    "a run that is not found once is closed": [
        Change("_watching/runs_session.py", "if isinstance(found, int | float):", "if False:")
    ],
    "what ended a run is not said": [
        Change("_watching/runs_session.py", "ended_by=run.ended_by", "ended_by=None")
    ],
}
"""Mistakes in what many runs of one watch share; their worlds are those of `many_run_worlds`."""


def main() -> int:
    """Try each mutant, and print its outcome."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        "--worlds", type=int, default=2800, help="how many worlds to try a mutant in"
    )
    options.add_argument("--seconds", type=float, default=300.0, help="the longest time to try one")
    options.add_argument("--of", choices=KINDS, help="only mutants of this kind")
    options.add_argument("--only", default="", help="mutants with this in their names")
    options.add_argument("--watch", choices=KINDS, help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.watch:
        return watch(arguments.watch, arguments.worlds)
    outcomes: list[Outcome] = []
    for kind in [arguments.of] if arguments.of else KINDS:
        worlds = arguments.worlds // KINDS[kind].worlds_divisor
        unchanged = outcome_of(kind, "none, as a check", [], worlds, arguments.seconds)
        if unchanged.killed:
            return 1
        outcomes += [
            outcome_of(kind, name, changes, worlds, arguments.seconds)
            for name, changes in KINDS[kind].mutants.items()
            if arguments.only in name
        ]
    killed = sum(outcome.killed for outcome in outcomes)
    print(f"\n{killed} of {len(outcomes)} mutants killed")
    return 0 if killed == len(outcomes) else 1


def outcome_of(kind: str, name: str, changes: list[Change], worlds: int, seconds: float) -> Outcome:
    """Try a mutant in worlds, then by the tests of its kind, and print its line of the table."""
    with tempfile.TemporaryDirectory() as folder:
        outcome = write_mutant(Path(folder), changes)
        if outcome is None:
            command = [str(HERE / "mutants.py"), "--watch", kind, "--worlds", str(worlds)]
            outcome = run_with(folder, command, seconds)
            if changes and not outcome.killed and KINDS[kind].tests:
                tests = ["-m", "pytest", "-x", "-q", *KINDS[kind].tests]
                outcome = run_with(folder, tests, seconds)
    print(f"{name:<50}{'killed: ' if outcome.killed else 'SURVIVED: '}{outcome.how}", flush=True)
    return outcome


def write_mutant(folder: Path, changes: list[Change]) -> Outcome | None:
    """Copy rxflow with some changes; return an outcome if one of them does not apply."""
    copy = folder / "rxflow"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for name, old, new in changes:
        file = copy / name
        text = file.read_text(encoding="utf-8")
        if text.count(old) != 1:
            return Outcome(killed=False, how=f"{name} has {text.count(old)} times {old!r}")
        file.write_text(text.replace(old, new), encoding="utf-8")
    return None


def run_with(folder: str, command: list[str], seconds: float) -> Outcome:
    """Run a Python command with the rxflow of a folder; it fails if the mutant is killed."""
    began = monotonic()
    try:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=PACKAGE.parent,
            env={**os.environ, "PYTHONPATH": folder, "PYTHONSAFEPATH": "1"},
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as timeout:
        text = (timeout.stdout or b"").decode()
        last = text.splitlines()[-1] if text else "nothing"
        return Outcome(killed=True, how=f"no end in {seconds:g} s after {last}")
    lines = (done.stdout if done.returncode in {0, 1} else done.stderr).splitlines()
    what = lines[-1] if lines else f"exit {done.returncode}"
    failed = [line for line in lines if line.startswith("FAILED ")]
    return Outcome(
        killed=done.returncode != 0,
        how=f"{failed[0] if failed else what} ({monotonic() - began:.0f} s)",
    )


def watch(kind: str, worlds: int) -> int:
    """Watch worlds until a promise is broken, with the rxflow on the path."""
    watches = KINDS[kind].watches
    for number in range(worlds):
        seed, each = divmod(number, len(watches))
        name = f"{watches[each].__name__} {seed}"
        try:
            result = watches[each](seed).watch()
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


class Kind(NamedTuple):
    """Mutants, and what detects them.

    Attributes:
        mutants: The mutants, by their names.
        watches: The watches of worlds to try one with, in turn.
        worlds_divisor: How many times as much as a world of the cursor's a world costs.
        tests: The tests that detect what no world shows, such as a query too many.
    """

    mutants: dict[str, list[Change]]
    watches: list[type[HostileWatch] | type[ManyRunWatch]]
    worlds_divisor: int = 1
    tests: tuple[str, ...] = ()


KINDS = {
    "cursor": Kind(CURSOR_MUTANTS, [HostileWatch, SlowHostileWatch]),
    "groups": Kind(
        GROUP_MUTANTS,
        [ManyRunWatch],
        worlds_divisor=20,
        tests=(
            "tests/watching/test_runs_session.py",
            "tests/logs/test_ledger.py",
            "tests/logs/test_cursor.py",
        ),
    ),
}


if __name__ == "__main__":
    sys.exit(main())
