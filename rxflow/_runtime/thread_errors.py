"""Report exceptions that no caller can catch, because they end an action on a thread of rxflow."""

import threading
from contextlib import suppress

from loguru import logger


def report_thread_error(error: BaseException, message: str) -> None:
    """Log an exception and pass it to `threading.excepthook`.

    Args:
        error: The exception.
        message: The log message that goes with it.
    """
    logger.opt(exception=error).error(message)
    hook_args = threading.ExceptHookArgs(
        (type(error), error, error.__traceback__, threading.current_thread())
    )
    with suppress(Exception):  # a hook that raises must not end the thread
        threading.excepthook(hook_args)
