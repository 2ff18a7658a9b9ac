"""When things run, and on whose thread: the poll scheduler, the fetch workers, and the clocks."""

import threading
from contextlib import suppress

from loguru import logger


def report_thread_error(error: BaseException, what: str) -> None:
    """Say, as a thread that dies of an error does, what went wrong where nobody can catch it."""
    logger.opt(exception=error).error(what)
    hooked = threading.ExceptHookArgs(
        (type(error), error, error.__traceback__, threading.current_thread())
    )
    with suppress(Exception):  # a hook that fails must not stop what comes next
        threading.excepthook(hooked)
