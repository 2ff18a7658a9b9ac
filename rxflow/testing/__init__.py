"""Fakes for testing pipelines: Prefect servers in memory, or over real HTTP.

Make a `FakePrefect3`, write a run's life with its methods, and hand your code a client that asks
it. Nothing is started and no network is used:

>>> import rxflow
>>> from rxflow.testing import FakePrefect3
>>> server = FakePrefect3()
>>> run_id = server.add_run(name="nightly")
>>> _ = server.log(run_id, "hello")
>>> _ = server.set_state(run_id, "COMPLETED")
>>> with server.client() as client:
...     stream = rxflow.watch_flow_run(run_id, drain=0, client=client)
...     [event.message for event in stream.logs]
['hello']

What happens while a watch goes on can be written from any thread, or between two events of it. Or
it is written down in advance, and happens in its time, `VirtualTime` if that is to pass at once:

>>> from rxflow import StateType
>>> from rxflow.testing import VirtualTime
>>> time = VirtualTime()
>>> slow = FakePrefect3(clock=time)
>>> slow_run = slow.add_run()
>>> slow.script(
...     slow_run,
...     [(0, StateType.RUNNING), (1800, "half of it"), (3600, StateType.COMPLETED)],
... )
>>> stream = rxflow.watch_flow_run(slow_run, client=slow.client())
>>> [str(event.timestamp.time()) for event in time.collect(stream.logs)]
['00:30:00']

A pipeline that finds its server by itself, from ``PREFECT_API_URL`` or a profile, or that runs in
another process, is tested against the same fake over HTTP, on a free port of this machine:

>>> with server.serve() as api_url, rxflow.Client(api_url=api_url) as client:
...     rxflow.wait_for_flow_run(run_id, client=client).state.name
'Completed'

In pytest that is a fixture::

    @pytest.fixture
    def prefect(monkeypatch):
        server = FakePrefect3()
        with server.serve() as api_url:
            monkeypatch.setenv("PREFECT_API_URL", api_url)
            yield server


    def test_my_pipeline_tells_of_failures(prefect):
        run_id = prefect.add_run()
        prefect.set_state(run_id, "FAILED", message="out of disk")
        assert my_pipeline(run_id) == "Failed: out of disk"

Trouble comes in four ways. `Faults` are probabilities: of errors, of broken connections, of answers
that are slow or out of date. `FakePrefect3.hold` has requests wait until a test goes on, so that it
can see what a cancel does to them. `FakePrefect3.intercept` sees each request, and may answer in
the server's place (``httpx.Response(503)``) or break off (``raise httpx.ReadError("gone")``). And a
`World` is a whole course of events that is drawn from a seed: writers whose clocks are off and who
upload in batches, commits that take their time, rows that are deleted; the same seed repeats it.

The fake answers what rxflow asks, and what the scripts around a watch do: how to find runs, and to
create one of a deployment. That it does so as the real server does is tested, question by question,
against Prefect 3.8.8 on SQLite.

For Prefect 1 there is `FakePrefect1`, with the same ways to reach it, to write to it and to have
things go wrong. What the last client of Prefect 1 asks it answers as a real Prefect Server was
recorded to.
"""

from rxflow.testing._faults import Faults
from rxflow.testing._history import History, Played
from rxflow.testing._hold import Hold
from rxflow.testing._prefect1.server import FakePrefect1
from rxflow.testing._prefect3.server import FakePrefect3
from rxflow.testing._virtual_time import VirtualTime
from rxflow.testing._world import World
from rxflow.testing._writer import Landing, Writer

__all__ = [
    "FakePrefect1",
    "FakePrefect3",
    "Faults",
    "History",
    "Hold",
    "Landing",
    "Played",
    "VirtualTime",
    "World",
    "Writer",
]
