"""The table of Prefect 1.4.1's defects, by number; it runs each check of `tests/seed_defects`.

A row says what `prefect.backend` of 1.4.1 did; the docstring of its check says what rxflow does
instead. The figures are from experiments with 1.4.1 itself, most of them with a virtual clock;
`DASK` was found on a real server.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import pytest

from tests.seed_defects import logs, order, outages, polling, views
from tests.seed_defects.scenes import DefectScene, NewScene, OnPrefect1, OnPrefect3

Check: TypeAlias = Callable[[NewScene], None]

_PREFECT_1 = (OnPrefect1,)
_BOTH_SERVERS = (OnPrefect1, OnPrefect3)


class Defect(NamedTuple):
    """A row of the table.

    Attributes:
        number: The defect's number.
        seed: What 1.4.1 did.
        check: The check that rxflow does not do that.
        servers: The servers on which the defect can be seen.
    """

    number: str
    seed: str
    check: Check
    servers: tuple[type[DefectScene], ...] = _BOTH_SERVERS


DEFECTS = (
    # -- lost log lines -------------------------------------------------------------------------
    Defect(
        "D01",
        "It queried lines after the time of the last one, so a later line of the same time was "
        "lost.",
        logs.line_of_an_equal_time_stored_later,
    ),
    Defect(
        "D02",
        "Any line that was older than the last one and stored later was lost.",
        logs.older_line_stored_later,
    ),
    Defect(
        "D03",
        "It read lines once after the last state, so those that were uploaded later were lost.",
        logs.lines_after_the_last_state,
    ),
    Defect(
        "DASK",
        "Of 37 lines of a run with two worker processes it lost 11, 7, 9, 10, 1, 11 and 11 in "
        "seven runs, since each process uploads every 5 s.",
        logs.lines_of_two_processes,
    ),
    Defect(
        "D04",
        "It queried lines up to its own time: with a clock 30 s behind, 20 of 20 were lost.",
        logs.watcher_clock_behind,
    ),
    Defect(
        "D04b",
        "With a clock ahead its own time was in the query too, without harm.",
        logs.watcher_clock_ahead,
    ),
    Defect(
        "D06",
        "If a server returns 100 rows at once, `get_logs` silently returned 100 of 250.",
        logs.logs_longer_than_a_page,
    ),
    Defect(
        "D06b",
        "Of 250 lines at the end of a run it emitted 200: the last pages were not read.",
        logs.pages_at_the_end,
    ),
    Defect(
        "D06c",
        "Of 150 lines of one time it emitted 100: those beyond the page were skipped.",
        logs.equal_times_across_pages,
    ),
    Defect(
        "D07",
        "For a finished run it emitted neither states nor lines; without states nothing at all.",
        logs.finished_run,
    ),
    Defect(
        "D24",
        "`get_logs` ended at the last write of the run's row: 0 of 20 lines of a running run.",
        logs.logs_of_a_running_run,
    ),
    # -- order and identity ---------------------------------------------------------------------
    Defect(
        "D08",
        "Lines of one time were sorted by the number of the level and by text.",
        order.order_of_equal_times,
    ),
    Defect(
        "D08b",
        "Comparing an unknown level with a known one was a TypeError that ended the watch.",
        order.unknown_levels_of_equal_times,
    ),
    Defect(
        "D08c",
        "Comparing a message with a null one was a TypeError that ended the watch.",
        order.null_message_of_equal_times,
        _PREFECT_1,  # a message of Prefect 3 is never null
    ),
    Defect("D08d", "An unknown level became a text, such as 'Level TRACE'.", order.unknown_level),
    Defect(
        "D09",
        "It sorted the rows of each poll alone: in each of 20 runs some were out of order, in one"
        " a line of 13.3 s came 4 s after a state of 13.7 s.",
        order.order_within_a_tick,
    ),
    Defect(
        "D10",
        "It counted states: for one with an earlier timestamp it emitted the last one again.",
        order.state_with_an_earlier_time,
    ),
    Defect("D27", "A line had no id, no task run and no name.", order.identity_of_lines),
    Defect("D28", "States of one time were in the server's order.", order.states_of_equal_times),
    # -- polling and time -----------------------------------------------------------------------
    Defect(
        "D05",
        "The interval never grew, since int(2 * 1.3) is 2: 151 sleeps of 2 s and 303 requests in "
        "300 idle seconds.",
        polling.idle_interval,
    ),
    Defect(
        "D25",
        "Each poll read all states and the parameters again: 2.7 MB a minute for a run with 200 "
        "states.",
        polling.repeated_states,
    ),
    Defect(
        "D14",
        "It slept 2 s after the end, and read the run twice in a row at the start.",
        polling.no_needless_pause,
    ),
    Defect(
        "D13",
        "It timed out in the very poll that read Success, and lost the last lines.",
        polling.end_at_the_time_limit,
    ),
    Defect(
        "D13b",
        "The error of a watch of 90 s said '0.0 hours of waiting'.",
        polling.text_of_the_time_limit,
    ),
    Defect(
        "D13c",
        "It counted only its own sleeps, and not the time that requests took.",
        polling.time_of_requests,
    ),
    Defect(
        "SESSIONS",
        "Each request had a session of its own, 5 for 5, so no connection was reused.",
        polling.one_connection,
    ),
    # -- warnings and errors --------------------------------------------------------------------
    Defect(
        "D11",
        "It warned that no agent had submitted a run that was scheduled for tomorrow, and one "
        "that was Queued, Paused, Retrying or in Resume.",
        outages.late_start_notices,
    ),
    Defect(
        "D12",
        "A failed query for agents ended the watch.",
        outages.failed_agent_query,
    ),
    Defect(
        "D12b",
        "An agent whose labels are null was a TypeError.",
        outages.agent_with_null_labels,
        _PREFECT_1,  # workers have no labels
    ),
    Defect(
        "D20",
        "A state of an unknown type was a ValidationError that ended the watch.",
        outages.unknown_state_type,
    ),
    Defect(
        "D33",
        "Any error ended the generator and lost its position in the log; errors in responses of "
        "HTTP status 200 were not retried.",
        outages.outage_of_a_minute,
    ),
    Defect(
        "D31",
        "The call was documented to block, and only made a generator.",
        outages.cold_stream,
    ),
    Defect(
        "D32",
        "A malformed id raised only when the first item was requested.",
        outages.invalid_and_unknown_ids,
    ),
    # -- views ----------------------------------------------------------------------------------
    Defect("D16", "`get_logs` of a deleted run was an IndexError.", views.logs_of_a_deleted_run),
    Defect(
        "D17",
        "`get_task_run_ids` logged a warning about a bad response, and then raised a TypeError.",
        views.bad_response_for_ids,
    ),
    Defect("D18", "An empty list of ids was never cached.", views.ids_after_an_empty_list),
    Defect(
        "D19",
        "`get_task_run` accepted a task run of another flow run, and `get_all_task_runs` then "
        "listed it.",
        views.task_run_of_another_run,
    ),
    Defect(
        "D22",
        "1,001 task runs were refused, unless a row limit hid them: of 2,500 it returned 1,000.",
        views.more_than_1000_task_runs,
    ),
    Defect(
        "D23",
        "A finished task run was cached for ever: Failed stayed Failed after a restart.",
        views.restarted_task_run,
    ),
    Defect(
        "D26",
        "`iter_mapped` sent one request for each child, and ended at the first missing index.",
        views.mapped_children,
    ),
    Defect(
        "D26b",
        "`get_result` did not check the number of children: it returned [0, 1] of five.",
        views.results_of_missing_children,
        _PREFECT_1,  # Prefect 3 has no parent of mapped task runs
    ),
    Defect(
        "D29", "A view had lists that the caller could change.", views.values_changed_by_the_caller
    ),
    Defect("D30", "The times of the run were not read.", views.times_of_the_run),
)

# All numbers; there is no D15 and no D21.
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
def test_the_defect_is_absent(check: Check, server: type[DefectScene]) -> None:
    """The defect is absent on each server on which it could be seen."""
    check(server)


def test_each_defect_has_one_row() -> None:
    """Each number has exactly one row, with a documented check that runs on Prefect 1."""
    assert sorted(defect.number for defect in DEFECTS) == sorted(NUMBERS)
    assert all(OnPrefect1 in defect.servers for defect in DEFECTS)
    assert all(defect.seed and defect.check.__doc__ for defect in DEFECTS)
