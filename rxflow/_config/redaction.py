"""Mask the secrets that are sent to a server where the server repeats them.

Belongs here: which texts are secret, in which forms a server may repeat them, and masking. Does not
belong here: which texts are masked (`rxflow._net.failure_texts`).
"""

import base64
import re
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import quote, quote_plus

from rxflow._config.settings import Settings

MASK: Final = "***"
"""What stands in place of a secret."""

# A part that is shorter cannot be distinguished from a word: a header may be "1", or "no".
_SHORTEST_PART: Final = 4
_SHORTEST_INSIDE: Final = 8  # characters of a secret that is masked inside of a word
# A text of a server is cut before it is quoted. The start of a secret at the end of a quote, of at
# least this many characters, is masked as well.
_SHORTEST_START: Final = 4
_QUOTES: Final = re.compile("['\"]")


class Redactor:
    """Masks secrets in texts."""

    def __init__(self, secrets: Iterable[str]) -> None:
        """Prepare the search.

        Args:
            secrets: The texts to mask; base64 and percent-encoded forms of them are masked too.
        """
        forms = {form for secret in secrets if secret for form in _forms(secret)}
        # The longest first: of two that begin alike the longer one must not be masked in part.
        longest_first = sorted(forms, key=lambda form: (-len(form), form))
        self._starts = [start for form in longest_first for start in _quoted(form.lower())]
        patterns = "|".join(map(_pattern, longest_first))
        self._search = re.compile(patterns, re.IGNORECASE) if patterns else None

    def redact(self, text: str) -> str:
        """Return the text with each secret masked, and each start of one at the end of a quote."""
        if self._search is None:
            return text
        shown = self._search.sub(MASK, text)
        # From the right, so that the positions on the left stay valid.
        ends = [found.start() for found in _QUOTES.finditer(shown)]
        for end in reversed([*ends, len(shown)]):
            length = self._start_length(shown[:end].lower())
            if length:
                shown = shown[: end - length] + MASK + shown[end:]
        return shown

    def _start_length(self, text: str) -> int:
        """Return how long the start of a secret is with which a text ends; 0 for none."""
        for start in self._starts:
            for length in range(min(len(start), len(text)), _SHORTEST_START - 1, -1):
                if text.endswith(start[:length]):
                    return length
        return 0


def secrets_of(settings: Settings) -> Iterator[str]:
    """Yield the texts of a server's settings that no message may show."""
    for header in (*(value for _, value in settings.headers), settings.tenant_id):
        if header is not None:
            yield from _with_parts(header.reveal(), " ")
    if (authorization := settings.authorization()) is not None:
        yield from _with_parts(authorization, " ")
    if settings.api_key is not None:
        yield settings.api_key.reveal()
    if settings.auth_string is not None:
        yield from user_info_secrets(settings.auth_string.reveal())


def user_info_secrets(user_info: str) -> Iterator[str]:
    """Yield the secrets of ``user:password``: both together, and the password, or a lone user."""
    yield user_info
    user, _, password = user_info.partition(":")
    if len(password or user) >= _SHORTEST_PART:
        yield password or user


def _with_parts(value: str, separator: str) -> Iterator[str]:
    """Yield a header's value and its last word, such as the token behind ``Bearer``."""
    for text in (value, value.rpartition(separator)[2]):
        if len(text) >= _SHORTEST_PART:
            yield text


def _forms(secret: str) -> Iterator[str]:
    """Yield the forms in which a server may repeat a secret."""
    raw = secret.encode("utf-8", "surrogatepass")
    encoded = (base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode())
    yield from (secret, quote(raw, safe=""), quote(raw), quote_plus(raw), *encoded)
    yield from (text.rstrip("=") for text in encoded)


def _quoted(form: str) -> tuple[str, str]:
    """Return a form as a quote has it: with blanks joined, and without or with escapes."""
    joined = " ".join(form.split())
    return joined, joined.replace("\\", r"\\").replace("'", r"\'")


def _pattern(form: str) -> str:
    r"""Build the pattern of a form as a message quotes it: blanks joined, and ``\'`` for ``'``.

    A short form must stand alone, so that a password "user" is not masked in "users".
    """
    is_short = len(form) < _SHORTEST_INSIDE
    before = r"(?<!\w)" if is_short and form[0].isalnum() else ""
    after = r"(?!\w)" if is_short and form[-1].isalnum() else ""
    return before + "".join(map(_piece, re.findall(r"\s+|\S", form))) + after


def _piece(piece: str) -> str:
    if piece.isspace():
        return r"\s+"
    if piece in "'\"\\":
        return rf"\\*{re.escape(piece)}"
    return re.escape(piece)
