"""The search for runs: the latest that are due, and those whose ids begin with a text."""

from collections.abc import Sequence
from datetime import timedelta
from random import Random
from uuid import UUID

import pytest

from rxflow._protocol.queries import RunFilter
from rxflow._views.flow_run_search import read_due, read_prefixed
from rxflow.testing import FakePrefect1, FakePrefect3, VirtualTime

HOUR = timedelta(hours=1)

Fake = FakePrefect1 | FakePrefect3


@pytest.fixture(params=["FakePrefect1", "FakePrefect3"])
def server(request: pytest.FixtureRequest) -> Fake:
    """An empty server of either kind."""
    kind = FakePrefect1 if request.param == "FakePrefect1" else FakePrefect3
    return kind(clock=VirtualTime(), random=Random(7))


def add(server: Fake, name: str, due: timedelta) -> str:
    """Add a run that is due in some time."""
    time = server.clock() + due
    if isinstance(server, FakePrefect1):
        return server.add_run(name=name, scheduled_start_time=time)
    return server.add_run(name=name, expected_start_time=time)


def due_names(server: Fake, most: int | None = None) -> list[str]:
    """Read the runs that are due, and return their names."""
    page = server.client().read(lambda rows: read_due(RunFilter(), rows, most))
    return [row.name for row in page.rows]


def test_runs_that_are_scheduled_for_later_are_not_due(server: Fake) -> None:
    """The newest due run comes first, one of this very second is due."""
    for name, due in (("old", -HOUR), ("now", timedelta()), ("tomorrow", 24 * HOUR)):
        add(server, name, due)
    assert due_names(server) == ["now", "old"]
    assert due_names(server, most=1) == ["now"]


def ids_of(server: Fake, count: int) -> list[str]:
    """Add runs, and return their ids."""
    return [add(server, str(number), number * HOUR) for number in range(count)]


def prefixed(server: Fake, prefix: str, rows: int = 200) -> list[str]:
    """Read the ids that begin with a text, as the server lists them."""
    page = server.client().read(lambda _: read_prefixed(prefix, rows))
    return [row.id for row in page.rows]


@pytest.mark.parametrize("count", [0, 1, 2, 63, 64, 65, 300])
def test_each_run_is_found_by_the_beginning_of_its_id(server: Fake, count: int) -> None:
    """However many runs there are, those that are found are all that match, and no others."""
    ids = ids_of(server, count)
    wanted = Random(count).sample(ids, min(count, 12))
    for prefix in [each[:length] for each in wanted for length in (1, 4, 9, 36)]:
        found = [each for each in ids if each.startswith(prefix)]
        assert prefixed(server, prefix) == sorted(found, reverse=True)
    assert prefixed(server, "zz") == []
    assert prefixed(server, "0000-") == []


def test_few_requests_find_it_among_many() -> None:
    """Two for each doubling of the number of runs, whichever run it is."""
    server = FakePrefect3(clock=VirtualTime(), random=Random(7))
    ids: Sequence[str] = sorted(ids_of(server, 2_000))
    for wanted in (ids[0], ids[700], ids[-1]):
        server.requests.clear()
        assert prefixed(server, wanted[:13]) == [wanted]
        assert len(server.requests) <= 2 + 20


def test_a_run_is_found_while_others_are_added_and_deleted() -> None:
    """What moves the run to another offset meanwhile does not hide it."""
    server = FakePrefect3(clock=VirtualTime(), random=Random(7))
    ids = sorted(ids_of(server, 500))
    wanted = ids[250]
    spare = iter(ids[300:])

    def change(_: object) -> None:
        server.delete_run(next(spare))

    server.intercept = change
    assert prefixed(server, wanted[:13]) == [wanted]

    def add_above(_: object) -> None:
        server.add_run(id=str(UUID(int=UUID(ids[-1]).int + len(server.runs))))

    server.intercept = add_above
    assert prefixed(server, wanted[:13]) == [wanted]
