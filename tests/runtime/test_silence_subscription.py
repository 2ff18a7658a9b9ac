"""`quiet_for`: the row of each silent run is read, and what it shows is emitted."""

import asyncio
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
import pytest
import reactivex as rx
from reactivex import operators as ops
from reactivex.scheduler import CurrentThreadScheduler
from sample_events import closed, entered, line, seen
from virtual_world import Recording, World

import rxflow
from rxflow import AuthError, FlowRunEvent, FlowRunLog, Notice, NoticeCode, Quiet, watch_flow_run
from rxflow.operators import level_at_least, only, quiet_for
from rxflow.testing import FakePrefect3

LIMIT = 60.0
"""Seconds for which a run must be silent in these tests."""


@pytest.fixture
def run(world: World) -> str:
    """A run that is running and writes a line in second 10."""
    run = world.server.add_run()
    world.server.set_state(run, "RUNNING")
    world.at(10, lambda: world.server.log(run, "at work"))
    return run


def record_silences(world: World, run: str, *, until: float = 600) -> Recording[Quiet]:
    """Record the silences of a watch."""
    watch = watch_flow_run(run, client=world.client)
    return world.watch(watch.pipe(quiet_for(LIMIT, world.client)), until=until)


def refuse(request: httpx.Request) -> httpx.Response:
    """Refuse a connection."""
    raise httpx.ConnectError("refused", request=request)


def set_intercept(world: World, intercept: Any) -> None:
    """Intercept all requests from now on."""
    world.server.intercept = intercept


def assert_emitted_at(recording: Recording[Quiet], *expected: float) -> None:
    """Check when silences were emitted, up to the time between two polls."""
    assert len(recording.events) == len(expected)
    for (seconds, _), least in zip(recording.events, expected, strict=True):
        assert least <= seconds < least + 10


def row_checks(world: World) -> int:
    """Return the number of row checks, each of which has a channel beside that of the watch."""
    return len(world.channels) - 1


# -- in virtual time ----------------------------------------------------------------------------


def test_quiet_for_does_what_its_diagram_says(world: World) -> None:
    """The items of the diagram in the docstring are emitted at its times."""
    found = re.search(r"in: +(\S+)\n.*\n +out: +(\S+)", str(quiet_for.__doc__))
    assert found
    arriving, emitted = found.groups()
    run = world.server.add_run()
    events: dict[str | float, Any] = {key: line(message=key, run=run) for key in "abc"}
    source: rx.Observable[Any] = rx.from_marbles(arriving, timespan=1.0, lookup=events)
    recording = world.watch(source.pipe(quiet_for(5, world.client)), until=100)
    assert [seconds for seconds, _ in recording.events] == [emitted.index("q")]
    assert (recording.ended, recording.completed) == (emitted.index("|"), True)


def test_a_silence_is_emitted_once(world: World, run: str) -> None:
    """A run that stays silent is reported once, a minute after its last event, with its row."""
    recording = record_silences(world, run)
    (quiet,) = recording.values
    assert_emitted_at(recording, 70)
    assert quiet.flow_run_id == quiet.run.id == run
    assert quiet.run.state is not None
    assert quiet.run.state.name == "Running"
    assert (quiet.timestamp - quiet.since).total_seconds() >= LIMIT
    assert row_checks(world) == 1
    assert not recording.completed


def test_each_silence_is_emitted(world: World, run: str) -> None:
    """After another event the next silence is emitted too."""
    world.at(200, lambda: world.server.log(run, "still at work"))
    recording = record_silences(world, run)
    assert_emitted_at(recording, 70, 260)


def test_an_active_run_is_not_checked(world: World, run: str) -> None:
    """The row of a run with an event a minute is never read."""
    for seconds in range(20, 600, 50):
        world.at(seconds, lambda: world.server.log(run, "at work"))
    recording = record_silences(world, run)
    assert (recording.events, row_checks(world)) == ([], 0)


def test_a_run_that_ended_is_not_checked(world: World, run: str) -> None:
    """The row of a run that is over is not read, and the result completes with the watch."""
    world.at(30, lambda: world.server.set_state(run, "COMPLETED"))
    recording = record_silences(world, run)
    assert (recording.events, recording.completed, row_checks(world)) == ([], True, 0)


