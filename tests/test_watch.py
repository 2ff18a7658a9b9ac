"""Watching a run: parts and their merge, views, cold subscriptions, and arguments."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import httpx
import pytest
import reactivex as rx
from reactivex import Observable
from reactivex import operators as ops
from stream_faces import wait_on_loop
from virtual_world import HOUR, MISSING_RUN, Recording, World, identities
from watched_runs import add_live_run, rows, watch_past_run

import rxflow
from rxflow import (
    Client,
    Closed,
    FlowRunEvent,
    FlowRunLog,
    FlowRunStream,
    FlowRunView,
    InvalidRunId,
    Notice,
    RunSeen,
    Stream,
    fold,
    wait_for_flow_run,
    watch_flow_run,
    watch_flow_runs,
)
from rxflow._net.channel import AsyncChannel, Channel
from rxflow.testing import FakePrefect3, VirtualTime

LATER = 24 * HOUR


@pytest.fixture
def past(world: World) -> FlowRunStream:
    """Watch a run that ended an hour ago, with more than one page of log lines."""
    return watch_past_run(world)


def is_subsequence(part: list[Any], whole: list[Any]) -> bool:
    """Whether all items of a part are in the whole, in the same order."""
    items = iter(whole)
    return all(item in items for item in part)


# -- parts --------------------------------------------------------------------------------------


def test_the_parts_together_are_the_whole(past: FlowRunStream, world: World) -> None:
    """States, logs, tasks and notices together are the events of the watch, in its order."""
    whole = identities(world.watch(past).values)
    parts = [
        identities(world.watch(part).values)
        for part in (past.states, past.logs, past.tasks, past.notices)
    ]
    assert [len(part) for part in parts] == [4, 450, 1, 2]
    assert Counter(identity for part in parts for identity in part) == Counter(whole)
    assert all(is_subsequence(part, whole) for part in parts)
    assert (whole[0][0], whole[-1][0]) == ("run-seen", "closed")


def test_the_parts_of_a_running_run(world: World) -> None:
    """For a running run the parts have the rows of the watch, each part only its own kinds."""
    stream = watch_flow_run(add_live_run(world), client=world.client)
    whole, states, logs = (
        world.subscribe(watched) for watched in (stream, stream.states, stream.logs)
    )
    world.run(until=200)
    assert whole.completed
    assert states.completed
    assert logs.completed
    assert Counter(rows([*states.values, *logs.values])) == Counter(rows(whole.values))
    assert {type(event).__name__ for event in states.values} == {"StateChange", "RunChanged"}
    assert {type(event) for event in logs.values} == {FlowRunLog}


def test_a_late_watch_gets_the_same_rows(world: World) -> None:
    """A watch that begins after the run's end gets the rows of one that was there all along."""
    stream = watch_flow_run(add_live_run(world), client=world.client)
    early = world.watch(stream, until=200)
    late = world.watch(stream, at=LATER)
    assert early.completed
    assert late.completed
    assert late.ended == LATER
    assert Counter(rows(early.values)) == Counter(rows(late.values))


@pytest.mark.parametrize("subflows", [False, True])
@pytest.mark.parametrize("ago", [0.05, 1, 4, 20])
def test_a_run_that_has_just_ended_is_emitted_in_order(subflows: bool, ago: float) -> None:
    """No state precedes the lines before it, though those of the last seconds are read later.

    There are more than a page has, so they are a history, of which the last seconds are left to the
    poll after it: their writers may be storing earlier lines.
    """
    time = VirtualTime()
    server = FakePrefect3(clock=time)
    run = server.add_run(state="RUNNING")
    time.wait(0.1)
    for number in range(450):
        server.log(run, str(number), timestamp=server.clock() + timedelta(microseconds=number))
    time.wait(0.1)
    server.set_state(run, "COMPLETED")
    time.wait(ago)
    stream = rxflow.watch_flow_run(run, subflows=subflows, client=server.client())
    kinds = [event.kind for event in time.collect(stream)]
    assert kinds == ["run-seen", "state", *["log"] * 450, "state", "closed"]


@pytest.mark.parametrize(
    "timestamp", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)]
)
def test_a_line_may_have_any_timestamp(world: World, timestamp: datetime) -> None:
    """Log lines with the first or last possible timestamp are emitted, and the watch is closed."""
    run_id = world.server.add_run(state="RUNNING")
    world.at(1, lambda: world.server.log(run_id, "odd", timestamp=timestamp))
    world.at(2, lambda: world.server.log(run_id, "even"))
    world.at(60, lambda: world.server.set_state(run_id, "COMPLETED"))
    recording = world.watch(watch_flow_run(run_id, client=world.client))
    lines = [event.message for event in recording.values if isinstance(event, FlowRunLog)]
    assert sorted(lines) == ["even", "odd"]
    assert isinstance(recording.values[-1], Closed)
    assert recording.values[-1].verified


