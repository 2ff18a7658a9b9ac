"""Fixtures of the contract of Rx.

The rules are those of https://reactivex.io/documentation/contract.html and of Rx's design
guidelines, and those of a source that polls a server. Each file here is one rule or two, checked on
the subjects and faces of `tests/support/rx_subjects.py`. The rules on order, loss and duplicates
are laws over random histories: see `tests/test_laws.py`.
"""

import sys
from collections.abc import Iterator

import loguru
import pytest


@pytest.fixture(autouse=True)
def _no_log_output() -> Iterator[None]:
    """Keep what `to_loguru` writes from standard error."""
    loguru.logger.remove()
    yield
    loguru.logger.remove()
    loguru.logger.add(sys.stderr)
