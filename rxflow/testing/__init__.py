"""Fakes for testing pipelines: Prefect servers in memory, or over real HTTP.

Make a `FakePrefect3`, write a run's life with its methods, and pass a client of it to your code.
No process is started and no network is used:

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

A run can be written to while a watch goes on, from any thread, or between two of its events. It can
also be scheduled in advance, in `VirtualTime` if its time is to pass at once:

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


    def test_my_pipeline_reports_failures(prefect):
        run_id = prefect.add_run()
        prefect.set_state(run_id, "FAILED", message="out of disk")
        assert my_pipeline(run_id) == "Failed: out of disk"

There are four ways to make requests fail or wait. `Faults` are probabilities of errors, of broken
connections, and of responses that are slow or out of date. `FakePrefect3.hold` makes requests wait
until the test goes on, so that it can see what a cancellation does to them.
`FakePrefect3.intercept` sees each request, and may return a response in place of the server's
(``httpx.Response(503)``) or break the request off (``raise httpx.ReadError("gone")``). And a
`World` is a whole sequence of events drawn from a seed: writers whose clocks are off and who upload
in batches, slow commits, rows that are deleted; the same seed repeats it.

The fake replies to the requests that rxflow sends, and to those of the scripts around a watch,
which find runs or create one of a deployment. That its replies equal those of the real server is
tested request by request against Prefect 3.8.8 on SQLite.

For Prefect 1 there is `FakePrefect1`, with the same ways to reach it, to write to it and to make
requests fail. To the queries of the last Prefect 1 client it replies as a real Prefect Server was
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
