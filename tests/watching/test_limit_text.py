"""The text of a limit: what is known of the run, and why no more is."""

import pytest
from simulated_world import START

from rxflow import FlowRun
from rxflow._protocol.failures import Failure, FailureKind
from rxflow._watching.limit_text import limit_text, runs_limit_text
from rxflow._watching.watch_spec import WatchSpec

RUN_ID = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"

SPEC = WatchSpec(flow_run_id=RUN_ID, max_duration=4.0)

FAILURE = Failure(kind=FailureKind.NETWORK, text="the cable was cut")


@pytest.mark.parametrize(
    ("row", "failure", "unanswered", "said"),
    [
        (None, None, None, "its state was never read; pass"),
        (None, None, 0.4, "its state was never read; pass"),
        (None, None, 4.04, "never read (the server has sent no complete response for 4.0 s); pass"),
        (None, FAILURE, 4.0, "never read (the last request failed: the cable was cut); pass"),
        (
            FlowRun(id=RUN_ID, name="x", created=START, updated=START),
            None,
            None,
            "is still in state unknown; pass",
        ),
    ],
    ids=["soon", "0.4 s", "4 s", "failure", "no state"],
)
def test_the_text_says_what_is_known(
    row: FlowRun | None, failure: Failure | None, unanswered: float | None, said: str
) -> None:
    """The error has the last known state, and the reason why no more is known."""
    assert said in limit_text(SPEC, row, failure, unanswered)


@pytest.mark.parametrize(
    ("has_looked", "closed_count", "said"),
    [
        (False, 0, "which runs match was not read; pass"),
        (True, 0, "there was none; pass"),
        (True, 3, "all 3 are over; pass"),
    ],
)
def test_the_text_about_many_runs_claims_no_more_than_was_read(
    has_looked: bool, closed_count: int, said: str
) -> None:
    """Where no run is known, it says whether they were looked for."""
    text = runs_limit_text(SPEC, {}, None, None, has_looked=has_looked, closed_count=closed_count)
    assert said in text
