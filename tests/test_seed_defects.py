"""What Prefect 1.4.1's `prefect.backend` did wrong, by number, and that rxflow does not.

The figures are those of experiments with 1.4.1 itself, most of them with a virtual clock. `DASK` is
the one that was found on a real server. What each check shows is the sentence at its head.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import pytest

from tests.seed_defects import logs, order, outages, polling, views
from tests.seed_defects.scenes import New, OnPrefect1, OnPrefect3, Scene

Check: TypeAlias = Callable[[New], None]

_ONE = (OnPrefect1,)
_BOTH = (OnPrefect1, OnPrefect3)


class Defect(NamedTuple):
    """A row of the table.

    Attributes:
        number: By which it is known.
        seed: What 1.4.1 did.
        check: What is done here.
        servers: Where that is seen.
    """

    number: str
    seed: str
    check: Check
    servers: tuple[type[Scene], ...] = _BOTH


DEFECTS = (
    # -- log lines that were lost ---------------------------------------------------------------
    Defect(
        "D01",
        "It asked for lines after the last one's time, so one of the same time that came later was "
        "lost.",
        logs.tie_that_comes_later,
    ),
    Defect(
        "D02",
        "Any line older than the last one told was lost if it came later.",
        logs.older_line_that_comes_later,
    ),
    Defect(
        "D03",
        "It read lines once after the last state, and those that were uploaded later were lost.",
        logs.last_lines,
    ),
    Defect(
        "DASK",
        "Of 37 lines of a run with two worker processes it lost 11, 7, 9, 10, 1, 11 and 11 in "
        "seven runs: each process uploads every 5 s.",
        logs.two_processes,
    ),
    Defect(
        "D04",
        "It asked for lines up to its own time: with a clock 30 s behind, 20 of 20 were lost.",
        logs.clock_that_is_behind,
    ),
    Defect(
        "D04b",
        "With a clock that was ahead, its own time was in the question too, and did no harm.",
        logs.clock_that_is_ahead,
    ),
    Defect(
        "D06",
        "Where a server gives 100 rows at once, `get_logs` gave 100 of 250, in silence.",
        logs.truncated_logs,
    ),
    Defect(
        "D06b",
        "Of 250 lines at the end of a run 200 were told: the last pages were not read.",
        logs.last_pages,
    ),
    Defect(
        "D06c",
        "Of 150 lines of one time 100 were told: what lay over the edge of a page was skipped.",
        logs.tie_over_a_page,
    ),
    Defect(
        "D07",
        "Of a run that was over it told neither states nor lines; without states, nothing at all.",
        logs.run_that_is_over,
    ),
    Defect(
        "D24",
        "`get_logs` ended where the run's row was last written: 0 of 20 lines of a running run.",
        logs.logs_of_a_running_run,
    ),
    # -- order and identity ---------------------------------------------------------------------
    Defect(
        "D08", "Lines of one time were sorted by the level's number and words.", order.order_of_ties
    ),
    Defect(
        "D08b",
        "To compare an unknown level with a known one was a TypeError, which ended the watch.",
        order.unknown_levels_in_a_tie,
    ),
    Defect(
        "D08c",
        "To compare a message with one that is null was a TypeError, which ended the watch.",
        order.no_message_in_a_tie,
        _ONE,  # Prefect 3 has no null there
    ),
    Defect("D08d", "An unknown level became a text, such as 'Level TRACE'.", order.unknown_levels),
    Defect(
        "D09",
        "It sorted what one poll had found: in each of 20 runs something was out of order, in one "
        "a line of 13.3 s came 4 s after a state of 13.7 s.",
        order.order_of_polls,
    ),
    Defect(
        "D10",
        "It counted states: for one with an earlier timestamp it told the last one again.",
        order.state_of_an_earlier_time,
    ),
    Defect("D27", "A line had neither id nor task run nor name.", order.identity_of_lines),
    Defect("D28", "States of one time came in the server's order.", order.states_of_one_time),
    # -- polling and time -----------------------------------------------------------------------
    Defect(
        "D05",
        "The interval never grew, since int(2 * 1.3) is 2: 151 sleeps of 2 s and 303 requests in "
        "300 idle seconds.",
        polling.idle_interval,
    ),
    Defect(
        "D25",
        "Each poll had all states and the parameters sent again: of a run with 200 states 2.7 MB a "
        "minute.",
        polling.what_is_sent_again,
    ),
    Defect(
        "D14",
        "It slept 2 s after the end, and asked for the run twice in a row at the start.",
        polling.sleeps_for_nothing,
    ),
    Defect(
        "D13",
        "It timed out in the very poll that saw Success, and the last lines were dropped.",
        polling.end_at_the_deadline,
    ),
    Defect(
        "D13b",
        "The error of a watch of 90 s spoke of '0.0 hours of waiting'.",
        polling.words_of_the_time_out,
    ),
    Defect(
        "D13c",
        "It counted its own sleeps alone, and not what requests took.",
        polling.time_that_requests_take,
    ),
    Defect(
        "SESSIONS",
        "Each request had a session of its own, 5 for 5, so no connection was kept.",
        polling.connections,
    ),
    # -- warnings and errors --------------------------------------------------------------------
    Defect(
        "D11",
        "It warned that no agent had submitted a run scheduled for tomorrow, and one that was "
        "Queued, Paused, Retrying or in Resume.",
        outages.said_of_waiting_runs,
    ),
    Defect(
        "D12",
        "A failing question about agents ended the watch.",
        outages.no_answer_about_agents,
    ),
    Defect(
        "D12b",
        "An agent whose labels are null was a TypeError.",
        outages.agent_without_labels,
        _ONE,  # a worker has no labels
    ),
    Defect(
        "D20",
        "A state of an unknown type was a ValidationError out of the watch.",
        outages.unknown_state,
    ),
    Defect(
        "D33",
        "Any error ended the generator, and its place in the log with it; errors that a server "
        "told with HTTP status 200 were not even tried again.",
        outages.error_in_the_middle,
    ),
    Defect(
        "D31",
        "The call was said to block, and did nothing, since it only made a generator.",
        outages.call_that_does_nothing,
    ),
    Defect(
        "D32",
        "An id that was none raised only when the first item was asked for.",
        outages.unknown_id,
    ),
    # -- views ----------------------------------------------------------------------------------
    Defect("D16", "`get_logs` of a deleted run was an IndexError.", views.deleted_run),
    Defect(
        "D17",
        "`get_task_run_ids` logged a warning about a bad answer, and then a TypeError came.",
        views.bad_answer_to_ids,
    ),
    Defect("D18", "An empty list of ids was never kept.", views.empty_ids),
    Defect(
        "D19",
        "`get_task_run` took another flow run's task run, which `get_all_task_runs` then listed.",
        views.anothers_task_run,
    ),
    Defect(
        "D22",
        "1,001 task runs were refused, unless a limit to rows hid them: of 2,500 came 1,000.",
        views.many_task_runs,
    ),
    Defect(
        "D23",
        "What was finished was kept for ever: Failed stayed Failed after a restart.",
        views.restarted_task_run,
    ),
    Defect(
        "D26",
        "`iter_mapped` asked once for each child, and ended at the first gap.",
        views.mapped_children,
    ),
    Defect(
        "D26b",
        "`get_result` did not look how many children there were to be: [0, 1] of five.",
        views.results_of_some_children,
        _ONE,  # Prefect 3 has no mapped parent
    ),
    Defect("D29", "A view had lists that anyone could change.", views.changed_from_outside),
    Defect("D30", "The run's times were not asked for.", views.times_of_the_run),
)

# All that were found, as they are numbered: there is no D15 and no D21.
NUMBERS = (
    *("D01", "D02", "D03", "D04", "D04b", "D05", "D06", "D06b", "D06c", "D07"),
    *("D08", "D08b", "D08c", "D08d", "D09", "D10", "D11", "D12", "D12b", "D13", "D13b", "D13c"),
    *("D14", "D16", "D17", "D18", "D19", "D20", "D22", "D23", "D24", "D25", "D26", "D26b"),
    *("D27", "D28", "D29", "D30", "D31", "D32", "D33", "DASK", "SESSIONS"),
)

CASES = [
    pytest.param(defect.check, server, id=f"{defect.number}-{server.backend}")
    for defect in DEFECTS
    for server in defect.servers
]


@pytest.mark.parametrize(("check", "server"), CASES)
def test_a_defect_is_repaired(check: Check, server: type[Scene]) -> None:
    """What 1.4.1 did wrong is done right, on each server where that can be seen."""
    check(server)


def test_no_defect_is_left_out() -> None:
    """Each defect that was found has its row, and one row only, and is checked on Prefect 1."""
    assert sorted(defect.number for defect in DEFECTS) == sorted(NUMBERS)
    assert all(OnPrefect1 in defect.servers for defect in DEFECTS)
    assert all(defect.seed and defect.check.__doc__ for defect in DEFECTS)
