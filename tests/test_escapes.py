"""Text of a server is escaped before it is shown, in errors too."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxflow import Closed, FlowRunFailed, State
from rxflow._escapes import one_line, safe_text

# Retitle the window, clear the screen, write the clipboard, show the text from right to left.
HOSTILE = "\x1b]0;title\x07\x1b[2J\x9b2J\x1b]52;c;aGk=\x07\u202emoc\u2066\x00\x7f"


def is_harmless(text: str) -> bool:
    """Whether every character is printable, a newline or a tab."""
    return all(char.isprintable() or char in "\n\t" for char in text)


def test_hostile_text_is_shown_by_its_codes() -> None:
    """Control and direction characters are written out, and other text is unchanged."""
    assert safe_text("r\u00f6ws\n\t17") == "r\u00f6ws\n\t17"
    assert safe_text("\x1b[2J\u202e") == r"\x1b[2J\u202e"
    assert is_harmless(safe_text(HOSTILE))


def test_the_error_of_a_failed_run_is_one_harmless_line() -> None:
    """The name and the message of the last state are escaped, line breaks too."""
    time = datetime(2026, 11, 22, tzinfo=UTC)
    state = State(
        id="a",
        type="FAILED",
        name=f"Failed{HOSTILE}",
        timestamp=time,
        message=f"{HOSTILE}\nFlow run ended in Completed",
    )
    run_id = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"
    closed = Closed(flow_run_id=run_id, state=state, timestamp=time)
    with pytest.raises(FlowRunFailed) as error:
        closed.raise_for_state()
    assert is_harmless(str(error.value))
    assert len(str(error.value).splitlines()) == 1
    assert r"\x1b]0;title\x07" in str(error.value)


@given(st.text("ab \t\x1b\r\n\u2028\x85|"))
def test_one_line_has_no_line_break(text: str) -> None:
    """Line breaks of any kind are escaped, and those at the end left out."""
    shown = one_line(text)
    assert len(shown.splitlines()) <= 1
    assert one_line(f"{text}\r\n") == shown
