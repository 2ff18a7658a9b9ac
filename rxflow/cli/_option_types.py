"""Types of values of the command line, whose errors say what to pass."""

from pathlib import Path
from typing import Any

import click

__all__ = ["RecordingPath", "WholeNumber"]


class RecordingPath(click.Path):
    """The path of a recording, or of a file in a directory of journals."""

    def __init__(self) -> None:
        """Accept files that exist."""
        super().__init__(exists=True, dir_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path; of a directory the error says that it has files to pass."""
        if Path(value).is_dir():
            self.fail(f"{str(value)!r} is a directory; pass one of the files in it.", param, ctx)
        return super().convert(value, param, ctx)


class WholeNumber(click.IntRange):
    """A whole number that is not too small."""

    def __init__(self, least: int) -> None:
        """Accept this number and all above."""
        super().__init__(min=least)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(
                f"{value!r} is not a whole number from {self.min} on, such as 20.", param, ctx
            )
