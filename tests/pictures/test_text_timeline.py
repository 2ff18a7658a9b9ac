"""The timeline of a run as text."""

from datetime import UTC, datetime

import pytest
from picture_runs import NightlyRun

from rxflow._models.terminal_text import local_time
from rxflow._pictures.cells import cell_width, plain_text
from rxflow._pictures.text_timeline import timeline_lines

START = f"{local_time(datetime(2026, 1, 1, 0, 0, 4, tzinfo=UTC)):%Y-%m-%d %H:%M:%S %z}"


def test_a_timeline_has_bars_for_waits_attempts_and_failures() -> None:
    """Retries are several bars; what failed is seen without colours, too."""
    assert plain_text(timeline_lines(NightlyRun().to_end().tree(), 80)) == (
        f"nightly-report / amber-fox  Failed  started {START}\n"
        "                                   0                 5 s\n"
        "nightly-report              ·······▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒ 8.0 s, Failed\n"
        "├─ fetch_orders-0                  ▒▒▒▒·······████████████        6.0 s, 2 runs\n"
        "├─ fetch_orders-1                  ████                           1.0 s\n"
        "└─ publish-report                                        ▒▒▒▒▒▒▒▒ 2.0 s, Failed\n"
        "   ├─ render_page-completed                              ████     1.0 s\n"
        "   └─ render_page-failed                                     ▒▒▒▒ 1.0 s, Failed"
    )


@pytest.mark.parametrize("width", [60, 80, 140])
def test_a_timeline_is_as_wide_as_the_terminal(width: int) -> None:
    """No line is wider, and the longest one uses almost all of it."""
    lines = plain_text(timeline_lines(NightlyRun().to_end().tree(), width)).splitlines()[1:]
    widest = max(map(cell_width, lines))
    assert width - 2 <= widest <= width
