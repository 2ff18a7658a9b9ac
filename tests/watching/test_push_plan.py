"""`PushPlan`: what a watch wants announced, and how far it relies on that."""

from datetime import UTC, datetime
from typing import Any

import pytest

from rxflow._models.entities import BackendName, Server
from rxflow._models.times import Now
from rxflow._protocol.failures import Failure, FailureKind
from rxflow._protocol.push import AnnouncedChange, PushTopic
from rxflow._watching.push_plan import LONGEST_PAUSE, MOST_IDS, PushPlan
from rxflow._watching.watch_spec import EventSource, WatchSpec

EVENTS, LOGS = PushTopic.EVENTS, PushTopic.LOGS
STATE, LINE = AnnouncedChange.STATE, AnnouncedChange.LOG_LINE
SERVER = Server(backend=BackendName.PREFECT_3, version="3.8.8")
REFUSED = Failure(kind=FailureKind.REJECTED, text="its status was 403")


def at(seconds: float) -> Now:
    """Return a time."""
    return Now(seconds, datetime(2026, 11, 22, tzinfo=UTC))


def plan_of(**options: Any) -> PushPlan:
    """Return the plan of a watch."""
    return PushPlan(WatchSpec(**{"flow_run_id": "", **options}))


def states_plan() -> PushPlan:
    """Return the plan of a watch of states alone."""
    return plan_of(sources=frozenset({EventSource.STATES, EventSource.NOTICES}))


def pause_of(plan: PushPlan) -> float | None:
    """Return the longest pause of a plan."""
    return plan.longest_pause


def test_events_and_lines_of_the_runs_are_subscribed_to() -> None:
    """Each topic by itself, with what its rows are filtered by."""
    events, logs = plan_of(level=30).subscriptions(["b", "a"], SERVER, at(0))
    assert (events.topic, events.flow_run_ids, events.task_runs) == (EVENTS, ("a", "b"), True)
    assert (logs.topic, logs.flow_run_ids, logs.level) == (LOGS, ("a", "b"), 30)


def test_what_is_not_streamed_is_not_subscribed_to() -> None:
    """Neither lines nor task runs, if they are not of use."""
    (events,) = states_plan().subscriptions(["a"], SERVER, at(0))
    assert (events.topic, events.task_runs) == (EVENTS, False)


@pytest.mark.parametrize(
    ("options", "server"),
    [
        ({"push": False}, SERVER),
        ({}, Server(backend=BackendName.PREFECT_1, version=None)),
        ({}, None),
    ],
    ids=["off", "Prefect 1", "unknown server"],
)
def test_nothing_is_subscribed_to_where_nothing_is_announced(
    options: dict[str, Any], server: Server | None
) -> None:
    """If it is switched off, on Prefect 1, and before the server is known."""
    assert plan_of(**options).subscriptions(["a"], server, at(0)) == ()


def test_a_subscription_is_kept_while_it_covers_the_runs() -> None:
    """Runs that are over do not end it."""
    plan = plan_of()
    first = plan.subscriptions(["a", "b"], SERVER, at(0))
    assert plan.subscriptions(["b"], SERVER, at(60)) is first
    assert plan.subscriptions([], SERVER, at(61)) is first


def test_runs_that_come_one_by_one_share_a_subscription() -> None:
    """There is a new one every five seconds at most."""
    plan = plan_of()
    first = plan.subscriptions(["a"], SERVER, at(0))
    assert plan.subscriptions(["a", "b"], SERVER, at(1)) is first
    assert plan.subscriptions(["a", "b", "c"], SERVER, at(4.9)) is first
    second = plan.subscriptions(["a", "b", "c"], SERVER, at(5))
    assert second[0].flow_run_ids == ("a", "b", "c")


def test_of_very_many_runs_no_ids_are_sent() -> None:
    """All events of the server are, once and for all, and no lines."""
    plan = plan_of()
    ids = [str(number) for number in range(MOST_IDS + 1)]
    (events,) = subscriptions = plan.subscriptions(ids, SERVER, at(0))
    assert (events.topic, events.flow_run_ids) == (EVENTS, ())
    assert plan.subscriptions([*ids, "another"], SERVER, at(60)) is subscriptions


def test_pauses_grow_only_while_changes_are_announced() -> None:
    """At first nothing is relied on; then until a change is found that had not been announced."""
    plan = states_plan()
    assert pause_of(plan) is None
    plan.receive_announced(STATE)
    assert pause_of(plan) == LONGEST_PAUSE
    plan.receive_unannounced(states=False, logs=True)
    assert pause_of(plan) == LONGEST_PAUSE
    plan.receive_unannounced(states=False, logs=False)
    assert pause_of(plan) == LONGEST_PAUSE
    plan.receive_unannounced(states=True, logs=False)
    assert pause_of(plan) is None


def test_lines_count_where_they_are_streamed() -> None:
    """A server that announces no lines is polled for them as without announcements."""
    plan = plan_of()
    plan.receive_announced(STATE)
    assert pause_of(plan) is None
    plan.receive_announced(LINE)
    assert pause_of(plan) == LONGEST_PAUSE
    plan.receive_unannounced(states=False, logs=True)
    assert pause_of(plan) is None


@pytest.mark.parametrize("opened", [True, False])
def test_a_connection_that_ends_is_not_relied_on(opened: bool) -> None:
    """Nothing is announced then."""
    plan = states_plan()
    plan.receive_announced(STATE)
    plan.receive_failure(EVENTS, REFUSED, opened=opened)
    assert pause_of(plan) is None


def test_a_failure_is_reported_once() -> None:
    """The first one alone."""
    plan = plan_of()
    plan.receive_failure(EVENTS, REFUSED, opened=False)
    assert plan.take_failure() is REFUSED
    assert plan.take_failure() is None
    plan.mark_reported()
    plan.receive_failure(EVENTS, REFUSED, opened=False)
    assert plan.take_failure() is None


@pytest.mark.parametrize(("topic", "opened"), [(LOGS, False), (EVENTS, True)])
def test_what_is_no_news_is_not_reported(topic: PushTopic, opened: bool) -> None:
    """That lines are not announced, as on most servers, and that a connection was lost."""
    plan = plan_of()
    plan.receive_failure(topic, REFUSED, opened=opened)
    assert plan.take_failure() is None
