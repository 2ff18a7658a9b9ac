"""Limits: on every face they break off a request under way, and their error says what is known.

All time-outs of the requests are an hour, so that a test ends in time only if the limit ends it.
"""

import asyncio
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import reactivex as rx
from certificates import Authority
from reactivex import Observable, Subject, abc
from reactivex import operators as ops
from reactivex.scheduler import NewThreadScheduler
from reactivex.scheduler.eventloop import AsyncIOScheduler
from stream_faces import collect_async, wait_on_loop
from virtual_world import TEST_TIMEOUT, Recording
from wire_server import WireServer, drip_response, http_response, stall_response

import rxflow
from rxflow import Client, Stream, WatchTimedOut, wait_for_flow_run, watch_flow_run
from rxflow._config.settings import Settings
from rxflow.testing import FakePrefect3, Hold

pytestmark = pytest.mark.timeout(60)

HOUR = 3600.0
LIMIT = 0.05  # seconds; before the first reply a watch has a second in any case
RUN_ID = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"


def unhurried_client(url: str, **options: Any) -> Client:
    """Return a client whose requests may take an hour."""
    return Client(
        settings=Settings(
            api_url=url, connect_timeout=HOUR, read_timeout=HOUR, deadline=HOUR, **options
        )
    )


def in_process(server: FakePrefect3) -> Client:
    """Return an unhurried client of a server that is not reached over the network."""
    settings = Settings(
        api_url="http://fake.invalid/api", connect_timeout=HOUR, read_timeout=HOUR, deadline=HOUR
    )
    return Client(settings=settings, transport=server.transport())


# -- faces --------------------------------------------------------------------------------------


def subscribed(observable: Observable[Any], scheduler: abc.SchedulerBase | None) -> None:
    """Subscribe, wait for the end in this thread and raise its error."""
    recording: Recording[Any] = Recording()
    recording.subscribe_to(observable, scheduler)
    recording.wait()
    if recording.error is not None:
        raise recording.error


async def subscribed_on_loop(observable: Observable[Any]) -> None:
    """Subscribe on the running loop, wait for the end and raise its error."""
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    observable.subscribe(
        on_error=over.set_exception,
        on_completed=lambda: over.set_result(None),
        scheduler=AsyncIOScheduler(asyncio.get_running_loop()),
    )
    await asyncio.wait_for(over, TEST_TIMEOUT)


async def awaited(observable: Observable[Any]) -> None:
    """Wait for the last item on the running loop."""
    await Stream.of(observable.pipe(ops.default_if_empty(None)))


FACES: dict[str, Callable[[Observable[Any]], object]] = {
    "for": lambda observable: list(rxflow.iterate(observable)),
    "run": lambda observable: Stream.of(observable.pipe(ops.default_if_empty(None))).run(),
    "async for": collect_async,
    "await": lambda observable: asyncio.run(awaited(observable)),
    "subscribe": lambda observable: subscribed(observable, None),
    "asyncio": lambda observable: asyncio.run(subscribed_on_loop(observable)),
    "other scheduler": lambda observable: subscribed(observable, NewThreadScheduler()),
}

each_face = pytest.mark.parametrize("face", FACES)


@pytest.fixture(params=["in process", "over HTTP"])
def held(request: pytest.FixtureRequest) -> Iterator[tuple[FakePrefect3, Client, Hold]]:
    """Start a server that replies to nothing, with a client and the gate of its requests."""
    server = FakePrefect3()
    with ExitStack() as stack:
        if request.param == "in process":
            client = in_process(server)
        else:
            client = unhurried_client(stack.enter_context(server.serve()))
        yield server, client, stack.enter_context(server.hold())


Held = tuple[FakePrefect3, Client, Hold]


# -- a limit breaks off a request ---------------------------------------------------------------


@each_face
def test_max_duration_breaks_off_a_request(face: str, held: Held) -> None:
    """`max_duration` ends a watch whose server replies to nothing, and aborts its request."""
    server, client, hold = held
    stream = watch_flow_run(server.add_run(), max_duration=LIMIT, client=client)
    with pytest.raises(WatchTimedOut, match="pass a longer max_duration"):
        FACES[face](stream)
    hold.until_left()
    assert (hold.came, hold.left) == (1, 1)


@each_face
def test_max_duration_breaks_off_a_later_request(face: str, held: Held) -> None:
    """`max_duration` ends a watch whose server stops replying, and the error has the state."""
    server, client, hold = held
    hold.release()
    run_id = server.add_run(state="RUNNING")

    def broken_off(limit: float) -> str:
        """Return the error, or nothing if no later request was under way."""
        emitted: list[object] = []
        stream = watch_flow_run(run_id, max_duration=limit, client=client)
        with server.hold(lambda _: bool(emitted)) as silence:
            with pytest.raises(WatchTimedOut) as caught:
                FACES[face](stream.pipe(ops.do_action(emitted.append)))
            if not silence.came:
                return ""
            silence.until_left()
        return str(caught.value)

    # The next poll begins after half a second; a busy machine needs a longer limit to come to it.
    errors = filter(None, map(broken_off, (1.0, 4.0, 16.0, TEST_TIMEOUT)))
    assert "is still in state Running" in next(errors)


@pytest.mark.parametrize("wait", [wait_for_flow_run, wait_on_loop], ids=["wait", "await"])
def test_timeout_breaks_off_a_request(wait: Callable[..., object], held: Held) -> None:
    """`timeout` ends a wait whose server replies to nothing, and its error names `timeout`."""
    server, client, hold = held
    with pytest.raises(WatchTimedOut, match=r"state was never read.*pass a longer timeout"):
        wait(server.add_run(), timeout=LIMIT, client=client)
    hold.until_left()


