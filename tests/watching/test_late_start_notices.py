"""The notices about a late run, as a whole watch in virtual time emits them."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from itertools import pairwise
from typing import Any

import httpx
import pytest
from reactivex import operators as ops

from rxflow import (
    Closed,
    FlowRunEvent,
    FlowRunLog,
    Notice,
    NoticeCode,
    StateChange,
    watch_flow_run,
)
from rxflow.testing import FakePrefect1, FakePrefect3, VirtualTime

SLOT_FREE = "it waits for a free slot under a concurrency limit"
BUSY = "agent 'a' has matching labels and has not picked it up yet"
UNHEALTHY = (
    "agent 'a' has matching labels, but has not queried for runs lately; "
    "restart it, or start one with label 'gpu'"
)

HOUR = timedelta(hours=1)


class Scene:
    """A Prefect 1 server with a run, and a watch of it in virtual time."""

    def __init__(self, **run: Any) -> None:
        self.time = VirtualTime()
        self.server = FakePrefect1(clock=self.time)
        self.run = self.server.add_run(name="nightly", labels=["gpu"], **run)

    def watch(self, seconds: float = 200) -> list[FlowRunEvent]:
        """Watch the run for some seconds."""
        stream = watch_flow_run(self.run, client=self.server.client())
        return self.time.collect(stream, seconds=seconds)

    def notices(self, seconds: float = 200) -> list[str]:
        """Return the messages of the notices of a watch."""
        return [event.message for event in self.watch(seconds) if isinstance(event, Notice)]


def put(scene: Scene, state: str, *, starts_in: timedelta | None = None) -> None:
    """Put the run in a state that may name a start time."""
    start: dict[str, Any] = (
        {} if starts_in is None else {"start_time": (scene.time() + starts_in).isoformat()}
    )
    scene.server.set_state(scene.run, state, **start)


def scheduled_for_tomorrow(scene: Scene) -> None:
    """Schedule the run for tomorrow."""
    scene.server.change_run(scene.run, scheduled_start_time=scene.time() + 24 * HOUR)
    put(scene, "Scheduled")


def queued_for_tomorrow(scene: Scene) -> None:
    """Schedule the run for tomorrow, and queue it for a slot already."""
    scheduled_for_tomorrow(scene)
    put(scene, "Queued", starts_in=timedelta(0))


def put_in_an_unknown_state(scene: Scene) -> None:
    """Put the run in a state of a type that only a later server knows."""
    put(scene, "Pending")
    run, row = scene.server.runs[scene.run], list(scene.server.states.values())[-1]
    run["state"] = row["state"] = "Dreaming"
    run["serialized_state"]["type"] = "Dreaming"


NO_AGENT = "no agent is healthy; start one with label 'gpu'"
NOTICES: dict[str, tuple[Callable[[Scene], object], str | None]] = {
    "Scheduled": (lambda _: None, NO_AGENT),
    "Scheduled, for tomorrow": (scheduled_for_tomorrow, None),
    "Scheduled, in a minute": (partial(put, state="Scheduled", starts_in=HOUR / 60), NO_AGENT),
    "Queued": (partial(put, state="Queued"), SLOT_FREE),
    "Queued, to try again later": (partial(put, state="Queued", starts_in=HOUR), SLOT_FREE),
    "Queued, for tomorrow": (queued_for_tomorrow, None),
    "Paused": (partial(put, state="Paused"), None),
    "Paused, until it is resumed": (partial(put, state="Paused", starts_in=HOUR), None),
    "Retrying, in an hour": (partial(put, state="Retrying", starts_in=HOUR), None),
    "Retrying, overdue": (partial(put, state="Retrying"), NO_AGENT),
    "Resume, in an hour": (partial(put, state="Resume", starts_in=HOUR), None),
    "Resume, overdue": (partial(put, state="Resume"), NO_AGENT),
    "Submitted": (
        partial(put, state="Submitted"),
        "an agent has picked it up, but not started it yet",
    ),
    "Pending": (partial(put, state="Pending"), NO_AGENT),
    "Running": (partial(put, state="Running"), None),
    "Cancelling": (partial(put, state="Cancelling"), None),
    "Success": (partial(put, state="Success"), None),
    "Failed": (partial(put, state="Failed"), None),
    "an unknown state": (put_in_an_unknown_state, None),
}


@pytest.mark.parametrize(("change", "reason"), NOTICES.values(), ids=NOTICES)
def test_late_run_of_prefect_1_has_one_notice(
    change: Callable[[Scene], object], reason: str | None
) -> None:
    """A late run has one notice with the reason that fits its state; a run in time has none."""
    scene = Scene()
    change(scene)
    expected = [] if reason is None else [f"Flow run 'nightly' is late: {reason}"]
    assert scene.notices() == expected


def test_run_without_state_is_not_late() -> None:
    """A run that was never scheduled has no notice."""
    assert Scene(state=None).notices() == []


@pytest.mark.parametrize(("seconds", "late"), [(13, False), (22, True)])
def test_notice_comes_right_after_the_grace(seconds: float, *, late: bool) -> None:
    """The notice comes no earlier than 15 s after the start time, and with the next poll."""
    assert bool(Scene().notices(seconds)) is late


def test_each_new_reason_has_a_notice() -> None:
    """Each new reason is a notice, and the run that starts at last is watched as usual."""
    scene = Scene()
    server, time, run = scene.server, scene.time, scene.run
    server.at(40, lambda: server.add_agent("a", labels=["gpu"]))
    server.at(300, lambda: server.set_state(run, "Submitted"))
    server.at(400, lambda: server.set_state(run, "Running"))
    server.at(410, lambda: server.set_state(run, "Success"))
    events = scene.watch(3600)
    assert [event.message for event in events if isinstance(event, Notice)] == [
        f"Flow run 'nightly' is late: {NO_AGENT}",
        f"Flow run 'nightly' is late: {BUSY}",
        f"Flow run 'nightly' is late: {UNHEALTHY}",
        "Flow run 'nightly' is late: an agent has picked it up, but not started it yet",
    ]
    assert isinstance(events[-1], Closed)
    assert events[-1].verified
    assert time.seconds < 450


# -- without a reply ----------------------------------------------------------------------------


def refusal(status: int, code: str) -> httpx.Response:
    """Return the response of a Prefect 1 server that refuses a query."""
    error = {"message": "no", "extensions": {"code": code}}
    return httpx.Response(status, json={"errors": [error], "data": None})


def unreachable() -> httpx.Response:
    """Break the connection."""
    raise httpx.ReadError("gone")


BAD_REPLIES: dict[str, Callable[[], httpx.Response]] = {
    "an unknown field": lambda: refusal(400, "GRAPHQL_VALIDATION_FAILED"),
    "a bad value": lambda: refusal(200, "data-exception"),
    "no access": lambda: refusal(200, "UNAUTHENTICATED"),
    "no permission": lambda: httpx.Response(403, json={"detail": "Forbidden"}),
    "no such path": lambda: httpx.Response(405, json={"detail": "Method Not Allowed"}),
    "a page of another server": lambda: httpx.Response(200, html="<html>hello</html>"),
    "too many rows": lambda: httpx.Response(
        422, json={"detail": "Invalid limit: must be less than or equal to 10."}
    ),
    "an error": lambda: refusal(200, "INTERNAL_SERVER_ERROR"),
    "an error, by its status": lambda: httpx.Response(500, json={"detail": "oh"}),
    "a busy server": lambda: httpx.Response(503, json={"detail": "busy"}),
    "an unexpected body": lambda: httpx.Response(200, json={"data": {"rows": 3}}),
    "no connection": unreachable,
}

Fake = tuple[VirtualTime, Any, str, Callable[[httpx.Request], bool]]


def prefect_1() -> Fake:
    """Return a Prefect 1 server with a late run, and a predicate for requests about agents."""
    time = VirtualTime()
    server = FakePrefect1(clock=time)
    run = server.add_run(name="nightly", labels=["gpu"])
    return time, server, run, lambda request: b"agent(" in request.content


def prefect_3() -> Fake:
    """Return a Prefect 3 server with a late run, and a predicate for requests about the pool."""
    time = VirtualTime()
    server = FakePrefect3(clock=time)
    server.pools["gpu"] = {"name": "gpu", "is_paused": False, "status": "READY"}
    run = server.add_run(name="nightly", work_pool_name="gpu")
    return time, server, run, lambda request: "work_pools" in request.url.path


each_server = pytest.mark.parametrize("fake", [prefect_1, prefect_3])


@each_server
@pytest.mark.parametrize("reply", BAD_REPLIES.values(), ids=BAD_REPLIES)
def test_failed_reason_query_does_not_hold_up_watch(
    fake: Callable[[], Fake], reply: Callable[[], httpx.Response]
) -> None:
    """Whatever the reply to the reason query, all rows are emitted in time, and a notice."""
    time, server, run, is_reason_query = fake()
    times: list[float] = []

    def intercept(request: httpx.Request) -> httpx.Response | None:
        if not is_reason_query(request):
            return None
        times.append(time.seconds)
        return reply()

    server.intercept = intercept
    running, over = ("Running", "Success") if fake is prefect_1 else ("RUNNING", "COMPLETED")
    server.at(100, lambda: server.log(run, "a line while it waits"))
    server.at(200, lambda: server.set_state(run, running))
    server.at(210, lambda: server.set_state(run, over))
    emitted: dict[str, float] = {}
    stream = watch_flow_run(run, client=server.client())

    def record(event: FlowRunEvent) -> None:
        emitted.setdefault(event.message, time.seconds)

    events = time.collect(stream.pipe(ops.do_action(record)))
    assert [type(event) for event in events if isinstance(event, StateChange | FlowRunLog)] == [
        StateChange,
        FlowRunLog,
        StateChange,
        StateChange,
    ]
    assert emitted["a line while it waits"] < 106
    (notice,) = (event for event in events if isinstance(event, Notice))
    assert notice.code is NoticeCode.LATE_START
    assert notice.message.startswith(
        "Flow run 'nightly' is late: what it waits for could not be read: "
    )
    assert emitted[notice.message] < 22
    closed = events[-1]
    assert isinstance(closed, Closed)
    assert closed.verified
    assert 1 < len(times) <= 1 + 200 / 30


@each_server
def test_known_reason_outlasts_refusals(fake: Callable[[], Fake]) -> None:
    """A reason that was read is kept when the query is refused later, without another notice."""
    time, server, run, is_reason_query = fake()
    server.at(
        60,
        lambda: setattr(
            server,
            "intercept",
            lambda request: httpx.Response(403, json={}) if is_reason_query(request) else None,
        ),
    )
    events = time.collect(watch_flow_run(run, client=server.client()), seconds=300)
    (notice,) = (event for event in events if isinstance(event, Notice))
    assert "could not be read" not in notice.message


@each_server
def test_retry_after_of_reason_query_is_obeyed(fake: Callable[[], Fake]) -> None:
    """The whole watch pauses for the Retry-After, and goes on afterwards."""
    time, server, run, is_reason_query = fake()
    times: list[float] = []

    def intercept(request: httpx.Request) -> httpx.Response | None:
        times.append(time.seconds)
        if not is_reason_query(request):
            return None
        return httpx.Response(429, headers={"Retry-After": "40"}, json={"detail": "slow down"})

    server.intercept = intercept
    server.at(50, lambda: server.log(run, "a line while it waits"))
    events = time.collect(watch_flow_run(run, client=server.client()), seconds=150)
    pauses = (after - before for before, after in pairwise(times))
    assert [round(pause) for pause in pauses if pause > 6] == [40, 40]
    assert "a line while it waits" in [event.message for event in events]
