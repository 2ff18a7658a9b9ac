"""Runs to watch in a `World`: one that has ended, and one that is started, rerun and ended."""

from datetime import timedelta

from virtual_world import HOUR, World, identities

from rxflow import FlowRunEvent, FlowRunStream, watch_flow_run


def watch_past_run(world: World) -> FlowRunStream:
    """Watch a run that ended an hour ago, with more than one page of log lines."""
    run_id = world.add_finished_run(lines=450)
    world.server.set_task_state(run_id, None, "COMPLETED")
    world.run(until=HOUR)
    return watch_flow_run(run_id, stream_tasks=True, client=world.client)


def add_live_run(world: World) -> str:
    """Add a run that starts at second 10, fails at 40, is rerun, ends at 70 and logs late."""
    server, run_id = world.server, world.server.add_run()
    world.at(10, lambda: server.set_state(run_id, "PENDING"))
    world.at(12, lambda: server.set_state(run_id, "RUNNING"))
    for second in range(13, 40, 3):
        world.at(second, lambda: server.log(run_id))
        world.at(second + 0.1, lambda: server.change_run(run_id, tags=[str(world.seconds)]))
    world.at(40, lambda: server.set_state(run_id, "FAILED"))
    world.at(43, lambda: server.set_state(run_id, "SCHEDULED", "AwaitingRetry"))
    world.at(50, lambda: server.set_state(run_id, "RUNNING"))
    world.at(60, lambda: server.log(run_id, timestamp=world.scheduler.now - timedelta(seconds=5)))
    world.at(70, lambda: server.set_state(run_id, "COMPLETED"))
    world.at(72, lambda: server.log(run_id, "the last line"))
    return run_id


def rows(events: list[FlowRunEvent]) -> list[tuple[str, str]]:
    """Return the identities of state changes and log lines: those with rows on the server."""
    return [identity for identity in identities(events) if identity[0] in {"state", "log"}]
