"""The chain of a log's pages: each names the one before it, by its position and by its id.

A position alone does not identify a page: a broker that lost the end of a log, as in a power
failure, may have another page at the same position. Its id does.

Belongs here: whether a page follows another one. Does not belong here: when pages are read (each
broker's follower), and which events they have (`_pages`).
"""

from collections.abc import Iterable

from rxflow.errors import RelayLogLost, RelayLogTrimmed
from rxflow.relay._broker import StoredPage


class PageChain:
    """The place in a log that was read to, which the next page must follow.

    Attributes:
        position: The position of the last page that was read; 0 for none.
        page_id: Its id; "" for none, or if it is not known.
    """

    def __init__(self, run_id: str, position: int = 0, page_id: str = "") -> None:
        """Begin at a place.

        Args:
            run_id: The run, for errors.
            position: The position of the last page that was read; 0 for none.
            page_id: Its id; "" for any page at that position.
        """
        self.position = position
        self.page_id = page_id
        self._run_id = run_id

    def precedes(self, stored: StoredPage) -> bool:
        """Whether a page is the next one."""
        return stored.previous == self.position and self._is_here(stored.page.previous_id)

    def move(self, pages: Iterable[StoredPage]) -> None:
        """Move on by the next pages; after an error the place is where it was.

        Raises:
            RelayLogTrimmed: The beginning of the log is gone.
            RelayLogLost: A page does not follow the one before it.
        """
        end = PageChain(self._run_id, self.position, self.page_id)
        for stored in pages:
            if not end.precedes(stored):
                if end.position == 0 and stored.previous != 0:
                    raise RelayLogTrimmed(
                        f"The broker no longer has the beginning of the log of flow run "
                        f"{self._run_id}; watch the run on the server itself"
                    )
                raise self.lost()
            end.position, end.page_id = stored.position, stored.page.page_id
        self.position, self.page_id = end.position, end.page_id

    def check(self, found: StoredPage | None) -> None:
        """Check that the page that was read last is in the log still.

        Args:
            found: The page at the position, or the next one after it; None if there is none.

        Raises:
            RelayLogLost: It is another page, or there is none.
        """
        if (
            found is None
            or found.position != self.position
            or not self._is_here(found.page.page_id)
        ):
            raise self.lost()
        self.page_id = found.page.page_id

    def lost(self) -> RelayLogLost:
        """Build the error of a log that is not, or no longer, the one that was read."""
        return RelayLogLost(
            f"The broker no longer has the log of flow run {self._run_id} that was read before: it "
            "was dropped, lost its end or was made anew; read the run from its beginning, without "
            "after="
        )

    def _is_here(self, page_id: str) -> bool:
        """Whether a page of some id may be the one that was read last."""
        is_known = bool(self.page_id) or self.position == 0
        return page_id == self.page_id or not is_known
