"""A text that no repr, log line or format string shows.

Only the class lives here. Which settings are secret is decided where they are parsed, in
`rxflow._config.setting_values`.
"""


class Secret:
    """A text that only `reveal` returns; its repr and its str are masked.

    Secrets compare and hash by their text.

    Args:
        text: The text to mask.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text."""
        return self._text

    def __repr__(self) -> str:
        return "Secret('***')"

    def __str__(self) -> str:
        return "***"

    def __format__(self, format_spec: str) -> str:
        return format("***", format_spec)

    def __eq__(self, other: object) -> bool:
        return self._text == other._text if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash((Secret, self._text))
