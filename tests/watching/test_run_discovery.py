"""`MatchFinder` in a `RunsSession`: runs that match a filter, whenever they come."""

import gc
from datetime import timedelta
from functools import partial
from random import Random

import pytest
from found_runs import FoundRuns, outcome_names, runs_of
from simulated_world import START, World, refused

from rxflow._protocol.failures import Failure, FailureKind
from rxflow._protocol.queries import Query, RunFilter, RunsQuery, TaskRunsQuery
from rxflow._watching import run_finder
from rxflow._watching.run_group import RunGroup
from rxflow.errors import BadResponse, UnsupportedServer, WatchTimedOut
from rxflow.events import AllClosed, Closed, Notice, NoticeCode, RunSeen

PROD = RunFilter(tags=("prod",))


def seen_at(watched: FoundRuns, name: str) -> float:
    """Return when a run was seen."""
    return watched.time_of(RunSeen, name)


# -- once ------------------------------------------------------------------------------------------


def test_runs_that_match_are_watched() -> None:
    """Those that the filter selects at the start, and no others, to their ends."""
    watched = runs_of(World(), where=PROD)
    for name in ("a", "b"):
        watched.start(name, tags=["prod"])
        watched.end_at(10, name)
    watched.start("other")
    watched.end_at(10, "other")
    watched.start_at(5, "later", tags=["prod"])
    watched.end_at(20, "later")
    watched.run()
    assert outcome_names(watched) == {"a", "b"}
    assert len(watched.looks()) == 1
    assert all(event.root_flow_run_id == event.flow_run_id for event in watched.events)


def test_without_a_match_the_watch_ends_at_once() -> None:
    """It has its last event, about no run."""
    watched = runs_of(World(), where=PROD).run()
    assert watched.events == [AllClosed(flow_run_id="", timestamp=watched.world.clock(), runs=())]


@pytest.mark.parametrize("count", [7, 25, 230])
def test_all_pages_are_read(count: int) -> None:
    """However many runs match, and whatever is the most that the server sends at once."""
    watched = runs_of(World(page_limit=7 if count < 100 else 200), where=PROD)
    for number in range(count):
        watched.start(str(number), tags=["prod"], state="COMPLETED")
    watched.run()
    assert outcome_names(watched) == {str(number) for number in range(count)}


def test_a_run_that_leaves_while_pages_are_read_hides_no_other() -> None:
    """It moves another to a page that was read, which a second look finds."""
    watched = runs_of(World(page_limit=5), where=RunFilter(state_types=("RUNNING",)))
    for number in range(12):
        watched.start(str(number))
        watched.end_at(60, str(number))
    first = max(watched.ids.values())  # the first of the first page
    while len(watched.looks()) < 2:  # the first is refused, since its page is too large
        watched.step()
    watched.world.server.set_state(first, "COMPLETED")
    watched.run()
    assert outcome_names(watched) == {str(number) for number in range(12)}


def test_what_begins_with_a_look_may_fail_as_any_watch() -> None:
    """A server that is not supported is an error, and one that is down is tried again."""
    world = World()
    watched = runs_of(world, where=PROD)
    world.fault = refused
    world.at(5, lambda: setattr(world, "fault", lambda _: None))
    watched.start("a", tags=["prod"], state="COMPLETED")
    watched.run()
    assert outcome_names(watched) == {"a"}
    old = runs_of(World(version="2.20.0"), where=PROD).run()
    assert isinstance(old.error, UnsupportedServer)


# -- again and again -------------------------------------------------------------------------------


def test_runs_that_come_later_are_found_soon() -> None:
    """A look is sent every few seconds, and its reply has only what is new."""
    watched = runs_of(World(), where=PROD, discover=True, forever=True)
    for number in range(20):
        watched.start_at(1 + 9 * number, str(number), tags=["prod"])
        watched.end_at(20 + 9 * number, str(number))
    watched.run(until=240)
    for number in range(20):
        assert 0 <= seen_at(watched, str(number)) - (1 + 9 * number) < 6
    watched.check_each_row_once()
    *_, (_, last) = watched.looks()
    assert set(last.without) == set(watched.ids.values())
    assert not watched.ended


