"""What ``tests/tools/chaos.py`` finds in a journal; ``tox -e real`` runs it on a real server."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from chaos import report
from msgspec.structs import replace
from sample_events import closed, entered, line, seen

from rxflow import FlowRunEvent, encode_event

LINES = [line(number) for number in range(3)]
STATES = [entered("Running"), entered("Completed")]
END = replace(closed(), verified=True)
STORED = {"log lines": {each.id for each in LINES}, "states": {each.id for each in STATES}}


def journal_of(events: Sequence[FlowRunEvent], path: Path) -> Path:
    """Write events as a journal has them."""
    path.write_bytes(b"\n".join([b"{}", *map(encode_event, events), b""]))
    return path


JOURNALS = {
    "a line is lost": [seen(), *LINES[1:], *STATES, END],
    "a state is lost": [seen(), *LINES, STATES[0], END],
    "a line is twice": [seen(), *LINES, LINES[0], *STATES, END],
    "a line is not stored": [seen(), *LINES, line(9), *STATES, END],
    "the watch was not closed": [seen(), *LINES, *STATES],
    "the watch was not verified": [seen(), *LINES, *STATES, closed()],
}


@pytest.mark.parametrize("events", JOURNALS.values(), ids=JOURNALS)
def test_a_journal_that_differs_is_reported(events: Sequence[FlowRunEvent], tmp_path: Path) -> None:
    """Whatever is missing, twice or too much makes the tool fail."""
    assert not report(journal_of(events, tmp_path / "journal"), STORED)


def test_a_journal_that_has_each_row_once_is_good(tmp_path: Path) -> None:
    """In any order."""
    events: list[FlowRunEvent] = [seen(), *reversed(LINES), *STATES, END]
    assert report(journal_of(events, tmp_path / "journal"), STORED)
