"""Events as pages of a run's log, and pages as events.

    events --pages_of--> pages --append, read--> stored pages --Unpacker--> events, by number

A page has whole lines of JSON, each an event. An event of more than `MOST_BYTES` is cut into parts,
each a page. A writer that was killed may leave parts without their rest; the one that goes on
writes that event again from its first part.

Belongs here: what is in a page, and what a log must look like. Does not belong here: when pages are
written or read (`_broker_journal`, `_log_session`).
"""

from collections.abc import Iterator, Sequence
from secrets import token_hex
from typing import NamedTuple

from rxflow.errors import RelayLogLost, RelayLogTrimmed
from rxflow.events import Closed, FlowRunEvent, decode_event, encode_event
from rxflow.relay._broker import Page, StoredPage

MOST_EVENTS = 500
"""The most events in a page."""

MOST_BYTES = 256 << 10
"""The most bytes in the body of a page; brokers take messages of a megabyte at most by default."""


def pages_of(events: Sequence[FlowRunEvent], *, first: int, previous_id: str = "") -> list[Page]:
    """Return events of one run as pages of its log.

    Args:
        events: The events, in their order.
        first: The number of the first of them in the log, from 0.
        previous_id: The id of the log's last page; "" to begin a log.
    """
    pages: list[Page] = []
    for number, lines, is_end in _grouped(events, first):
        body = b"\n".join(lines)
        cuts = [body[start : start + MOST_BYTES] for start in range(0, len(body), MOST_BYTES)]
        for part, cut in enumerate(cuts, 1):
            page_id = token_hex(8)
            pages.append(
                Page(
                    page_id=page_id,
                    previous_id=previous_id,
                    first=number,
                    count=len(lines),
                    body=cut,
                    part=part,
                    parts=len(cuts),
                    is_end=is_end and part == len(cuts),
                )
            )
            previous_id = page_id
    return pages


def _grouped(events: Sequence[FlowRunEvent], first: int) -> Iterator[tuple[int, list[bytes], bool]]:
    """Return the lines of each page, with the number of the first; a long line is by itself."""
    lines: list[bytes] = []
    size = 0
    for event in events:
        line = encode_event(event)
        if lines and (size + len(line) > MOST_BYTES or len(lines) == MOST_EVENTS):
            yield first, lines, False
            first, lines, size = first + len(lines), [], 0
        lines.append(line)
        size += len(line) + 1
        if isinstance(event, Closed):
            yield first, lines, True
            first, lines, size = first + len(lines), [], 0
    if lines:
        yield first, lines, False


class Unpacked(NamedTuple):
    """The events of a page.

    Attributes:
        number: The number of the first of them in the log.
        events: The events; none if the page is a part of an event whose rest is still to come.
        position: The position of the page, after which the log goes on; of a part that of the last
            page before the event.
        page_id: The id of the page at that position.
    """

    number: int
    events: tuple[FlowRunEvent, ...]
    position: int
    page_id: str


class Unpacker:
    """Returns the events of a log's pages, and checks that none is missing or comes twice.

    Attributes:
        number: How many events of the log were returned, or were before this began.
        position: The position of the page after which the log goes on; 0 for none.
        page_id: The id of the page at that position; "" for none.
    """

    def __init__(
        self,
        run_id: str,
        *,
        position: int = 0,
        page_id: str = "",
        number: int = 0,
        begun_id: str = "",
    ) -> None:
        """Begin at the start of a log, or after some events of it.

        Args:
            run_id: The run.
            position: The position of the last page of which all events were returned before.
            page_id: The id of that page.
            number: How many events were returned before; the next page may have some of them.
            begun_id: The id of the next page, if it has; "" otherwise.
        """
        self._run_id = run_id
        self.number = number
        self.position = position
        self.page_id = self._previous_id = page_id
        self._begun_id = begun_id
        self._parts: list[bytes] = []

    def take(self, stored: StoredPage) -> Unpacked:
        """Return the events of the next page.

        Raises:
            RelayLogLost: The page does not follow the one before, or is another one than was
                returned in part before.
            RelayLogTrimmed: The log's first pages are gone.
        """
        page = stored.page
        self._check(page)
        body = page.body
        if page.parts > 1:
            if page.part == 1:  # a writer that was killed may have left some of the parts before
                self._parts.clear()
            elif len(self._parts) != page.part - 1:
                raise self._lost(f"part {page.part} of an event has no part before it")
            self._parts.append(body)
            if page.part < page.parts:
                return Unpacked(self.number, (), self.position, self.page_id)
            body = b"".join(self._parts)
        self._parts.clear()
        lines = body.split(b"\n")
        known = self.number - page.first
        if len(lines) != page.count or (known and known >= len(lines)):
            raise self._lost(f"a page from number {page.first} on does not go on at {self.number}")
        number, self.number = self.number, page.first + page.count
        self.position, self.page_id = stored.position, page.page_id
        events = tuple(map(decode_event, lines[known:]))
        return Unpacked(number, events, stored.position, page.page_id)

    def _check(self, page: Page) -> None:
        """Check that a page follows the one before, and is the one that was returned in part."""
        begun_id, self._begun_id = self._begun_id, ""
        if not self._previous_id and not begun_id and page.previous_id:
            raise RelayLogTrimmed(
                f"The broker no longer has the beginning of the log of flow run {self._run_id}, "
                f"before event {page.first}; watch the run on the server, with watch_flow_run"
            )
        if page.previous_id != self._previous_id:
            raise self._lost("another page follows than the one that did")
        if begun_id and page.page_id != begun_id:
            raise self._lost("a page of which some events were read is another one")
        if page.first > self.number:
            raise self._lost(f"{page.first - self.number} events from {self.number} on are gone")
        if page.first < self.number and not begun_id:
            raise self._lost(f"number {page.first} comes after {self.number}")
        self._previous_id = page.page_id

    def _lost(self, reason: str) -> RelayLogLost:
        return RelayLogLost(
            f"The broker's log of flow run {self._run_id} is not the one that was read before: "
            f"{reason}; read the run from its beginning, without after="
        )
