"""Joins the parts of an event that is too large for a page, for readers of several logs.

A reader of one log gets its parts one after the other. To one of several logs, other pages come in
between, and it may begin in the middle. So only the last part counts, for which those before it are
read from the log.
"""

from msgspec.structs import replace

from rxflow.relay._broker import Broker, StoredPage


async def whole_page(broker: Broker, run_id: str, stored: StoredPage) -> StoredPage:
    """Return a page with all of its event.

    Args:
        broker: The connection.
        run_id: The run.
        stored: The page.

    Returns:
        The last part of an event as a page that has the whole event. Another page as it is, and so
        is a part before the last one, or one whose log was dropped meanwhile.

    Raises:
        InvalidRelayLog: The log has something else than pages of a relay.
        BrokerFailed: The broker refuses it.
    """
    page = stored.page
    if page.part < page.parts or page.parts == 1:
        return stored
    bodies = [page.body]
    previous = stored.previous
    for part in range(page.parts - 1, 0, -1):
        before = await broker.page_at(run_id, previous)
        if before is None or before.page.part != part:
            return stored
        bodies.append(before.page.body)
        previous = before.previous
    body = b"".join(reversed(bodies))
    return stored._replace(page=replace(page, body=body, part=1, parts=1))
