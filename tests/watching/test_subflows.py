"""Subflows of watched runs: `SubflowFinder` in a `RunsSession`, and `RunTreeSession`."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from found_runs import FoundRuns, outcome_names, runs_of, tree_of
from simulated_world import LATENCY, World, refused

from rxflow._models.entities import BackendName, Server
from rxflow._protocol.failures import Failure, FailureKind, Reply
from rxflow._protocol.pages import Page
from rxflow._protocol.queries import (
    Query,
    RunFilter,
    RunsQuery,
    ServerQuery,
    TaskRunsQuery,
)
from rxflow._watching import run_finder
from rxflow._watching.log_reader import RowLimit
from rxflow._watching.run_watch import RunWatch
from rxflow._watching.runs_session import RunsSession
from rxflow._watching.watch_spec import WatchSpec
from rxflow.errors import RunNotFound, WatchTimedOut
from rxflow.events import (
    AllClosed,
    Closed,
    FlowRunEvent,
    FlowRunLog,
    Notice,
    NoticeCode,
    RunSeen,
    StateChange,
)

UNKNOWN = "ca449f3a-c029-47d8-acb6-1db88b00c1f2"


def watch_tree(world: World, **options: Any) -> FoundRuns:
    """Watch a run and its subflows, before it has some."""
    return tree_of(world, world.server.add_run(name="root", state="RUNNING"), **options)


def watch_many(world: World, count: int = 1, **options: Any) -> FoundRuns:
    """Watch some runs and their subflows, before they have some."""
    ids = {
        f"root {n}": world.server.add_run(name=f"root {n}", state="RUNNING") for n in range(count)
    }
    watched = runs_of(world, ids.values(), subflows=True, **options)
    watched.ids |= ids
    return watched


def roots_of(watched: FoundRuns) -> dict[str, set[str]]:
    """Return the roots of the events of each run, by their names."""
    names = {run_id: name for name, run_id in watched.ids.items()}
    return {
        name: {names[event.root_flow_run_id] for event in watched.of_run(name)}
        for name in watched.ids
    }


# -- of one run ------------------------------------------------------------------------------------


def test_subflows_are_watched_to_any_depth() -> None:
    """Each line is under its own run, each once; all have the first run as their root."""
    watched = watch_tree(World())
    for depth, parent in enumerate(["root", "1", "2", "3"], start=1):
        watched.start_at(5 * depth, str(depth), parent=parent)
        watched.end_at(100 - 10 * depth, str(depth))
    watched.end_at(100, "root")
    watched.run()
    watched.check_each_row_once()
    assert roots_of(watched) == {name: {"root"} for name in ("root", "1", "2", "3", "4")}
    assert watched.events[0] == watched.of_run("root")[0]
    assert watched.closed == watched.of_run("root")[-1]
    assert watched.closed.verified
    assert watched.of(AllClosed) == []


def test_a_look_during_a_burst_closes_nothing_that_is_still_read() -> None:
    """A look for subflows comes between the pages of a burst; no line of it is left out."""
    world = World(page_limit=7)
    watched = watch_many(world, 3)
    root = watched.ids["root 0"]

    def burst() -> None:
        for number in range(1000):
            world.server.log(root, f"{number}")

    world.at(20, burst)
    world.at(20.5, partial(world.server.set_state, root, "COMPLETED"))
    watched.end_at(60, "root 1")
    watched.end_at(60, "root 2")
    watched.run()
    reads = [query for at, query in watched.sent if 20 < at < 40]
    looks = [n for n, query in enumerate(reads) if isinstance(query, RunsQuery)]
    assert len(looks) > 2
    assert max(after - before for before, after in pairwise(looks)) > 5  # pages lie between
    watched.check_each_row_once()
    assert all(closed.verified for closed in watched.of(Closed))


def test_a_tree_that_is_over_is_read_as_a_whole() -> None:
    """A watch that begins after the end finds what one finds that was there all along."""
    watched = watch_tree(World())
    for depth, parent in enumerate(["root", "1", "2"], start=1):
        watched.start(str(depth), parent=parent, state="COMPLETED")
    watched.world.server.set_state(watched.ids["root"], "COMPLETED")
    watched.world.wait(3600)
    watched.run()
    watched.check_each_row_once()
    assert watched.closed == watched.of_run("root")[-1]
    assert watched.world.now < 3600 + 3


def test_the_root_is_closed_after_a_subflow_that_outlives_it() -> None:
    """The others are closed when they are over; the watch has one end."""
    watched = watch_tree(World())
    watched.start_at(3, "short", parent="root")
    watched.start_at(3, "long", parent="root")
    watched.end_at(10, "short")
    watched.end_at(20, "root", "CRASHED")
    watched.end_at(300, "long")
    watched.run()
    watched.check_each_row_once()
    assert watched.time_of(Closed, "short") < 20
    assert [event.flow_run_id for event in watched.of(Closed)][-2:] == [
        watched.ids["long"],
        watched.ids["root"],
    ]
    assert watched.time_of(Closed, "root") - watched.time_of(Closed, "long") < 1
    assert watched.closed.state is not None
    assert watched.closed.state.name == "Crashed"


@pytest.mark.parametrize("seconds", [step / 40 for step in range(41)])
def test_a_subflow_of_the_last_moment_is_found(seconds: float) -> None:
    """Its parent ends at once after it started, whatever the watch does at that moment."""
    watched = watch_tree(World(), drain=0)
    end = 20 + seconds
    watched.start_at(end, "last", parent="root")
    watched.end_at(end, "root")
    watched.start_at(end, "of last", parent="last", state="COMPLETED")
    watched.end_at(end, "last")
    watched.run()
    watched.check_each_row_once()
    assert watched.closed.flow_run_id == watched.ids["root"]


def test_a_run_that_goes_on_may_start_more_subflows() -> None:
    """A root that is over waits for its subflows, and is read meanwhile."""
    watched = watch_tree(World())
    watched.start_at(3, "first", parent="root")
    watched.end_at(10, "root", "FAILED")
    watched.world.at(60, lambda: watched.world.server.set_state(watched.ids["root"], "RUNNING"))
    watched.start_at(65, "second", parent="root")
    watched.end_at(70, "first")
    watched.end_at(80, "second")
    watched.end_at(90, "root")
    watched.run()
    watched.check_each_row_once()
    assert [notice.code for notice in watched.of(Notice)] == [NoticeCode.REOPENED]
    assert watched.closed.flow_run_id == watched.ids["root"]


def test_a_root_that_waits_is_polled_at_the_usual_pace() -> None:
    """While a subflow goes on, nothing is sent more often since the root is over."""
    watched = watch_tree(World())
    watched.start_at(3, "child", parent="root")
    watched.end_at(10, "root")
    watched.end_at(200, "child")
    watched.run(until=100)
    begin = len(watched.sent)
    watched.run(until=150)
    assert len(watched.sent) - begin < 40


def test_an_unknown_root_is_an_error() -> None:
    """It is that of a watch over the run alone."""
    watched = tree_of(World(), UNKNOWN).run()
    assert isinstance(watched.error, RunNotFound)
    assert watched.events == []


@pytest.mark.parametrize("child_ends", [15, 100])
def test_a_deleted_root_is_closed_last(child_ends: float) -> None:
    """Its notice comes at once, its end after the subflows that are left."""
    watched = watch_tree(World())
    watched.start_at(3, "child", parent="root")
    watched.world.at(30, partial(watched.world.server.delete_run, watched.ids["root"]))
    watched.end_at(child_ends, "child")
    watched.run()
    (notice,) = watched.of(Notice)
    assert notice.code is NoticeCode.RUN_DELETED
    assert notice.flow_run_id == watched.ids["root"]
    assert watched.time_of(Notice, "root") < 45
    assert watched.closed.flow_run_id == watched.ids["root"]
    assert not watched.closed.verified
    assert watched.time_of(Closed, "root") >= child_ends
    child = watched.of_run("child")
    assert [e.message for e in child if isinstance(e, FlowRunLog)] == ["line of child"]


def test_a_deleted_subflow_ends_for_itself() -> None:
    """It has its notice and its end, and the root goes on."""
    watched = watch_tree(World())
    watched.start_at(3, "child", parent="root")
    watched.world.at(20, lambda: watched.world.server.delete_run(watched.ids["child"]))
    watched.end_at(60, "root")
    watched.run()
    *_, notice, closed = watched.of_run("child")
    assert notice.code is NoticeCode.RUN_DELETED
    assert {notice.root_flow_run_id, closed.root_flow_run_id} == {watched.ids["root"]}
    assert watched.closed.verified


@pytest.mark.parametrize(
    ("root_ends", "text"), [(None, "Flow run .* is still in state Running"), (10, "1 not over")]
)
def test_the_limit_names_what_is_not_over(root_ends: float | None, text: str) -> None:
    """That is the root, or its subflows if only they go on."""
    watched = watch_tree(World(), max_duration=60)
    watched.start_at(3, "child", parent="root")
    if root_ends:
        watched.end_at(root_ends, "root")
    watched.run()
    assert isinstance(watched.error, WatchTimedOut)
    with pytest.raises(WatchTimedOut, match=text):
        raise watched.error


def test_notices_about_the_server_are_the_roots() -> None:
    """They have its id, as in a watch over it alone."""
    world = World()
    watched = watch_tree(world)
    world.at(10, lambda: setattr(world, "fault", refused))
    world.at(40, lambda: setattr(world, "fault", lambda _: None))
    watched.end_at(60, "root")
    watched.run()
    notices = watched.of(Notice)
    assert [notice.code for notice in notices] == [NoticeCode.DEGRADED, NoticeCode.RECOVERED]
    assert {notice.flow_run_id for notice in notices} == {watched.ids["root"]}


# -- of many runs ----------------------------------------------------------------------------------


def test_each_subflow_has_the_root_that_started_it() -> None:
    """However many runs are looked for together; the last event has the parents, too."""
    watched = watch_many(World(), 5)
    for number in range(5):
        watched.start_at(5, f"child {number}", parent=f"root {number}")
        watched.start_at(9, f"grandchild {number}", parent=f"child {number}")
        for name in ("root", "child", "grandchild"):
            watched.end_at(60, f"{name} {number}")
    watched.run()
    watched.check_each_row_once()
    for name, roots in roots_of(watched).items():
        assert roots == {f"root {name[-1]}"}
    last = watched.of(AllClosed)[0]
    by_name = {run.name: run for run in last.runs}
    assert by_name.keys() == watched.ids.keys()
    for number in range(5):
        assert by_name[f"root {number}"].parent_flow_run_id is None
        assert by_name[f"child {number}"].parent_flow_run_id == watched.ids[f"root {number}"]
        grandchild = by_name[f"grandchild {number}"]
        assert grandchild.parent_flow_run_id == watched.ids[f"child {number}"]
        assert grandchild.root_flow_run_id == watched.ids[f"root {number}"]


def test_a_parent_is_closed_before_its_subflow_is() -> None:
    """Of many runs none waits for another, once no more subflows of it can come."""
    watched = watch_many(World())
    watched.start_at(3, "child", parent="root 0")
    watched.end_at(20, "root 0")
    watched.end_at(100, "child")
    watched.run()
    assert watched.time_of(Closed, "root 0") < 30
    assert outcome_names(watched) == {"root 0", "child"}


def test_a_run_that_was_given_stays_its_own_root() -> None:
    """Though it is a subflow of another: all its events have one root."""
    watched = watch_many(World(), 1)
    watched.start("child", parent="root 0")
    watched.add("child")
    watched.end_at(30, "root 0")
    watched.end_at(40, "child")
    watched.run()
    watched.check_each_row_once()
    assert roots_of(watched) == {"root 0": {"root 0"}, "child": {"child"}}


def test_a_subflow_that_matches_a_filter_has_its_parents_root() -> None:
    """Subflows have the tags of their parents, so that they match the same filter."""
    watched = runs_of(World(), where=RunFilter(tags=("prod",)), discover=True, subflows=True)
    watched.start("root", tags=["prod"])
    watched.start("child", parent="root", tags=["prod"])
    for number in range(5):
        watched.start_at(5 * number, f"child {number}", parent="root", tags=["prod"])
        watched.end_at(60, f"child {number}")
    watched.end_at(50, "child")
    watched.end_at(70, "root")
    watched.run()
    watched.check_each_row_once()
    assert set().union(*roots_of(watched).values()) == {"root"}


def test_the_parents_of_many_subflows_are_read_at_once() -> None:
    """Each of the two looks that see them sends one query for the task runs that stand for them."""
    watched = runs_of(World(), where=RunFilter(tags=("prod",)), discover=True, subflows=True)
    watched.start("root", tags=["prod"])
    for number in range(50):
        watched.start(f"child {number}", parent="root", tags=["prod"], state="COMPLETED")
    watched.end_at(20, "root")
    watched.run()
    queries = [query for _, query in watched.sent if isinstance(query, TaskRunsQuery)]
    assert [len(query.task_run_ids) for query in queries] == [50, 50]
    assert set().union(*roots_of(watched).values()) == {"root"}


def test_a_look_at_subflows_costs_little() -> None:
    """It is one query for 200 runs, whose reply has only what is new."""
    world = World()
    watched = watch_many(world, 200)
    watched.start_at(20, "child", parent="root 7")
    watched.run(until=120)
    late = [query for at, query in watched.looks() if at > 60]
    assert 10 <= len(late) <= 26  # 5 s apart at most, in 60 s
    assert all(
        len(query.where.parent_ids) == 200 or len(query.where.parent_ids) == 1 for query in late
    )
    assert all(
        query.without == (watched.ids["child"],)
        for query in late
        if len(query.where.parent_ids) > 1
    )


@pytest.mark.parametrize("seed", range(8))
def test_every_subflow_is_found(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random trees on a server with small pages, with outages: each row once, each root right."""
    monkeypatch.setattr(run_finder, "MOST_LEFT_OUT", 5)
    monkeypatch.setattr(run_finder, "MOST_PARENTS", 3)
    random = Random(seed)
    world = World(page_limit=random.choice([4, 200]), random=Random(seed))
    watched = watch_many(world, 3, drain=random.choice([None, 0]))
    ends = {name: random.uniform(20, 120) for name in watched.ids}
    starts = dict.fromkeys(ends, 0.0)
    roots = {name: name for name in ends}
    for number in range(30):
        parent = random.choice([*ends])
        name = f"child {number}"
        starts[name] = random.choice([ends[parent], random.uniform(starts[parent], ends[parent])])
        ends[name] = starts[name] + random.choice([0, 5, 60])
        roots[name] = roots[parent]
        watched.start_at(starts[name], name, parent=parent)
    for name, end in ends.items():
        watched.end_at(end, name, random.choice(["COMPLETED", "CRASHED"]))
    if seed % 2:
        world.at(30, lambda: setattr(world, "fault", refused))
        world.at(45, lambda: setattr(world, "fault", lambda _: None))
    watched.run()
    watched.check_each_row_once()
    assert roots_of(watched) == {name: {root} for name, root in roots.items()}