def test_disabled_parts_are_left_out(world: World) -> None:
    """Without states and logs a watch emits only `RunSeen`, notices and `Closed`."""
    run_id = add_live_run(world)
    stream = watch_flow_run(run_id, stream_states=False, stream_logs=False, client=world.client)
    recording = world.watch(stream)
    assert [type(event) for event in recording.values if not isinstance(event, Notice)] == [
        RunSeen,
        Closed,
    ]
    assert not [path for _, path in world.server.requests if path == "/logs/filter"]
    assert not [path for _, path in world.server.requests if path == "/flow_run_states/"]


def test_level_and_since_apply_to_logs_only(world: World) -> None:
    """`level` and `since` leave out log lines, and no states."""
    run_id = world.add_finished_run(lines=1)
    world.at(5, lambda: world.server.log(run_id, "old, loud", level=40))
    world.at(10, lambda: world.server.log(run_id, "loud", level=40))
    world.at(11, lambda: world.server.log(run_id, "quiet", level=10))
    world.run(until=HOUR)
    since = datetime(2026, 1, 1, 0, 0, 8, tzinfo=UTC)
    recording = world.watch(watch_flow_run(run_id, level=30, since=since, client=world.client))
    assert [event.message for event in recording.values if isinstance(event, FlowRunLog)] == [
        "loud"
    ]
    assert Counter(kind for kind, _ in identities(recording.values))["state"] == 4


# -- views --------------------------------------------------------------------------------------


def test_views_are_the_scan_of_the_fold(past: FlowRunStream, world: World) -> None:
    """The views are the distinct results of `fold` over the events."""
    events = world.watch(past).values
    expected: list[rxflow.Snapshot] = []
    snapshot: rxflow.Snapshot | None = None
    for event in events:
        snapshot = fold(snapshot, event)
        if snapshot is not None and snapshot not in expected[-1:]:
            expected.append(snapshot)
    views = world.watch(past.views()).values
    assert [view.snapshot for view in views] == expected
    assert len(views) == 1 + 4 + 1
    assert [view.snapshot for view in past.views()] == expected


def test_the_last_view_equals_a_new_read(world: World) -> None:
    """The last view of a watch equals a view that is read from the server."""
    run_id = add_live_run(world)
    views = world.watch(watch_flow_run(run_id, client=world.client).views()).values
    assert len(views) > 10
    assert views[-1] == FlowRunView.from_flow_run_id(run_id, client=world.client)


def test_a_view_reads_with_the_watchs_client(past: FlowRunStream, world: World) -> None:
    """Views of a watch read with the watch's client."""
    view = world.watch(past.views()).values[-1]
    assert len(view.get_logs()) == 450


# -- cold ---------------------------------------------------------------------------------------


def test_no_request_is_sent_before_a_face_is_used(past: FlowRunStream, world: World) -> None:
    """Creating streams, parts, views and iterators sends no request and opens no channel."""
    parts = [past.states, past.logs, past.tasks, past.notices, past.views()]
    iterators: list[object] = [iter(part) for part in (past, *parts)]
    iterators += [aiter(part) for part in (past, *parts)]
    world.run(until=2 * HOUR)
    assert world.server.requests == []
    assert world.channels == []
    assert len(iterators) == 12


def test_each_subscription_is_complete(world: World) -> None:
    """Two subscriptions, one begun during the other, are both complete."""
    stream = watch_flow_run(add_live_run(world), client=world.client)
    first, second = world.subscribe(stream, at=0), world.subscribe(stream, at=45)
    world.run(until=200)
    assert first.completed
    assert second.completed
    assert (first.events[0][0], second.events[0][0]) == (0, 45)
    assert Counter(rows(first.values)) == Counter(rows(second.values))
    assert [channel.close_count for channel in world.channels] == [1, 1]
    assert all(channel.queries for channel in world.channels)


def test_retry_subscribes_again(past: FlowRunStream, world: World) -> None:
    """After an error `retry` subscribes to a watch again."""
    refusals: Iterator[httpx.Response | None] = iter([httpx.Response(401), httpx.Response(401)])
    world.server.intercept = lambda _: next(refusals, None)
    recording = world.watch(past.pipe(ops.retry(3)))
    assert recording.completed
    assert len(recording.events) == 4 + 450 + 1 + 2
    assert [channel.close_count for channel in world.channels] == [1, 1, 1]


def test_repeat_subscribes_again(past: FlowRunStream, world: World) -> None:
    """After its completion `repeat` subscribes to a watch again."""
    once = identities(world.watch(past).values)
    assert identities(world.watch(past.pipe(ops.repeat(2))).values) == once * 2
    assert identities(list(past.pipe(ops.repeat(2)))) == once * 2


def test_subscribing_never_raises(world: World) -> None:
    """An error while subscribing is passed to the observer."""

    class RaisingClient(Client):
        def open_channel(self) -> Channel:
            """Raise."""
            raise OSError("no more file descriptors")

        def open_async_channel(self) -> AsyncChannel:
            """Raise."""
            raise OSError("no more file descriptors")

    run_id = world.server.add_run()
    stream = watch_flow_run(run_id, client=RaisingClient(api_url="http://fake.invalid/api"))
    recording = world.watch(stream)
    assert str(recording.error) == "no more file descriptors"
    recording = Recording()
    recording.subscribe_to(stream)
    recording.wait()
    assert str(recording.error) == "no more file descriptors"
    with pytest.raises(OSError, match="no more"):
        list(stream)


