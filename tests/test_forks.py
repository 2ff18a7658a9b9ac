"""Forks: a child connects by itself and continues no watch; the parent's watches are unharmed.

Each test is a program of its own, since a fork would take the threads of pytest for its own. A
child that hangs is ended by an alarm, which fails the test.
"""

import subprocess
import sys

import pytest
from virtual_world import TEST_TIMEOUT

PRELUDE = """
import asyncio, gc, multiprocessing, os, signal, socket, socketserver, sys, threading, traceback
import rxflow
from reactivex import operators as ops
from rxflow import _forks, operators
from rxflow._runtime.fetch_loop import fetch_loop
from rxflow._runtime.worker_threads import worker_threads
from rxflow._runtime.poll_scheduler import default_scheduler
from rxflow.testing import FakePrefect3

server = FakePrefect3()

def name_of(run_id):
    return rxflow.FlowRunView.from_flow_run_id(run_id, client=client).name

def end_as(check):
    '''End this process: well if the check returns true.'''
    signal.alarm(30)
    good = False
    try:
        good = check()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(0 if good else 1)

def fork(check):
    '''Run a check in a child, which ends after it.'''
    child = os.fork()
    if child == 0:
        end_as(check)
    return child

def is_good(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

def inherits(continue_watch):
    '''Whether continuing a watch raises the error that says what to do.'''
    try:
        continue_watch()
    except rxflow.WatchInherited as error:
        return "start one in the child" in str(error)
    return False

def names(events):
    return [type(event).__name__ for event in events]

def is_whole(events):
    '''Whether a run that went from Running to Completed was watched to its end, without a gap.'''
    states = [event.state.name for event in events if isinstance(event, rxflow.StateChange)]
    return states == ["Running", "Completed"] and names(events)[-1] == "Closed"
"""


def failure_of(program: str) -> str:
    """Run a program with the prelude; return what it printed to standard error and its status.

    Empty if it ended well and printed nothing.
    """
    done = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "-c", PRELUDE + program],
        capture_output=True,
        text=True,
        timeout=TEST_TIMEOUT,
        check=False,
    )
    return done.stderr + (f"exit status {done.returncode}" if done.returncode else "")


# -- reads with a client --------------------------------------------------------------------------

CHILDREN_READ = {
    "os.fork": """
    def check(name, run):
        return lambda: all(name_of(run) == name for _ in range(3))
    with server.hold() as hold:  # on one connection a second request would not reach the server
        children = [fork(check(name, run)) for name, run in runs.items()]
        hold.until_reached(24)
    assert all(name_of(run) == name for name, run in runs.items())
    assert [is_good(child) for child in children] == [True] * 24
""",
    "multiprocessing": """
    with multiprocessing.get_context("fork").Pool(8) as pool:
        with server.hold() as hold:
            found = pool.map_async(name_of, runs.values(), chunksize=1)
            hold.until_reached(8)
        assert all(name_of(run) == name for name, run in runs.items())
        assert found.get(30) == [*runs]
""",
    "a forking server": """
    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            signal.alarm(30)
            self.wfile.write(name_of(self.rfile.readline().decode().strip()).encode())

    class Server(socketserver.ForkingMixIn, socketserver.TCPServer):
        max_children = 24
        request_queue_size = 24

    with Server(("127.0.0.1", 0), Handler) as forking:
        threading.Thread(target=forking.serve_forever, daemon=True).start()
        hold = server.hold()
        connections = [socket.create_connection(forking.server_address) for _ in runs]
        for connection, run in zip(connections, runs.values()):
            connection.sendall(run.encode() + b"\\n")
        hold.until_reached(24)
        hold.release()
        replies = []
        for connection in connections:
            with connection, connection.makefile() as reply:
                replies.append(reply.read())
        assert replies == [*runs]
        forking.shutdown()
""",
}


@pytest.mark.parametrize("children", CHILDREN_READ)
def test_each_child_reads_what_it_queried(children: str) -> None:
    """Forked processes that share a used client read 24 runs at once, and each gets its own."""
    assert (
        failure_of(
            f"""
runs = {{f"run {{i}}": server.add_run(name=f"run {{i}}") for i in range(24)}}
with server.serve() as url, rxflow.Client(api_url=url) as client:
    assert name_of(runs["run 0"]) == "run 0"
{CHILDREN_READ[children]}
"""
        )
        == ""
    )


