"""The project's files agree: README, pyproject.toml, tox.ini, `.ci/run`, and the package."""

import ast
import configparser
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import rxflow

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
MODULES = sorted((ROOT / "rxflow").rglob("*.py"))

# The parts of the top level; caches and build results beside them are not ours.
PARTS = [
    *(".ci", ".gitattributes", ".github", ".gitignore", "CHANGELOG.md", "LICENSE", "README.md"),
    *("docs", "examples", "pyproject.toml", "rxflow", "tests", "tox.ini"),
]

# Spelled so that this file does not hold what it looks for.
MACHINE = re.compile(
    r"(?<![\w.~/])[/](?:work|root|home|Users)[/]|https?://\S+[/]simple\b|pythonhosted[.]org"
)


def _texts() -> Iterator[tuple[Path, str]]:
    for part in PARTS:
        path = ROOT / part
        for file in [path] if path.is_file() else path.rglob("*"):
            hidden = any(part.startswith((".", "__")) for part in file.relative_to(path).parts)
            if file.is_file() and not (hidden and file.suffix != ".py"):
                yield file.relative_to(ROOT), file.read_text("utf-8", errors="replace")


def _commands() -> list[str]:
    readme = (ROOT / "README.md").read_text("utf-8")
    blocks: list[str] = re.findall(r"(?ms)^```(?:console|bash|shell|sh)\n(.*?)^```", readme)
    lines = "".join(blocks).splitlines()
    return [line.removeprefix("$ ").partition("#")[0].strip() for line in lines]


def test_readme_installs_from_the_checkout() -> None:
    """README names the distribution, and installs it from the checkout only."""
    assert PROJECT["name"] in (ROOT / "README.md").read_text("utf-8")
    installed = re.findall(r"pip install (?:--quiet )?(\S+)", "\n".join(_commands()))
    assert set(installed) <= {"'.[demo]'", "tox"}


def test_readme_and_ci_run_the_same_tests() -> None:
    """`.ci/run` runs the test command of README, word for word."""
    command = next(command for command in _commands() if re.search(r"\btox\b", command))
    script = (ROOT / ".ci/run").read_text("utf-8")
    assert re.search(rf"(?m)^{re.escape(command)}(?= |$)", script)


def test_min_versions_are_what_is_declared() -> None:
    """The `min-versions` environment pins each dependency to the lowest declared version."""
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini")
    extras = PROJECT["optional-dependencies"]
    declared = {*PROJECT["dependencies"], *extras["cli"], *extras["fake-prefect1"]}
    declared |= {*extras["metrics"], *extras["web"], *extras["ws"]}
    lowest = {re.sub(r">=([\d.]+).*", r"==\1", requirement) for requirement in declared}
    assert set(tox["testenv:min-versions"]["deps"].split()) == lowest


def test_each_environment_of_tox_that_is_named_exists() -> None:
    """Texts and tools name environments of `tox.ini`, by themselves and by their labels."""
    found = {
        (option, name)
        for _, text in _texts()
        for option, names in re.findall(r"\btox(?: run)? -([em]) ([a-z0-9,-]+)", text)
        for name in names.split(",")
    }
    assert len(found) > 10
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini")
    labels = [line.split(" = ") for line in tox["tox"]["labels"].split("\n") if line]
    known = {("m", label) for label, _ in labels}
    for _, names in labels:
        known |= {("e", name) for name in names.split(", ")}
    known |= {("e", section.removeprefix("testenv:")) for section in tox.sections()}
    assert sorted(found - known) == []


def test_each_test_that_the_contract_names_exists() -> None:
    """The table of faults names tests by their files and functions below `tests/`."""
    contract = (ROOT / "docs/contract.md").read_text("utf-8")
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", contract)
    assert len(named) > 50
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not re.search(rf"(?m)^(async )?def {name}\(", (ROOT / "tests" / file).read_text("utf-8"))
    ]
    assert missing == []


def test_each_fault_of_the_contract_has_a_test() -> None:
    """The table of faults names one in each row, and the text says how many rows there are."""
    contract = (ROOT / "docs/contract.md").read_text("utf-8")
    faults = contract.partition("\n## Faults")[2].partition("\n## ")[0]
    rows = re.findall(r"(?m)^\| (?!Fault |-)(.*)", faults)
    assert [row for row in rows if not re.search(r"\b[RPSU] `[\w/]+\.py::", row)] == []
    assert f"All {len(rows)} faults have one." in faults


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_module_says_its_role(module: Path) -> None:
    """Each module opens with a docstring."""
    assert ast.get_docstring(ast.parse(module.read_text("utf-8")))


def test_exports_exist_in_order() -> None:
    """`rxflow.__all__` is sorted, without repeats, and each of its names exists."""
    assert list(rxflow.__all__) == sorted(set(rxflow.__all__))
    assert [name for name in rxflow.__all__ if not hasattr(rxflow, name)] == []


def test_no_text_knows_a_machine() -> None:
    """No file holds an absolute path of a machine, or the address of a package index."""
    found = [f"{file}: {hit.group()}" for file, text in _texts() for hit in MACHINE.finditer(text)]
    assert found == []


# Words of conversation where the glossary has a term: an event is emitted, a row delivered, a query
# sent, a reply received.
VAGUE_WORDS = (
    *("acquaintance", "ask", "asked", "asking", "asks", "forgo", "forgone", "lend", "lent"),
    *("nobody", "owed", "patience", "patient", "tell", "teller", "telling", "tells", "told"),
    *("trouble", "troubles", "untold", "verdict", "verdicts", "whoever"),
)
VAGUE = re.compile(rf"(?<![A-Za-z])(?:{'|'.join(VAGUE_WORDS)})(?![a-z])", re.IGNORECASE)


def test_every_text_uses_the_words_of_the_glossary() -> None:
    """No identifier and no sentence has a word that the glossary replaces."""
    found = [
        f"{file}: {hit.group()}"
        for file, text in _texts()
        if file.suffix in {".py", ".md", ".toml", ".ini"} and file.name != Path(__file__).name
        for hit in VAGUE.finditer(text)
    ]
    assert found == []
