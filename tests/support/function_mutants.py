"""Mutants of functions: which are tested, by which tests, and what is reported of them.

Belongs here: what `tests/tools/mutate.py` decides. Does not belong here: mutmut, which makes the
mutants and runs the tests.
"""

import ast
import re
import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from difflib import SequenceMatcher
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

TESTS = {
    "_logs": ("tests/logs",),
    "_protocol": ("tests/protocol",),
    "_watching": ("tests/watching",),
    "_operators": ("tests/operators", "tests/test_operators.py"),
    "_models": ("tests/models",),
    "_backends": ("tests/backends",),
    "_config": ("tests/config",),
    "_pictures": ("tests/pictures",),
    "events": ("tests/test_events.py", "tests/test_event_json.py"),
    "errors": ("tests/test_errors.py",),
}
"""What is mutated, the most important first, and the tests that are to kill its mutants."""

LEAST_SCORE = 90.0
"""The percentage of mutants that must be killed."""

MOST_SECONDS = 60.0
"""How long the tests of one mutant take in all at most, measured without a mutant."""

MOST_SECONDS_OF_ONE = 10.0
"""How long each of them takes at most; `processor_time_limit` allows three times as much."""

_TWO_WORDS = re.compile(r"\w\W* \W*\w")
_GENERATED_NAME = re.compile(r"def x[_ǁ]\w*__mutmut_\w+\(")


class Mutant(NamedTuple):
    """A function with a change.

    Attributes:
        name: Its name in mutmut: the module, the function and a number.
        file: Its file, from the root of the repository.
        line: The number of the first line that it changes.
        old: The changed lines, without their indent.
        new: What the mutant has instead.
        is_text_only: Whether it changes a text for people and nothing else.
        outcome: `killed`, `timeout`, `survived`, `no tests`, ...; None if it was not tested.
    """

    name: str
    file: str
    line: int
    old: str
    new: str
    is_text_only: bool = False
    outcome: str | None = None

    @property
    def package(self) -> str:
        """The package of rxflow, or the module in its root, that it is in."""
        return Path(self.file).parts[1].removesuffix(".py")

    @property
    def is_killed(self) -> bool:
        """Whether a test failed, did not end, or crashed."""
        return self.outcome in {"killed", "timeout", "segfault"}

    @property
    def survived(self) -> bool:
        """Whether it was tested, and not killed."""
        return self.outcome is not None and not self.is_killed

    @property
    def change(self) -> str:
        """The change in one text, by which `accepted_mutants.toml` names it."""
        return f"{self.file}: {' '.join(self.old.split())} -> {' '.join(self.new.split())}"


def compare(
    name: str, file: str, start: int, original: str, mutated: str, *, outcome: str | None = None
) -> Mutant:
    """Compare a mutated function with the original one.

    Args:
        name: The mutant's name in mutmut.
        file: The file of the function.
        start: The line of the function's ``def`` in that file.
        original: The source of the function, under the name that mutmut gave it.
        mutated: That of the mutant.
        outcome: What the tests of the mutant showed.
    """
    before = _GENERATED_NAME.sub("def f(", original, count=1).splitlines()
    after = _GENERATED_NAME.sub("def f(", mutated, count=1).splitlines()
    changes = [
        each
        for each in SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
        if each[0] != "equal"
    ]
    _, first, _, new_first, _ = changes[0]
    _, _, end, _, new_end = changes[-1]
    head = next(index for index, line in enumerate(before) if line.lstrip().startswith("def f("))
    return Mutant(
        name=name,
        file=file,
        line=start + first - head,
        old=_without_indent(before[first:end]),
        new=_without_indent(after[new_first:new_end]),
        is_text_only=_without_texts(before) == _without_texts(after),
        outcome=outcome,
    )


def function_of(mutant: str) -> str:
    """Return mutmut's name of a function, from that of one of its mutants."""
    return mutant.partition("__mutmut_")[0]


def function_starts(source: str) -> dict[str, int]:
    """Find the line of each function's ``def``, by mutmut's name of the function."""
    starts: dict[str, int] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef):
            starts[f"x_{node.name}"] = node.lineno
        elif isinstance(node, ast.ClassDef):
            methods = (each for each in node.body if isinstance(each, ast.FunctionDef))
            starts |= {f"xǁ{node.name}ǁ{each.name}": each.lineno for each in methods}
    return starts


