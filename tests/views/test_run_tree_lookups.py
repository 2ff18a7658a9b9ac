"""The tree of a run, as it is read from servers of both kinds."""

import httpx
from picture_runs import NightlyRun, nodes_of, seconds, tree_of

from rxflow.testing import FakePrefect1, FakePrefect3, VirtualTime


def test_a_tree_has_task_runs_and_subflows_by_their_start() -> None:
    """A subflow stands in place of the task run that stands for it, with task runs of its own."""
    tree = NightlyRun().to_end().tree()
    assert [(place.depth, place.node.kind, place.node.name) for place in tree.walk()] == [
        (0, "flow run", "amber-fox"),
        (1, "task run", "fetch_orders-0"),
        (1, "task run", "fetch_orders-1"),
        (1, "flow run", "lucky-bee"),
        (2, "task run", "render_page-completed"),
        (2, "task run", "render_page-failed"),
    ]
    assert nodes_of(tree)["lucky-bee"].flow_name == "publish-report"
    assert (tree.unread, tree.has_subflows) == (0, True)


def test_without_subflows_their_task_runs_are_shown() -> None:
    """The task run that stands for a subflow is in its place, and nothing below it."""
    tree = NightlyRun().to_end().tree(subflows=False)
    assert [place.node.name for place in tree.walk()][-1] == "publish-report-0"


def test_retries_are_read() -> None:
    """Of a task run that was retried, each time it ran is a bar, with its outcome."""
    tree = NightlyRun().to_end().tree()
    node = nodes_of(tree)["fetch_orders-0"]
    assert seconds(tree, node) == [
        ("failed", 4.0, 5.0),
        ("waiting", 5.0, 7.0),
        ("completed", 7.0, 10.0),
    ]
    assert node.attempts == 2


def test_a_history_costs_a_request_only_where_there_is_more_than_the_row() -> None:
    """Of three task runs and a subflow's two, the states of one are requested: of the retried."""
    story = NightlyRun().to_end()
    before = len(story.server.requests)
    story.tree()
    paths = [path for _, path in story.server.requests[before:]]
    assert sum("task_run_states" in path for path in paths) == 1
    assert len(paths) <= 11


def test_a_live_run_is_read_as_far_as_it_has_got() -> None:
    """What runs lasts until now, by the server's clock, and what waits for a retry waits."""
    story = NightlyRun()
    story.time.wait(1)
    story.server.set_task_state(story.run_id, story.fetches[0], "SCHEDULED", "AwaitingRetry")
    story.time.wait(2)
    tree = story.tree()
    assert seconds(tree, tree.root)[-1] == ("running", 4.0, 7.0)
    assert seconds(tree, nodes_of(tree)["fetch_orders-0"]) == [
        ("failed", 4.0, 5.0),
        ("waiting", 5.0, 7.0),
    ]
    assert seconds(tree, nodes_of(tree)["fetch_orders-1"]) == [("running", 4.0, 7.0)]


def test_subflows_are_read_to_any_depth() -> None:
    """Three hundred runs, each a subflow of the one before, are a tree that can be walked."""
    server = FakePrefect3(clock=VirtualTime())
    ids: list[str] = []
    for _ in range(300):
        ids.append(server.add_run(parent=ids[-1] if ids else None, state="RUNNING"))
    depths = [(place.node.id, place.depth) for place in tree_of(server, ids[0]).walk()]
    assert depths == [(run_id, depth) for depth, run_id in enumerate(ids)]


def test_more_rows_than_a_page_has_are_all_read() -> None:
    """The pages of task runs and of subflows are read to the last one."""
    server = FakePrefect3(clock=VirtualTime(), page_limit=3)
    run_id = server.add_run(state="RUNNING")
    for number in range(8):
        server.add_task_run(run_id, name=f"task-{number}", state="COMPLETED")
        server.add_run(name=f"run-{number}", parent=run_id, state="COMPLETED")
    names = nodes_of(tree_of(server, run_id))
    assert {f"task-{number}" for number in range(8)} <= names.keys()
    assert {f"run-{number}" for number in range(8)} <= names.keys()


def test_rows_that_cannot_be_read_are_counted() -> None:
    """A task run without a name is left out, and the tree says that one row is."""
    story = NightlyRun().to_end()
    story.server.task_runs[story.fetches[1]]["name"] = None
    tree = story.tree()
    assert "fetch_orders-1" not in nodes_of(tree)
    assert tree.unread == 1


def test_a_subflow_whose_task_run_cannot_be_read_is_below_the_root() -> None:
    """It is shown, and the row is counted."""
    story = NightlyRun().to_end()
    stand_in = story.server.runs[story.subflow_id]["parent_task_run_id"]
    story.server.task_runs[stand_in]["name"] = None
    tree = story.tree()
    assert "lucky-bee" in {node.name for node in tree.root.children}
    assert tree.unread == 1


def test_a_deleted_flow_leaves_the_run_without_its_name() -> None:
    """The tree is read without the flow, which the server no longer has."""
    story = NightlyRun().to_end()
    story.server.flows.clear()
    assert {node.flow_name for node in nodes_of(story.tree()).values()} == {None}


def test_without_the_servers_time_a_tree_ends_with_its_newest_row() -> None:
    """Where replies have no date, what runs lasts until the newest row was written."""
    story = NightlyRun()
    story.fetch()
    transport = story.server.transport()

    def without_date(request: httpx.Request) -> httpx.Response:
        story.server.intercept = None
        response = transport.handle_request(request)
        story.server.intercept = without_date
        response.headers.pop("date", None)
        return response

    story.server.intercept = without_date
    story.time.wait(60)
    tree = story.tree()
    assert seconds(tree, tree.root)[-1] == ("running", 4.0, 10.0)


def test_prefect_1_has_task_runs_and_no_subflows() -> None:
    """On Prefect 1 the states of all task runs are read, and none of its runs is a subflow."""
    time = VirtualTime()
    server = FakePrefect1(clock=time)
    run_id = server.add_run(name="amber-fox", state="Running")
    load = server.add_task_run(run_id, slug="load-1", state="Running")
    time.wait(2)
    server.set_task_state(load, "Retrying")
    time.wait(1)
    server.set_task_state(load, "Running")
    time.wait(3)
    server.set_task_state(load, "Success")
    tree = tree_of(server, run_id)
    assert not tree.has_subflows
    assert seconds(tree, nodes_of(tree)["load-1"]) == [
        ("failed", 0.0, 2.0),
        ("waiting", 2.0, 3.0),
        ("completed", 3.0, 6.0),
    ]
