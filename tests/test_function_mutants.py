"""What ``tests/tools/mutate.py`` decides; `tox -e mutate` runs it on the pure packages."""

from pathlib import Path

import pytest
from function_mutants import (
    MOST_SECONDS,
    MOST_SECONDS_OF_ONE,
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

ROOT = Path(__file__).parents[1]
MODULE = '''\
"""A module."""


def twice(number: int) -> int:
    """Double a number."""
    return 2 * number


class Ledger:
    @property
    def size(self) -> int:
        return 0

    def record(self, row: str) -> None:
        if row:
            raise ValueError(
                "a row is twice",
                "row",
            )
'''
# As mutmut writes a method: with what stands before it, and under another name.
RECORD = "\n" + MODULE[MODULE.index("    def record") :].replace(
    "def record(", "def xǁLedgerǁrecord__mutmut_orig("
)


def mutant_of_record(old: str, new: str) -> Mutant:
    """Change the method of the module."""
    mutated = RECORD.replace("__mutmut_orig", "__mutmut_3").replace(old, new)
    return compare("rxflow._logs.x__mutmut_3", "rxflow/_logs/ledger.py", 14, RECORD, mutated)


def mutant(number: int, *, package: str = "_logs", outcome: str | None = None) -> Mutant:
    """Make a mutant of some package."""
    return Mutant(
        name=f"{package} {number}",
        file=f"rxflow/{package}/module.py",
        line=number,
        old=f"return {number}",
        new="return None",
        outcome=outcome,
    )


def test_functions_are_found_by_the_name_that_mutmut_gives_them() -> None:
    """Functions and methods have a line each, that of their ``def``."""
    assert function_starts(MODULE) == {"x_twice": 4, "xǁLedgerǁsize": 11, "xǁLedgerǁrecord": 14}
    assert function_of("xǁLedgerǁrecord__mutmut_12") == "xǁLedgerǁrecord"


def test_a_mutant_has_the_line_and_the_change() -> None:
    """The line is that of the file, whatever stands before the function in what mutmut wrote."""
    changed = mutant_of_record("if row:", "if not row:")
    assert (changed.line, changed.old, changed.new) == (15, "if row:", "if not row:")
    assert changed.change == "rxflow/_logs/ledger.py: if row: -> if not row:"
    assert changed.package == "_logs"


def test_a_line_that_is_gone_is_a_change_to_nothing() -> None:
    """A mutant that drops an argument on a line of its own has no new text."""
    changed = mutant_of_record('                "row",\n', "")
    assert (changed.line, changed.old, changed.new) == (18, '"row",', "")


@pytest.mark.parametrize(
    ("old", "new", "is_text_only"),
    [
        ('"a row is twice"', '"XXa row is twiceXX"', True),
        ('"a row is twice"', '"A ROW IS TWICE"', True),
        ('"a row is twice"', "None", False),
        ('"row"', '"XXrowXX"', False),
        ("if row:", "if not row:", False),
    ],
)
def test_a_mutant_of_a_text_for_people_is_known(old: str, new: str, *, is_text_only: bool) -> None:
    """It changes a literal of several words to another; a key of one word is for programs."""
    assert mutant_of_record(old, new).is_text_only is is_text_only


def test_a_sample_is_determined_by_its_seed() -> None:
    """The order in which mutants are read does not matter, nor do other packages."""
    logs = [mutant(number) for number in range(100)]
    protocol = [mutant(number, package="_protocol") for number in range(3)]
    chosen = choose([*logs, *protocol], sample=10, seed=1)
    assert chosen == choose([*protocol, *reversed(logs)], sample=10, seed=1)
    assert chosen[:10] == choose(logs, sample=10, seed=1) != choose(logs, sample=10, seed=2)
    assert chosen[:4] == choose(logs, sample=4, seed=1)
    assert {each.package for each in chosen[10:]} == {"_protocol"}
    assert len(set(chosen)) == 13


def test_without_a_sample_all_are_chosen_but_texts() -> None:
    """The packages come in their order of importance."""
    text = mutant(7)._replace(is_text_only=True)
    protocol, logs = mutant(1, package="_protocol"), mutant(2)
    assert choose([protocol, text, logs], sample=None, seed=0) == [logs, protocol]


def test_a_mutant_is_tested_by_the_tests_of_its_package_and_by_quick_ones_first() -> None:
    """A mutant is killed as early as it can be, by what is meant to test it."""
    seconds = {
        "tests/watching/test_session.py::test_any": 0.1,
        "tests/logs/test_ledger.py::test_slow": 2.0,
        "tests/logs/test_ledger.py::test_quick": 1.0,
        "tests/test_events.py::test_any": 0.2,
    }
    ledger = "tests/logs/test_ledger.py::"
    assert choose_tests("_logs", seconds) == [f"{ledger}test_quick", f"{ledger}test_slow"]
    assert choose_tests("events", seconds) == ["tests/test_events.py::test_any"]


def test_the_tests_of_each_package_are_there() -> None:
    """A folder or file of tests that was renamed would kill no mutant."""
    missing = [path for paths in TESTS.values() for path in paths if not (ROOT / path).exists()]
    assert not missing


def test_tests_of_a_mutant_take_so_long_in_all() -> None:
    """Those that take too long by themselves, or beside the quicker ones, are left out."""
    seconds = {f"tests/logs/test_{number}.py": 7.5 for number in range(20)}
    chosen = choose_tests("_logs", {**seconds, "tests/logs/long": MOST_SECONDS_OF_ONE + 0.1})
    assert len(chosen) == MOST_SECONDS // 7.5
    assert "tests/logs/long" not in chosen


def test_survivors_are_reported_by_their_line_with_their_change_and_reason() -> None:
    """A mutant that no test calls has survived as well; one that was not tested is left out."""
    mutants = [
        mutant(9, outcome="survived"),
        mutant(8, outcome="no tests"),
        mutant(3, outcome="killed"),
        mutant(4),
    ]
    accepted = {mutants[0].change: "equal"}
    assert list(survivor_lines(mutants, accepted)) == [
        "rxflow/_logs/module.py:8: no tests: _logs 8",
        "  - return 8",
        "  + return None",
        "rxflow/_logs/module.py:9: survived: _logs 9",
        "  - return 9",
        "  + return None",
        "  accepted: equal",
    ]


def test_the_score_counts_the_tested_ones() -> None:
    """One that does not end is killed, and one that is accepted is not."""
    outcomes = ["killed", "timeout", "survived", "no tests", None]
    tested = [mutant(number, outcome=outcome) for number, outcome in enumerate(outcomes)]
    text = mutant(9)._replace(is_text_only=True)
    (score,) = scores([*tested, text], tested, {tested[2].change: "equal"})
    assert score == ("_logs", 5, 4, 2, 1)
    assert score.percentage == 50.0
    assert str(score).split() == ["_logs", "5", "4", "2", "2", "1", "50.0%"]
