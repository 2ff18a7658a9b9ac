"""Run a module or a script as a child process that ends together with its parent.

Started as ``python -P _child_process.py DIRECTORY TARGET [ARGUMENTS...]``, in a process group of
its own and with the read end of a pipe as standard input. The parent has the only write end, so the
pipe is closed when the parent ends, even by SIGKILL; then the whole group is killed and DIRECTORY
is removed. A pipe works on Linux and macOS alike, and unlike ``PR_SET_PDEATHSIG`` it is not closed
when only the *thread* ends that started the child.

Imports the standard library only, and nothing of rxflow: the Python that runs this file need not
have rxflow installed.
"""

import os
import runpy
import subprocess
import sys
import threading

REMOVER = """
import contextlib, os, shutil, signal, sys, time
directory, group = sys.argv[1:]
with contextlib.suppress(ProcessLookupError, PermissionError):
    os.killpg(int(group), signal.SIGKILL)
# A process that was killed may write for a moment more, so removing may fail at first.
for _ in range(200):
    shutil.rmtree(directory, ignore_errors=True)
    if not os.path.exists(directory):
        break
    time.sleep(0.05)
"""


def main(directory: str, target: str, *arguments: str) -> None:
    """Run a target as the main program until it or the parent ends.

    Args:
        directory: The directory to remove when the parent ends.
        target: A module's name, or a script's path ending in ``.py``.
        arguments: The target's own command line.
    """
    threading.Thread(target=_end_with_parent, args=(directory,), daemon=True).start()
    sys.argv = [target, *arguments]
    if target.endswith(".py"):
        runpy.run_path(target, run_name="__main__")
    else:
        runpy.run_module(target, run_name="__main__", alter_sys=True)


def _end_with_parent(directory: str) -> None:
    # Not sys.stdin.read(): a daemon thread that holds its lock aborts an interpreter's shutdown.
    while os.read(0, 1):
        pass
    # By a process outside of the group, since the group may write as long as it is not killed: a
    # file that is made while the directory is removed would stay, and the directory with it.
    subprocess.Popen(
        [sys.executable, "-I", "-c", REMOVER, directory, str(os.getpgrp())],
        cwd="/",
        start_new_session=True,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
