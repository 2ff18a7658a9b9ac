"""HTTP replies for the tests of backends: built by hand, and drawn at random.

Belongs here: what both backends read. Does not belong here: recordings of one server.
"""

import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from rxflow._backends.backend import HttpResponse

HTML = b"<!DOCTYPE html><html><body>Sign in to continue</body></html>"
"""The page of a proxy, in place of a reply of the API."""


def json_reply(body: Any, status: int = 200, **headers: str) -> HttpResponse:
    """Build a JSON reply.

    Args:
        body: The body; bytes are sent as they are, anything else as JSON.
        status: The HTTP status.
        headers: Further headers, with "_" for "-".
    """
    return HttpResponse(
        status=status,
        headers={"content-type": "application/json"}
        | {name.replace("_", "-"): value for name, value in headers.items()},
        body=body if isinstance(body, bytes) else json.dumps(body).encode(),
    )


_FLOATS = st.floats(allow_nan=False, allow_infinity=False)
_SCALARS = st.none() | st.booleans() | st.integers() | _FLOATS | st.text(max_size=5)
JSON_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@st.composite
def damaged(draw: st.DrawFn, body: bytes) -> bytes:
    """Draw a body with a piece of it replaced, repeated or cut out."""
    start, end = sorted(draw(st.tuples(*[st.integers(0, len(body))] * 2)))
    return body[:start] + draw(st.binary(max_size=8) | st.just(body[start:end] * 2)) + body[end:]


def replies_with(
    bodies: st.SearchStrategy[bytes], statuses: list[int], *header_values: str
) -> st.SearchStrategy[HttpResponse]:
    """Draw replies of any status, with odd headers.

    Args:
        bodies: Draws the bodies.
        statuses: Statuses to draw more often than others.
        header_values: Values of headers to draw more often than others.
    """
    return st.builds(
        HttpResponse,
        status=st.integers(100, 599) | st.sampled_from(statuses),
        headers=st.dictionaries(
            st.sampled_from(["content-type", "date", "retry-after", "location"]),
            st.text() | st.sampled_from(header_values),
        ),
        body=bodies,
    )


@st.composite
def changed_row(draw: st.DrawFn, row: Any) -> Any:
    """Draw a row in which some fields are missing or have another value."""
    copy = json.loads(json.dumps(row))
    for path in draw(st.lists(st.sampled_from(sorted(_paths(row))), min_size=1, max_size=3)):
        holder = copy
        for key in path[:-1]:
            holder = holder.get(key) if isinstance(holder, dict) else None
        if isinstance(holder, dict) and path[-1] in holder:
            if draw(st.booleans()):
                del holder[path[-1]]
            else:
                holder[path[-1]] = draw(JSON_VALUES)
    return copy


def _paths(value: Any, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """List the paths of all fields of a row, including those of the objects in it."""
    for key, inner in value.items() if isinstance(value, dict) else ():
        yield (*prefix, key)
        yield from _paths(inner, (*prefix, key))
