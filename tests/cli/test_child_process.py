"""A child process ends with its parent, and its directory with it, even while it writes there."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from rxflow.cli import _prefect_server

if TYPE_CHECKING:
    from pathlib import Path

# The number of files is a limit only for the case that nothing ends it.
WRITERS = """
import os, sys
os.fork()
os.fork()
for number in range(20_000):
    if number == 500:
        os.write(1, b"ready\\n")
    try:
        open(f"{sys.argv[1]}/{os.getpid()}-{number}", "w").close()
    except OSError:
        pass
"""


def test_a_directory_that_is_written_to_is_removed(tmp_path: Path) -> None:
    """Four processes that write as fast as they can are killed before their directory goes."""
    script = tmp_path / "writers.py"
    script.write_text(WRITERS)
    directory = tmp_path / "directory"
    directory.mkdir()
    pipe_read_end, pipe_write_end = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-P", _prefect_server.CHILD_SCRIPT, directory, script, directory],
        stdin=pipe_read_end,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as child:
        os.close(pipe_read_end)
        assert child.stdout is not None
        ready = child.stdout.readline()
        os.close(pipe_write_end)
        # The pipe of their output ends with the last process that has it, the removing one.
        assert {ready, *child.stdout} == {b"ready\n"}
    assert child.returncode == -9
    assert not directory.exists()