@pytest.mark.parametrize("wait", [wait_for_flow_run, wait_on_loop], ids=["wait", "await"])
def test_timeout_breaks_off_the_confirmation(wait: Callable[..., object], held: Held) -> None:
    """`timeout` ends a wait for a run that is over if no second read can confirm it."""
    server, client, hold = held
    hold.release()
    run_id = server.add_run(state="COMPLETED")
    rows_read: list[str] = []

    def is_second_read(request: Any) -> bool:
        if request.url.path.endswith(run_id):
            rows_read.append(run_id)
        return len(rows_read) > 1

    with server.hold(is_second_read) as confirmation:
        with pytest.raises(WatchTimedOut, match="could not be read to its end"):
            wait(run_id, timeout=LIMIT, client=client)
        confirmation.until_left()


@each_face
def test_take_until_breaks_off_a_request(face: str, held: Held) -> None:
    """A timer of the pipeline ends a watch whose server replies to nothing."""
    server, client, hold = held
    stream = watch_flow_run(server.add_run(), client=client)
    reached = rx.interval(LIMIT).pipe(ops.filter(lambda _: hold.came > 0))
    FACES[face](stream.pipe(ops.take_until(reached)))
    hold.until_left()
    assert (hold.came, hold.left) == (1, 1)


@pytest.mark.parametrize("face", ["for", "run"])
def test_a_dispose_from_another_thread_breaks_off_a_request(face: str, held: Held) -> None:
    """What another thread emits may end a blocking loop whose server replies to nothing."""
    server, client, hold = held
    stop: Subject[None] = Subject()

    def stop_when_reached() -> None:
        hold.until_reached()
        stop.on_next(None)

    thread = threading.Thread(target=stop_when_reached)
    thread.start()
    FACES[face](watch_flow_run(server.add_run(), client=client).pipe(ops.take_until(stop)))
    thread.join(TEST_TIMEOUT)
    hold.until_left()
    assert (hold.came, hold.left) == (1, 1)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("face", ["for", "run", "async for", "await"])
def test_ctrl_c_breaks_off_a_request(face: str, held: Held) -> None:
    """Ctrl-C ends a loop whose server replies to nothing, and aborts its request."""
    server, client, hold = held
    main = threading.get_ident()

    def interrupt() -> None:
        hold.until_reached()
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        FACES[face](watch_flow_run(server.add_run(), client=client))
    thread.join(TEST_TIMEOUT)
    hold.until_left()


# -- what keeps a request under way -------------------------------------------------------------


@pytest.mark.parametrize(
    ("face", "tls"),
    [(face, False) for face in FACES] + [("for", True)],
    ids=[*FACES, "for, TLS"],
)
def test_a_dripping_response_is_broken_off(face: str, tls: bool, tmp_path: Path) -> None:
    """A limit ends a watch whose response comes byte by byte, without an end."""
    context = Authority(tmp_path).server_context() if tls else None
    drip = drip_response(http_response(b"[", content_length="1000000"), b" ")
    with WireServer(drip, tls=context) as server:
        client = unhurried_client(server.url, verify=False)
        with pytest.raises(WatchTimedOut, match="no complete response for"):
            FACES[face](watch_flow_run(RUN_ID, max_duration=LIMIT, client=client))


@each_face
def test_a_stalled_handshake_is_broken_off(face: str) -> None:
    """A limit ends a watch whose TLS handshake is not replied to."""
    with WireServer(lambda connection: connection.stall()) as server:
        client = unhurried_client(server.url.replace("http:", "https:"), verify=False)
        with pytest.raises(WatchTimedOut):
            FACES[face](watch_flow_run(RUN_ID, max_duration=LIMIT, client=client))


@contextmanager
def full_listener() -> Iterator[str]:
    """Listen on a port where no further connection is accepted or refused; give its address."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@each_face
def test_a_stalled_connect_is_broken_off(face: str) -> None:
    """A limit ends a watch that cannot connect."""
    with full_listener() as address:
        client = unhurried_client(f"http://{address}/api")
        with pytest.raises(WatchTimedOut):
            FACES[face](watch_flow_run(RUN_ID, max_duration=LIMIT, client=client))


# -- what the error says ------------------------------------------------------------------------


@each_face
def test_the_error_quotes_the_last_failure(face: str) -> None:
    """A watch that timed out since no process listens says so."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    client = unhurried_client(f"http://{address}/api")
    with pytest.raises(WatchTimedOut, match=f"No process listens at http://{address}"):
        FACES[face](watch_flow_run(RUN_ID, max_duration=LIMIT, client=client))


def test_a_limit_leaves_other_watches_of_a_loop_alone() -> None:
    """In one blocking loop a limit of one watch does not end what is merged with it."""
    with WireServer(stall_response) as silent:
        server = FakePrefect3()
        run_id = server.add_run(state="COMPLETED")
        limited = watch_flow_run(RUN_ID, max_duration=LIMIT, client=unhurried_client(silent.url))
        healthy = watch_flow_run(run_id, drain=0, client=server.client())
        merged = rx.merge(limited.pipe(ops.catch(rx.empty())), healthy)
        kinds = [type(event).__name__ for event in rxflow.iterate(merged)]
    assert kinds[-1] == "Closed"