# -- what a server may not do ----------------------------------------------------------------------


class OfPrefect1(World):
    """A world whose server says that it is a Prefect 1; it fails at queries for subflows."""

    def send(self, query: Query) -> Reply:
        """Return the reply of the server."""
        if isinstance(query, ServerQuery):
            self.wait(LATENCY)
            return Page((Server(backend=BackendName.PREFECT_1),))
        assert not (isinstance(query, RunsQuery) and query.where.parent_ids)
        return super().send(query)


@pytest.mark.parametrize("watch", [watch_tree, watch_many])
def test_prefect_1_knows_no_subflows(watch: Callable[..., FoundRuns]) -> None:
    """One notice says so, and the watch goes on without them."""
    watched = watch(OfPrefect1(), drain=5)
    for name in [*watched.ids]:
        watched.end_at(20, name)
    watched.run()
    (notice,) = watched.of(Notice)
    assert notice.code is NoticeCode.UNSUPPORTED
    assert "subflows" in notice.message
    assert watched.ended
    assert watched.error is None
    assert [event.id for event in watched.of(StateChange)]


def by_events(session: RunsSession, events: list[FlowRunEvent]) -> None:
    """Let a watch go on after events, as from a journal."""
    session.record_emitted(events)


def by_state(session: RunsSession, events: list[FlowRunEvent]) -> None:
    """Let a watch go on after what is known of events, as from a checkpoint."""
    run_id = events[0].flow_run_id
    first, second = (RunWatch(WatchSpec(flow_run_id=run_id), RowLimit()) for _ in range(2))
    first.record_emitted(events)
    second.load_emitted(first.save_emitted())  # as after a watch that was killed at once
    session.load_emitted(second.save_emitted(), run_id)


