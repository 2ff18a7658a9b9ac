"""What `rxflow.testing.Faults` has go wrong, in process and over HTTP, and that no more does."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from random import Random
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rxflow
from rxflow.errors import Unreachable
from rxflow.testing import FakePrefect3, Faults, VirtualTime

FAKE = "http://fake.invalid/api"
CERTAIN = 1.0

Ask = Callable[[str], httpx.Response]
Way = Callable[[FakePrefect3], Any]


@contextmanager
def blocking(server: FakePrefect3) -> Iterator[Ask]:
    """Ask in process, in this thread."""
    with httpx.Client(base_url=FAKE, transport=server.transport()) as http:
        yield http.get


@contextmanager
def tasks(server: FakePrefect3) -> Iterator[Ask]:
    """Ask in process, in a task."""

    async def ask(path: str) -> httpx.Response:
        async with httpx.AsyncClient(base_url=FAKE, transport=server.transport()) as http:
            return await http.get(path)

    yield lambda path: asyncio.run(ask(path))


@contextmanager
def served(server: FakePrefect3) -> Iterator[Ask]:
    """Ask over HTTP."""
    with server.serve() as url, httpx.Client(base_url=url, trust_env=False) as http:
        yield http.get


WAYS = [blocking, tasks, served]
IN_PROCESS = [blocking, tasks]

VERSION = "/admin/version"


def logs_of(server: FakePrefect3, run_id: str, **body: Any) -> httpx.Response:
    """Ask for the log rows of a run."""
    asked = {"logs": {"flow_run_id": {"any_": [run_id]}}, **body}
    return server.handle(httpx.Request("POST", f"{FAKE}/logs/filter", json=asked))


def messages(answer: httpx.Response) -> list[str]:
    """The lines of an answer."""
    return [row["message"] for row in answer.json()]


# -- one accident at a time ---------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_without_faults_nothing_goes_wrong(way: Way) -> None:
    """The plain server answers."""
    with way(FakePrefect3()) as ask:
        assert ask(VERSION).json() == "3.8.8"


@pytest.mark.parametrize("way", IN_PROCESS)
def test_refused_is_told_as_the_system_tells_it(way: Way) -> None:
    """Nobody listens: the request does not come to the server."""
    server = FakePrefect3(faults=Faults(refused=CERTAIN))
    with way(server) as ask, pytest.raises(httpx.ConnectError) as caught:
        ask(VERSION)
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)
    assert server.requests == []


@pytest.mark.parametrize("way", WAYS)
def test_an_error_comes_before_the_read(way: Way) -> None:
    """Each of the statuses is answered with, and the question is not looked at."""
    server = FakePrefect3(faults=Faults(errors=CERTAIN, statuses=(500, 503, 429), retry_after=7))
    with way(server) as ask:
        answers = [ask("/no/such/path") for _ in range(30)]
    assert {answer.status_code for answer in answers} == {500, 503, 429}
    asked_to_wait = {answer.status_code for answer in answers if "retry-after" in answer.headers}
    assert asked_to_wait == {503, 429}
    assert {answer.headers.get("retry-after") for answer in answers} == {None, "7"}


@pytest.mark.parametrize(
    ("way", "error"),
    [
        (blocking, httpx.ReadError),
        (tasks, httpx.ReadError),
        (served, httpx.RemoteProtocolError),
    ],
)
def test_a_lost_answer_was_read(way: Way, error: type[Exception]) -> None:
    """The server has seen the request, and the client nothing of the answer."""
    server = FakePrefect3(faults=Faults(lost=CERTAIN))
    with way(server) as ask, pytest.raises(error):
        ask(VERSION)
    assert server.requests == [("GET", VERSION)]


@pytest.mark.parametrize("way", WAYS)
def test_an_answer_is_cut_in_its_middle(way: Way) -> None:
    """As long as it says it is, it is not."""
    server = FakePrefect3(faults=Faults(cut=CERTAIN))
    with (
        way(server) as ask,
        pytest.raises(httpx.RemoteProtocolError, match="received 3 bytes, expected 7"),
    ):
        ask(VERSION)


@pytest.mark.parametrize("way", WAYS)
def test_a_garbled_answer_is_html(way: Way) -> None:
    """It says 200, and is a proxy's."""
    with way(FakePrefect3(faults=Faults(garbled=CERTAIN))) as ask:
        answer = ask(VERSION)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")


