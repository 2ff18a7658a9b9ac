"""`Faults`: each one by itself in process and over HTTP, and the laws that hold for all."""

from datetime import timedelta
from random import Random
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from server_connections import (
    API_URL,
    CONNECTIONS,
    IN_PROCESS,
    VERSION,
    Connect,
    blocking,
    in_task,
    over_http,
    read_lines,
)

import rxflow
from rxflow.errors import Unreachable
from rxflow.testing import FakePrefect3, Faults, VirtualTime

ALWAYS = 1.0


# -- validation ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["refused", "errors", "lost", "cut", "garbled", "stale", "slow"])
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_a_probability_lies_between_0_and_1(name: str, value: float) -> None:
    """Any other value raises a `ValueError` that names the field."""
    options: dict[str, Any] = {name: value}
    with pytest.raises(ValueError, match=f"^{name}=.* is no probability; pass one"):
        Faults(**options)


@pytest.mark.parametrize("name", ["retry_after", "staleness", "delay", "latency"])
@pytest.mark.parametrize("value", [-0.1, float("nan")])
def test_a_duration_is_not_negative(name: str, value: float) -> None:
    """Any other value raises a `ValueError` that names the field."""
    options: dict[str, Any] = {name: value}
    with pytest.raises(ValueError, match=f"^{name}=.* is not a duration; pass a"):
        Faults(**options)


def test_a_value_of_another_type_is_rejected() -> None:
    """A text raises a `TypeError` that names the field, and a timedelta is a number of seconds."""
    wrong: Any = "1s"
    with pytest.raises(TypeError, match=r"^delay='1s' is not a duration"):
        Faults(delay=wrong)
    with pytest.raises(TypeError, match=r"^lost is of the class str"):
        Faults(lost=wrong)
    duration: Any = timedelta(minutes=1)
    assert Faults(delay=duration).delay == 60


def test_errors_need_a_status() -> None:
    """A positive `errors` with no `statuses` raises a `ValueError`."""
    with pytest.raises(ValueError, match="statuses is empty"):
        Faults(errors=0.1, statuses=())


# -- one fault at a time ------------------------------------------------------------------------


@pytest.mark.parametrize("connect", CONNECTIONS)
def test_without_faults_requests_succeed(connect: Connect) -> None:
    """By default nothing goes wrong."""
    with connect(FakePrefect3()) as get:
        assert get(VERSION).json() == "3.8.8"


@pytest.mark.parametrize("connect", IN_PROCESS)
def test_a_refused_connection_has_the_cause_that_httpx_gives_it(connect: Connect) -> None:
    """The error is caused by the operating system's, and the server records no request."""
    server = FakePrefect3(faults=Faults(refused=ALWAYS))
    with connect(server) as get, pytest.raises(httpx.ConnectError) as caught:
        get(VERSION)
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)
    assert server.requests == []


@pytest.mark.parametrize("connect", CONNECTIONS)
def test_an_error_comes_before_the_read(connect: Connect) -> None:
    """Each of the statuses occurs, and the request is not read."""
    server = FakePrefect3(faults=Faults(errors=ALWAYS, statuses=(500, 503, 429), retry_after=7))
    with connect(server) as get:
        responses = [get("/no/such/path") for _ in range(30)]
    assert {response.status_code for response in responses} == {500, 503, 429}
    with_header = {each.status_code for each in responses if "retry-after" in each.headers}
    assert with_header == {503, 429}
    assert {each.headers.get("retry-after") for each in responses} == {None, "7"}


@pytest.mark.parametrize(
    ("connect", "error"),
    [
        (blocking, httpx.ReadError),
        (in_task, httpx.ReadError),
        (over_http, httpx.RemoteProtocolError),
    ],
)
def test_a_request_whose_response_is_lost_was_read(
    connect: Connect, error: type[Exception]
) -> None:
    """The server has recorded the request, and the client gets none of the response."""
    server = FakePrefect3(faults=Faults(lost=ALWAYS))
    with connect(server) as get, pytest.raises(error):
        get(VERSION)
    assert server.requests == [("GET", VERSION)]


@pytest.mark.parametrize("connect", CONNECTIONS)
def test_a_cut_response_ends_in_its_middle(connect: Connect) -> None:
    """Its body is shorter than its content length."""
    server = FakePrefect3(faults=Faults(cut=ALWAYS))
    with (
        connect(server) as get,
        pytest.raises(httpx.RemoteProtocolError, match="received 3 bytes, expected 7"),
    ):
        get(VERSION)


@pytest.mark.parametrize("connect", CONNECTIONS)
def test_a_garbled_response_is_html(connect: Connect) -> None:
    """It has status 200 and a proxy's page."""
    with connect(FakePrefect3(faults=Faults(garbled=ALWAYS))) as get:
        response = get(VERSION)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")


def test_faults_may_be_changed_at_any_time() -> None:
    """A scheduled action may start and end them."""
    time = VirtualTime()
    server = FakePrefect3(clock=time)
    request = httpx.Request("GET", API_URL + VERSION)

    def start() -> None:
        server.faults = Faults(errors=ALWAYS, statuses=(502,))

    def end() -> None:
        server.faults = Faults()

    server.at(1, start)
    server.at(2, end)
    statuses = []
    for _ in range(3):
        statuses.append(server.handle(request).status_code)
        time.wait(1)
    assert statuses == [200, 502, 200]


