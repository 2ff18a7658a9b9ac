"""Options of the commands that show log lines: which, in which format, and how long to follow."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from functools import wraps
from typing import Any, Literal, NamedTuple

import click

from rxflow.cli._colours import colour_option
from rxflow.cli._option_types import WholeNumber
from rxflow.cli._suggestions import close_value_question
from rxflow.cli._time_limit import TimeLimit, read_time_limit
from rxflow.cli._times import read_time

__all__ = ["FollowOptions", "ShowOptions", "follow_options", "read_level", "show_options"]

_LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}
_SHORT_LEVELS = {"WARN": "WARNING", "ERR": "ERROR", "FATAL": "CRITICAL"}


class ShowOptions(NamedTuple):
    """Which lines are shown, and how.

    Attributes:
        output: ``text``, ``raw``, ``jsonl`` or ``template``.
        template: The Jinja template of the last one.
        level: The lowest level of log lines; 0 for all.
        until: The time of the last log lines.
        include: Patterns of which a log line has one.
        exclude: Patterns of which it has none.
        highlight: Patterns that stand out.
        head: The most log lines, from the first on.
        tail: The most log lines that are there at the beginning, up to the last.
        timestamps: Whether lines have their date and offset.
        zone: The time zone of times; None for the local one.
        quiet: Whether to leave out titles, notices and summaries.
    """

    output: str = "text"
    template: str | None = None
    level: int = 0
    until: datetime | None = None
    include: tuple[re.Pattern[str], ...] = ()
    exclude: tuple[re.Pattern[str], ...] = ()
    highlight: tuple[re.Pattern[str], ...] = ()
    head: int | None = None
    tail: int | None = None
    timestamps: bool = False
    zone: tzinfo | None = None
    quiet: bool = False

    @property
    def level_text(self) -> str | None:
        """The lowest level as it is written; None for all levels."""
        names = {number: name for name, number in _LEVELS.items()}
        return names.get(self.level, str(self.level)) if self.level else None


class FollowOptions(NamedTuple):
    """How runs are followed.

    Attributes:
        timeout: How long, at most; None for no limit.
        push: Whether the server may announce changes.
        hold: Whether events are held back until they are in order.
        cancel_on_interrupt: Whether Ctrl-C cancels the runs.
        exit_zero: Whether the status is 0 however the runs end.
        journal: The directory of the journals to go on from and to append to; None for none.
        on_full: What to do when they cannot be written since the disk is full: ``error`` to end, or
            ``continue`` to go on without them.
    """

    timeout: TimeLimit | None = None
    push: bool = True
    hold: bool = True
    cancel_on_interrupt: bool = False
    exit_zero: bool = False
    journal: str | None = None
    on_full: Literal["error", "continue"] = "error"


def show_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of `ShowOptions` to a command.

    Args:
        command: Takes them as its keyword argument ``show``.
    """

    @click.option("--level", type=read_level, default="0", metavar="LEVEL", help=_HELP["level"])
    @click.option("--until", type=read_time, metavar="TIME", help=_HELP["until"])
    @click.option("--head", type=WholeNumber(0), metavar="N", help=_HELP["head"])
    @click.option("--tail", type=WholeNumber(0), metavar="N", help=_HELP["tail"])
    @_pattern_option("-i", "--include", _HELP["include"])
    @_pattern_option("-e", "--exclude", _HELP["exclude"])
    @_pattern_option("-H", "--highlight", _HELP["highlight"])
    @click.option(
        "-o",
        "--output",
        type=click.Choice(["text", "raw", "jsonl", "template"]),
        help=_HELP["output"],
    )
    @click.option("--template", metavar="TEMPLATE", help=_HELP["template"])
    @click.option("--timestamps", is_flag=True, help=_HELP["timestamps"])
    @click.option("--utc", is_flag=True, help="Show times in UTC.")
    @click.option("--timezone", "zone", type=_read_zone, metavar="ZONE", help=_HELP["timezone"])
    @colour_option
    @click.option("-q", "--quiet", is_flag=True, help=_HELP["quiet"])
    @wraps(command)
    def with_options(
        *arguments: Any, output: str | None, utc: bool, zone: tzinfo | None, **options: Any
    ) -> Any:
        own = {name: options.pop(name) for name in ShowOptions._fields if name in options}
        if utc and zone is not None:
            raise click.UsageError("--utc and --timezone are both given; pass one of them.")
        output = output or ("text" if own["template"] is None else "template")
        if (output == "template") != (own["template"] is not None):
            raise click.UsageError("-o template and --template TEMPLATE belong together.")
        show = ShowOptions(output=output, zone=UTC if utc else zone, **own)
        return command(*arguments, show=show, **options)

    decorated: Callable[..., Any] = with_options
    return decorated


