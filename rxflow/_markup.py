"""Elements of HTML and SVG, in which a text is data: whatever it holds, it opens no element.

Belongs here: escaping, and the joining of elements. Does not belong here: what is shown.
"""

import re
from collections.abc import Mapping

from rxflow._escapes import safe_text

Attributes = Mapping[str, str | float | None]
"""By name the values of attributes; one that is None is left out."""

# They are no characters of an XML document; lone surrogates have no bytes, either.
_NO_CHARACTERS = re.compile("[\ufffe\uffff\ud800-\udfff]")


class Markup(str):
    """HTML whose texts are escaped; a template of jinja2 takes it as it is."""

    __slots__ = ()

    def __html__(self) -> str:
        """Return the HTML, by the protocol that templates know."""
        return str(self)


def element(name: str, attributes: Attributes | None = None, *children: str) -> Markup:
    """Make an element with an end tag.

    Args:
        name: Its name.
        attributes: Its attributes.
        children: Its content: `Markup` as it is, any other text as data.
    """
    written = "".join(
        f' {key}="{_value(value)}"'
        for key, value in (attributes or {}).items()
        if value is not None
    )
    return Markup(f"<{name}{written}>{joined(*children)}</{name}>")


def joined(*children: str) -> Markup:
    """Join contents: `Markup` as it is, any other text as data."""
    return Markup("".join(each if isinstance(each, Markup) else _text(each) for each in children))


def _value(value: str | float) -> str:
    return _text(value) if isinstance(value, str) else f"{value:.10g}"


def _text(text: str) -> Markup:
    from html import escape  # noqa: PLC0415 - takes 1 ms to import, for its table of entities

    shown = safe_text(text.replace("\r\n", "\n"))
    return Markup(escape(_NO_CHARACTERS.sub("\ufffd", shown)))
