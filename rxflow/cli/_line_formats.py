"""Formats of output other than text: messages alone, JSON lines, and a template of the user's.

Text of the server is data in each of them. It is escaped where it is written to a terminal; in a
file or a pipe it is unchanged.
"""

import re
from collections.abc import Iterator
from typing import Protocol, get_args

import click

from rxflow import FlowRunEvent, encode_event, to_dict
from rxflow._escapes import safe_text
from rxflow._models.terminal_text import local_time
from rxflow.cli._lines import LineStyle, level_name
from rxflow.cli._names import Names

__all__ = ["JsonLines", "LineFormat", "RawLines", "TemplateLines"]

Kinds = tuple[type[FlowRunEvent], ...]

_FORMAT_FIELD = re.compile(r"\{(\w+)[^{}]*\}")
_OWN_FIELDS = ("time", "level_name", "run_name", "task_name")
_COMMON_FIELDS = ("kind", "timestamp", "level", "message", "late", "root_flow_run_id")
_FIELDS = frozenset((*_OWN_FIELDS, *_COMMON_FIELDS)).union(
    *(kind.__struct_fields__ for kind in get_args(FlowRunEvent))
)
"""The names that a template may have."""

# What JSON text may hold, and a terminal must not be given.
_UNSAFE_IN_JSON = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


class LineFormat(Protocol):
    """Formats the events that are shown, and learns from the others."""

    def lines(self, event: FlowRunEvent) -> Iterator[str]:
        """Yield the lines of an event, without their last line feed."""
        ...

    def recall(self, event: FlowRunEvent) -> None:
        """Learn from an event whose lines an earlier command has written."""
        ...


class RawLines:
    """Messages alone."""

    def __init__(self, kinds: Kinds, style: LineStyle, *, escaped: bool) -> None:
        """Choose what is written.

        Args:
            kinds: The kinds of events that have lines.
            style: How times are written, if they are.
            escaped: Whether control characters in messages are escaped.
        """
        self._kinds = kinds
        self._style = style
        self._escaped = escaped

    def lines(self, event: FlowRunEvent) -> Iterator[str]:
        """Yield the message of an event, after its time if times are wanted."""
        if isinstance(event, self._kinds):
            text = safe_text(event.message) if self._escaped else event.message
            yield f"{self._style.time(event.timestamp)} {text}" if self._style.timestamps else text

    def recall(self, event: FlowRunEvent) -> None:
        """Do nothing: no message depends on another event."""


class JsonLines:
    """Events as JSON, one a line: `rxflow.decode_event` reads them back."""

    def __init__(self, kinds: Kinds) -> None:
        """Choose which kinds of events are written."""
        self._kinds = kinds

    def lines(self, event: FlowRunEvent) -> Iterator[str]:
        """Yield the JSON of an event."""
        if isinstance(event, self._kinds):
            yield _UNSAFE_IN_JSON.sub(_json_escape, encode_event(event).decode())

    def recall(self, event: FlowRunEvent) -> None:
        """Do nothing: no event's JSON depends on another."""


def _json_escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


class TemplateLines:
    """What a Jinja template makes of an event."""

    def __init__(
        self, template: str, kinds: Kinds, style: LineStyle, names: Names, *, escaped: bool
    ) -> None:
        """Compile the template.

        Args:
            template: The template. It has the keys of `rxflow.to_dict`, and ``time``,
                ``level_name``, ``run_name`` and ``task_name``.
            kinds: The kinds of events that have lines.
            style: How ``time`` is written; ``timestamp`` is a datetime of its zone.
            names: Finds ``run_name`` and ``task_name``.
            escaped: Whether control characters in values are escaped.

        Raises:
            click.UsageError: It is no template.
        """
        from jinja2 import StrictUndefined, TemplateError  # noqa: PLC0415 - takes long to import
        from jinja2.sandbox import SandboxedEnvironment  # noqa: PLC0415 - the same

        self._error = TemplateError
        environment = SandboxedEnvironment(
            undefined=StrictUndefined,
            autoescape=False,  # the lines are text
            finalize=_escaped_value if escaped else None,
        )
        self._kinds, self._style, self._names = kinds, style, names
        _check_is_jinja(template)
        try:
            self._template = environment.from_string(template)
        except TemplateError as error:
            raise click.UsageError(f"The template cannot be used: {error}") from error

    def lines(self, event: FlowRunEvent) -> Iterator[str]:
        """Yield what the template makes of an event.

        Raises:
            click.UsageError: It has a name that there is not, or fails otherwise.
        """
        self._names.receive(event)
        if not isinstance(event, self._kinds):
            return
        values = to_dict(event) | {
            "timestamp": local_time(event.timestamp, self._style.zone),
            "time": self._style.time(event.timestamp),
            "level_name": level_name(event.level),
            "run_name": self._names.run(event.flow_run_id) or "",
            "task_name": self._names.task_run(event) or "",
        }
        try:
            yield self._template.render(values)
        except (self._error, TypeError, ValueError, ArithmeticError, LookupError) as error:
            raise click.UsageError(f"The template cannot be used: {error}") from error

    def recall(self, event: FlowRunEvent) -> None:
        """Record the names in an event."""
        self._names.receive(event)


def _check_is_jinja(template: str) -> None:
    """Reject a template of Python's `str.format`, which Jinja would write as it is.

    Raises:
        click.UsageError: It has a field in single braces, and nothing for Jinja.
    """
    if any(mark in template for mark in ("{{", "{%", "{#")):
        return
    for name in _FORMAT_FIELD.findall(template):
        if name in _FIELDS:
            raise click.UsageError(
                f"The template has {{{name}}}, which Jinja writes as it is; pass "
                f"'{{{{ {name} }}}}' for the value."
            )


def _escaped_value(value: object) -> str:
    return safe_text(str(value))