def test_a_child_reads_while_a_thread_of_the_parent_waits_for_a_reply() -> None:
    """A read in another thread of the parent holds up no read of the child, and gets its reply."""
    assert (
        failure_of("""
run, other = server.add_run(name="run"), server.add_run(name="other")
with server.serve() as url, rxflow.Client(api_url=url) as client:
    name_of(run)
    found = []
    with server.hold(lambda request: run in request.url.path) as hold:
        thread = threading.Thread(target=lambda: found.append(name_of(run)))
        thread.start()
        hold.until_reached()
        assert is_good(fork(lambda: name_of(other) == "other" and (client.close() or True)))
    thread.join()
    assert found == ["run"]
""")
        == ""
    )


def test_an_async_read_after_a_fork_has_a_connection_of_its_own() -> None:
    """A child reads on an event loop of its own while the parent's loop keeps its connection."""
    assert (
        failure_of("""
run, other = server.add_run(name="run"), server.add_run(name="other")

async def aname(run_id):
    return (await rxflow.FlowRunView.afrom_flow_run_id(run_id, client=client)).name

def check():
    gc.collect()
    return asyncio.run(aname(other)) == "other"

async def main():
    assert await aname(run) == "run"
    child = fork(lambda: check())
    assert await asyncio.to_thread(is_good, child)
    assert await aname(run) == "run"

with server.serve() as url:
    client = rxflow.Client(api_url=url)
    asyncio.run(main())
""")
        == ""
    )


def test_a_fork_waits_for_a_tls_context_in_another_thread() -> None:
    """A process is not forked while a thread makes a TLS context, when OpenSSL holds locks."""
    assert (
        failure_of("""
import httpx
run = server.add_run(name="run")
making, forking, made = threading.Event(), threading.Event(), threading.Event()

class UntilForked(httpx.HTTPTransport):
    def __init__(self, **options):
        making.set()
        forking.wait()
        super().__init__(**options)
        made.set()

httpx.HTTPTransport = UntilForked
os.register_at_fork(before=forking.set)  # the last one registered is called first
with server.serve() as url, rxflow.Client(api_url=url) as client:
    reader = threading.Thread(target=name_of, args=(run,))
    reader.start()
    making.wait()
    assert is_good(fork(lambda: made.is_set() and name_of(run) == "run"))
    reader.join()
""")
        == ""
    )


def test_a_fork_waits_for_an_import_in_another_thread() -> None:
    """A child reads although the process was forked while a thread imported what reading needs."""
    assert (
        failure_of("""
run = server.add_run(name="run")
importing, forking = threading.Event(), threading.Event()

class UntilForked:
    def find_spec(self, name, path=None, target=None):
        if name == "rxflow._net.connector":
            importing.set()
            forking.wait()

sys.meta_path.insert(0, UntilForked())
os.register_at_fork(before=forking.set)  # the last one registered is called first
with server.serve() as url, rxflow.Client(api_url=url) as client:
    reader = threading.Thread(target=name_of, args=(run,))
    reader.start()
    importing.wait()
    child = fork(lambda: name_of(run) == "run")
    assert is_good(child)
    reader.join()
""")
        == ""
    )


LOCKS = {
    "of the client": "client._lock",
    "of its blocking reads": "client._send_lock",
    "of its backend": "client._connector.shared_backend._lock",
    "of its transport": "client._channel._transport._lock",
    "of the poll scheduler": "default_scheduler._changed",
    "of the worker threads": "worker_threads._changed",
    "of the fetch loop": "fetch_loop._lock",
}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_that_was_held_during_a_fork_is_free_in_the_child(lock: str) -> None:
    """A child reads, watches and closes, whichever lock a thread of the parent held."""
    assert (
        failure_of(
            f"""
run = server.add_run(name="run", state="RUNNING")
server.set_state(run, "COMPLETED")
held, done = threading.Event(), threading.Event()

def hold():
    with {LOCKS[lock]}:
        held.set()
        done.wait()

def check():
    over = threading.Event()
    rxflow.watch_flow_run(run, drain=0, client=client).subscribe(on_completed=over.set)
    events = list(rxflow.watch_flow_run(run, drain=0, client=client))
    good = name_of(run) == "run" and names(events)[-1] == "Closed" and over.wait(20)
    client.close()
    return good

with server.serve() as url, rxflow.Client(api_url=url) as client:
    name_of(run)
    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = fork(check)
    assert is_good(child)
    done.set()
    thread.join()
    assert name_of(run) == "run"
"""
        )
        == ""
    )


