"""Mutate the functions of the pure packages, and test the mutants: `tox -e mutate -- _logs`.

mutmut makes the mutants and runs tests on them, in processes forked from one that has imported all
tests. What it lacks is here: a random sample that a seed determines, the score of each package,
survivors as file:line with their change, and `accepted_mutants.toml`, a list of survivors with
reasons. Exits 1 if fewer than 90 % of a package's mutants are killed, or if the list names a change
that no mutant makes any more.

A mutant is tested by those tests of its package that call its function, quick ones first. Outcomes
are kept in `mutants/`: a run that was interrupted goes on where it was, and a function that was
changed is tested again. After tests were changed, `--again` tests the survivors again.

Not mutated are texts for people, which are literals of two words or more, and what mutmut leaves
out: functions with a decorator, such as properties, and what stands outside of functions.
"""

import argparse
import resource
import sys
import tomllib
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from importlib import invalidate_caches
from pathlib import Path
from tempfile import TemporaryFile

from mutmut import __main__ as mutmut
from mutmut.configuration import config
from mutmut.mutation.data import MutantLineSpans, SourceFileMutationData
from mutmut.state import state
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import walk_mutatable_files
from mutmut.workers.isolation import MutantRunner

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from function_mutants import (
    LEAST_SCORE,
    SCORE_HEAD,
    TESTS,
    Mutant,
    choose,
    choose_tests,
    compare,
    function_of,
    function_starts,
    scores,
    survivor_lines,
)

ACCEPTED = Path(__file__).with_name("accepted_mutants.toml")
MOST_MEMORY = 6 * 2**30  # bytes of a process: a mutant may append to a list for ever
MOST_SECONDS = 3600  # of the processor, and half of it on the wall: each test has its own limit
MOST_LINES = 40  # of what pytest printed, where the tests fail without a mutant
NO_TESTS = 33  # mutmut's exit code of a mutant whose function no test calls


