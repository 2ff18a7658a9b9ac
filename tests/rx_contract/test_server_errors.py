"""Rule: failures are retried in the scheduler's time, and an error is one call of `on_error`."""

from collections.abc import Callable
from itertools import pairwise

import httpx
import pytest
from rx_subjects import FACES, each_face, each_subject, subject, watch
from virtual_world import MISSING_RUN, World

import rxflow
from rxflow import watch_flow_run


def test_backoff_passes_in_virtual_time(world: World) -> None:
    """A server that is overloaded receives requests at growing distances of at most 30 s."""
    run_id = world.server.add_run(state="RUNNING")
    requests: list[float] = []

    def overloaded(_: httpx.Request) -> httpx.Response | None:
        if not 100 <= world.seconds < 1000:
            return None
        requests.append(world.seconds)
        return httpx.Response(503)

    world.server.intercept = overloaded
    recording = world.watch(watch_flow_run(run_id, client=world.client), until=2000)
    pauses = [later - earlier for earlier, later in pairwise(requests)]
    assert max(pauses) <= 30
    assert max(pauses[:3]) <= 0.5 * 2**3
    assert len(requests) < 900 / 5
    assert max(pauses[3:]) > max(pauses[:3])
    codes = [event.code for event in recording.values if isinstance(event, rxflow.Notice)]
    assert codes == ["degraded", "recovered"]
    assert recording.error is None


def raise_defect(_: httpx.Request) -> httpx.Response | None:
    """Raise what only a defect of the transport would raise."""
    raise ZeroDivisionError


ERRORS: dict[str, tuple[Callable[[httpx.Request], httpx.Response | None], type[Exception]]] = {
    "no such run": (lambda _: None, rxflow.RunNotFound),
    "no key": (lambda _: httpx.Response(401), rxflow.AuthError),
    "another site": (lambda _: httpx.Response(200, html="<p>Hi"), rxflow.NotAPrefectApi),
    "a query refused": (
        lambda request: (
            httpx.Response(422, json={"detail": "no"}) if MISSING_RUN in request.url.path else None
        ),
        rxflow.BadResponse,
    ),
    "a defect": (raise_defect, ZeroDivisionError),
}


@each_face
@pytest.mark.parametrize("failure", ERRORS)
def test_every_face_ends_with_the_error(failure: str, face: str, world: World) -> None:
    """In each face a failure is one typed error at the end; `subscribe` itself does not raise."""
    intercept, error = ERRORS[failure]
    world.server.intercept = intercept
    with pytest.raises(error):
        FACES[face](watch(world, MISSING_RUN), world)
    assert world.close_counts() == [1]


@each_subject
@pytest.mark.parametrize("face", ["virtual", "for"])
def test_every_subject_passes_on_the_error(name: str, face: str, world: World) -> None:
    """A subject ends with the error that its watch ends with."""
    with pytest.raises(rxflow.RunNotFound):
        FACES[face](subject(name, world, MISSING_RUN), world)