# -- arguments ----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "no-id", "9e6caafc", MISSING_RUN + "0", None, 5])
def test_a_malformed_id_is_an_error_at_the_call(text: Any, world: World) -> None:
    """An id that is no UUID raises at the call, and no channel is opened."""
    for call in (watch_flow_run, wait_for_flow_run, wait_on_loop):
        with pytest.raises(InvalidRunId, match="UUID") as caught:
            call(text, client=world.client)
        assert isinstance(caught.value, ValueError)
    assert world.channels == []


def test_an_id_is_normalised(world: World) -> None:
    """An id with capital letters or without dashes is normalised."""
    run_id = world.add_finished_run()
    world.run(until=HOUR)
    recording = world.watch(watch_flow_run(run_id.upper().replace("-", ""), client=world.client))
    assert {event.flow_run_id for event in recording.values} == {run_id}


@pytest.mark.parametrize(
    "given",
    [
        {"since": datetime(2026, 1, 1)},  # noqa: DTZ001 - naive on purpose
        {"drain": -1},
        {"drain": float("nan")},
        {"drain": float("inf")},
        {"drain": timedelta(seconds=-1)},
        {"max_duration": True},
        {"max_duration": -0.5},
        {"max_duration": float("nan")},
        {"max_duration": timedelta(days=-1)},
    ],
    ids=str,
)
def test_an_invalid_time_is_an_error_at_the_call(given: dict[str, Any], world: World) -> None:
    """A naive, negative or infinite time raises at the call; the error names the argument."""
    with pytest.raises(ValueError, match=next(iter(given))):
        watch_flow_run(MISSING_RUN, client=world.client, **given)


@pytest.mark.parametrize(
    ("given", "error"), [(0, ValueError), (-1, ValueError), (2.5, TypeError), ("60", TypeError)]
)
def test_an_invalid_budget_of_requests_is_an_error_at_the_call(
    given: Any, error: type[Exception], world: World
) -> None:
    """Less than one request a minute, or not a whole number, raises at the call."""
    options = {"client": world.client, "requests_per_minute": given}
    with pytest.raises(error, match="requests_per_minute"):
        watch_flow_run(MISSING_RUN, **options)
    with pytest.raises(error, match="requests_per_minute"):
        watch_flow_runs([MISSING_RUN], **options)


# -- composing ----------------------------------------------------------------------------------


def test_a_pipeline_of_a_watch_is_a_stream(past: FlowRunStream, world: World) -> None:
    """A pipeline of a watch is a stream; a loop gets the items of a subscriber."""
    counted: Stream[int] = past.pipe(
        ops.filter(lambda event: isinstance(event, FlowRunLog)), ops.count()
    )
    assert isinstance(counted, Stream)
    assert world.watch(counted).values == list(counted) == [450]


def test_a_merge_of_watches_can_be_iterated(world: World) -> None:
    """A merge of watches of several runs can be iterated."""
    runs = [world.add_finished_run(lines=5) for _ in range(3)]
    world.run(until=HOUR)
    merged: Observable[FlowRunEvent] = rx.merge(
        *(watch_flow_run(run, client=world.client) for run in runs)
    )
    events = list(rxflow.iterate(merged))
    assert Counter(event.flow_run_id for event in events) == dict.fromkeys(runs, 4 + 5 + 2)
    first = list(islice(rxflow.iterate(merged), 3))
    assert len(first) == 3


@pytest.mark.parametrize("value", ["every", "", None, True, ["all"]])
def test_task_states_are_the_latest_or_all(value: Any) -> None:
    """Anything else is refused at the call, by a text that shows what is taken."""
    client = FakePrefect3().client()
    with pytest.raises(ValueError, match=r'task_states=.* is neither "latest" nor "all"'):
        rxflow.watch_flow_run(MISSING_RUN, task_states=value, client=client)
    with pytest.raises(ValueError, match=r'task_states=.* is neither "latest" nor "all"'):
        rxflow.watch_flow_runs([MISSING_RUN], task_states=value, client=client)


@pytest.mark.parametrize("flag", ["stream_states", "stream_logs", "stream_tasks"])
@pytest.mark.parametrize("value", ["no", 1, None])
def test_a_flag_is_true_or_false(flag: str, value: Any) -> None:
    """Text such as "no" would otherwise count as True."""
    options: dict[str, Any] = {flag: value, "client": FakePrefect3().client()}
    with pytest.raises(TypeError, match=f"{flag} is .*; pass True or False"):
        rxflow.watch_flow_run(MISSING_RUN, **options)
    with pytest.raises(TypeError, match=f"{flag} is .*; pass True or False"):
        rxflow.watch_flow_runs([MISSING_RUN], **options)


def test_the_repr_names_the_run() -> None:
    """And it says that nothing is requested before the stream is used."""
    stream = rxflow.watch_flow_run(MISSING_RUN, client=FakePrefect3().client())
    assert repr(stream) == f"<FlowRunStream of {MISSING_RUN}, not subscribed to until it is used>"
