"""Runs that fall silent: told once a silence, and only after a look that says so."""

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
"""For how long a run has to be silent here, in seconds."""


@pytest.fixture
def run(world: World) -> str:
    """A run that is running, and writes a line in second 10."""
    run = world.server.add_run()
    world.server.set_state(run, "RUNNING")
    world.at(10, lambda: world.server.log(run, "at work"))
    return run


def alarms(world: World, run: str, *, until: float = 600) -> Recording[Quiet]:
    """What is told of a watch's silences."""
    watch = watch_flow_run(run, client=world.client)
    return world.watch(watch.pipe(quiet_for(LIMIT, world.client)), until=until)


def refuse(request: httpx.Request) -> httpx.Response:
    """Be a server that is not there."""
    raise httpx.ConnectError("refused", request=request)


def set_intercept(world: World, intercept: Any) -> None:
    """Have requests answered otherwise from now on."""
    world.server.intercept = intercept


def assert_told_at(told: Recording[Quiet], *expected: float) -> None:
    """Check when silences were told, give or take the time between two polls."""
    assert len(told.events) == len(expected)
    for (seconds, _), least in zip(told.events, expected, strict=True):
        assert least <= seconds < least + 10


def looks(world: World) -> int:
    """How often a run was looked at beside the watch itself."""
    return len(world.channels) - 1


# -- in virtual time ----------------------------------------------------------------------------


def test_quiet_for_does_what_its_diagram_says(world: World) -> None:
    """What the docstring draws is what comes out, and when."""
    found = re.search(r"in: +(\S+)\n.*\n +out: +(\S+)", str(quiet_for.__doc__))
    assert found
    came, given = found.groups()
    run = world.server.add_run()
    events: dict[str | float, Any] = {key: line(message=key, run=run) for key in "abc"}
    source: rx.Observable[Any] = rx.from_marbles(came, timespan=1.0, lookup=events)
    told = world.watch(source.pipe(quiet_for(5, world.client)), until=100)
    assert [seconds for seconds, _ in told.events] == [given.index("q")]
    assert (told.ended, told.completed) == (given.index("|"), True)


def test_a_silence_is_told_once(world: World, run: str) -> None:
    """A run that stays silent is told once, a minute after its last event, with its row as read."""
    told = alarms(world, run)
    (quiet,) = told.values
    assert_told_at(told, 70)
    assert quiet.flow_run_id == quiet.run.id == run
    assert quiet.run.state is not None
    assert quiet.run.state.name == "Running"
    assert (quiet.timestamp - quiet.since).total_seconds() >= LIMIT
    assert looks(world) == 1
    assert not told.completed


def test_each_silence_is_told(world: World, run: str) -> None:
    """After an event the next silence is told too."""
    world.at(200, lambda: world.server.log(run, "still at work"))
    told = alarms(world, run)
    assert_told_at(told, 70, 260)


def test_a_run_that_speaks_is_not_told(world: World, run: str) -> None:
    """A run with an event a minute is never looked at."""
    for seconds in range(20, 600, 50):
        world.at(seconds, lambda: world.server.log(run, "at work"))
    told = alarms(world, run)
    assert (told.events, looks(world)) == ([], 0)


def test_a_run_that_ended_is_not_told(world: World, run: str) -> None:
    """A run that is over is not looked at, and the alarm ends with the watch."""
    world.at(30, lambda: world.server.set_state(run, "COMPLETED"))
    told = alarms(world, run)
    assert (told.events, told.completed, looks(world)) == ([], True, 0)


def test_log_lines_alone_do(world: World, run: str) -> None:
    """Where only log lines are told, the look finds out that the run is over."""
    world.at(30, lambda: world.server.set_state(run, "COMPLETED"))
    logs = rx.concat(watch_flow_run(run, client=world.client).logs, rx.never())
    told = world.watch(logs.pipe(quiet_for(LIMIT, world.client)), until=600)
    assert (told.events, looks(world)) == ([], 1)


