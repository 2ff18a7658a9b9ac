"""What a place sets, in words that can be shown: secrets, findings, and files read with care.

A place is the environment, a file, the arguments. Which places there are is known to ``_profiles``
and ``_prefect1_config``, what outranks what to ``_settings``, what a text means to ``_values``.
"""


class Secret:
    """Text that shows itself only to who asks for it by `reveal`.

    Args:
        text: What to hide.
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
