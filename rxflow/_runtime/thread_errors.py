"""Report exceptions that no caller can catch, because they end an action on a thread of rxflow."""

import threading
from contextlib import suppress

from rxflow._own_log import log

_EXIT_IN_THREAD = (
    "sys.exit() was called on a thread of rxflow, where it ends the subscription and not the "
    "process; set an event there that the main thread waits for, or use a loop in the main thread"
)


def exit_on_thread(error: SystemExit) -> RuntimeError:
    """Return the error that stands for a SystemExit on a thread of rxflow, which is its cause."""
    stands_for = RuntimeError(_EXIT_IN_THREAD)
    stands_for.__cause__ = error
    return stands_for


def report_thread_error(error: BaseException, message: str) -> None:
    """Log an exception and pass it to `threading.excepthook`.

    The hook ignores SystemExit, since it ends a thread as intended. On a thread of rxflow it is not
    what was intended, so another error is reported, with the SystemExit as its cause.

    Args:
        error: The exception.
        message: The log message that goes with it.
    """
    if isinstance(error, SystemExit):
        error = exit_on_thread(error)
    log("ERROR", message, error=error)
    hook_args = threading.ExceptHookArgs(
        (type(error), error, error.__traceback__, threading.current_thread())
    )
    with suppress(Exception):  # a hook that raises must not end the thread
        threading.excepthook(hook_args)
