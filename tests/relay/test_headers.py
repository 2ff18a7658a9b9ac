"""A page as headers and a body: both ways, and what is refused."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxflow.errors import InvalidRelayLog
from rxflow.relay._broker import Page
from rxflow.relay._headers import headers_of, page_of

RUN = "c4f0a6f2-6f6e-4a0b-9a5e-2f1f2a3b4c5d"
HEADERS = {"Rx-V": "1", "Rx-Page": "p", "Rx-First": "7", "Rx-Count": "2"}

_ids = st.from_regex(r"\A[A-Za-z0-9_-]{1,64}\Z")
_numbers = st.integers(min_value=0, max_value=10**15 - 1)
_parts = st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(1, n), st.just(n)))


@st.composite
def _pages(draw: st.DrawFn) -> Page:
    part, parts = draw(_parts)
    return Page(
        page_id=draw(_ids),
        previous_id=draw(st.just("") | _ids),
        first=draw(_numbers),
        count=draw(_numbers),
        body=draw(st.binary(max_size=50)),
        part=part,
        parts=parts,
        is_end=draw(st.booleans()),
    )


@given(_pages())
def test_headers_have_all_of_a_page(page: Page) -> None:
    """A page is read from its headers and its body as it was."""
    assert page_of(headers_of(page), page.body, RUN) == page


def test_unknown_headers_are_ignored() -> None:
    """Headers of the broker, and those of a later version, change nothing."""
    more = {**HEADERS, "Nats-Sequence": "3", "Rx-Later": "x", "rx-v": "9"}
    assert page_of(more, b"{}", RUN) == page_of(HEADERS, b"{}", RUN)
    assert page_of(HEADERS, b"{}", RUN) == Page("p", "", 7, 2, b"{}")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"Rx-V": None}, "not a relay's: it has no header Rx-V"),
        ({"Rx-V": "2"}, "of version '2', and this rxflow reads version 1: update rxflow"),
        ({"Rx-V": "9" * 500}, "of version '99999999999999999999', and"),
        ({"Rx-Page": None}, "Rx-Page is ''"),
        ({"Rx-Page": "a b"}, "Rx-Page is 'a b'"),
        ({"Rx-Previous": "x" * 65}, "Rx-Previous is 'x"),
        ({"Rx-Previous": ""}, "Rx-Previous is ''"),
        ({"Rx-First": "-1"}, "Rx-First is '-1'"),
        ({"Rx-First": "\u0661"}, "Rx-First is '\u0661'"),
        ({"Rx-First": "1" * 16}, "Rx-First is '1"),
        ({"Rx-Count": "two"}, "Rx-Count is 'two'"),
        ({"Rx-Part": "0/2"}, "Rx-Part is '0/2'"),
        ({"Rx-Part": "3/2"}, "Rx-Part is '3/2'"),
        ({"Rx-Part": "1"}, "Rx-Part is '1'"),
        ({"Rx-Part": "1/2\n"}, "Rx-Part is '1/2"),
    ],
    ids=str,
)
def test_malformed_headers_are_refused(change: dict[str, str | None], reason: str) -> None:
    """The error names the run, the header and its value."""
    changed = {name: text for name, text in {**HEADERS, **change}.items() if text is not None}
    with pytest.raises(InvalidRelayLog, match=f"{RUN}.*{re.escape(reason)}"):
        page_of(changed, b"{}", RUN)