def test_faults_can_come_and_go() -> None:
    """They may be changed at any time, at a scheduled one too."""
    time = VirtualTime()
    server = FakePrefect3(clock=time)
    request = httpx.Request("GET", FAKE + VERSION)

    def trouble() -> None:
        server.faults = Faults(errors=CERTAIN, statuses=(502,))

    def heal() -> None:
        server.faults = Faults()

    server.at(1, trouble)
    server.at(2, heal)
    statuses = []
    for _ in range(3):
        statuses.append(server.handle(request).status_code)
        time.wait(1)
    assert statuses == [200, 502, 200]


def test_an_answer_in_the_servers_place_is_whole() -> None:
    """What an interceptor answers goes out, whatever else goes wrong."""
    server = FakePrefect3(faults=Faults(errors=CERTAIN))
    server.intercept = lambda _: httpx.Response(418)
    assert server.handle(httpx.Request("GET", FAKE + VERSION)).status_code == 418


@pytest.mark.parametrize("name", ["refused", "errors", "lost", "cut", "garbled", "stale", "slow"])
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_a_probability_is_one(name: str, value: float) -> None:
    """It lies between 0 and 1."""
    options: dict[str, Any] = {name: value}
    with pytest.raises(ValueError, match=f"{name} is a probability"):
        Faults(**options)


@pytest.mark.parametrize("name", ["retry_after", "staleness", "delay", "latency"])
@pytest.mark.parametrize("value", [-0.1, float("nan")])
def test_a_duration_is_not_negative(name: str, value: float) -> None:
    """It is a number of seconds."""
    options: dict[str, Any] = {name: value}
    with pytest.raises(ValueError, match=f"{name} is in seconds"):
        Faults(**options)


def test_errors_need_a_status() -> None:
    """There must be something to answer with."""
    with pytest.raises(ValueError, match="statuses is empty"):
        Faults(errors=0.1, statuses=())


# -- time ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", IN_PROCESS)
def test_a_request_takes_virtual_time(way: Way) -> None:
    """Latency is half of it before the server reads, half after: what lands between is not read."""
    time = VirtualTime()
    server = FakePrefect3(clock=time, faults=Faults(latency=2.0))
    run_id = server.add_run(state=None)
    read: list[float] = []
    server.intercept = lambda _: read.append(time.seconds)
    server.script(run_id, [(0.9, "before"), (1.1, "after")])
    with way(server) as ask:
        ask(VERSION)
        assert (read, time.seconds) == ([1.0], 2.0)
    server.intercept = None
    server.at(0.9, lambda: server.log(run_id, "while it is asked"))
    server.at(1.1, lambda: server.log(run_id, "while it is answered"))
    assert messages(logs_of(server, run_id)) == ["before", "after", "while it is asked"]


@pytest.mark.parametrize("way", IN_PROCESS)
def test_a_slow_answer_takes_longer(way: Way) -> None:
    """By its delay, if the client is patient enough."""
    time = VirtualTime()
    server = FakePrefect3(clock=time, faults=Faults(slow=CERTAIN, delay=4.0, latency=0.5))
    with way(server) as ask:
        assert ask(VERSION).status_code == 200
    assert time.seconds == 4.5