def test_a_fake_server_can_be_used_in_the_child() -> None:
    """A child has a copy of a fake server, whichever of its locks a thread of the parent held."""
    assert (
        failure_of("""
run = server.add_run(name="run", state="RUNNING")
client = server.client()
gate = server.hold()
held, done = threading.Event(), threading.Event()

def hold():
    with server._lock, gate._changed:
        held.set()
        done.wait()

def check():
    gate.release()
    server.set_state(run, "COMPLETED")
    return name_of(run) == "run" and list(rxflow.watch_flow_run(run, drain=0, client=client))

thread = threading.Thread(target=hold)
thread.start()
held.wait()
child = fork(check)
assert is_good(child)
done.set()
thread.join()
""")
        == ""
    )


# -- watches --------------------------------------------------------------------------------------

LOOPS = {
    "watch": (4, "stream"),
    "views": (1, "stream.views()"),
    "pages": (1, "stream.pages()"),
    "selected": (4, "stream.level_at_least(0)"),
    "operators": (4, "stream.pipe(operators.bounded(9), operators.in_order(0))"),
    "plain observable": (4, "rxflow.iterate(stream.logs.pipe(ops.buffer_with_count(1)))"),
}


@pytest.mark.parametrize("loop", LOOPS)
def test_a_loop_raises_in_the_child_and_continues_in_the_parent(loop: str) -> None:
    """The next item of an inherited loop is an error, also in the middle of a page."""
    count, expression = LOOPS[loop]
    assert (
        failure_of(
            f"""
run = server.add_run(state="RUNNING")
for line in range(5):
    server.log(run, str(line))
with server.serve() as url:
    client = rxflow.Client(api_url=url)
    stream = rxflow.watch_flow_run(run, drain=0, client=client)
    items = iter({expression})
    seen = [next(items) for _ in range({count})]
    children = [
        fork(lambda: inherits(lambda: next(items)) and names(stream.pipe(ops.take(3)))),
        fork(lambda: items.close() or names(stream.pipe(ops.take(3)))),
    ]
    assert [is_good(child) for child in children] == [True, True]
    server.set_state(run, "COMPLETED")
    seen += items
    later = list({expression})
    assert names(seen)[-1] == names(later)[-1]
    assert len(seen) >= len(later)
    assert len({{str(item) for item in seen}}) == len(seen) or {loop!r} == "views"
"""
        )
        == ""
    )


def test_an_async_loop_raises_in_the_child_and_continues_in_the_parent() -> None:
    """The next item of an inherited async loop is an error; the parent's loop ends by itself."""
    assert (
        failure_of("""
run = server.add_run(state="RUNNING")

async def main():
    seen = []
    async for event in rxflow.watch_flow_run(run, drain=0, client=client):
        seen.append(event)
        if len(seen) == 2:
            pid = os.fork()
            if pid == 0:
                signal.alarm(30)
                forked[0] = True
                continue
            assert await asyncio.to_thread(is_good, pid)
            server.set_state(run, "COMPLETED")
    assert not forked[0]
    return seen

def drive(main):
    '''Run a coroutine; in the child an error must leave it, not the end of the watch.'''
    loop = asyncio.new_event_loop()
    async def guarded():
        try:
            return await main
        except rxflow.WatchInherited as error:
            os._exit(0 if forked[0] and "in the child" in str(error) else 1)
    return loop.run_until_complete(guarded())

forked = [False]
with server.serve() as url:
    client = rxflow.Client(api_url=url)
    assert is_whole(drive(main()))
""")
        == ""
    )


@pytest.mark.parametrize("pipeline", ["stream", "stream.pipe(operators.bounded(9))"])
def test_an_observer_that_forks_gets_the_error_in_the_child(pipeline: str) -> None:
    """A subscription that is continued in the child, by its observer, ends there with an error."""
    assert (
        failure_of(
            f"""
run = server.add_run(state="RUNNING")
seen, over, children = [], threading.Event(), []

def on_next(event):
    seen.append(event)
    if len(seen) == 2:
        children.append(os.fork())
        if children[0] == 0:
            signal.alarm(30)

def on_error(error):
    good = children == [0] and len(seen) == 2 and inherits(lambda: throw(error))
    os._exit(0 if good else 1)

def throw(error):
    raise error

with server.serve() as url:
    stream = rxflow.watch_flow_run(run, drain=0, client=rxflow.Client(api_url=url))
    {pipeline}.subscribe(on_next, on_error, over.set)
    while not children:
        threading.Event().wait(0.01)
    assert is_good(children[0])
    server.set_state(run, "COMPLETED")
    assert over.wait(30)
    assert is_whole(seen)
"""
        )
        == ""
    )