def test_an_interceptors_response_has_no_faults() -> None:
    """The response of an interceptor is sent in place of an error."""
    server = FakePrefect3(faults=Faults(errors=ALWAYS))
    server.intercept = lambda _: httpx.Response(418)
    assert server.handle(httpx.Request("GET", API_URL + VERSION)).status_code == 418


# -- stale and shuffled rows --------------------------------------------------------------------


@given(age=st.floats(0, 30), seed=st.integers(0, 99))
def test_a_replica_lags_by_at_most_the_staleness(age: float, seed: int) -> None:
    """The rows that it lacks landed last, and within the staleness."""
    time = VirtualTime()
    server = FakePrefect3(clock=time, random=Random(seed))
    run_id = server.add_run()
    server.script(run_id, [(second, f"{second}") for second in range(20)])
    time.wait(19.5)
    server.faults = Faults(stale=ALWAYS, staleness=age)
    lines = read_lines(server, run_id)
    assert lines == [f"{second}" for second in range(len(lines))]
    assert 19.5 - len(lines) <= age
    server.faults = Faults()
    assert len(read_lines(server, run_id)) == 20


def test_a_replica_gets_a_row_when_it_has_landed() -> None:
    """Its lag counts from when a row landed, not from the row's own times."""
    time = VirtualTime()
    server = FakePrefect3(clock=time)
    run_id = server.add_run()
    time.wait(100)
    server.log(run_id, timestamp=time.beginning, created=time.beginning)
    server.faults = Faults(stale=ALWAYS, staleness=1e-3)
    assert read_lines(server, run_id) == []


def test_ties_come_in_any_order() -> None:
    """Rows of one timestamp are shuffled for each response; the others keep their places."""
    server = FakePrefect3(faults=Faults(ties=True))
    run_id = server.add_run()
    at = server.now()
    for number in range(5):
        server.log(run_id, f"tie {number}", timestamp=at)
    server.log(run_id, "first", timestamp=at - timedelta(microseconds=1))
    server.log(run_id, "last", timestamp=at + timedelta(microseconds=1))
    orders = {tuple(read_lines(server, run_id)) for _ in range(60)}
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
zero_probabilities = st.builds(Faults, retry_after=durations, staleness=durations, delay=durations)


def run_scripted_server(faults: Faults, *, seed: int) -> tuple[list[object], bytes]:
    """Send requests while a script runs; return their outcomes, and the tables at the end."""
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
    outcomes: list[object] = []
    for second in range(8):
        states = f"{API_URL}/flow_run_states/?flow_run_id={run_id}"
        logs = httpx.Request("POST", f"{API_URL}/logs/filter", json={"offset": second})
        outcomes += [
            outcome(server, httpx.Request("GET", f"{API_URL}/flow_runs/{run_id}")),
            outcome(server, httpx.Request("GET", states)),
            outcome(server, logs),
        ]
        time.wait(max(0.0, second + 1 - time.seconds))
    time.wait(600)
    server.faults = Faults()
    server.catch_up()
    tables = [server.runs, server.states, server.flows, server.logs, server.task_runs]
    return outcomes, msgspec.json.encode(tables)


def outcome(server: FakePrefect3, request: httpx.Request) -> object:
    """Send a request; return its response, or the type of its error."""
    try:
        response = server.handle(request)
    except httpx.TransportError as error:
        return type(error)
    return response.status_code, response.content


@given(faults=zero_probabilities, seed=st.integers(0, 5))
def test_faults_of_zero_probability_change_nothing(faults: Faults, seed: int) -> None:
    """Where each probability is zero, each response is that of a server without faults."""
    assert run_scripted_server(faults, seed=seed) == run_scripted_server(Faults(), seed=seed)


@given(faults=some_faults, seed=st.integers(0, 5))
def test_a_seed_repeats_the_faults(faults: Faults, seed: int) -> None:
    """The same script with the same seed has the same responses and errors."""
    assert run_scripted_server(faults, seed=seed) == run_scripted_server(faults, seed=seed)


@given(faults=some_faults, seed=st.integers(0, 5))
def test_faults_do_not_change_what_is_stored(faults: Faults, seed: int) -> None:
    """Ids and rows are those of a server without faults, whichever requests failed."""
    _, tables = run_scripted_server(faults, seed=seed)
    assert tables == run_scripted_server(Faults(), seed=seed)[1]


# -- watches ------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_watch_outlasts_faults_over_http() -> None:
    """Each line is delivered once over real HTTP, though two requests in a row fail."""
    server = FakePrefect3()
    run_id = server.add_run(state="RUNNING")
    first = server.log(run_id)
    second, delivered = "", list[str]()
    failing = [1, 2]

    def count_down(_: httpx.Request) -> None:
        failing.pop()
        if not failing:
            server.faults, server.intercept = Faults(), None

    with server.serve() as url, rxflow.Client(api_url=url) as client:
        for line in rxflow.watch_flow_run(run_id, drain=0, client=client).logs:
            delivered.append(line.id)
            if line.id == first:
                server.faults, server.intercept = Faults(errors=0.5, cut=ALWAYS), count_down
                second = server.log(run_id)
                server.set_state(run_id, "COMPLETED")
    assert delivered == [first, second]
    assert failing == []


def test_a_refused_first_request_ends_a_watch() -> None:
    """Before a watch has begun, a refused connection is its error."""
    time = VirtualTime()
    server = FakePrefect3(clock=time, faults=Faults(refused=ALWAYS))
    stream = rxflow.watch_flow_run(server.add_run(), client=server.client())
    with pytest.raises(Unreachable):
        time.collect(stream)
