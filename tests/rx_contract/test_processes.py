"""Rule: no subscription keeps a thread, hinders the end of the process, or breaks in a fork."""

import subprocess
import sys
import threading

import pytest
from reactivex.disposable import CompositeDisposable
from runtime_threads import join_runtime_threads
from rx_subjects import each_subject, subject
from virtual_world import TEST_TIMEOUT, World


@each_subject
def test_threads_end_with_their_subscriptions(name: str, world: World) -> None:
    """After many subscriptions, each disposed of at once, no thread is left."""
    stream = subject(name, world, world.server.add_run(state="RUNNING"))
    before = threading.active_count()
    for _ in range(20):
        stream.subscribe().dispose()
    several = [stream.subscribe() for _ in range(20)]
    CompositeDisposable(several).dispose()
    join_runtime_threads()
    assert threading.active_count() <= before


AT_EXIT = """
import asyncio, threading
import reactivex
import rxflow
from reactivex.scheduler.eventloop import AsyncIOScheduler
from rxflow import operators, sinks
from rxflow.testing import FakePrefect3

server = FakePrefect3()
stream = rxflow.watch_flow_run(server.add_run(state="RUNNING"), client=server.client())
stream = stream.pipe(operators.in_order(60), operators.bounded(9))
seen = threading.Event()
see = sinks.to_callable(lambda event: seen.set())
"""

USES_AT_EXIT = {
    "subscribe": "stream.pipe(see).subscribe(); assert seen.wait(30)",
    "blocked": """
with server.serve() as url:
    hold = server.hold()
    run_id = server.add_run()
    rxflow.watch_flow_run(run_id, client=rxflow.Client(api_url=url)).subscribe()
    hold.until_reached()
    hold.release()
""",
    "for": "items = iter(stream); next(items)",
    "async for": """
async def main():
    items = aiter(stream)
    await anext(items)
asyncio.run(main())
""",
    "asyncio": """
async def main():
    stream.pipe(see).subscribe(scheduler=AsyncIOScheduler(asyncio.get_running_loop()))
    while not seen.is_set():
        await asyncio.sleep(0)
asyncio.run(main())
""",
}


def run_program(program: str, *options: str) -> tuple[int, str, str]:
    """Run a program in a new interpreter; return its exit status, output and error output."""
    done = subprocess.run(
        [sys.executable, "-P", *options, "-c", program],
        capture_output=True,
        text=True,
        timeout=TEST_TIMEOUT,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("face", USES_AT_EXIT)
def test_a_program_ends_during_a_watch(face: str) -> None:
    """A program that ends while it watches exits without any output."""
    assert run_program(AT_EXIT + USES_AT_EXIT[face], "-W", "error") == (0, "", "")


@pytest.mark.parametrize("face", USES_AT_EXIT)
def test_a_program_in_development_mode_ends_during_a_watch(face: str) -> None:
    """With `-X dev`, and so with asyncio's debugging, there is no output either.

    But for what asyncio says of a slow machine, that a step took more than 0.1 s.
    """
    status, output, errors = run_program(AT_EXIT + USES_AT_EXIT[face], "-X", "dev", "-W", "error")
    said = [line for line in errors.splitlines() if not line.startswith("Executing <")]
    assert (status, output, said) == (0, "", [])


FORK = """
import os, sys, threading
import rxflow
from rxflow.testing import FakePrefect3

def watch():
    server = FakePrefect3()
    run_id = server.add_run(state="RUNNING")
    return server, run_id, rxflow.watch_flow_run(run_id, drain=0, client=server.client())

def subscribe(server, run_id, stream):
    seen, over = threading.Event(), threading.Event()
    events = []
    stream.subscribe(lambda e: (events.append(e), seen.set()), on_completed=over.set)
    assert seen.wait(30)
    return lambda: (server.set_state(run_id, "COMPLETED"), over.wait(30), type(events[-1]).__name__)

finish = subscribe(*watch())
child = os.fork()
if child == 0:
    fresh = watch()
    good = subscribe(*fresh)()[1:] == (True, "Closed") and len(list(fresh[2])) == 4
    os._exit(0 if good else 1)
_, status = os.waitpid(child, 0)
print(finish()[1:])
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_parent_and_child_of_a_fork_can_both_watch() -> None:
    """After a fork during a watch the child can start another, and the parent's continues."""
    assert run_program(FORK, "-W", "ignore") == (0, "(True, 'Closed')\n", "")
