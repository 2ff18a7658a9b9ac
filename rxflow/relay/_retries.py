"""When a request to a broker is sent again: what its failures are, and how long to wait."""

from collections.abc import Iterator
from random import Random
from typing import Final

from rxflow.relay._broker import Page

FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 2.0


class Unanswered(Exception):
    """No reply came; whether the request was carried out is not known, and it may still be."""


class Full(Unanswered):
    """There is no room for the page."""


class StoresNothing(Unanswered):
    """The broker refuses all that is to be stored, though it replies to what is read."""


def pauses(random: Random) -> Iterator[float]:
    """Yield for how many seconds to wait before each further attempt."""
    pause = FIRST_PAUSE
    while True:
        yield pause * random.uniform(0.8, 1.2)
        pause = min(LONGEST_PAUSE, pause * 1.5)


def is_same_page(stored: Page, page: Page) -> bool:
    """Whether a page that is stored is the one that was to be."""
    return (stored.page_id, stored.part) == (page.page_id, page.part)
