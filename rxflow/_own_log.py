"""rxflow's own log, which loguru writes: off until the program enables it.

A program that enables the log has imported loguru. So where loguru was not imported nothing can be
logged, and rxflow does not import it for its log: that would take longer than ``import rxflow``.

Belongs here: whether a record is written. Does not belong here: events that a sink writes.
"""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loguru import Logger

_silenced: "Logger | None" = None


def log(level: str, message: str, *args: object, error: BaseException | None = None) -> None:
    """Log a message in the name of the calling module, if the program enabled that.

    Args:
        level: A level of loguru, such as ``DEBUG``.
        message: The message, with a ``{}`` for each argument.
        args: The arguments.
        error: The error whose traceback is logged below the message.
    """
    logger = silence_by_default()
    if logger is not None:
        logger.opt(depth=1, exception=error).log(level, message, *args)


def silence_by_default() -> "Logger | None":
    """Disable the log, but for what the program has enabled.

    Returns:
        The logger; None if the program has not imported loguru.
    """
    global _silenced  # noqa: PLW0603 - loguru has one logger
    logger: Logger | None = getattr(sys.modules.get("loguru"), "logger", None)
    if logger is not None and logger is not _silenced:
        logger.configure(activation=[("rxflow", False), *_enabled_or_disabled(logger)])
        _silenced = logger
    return logger


def _enabled_or_disabled(logger: "Logger") -> list[tuple[str, bool]]:
    """Return what the program has enabled or disabled of rxflow, from packages to their modules.

    loguru says it nowhere publicly. Read in loguru 0.7.0 to 0.7.3; where a later one has no such
    list, what was enabled before the first record is disabled.
    """
    changes = getattr(getattr(logger, "_core", None), "activation_list", [])
    return [
        (name.removesuffix("."), is_enabled)
        for name, is_enabled in reversed(changes)
        if name.startswith("rxflow.")
    ]