@pytest.mark.parametrize("scheduled", [-10_000, 0, 10_000])
def test_a_run_is_found_whenever_it_is_expected_to_start(scheduled: float) -> None:
    """The looks need no order of the runs in which new ones come first."""
    watched = runs_of(World(), where=PROD, discover=True, forever=True)
    for number in range(3):
        watched.start(f"old {number}", tags=["prod"], state="COMPLETED")
    start = START + timedelta(seconds=scheduled)
    watched.start_at(30, "new", tags=["prod"], expected_start_time=start)
    watched.run(until=60)
    assert seen_at(watched, "new") < 36


def test_what_begins_to_match_is_found() -> None:
    """A run that enters a state is as new as one that is created; it is watched to its end."""
    watched = runs_of(World(), where=RunFilter(state_types=("RUNNING",)), discover=True)
    watched.start("scheduled", state="SCHEDULED")
    watched.start("running")
    watched.world.at(
        20, lambda: watched.world.server.set_state(watched.ids["scheduled"], "RUNNING")
    )
    watched.end_at(30, "running")
    watched.end_at(40, "scheduled")
    watched.run()
    assert outcome_names(watched) == {"scheduled", "running"}
    watched.check_each_row_once()


def test_a_watch_until_done_ends_after_a_look_that_found_nothing() -> None:
    """A run that comes just before the last one is closed is not missed."""
    watched = runs_of(World(), where=PROD, discover=True, drain=0)
    watched.start("first", tags=["prod"])
    watched.end_at(10, "first")
    watched.run(until=9.99)
    while not watched.of(Closed):
        watched.step()
    watched.start("second", tags=["prod"])
    watched.end_at(30, "second")
    watched.run()
    assert outcome_names(watched) == {"first", "second"}
    assert watched.looks()[-1][0] > watched.time_of(Closed, "second") - 0.1


def test_a_watch_for_ever_ends_at_its_limit_only() -> None:
    """Its error says that it was to look on until then."""
    watched = runs_of(World(), where=PROD, discover=True, forever=True, max_duration=120)
    watched.start("a", tags=["prod"], state="COMPLETED")
    watched.run()
    assert isinstance(watched.error, WatchTimedOut)
    assert "until='done'" in str(watched.error)
    assert isinstance(watched.events[-1], Closed)
    assert 119 < watched.world.now < 121


def test_a_row_that_cannot_be_read_is_reported_once() -> None:
    """It hides no other run."""
    watched = runs_of(World(), where=PROD, discover=True)
    watched.start("bad", tags=["prod"])
    watched.start("good", tags=["prod"])
    watched.end_at(30, "good")
    watched.world.server.runs[watched.ids["bad"]]["created"] = "yesterday"
    watched.run()
    assert [notice.code for notice in watched.of(Notice)] == [NoticeCode.MALFORMED]
    assert outcome_names(watched) == {"good"}


def test_a_failed_look_is_sent_again_beside_other_polls() -> None:
    """The runs that are known are read meanwhile."""
    world = World()
    watched = runs_of(world, where=PROD, discover=True)
    watched.start("a", tags=["prod"])
    watched.end_at(60, "a")

    def refuse_looks(query: Query) -> Failure | None:
        is_look = isinstance(query, RunsQuery) and not query.where.flow_run_ids
        return Failure(kind=FailureKind.SERVER, text="It is ill") if is_look else None

    world.at(5, lambda: setattr(world, "fault", refuse_looks))
    world.at(10, partial(world.server.log, next(iter(watched.ids.values())), "news"))
    world.at(100, lambda: setattr(world, "fault", lambda _: None))
    watched.start_at(20, "b", tags=["prod"], state="COMPLETED")
    watched.run()
    (news,) = (at for at, event in watched.emitted if event.message == "news")
    assert news < 30
    assert outcome_names(watched) == {"a", "b"}


def fail_looks(world: World, kind: FailureKind, *, lasting: float = 0.0) -> None:
    """Let each look fail, after some seconds, while other polls succeed."""

    def fail(query: Query) -> Failure | None:
        if not isinstance(query, RunsQuery) or query.where.flow_run_ids:
            return None
        world.wait(lasting)
        return Failure(kind=kind, text="It is ill")

    world.fault = fail


