"""What ``tests/tools/virtual_soak.py`` reports of a watch; docs/contract.md has its figures."""

import sys

import pytest
import virtual_soak

from rxflow import FlowRunLog
from rxflow._watching.event_order import EventPages


def soak(monkeypatch: pytest.MonkeyPatch) -> int:
    """Watch a run of a quarter of an hour, and return the status."""
    monkeypatch.setattr(sys, "argv", ["virtual_soak.py", "--days", "0.01", "--rate", "2"])
    return virtual_soak.main()


def test_a_watch_that_has_each_line_once_is_good(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The late line among them."""
    assert soak(monkeypatch) == 0
    assert capsys.readouterr().out.endswith(
        "1,729 lines, each delivered once: True, verified: True\n"
    )


@pytest.mark.parametrize("times", [0, 2])
def test_a_line_that_is_lost_or_repeated_is_reported(
    monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """One of all lines is enough."""
    record = virtual_soak.CountedWatch.record

    def record_one_wrongly(self: virtual_soak.CountedWatch, pages: EventPages) -> None:
        record(self, pages)
        if any(
            isinstance(event, FlowRunLog) and event.id == "700"
            for _, page in pages
            for event in page
        ):
            self.times_delivered[700] = times

    monkeypatch.setattr(virtual_soak.CountedWatch, "record", record_one_wrongly)
    assert soak(monkeypatch) == 1