def test_log_lines_alone_suffice(world: World, run: str) -> None:
    """Where only log lines are streamed, the row shows that the run is over."""
    world.at(30, lambda: world.server.set_state(run, "COMPLETED"))
    logs = rx.concat(watch_flow_run(run, client=world.client).logs, rx.never())
    recording = world.watch(logs.pipe(quiet_for(LIMIT, world.client)), until=600)
    assert (recording.events, row_checks(world)) == ([], 1)


def test_a_new_state_in_the_row_restarts_the_time(world: World) -> None:
    """Where states are not streamed, a new state in the row counts as an event."""
    run = world.server.add_run()
    world.at(50, lambda: world.server.set_state(run, "RUNNING"))
    watch = watch_flow_run(run, stream_states=False, client=world.client)
    recording = world.watch(watch.pipe(quiet_for(LIMIT, world.client)), until=600)
    assert_emitted_at(recording, 120)
    assert row_checks(world) == 2


def test_an_outage_is_not_a_silence(world: World, run: str) -> None:
    """During an outage nothing is emitted; the time is counted anew after it."""
    world.at(30, lambda: set_intercept(world, refuse))
    world.at(300, lambda: set_intercept(world, None))
    watch = watch_flow_run(run, client=world.client)
    passed: list[FlowRunEvent] = []
    silences = watch.pipe(ops.do_action(passed.append), quiet_for(LIMIT, world.client))
    recording = world.watch(silences, until=600)
    codes = [event.code for event in passed if isinstance(event, Notice)]
    assert codes == [NoticeCode.DEGRADED, NoticeCode.RECOVERED]
    assert len(recording.events) == 1
    assert 300 + LIMIT <= recording.events[0][0] < 420


def test_a_row_check_in_an_outage_is_retried(world: World, run: str) -> None:
    """Without a notice of the outage, a row check that fails is followed by another one."""
    world.at(30, lambda: set_intercept(world, refuse))
    world.at(300, lambda: set_intercept(world, None))
    logs = watch_flow_run(run, client=world.client).logs
    recording = world.watch(logs.pipe(quiet_for(LIMIT, world.client)), until=600)
    assert len(recording.events) == 1
    assert 300 <= recording.events[0][0] < 420
    assert row_checks(world) > 2


def test_refused_credentials_are_an_error(world: World, run: str) -> None:
    """If the server refuses a row check, the result fails and does not stay silent itself."""
    source = rx.concat(rx.of(line(run=run)), rx.never())
    set_intercept(world, lambda _: httpx.Response(401, json={"detail": "Unauthorized"}))
    recording = world.watch(source.pipe(quiet_for(LIMIT, world.client)), until=600)
    assert isinstance(recording.error, AuthError)
    assert recording.events == []


def test_a_deleted_run_is_dropped(world: World, run: str) -> None:
    """A run that was deleted is not silent, and its row is read no more."""
    source = rx.concat(rx.of(line(run=run)), rx.never())
    world.at(30, lambda: world.server.delete_run(run))
    recording = world.watch(source.pipe(quiet_for(LIMIT, world.client)), until=600)
    assert (recording.events, recording.error) == ([], None)
    assert len(world.channels) == 1


def test_each_run_has_its_own_silence(world: World) -> None:
    """Of a merge of watches, each run is reported by itself."""
    runs = [world.server.add_run() for _ in range(3)]
    for number, run in enumerate(runs):
        world.server.set_state(run, "RUNNING")
        world.at(40 * number, partial(world.server.log, run, "at work"))
    merged = rx.merge(*(watch_flow_run(run, client=world.client) for run in runs))
    recording = world.watch(merged.pipe(quiet_for(150, world.client)), until=700)
    assert [quiet.flow_run_id for quiet in recording.values] == runs
    assert_emitted_at(recording, 150, 190, 230)


def test_disposing_aborts_the_row_check(world: World, run: str) -> None:
    """Disposing aborts a row check in progress and closes its connection."""
    source = rx.concat(rx.of(line(run=run)), rx.never())
    world.at(50, lambda: set_intercept(world, refuse))
    recording = world.watch(source.pipe(quiet_for(LIMIT, world.client)), until=65)
    assert recording.events == []
    assert [channel.close_count for channel in world.channels] == [1]
    sent = len(world.channels[0].queries)
    world.run(600)
    assert len(world.channels[0].queries) == sent > 0


def test_completion_aborts_the_row_check(world: World, run: str) -> None:
    """A row check in progress when the source completes is aborted."""
    world.at(50, lambda: set_intercept(world, refuse))
    over: rx.Observable[Any] = rx.timer(65.0).pipe(ops.ignore_elements())
    recording = world.watch(
        rx.concat(rx.of(seen(run=run)), over).pipe(quiet_for(LIMIT, world.client)), until=600
    )
    assert (recording.events, recording.completed, recording.ended) == ([], True, 65)
    assert [channel.close_count for channel in world.channels] == [1]


