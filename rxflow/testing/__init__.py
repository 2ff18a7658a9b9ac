"""Fakes for testing pipelines: a Prefect 3 server in memory, in virtual time or over real HTTP.

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
"""

from rxflow.testing._prefect3 import FakePrefect3

__all__ = ["FakePrefect3"]
