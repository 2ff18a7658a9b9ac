"""Search for bytes that break a reader: ``tox -e atheris -- --seconds 60``.

Each reader of replies and of files is given mutated bytes for some seconds, in a process of its
own, in which atheris (libFuzzer) keeps those that reach new code. Prints the executions of each,
and exits 1 if a reader broke its law, took more than 20 s or more than 512 MiB; the path of a file
with those bytes is printed then. ``--law NAME --replay FILE`` reads it again, without atheris.

The laws are those of ``tests/support/reader_laws``. ``tests/tools/fuzz.py`` is another tool: it
watches whole runs with mutated replies.
"""

import argparse
import importlib
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

if TYPE_CHECKING:
    from reader_laws.law import Law

LONGEST_INPUT = 40_000  # bytes
LONGEST_READ = 20  # seconds
MOST_MEMORY = 512 * 1024 * 1024  # bytes that reading may take; Zstandard has windows of 128 MiB
STARTING = 120  # seconds that a process may take beside those for which it reads

NO_ATHERIS = (
    "nothing was read: there is no atheris, which has wheels for Linux on x86-64 and "
    "Python 3.11 to 3.13"
)
_EXECUTIONS = re.compile(r"^stat::number_of_executed_units: *(\d+)|^#(\d+)\t", re.MULTILINE)
_BAD_END = re.compile(r"=== Uncaught Python exception: ===|^==\d+== ERROR", re.MULTILINE)


class Outcome(NamedTuple):
    """The result for one law.

    Attributes:
        law: Its name.
        executions: How often it was checked.
        finding: How it was broken; empty if it was not.
    """

    law: str
    executions: int
    finding: str


def laws_of(module: str) -> Mapping[str, "Law"]:
    """Return the laws of a module by name, and all of them together as ``all``."""
    laws: Mapping[str, Law] = importlib.import_module(module).LAWS
    return {**laws, "all": importlib.import_module("reader_laws").together([*laws.values()])}


def fuzz(module: str, name: str, seconds: int, folder: Path) -> Outcome:
    """Fuzz one reader in a process of its own.

    Args:
        module: The module with its law.
        name: The law's name.
        seconds: For how long.
        folder: A new folder for what is found.
    """
    folder.mkdir(parents=True)
    log = folder / "log"
    command = [sys.executable, __file__, "--laws", module, "--law", name, "--fuzz-in", str(folder)]
    with log.open("wb") as output:
        status = subprocess.run(
            [*command, "--seconds", str(seconds)],
            stdout=output,
            stderr=output,
            env={**os.environ, "TMPDIR": str(folder)},
            timeout=seconds + STARTING,
            check=False,
        ).returncode
    text = log.read_text("utf-8", "replace")
    counts = [int(count) for pair in _EXECUTIONS.findall(text) for count in pair if count]
    if not status:
        return Outcome(name, counts[-1], "")
    bad_end = _BAD_END.search(text)
    shown = text[bad_end.start() if bad_end else -3_000 :].split("\nMS: ")[0]
    inputs = [str(path) for path in folder.glob("found-*")]
    return Outcome(name, counts[-1] if counts else 0, "\n".join([shown, *inputs]))


def limit_memory() -> None:
    """Let this process take `MOST_MEMORY` more than it has; then a reader raises MemoryError."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    most = pages * resource.getpagesize() + MOST_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def fuzz_here(module: str, name: str, seconds: int, folder: Path) -> None:
    """Fuzz one reader in this process, which ends with it; nothing of rxflow is imported yet."""
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["rxflow", module]):
        law = laws_of(module)[name]
        from reader_laws import mutants_of  # noqa: PLC0415

    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(law.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        random = Random(seed)
        if random.random() < 0.5:
            mutated: bytes = atheris.Mutate(data, most)
            return mutated
        return next(mutants_of(data, random, 1))[:most]

    options: dict[str, Any] = {
        "max_total_time": seconds,
        "max_len": LONGEST_INPUT,
        "timeout": LONGEST_READ,
        "rss_limit_mb": 0,  # limit_memory says which input it was
        "print_final_stats": 1,
        "artifact_prefix": folder / "found-",
    }
    arguments = [f"-{name}={value}" for name, value in options.items()]
    limit_memory()
    atheris.Setup([sys.argv[0], *arguments, str(corpus)], law.check, custom_mutator=mutate)
    atheris.Fuzz()


def main() -> int:
    """Fuzz the readers, and print what came of it."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=int, default=10, help="for each law")
    options.add_argument("--law", action="append", help="a law's name, or all for all in one")
    options.add_argument("--jobs", type=int, default=os.cpu_count(), help="how many at once")
    options.add_argument("--folder", type=Path, help="a new folder for what is found")
    options.add_argument("--replay", type=Path, help="a file that a law is to be checked with")
    options.add_argument("--laws", default="reader_laws", help=argparse.SUPPRESS)
    options.add_argument("--fuzz-in", type=Path, help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.fuzz_in:
        fuzz_here(arguments.laws, arguments.law[0], arguments.seconds, arguments.fuzz_in)
    laws = laws_of(arguments.laws)
    names = arguments.law or [name for name in laws if name != "all"]
    if arguments.replay:
        limit_memory()
        laws[names[0]].check(arguments.replay.read_bytes())
        return 0
    if find_spec("atheris") is None:
        print(NO_ATHERIS)
        return 0
    folder = (arguments.folder or Path(tempfile.mkdtemp(prefix="rxflow-fuzz-"))).absolute()

    def fuzz_named(name: str) -> Outcome:
        return fuzz(arguments.laws, name, arguments.seconds, folder / name.replace(" ", "-"))

    findings = 0
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for outcome in pool.map(fuzz_named, names):
            print(f"{outcome.law:>20} {outcome.executions:>12,} {outcome.finding}", flush=True)
            findings += bool(outcome.finding)
    if not findings and arguments.folder is None:
        shutil.rmtree(folder)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