def follow_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of `FollowOptions` to a command.

    Args:
        command: Takes them as its keyword argument ``following``, and has `show_options`, too.
    """

    @click.option("--timeout", type=read_time_limit, metavar="DURATION", help=_HELP["timeout"])
    @click.option("--no-push", is_flag=True, help=_HELP["no-push"])
    @click.option("--no-hold", is_flag=True, help=_HELP["no-hold"])
    @click.option("--cancel-on-interrupt", is_flag=True, help=_HELP["cancel-on-interrupt"])
    @click.option("--exit-zero", is_flag=True, help=_HELP["exit-zero"])
    @click.option("--journal", type=_JournalPath(), metavar="DIR", help=_HELP["journal"])
    @click.option("--on-full", type=click.Choice(["error", "continue"]), help=_HELP["on-full"])
    @wraps(command)
    def with_options(
        *arguments: Any,
        show: ShowOptions,
        timeout: TimeLimit | None,
        no_push: bool,
        no_hold: bool,
        cancel_on_interrupt: bool,
        exit_zero: bool,
        journal: str | None,
        on_full: Literal["error", "continue"] | None,
        **options: Any,
    ) -> Any:
        if journal is None and on_full is not None:
            raise click.UsageError("--on-full is about a journal; pass --journal DIR as well.")
        if journal is not None and show.tail is not None:
            raise click.UsageError(
                "--tail leaves out lines that have come since the last start, and --journal goes "
                "on with them; pass one of the two."
            )
        following = FollowOptions(
            timeout=timeout,
            push=not no_push,
            # What is held would be in the journal, and not be shown if the command is killed.
            hold=not no_hold and journal is None,
            cancel_on_interrupt=cancel_on_interrupt,
            exit_zero=exit_zero,
            journal=journal,
            on_full=on_full or "error",
        )
        return command(*arguments, show=show, following=following, **options)

    return with_options


_HELP = {
    "level": "Only log lines of this level and above: a name such as WARNING, or a number. "
    "States and summaries are shown at any level.",
    "until": "Only log lines until then: 10m before now, or an ISO time.",
    "head": "Only the first N log lines.",
    "tail": "Of the log lines that are there already, only the last N.",
    "include": "Only log lines in which this regular expression is found; repeat it for any of "
    "several.",
    "exclude": "No log lines in which this regular expression is found.",
    "highlight": "Make what this regular expression matches stand out.",
    "output": "text; raw: messages alone; jsonl: events as JSON; template. Default: text.",
    "template": "A Jinja template for each line, such as '{{ time }} {{ message }}'.",
    "timestamps": "Show each time with its date and its offset from UTC.",
    "timezone": "Show times in this zone, such as Europe/Berlin; by default the local one.",
    "quiet": "No titles, notices and summaries: only what the runs have to show.",
    "timeout": "Stop after this time, such as 30m, with status 124; the runs go on.",
    "no-push": "Do not let the server announce changes; poll alone.",
    "no-hold": "Show each event when it arrives, and not when those before it are there.",
    "cancel-on-interrupt": "Let the first Ctrl-C cancel the runs, and follow them to their end.",
    "exit-zero": "Exit with 0 however the runs end.",
    "journal": "Keep the events in DIR, a file for each run, and show only what is new since the "
    "last command with this DIR; implies --no-hold.",
    "on-full": "When the disk is full: end with an error, or continue without the journal. "
    "Default: error.",
}


class _JournalPath(click.Path):
    """The path of a directory, which need not exist."""

    def __init__(self) -> None:
        super().__init__(file_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not value:
            self.fail("pass the path of a directory, such as nightly.", param, ctx)
        return super().convert(value, param, ctx)


def _pattern_option(short: str, name: str, text: str) -> Callable[[Any], Any]:
    return click.option(short, name, multiple=True, type=_read_pattern, metavar="REGEX", help=text)


def _read_pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise click.BadParameter(f"{text!r} is not a regular expression: {error}") from None


def read_level(text: str) -> int:
    """Read a level: the ``type`` of an option.

    Args:
        text: A number, or a name such as WARNING.

    Raises:
        click.BadParameter: It is neither.
    """
    number = _LEVELS.get(_SHORT_LEVELS.get(text.upper(), text.upper()))
    if number is not None:
        return number
    if text.isascii() and text.isdecimal() and len(text) < 7:  # of the column on the server
        return int(text)
    question = close_value_question(text.upper(), (*_LEVELS, *_SHORT_LEVELS))
    raise click.BadParameter(
        f"{text!r} is neither a whole number from 0 to 999999 nor one of "
        f"{', '.join(_LEVELS)}{question}"
    )


def _read_zone(text: str) -> tzinfo:
    from zoneinfo import ZoneInfo, available_timezones  # noqa: PLC0415 - takes long to import

    try:
        return ZoneInfo(text)
    except (LookupError, ValueError, OSError):
        question = close_value_question(text, available_timezones())
        raise click.BadParameter(
            f"{text!r} is not a time zone, such as Europe/Berlin{question}"
        ) from None
