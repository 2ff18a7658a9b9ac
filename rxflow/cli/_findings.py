"""What the checks of `rxflow doctor` find."""

from enum import StrEnum
from typing import NamedTuple

from rxflow.cli._exit_status import ExitStatus

__all__ = ["Finding", "Grade", "as_options"]


class Grade(StrEnum):
    """What a finding means for a watch."""

    GOOD = "ok"
    """As it should be."""
    NOTE = "note"
    """It works, and could work better."""
    BAD = "problem"
    """Nothing can be watched."""


class Finding(NamedTuple):
    """What one check has found.

    Attributes:
        subject: What was checked, in one word.
        grade: What it means.
        text: What was found.
        advice: What to do; "" for nothing.
        status: The exit status that a problem leads to.
    """

    subject: str
    grade: Grade
    text: str
    advice: str = ""
    status: ExitStatus = ExitStatus.COMPLETED


def as_options(text: str) -> str:
    """Name the options of the command line in place of the arguments that they are passed as."""
    for option in ("api-url", "profile", "backend"):
        text = text.replace(f"the argument {option.replace('-', '_')}", f"--{option}")
    return text
