"""`.ci/run`: it exits as tox does, and the end of its output names each test that failed.

A shell script stands for Python: its virtual environments hold a tox that prints a log.
"""

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]

# Its arguments are `-` for its version and path, or `-m venv <directory>`.
PYTHON = """#!/bin/sh
case "$1" in
    -) echo "python3.11 $0" ;;
    -m) mkdir -p "$3/bin" && cp pip tox "$3/bin" ;;
esac
"""

GOOD = """lint: commands[0]> ruff check --no-cache
All checks passed!
lint: OK \N{CHECK MARK} in 3 seconds
py313: commands[0]> pytest -n auto -m 'not long'
9209 passed, 4 skipped in 318.02s (0:05:18)
py313: OK \N{CHECK MARK} in 5 minutes
"""

BAD = """py312: commands[0]> pytest -n auto -m 'not long'
.............F..............F
=================================== FAILURES ===================================
_____________________________ test_one_is_two[run] _____________________________
    def test_one_is_two(face: str) -> None:
>       assert one == two
E       AssertionError: assert 1 == 2
E         first detail
E         second detail
E         third detail
{middle}
=========================== short test summary info ============================
FAILED tests/test_one.py::test_one_is_two[run]
{skipped}
1 failed, 9208 passed, 4 skipped in 331.52s (0:05:31)
py312: exit 1 (334.02 seconds) /there> pytest -n auto -m 'not long' pid=7
""".format(
    middle="\n".join(f"frame {number}" for number in range(40)),
    skipped="\n".join(f"SKIPPED [1] tests/test_{number}.py" for number in range(40)),
)

TYPES = """types: commands[0]> mypy
rxflow/a.py:3: error: Name "b" is not defined  [name-defined]
types: exit 1 (9.02 seconds) /there> mypy pid=9
"""


def run_ci(directory: Path, log: str, status: int) -> "subprocess.CompletedProcess[str]":
    """Run the script in a directory of its own, with a tox that prints a log."""
    (directory / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/run", directory / ".ci/run")
    (directory / "log").write_text(log, "utf-8")
    programs = {
        "python3.11": PYTHON,
        "pip": "#!/bin/sh",
        "tox": f"#!/bin/sh\ncat log\nexit {status}",
    }
    for name, text in programs.items():
        (directory / name).write_text(text, "utf-8")
        (directory / name).chmod(0o755)
    return subprocess.run(
        [str(directory / ".ci/run")],
        env={"PATH": f"{directory}:/usr/bin:/bin", "HOME": str(directory), "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_failed_is_named_at_the_end(tmp_path: Path) -> None:
    """Tests, the beginnings of their errors, and other commands that failed follow the log."""
    done = run_ci(tmp_path, log := BAD + GOOD + TYPES, 1)
    assert done.stderr == ""
    assert done.stdout.startswith(log)
    end = done.stdout.removeprefix(log).splitlines()
    assert (
        end[0]
        == "failed: py312: exit 1 (334.02 seconds) /there> pytest -n auto -m 'not long' pid=7"
    )
    assert end[1:5] == [
        "E       AssertionError: assert 1 == 2",
        "E         first detail",
        "E         second detail",
        "FAILED tests/test_one.py::test_one_is_two[run]",
    ]
    assert end.count("FAILED tests/test_one.py::test_one_is_two[run]") == 1
    assert [line for line in end if "frame" in line] == []
    assert 'rxflow/a.py:3: error: Name "b" is not defined  [name-defined]' in end
    assert end[-2:] == [
        "9209 passed, 4 skipped in 318.02s (0:05:18)",
        "1 failed, 9208 passed, 4 skipped in 331.52s (0:05:31)",
    ]
    assert done.returncode == 1


def test_a_run_without_failures_ends_with_its_summaries(tmp_path: Path) -> None:
    """If all passed, the log is followed by the summaries of the pytest runs alone."""
    done = run_ci(tmp_path, GOOD, 0)
    assert (done.stdout, done.stderr) == (GOOD + GOOD.splitlines()[4] + "\n", "")
    assert done.returncode == 0
