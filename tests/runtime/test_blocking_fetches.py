"""A query of a blocking loop: what happens in the loop's own thread until the reply arrives."""

import threading
from collections.abc import Callable
from contextlib import closing
from random import Random
from typing import Any

import pytest
import reactivex as rx
from engines import (
    CONNECTION_LOST,
    EarlyOutageSession,
    OpenerOf,
    events_of_engine,
    session_of,
    spec_of,
)
from reactivex import Observable, abc
from reactivex import operators as ops
from timer_queues import calling
from virtual_world import MISSING_RUN, World, identities

from rxflow import Notice
from rxflow._protocol.failures import Reply
from rxflow._protocol.queries import Query
from rxflow._runtime.iteration import MAX_UNREQUESTED_ITEMS, pull
from rxflow._runtime.query_channels import QueryChannel, WhileWaiting

pytestmark = pytest.mark.timeout(60)


class SilentChannel:
    """A channel whose first query is replied to only if it is aborted; the others go on.

    Attributes:
        pauses: What `while_waiting` returned, in order.
        query_count: The number of queries sent.
        threads: The threads that sent them.
    """

    def __init__(self, channel: QueryChannel) -> None:
        self._channel = channel
        self.pauses: list[float | None] = []
        self.query_count = 0
        self.threads: set[int] = set()

    def send(self, query: Query, while_waiting: WhileWaiting | None = None) -> Reply:
        """Wait until the query is aborted, or send it on."""
        self.query_count += 1
        self.threads.add(threading.get_ident())
        if self.query_count > 1:
            return self._channel.send(query, while_waiting)
        assert while_waiting is not None
        while (pause := while_waiting()) is not None:
            self.pauses.append(pause)
        return CONNECTION_LOST

    def close(self) -> None:
        """Close the channel behind."""
        self._channel.close()


@pytest.fixture
def silent(world: World) -> SilentChannel:
    """Return a channel to the world's server that does not reply at first."""
    return SilentChannel(world.client.open_channel())


def test_an_outage_is_reported_while_a_query_is_in_flight(
    silent: SilentChannel, started: list[str], world: World
) -> None:
    """The notice of an outage breaks the query off, and is delivered; the query is sent again."""
    run_id = world.add_finished_run()
    world.run(until=3600)
    session = EarlyOutageSession(spec_of(run_id), Random(0))
    found: list[Any] = []
    for event in pull(events_of_engine(session, OpenerOf(silent))):
        found.append(event)
        session.is_early = False
        if isinstance(event, Notice) and event.code == "degraded":
            assert silent.query_count == 1
    assert identities(found)[:2] == [("notice", "degraded"), ("notice", "recovered")]
    assert identities(found)[-1][0] == "closed"
    assert (started, silent.threads) == ([], {threading.get_ident()})


def scheduling(action: Callable[[], object]) -> Observable[Any]:
    """Return an observable that emits nothing and schedules an action for soon."""

    def subscribe(
        _: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        assert scheduler is not None
        return scheduler.schedule_relative(0.01, calling(action))

    return Observable(subscribe)


@pytest.mark.parametrize("error", [ConnectionError("the user's own"), KeyboardInterrupt()])
def test_an_error_of_another_action_is_raised_in_the_loop(
    error: BaseException, silent: SilentChannel
) -> None:
    """What an action raises while a query is in flight is raised in the loop, whatever it is."""

    def fail() -> None:
        raise error

    watch = events_of_engine(session_of(MISSING_RUN), OpenerOf(silent))
    with pytest.raises(type(error)) as caught:
        next(pull(rx.merge(watch, scheduling(fail))))
    assert caught.value is error
    assert silent.query_count == 1


def test_no_query_is_sent_while_another_is_in_flight(silent: SilentChannel, world: World) -> None:
    """In one loop a watch waits with its queries until the reply to another's has arrived."""
    order: list[str] = []

    class RecordingChannel(SilentChannel):
        def send(self, query: Query, while_waiting: WhileWaiting | None = None) -> Reply:
            order.append(f"after {silent.query_count}")
            return super().send(query, while_waiting)

    run_id = world.add_finished_run()
    world.run(until=3600)
    session = EarlyOutageSession(spec_of(run_id), Random(0))
    first = events_of_engine(session, OpenerOf(silent)).pipe(
        ops.do_action(lambda _: setattr(session, "is_early", False))
    )
    later = RecordingChannel(world.client.open_channel())
    later.query_count = 1
    second = events_of_engine(session_of(run_id), OpenerOf(later))
    kinds = [kind for kind, _ in identities(list(pull(rx.merge(first, second))))]
    assert kinds.count("closed") == 2
    assert order[0] == "after 1"


def test_items_are_held_up_to_a_bound(silent: SilentChannel) -> None:
    """While a query is in flight, a source of the same loop runs up to the bound only."""
    emitted: list[int] = []

    def subscribe(
        observer: abc.ObserverBase[int], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        assert scheduler is not None

        def emit(scheduler: abc.SchedulerBase, _: Any = None) -> None:
            emitted.append(len(emitted))
            observer.on_next(emitted[-1])
            scheduler.schedule(emit)

        return scheduler.schedule_relative(0.01, emit)

    class StopsWhenFull(SilentChannel):
        def send(self, _: Query, while_waiting: WhileWaiting | None = None) -> Reply:
            assert while_waiting is not None
            while while_waiting() != float("inf"):
                pass
            return CONNECTION_LOST

    watch = events_of_engine(session_of(MISSING_RUN), OpenerOf(StopsWhenFull(silent)))
    with closing(pull(rx.merge(watch, Observable(subscribe)))) as items:
        assert next(items) == 0
        assert len(emitted) == MAX_UNREQUESTED_ITEMS
