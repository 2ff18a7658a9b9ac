"""Lists of names in error messages, cut to a length that can be read."""

from collections.abc import Sequence

_MAX_ITEMS = 20


def listed(items: Sequence[str]) -> str:
    """Join items with commas; of more than 20 the rest is only counted."""
    more = f" and {len(items) - _MAX_ITEMS} more" if len(items) > _MAX_ITEMS else ""
    return (", ".join(items[:_MAX_ITEMS]) or "none") + more
