"""What the checks of `rxflow doctor` find."""

from enum import StrEnum
from typing import NamedTuple

from rxflow.cli._exit_status import ExitStatus

__all__ = ["Finding", "Grade"]


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
