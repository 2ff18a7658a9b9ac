"""The first lines of a demo's child process: run a module or a script, and end it with its parent.

Started as ``python -P _leash.py DIRECTORY TARGET [ARGUMENTS...]``, in a process group of its own
and with the read end of a pipe as its standard input. The parent holds the only write end, so the
pipe ends when the parent does, however it died (SIGKILL included): then DIRECTORY is removed and
the whole group is killed. A pipe does this on Linux and macOS alike, and unlike
``PR_SET_PDEATHSIG`` it does not fire when merely the *thread* that started the child ends.

Nothing but the standard library is imported here, not even the rest of rxflow: the Python that
runs this file need not be the one that has rxflow.
"""

import os
import runpy
import shutil
import signal
import sys
import threading


def main(directory: str, target: str, *arguments: str) -> None:
    """Run one target as the main program, on the leash.

    Args:
        directory: What to remove when the parent dies.
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
