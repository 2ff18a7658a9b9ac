"""Questions at the end of an error: whether what is close to a misspelt value is meant."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

__all__ = ["close_value_question", "question"]


def close_value_question(text: str, values: Iterable[str]) -> str:
    """Return a question that names the value which is closest to a text; "" if none is close."""
    return question(get_close_matches(text, [*values], 1))


def question(found: Sequence[str]) -> str:
    """Return a question that names what may be meant; "" if there is nothing."""
    if not found:
        return ""
    *others, last = (f"'{each}'" for each in found)
    return f"; did you mean {', '.join(others)}{' or ' if others else ''}{last}?"
