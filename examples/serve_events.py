"""Show flow runs live in a browser, as a part of a service of your own.

    python examples/serve_events.py --port 8000

Then open http://127.0.0.1:8000/flow-runs/ and choose a run. All browsers that show a run read one
watch, which ends soon after the last of them has left. A browser that lost its connection
reconnects by itself and goes on after the last event that it received. Ctrl-C ends all streams.

Expected: Uvicorn running on http://127.0.0.1:
"""

import argparse

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route

import rxflow
from rxflow.web import flow_run_app


async def start(_: Request) -> Response:
    """Respond to the first page of the service, which has only one other so far."""
    return RedirectResponse("flow-runs/")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8000)
    port = parser.parse_args().port
    try:
        flow_runs = flow_run_app()
    except rxflow.RxflowError as error:
        parser.exit(2, f"Cannot serve: {error}\n")
    service = Starlette(routes=[Route("/", start), Mount("/flow-runs", flow_runs)])
    uvicorn.run(service, port=port)
