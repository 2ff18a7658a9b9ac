"""A page as a message of a broker: headers, which are text by name, and a body.

    Rx-V         1, the version of these headers
    Rx-Page      the page's id
    Rx-Previous  the id of the page before it; the first page of a log has none
    Rx-First     the number of the page's first event in the log, from 0
    Rx-Count     how many events it has
    Rx-Part      i/n: part i of the n parts of one event; without it, the page is whole
    Rx-End       1, if its last event is the run's `Closed`

Other headers are ignored, so that a later version may add some. One that changes what these mean
has another number.

Belongs here: headers. Does not belong here: what is in a body (`_pages`), and the order of pages
(`_page_chain`).
"""

import re
from collections.abc import Mapping
from typing import Final

from rxflow.errors import InvalidRelayLog
from rxflow.relay._broker import Page

_VERSION: Final = "1"
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NUMBER: Final = re.compile(r"[0-9]{1,15}")
_PART: Final = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")


def headers_of(page: Page) -> dict[str, str]:
    """Return the headers of a page."""
    headers = {
        "Rx-V": _VERSION,
        "Rx-Page": page.page_id,
        "Rx-First": str(page.first),
        "Rx-Count": str(page.count),
    }
    if page.previous_id:
        headers["Rx-Previous"] = page.previous_id
    if page.parts > 1:
        headers["Rx-Part"] = f"{page.part}/{page.parts}"
    if page.is_end:
        headers["Rx-End"] = "1"
    return headers


def page_of(headers: Mapping[str, str], body: bytes, run_id: str) -> Page:
    """Return the page of a message.

    Args:
        headers: All headers of the message.
        body: Its body.
        run_id: The run, for the error.

    Raises:
        InvalidRelayLog: It is not a page, or one of a later version.
    """
    version = headers.get("Rx-V")
    if version is None:
        raise InvalidRelayLog(
            f"The log of flow run {run_id} has a message that is not a relay's: it has no header "
            "Rx-V; find out what else writes there, and drop the log"
        )
    if version != _VERSION:
        raise InvalidRelayLog(
            f"The log of flow run {run_id} has a page of version {version[:20]!r}, and this rxflow "
            f"reads version {_VERSION}: update rxflow here"
        )
    part, parts = _part_of(headers, run_id)
    return Page(
        page_id=_matched(_ID, headers, "Rx-Page", run_id)[0],
        previous_id=_matched(_ID, headers, "Rx-Previous", run_id)[0]
        if "Rx-Previous" in headers
        else "",
        first=int(_matched(_NUMBER, headers, "Rx-First", run_id)[0]),
        count=int(_matched(_NUMBER, headers, "Rx-Count", run_id)[0]),
        body=body,
        part=part,
        parts=parts,
        is_end="Rx-End" in headers,
    )


def _part_of(headers: Mapping[str, str], run_id: str) -> tuple[int, int]:
    if "Rx-Part" not in headers:
        return 1, 1
    found = _matched(_PART, headers, "Rx-Part", run_id)
    part, parts = int(found[1]), int(found[2])
    if not 1 <= part <= parts:
        raise _malformed("Rx-Part", headers["Rx-Part"], run_id)
    return part, parts


def _matched(
    pattern: re.Pattern[str], headers: Mapping[str, str], name: str, run_id: str
) -> re.Match[str]:
    value = headers.get(name, "")
    found = pattern.fullmatch(value)
    if found is None:
        raise _malformed(name, value, run_id)
    return found


def _malformed(name: str, value: str, run_id: str) -> InvalidRelayLog:
    return InvalidRelayLog(
        f"The log of flow run {run_id} has a page whose header {name} is {value[:80]!r}, which no "
        "relay writes; find out what else writes there, and drop the log"
    )