def test_a_state_that_the_stream_does_not_tell_is_waited_for(world: World) -> None:
    """Where states are not streamed, a state that a look finds counts as an event."""
    run = world.server.add_run()
    world.at(50, lambda: world.server.set_state(run, "RUNNING"))
    watch = watch_flow_run(run, stream_states=False, client=world.client)
    told = world.watch(watch.pipe(quiet_for(LIMIT, world.client)), until=600)
    assert_told_at(told, 120)
    assert looks(world) == 2


def test_an_outage_is_no_silence(world: World, run: str) -> None:
    """While the server is away nothing is told; time is counted anew once it is back."""
    world.at(30, lambda: set_intercept(world, refuse))
    world.at(300, lambda: set_intercept(world, None))
    watch = watch_flow_run(run, client=world.client)
    seen_there: list[FlowRunEvent] = []
    alarm = watch.pipe(ops.do_action(seen_there.append), quiet_for(LIMIT, world.client))
    told = world.watch(alarm, until=600)
    codes = [event.code for event in seen_there if isinstance(event, Notice)]
    assert codes == [NoticeCode.DEGRADED, NoticeCode.RECOVERED]
    assert len(told.events) == 1
    assert 300 + LIMIT <= told.events[0][0] < 420


def test_a_look_in_an_outage_is_tried_again(world: World, run: str) -> None:
    """Without a word of the outage, a look that fails says nothing, and another one follows."""
    world.at(30, lambda: set_intercept(world, refuse))
    world.at(300, lambda: set_intercept(world, None))
    logs = watch_flow_run(run, client=world.client).logs
    told = world.watch(logs.pipe(quiet_for(LIMIT, world.client)), until=600)
    assert len(told.events) == 1
    assert 300 <= told.events[0][0] < 420
    assert looks(world) > 2


def test_a_key_that_is_refused_ends_the_alarm(world: World, run: str) -> None:
    """If the server refuses a look, the alarm says so, and does not stay silent itself."""
    source = rx.concat(rx.of(line(run=run)), rx.never())
    set_intercept(world, lambda _: httpx.Response(401, json={"detail": "Unauthorized"}))
    told = world.watch(source.pipe(quiet_for(LIMIT, world.client)), until=600)
    assert isinstance(told.error, AuthError)
    assert told.events == []


def test_a_run_that_was_deleted_is_not_told(world: World, run: str) -> None:
    """A run that is not there any more is not silent, and is asked for no more."""
    source = rx.concat(rx.of(line(run=run)), rx.never())
    world.at(30, lambda: world.server.delete_run(run))
    told = world.watch(source.pipe(quiet_for(LIMIT, world.client)), until=600)
    assert (told.events, told.error) == ([], None)
    assert len(world.channels) == 1


def test_each_run_has_its_own_silence(world: World) -> None:
    """Of a merge of watches, each run is told by itself."""
    runs = [world.server.add_run() for _ in range(3)]
    for number, run in enumerate(runs):
        world.server.set_state(run, "RUNNING")
        world.at(40 * number, partial(world.server.log, run, "at work"))
    merged = rx.merge(*(watch_flow_run(run, client=world.client) for run in runs))
    told = world.watch(merged.pipe(quiet_for(150, world.client)), until=700)
    assert [quiet.flow_run_id for quiet in told.values] == runs
    assert_told_at(told, 150, 190, 230)


def test_who_leaves_ends_the_look(world: World, run: str) -> None:
    """Disposing ends a look that is under way, and closes its connection."""
    source = rx.concat(rx.of(line(run=run)), rx.never())
    world.at(50, lambda: set_intercept(world, refuse))
    told = world.watch(source.pipe(quiet_for(LIMIT, world.client)), until=65)
    assert told.events == []
    assert [channel.close_count for channel in world.channels] == [1]
    asked = len(world.channels[0].queries)
    world.run(600)
    assert len(world.channels[0].queries) == asked > 0


def test_the_end_of_the_source_is_the_end(world: World, run: str) -> None:
    """A look that is under way when the source ends is given up."""
    world.at(50, lambda: set_intercept(world, refuse))
    over: rx.Observable[Any] = rx.timer(65.0).pipe(ops.ignore_elements())
    told = world.watch(
        rx.concat(rx.of(seen(run=run)), over).pipe(quiet_for(LIMIT, world.client)), until=600
    )
    assert (told.events, told.completed, told.ended) == ([], True, 65)
    assert [channel.close_count for channel in world.channels] == [1]


