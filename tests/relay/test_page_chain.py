"""Whether a page follows the one that was read last, by positions and by ids."""

import pytest
from sample_events import RUN

from rxflow.errors import RelayLogLost, RelayLogTrimmed
from rxflow.relay._broker import Page, StoredPage
from rxflow.relay._page_chain import PageChain


def page(position: int, page_id: str, previous: int, previous_id: str) -> StoredPage:
    """Return a page that names the one before it."""
    return StoredPage(position, previous, Page(page_id, previous_id, 0, 1, b"{}"), None)


A, B, C = page(3, "a", 0, ""), page(9, "b", 3, "a"), page(10, "c", 9, "b")


def place(chain: PageChain) -> tuple[int, str]:
    """Return where a chain is."""
    return chain.position, chain.page_id


def test_pages_that_follow_each_other_are_in_order() -> None:
    """The chain moves on by each page, from the beginning or from any page."""
    chain = PageChain(RUN)
    chain.move([])
    assert place(chain) == (0, "")
    chain.move([A, B])
    chain.move([C])
    assert place(chain) == (10, "c")
    for later in (PageChain(RUN, 3, "a"), PageChain(RUN, 3)):
        assert later.precedes(B)
        later.move([B, C])
        assert place(later) == (10, "c")


@pytest.mark.parametrize(
    "pages",
    [
        [C],
        [A, C],
        [A, page(9, "b", 3, "x")],
        [page(9, "b", 3, "x")],
        [page(9, "b", 4, "a")],
        [page(9, "b", 0, "")],
    ],
    ids=["a gap", "an earlier one", "then another id", "another id", "another position", "anew"],
)
def test_a_page_that_does_not_follow_is_lost(pages: list[StoredPage]) -> None:
    """The error names the run and what to do, and the place is where it was."""
    chain = PageChain(RUN, 3, "a")
    with pytest.raises(RelayLogLost, match=f"{RUN}.*read the run from its beginning"):
        chain.move(pages)
    assert place(chain) == (3, "a")


def test_the_place_is_where_it_was_after_an_error() -> None:
    """Pages before the one that does not follow are not passed over."""
    chain = PageChain(RUN, 3, "a")
    with pytest.raises(RelayLogLost):
        chain.move([B, A])
    assert place(chain) == (3, "a")


def test_a_log_without_a_beginning_is_trimmed() -> None:
    """The first page of a log follows none."""
    with pytest.raises(RelayLogTrimmed, match=RUN):
        PageChain(RUN).move([B])
    with pytest.raises(RelayLogLost, match=RUN):
        PageChain(RUN).move([page(3, "a", 0, "x")])


def test_the_page_at_the_place_is_checked() -> None:
    """It must be at the same position, and have the same id once that is known."""
    chain = PageChain(RUN, 9)
    assert not chain.precedes(B)
    chain.check(B)
    assert place(chain) == (9, "b")
    chain.check(B)
    for found in (None, C, page(9, "x", 3, "a")):
        with pytest.raises(RelayLogLost, match=RUN):
            chain.check(found)
