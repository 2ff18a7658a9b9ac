"""The app: its routes, and the status of each error."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, asynccontextmanager, contextmanager
from datetime import timedelta

import anyio
from reactivex import Observable, Subject
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from rxflow._models.arguments import seconds_of
from rxflow._views.temporary_client import check_client
from rxflow.client import Client
from rxflow.errors import FlowNotFound, InvalidRunId, RunNotFound, RxflowError
from rxflow.views import FlowRunView, alist_flow_runs
from rxflow.web._frames import Position, frames_of, position_of
from rxflow.web._pages import STATIC, page
from rxflow.web._run_feeds import RunFeeds

_MOST_RUNS = 100
"""How many runs the first page lists."""

_STOP_GRACE = 5.0
"""Seconds in which a stream must end when uvicorn stops; then it is broken off."""


def flow_run_app(*, client: Client | None = None, linger: timedelta | float = 30.0) -> Starlette:
    """Make an ASGI app that shows flow runs live in a browser.

    Serve it by itself, or mount it in an app of your own. Its paths, below where it is mounted:

    - ``/``: the latest runs,
    - ``/RUN_ID``: the page of a run and its subflows: state, progress, log lines as they come,
    - ``/RUN_ID/events``: what that page reads, server-sent events with the JSON of
      `rxflow.encode_event`; a browser that reconnects goes on after the last event that it
      received, by its header ``Last-Event-ID``.

    All viewers of a run read one session. The app shows every run that its client can read, to
    everyone who can reach it: who may is for the app around it, or a proxy, to check.

    Args:
        client: The client of the server to read from, which you close; None finds the server from
            the environment and the active profile.
        linger: How long the session of a run goes on after its last viewer left, in seconds if a
            number; a browser that reconnects within that time receives no event twice.

    Returns:
        The app. It ends its streams when uvicorn stops.

    Raises:
        ConfigurationError: No server is configured.
        TypeError: An argument is of another type.
        ValueError: ``linger`` is negative or not a number.

    Example:
        >>> from starlette.applications import Starlette
        >>> from starlette.routing import Mount
        >>> from rxflow.testing import FakePrefect3
        >>> from rxflow.web import flow_run_app
        >>> runs = flow_run_app(client=FakePrefect3().client())
        >>> app = Starlette(routes=[Mount("/flow-runs", runs)])
    """
    check_client(client)
    if client is None:
        Client()  # or a missing setting would be found by the first visitor
    feeds = RunFeeds(client, timedelta(seconds=seconds_of("linger", linger)))
    endpoints = _Endpoints(client, feeds)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        yield
        feeds.close()

    return Starlette(
        routes=[
            Route("/", endpoints.show_runs),
            Mount("/static", StaticFiles(directory=STATIC)),
            Route("/{run_id}", endpoints.show_run),
            Route("/{run_id}/events", endpoints.send_events),
        ],
        exception_handlers={RxflowError: _show_error},
        lifespan=lifespan,
    )


class _Endpoints:
    def __init__(self, client: Client | None, feeds: RunFeeds) -> None:
        self._client = client
        self._feeds = feeds

    async def show_runs(self, _: Request) -> Response:
        """Respond with the latest runs."""
        runs = await alist_flow_runs(limit=_MOST_RUNS, client=self._client)
        return page("runs", runs=runs)

    async def show_run(self, request: Request) -> Response:
        """Respond with the page of a run, whose script reads the run's events."""
        view = await FlowRunView.afrom_flow_run_id(
            request.path_params["run_id"], client=self._client
        )
        try:
            flow = await view.aget_flow_metadata()
        except FlowNotFound:
            return page("run", run=view, flow=None)
        return page("run", run=view, flow=flow)

    async def send_events(self, request: Request) -> Response:
        """Respond with the events of a run, from the one after that which the browser names."""
        position = position_of(request.headers.get("last-event-id", ""))
        stopping = anyio.Event()
        frames = self._frames(request.path_params["run_id"], position, stopping)
        try:
            # Before the status is sent: without such a run it is 404, which ends a browser's tries.
            first = await anext(frames)
        except StopAsyncIteration:
            return Response(status_code=204)  # all was received, which ends them too
        return EventSourceResponse(
            _resumed(first, frames),
            sep="\n",
            shutdown_event=stopping,
            shutdown_grace_period=_STOP_GRACE,
            background=BackgroundTask(_close, frames),  # a response to HEAD does not touch them
        )

    async def _frames(
        self, run_id: str, position: Position, stopping: anyio.Event
    ) -> AsyncGenerator[bytes]:
        with self._feeds.viewed(run_id, position.key) as feed, _emitted_when(stopping) as stop:
            received = position.within(feed.key)
            if feed.has_ended_at(received):
                return
            frames = frames_of(feed.pages(stop), feed.key, received)
            async with aclosing(frames):
                async for frame in frames:
                    yield frame


@contextmanager
def _emitted_when(event: anyio.Event) -> Generator[Observable[object]]:
    """Yield an observable that emits when an event of the running loop is set."""
    emitted = Subject[object]()

    async def emit() -> None:
        await event.wait()
        emitted.on_next(None)

    task = asyncio.get_running_loop().create_task(emit())
    try:
        yield emitted
    finally:
        task.cancel()


async def _close(frames: AsyncGenerator[bytes]) -> None:
    # Not `frames.aclose` itself, which Starlette does not take for async and calls in a thread.
    await frames.aclose()


async def _resumed(first: bytes, frames: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    async with aclosing(frames):
        yield first
        async for frame in frames:
            yield frame


async def _show_error(request: Request, error: Exception) -> Response:
    unknown = isinstance(error, RunNotFound | InvalidRunId)
    status = 404 if unknown else 502
    if request.url.path.endswith("/events"):
        return PlainTextResponse(str(error), status)
    return page("error", status, title="No such run" if unknown else "No answer", error=error)
