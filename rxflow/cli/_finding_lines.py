"""Format what `rxflow doctor` finds: a mark, the subject, the text, and below it what to do."""

from collections.abc import Iterator

import click

from rxflow._escapes import safe_text
from rxflow.cli._findings import Finding, Grade
from rxflow.cli._wrapping import wrap

__all__ = ["finding_lines"]

_COLOURS = {Grade.GOOD: "green", Grade.NOTE: "yellow", Grade.BAD: "red"}
_MARK, _SUBJECT = 9, 11  # cells of the first two columns
_LEAST_ROOM = 20


def finding_lines(finding: Finding, width: int | None) -> Iterator[str]:
    """Yield the lines of a finding, with colours as ANSI sequences.

    Args:
        finding: The finding.
        width: Cells to break lines at; None to write each text as one line.
    """
    mark = click.style(f"{finding.grade:<{_MARK}}", fg=_COLOURS[finding.grade])
    head = f"{mark}{finding.subject:<{_SUBJECT}}"
    advice = [
        f"to do: {line}" if not number else f"       {line}"
        for number, line in enumerate(finding.advice.splitlines())
    ]
    for text in [*finding.text.splitlines(), *advice]:
        room = None if width is None else max(width - _MARK - _SUBJECT, _LEAST_ROOM)
        for line in [safe_text(text)] if room is None else wrap(safe_text(text), room):
            yield head + line
            head = " " * (_MARK + _SUBJECT)