def test_an_event_overtakes_a_row_check(world: World, run: str) -> None:
    """An event that arrives while the row is read cancels the check and restarts the time."""
    world.at(50, lambda: set_intercept(world, refuse))
    world.at(70, lambda: set_intercept(world, None))
    later = rx.timer(65.0).pipe(ops.map(lambda _: line(run=run)))
    events = rx.concat(rx.of(line(run=run)), later, rx.never())
    recording = world.watch(events.pipe(quiet_for(LIMIT, world.client)), until=600)
    assert [seconds for seconds, _ in recording.events] == [125]


def test_a_malformed_run_id_is_an_error(world: World) -> None:
    """An event of a run whose row cannot be read ends the result with an error."""
    source = rx.concat(rx.of(line(run="amber-fox")), rx.never())
    recording = world.watch(source.pipe(quiet_for(LIMIT, world.client)), until=600)
    assert isinstance(recording.error, rxflow.InvalidRunId)


def test_other_operators_accept_a_silence(world: World, run: str) -> None:
    """A `Quiet` has a level and a message, as events have."""
    watch = watch_flow_run(run, client=world.client)
    silences = watch.pipe(quiet_for(LIMIT, world.client), level_at_least("WARNING"), only(Quiet))
    recording = world.watch(silences, until=200)
    assert "is in state Running" in recording.values[0].message


def test_a_closed_run_is_dropped(world: World, run: str) -> None:
    """After `Closed` or a terminal state the row of a run is not read."""
    events = [line(run=run), entered("Completed", run=run), line(run=run), closed(run=run)]
    source = rx.concat(rx.of(*events), rx.never())
    recording = world.watch(source.pipe(quiet_for(LIMIT, world.client)), until=600)
    assert (recording.events, world.channels) == ([], [])


# -- in real time -------------------------------------------------------------------------------


def one_event(server: FakePrefect3) -> rx.Observable[FlowRunLog]:
    """Emit one event of a run of the server, and then nothing."""
    run = server.add_run()
    server.set_state(run, "RUNNING")
    return rx.concat(rx.of(line(run=run)), rx.never())


def first_in_a_loop(silences: rx.Observable[Quiet]) -> Quiet:
    """Return the first silence, from a blocking loop."""
    return next(iter(rxflow.iterate(silences)))


def first_on_the_poll_scheduler(silences: rx.Observable[Quiet]) -> Quiet:
    """Return the first silence, emitted without a given scheduler."""
    recording: Recording[Quiet] = Recording()
    recording.subscribe_to(silences.pipe(ops.first()))
    recording.wait()
    return recording.values[0]


def first_on_an_event_loop(silences: rx.Observable[Quiet]) -> Quiet:
    """Return the first silence, by awaiting it."""

    async def main() -> Quiet:
        return await silences.pipe(ops.first())

    return asyncio.run(main())


@pytest.mark.parametrize(
    "first", [first_in_a_loop, first_on_the_poll_scheduler, first_on_an_event_loop]
)
def test_each_way_to_iterate_emits_silences(
    first: Callable[[rx.Observable[Quiet]], Quiet],
) -> None:
    """A blocking loop, rxflow's own thread and an event loop emit the same silence."""
    server = FakePrefect3()
    source = one_event(server)
    quiet = first(source.pipe(quiet_for(0.02, server.client())))
    assert quiet.flow_run_id in server.runs


@pytest.mark.parametrize("scheduler", [CurrentThreadScheduler.singleton(), None])
def test_each_subscription_has_its_own_silences(scheduler: Any) -> None:
    """A result that is subscribed to again emits its silences again."""
    server = FakePrefect3()
    silences = one_event(server).pipe(quiet_for(0.02, server.client()), ops.take(1), ops.repeat(3))
    recording: Recording[Quiet] = Recording()
    recording.subscribe_to(silences, scheduler)
    recording.wait()
    assert len(recording.values) == 3


def test_a_blocking_loop_has_no_thread(started: list[str]) -> None:
    """The row checks of a blocking loop run in its own thread."""
    server = FakePrefect3()
    first_in_a_loop(one_event(server).pipe(quiet_for(0.02, server.client())))
    assert server.requests
    assert started == []