@pytest.mark.parametrize("way", IN_PROCESS)
def test_a_client_gives_up_on_an_answer_that_is_too_slow(way: Way) -> None:
    """When its read timeout has passed, httpx's own five seconds here, it is told so."""
    time = VirtualTime()
    server = FakePrefect3(clock=time, faults=Faults(slow=CERTAIN, delay=60.0))
    with way(server) as ask, pytest.raises(httpx.ReadTimeout):
        ask(VERSION)
    assert time.seconds == 5.0


@pytest.mark.parametrize("way", WAYS)
def test_real_time_is_waited_for(way: Way) -> None:
    """Where time is real, a slow answer is one that does not come before its time."""
    server = FakePrefect3(faults=Faults(slow=CERTAIN, delay=0.05))
    before = server.now()
    with way(server) as ask:
        ask(VERSION)
    assert server.now() - before >= timedelta(seconds=0.05)


def test_a_client_over_http_gives_up_too() -> None:
    """Its own time-out ends the wait, and the server's with it."""
    server = FakePrefect3(faults=Faults(slow=CERTAIN, delay=3600.0))
    with server.serve() as url, pytest.raises(httpx.ReadTimeout):
        httpx.get(url + VERSION, timeout=httpx.Timeout(10, read=0.01), trust_env=False)


def test_a_clock_may_bring_its_own_way_of_waiting() -> None:
    """With `wait`, time passes as it says."""
    waited: list[float] = []
    server = FakePrefect3(wait=waited.append, faults=Faults(latency=2.0, slow=CERTAIN, delay=9.0))
    server.handle(httpx.Request("GET", FAKE + VERSION))
    assert waited == [1.0, 10.0]


# -- what is read -------------------------------------------------------------------------------


@given(age=st.floats(0, 30), seed=st.integers(0, 99))
def test_a_replica_lags_by_no_more_than_it_may(age: float, seed: int) -> None:
    """What it lacks landed last, and not longer ago than its staleness."""
    time = VirtualTime()
    server = FakePrefect3(clock=time, random=Random(seed))
    run_id = server.add_run()
    server.script(run_id, [(second, f"{second}") for second in range(20)])
    time.wait(19.5)
    server.faults = Faults(stale=CERTAIN, staleness=age)
    told = messages(logs_of(server, run_id))
    assert told == [f"{second}" for second in range(len(told))]
    assert 19.5 - len(told) <= age
    server.faults = Faults()
    assert len(messages(logs_of(server, run_id))) == 20


def test_a_replica_shows_late_commits_late() -> None:
    """A row counts from when it landed, whatever its own times say."""
    time = VirtualTime()
    server = FakePrefect3(clock=time)
    run_id = server.add_run()
    time.wait(100)
    server.log(run_id, timestamp=time.beginning, created=time.beginning)
    server.faults = Faults(stale=CERTAIN, staleness=1e-3)
    assert messages(logs_of(server, run_id)) == []


def test_ties_come_in_any_order() -> None:
    """Rows of one timestamp are shuffled for each answer, the others stay where they are."""
    server = FakePrefect3(faults=Faults(ties=True))
    run_id = server.add_run()
    at = server.now()
    for number in range(5):
        server.log(run_id, f"tie {number}", timestamp=at)
    server.log(run_id, "first", timestamp=at - timedelta(microseconds=1))
    server.log(run_id, "last", timestamp=at + timedelta(microseconds=1))
    orders = {tuple(messages(logs_of(server, run_id))) for _ in range(60)}
    assert len(orders) > 30
    assert {(order[0], order[-1]) for order in orders} == {("first", "last")}
    assert {frozenset(order[1:-1]) for order in orders} == {
        frozenset(f"tie {number}" for number in range(5))
    }


# -- laws ---------------------------------------------------------------------------------------

probabilities = st.sampled_from([0.0, 0.3, 1.0])
some_faults = st.builds(
    Faults,
    refused=probabilities,
    errors=probabilities,
    lost=probabilities,
    cut=probabilities,
    garbled=probabilities,
    stale=probabilities,
    slow=probabilities,
    latency=st.sampled_from([0.0, 0.01]),
    ties=st.booleans(),
)
durations = st.floats(0, 60)
no_faults = st.builds(Faults, retry_after=durations, staleness=durations, delay=durations)