@pytest.mark.parametrize("go_on", [by_events, by_state])
def test_prefect_1_says_once_that_it_knows_no_subflows(
    go_on: Callable[[RunsSession, list[FlowRunEvent]], None],
) -> None:
    """A watch that goes on after the events of another does not say it again."""
    world = OfPrefect1()
    first = watch_tree(world, drain=5)
    first.run(until=20)
    assert [notice.code for notice in first.of(Notice)] == [NoticeCode.UNSUPPORTED]
    second = tree_of(world, first.ids["root"], drain=5)
    go_on(second.session, first.events)
    second.end_at(30, "root")
    second.run()
    assert second.of(Notice) == []
    assert [change.state.name for change in second.of(StateChange)] == ["Completed"]


def test_a_subflow_whose_parent_is_not_known_any_more_is_watched() -> None:
    """It is its own root then, as far as is known."""
    world = World()
    watched = watch_many(world)

    def delete_task_runs(query: Query) -> None:
        if isinstance(query, TaskRunsQuery):
            world.server.task_runs.clear()

    world.fault = delete_task_runs
    watched.start_at(5, "child", parent="root 0")
    watched.end_at(30, "child")
    watched.end_at(40, "root 0")
    watched.run()
    assert watched.time_of(RunSeen, "child") < 15
    assert roots_of(watched)["child"] == {"child"}


def test_a_page_of_subflows_may_be_too_large() -> None:
    """The look is sent again for fewer rows."""
    world = World()
    watched = watch_many(world)
    failures = iter([Failure(kind=FailureKind.PAGE_LIMIT, text="Too many", limit=2)])

    def refuse(query: Query) -> Failure | None:
        is_look = isinstance(query, RunsQuery) and query.where.parent_ids
        return next(failures, None) if is_look else None

    world.fault = refuse
    for number in range(5):
        watched.start(f"child {number}", parent="root 0", state="COMPLETED")
    watched.end_at(5, "root 0")
    watched.run()
    assert len(outcome_names(watched)) == 6
    assert {query.limit for _, query in watched.looks()} == {200, 2}