def test_a_subscription_is_silent_in_the_child_and_continues_in_the_parent() -> None:
    """A child sends no request for a subscription of the parent's, and can dispose of it."""
    assert (
        failure_of("""
run = server.add_run(state="RUNNING")
seen, over, first = [], threading.Event(), threading.Event()

def check():
    subscription.dispose()
    count = len(seen)
    events = rxflow.watch_flow_run(run, client=client).pipe(ops.take(2), ops.to_list()).run()
    return len(events) == 2 and len(seen) == count and default_scheduler.join(1)

with server.serve() as url:
    client = rxflow.Client(api_url=url)
    stream = rxflow.watch_flow_run(run, drain=0, client=client)
    subscription = stream.subscribe(lambda e: (seen.append(e), first.set()), on_completed=over.set)
    assert first.wait(30)
    assert is_good(fork(check))
    server.set_state(run, "COMPLETED")
    assert over.wait(30)
    assert is_whole(seen)
""")
        == ""
    )


def test_nothing_is_kept_for_a_fork_that_never_comes() -> None:
    """Clients, channels and watches that are no longer used are no longer registered."""
    assert (
        failure_of("""
from rxflow._forks import _registered
run = server.add_run(state="COMPLETED")

def use():
    client = server.client()
    for _ in range(20):
        list(rxflow.watch_flow_run(run, drain=0, client=client).pipe(operators.bounded(9)))

use()
gc.collect()
before = len(_registered)
use()
gc.collect()
assert len(_registered) == before, [*_registered]
""")
        == ""
    )


SHARED = """
run, other = server.add_run(state="RUNNING"), server.add_run(state="RUNNING")
for line in range(5):
    server.log(run, str(line))
    server.log(other, str(line))
"""


def test_a_shared_watch_stays_with_the_parent() -> None:
    """A loop that is continued in the child raises; a new subscriber there starts a session."""
    assert (
        failure_of(
            SHARED
            + """
with server.serve() as url:
    client = rxflow.Client(api_url=url)
    stream = rxflow.watch_flow_run(run, drain=0, client=client).shared()
    items, later = iter(stream), iter(stream.logs)
    seen, lines = [next(items), next(items)], [next(later)]
    children = [
        fork(lambda: inherits(lambda: next(items)) and inherits(lambda: next(later))),
        fork(lambda: len(list(stream.pipe(ops.take(7)))) == 7),
        fork(lambda: names(stream.pipe(ops.take(2))) == names(seen)),
    ]
    assert [is_good(child) for child in children] == [True] * 3
    server.set_state(run, "COMPLETED")
    seen += items
    lines += later
    assert is_whole(seen)
    assert lines == [event for event in seen if isinstance(event, rxflow.FlowRunLog)]
    assert list(stream) == seen
"""
        )
        == ""
    )


def test_the_runs_of_a_watch_stay_with_the_parent() -> None:
    """In the child their streams raise, those that are read and those that were not yet."""
    assert (
        failure_of(
            SHARED
            + """
with server.serve() as url:
    client = rxflow.Client(api_url=url)
    streams = iter(rxflow.watch_flow_runs([run, other], drain=0, client=client).by_run())
    first, second = next(streams), next(streams)
    items = iter(first)
    seen = [next(items), next(items)]
    children = [
        fork(lambda: all(inherits(lambda: next(loop)) for loop in (streams, items, iter(second)))),
    ]
    assert [is_good(child) for child in children] == [True]
    server.set_state(run, "COMPLETED")
    server.set_state(other, "COMPLETED")
    seen += items
    assert is_whole(seen)
    assert is_whole(list(second))
    assert list(streams) == []
"""
        )
        == ""
    )


def test_a_child_leaves_the_pages_that_the_parent_keeps() -> None:
    """What is dropped in a child stays in the parent's file, whichever lock a thread held."""
    assert (
        failure_of(
            SHARED
            + """
from rxflow._runtime.page_log import PageLog
from rxflow._runtime.page_spool import PageSpool

PageSpool.__init__.__defaults__, PageLog.__init__.__defaults__ = (0,), (None, 1)
server.set_state(run, "COMPLETED")
held, done = threading.Event(), threading.Event()

def hold(lock):
    with lock:
        held.set()
        done.wait()

def drop():
    global stream
    del stream
    gc.collect()
    return True

with server.serve() as url:
    stream = rxflow.watch_flow_run(run, drain=0, client=rxflow.Client(api_url=url)).shared()
    seen = list(stream)
    spool = stream._emitted._session.feed.log._spool
    assert spool._file is not None
    thread = threading.Thread(target=hold, args=(spool._lock,), daemon=True)
    thread.start()
    held.wait()
    del spool
    assert is_good(fork(drop))
    done.set()
    thread.join()
    assert list(stream) == seen
"""
        )
        == ""
    )