def story(faults: Faults, *, seed: int) -> tuple[list[object], bytes]:
    """A script on a server, questions that meanwhile go wrong or not, and the tables at its end."""
    time = VirtualTime()
    server = FakePrefect3(clock=time, random=Random(seed), page_limit=3, faults=faults)
    run_id = server.add_run()
    server.script(
        run_id,
        [
            (1.0, rxflow.StateType.RUNNING),
            *((1.5 + step / 2, f"line {step}") for step in range(8)),
            (2.0, lambda: server.add_task_run(run_id, state="RUNNING")),
            (6.0, rxflow.StateType.COMPLETED),
        ],
    )
    told: list[object] = []
    for second in range(8):
        states = f"{FAKE}/flow_run_states/?flow_run_id={run_id}"
        told += [
            answered(server, httpx.Request("GET", f"{FAKE}/flow_runs/{run_id}")),
            answered(server, httpx.Request("GET", states)),
            answered(server, httpx.Request("POST", f"{FAKE}/logs/filter", json={"offset": second})),
        ]
        time.wait(max(0.0, second + 1 - time.seconds))
    time.wait(600)
    server.faults = Faults()
    server.catch_up()
    tables = [server.runs, server.states, server.flows, server.logs, server.task_runs]
    return told, msgspec.json.encode(tables)


def answered(server: FakePrefect3, request: httpx.Request) -> object:
    """What comes of a request."""
    try:
        answer = server.handle(request)
    except httpx.TransportError as error:
        return type(error)
    return answer.status_code, answer.content


@given(faults=no_faults, seed=st.integers(0, 5))
def test_faults_that_never_fall_are_the_plain_server(faults: Faults, seed: int) -> None:
    """Where each probability is zero, each answer is that of a server without faults."""
    assert story(faults, seed=seed) == story(Faults(), seed=seed)


@given(faults=some_faults, seed=st.integers(0, 5))
def test_a_seed_repeats_what_goes_wrong(faults: Faults, seed: int) -> None:
    """The same script with the same seed gets the same answers and accidents."""
    assert story(faults, seed=seed) == story(faults, seed=seed)


@given(faults=some_faults, seed=st.integers(0, 5))
def test_faults_do_not_touch_what_is_stored(faults: Faults, seed: int) -> None:
    """Ids and rows are those of a server without faults, whatever went wrong with the questions."""
    assert story(faults, seed=seed)[1] == story(Faults(), seed=seed)[1]


@pytest.mark.long
def test_a_watch_outlasts_faults_over_http() -> None:
    """Over real HTTP too, each line is told once, though two requests on end went wrong."""
    server = FakePrefect3()
    run_id = server.add_run(state="RUNNING")
    first = server.log(run_id)
    second, told = "", list[str]()

    def heal_later(_: httpx.Request) -> None:
        heal_at.pop()
        if not heal_at:
            server.faults, server.intercept = Faults(), None

    heal_at = [1, 2]
    with server.serve() as url, rxflow.Client(api_url=url) as client:
        for line in rxflow.watch_flow_run(run_id, drain=0, client=client).logs:
            told.append(line.id)
            if line.id == first:
                server.faults, server.intercept = Faults(errors=0.5, cut=CERTAIN), heal_later
                second = server.log(run_id)
                server.set_state(run_id, "COMPLETED")
    assert told == [first, second]
    assert heal_at == []


def test_a_first_question_that_is_refused_is_an_error() -> None:
    """Before a watch has begun, nobody's listening ends it."""
    time = VirtualTime()
    server = FakePrefect3(clock=time, faults=Faults(refused=CERTAIN))
    stream = rxflow.watch_flow_run(server.add_run(), client=server.client())
    with pytest.raises(Unreachable):
        time.collect(stream)
