"""A pytest plugin: fail a test that uses the processor too long, as one of a mutant may for ever.

Time on the wall says nothing of a test on a machine that is busy with other mutants.
"""

import signal
from collections.abc import Generator

import pytest

LIMIT = 30.0
"""Seconds of the processor; without a mutant, no test that is run with this takes a third of it."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None]:
    """Fail the test once its time is over."""
    usual = signal.signal(signal.SIGVTALRM, _fail)
    signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, usual)


def _fail(*_: object) -> None:
    pytest.fail(f"used the processor for more than {LIMIT:g} s")
