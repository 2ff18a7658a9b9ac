"""Show flow runs live in a browser, by server-sent events.

    python examples/serve_events.py --port 8000

Then open http://127.0.0.1:8000/runs/RUN_ID. Each browser has a watch of its own, which ends when
the browser disconnects. A browser that lost its connection reconnects by itself and receives the
run from its beginning; it skips the events whose ids it has shown.

Expected: Uvicorn running on http://127.0.0.1:
"""

import argparse
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import uvicorn
from reactivex import Subject
from reactivex import operators as ops
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

import rxflow

PAGE = """<!doctype html><meta charset="utf-8"><title>Flow run</title><pre></pre><script>
const shown = new Set(), lines = document.querySelector("pre");
const source = new EventSource(location.pathname + "/events");
source.onmessage = ({data}) => {
  const event = JSON.parse(data);
  if (event.kind === "closed") source.close();
  if (event.level < 20 || shown.has(event.id)) return;
  if (event.id) shown.add(event.id);
  lines.append(`${event.timestamp} ${event.message}\\n`);
};
</script>"""

STOPPING: Subject[object] = Subject()


class Server(uvicorn.Server):
    """Ends the streams first, since it would wait for them at Ctrl-C."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop serving."""
        STOPPING.on_next(None)
        await super().shutdown(sockets)


async def frames(stream: rxflow.FlowRunStream) -> AsyncIterator[bytes]:
    """Give each event as a frame; when the browser goes this is cancelled, and the watch ends."""
    async with aclosing(aiter(stream.pipe(ops.take_until(STOPPING)))) as events:
        async for event in events:
            yield b"data: " + rxflow.encode_event(event) + b"\n\n"


async def show_events(request: Request) -> Response:
    """Respond with the events of a run, as they come."""
    client, run_id = request.state.client, request.path_params["run_id"]
    await rxflow.FlowRunView.afrom_flow_run_id(run_id, client=client)  # or it is not found
    stream = rxflow.watch_flow_run(run_id, client=client)
    return StreamingResponse(frames(stream), media_type="text/event-stream")


async def show_page(_: Request) -> Response:
    """Respond with a page that subscribes to the events."""
    return HTMLResponse(PAGE)


async def explain(_: Request, error: Exception) -> Response:
    """Respond with a sentence if there is nothing to show."""
    unknown = isinstance(error, rxflow.RunNotFound | rxflow.InvalidRunId)
    return PlainTextResponse(str(error), 404 if unknown else 502)


def make_app(client: rxflow.Client) -> Starlette:
    """Make the service, which closes the client at its end."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[dict[str, rxflow.Client]]:
        async with client:
            yield {"client": client}

    return Starlette(
        routes=[Route("/runs/{run_id}", show_page), Route("/runs/{run_id}/events", show_events)],
        exception_handlers={rxflow.RxflowError: explain},
        lifespan=lifespan,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8000)
    port = parser.parse_args().port
    try:
        Server(uvicorn.Config(make_app(rxflow.Client()), port=port)).run()
    except rxflow.RxflowError as error:
        parser.exit(2, f"Cannot serve: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130)