def test_looks_that_fail_are_reported_and_become_rare() -> None:
    """Where only looks fail, one notice says so, one that they succeed, and few are sent."""
    world = World()
    watched = runs_of(world, where=PROD, discover=True)
    watched.start("a", tags=["prod"])
    world.at(5, partial(fail_looks, world, FailureKind.SERVER))
    world.at(200, lambda: setattr(world, "fault", lambda _: None))
    watched.start_at(100, "b", tags=["prod"], state="COMPLETED")
    watched.end_at(300, "a")
    watched.run()
    assert [notice.code for notice in watched.of(Notice)] == [
        NoticeCode.DEGRADED,
        NoticeCode.RECOVERED,
    ]
    assert "look" in watched.of(Notice)[0].message
    assert len([at for at, _ in watched.looks() if 20 <= at < 200]) < 40
    assert seen_at(watched, "b") < 200 + 35


@pytest.mark.parametrize("kind", [FailureKind.REJECTED, FailureKind.UNREADABLE])
def test_looks_that_are_refused_for_long_end_the_watch(kind: FailureKind) -> None:
    """As any query that a server refuses does, although the runs that are known can be read."""
    world = World()
    watched = runs_of(world, where=PROD, discover=True)
    watched.start("a", tags=["prod"])
    world.at(5, partial(fail_looks, world, kind))
    watched.run(until=600)
    assert isinstance(watched.error, BadResponse)
    assert 60 < world.now < 90


def test_looks_without_a_reply_take_a_share_of_the_time() -> None:
    """The runs that are known are read in most of it."""
    world = World()
    watched = runs_of(world, where=PROD, discover=True)
    watched.start("a", tags=["prod"])
    world.at(5, partial(fail_looks, world, FailureKind.NETWORK, lasting=10))
    watched.run(until=505)
    assert 5 < len([at for at, _ in watched.looks() if at > 5]) < 14


def test_a_run_whose_parent_cannot_be_read_is_watched() -> None:
    """Whichever run started it, the look goes on without that; it is its own root then."""
    world = World()
    watched = runs_of(world, where=PROD, discover=True, subflows=True)
    watched.start("parent")
    watched.start("child", parent="parent", tags=["prod"])
    watched.end_at(30, "child")

    def fail(query: Query) -> Failure | None:
        is_parent = isinstance(query, TaskRunsQuery)
        return Failure(kind=FailureKind.UNREADABLE, text="It is odd") if is_parent else None

    world.fault = fail
    watched.run(until=600)
    assert watched.error is None
    assert outcome_names(watched) == {"child"}


def test_what_was_read_together_is_not_kept() -> None:
    """A watch for ever keeps nothing of the groups whose runs are all closed."""

    def count_groups() -> int:
        gc.collect()
        return sum(isinstance(each, RunGroup) for each in gc.get_objects())

    before = count_groups()
    watched = runs_of(World(), where=PROD, discover=True, forever=True, subflows=True, drain=1)
    for number in range(5):
        watched.start_at(100 * number, f"{number}", tags=["prod"])
        watched.end_at(100 * number + 30, f"{number}")
    watched.run(until=550)
    assert len(watched.of(Closed)) == 5
    assert count_groups() == before


@pytest.mark.parametrize("seed", range(6))
def test_of_more_runs_than_a_query_leaves_out_all_are_found(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that start last are found soon, all others by a look at all within a minute."""
    monkeypatch.setattr(run_finder, "MOST_LEFT_OUT", 10)
    random = Random(seed)
    watched = runs_of(World(page_limit=7), where=PROD, discover=True, seed=seed, drain=0)
    for number in range(40):
        start = START + timedelta(seconds=random.randint(-3, 3))  # with ties
        watched.start(f"old {number}", tags=["prod"], state="COMPLETED", expected_start_time=start)
    watched.start("long", tags=["prod"])
    came = {f"new {number}": random.uniform(1, 400) for number in range(20)}
    for name, at in came.items():
        lag = random.choice([5, -10_000])
        start = START + timedelta(seconds=at + lag)
        watched.start_at(at, name, tags=["prod"], state="COMPLETED", expected_start_time=start)
    watched.end_at(500, "long")
    watched.run()
    assert outcome_names(watched) == watched.ids.keys()
    watched.check_each_row_once()
    for name, at in came.items():
        assert seen_at(watched, name) - at < run_finder.WHOLE_LOOK_INTERVAL + 7
    assert all(len(query.without) <= 10 for _, query in watched.looks())