def test_an_event_overtakes_a_look(world: World, run: str) -> None:
    """An event that comes while the row is read makes the look void, and time count anew."""
    world.at(50, lambda: set_intercept(world, refuse))
    world.at(70, lambda: set_intercept(world, None))
    later = rx.timer(65.0).pipe(ops.map(lambda _: line(run=run)))
    events = rx.concat(rx.of(line(run=run)), later, rx.never())
    told = world.watch(events.pipe(quiet_for(LIMIT, world.client)), until=600)
    assert [seconds for seconds, _ in told.events] == [125]


def test_an_id_that_is_none_is_an_error(world: World) -> None:
    """An event of a run that cannot be asked for ends the alarm with an error."""
    source = rx.concat(rx.of(line(run="amber-fox")), rx.never())
    told = world.watch(source.pipe(quiet_for(LIMIT, world.client)), until=600)
    assert isinstance(told.error, rxflow.InvalidRunId)


def test_a_silence_goes_through_other_operators(world: World, run: str) -> None:
    """What is told has a level and a message, as events have."""
    watch = watch_flow_run(run, client=world.client)
    alarm = watch.pipe(quiet_for(LIMIT, world.client), level_at_least("WARNING"), only(Quiet))
    told = world.watch(alarm, until=200)
    assert "is in state Running" in told.values[0].message


# -- in real time -------------------------------------------------------------------------------


def one_event(server: FakePrefect3) -> rx.Observable[FlowRunLog]:
    """An event of a run of the server, and then silence."""
    run = server.add_run()
    server.set_state(run, "RUNNING")
    return rx.concat(rx.of(line(run=run)), rx.never())


def in_a_loop(alarm: rx.Observable[Quiet]) -> Quiet:
    """The first silence, by a blocking loop."""
    return next(iter(rxflow.iterate(alarm)))


def on_the_poll_scheduler(alarm: rx.Observable[Quiet]) -> Quiet:
    """The first silence, where no scheduler is given."""
    told: Recording[Quiet] = Recording()
    told.subscribe_to(alarm.pipe(ops.first()))
    told.wait()
    return told.values[0]


def on_an_event_loop(alarm: rx.Observable[Quiet]) -> Quiet:
    """The first silence, by awaiting it."""

    async def main() -> Quiet:
        return await alarm.pipe(ops.first())

    return asyncio.run(main())


@pytest.mark.parametrize("first", [in_a_loop, on_the_poll_scheduler, on_an_event_loop])
def test_a_silence_is_told_whoever_runs_it(
    first: Callable[[rx.Observable[Quiet]], Quiet],
) -> None:
    """In a blocking loop, on rxflow's thread and on an event loop, silence is told alike."""
    server = FakePrefect3()
    source = one_event(server)
    quiet = first(source.pipe(quiet_for(0.02, server.client())))
    assert quiet.flow_run_id in server.runs


@pytest.mark.parametrize("scheduler", [CurrentThreadScheduler.singleton(), None])
def test_an_alarm_is_subscribed_to_again(scheduler: Any) -> None:
    """Each subscription has silences of its own."""
    server = FakePrefect3()
    alarm = one_event(server).pipe(quiet_for(0.02, server.client()), ops.take(1), ops.repeat(3))
    told: Recording[Quiet] = Recording()
    told.subscribe_to(alarm, scheduler)
    told.wait()
    assert len(told.values) == 3


def test_a_blocking_loop_has_no_thread(started: list[str]) -> None:
    """Looks of a blocking loop are made in its own thread."""
    server = FakePrefect3()
    in_a_loop(one_event(server).pipe(quiet_for(0.02, server.client())))
    assert server.requests
    assert started == []


def test_what_is_over_is_forgotten(world: World, run: str) -> None:
    """After `Closed`, or a terminal state, nothing more is asked of a run."""
    events = [line(run=run), entered("Completed", run=run), line(run=run), closed(run=run)]
    source = rx.concat(rx.of(*events), rx.never())
    told = world.watch(source.pipe(quiet_for(LIMIT, world.client)), until=600)
    assert (told.events, world.channels) == ([], [])
