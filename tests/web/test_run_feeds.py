"""Feeds: which viewers share a session, how long it is kept, and when it ends."""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from datetime import timedelta

import httpx
import pytest
import reactivex

import rxflow
from rxflow.testing import FakePrefect3, VirtualTime
from rxflow.web._run_feeds import RunFeed, RunFeeds

LONG, AT_ONCE = timedelta(hours=1), timedelta()

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def time() -> VirtualTime:
    """Create the server's time, which stands still but for what a test lets pass."""
    return VirtualTime()


@pytest.fixture
def server(time: VirtualTime) -> FakePrefect3:
    """Create a server."""
    return FakePrefect3(clock=time)


@pytest.fixture
def kept(server: FakePrefect3) -> Iterator[RunFeeds]:
    """Yield feeds that are kept for long after their last viewer left."""
    feeds = RunFeeds(server.client(), LONG)
    yield feeds
    feeds.close()


def first_of(feed: RunFeed) -> rxflow.FlowRunEvent:
    """Read the first event of a feed, as a viewer that leaves then."""

    async def read() -> rxflow.FlowRunEvent:
        async with aclosing(feed.pages(reactivex.never())) as pages:
            return (await anext(pages))[0]

    return asyncio.run(read())


def all_of(feed: RunFeed) -> list[rxflow.FlowRunEvent]:
    """Read a feed to its end."""

    async def read() -> list[rxflow.FlowRunEvent]:
        return [event async for page in feed.pages(reactivex.never()) for event in page]

    return asyncio.run(read())


def test_viewers_at_the_same_time_have_one_feed(server: FakePrefect3, kept: RunFeeds) -> None:
    """However the id is spelled, a run has one feed; another run has another."""
    run_id, other = (server.add_run(state="RUNNING") for _ in range(2))
    with kept.viewed(run_id) as first, kept.viewed(run_id.upper()) as second:
        assert first is second
        with kept.viewed(other) as third:
            assert third is not first
            assert third.key != first.key


def test_a_feed_outlives_its_last_viewer(server: FakePrefect3, kept: RunFeeds) -> None:
    """A viewer that comes back meanwhile has the same feed, whose session went on."""
    run_id = server.add_run(state="RUNNING")
    with kept.viewed(run_id) as before:
        first_of(before)
    with kept.viewed(run_id) as after:
        assert after is before
        with server.hold():  # what was read before is still there, without a request
            assert isinstance(first_of(after), rxflow.RunSeen)


def test_without_linger_a_feed_ends_with_its_last_viewer(server: FakePrefect3) -> None:
    """The next viewer has another feed, and no session is left; only the last one ends it."""
    run_id = server.add_run(state="RUNNING")
    feeds = RunFeeds(server.client(), AT_ONCE)
    with feeds.viewed(run_id) as first:
        with feeds.viewed(run_id) as second:
            first_of(second)
        first_of(first)
        hold = server.hold()
        hold.until_reached()
    hold.until_left()  # the session has broken its request off
    hold.release()
    with feeds.viewed(run_id) as third:
        assert third.key != first.key


def test_a_feed_that_has_completed_is_for_its_viewers(
    time: VirtualTime, server: FakePrefect3, kept: RunFeeds
) -> None:
    """A viewer that has read a session that is over finds it again; others start another."""
    run_id = server.add_run(state="COMPLETED")
    time.wait(60)
    with kept.viewed(run_id) as feed:
        assert not feed.has_ended_at(0)
        events = all_of(feed)
        while not feed.has_ended_at(len(events)):
            first_of(feed)  # its own reader may be some turns behind
        assert not feed.has_ended_at(len(events) - 1)
    with kept.viewed(run_id, feed.key) as again:
        assert again is feed
    with kept.viewed(run_id) as other, kept.viewed(run_id, feed.key) as another:
        assert other is not feed
        assert another is other


def test_a_feed_that_has_failed_is_for_no_one(server: FakePrefect3, kept: RunFeeds) -> None:
    """After an error of its session the next viewer has another feed, whatever it has read."""
    server.intercept = lambda _: httpx.Response(401, json={"detail": "Unauthorized"})
    run_id = server.add_run(state="RUNNING")
    with kept.viewed(run_id) as before, pytest.raises(rxflow.AuthError):
        first_of(before)
    server.intercept = None
    with kept.viewed(run_id, before.key) as after:
        assert after is not before
        assert isinstance(first_of(after), rxflow.RunSeen)


def test_a_malformed_id_has_no_feed(kept: RunFeeds) -> None:
    """A text that is no UUID is refused, before anything is sent."""
    with pytest.raises(rxflow.InvalidRunId, match="amber-fox"), kept.viewed("amber-fox"):
        pytest.fail("it was viewed")


def test_close_ends_all_sessions(server: FakePrefect3, kept: RunFeeds) -> None:
    """A session under way is broken off, also one without viewers."""
    run_id = server.add_run(state="RUNNING")
    with kept.viewed(run_id) as feed:
        first_of(feed)
    hold = server.hold()
    hold.until_reached()
    kept.close()
    hold.until_left()
    hold.release()