def choose(mutants: Iterable[Mutant], sample: int | None, seed: int) -> list[Mutant]:
    """Choose the mutants to test: all, or at most `sample` of each package.

    Not those of texts for people. Whether a mutant is chosen before another one depends on their
    names and the seed alone, so a larger sample has the smaller one in it, and a change of the code
    leaves most of it as it was.
    """
    by_package: dict[str, list[Mutant]] = defaultdict(list)
    for mutant in sorted(
        mutants, key=lambda mutant: sha256(f"{seed} {mutant.name}".encode()).digest()
    ):
        if not mutant.is_text_only:
            by_package[mutant.package].append(mutant)
    return [mutant for package in TESTS for mutant in by_package[package][:sample]]


def choose_tests(package: str, seconds: Mapping[str, float]) -> list[str]:
    """Choose the tests of a mutant, quick ones first.

    Args:
        package: The package of the mutant, whose own tests are chosen.
        seconds: The tests that call its function, and how long each takes.
    """
    total = 0.0
    chosen: list[str] = []
    for name in sorted(seconds, key=lambda name: (seconds[name], name)):
        if not name.startswith(TESTS[package]) or seconds[name] > MOST_SECONDS_OF_ONE:
            continue
        total += seconds[name]
        if total <= MOST_SECONDS:
            chosen.append(name)
    return chosen


def survivor_lines(mutants: Iterable[Mutant], accepted: Mapping[str, str]) -> Iterator[str]:
    """Write each survivor as ``file:line`` with its change, and why it is accepted.

    Args:
        mutants: The mutants that were chosen.
        accepted: The reasons for changes that may survive.
    """
    for mutant in sorted(mutants, key=lambda mutant: (mutant.file, mutant.line, mutant.name)):
        if mutant.survived:
            yield f"{mutant.file}:{mutant.line}: {mutant.outcome}: {mutant.name}"
            yield from (f"  - {line}" for line in mutant.old.splitlines())
            yield from (f"  + {line}" for line in mutant.new.splitlines())
            if mutant.change in accepted:
                yield f"  accepted: {accepted[mutant.change]}"


class Score(NamedTuple):
    """How many mutants of a package the tests kill.

    Attributes:
        package: The package.
        mutants: How many mutants it has, without those of texts for people.
        tested: How many of them were tested.
        killed: How many of the tested ones were killed.
        accepted: How many of the survivors have a reason.
    """

    package: str
    mutants: int
    tested: int
    killed: int
    accepted: int

    @property
    def percentage(self) -> float:
        """The killed ones in a hundred of those tested; accepted ones count as survivors."""
        return 100 * self.killed / self.tested if self.tested else 0.0

    def __str__(self) -> str:
        """Return the row of the table."""
        return (
            f"{self.package:<12}{self.mutants:>8}{self.tested:>8}{self.killed:>8}"
            f"{self.tested - self.killed:>10}{self.accepted:>10}{self.percentage:>8.1f}%"
        )


SCORE_HEAD = (
    f"{'package':<12}{'mutants':>8}{'tested':>8}{'killed':>8}{'survived':>10}{'accepted':>10}"
    f"{'score':>9}"
)


def scores(
    mutants: Iterable[Mutant], chosen: Iterable[Mutant], accepted: Mapping[str, str]
) -> list[Score]:
    """Count the mutants of each package.

    Args:
        mutants: All mutants.
        chosen: Those that were chosen to be tested.
        accepted: The reasons for changes that may survive.
    """
    total = Counter(mutant.package for mutant in mutants if not mutant.is_text_only)
    tested: dict[str, list[Mutant]] = defaultdict(list)
    for mutant in chosen:
        if mutant.outcome is not None:
            tested[mutant.package].append(mutant)
    return [
        Score(
            package=package,
            mutants=total[package],
            tested=len(tested[package]),
            killed=sum(mutant.is_killed for mutant in tested[package]),
            accepted=sum(
                mutant.survived and mutant.change in accepted for mutant in tested[package]
            ),
        )
        for package in TESTS
        if tested[package]
    ]


def _without_indent(lines: list[str]) -> str:
    return textwrap.dedent("\n".join(lines)).strip()


def _without_texts(lines: list[str]) -> str:
    """Write a function without its literals of two words or more.

    Those are for people; a key or a value that a program compares has one word.
    """
    tree = ast.parse(textwrap.dedent("\n".join(lines)))
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and _TWO_WORDS.search(node.value)
        ):
            node.value = ""
    return ast.dump(tree)
