"""Elements of HTML: whatever a text holds, it is data."""

import pytest
from hostile_lines import ALL, LONG
from html_reader import HtmlReader
from hypothesis import given
from hypothesis import strategies as st

from rxflow._escapes import safe_text
from rxflow._markup import Markup, element, joined


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_a_text_is_data(text: str) -> None:
    """As content and as a value, a text is read as what it was, with control characters escaped."""
    read = HtmlReader(element("p", {"title": text}, text))
    shown = safe_text(text.replace("\r\n", "\n")).translate({0xFFFE: 0xFFFD, 0xFFFF: 0xFFFD})
    (paragraph,) = read.elements
    assert (paragraph.name, paragraph.attributes) == ("p", {"title": shown})
    assert read.text == shown


@pytest.mark.parametrize("name", sorted(ALL.keys() - LONG.keys()))
def test_a_hostile_text_opens_no_element(name: str) -> None:
    """Nothing of a hostile line acts, wherever it stands."""
    read = HtmlReader(joined(ALL[name], element("p", {"title": ALL[name]}, ALL[name])))
    assert [each.name for each in read.elements] == ["p"]


def test_elements_are_joined_as_they_are() -> None:
    """Only what is markup already is not escaped; attributes without a value are left out."""
    inner = element("b", {"class": None, "x": 1.25, "y": 3}, "a & b")
    assert inner == '<b x="1.25" y="3">a &amp; b</b>'
    assert element("p", None, inner, "<") == f"<p>{inner}&lt;</p>"
    assert Markup("<i>").__html__() == "<i>"


def test_no_text_has_a_character_that_cannot_be_written() -> None:
    """A lone surrogate has no bytes, and U+FFFE is no character of XML."""
    assert joined("a\ud800b\ufffec").encode() == "a\ufffdb\ufffdc".encode()