def main() -> int:
    """Test mutants, and print the survivors and the score of each package."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("packages", nargs="*", help=f"of {', '.join(TESTS)}; without, all")
    options.add_argument("--sample", type=int, help="how many of each package; without, all")
    options.add_argument("--seed", type=int, default=0, help="what determines the sample")
    options.add_argument("--processes", type=int, default=2, help="how many are tested at a time")
    options.add_argument("--again", action="store_true", help="test the survivors again")
    options.add_argument("--report", action="store_true", help="print the outcomes, test nothing")
    arguments = options.parse_args()
    packages = set(arguments.packages or TESTS)
    if unknown := packages.difference(TESTS):
        options.error(f"{', '.join(sorted(unknown))}: give some of {', '.join(TESTS)}")

    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    write_mutants(arguments.processes)
    chosen = [
        mutant
        for mutant in choose(read_mutants(), arguments.sample, arguments.seed)
        if mutant.package in packages
    ]
    if not arguments.report:
        again = [each for each in chosen if each.outcome is None or arguments.again]
        test([each for each in again if not each.is_killed], arguments.processes)
    return report({each.name for each in chosen})


def report(chosen: set[str]) -> int:
    """Print the outcomes of the mutants of these names, and return the exit status."""
    tables = tomllib.loads(ACCEPTED.read_text(encoding="utf-8"))["accepted"]
    accepted = {change: table["reason"] for table in tables for change in table["changes"]}
    mutants = list(read_mutants())
    tested = [mutant for mutant in mutants if mutant.name in chosen]
    outdated = sorted(accepted.keys() - {mutant.change for mutant in mutants})
    results = scores(mutants, tested, accepted)
    print(*survivor_lines(tested, accepted), "", SCORE_HEAD, *results, sep="\n")
    for change in outdated:
        print(f"{ACCEPTED.name} accepts what no mutant changes any more: {change}")
    return int(bool(outdated) or any(each.percentage < LEAST_SCORE for each in results))


def write_mutants(processes: int) -> None:
    """Write the mutants of those files that changed since mutmut last did."""
    mutmut.set_mutant_under_test("mutant_generation")
    Path("mutants").mkdir(exist_ok=True)
    invalidate_caches()  # Python ignores a directory on its path that was not there when it looked
    with mutmut.CatchOutput(spinner_title="Writing the mutants"):
        mutmut.copy_src_dir()
        mutmut.copy_also_copy_files()
        mutmut.setup_source_paths()
        mutmut.create_mutants(processes)


def read_mutants() -> Iterator[Mutant]:
    """Read the mutants that mutmut wrote, and their outcomes."""
    for path in sorted(walk_mutatable_files()):
        data = SourceFileMutationData(path=path)
        data.load()
        spans = MutantLineSpans.load(path)
        if not data.exit_code_by_key or spans is None:
            continue
        names = {key: key.rpartition(".")[2] for key in data.exit_code_by_key}
        functions = {function_of(name) for name in names.values()}
        wanted = [*names.values(), *(f"{function}__mutmut_orig" for function in functions)]
        sources = dict(zip(wanted, spans.read_function_sources(wanted), strict=True))
        starts = function_starts(path.read_text(encoding="utf-8"))
        for key, name in names.items():
            function = function_of(name)
            exit_code = data.exit_code_by_key[key]
            yield compare(
                key,
                path.as_posix(),
                starts[function],
                sources[f"{function}__mutmut_orig"],
                sources[name],
                outcome=None if exit_code is None else status_by_exit_code[exit_code],
            )


def test(mutants: list[Mutant], processes: int) -> None:
    """Test mutants, and keep their outcomes where mutmut keeps them."""
    if not mutants:
        return
    runner = mutmut.get_mutant_runner(processes)
    run_unmutated(runner, {mutant.package for mutant in mutants})
    mutmut.set_mutant_under_test("")
    runner.startup()
    try:
        for done, (mutant, exit_code) in enumerate(exit_codes(runner, mutants), 1):
            data = SourceFileMutationData(path=mutant.file)
            data.load()
            data.exit_code_by_key[mutant.name] = exit_code
            data.save()
            mutmut.print_status(f"{done} of {len(mutants)} tested")
    except KeyboardInterrupt:
        runner.stop_all_workers()
        raise
    finally:
        runner.shutdown()
        print()


def run_unmutated(runner: MutantRunner, packages: set[str]) -> None:
    """Run the tests of packages without a mutant, to see which functions each of them calls."""
    tests = [path for package in packages for path in TESTS[package]]
    # What the process that others are forked from imports.
    config().pytest_add_cli_args_test_selection = tests
    mutmut.set_mutant_under_test("stats")
    print("Running the tests without a mutant", flush=True)
    # A forked process runs them, so a file is where this one finds what pytest printed.
    with TemporaryFile("w+", buffering=1, encoding="utf-8") as output:
        with redirect_stdout(output), redirect_stderr(output):
            status = runner.collect_stats(tests)
        output.seek(0)
        last = output.readlines()[-MOST_LINES:]
    if status:
        sys.exit(f"{''.join(last)}The tests fail without a mutant: pytest {' '.join(tests)}")


def exit_codes(runner: MutantRunner, mutants: list[Mutant]) -> Iterator[tuple[Mutant, int]]:
    """Test mutants, and yield each with pytest's exit code, as they end."""
    by_name = {mutant.name: mutant for mutant in mutants}
    for mutant in mutants:
        names = state().tests_by_mangled_function_name.get(function_of(mutant.name), ())
        seconds = {name: state().duration_by_test[name] for name in names}
        tests = choose_tests(mutant.package, seconds)
        if not tests:
            yield mutant, NO_TESTS
            continue
        while not runner.has_capacity():
            yield by_name[(result := runner.wait_for_result()).mutant_name], result.exit_code
        estimate = sum(seconds[name] for name in tests)
        runner.submit(mutant.name, tests, MOST_SECONDS, estimate)
    runner.signal_work_complete()
    while runner.pending_count():
        yield by_name[(result := runner.wait_for_result()).mutant_name], result.exit_code


if __name__ == "__main__":
    sys.exit(main())
