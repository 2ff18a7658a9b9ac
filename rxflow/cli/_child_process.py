"""Run a module or a script as a child process that ends together with its parent.

Started as ``python -P _child_process.py DIRECTORY TARGET [ARGUMENTS...]``, in a process group of
its own and with the read end of a pipe as standard input. The parent has the only write end, so the
pipe is closed when the parent ends, even by SIGKILL; then DIRECTORY is removed and the whole group
is killed. A pipe works on Linux and macOS alike, and unlike ``PR_SET_PDEATHSIG`` it is not closed
when only the *thread* ends that started the child.

Imports the standard library only, and nothing of rxflow: the Python that runs this file need not
have rxflow installed.
"""

import os
import runpy
import shutil
import signal
import sys
import threading


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
    shutil.rmtree(directory, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(*sys.argv[1:])
