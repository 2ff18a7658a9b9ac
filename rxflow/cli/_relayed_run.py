"""Follow a run by its log on a broker, from the run's id to the exit status.

Nothing is read from Prefect's server, so that what a run's log does not have is left out: its
subflows, which have logs of their own, and the names of task runs whose states come much later than
their lines.
"""

from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING

import click
import reactivex
from reactivex import operators as ops

from rxflow import FlowRunEvent, WatchTimedOut
from rxflow._models.durations import short_duration
from rxflow._runtime.clocks import real_now
from rxflow.cli._broker_options import RELAY_VARIABLE, BrokerOptions
from rxflow.cli._exit_status import ExitStatus
from rxflow.cli._follow import follow
from rxflow.cli._following import log_selection
from rxflow.cli._given_options import given_options, without_user
from rxflow.cli._interruption import explained_end
from rxflow.cli._late_names import named
from rxflow.cli._live import refreshed
from rxflow.cli._live_order import ordered
from rxflow.cli._logged_display import logged_display
from rxflow.cli._names import Names
from rxflow.cli._run_words import run_id_of
from rxflow.cli._selection import Selection
from rxflow.cli._show_options import FollowOptions, ShowOptions
from rxflow.cli._shown_lines import ShownLines, line_format
from rxflow.relay import stream

if TYPE_CHECKING:
    from rxflow.stream import Stream

__all__ = ["follow_relayed_run", "relayed_run"]


def relayed_run(
    selection: Selection, show: ShowOptions, following: FollowOptions, shown: BrokerOptions
) -> str:
    """Return the id of the one run that is meant.

    Raises:
        click.UsageError: Another number of runs is given, or something that needs the server.
    """
    relay = "--relay" if shown.is_url_given else RELAY_VARIABLE
    way_out = "" if shown.is_url_given else f" To read the server, unset {RELAY_VARIABLE}."
    needs_server = (
        ("filters", bool(selection.filters)),
        ("--tail", show.tail is not None),
        ("--cancel-on-interrupt", following.cancel_on_interrupt),
        ("--journal", following.journal is not None),
    )
    for name, is_given in needs_server:
        if is_given:
            raise click.UsageError(f"{relay} reads a run from its log, without {name}.{way_out}")
    if len(selection.words) != 1:
        raise click.UsageError(f"{relay} reads one run; pass its id.{way_out}")
    run_id = run_id_of(selection.words[0])
    if run_id is None:
        raise click.UsageError(
            f"{selection.words[0]!r} is neither the whole id of a run nor the URL of its page, one "
            f"of which {relay} needs.{way_out}"
        )
    return run_id


def follow_relayed_run(
    url: str,
    workspace: str,
    run_id: str,
    show: ShowOptions,
    following: FollowOptions,
    *,
    shown: BrokerOptions,
    since: datetime | None,
    tasks: bool,
) -> ExitStatus:
    """Follow a run until it is over, and return the status to exit with.

    Args:
        url: The URL of the broker.
        workspace: The workspace.
        run_id: The run.
        show: Which lines are shown, and how.
        following: How the run is followed.
        shown: What the broker is shown.
        since: The time of the first log lines to show; None for all.
        tasks: Whether the states of task runs are shown.

    Raises:
        click.UsageError: What the broker would be shown cannot be read.
        RxflowError: As for `rxflow.relay.stream`.
        SystemExit: It was broken off, by a signal or the time limit; a sentence says so.
    """
    selection = log_selection(show, since)
    names = Names()
    line = line_format(show, names, only_logs=False, tasks=tasks, many=False)
    lines = ShownLines(line, selection, None)
    display, live = logged_display(show, lines, selection)
    arguments = shown.arguments(url)
    relay = ["--relay", without_user(url)] if shown.is_url_given else []
    of_broker = {"relay", "workspace", *shown.given}
    options = [*relay, "--workspace", workspace, *shown.words, *given_options(of_broker)]
    with explained_end((run_id,), options=options) as going_on:
        events = _limited(stream(url, run_id, workspace=workspace, **arguments), following, run_id)
        events = events.pipe(ops.do_action(going_on.receive))
        if live is not None:
            events = events.pipe(ops.do_action(live.receive))
        if following.hold:
            events = events.pipe(ops.do_action(names.receive), ordered(None))
            if show.output in {"text", "template"}:  # the formats that have names
                events = events.pipe(named(names))
        with closing(iter(events) if live is None else refreshed(events, live)) as read:
            status = follow(read, display, tabulated=not show.quiet)
    return ExitStatus.COMPLETED if following.exit_zero else status


def _limited(
    events: "Stream[FlowRunEvent]", following: FollowOptions, run_id: str
) -> "Stream[FlowRunEvent]":
    """Return events that end with an error at the time limit."""
    if following.timeout is None:
        return events
    duration = short_duration(following.timeout.duration)
    error = WatchTimedOut(f"Flow run {run_id} is not over after {duration}", flow_run_ids=(run_id,))
    end = real_now().utc + following.timeout.rest
    limited: Stream[FlowRunEvent] = events.pipe(ops.timeout(end, reactivex.throw(error)))
    return limited
