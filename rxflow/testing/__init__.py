"""Fakes for testing pipelines: a Prefect 3 server in memory, or over real HTTP.

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

What happens while a watch goes on can be written from any thread, or between two events of it.

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

Trouble is made with `FakePrefect3.intercept`: it sees each request first, and may answer in the
server's place (``httpx.Response(503)``) or break off (``raise httpx.ReadError("gone")``). Where
time matters, subscribe with a `reactivex.testing.TestScheduler` and give the fake its clock; then
an hour passes at once.

The fake answers only what rxflow asks. That it does so as the real server does is tested, question
by question, against Prefect 3.8.8 on SQLite.
"""

from rxflow.testing._prefect3 import FakePrefect3

__all__ = ["FakePrefect3"]
